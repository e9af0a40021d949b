//! Backup → StatefulSet.

mod render;
mod state;

use std::sync::Arc;

use armory_resources::job::JobFile;
use armory_resources::{Resource, ResourceSet};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use serde_json::json;

use self::render::{WorkGroup, Workload};
use crate::children::{Children, Prepared, owned};
use crate::context::{Context, LOOK_AGAIN, Outcome, progress};
use crate::kinds::{Backup, Pod, Service, StatefulSet};
use crate::names::{BACKUP_LABEL, child, label_value};
use crate::pod::Places;
use crate::progress;
use crate::reason::Reason;
use crate::resolve::{References, Refusal, read_one};
use crate::world::{find, labelled};

/// Brings a Backup's children and its status to what it says.
pub(crate) async fn reconcile(backup: Arc<Backup>, context: Arc<Context>) -> Outcome {
    if backup.metadata.deletion_timestamp.is_some() {
        // Its children go with it; what is archived stays.
        return Ok(Action::await_change());
    }
    let namespace = backup.namespace().unwrap_or_default();
    let name = backup.name_any();
    let world = &context.world;
    let child_name = child(&name, "");
    let live = find(&world.stateful_sets, &namespace, &child_name);
    let pods = labelled(&world.pods, &namespace, BACKUP_LABEL, &label_value(&name));
    if live.as_ref().is_some_and(|live| !owned(&**live, &*backup)) {
        return name_taken(&backup, &context, "StatefulSet").await;
    }
    let found = match wanted(&backup, &context) {
        Wanted::Draft => {
            scale_down(&context, &namespace, live.as_deref()).await?;
            state::draft()
        }
        Wanted::Paused => {
            scale_down(&context, &namespace, live.as_deref()).await?;
            state::paused(&pods)
        }
        // What runs goes on as it is.
        Wanted::Refused(refusal) => state::refused(&refusal, live.as_deref()),
        Wanted::Run(run) => {
            let group = WorkGroup::next(run.workers, run.seed, live.as_deref(), Timestamp::now());
            let old_pods = live.is_some() && group.is_new && !pods.is_empty();
            if old_pods {
                scale_down(&context, &namespace, live.as_deref()).await?;
                state::dealing_out(&pods)
            } else {
                if let Some(kind) = taken(&backup, &context, &child_name).await? {
                    return name_taken(&backup, &context, kind).await;
                }
                let workload = Workload {
                    name: &child_name,
                    children: Children {
                        owner: &*backup,
                        label: BACKUP_LABEL,
                        component: "backup",
                        prepared: &run.prepared,
                        image: &context.settings.image,
                    },
                    group: &group,
                };
                apply(&context, &workload, live.as_deref()).await?;
                return running(&backup, &context, &pods, &run, live.as_deref()).await;
            }
        }
    };
    context.report(&*backup, &found, |_| ()).await?;
    let moving = !pods.is_empty();
    Ok(if moving {
        Action::requeue(LOOK_AGAIN)
    } else {
        Action::await_change()
    })
}

/// The kind of a child whose name is taken by somebody else's. Only ours are watched, so before one is made it is looked for.
async fn taken(
    backup: &Backup,
    context: &Context,
    name: &str,
) -> kube::Result<Option<&'static str>> {
    let namespace = backup.namespace().unwrap_or_default();
    let (world, writer) = (&context.world, &context.writer);
    if find(&world.stateful_sets, &namespace, name).is_none()
        && writer
            .is_anothers::<StatefulSet>(&namespace, name, backup)
            .await?
    {
        return Ok(Some("StatefulSet"));
    }
    let anothers = match find(&world.services, &namespace, name) {
        Some(service) => !owned(&*service, backup),
        None => {
            writer
                .is_anothers::<Service>(&namespace, name, backup)
                .await?
        }
    };
    Ok(anothers.then_some("Service"))
}

async fn name_taken(backup: &Backup, context: &Context, kind: &str) -> Outcome {
    let name = child(&backup.name_any(), "");
    let message =
        format!("{kind} {name} does not belong to this Backup; delete or rename one of them");
    let found = state::refused(&Refusal::new(Reason::NameTaken, message), None);
    context.report(backup, &found, |_| ()).await?;
    // Nobody tells of what becomes of it.
    Ok(Action::requeue(LOOK_AGAIN))
}

/// What a Backup asks for.
enum Wanted {
    Draft,
    Paused,
    Refused(Refusal),
    Run(Box<Run>),
}

struct Run {
    workers: u32,
    seed: u32,
    prepared: Prepared,
    notes: Vec<String>,
}

fn wanted(backup: &Backup, context: &Context) -> Wanted {
    let read = read_one(backup, |said| match said {
        Resource::Backup(spec) => Some(spec.clone()),
        _ => None,
    });
    let spec = match read {
        Ok(spec) => spec,
        Err(refusal) => return Wanted::Refused(refusal),
    };
    if !spec.has_streams() {
        return Wanted::Draft;
    }
    if !spec.is_enabled() {
        return Wanted::Paused;
    }
    let namespace = backup.namespace().unwrap_or_default();
    let references = References::of_backup(&backup.spec);
    let related = references.follow(&context.world, &namespace, &backup.spec);
    let (jobs, file) = (ResourceSet::backup_jobs, JobFile::backup);
    let prepared = match Prepared::look(backup, context, &related, None, jobs, file) {
        Ok(prepared) => prepared,
        Err(refusal) => return Wanted::Refused(refusal),
    };
    let mut notes = prepared.resolved.notes.clone();
    if let Some(monitoring) = &spec.monitoring {
        let sidecar = [
            ("resources", monitoring.resources.is_some()),
            ("extraArgs", !monitoring.extra_args.is_empty()),
            ("extraEnvVars", monitoring.extra_env_vars.is_some()),
        ];
        let given = sidecar.iter().filter(|(_, given)| *given);
        notes.extend(given.map(|(key, _)| {
            format!("spec.monitoring.{key}: has no effect, a worker serves its metrics itself and there is no other container")
        }));
    }
    let group = spec.work_group.as_ref();
    Wanted::Run(Box::new(Run {
        workers: spec.workers(),
        seed: group
            .and_then(|group| group.seed.as_ref())
            .map_or(0, |seed| seed.0 as u32),
        prepared,
        notes,
    }))
}

/// Makes the children what they are to be.
async fn apply(
    context: &Context,
    workload: &Workload<'_>,
    live: Option<&StatefulSet>,
) -> kube::Result<()> {
    let (world, writer) = (&context.world, &context.writer);
    let namespace = &workload.children.namespace();
    let job = workload.job_name();
    workload.children.apply_job(context, &job).await?;
    let service = find(&world.services, namespace, workload.name);
    writer
        .apply::<Service>(namespace, &workload.service(), service.as_deref())
        .await?;
    writer
        .apply::<StatefulSet>(namespace, &workload.stateful_set(), live)
        .await?;
    // Jobs of before are kept until no pod reads them any more.
    let settled = live.is_some_and(|live| {
        let annotations = &live.spec.template.metadata.annotations;
        live.is_current() && annotations.get(render::JOB_NAME) == Some(&job)
    });
    if settled {
        workload.children.remove_other_jobs(context, &job).await?;
    }
    Ok(())
}

/// The status of a Backup whose pods are to run.
async fn running(
    backup: &Backup,
    context: &Context,
    pods: &[Arc<Pod>],
    run: &Run,
    live: Option<&StatefulSet>,
) -> Outcome {
    let workers = progress::ask(pods).await;
    let mut found = state::running(run.workers, pods, &workers, live);
    if found.word == crate::status::Word::Initializing
        && pods.is_empty()
        && let Some(live) = live
    {
        let why = crate::hindrance::of(context, &live.metadata, "StatefulSet").await;
        if let Some(why) = why {
            found = state::hindered(&why);
        }
    }
    let places = Places {
        storage: backup.spec["sink"].as_str().unwrap_or_default(),
        report: None,
    };
    found = found.in_words(&places).with_notes(&run.notes);
    let sum = progress::sum(&workers);
    let before = backup.status.as_ref();
    let told = progress(before, sum.as_ref());
    context
        .report(backup, &found, |status| status.progress = told)
        .await?;
    Ok(Action::requeue(LOOK_AGAIN))
}

async fn scale_down(
    context: &Context,
    namespace: &str,
    live: Option<&StatefulSet>,
) -> kube::Result<()> {
    if let Some(live) = live
        && live.spec.replicas != Some(0)
    {
        let patch = json!({"spec": {"replicas": 0}});
        context
            .writer
            .merge::<StatefulSet>(namespace, &live.name_any(), patch)
            .await?;
    }
    Ok(())
}
