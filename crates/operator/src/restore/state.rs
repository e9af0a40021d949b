//! The status of a Restore, told from its Job and its pods.

use std::sync::Arc;

use kube::ResourceExt as _;

use crate::kinds::{Job, Pod};
use crate::pod::{Trouble, trouble};
use crate::progress::WorkerStatus;
use crate::resolve::Refusal;
use crate::status::{Finding, Found, Status, Word};

/// The documented condition.
const JOB: &str = "JobCompleted";

fn finding(word: Word, reason: &'static str, message: &str, job: (bool, &'static str)) -> Finding {
    let finding = Finding::new(word, word == Word::Done, reason, message)
        .with(Found::new(JOB, job.0, job.1, message));
    let failed = word == Word::Failed;
    finding.with(Found::new("Failed", failed, reason, message))
}

pub(super) fn draft() -> Finding {
    let message = "there is nothing to restore; add a source and a target to spec.config.topics";
    finding(
        Word::Draft,
        "NoMapping",
        message,
        (false, "JobInitializing"),
    )
}

/// It is not enabled; `pods` are those of a Job that is stopped.
pub(super) fn ready(pods: Option<&[Arc<Pod>]>) -> Finding {
    let (reason, message) = match pods {
        None => ("NotEnabled", "set spec.enabled to true to begin"),
        Some([]) => (
            "Stopped",
            "stopped; set spec.enabled to true to go on where it was",
        ),
        Some(_) => (
            "Stopping",
            "waiting for the pod to end; what is restored stays, and it can go on later",
        ),
    };
    finding(Word::Ready, reason, message, (false, "JobInitializing"))
}

/// The specification cannot be carried out. What runs goes on with the last one that could.
pub(super) fn refused(refusal: &Refusal, jobs: &[Arc<Job>]) -> Finding {
    if refusal.is_passing {
        return finding(
            Word::Initializing,
            refusal.reason,
            &refusal.message,
            (false, "JobInitializing"),
        );
    }
    let runs = jobs.iter().any(|job| job.is_active());
    let reason = if runs { "JobRunning" } else { "JobFailed" };
    finding(
        Word::Invalid,
        refusal.reason,
        &refusal.message,
        (false, reason),
    )
}

/// What decides about the result was changed after the first record was written.
pub(super) fn changed(jobs: &[Arc<Job>]) -> Finding {
    let message = "source, sink, config or plugins were changed after the restore had begun, and what is restored already was restored by the old ones; \
        put them back to let it go on, or make a new Restore";
    refused(&Refusal::new("ChangedAfterStart", message), jobs)
}

pub(super) fn clearing() -> Finding {
    let message = "waiting for the pod of before to end";
    finding(
        Word::Initializing,
        "Replacing",
        message,
        (false, "JobInitializing"),
    )
}

pub(super) fn initializing() -> Finding {
    let message = "the Job is made";
    finding(
        Word::Initializing,
        "Starting",
        message,
        (false, "JobInitializing"),
    )
}

pub(super) fn hindered(why: &str) -> Finding {
    finding(
        Word::Failed,
        "PodsNotCreated",
        why,
        (false, "JobInitializing"),
    )
}

/// The Job is there and not at its end.
pub(super) fn watched(pods: &[Arc<Pod>]) -> Finding {
    let running = pods.iter().find(|pod| pod.status.phase == "Running");
    if let Some(pod) = running {
        return match pod.is_ready() {
            true => finding(
                Word::Restoring,
                "Restoring",
                "the pod restores",
                (false, "JobRunning"),
            ),
            false => finding(
                Word::Initializing,
                "Starting",
                "the pod looks at the archive and the target",
                (false, "JobInitializing"),
            ),
        };
    }
    match last_trouble(pods) {
        Some(trouble) => {
            let message = format!("{}; it is tried again", trouble.message);
            finding(Word::Failed, trouble.reason, &message, (false, "JobFailed"))
        }
        None => initializing(),
    }
}

/// Pods, the newest last.
pub(super) fn by_age(pods: &[Arc<Pod>]) -> Vec<&Arc<Pod>> {
    let mut pods: Vec<_> = pods.iter().collect();
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    pods
}

/// What is wrong with the newest pod that something is wrong with.
fn last_trouble(pods: &[Arc<Pod>]) -> Option<Trouble> {
    by_age(pods).into_iter().rev().find_map(|pod| trouble(pod))
}

/// The Job has failed for good.
pub(super) fn failed(job: &Job, pods: &[Arc<Pod>], before: Option<&Status>) -> Finding {
    let last = last_trouble(pods);
    let remedy = match before.map_or(0, Status::restored) {
        0 => "when it is mended, set spec.enabled to false and to true again, or delete the Job"
            .to_owned(),
        records => format!(
            "{records} records are restored; when it is mended, set spec.enabled to false and to true again to go on there"
        ),
    };
    let (reason, message) = match last {
        Some(trouble) => (trouble.reason, trouble.message),
        None => {
            let said = job.is("Failed").map(|condition| condition.message.as_str());
            let said = said.unwrap_or_default();
            // Its pods are gone; what they said stands in the status already.
            let known = before
                .and_then(|status| status.condition("Failed"))
                .filter(|failed| failed.status == "True");
            match known {
                Some(known) => return again(known),
                None => (
                    "JobFailed",
                    format!("Job {} failed: {said}", job.name_any()),
                ),
            }
        }
    };
    finding(
        Word::Failed,
        reason,
        &format!("{message}; {remedy}"),
        (false, "JobFailed"),
    )
}

/// What a status says already.
fn again(known: &crate::status::Condition) -> Finding {
    finding(
        Word::Failed,
        reason_again(&known.reason),
        &known.message,
        (false, "JobFailed"),
    )
}

/// One of our reasons, of those that can stand there.
fn reason_again(reason: &str) -> &'static str {
    const REASONS: &[&str] = &[
        "WorkerFailed",
        "InvalidConfiguration",
        "ArchiveDamaged",
        "PreflightRefused",
        "PluginRefused",
        "WorkerEnded",
        "OutOfMemory",
        "PodFailed",
    ];
    REASONS
        .iter()
        .find(|known| **known == reason)
        .copied()
        .unwrap_or("JobFailed")
}

/// When a Restore is found to be done.
pub(super) enum Stage<'a> {
    /// Its Job has just ended.
    Now,
    /// Its status says so.
    Known {
        /// The specification was edited since.
        changed: bool,
        before: &'a Status,
    },
}

pub(super) fn done(stage: Stage<'_>) -> Finding {
    let finding = finding(
        Word::Done,
        "Done",
        "everything is restored",
        (true, "JobCompleted"),
    );
    match stage {
        Stage::Now => finding,
        Stage::Known { changed, before } => {
            let notes = match changed {
                true => vec!["the specification was changed after the restore was done; it does not run again, make a new Restore".to_owned()],
                false => Vec::new(),
            };
            let mut finding = finding.with_notes(&notes);
            if let Some(mapping) = before.condition(MAPPING) {
                finding = finding.with(Found::new(
                    MAPPING,
                    mapping.status == "True",
                    "Valid",
                    mapping.message.clone(),
                ));
            }
            finding
        }
    }
}

/// The documented condition of `schemaMappingFrom`.
const MAPPING: &str = "SchemaMappingValidated";

/// What is to be said of the map of schema ids; nothing where something else is wrong.
pub(super) fn mapping(refusal: Option<&Refusal>) -> Option<Found> {
    match refusal {
        None => Some(Found::new(
            MAPPING,
            true,
            "Valid",
            "the map of schema ids is read",
        )),
        Some(refusal)
            if ["schemaMappingFrom", "ConfigMap", "data."]
                .iter()
                .any(|word| refusal.message.contains(word)) =>
        {
            Some(Found::new(
                MAPPING,
                false,
                "Invalid",
                refusal.message.clone(),
            ))
        }
        Some(_) => None,
    }
}

/// A trouble that the worker tells of itself, while it goes on trying.
pub(super) fn with_worker(mut found: Finding, workers: &[WorkerStatus]) -> Finding {
    if let (Word::Restoring | Word::Initializing, Some(message)) = (
        found.word,
        workers.iter().find_map(WorkerStatus::in_trouble),
    ) {
        let reason = match found.word {
            Word::Restoring => "JobRunning",
            _ => "JobInitializing",
        };
        let told = finding(found.word, "WorkerInTrouble", message, (false, reason));
        // Those of every finding come first.
        let own = told.conditions.len();
        found.conditions.splice(..own, told.conditions);
    }
    found
}
