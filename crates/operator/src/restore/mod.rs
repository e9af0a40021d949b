//! Restore → Job.

mod render;
mod state;

use std::sync::Arc;

use armory_resources::job::JobFile;
use armory_resources::kinds::metadata::REPORT_CLAIM_ANNOTATION;
use armory_resources::{Resource, ResourceSet};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use self::render::Workload;
use crate::children::{Children, Prepared, owned};
use crate::context::{Context, LOOK_AGAIN, Outcome, progress, seen};
use crate::kinds::{Job, Pod, Restore};
use crate::names::{RESTORE_LABEL, RUN, label_value, short_hash};
use crate::pod::Places;
use crate::progress;
use crate::reason::Reason;
use crate::resolve::{References, Refusal, name_at, read_one};
use crate::status::{Finding, Found, Status, seconds};
use crate::world::labelled;

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
    let mut jobs = labelled(&world.jobs, &namespace, RESTORE_LABEL, &label);
    jobs.retain(|job| owned(&**job, &*restore));
    let pods = labelled(&world.pods, &namespace, RESTORE_LABEL, &label);
    remove_failed(&context, &namespace, &pods).await?;
    if let Some(job) = jobs.iter().find(|job| job.is("Complete").is_some()) {
        return complete(&restore, &context, job, &pods).await;
    }
    let (wanted, mapping) = wanted(&restore, &context).await?;
    // Before it is stopped, perhaps: what it has written decides what may be changed later.
    let workers = progress::ask(&pods).await;
    let sum = progress::sum(&workers);
    let told = progress(restore.status.as_ref(), sum.as_ref());
    let wrote = told.as_ref().is_some_and(|told| told.records > 0);
    let step = decide(&restore, &context, wanted, wrote, &jobs, &pods);
    let found = carry_out(&restore, &context, &step, &pods).await?;
    // Nobody tells of a change of its ConfigMap.
    let waits_for_map = mapping
        .as_ref()
        .is_some_and(|found| found.status == Some(false));
    let found = match mapping {
        Some(mapping) => found.with(mapping),
        None => found,
    };
    let report = restore.annotations().get(REPORT_CLAIM_ANNOTATION);
    let places = Places {
        storage: restore.spec["source"].as_str().unwrap_or_default(),
        report: report.map(String::as_str),
    };
    let found = state::with_worker(found, &workers).in_words(&places);
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
    let moving = moving && !matches!(step, Step::Failed { .. });
    Ok(match moving || waits_for_map {
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
    prepared: Prepared,
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

/// `wrote` says whether any record was restored.
fn decide(
    restore: &Restore,
    context: &Context,
    wanted: Wanted,
    wrote: bool,
    jobs: &[Arc<Job>],
    pods: &[Arc<Pod>],
) -> Step {
    // Switched off it stops, whatever else is wrong, and that is told until it has.
    let active = jobs.iter().find(|job| job.is_active());
    if restore.spec["enabled"] != true
        && (active.is_some() || pods.iter().any(|pod| !pod.is_at_end()))
    {
        return Step::Stop {
            job: active.or(jobs.first()).cloned(),
        };
    }
    let (enabled, run) = match wanted {
        Wanted::Draft if jobs.is_empty() => return Step::Nothing(state::draft()),
        Wanted::Draft => {
            return Step::Nothing(state::refused(
                &Refusal::new(
                    Reason::InvalidSpec,
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
    if begun.is_some_and(|begun| *begun != run.run)
        && (wrote || jobs.iter().any(|job| job.is_active()))
    {
        return Step::Nothing(state::changed(jobs));
    }
    if !enabled {
        return Step::Stop {
            job: jobs.first().cloned(),
        };
    }
    let name = workload(restore, context, &run).job_name();
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
        None if pods.iter().any(|pod| !pod.is_at_end()) => Step::Clear { jobs: Vec::new() },
        None => Step::Run { run },
        Some(job) if job.metadata.deletion_timestamp.is_some() => Step::Clear { jobs: Vec::new() },
        Some(job) if job.is("Failed").is_some() => Step::Failed {
            job: Arc::clone(job),
        },
        Some(job) => Step::Watch {
            run,
            job: Arc::clone(job),
        },
    }
}

fn workload<'a>(restore: &'a Restore, context: &'a Context, run: &'a Run) -> Workload<'a> {
    Workload {
        children: Children {
            owner: restore,
            label: RESTORE_LABEL,
            component: "restore",
            prepared: &run.prepared,
            image: &context.settings.image,
        },
        report: run.report.as_deref(),
        run: &run.run,
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
        Step::Stop { job: None } => {
            let begun = restore.status.as_ref();
            let begun = begun.is_some_and(|status| status.run.is_some());
            state::ready((begun || !pods.is_empty()).then_some(pods))
        }
        Step::Stop { job: Some(job) } => {
            if job.is("Failed").is_some() {
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
            let workload = workload(restore, context, run);
            let (children, name) = (&workload.children, workload.job_name());
            children.apply_job(context, &name).await?;
            writer
                .apply::<Job>(&namespace, &workload.job(), None)
                .await?;
            children.remove_other_jobs(context, &name).await?;
            state::initializing().with_notes(&run.prepared.resolved.notes)
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
            found.with_notes(&run.prepared.resolved.notes)
        }
        Step::Failed { job } => state::failed(job, pods, restore.status.as_ref()),
    })
}

/// The finding of a Restore that is done, from its status alone.
fn done(restore: &Restore) -> Option<Finding> {
    let status = restore.status.as_ref()?;
    let completed = status.condition("JobCompleted")?;
    if completed.status != "True" || completed.reason != Reason::JobCompleted.as_str() {
        return None;
    }
    let changed = status
        .run
        .as_ref()
        .is_some_and(|begun| *begun != run_of(restore));
    Some(state::done(changed, Some(status)))
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
    let found = state::done(false, restore.status.as_ref());
    context
        .report(restore, &found, |status| {
            status.run = Some(run);
            status.completion_time = Some(seconds(ended));
            let started = job.status.start_time.as_ref();
            if status.start_time.is_none() {
                status.start_time = started.map(|time| seconds(time.0));
            }
            let last = progress::last(pods).map(|told| seen(&told, now));
            status.progress = last.or(status.progress.take());
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
    let read = read_one(restore, |said| match said {
        Resource::Restore(spec) => Some(spec.clone()),
        _ => None,
    });
    let spec = match read {
        Ok(spec) => spec,
        Err(refusal) => return Ok((Wanted::Refused(refusal), None)),
    };
    if !spec.has_mappings() {
        return Ok((Wanted::Draft, None));
    }
    let namespace = restore.namespace().unwrap_or_default();
    let references = References::of_restore(&restore.spec);
    let mut related = references.follow(&context.world, &namespace, &restore.spec);
    let config_map = name_at(
        &restore.spec,
        "/config/schemaMappingFrom/configMapKeyRef/name",
    );
    if !config_map.is_empty()
        && let Some(found) = context.writer.config_map(&namespace, config_map).await?
    {
        related.add_config_map(config_map, &namespace, &found.data.unwrap_or_default());
    }
    let report = restore.annotations().get(REPORT_CLAIM_ANNOTATION).cloned();
    let (jobs, file) = (ResourceSet::restore_jobs, JobFile::restore);
    let claim = report.as_deref();
    let prepared = Prepared::look(restore, context, &related, claim, jobs, file);
    let mapping = match config_map {
        "" => None,
        _ => state::mapping(prepared.as_ref().err()),
    };
    let wanted = match prepared {
        Err(refusal) => Wanted::Refused(refusal),
        Ok(prepared) => Wanted::Run {
            // Unlike on the command line, a Restore begins only when it is told to.
            enabled: spec.is_enabled(),
            run: Box::new(Run {
                run: run_of(restore),
                prepared,
                report,
            }),
        },
    };
    Ok((wanted, mapping))
}

/// A Job keeps every pod that failed. A long outage makes many.
async fn remove_failed(context: &Context, namespace: &str, pods: &[Arc<Pod>]) -> kube::Result<()> {
    let mut failed = state::by_age(pods);
    failed.retain(|pod| pod.status.phase == "Failed");
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
