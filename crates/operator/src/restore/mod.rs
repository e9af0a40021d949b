//! Restore → Job.

mod render;
mod state;

use std::sync::Arc;

use armory_resources::job::JobFile;
use armory_resources::kinds::metadata::REPORT_CLAIM_ANNOTATION;
use armory_resources::{Bindings, Problems, Resource, ResourceSet};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use self::render::Workload;
use self::state::Stage;
use crate::backup::owned;
use crate::claims::{self, Claims};
use crate::context::{Context, LOOK_AGAIN, Outcome, progress};
use crate::kinds::{ConfigMap, Job, Pod, Restore, true_condition};
use crate::names::{RESTORE_LABEL, RUN, label_value, short_hash};
use crate::pod::PodFields;
use crate::progress;
use crate::resolve::{References, Refusal, Related, Resolved, name_at, read_one, resolve};
use crate::status::{Finding, Found, Status, seconds};
use crate::world::{find, labelled};

/// Failed pods that are kept, for their logs.
const KEPT_PODS: usize = 3;

/// Brings a Restore's Job and its status to what it says.
pub(crate) async fn reconcile(restore: Arc<Restore>, context: Arc<Context>) -> Outcome {
    if restore.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    if let Some(found) = done(&restore) {
        // For ever, whatever is edited, deleted or restarted.
        context.report(&*restore, &found, |_| ()).await?;
        return Ok(Action::await_change());
    }
    let namespace = restore.namespace().unwrap_or_default();
    let label = label_value(&restore.name_any());
    let world = &context.world;
    let mine = |owners: &[_]| owned(owners, &*restore);
    let mut jobs = labelled(&world.jobs, &namespace, RESTORE_LABEL, &label);
    jobs.retain(|job| mine(job.owner_references()));
    let pods = labelled(&world.pods, &namespace, RESTORE_LABEL, &label);
    remove_failed(&context, &namespace, &pods).await?;
    if let Some(job) = jobs
        .iter()
        .find(|job| true_condition(&job.status.conditions, "Complete").is_some())
    {
        return complete(&restore, &context, job, &pods).await;
    }
    let (wanted, mapping) = wanted(&restore, &context).await?;
    let step = decide(&restore, wanted, &jobs, &pods);
    let found = carry_out(&restore, &context, &step, &pods).await?;
    let found = match mapping {
        Some(mapping) => found.with(mapping),
        None => found,
    };
    let workers = progress::ask(&pods).await;
    let found = state::with_worker(found, &workers);
    let sum = progress::sum(&workers);
    let told = progress(restore.status.as_ref(), sum.as_ref(), false);
    let started = jobs.iter().find_map(|job| job.status.start_time.clone());
    let run = match &step {
        Step::Run { run, .. } | Step::Watch { run, .. } => Some(run.run.clone()),
        _ => None,
    };
    context
        .report(&*restore, &found, |status| {
            status.progress = told;
            if status.start_time.is_none() {
                status.start_time = started.map(|time| seconds(time.0));
            }
            if run.is_some() {
                status.run = run;
            }
        })
        .await?;
    let moving = !pods.is_empty() || !jobs.is_empty() || matches!(step, Step::Run { .. });
    Ok(match moving && !matches!(step, Step::Failed { .. }) {
        true => Action::requeue(LOOK_AGAIN),
        false => Action::await_change(),
    })
}

/// What a Restore asks for.
enum Wanted {
    Draft,
    Refused(Refusal),
    /// Everything is there; `enabled` says whether it may begin.
    Run {
        enabled: bool,
        run: Box<Run>,
    },
}

struct Run {
    /// Which run this is: the Restore and what it does.
    run: String,
    fields: PodFields,
    resolved: Resolved,
    claims: Claims,
    report: Option<String>,
}

/// What is to be done.
enum Step {
    Nothing(Finding),
    /// Stop the Job that is there.
    Stop {
        job: Option<Arc<Job>>,
    },
    /// Jobs of before have to be gone first.
    Clear {
        jobs: Vec<Arc<Job>>,
    },
    Run {
        run: Box<Run>,
    },
    /// It runs.
    Watch {
        run: Box<Run>,
        job: Arc<Job>,
    },
    Failed {
        job: Arc<Job>,
    },
}

fn decide(restore: &Restore, wanted: Wanted, jobs: &[Arc<Job>], pods: &[Arc<Pod>]) -> Step {
    let (enabled, run) = match wanted {
        Wanted::Draft if jobs.is_empty() => return Step::Nothing(state::draft()),
        Wanted::Draft => {
            return Step::Nothing(state::refused(
                &Refusal::new(
                    "InvalidSpec",
                    "spec.config.topics: was removed after the restore had begun; put it back",
                ),
                jobs,
            ));
        }
        // What runs goes on as it is.
        Wanted::Refused(refusal) => return Step::Nothing(state::refused(&refusal, jobs)),
        Wanted::Run { enabled, run } => (enabled, run),
    };
    let begun = restore
        .status
        .as_ref()
        .and_then(|status| status.run.as_ref());
    let wrote = restore
        .status
        .as_ref()
        .and_then(|status| status.progress.as_ref())
        .is_some_and(|progress| progress.records > 0);
    let active = jobs.iter().find(|job| {
        true_condition(&job.status.conditions, "Failed").is_none() && job.spec.suspend != Some(true)
    });
    if begun.is_some_and(|begun| *begun != run.run) && (wrote || active.is_some()) {
        return Step::Nothing(state::changed(jobs));
    }
    if !enabled {
        return Step::Stop {
            job: jobs.first().cloned(),
        };
    }
    let name = render::job_name(restore, &run.resolved.file);
    let current = jobs.iter().find(|job| job.name_any() == name);
    let others: Vec<_> = jobs
        .iter()
        .filter(|job| job.name_any() != name)
        .cloned()
        .collect();
    if !others.is_empty() {
        return Step::Clear { jobs: others };
    }
    match current {
        // Pods of a Job that was deleted may still be writing.
        None if pods
            .iter()
            .any(|pod| !matches!(pod.status.phase.as_str(), "Failed" | "Succeeded")) =>
        {
            Step::Clear { jobs: Vec::new() }
        }
        None => Step::Run { run },
        Some(job) if job.metadata.deletion_timestamp.is_some() => Step::Clear { jobs: Vec::new() },
        Some(job) if true_condition(&job.status.conditions, "Failed").is_some() => Step::Failed {
            job: Arc::clone(job),
        },
        Some(job) => Step::Watch {
            run,
            job: Arc::clone(job),
        },
    }
}

async fn carry_out(
    restore: &Restore,
    context: &Context,
    step: &Step,
    pods: &[Arc<Pod>],
) -> kube::Result<Finding> {
    let namespace = restore.namespace().unwrap_or_default();
    let writer = &context.writer;
    Ok(match step {
        Step::Nothing(found) => found.clone(),
        Step::Stop { job: None } => state::ready(None),
        Step::Stop { job: Some(job) } => {
            if true_condition(&job.status.conditions, "Failed").is_some() {
                // So that it goes on with a new one when it is enabled again.
                writer.delete::<Job>(&namespace, &job.name_any()).await?;
            } else if job.spec.suspend != Some(true) {
                let patch = json!({"spec": {"suspend": true}});
                writer
                    .merge::<Job>(&namespace, &job.name_any(), patch)
                    .await?;
            }
            state::ready(Some(pods))
        }
        Step::Clear { jobs } => {
            for job in jobs {
                if job.metadata.deletion_timestamp.is_none() {
                    writer.delete::<Job>(&namespace, &job.name_any()).await?;
                }
            }
            state::clearing()
        }
        Step::Run { run } => {
            let workload = Workload {
                restore,
                namespace: &namespace,
                fields: &run.fields,
                resolved: &run.resolved,
                claims: &run.claims,
                report: run.report.as_deref(),
                run: &run.run,
                image: &context.settings.image,
            };
            let live = find(&context.world.config_maps, &namespace, &workload.job_name());
            writer
                .apply::<ConfigMap>(&namespace, &workload.config_map(), live.as_deref())
                .await?;
            writer
                .apply::<Job>(&namespace, &workload.job(), None)
                .await?;
            let old = labelled(
                &context.world.config_maps,
                &namespace,
                RESTORE_LABEL,
                &label_value(&restore.name_any()),
            );
            for old in old
                .iter()
                .filter(|old| old.name_any() != workload.job_name())
            {
                writer
                    .delete::<ConfigMap>(&namespace, &old.name_any())
                    .await?;
            }
            crate::notes::with_notes(state::initializing(), &run.resolved.notes)
        }
        Step::Watch { run, job } => {
            if job.spec.suspend == Some(true) {
                let patch = json!({"spec": {"suspend": false}});
                writer
                    .merge::<Job>(&namespace, &job.name_any(), patch)
                    .await?;
            }
            let mut found = state::watched(pods);
            if pods.is_empty()
                && let Some(why) = crate::hindrance::of(context, &job.metadata, "Job").await
            {
                found = state::hindered(&why);
            }
            crate::notes::with_notes(found, &run.resolved.notes)
        }
        Step::Failed { job } => state::failed(job, pods, restore.status.as_ref()),
    })
}

/// The finding of a Restore that is done, from its status alone.
fn done(restore: &Restore) -> Option<Finding> {
    let status = restore.status.as_ref()?;
    let completed = status.condition("JobCompleted")?;
    if completed.status != "True" || completed.reason != "JobCompleted" {
        return None;
    }
    let changed = status
        .run
        .as_ref()
        .is_some_and(|begun| *begun != run_of(restore));
    Some(state::done(Stage::Known {
        changed,
        before: status,
    }))
}

/// Its Job is done: so is the Restore.
async fn complete(restore: &Restore, context: &Context, job: &Job, pods: &[Arc<Pod>]) -> Outcome {
    let now = Timestamp::now();
    let run = job
        .annotations()
        .get(RUN)
        .cloned()
        .unwrap_or_else(|| run_of(restore));
    let ended = job
        .status
        .completion_time
        .as_ref()
        .map_or(now, |time| time.0);
    let last = pods.iter().find_map(|pod| {
        let ended = pod
            .status
            .container_statuses
            .first()?
            .state
            .terminated
            .as_ref()?;
        (ended.exit_code == 0).then(|| ended.message.clone())
    });
    let found = state::done(Stage::Now);
    let told = last.and_then(|text| state::last_words(&text));
    context
        .report(restore, &found, |status| {
            status.run = Some(run);
            status.completion_time = Some(seconds(ended));
            let started = job.status.start_time.as_ref();
            if status.start_time.is_none() {
                status.start_time = started.map(|time| seconds(time.0));
            }
            status.progress = progress(restore.status.as_ref(), told.as_ref(), true);
            if let Some(progress) = &mut status.progress {
                progress.percent = Some(100);
            }
        })
        .await?;
    Ok(Action::await_change())
}

/// Which run a Restore asks for: itself, and everything that decides what is written where.
fn run_of(restore: &Restore) -> String {
    let keys = ["source", "sink", "config", "plugins"];
    let parts: Vec<&Value> = keys.iter().map(|key| &restore.spec[*key]).collect();
    let text = json!([restore.metadata.uid, parts]).to_string();
    short_hash(text.as_bytes())
}

/// What a Restore asks for, and what is to be said of its map of schema ids.
async fn wanted(restore: &Restore, context: &Context) -> kube::Result<(Wanted, Option<Found>)> {
    let refuse = |refusal| Ok((Wanted::Refused(refusal), None));
    let (set, problem) = read_one(restore);
    if let Some(problem) = problem {
        return refuse(problem);
    }
    let Some(spec) = set.resources().find_map(|(_, resource)| match resource {
        Resource::Restore(spec) => Some(spec.clone()),
        _ => None,
    }) else {
        return refuse(Refusal::new("InvalidSpec", "spec: missing"));
    };
    if !spec.has_mappings() {
        return Ok((Wanted::Draft, None));
    }
    let namespace = restore.namespace().unwrap_or_default();
    let fields = match PodFields::of_spec(&restore.spec) {
        Ok(fields) => fields.over(&context.settings.pod_defaults),
        Err(message) => return refuse(Refusal::new("InvalidSpec", message)),
    };
    let mut related = related(restore, context);
    let config_map = name_at(
        &restore.spec,
        "/config/schemaMappingFrom/configMapKeyRef/name",
    );
    if !config_map.is_empty()
        && let Some(found) = context.writer.config_map(&namespace, config_map).await?
    {
        related.add_config_map(config_map, &namespace, &found.data.unwrap_or_default());
    }
    let resolved = match resolve(restore, &related, job) {
        Ok(resolved) => resolved,
        Err(refusal) => {
            let mapping = (!config_map.is_empty()).then(|| state::mapping(Some(&refusal)));
            return Ok((Wanted::Refused(refusal), mapping.flatten()));
        }
    };
    let report = restore.annotations().get(REPORT_CLAIM_ANNOTATION).cloned();
    let claims = match claims::look(
        &context.world,
        &namespace,
        &resolved.needs,
        report.as_deref(),
    ) {
        Ok(claims) => claims,
        Err(refusal) => return refuse(refusal),
    };
    let run = Run {
        run: run_of(restore),
        fields,
        resolved,
        claims,
        report,
    };
    let mapping = (!config_map.is_empty())
        .then(|| state::mapping(None))
        .flatten();
    // Unlike on the command line, a Restore begins only when it is told to.
    let enabled = spec.is_enabled();
    Ok((
        Wanted::Run {
            enabled,
            run: Box::new(run),
        },
        mapping,
    ))
}

fn related(restore: &Restore, context: &Context) -> Related {
    let namespace = restore.namespace().unwrap_or_default();
    let world = &context.world;
    let references = References::of_restore(&restore.spec);
    references.follow(
        &namespace,
        &restore.spec,
        find(&world.event_hubs, &namespace, &references.event_hub).as_deref(),
        find(&world.storages, &namespace, &references.storage).as_deref(),
        |name| find(&world.credentials, &namespace, name),
    )
}

fn job(set: &ResourceSet, bindings: &Bindings) -> Result<Option<(JobFile, Vec<String>)>, Problems> {
    let jobs = set.restore_jobs(bindings)?;
    let notes = jobs
        .notes
        .iter()
        .map(|note| format!("{}: {}", note.path, note.message))
        .collect();
    Ok(jobs
        .jobs
        .into_iter()
        .next()
        .map(|job| (JobFile::restore(job), notes)))
}

/// A Job keeps every pod that failed. A long outage makes many.
async fn remove_failed(context: &Context, namespace: &str, pods: &[Arc<Pod>]) -> kube::Result<()> {
    let mut failed: Vec<_> = pods
        .iter()
        .filter(|pod| pod.status.phase == "Failed")
        .collect();
    failed.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let surplus = failed.len().saturating_sub(KEPT_PODS);
    for pod in &failed[..surplus] {
        if pod.metadata.deletion_timestamp.is_none() {
            context
                .writer
                .delete::<Pod>(namespace, &pod.name_any())
                .await?;
        }
    }
    Ok(())
}

impl Status {
    /// What a Restore had restored when this was written.
    fn restored(&self) -> u64 {
        self.progress
            .as_ref()
            .map_or(0, |progress| progress.records)
    }
}
