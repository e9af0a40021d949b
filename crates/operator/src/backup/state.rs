//! The status of a Backup, told from its pods.

use std::sync::Arc;

use crate::kinds::{Pod, StatefulSet};
use crate::pod::trouble;
use crate::progress::WorkerStatus;
use crate::reason::Reason;
use crate::resolve::Refusal;
use crate::status::{Finding, Found, Word};

/// The documented condition.
const DEPLOYMENT: &str = "DeploymentReady";

fn finding(
    word: Word,
    reason: Reason,
    message: &str,
    deployment: (Option<bool>, Reason, &str),
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
    let gone = (Some(false), Reason::DeploymentDeleted, "no pods are wanted");
    finding(Word::Draft, Reason::NoStreams, message, gone)
}

pub(super) fn paused(pods: &[Arc<Pod>]) -> Finding {
    let (reason, message) = match pods.len() {
        0 => (
            Reason::Paused,
            "spec.enabled is false; everything that was read is committed".to_owned(),
        ),
        count => (
            Reason::Pausing,
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
        (Some(false), Reason::DeploymentDeleted, &message),
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
        let unknown = (
            None,
            Reason::DeploymentStateUnknown,
            refusal.message.as_str(),
        );
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
        (Some(false), Reason::DeploymentError, deployment),
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
        Reason::WorkGroupChanges,
        &message,
        (None, Reason::DeploymentStateUnknown, &message),
    )
}

/// Kubernetes cannot make the pods.
pub(super) fn hindered(why: &str) -> Finding {
    finding(
        Word::Error,
        Reason::PodsNotCreated,
        why,
        (Some(false), Reason::DeploymentError, why),
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
        let deployment = (Some(false), Reason::DeploymentError, message.as_str());
        return finding(Word::Error, trouble.reason, &message, deployment);
    }
    if let Some(message) = workers.iter().find_map(WorkerStatus::in_trouble) {
        let deployment = match ready == wanted as usize {
            true => (Some(true), Reason::DeploymentReady, "the pods run"),
            false => (None, Reason::DeploymentStateUnknown, message),
        };
        return finding(Word::Error, Reason::WorkerInTrouble, message, deployment);
    }
    let is_current = live.is_some_and(StatefulSet::is_current);
    if ready == wanted as usize && pods.len() == ready && is_current {
        let message = match wanted {
            1 => "the worker runs".to_owned(),
            wanted => format!("{wanted} workers run"),
        };
        let deployment = (Some(true), Reason::DeploymentReady, message.as_str());
        return finding(Word::Streaming, Reason::Streaming, &message, deployment);
    }
    let message = format!("{ready} of {wanted} workers run, the others start");
    let deployment = (None, Reason::DeploymentStateUnknown, message.as_str());
    finding(Word::Initializing, Reason::Starting, &message, deployment)
}
