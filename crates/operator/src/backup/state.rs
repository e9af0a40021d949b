//! The status of a Backup, told from its pods.

use std::sync::Arc;

use crate::kinds::{Pod, StatefulSet};
use crate::pod::trouble;
use crate::progress::WorkerStatus;
use crate::resolve::Refusal;
use crate::status::{Finding, Found, Word};

/// The documented condition.
const DEPLOYMENT: &str = "DeploymentReady";

fn finding(
    word: Word,
    reason: &'static str,
    message: &str,
    deployment: (Option<bool>, &'static str, &str),
) -> Finding {
    let (status, deployment_reason, deployment_message) = deployment;
    Finding::new(word, word == Word::Streaming, reason, message).with(Found::new(
        DEPLOYMENT,
        status,
        deployment_reason,
        deployment_message,
    ))
}

pub(super) fn draft() -> Finding {
    let message = "there is nothing to back up; add a stream or a matcher in topicSelectors";
    let gone = (Some(false), "DeploymentDeleted", "no pods are wanted");
    finding(Word::Draft, "NoStreams", message, gone)
}

pub(super) fn paused(pods: &[Arc<Pod>]) -> Finding {
    let (reason, message) = match pods.len() {
        0 => (
            "Paused",
            "spec.enabled is false; everything that was read is committed".to_owned(),
        ),
        count => (
            "Pausing",
            format!(
                "spec.enabled is false; {} to commit and end",
                pods_wait(count)
            ),
        ),
    };
    finding(
        Word::Paused,
        reason,
        &message,
        (Some(false), "DeploymentDeleted", &message),
    )
}

fn pods_wait(count: usize) -> String {
    match count {
        1 => "waiting for 1 pod".to_owned(),
        count => format!("waiting for {count} pods"),
    }
}

/// The specification cannot be carried out; what runs goes on with the last one that could.
pub(super) fn refused(refusal: &Refusal, live: Option<&StatefulSet>) -> Finding {
    if refusal.is_passing {
        let unknown = (None, "DeploymentStateUnknown", refusal.message.as_str());
        return finding(
            Word::Initializing,
            refusal.reason,
            &refusal.message,
            unknown,
        );
    }
    let runs = live.is_some_and(|live| live.status.replicas > 0);
    let deployment = match runs {
        true => "the pods go on with the last valid specification",
        false => "there are no pods",
    };
    finding(
        Word::Error,
        refusal.reason,
        &refusal.message,
        (Some(false), "DeploymentError", deployment),
    )
}

/// The number of workers or the seed changed.
pub(super) fn dealing_out(pods: &[Arc<Pod>]) -> Finding {
    let message = format!(
        "the partitions are dealt out anew; {} of before to commit and end",
        pods_wait(pods.len())
    );
    finding(
        Word::Initializing,
        "WorkGroupChanges",
        &message,
        (None, "DeploymentStateUnknown", &message),
    )
}

/// Kubernetes cannot make the pods.
pub(super) fn hindered(why: &str) -> Finding {
    finding(
        Word::Error,
        "PodsNotCreated",
        why,
        (Some(false), "DeploymentError", why),
    )
}

/// The pods are there, or about to be.
pub(super) fn running(
    wanted: u32,
    pods: &[Arc<Pod>],
    workers: &[WorkerStatus],
    live: Option<&StatefulSet>,
) -> Finding {
    let is_ready = |pod: &&Arc<Pod>| pod.metadata.deletion_timestamp.is_none() && pod.is_ready();
    let ready = pods.iter().filter(is_ready).count();
    if let Some(trouble) = pods.iter().find_map(|pod| trouble(pod)) {
        let mut message = trouble.message;
        if ready > 0 {
            message += &format!("; {ready} of {wanted} workers run");
        }
        let deployment = (Some(false), "DeploymentError", message.as_str());
        return finding(Word::Error, trouble.reason, &message, deployment);
    }
    if let Some(message) = workers.iter().find_map(WorkerStatus::in_trouble) {
        let deployment = match ready == wanted as usize {
            true => (Some(true), "DeploymentReady", "the pods run"),
            false => (None, "DeploymentStateUnknown", message),
        };
        return finding(Word::Error, "WorkerInTrouble", message, deployment);
    }
    let is_current = live.is_some_and(StatefulSet::is_current);
    if ready == wanted as usize && pods.len() == ready && is_current {
        let message = match wanted {
            1 => "the worker runs".to_owned(),
            wanted => format!("{wanted} workers run"),
        };
        let deployment = (Some(true), "DeploymentReady", message.as_str());
        return finding(Word::Streaming, "Streaming", &message, deployment);
    }
    let message = format!("{ready} of {wanted} workers run, the others start");
    let deployment = (None, "DeploymentStateUnknown", message.as_str());
    finding(Word::Initializing, "Starting", &message, deployment)
}
