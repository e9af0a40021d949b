//! The status of a Restore, told from its Job and its pods.

use std::sync::Arc;

use kube::ResourceExt as _;

use crate::kinds::{Job, Pod};
use crate::pod::{Trouble, trouble};
use crate::progress::WorkerStatus;
use crate::reason::Reason;
use crate::resolve::Refusal;
use crate::status::{Finding, Found, Status, Word};

/// The documented condition.
const JOB: &str = "JobCompleted";
/// The end of what is said of a pod that failed while its Job goes on.
const TRIED_AGAIN: &str = "; it is tried again";

fn finding(word: Word, reason: Reason, message: &str, job: (bool, Reason)) -> Finding {
    let finding = Finding::new(word, word == Word::Done, reason, message)
        .with(Found::new(JOB, job.0, job.1, message));
    let failed = word == Word::Failed;
    finding.with(Found::new("Failed", failed, reason, message))
}

pub(super) fn draft() -> Finding {
    let message = "there is nothing to restore; add a source and a target to spec.config.topics";
    finding(
        Word::Draft,
        Reason::NoMapping,
        message,
        (false, Reason::JobInitializing),
    )
}

/// It is not enabled; `pods` are those that it has, if it has begun.
pub(super) fn ready(pods: Option<&[Arc<Pod>]>) -> Finding {
    let (reason, message) = match pods {
        None => (Reason::NotEnabled, "set spec.enabled to true to begin"),
        // Those that failed before are kept for their logs.
        Some(pods) if pods.iter().all(|pod| pod.is_at_end()) => (
            Reason::Stopped,
            "stopped; set spec.enabled to true to go on where it was",
        ),
        Some(_) => (
            Reason::Stopping,
            "waiting for the pod to end; what is restored stays, and it can go on later",
        ),
    };
    finding(
        Word::Ready,
        reason,
        message,
        (false, Reason::JobInitializing),
    )
}

/// The specification cannot be carried out. What runs goes on with the last one that could.
pub(super) fn refused(refusal: &Refusal, jobs: &[Arc<Job>]) -> Finding {
    if refusal.is_passing {
        return finding(
            Word::Initializing,
            refusal.reason,
            &refusal.message,
            (false, Reason::JobInitializing),
        );
    }
    let runs = jobs.iter().any(|job| job.is_active());
    let reason = if runs {
        Reason::JobRunning
    } else {
        Reason::JobFailed
    };
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
    refused(&Refusal::new(Reason::ChangedAfterStart, message), jobs)
}

pub(super) fn clearing() -> Finding {
    let message = "waiting for the pod of before to end";
    finding(
        Word::Initializing,
        Reason::Replacing,
        message,
        (false, Reason::JobInitializing),
    )
}

pub(super) fn initializing() -> Finding {
    let message = "the Job is made";
    finding(
        Word::Initializing,
        Reason::Starting,
        message,
        (false, Reason::JobInitializing),
    )
}

pub(super) fn hindered(why: &str) -> Finding {
    finding(
        Word::Failed,
        Reason::PodsNotCreated,
        why,
        (false, Reason::JobInitializing),
    )
}

/// The Job is there and not at its end.
pub(super) fn watched(pods: &[Arc<Pod>]) -> Finding {
    let running = pods.iter().find(|pod| pod.status.phase == "Running");
    if let Some(pod) = running {
        return match pod.is_ready() {
            true => finding(
                Word::Restoring,
                Reason::Restoring,
                "the pod restores",
                (false, Reason::JobRunning),
            ),
            false => finding(
                Word::Initializing,
                Reason::Starting,
                "the pod looks at the archive and the target",
                (false, Reason::JobInitializing),
            ),
        };
    }
    match last_trouble(pods) {
        Some(trouble) => {
            let message = format!("{}{TRIED_AGAIN}", trouble.message);
            end(trouble.reason, &message)
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
    let remedy = match before.map_or(0, Status::restored) {
        0 => "when it is mended, set spec.enabled to false and to true again, or delete the Job"
            .to_owned(),
        // The number in the status is that of the last look.
        records => format!(
            "at least {records} records are restored; when it is mended, set spec.enabled to false and to true again to go on there"
        ),
    };
    // Where its pods are gone, what they said stands in the status already.
    let known = before
        .and_then(|status| status.condition("Failed"))
        .filter(|failed| failed.status == "True");
    let (reason, message) = match (last_trouble(pods), known) {
        (Some(trouble), _) => (trouble.reason, trouble.message),
        (None, Some(known)) => {
            let reason = Reason::named(&known.reason).unwrap_or(Reason::JobFailed);
            match known.message.strip_suffix(TRIED_AGAIN) {
                Some(said) => (reason, said.to_owned()),
                None => return end(reason, &known.message),
            }
        }
        (None, None) => {
            let said = job.is("Failed").map(|condition| condition.message.as_str());
            let said = said.unwrap_or_default();
            let message = format!("Job {} failed: {said}", job.name_any());
            (Reason::JobFailed, message)
        }
    };
    end(reason, &format!("{message}; {remedy}"))
}

fn end(reason: Reason, message: &str) -> Finding {
    finding(Word::Failed, reason, message, (false, Reason::JobFailed))
}

/// It is done; `changed` says whether the specification was edited since.
pub(super) fn done(changed: bool, before: Option<&Status>) -> Finding {
    let found = finding(
        Word::Done,
        Reason::Done,
        "everything is restored",
        (true, Reason::JobCompleted),
    );
    let notes = match changed {
        true => vec!["the specification was changed after the restore was done; it does not run again, make a new Restore".to_owned()],
        false => Vec::new(),
    };
    let found = found.with_notes(&notes);
    // What was said of the map when it was used stays.
    match before.and_then(|status| status.condition(MAPPING)) {
        Some(mapping) if mapping.status == "True" => found.with(Found::new(
            MAPPING,
            true,
            Reason::Valid,
            mapping.message.clone(),
        )),
        _ => found,
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
            Reason::Valid,
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
                Reason::Invalid,
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
            Word::Restoring => Reason::JobRunning,
            _ => Reason::JobInitializing,
        };
        let told = finding(
            found.word,
            Reason::WorkerInTrouble,
            message,
            (false, reason),
        );
        // Those of every finding come first.
        let own = told.conditions.len();
        found.conditions.splice(..own, told.conditions);
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> Arc<Pod> {
        let pod = json!({"metadata": {"name": "p"}, "status": status});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn job(conditions: serde_json::Value) -> Job {
        let job =
            json!({"metadata": {"name": "j"}, "spec": {}, "status": {"conditions": conditions}});
        serde_json::from_value(job).unwrap()
    }

    fn told(found: &Finding) -> (Word, Reason, &str) {
        let (reason, sentence) = found.sentence();
        (found.word, reason, sentence)
    }

    #[test]
    fn a_stopped_restore_waits_only_for_pods_that_run() {
        let at_end = pod(json!({"phase": "Failed"}));
        let running = pod(json!({"phase": "Running"}));
        let reason = |pods: Option<&[Arc<Pod>]>| ready(pods).sentence().0;
        assert_eq!(reason(None), Reason::NotEnabled);
        assert_eq!(reason(Some(&[])), Reason::Stopped);
        let pods = [at_end, running];
        assert_eq!(reason(Some(&pods[..1])), Reason::Stopped);
        assert_eq!(reason(Some(&pods)), Reason::Stopping);
    }

    /// Whatever was the cause, it stays when the pods are gone.
    #[test]
    fn the_cause_of_a_failure_outlives_the_pods() {
        let failed_job = job(
            json!([{"type": "Failed", "status": "True", "message": "Job was active too long"}]),
        );
        let ended = pod(json!({"phase": "Failed", "containerStatuses": [
            {"state": {"terminated": {"exitCode": 4, "message": "x is not empty"}}}]}));
        let homeless = pod(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}));
        for (pod, reason, sentence) in [
            (ended, Reason::PreflightRefused, "x is not empty"),
            (
                homeless,
                Reason::Unschedulable,
                "pod p finds no node: 0/1 nodes",
            ),
        ] {
            let now = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
            let first = watched(std::slice::from_ref(&pod));
            let expected = format!("{sentence}{TRIED_AGAIN}");
            assert_eq!(told(&first), (Word::Failed, reason, expected.as_str()));
            let status = first.status(None, None, now);
            let second = failed(&failed_job, &[], Some(&status));
            let (_, _, last) = told(&second);
            assert_eq!(second.sentence().0, reason);
            assert!(
                last.starts_with(&format!("{sentence}; when it is mended")),
                "{last}"
            );
            let status = second.status(Some(&status), None, now);
            assert_eq!(failed(&failed_job, &[], Some(&status)), second);
        }
        let silent = failed(&failed_job, &[], None);
        let (_, reason, sentence) = told(&silent);
        assert_eq!(reason, Reason::JobFailed);
        assert!(sentence.starts_with("Job j failed: Job was active too long; when"));
    }
}
