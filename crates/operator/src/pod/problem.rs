//! What keeps a pod from working, in a sentence.

use crate::kinds::{ContainerStatus, Pod, Terminated};
use crate::reason::Reason;

/// Reasons of a waiting container that are a part of every start.
const STARTING: &[&str] = &["ContainerCreating", "PodInitializing"];

/// What is wrong with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// One word.
    pub(crate) reason: Reason,
    /// What, and where known the worker's own words.
    pub(crate) message: String,
}

/// What is wrong with a pod, if something is. A pod that is starting or running has no trouble.
pub(crate) fn trouble(pod: &Pod) -> Option<Trouble> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let container = pod.status.container_statuses.first();
    if let Some(trouble) = container.and_then(|container| of_container(name, container)) {
        return Some(trouble);
    }
    if let Some(message) = &pod.status.message
        && pod.status.phase == "Failed"
    {
        return Some(Trouble {
            reason: Reason::PodFailed,
            message: format!("pod {name} failed: {message}"),
        });
    }
    let unscheduled = pod.status.conditions.iter().find(|condition| {
        // Any other reason is the scheduler's own, and over in a moment.
        (condition.kind.as_str(), condition.reason.as_str()) == ("PodScheduled", "Unschedulable")
            && condition.status == "False"
    });
    unscheduled.map(|condition| Trouble {
        reason: Reason::Unschedulable,
        message: format!("pod {name} finds no node: {}", condition.message),
    })
}

fn of_container(pod: &str, container: &ContainerStatus) -> Option<Trouble> {
    if let Some(ended) = &container.state.terminated {
        return (ended.exit_code != 0).then(|| ended_with(pod, ended));
    }
    let waiting = container.state.waiting.as_ref()?;
    if STARTING.contains(&waiting.reason.as_str()) {
        return None;
    }
    if waiting.reason == "CrashLoopBackOff" {
        // It waits to be started again; what matters is why it ended.
        return container
            .last_state
            .terminated
            .as_ref()
            .map(|ended| ended_with(pod, ended));
    }
    let reason = match waiting.reason.as_str() {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            Reason::ImageUnavailable
        }
        _ => Reason::PodError,
    };
    let message = if waiting.message.is_empty() {
        format!("pod {pod} waits: {}", waiting.reason)
    } else {
        format!("pod {pod} waits: {}: {}", waiting.reason, waiting.message)
    };
    Some(Trouble { reason, message })
}

/// A worker's end, as it told it.
fn ended_with(pod: &str, ended: &Terminated) -> Trouble {
    let told = ended.message.trim();
    // Where a worker left no sentence, the node gives the end of its log.
    let told = told.lines().last().unwrap_or_default();
    let told = told.strip_prefix("error: ").unwrap_or(told);
    let (reason, what) = match ended.reason.as_str() {
        "OOMKilled" => (
            Reason::OutOfMemory,
            format!(
                "pod {pod} was ended because it used more memory than its limit; raise spec.resources.limits.memory"
            ),
        ),
        _ if told.is_empty() => (
            reason_of(ended.exit_code),
            format!(
                "pod {pod} ended with exit code {}; see its log",
                ended.exit_code
            ),
        ),
        _ => (reason_of(ended.exit_code), told.to_owned()),
    };
    Trouble {
        reason,
        message: what,
    }
}

/// The documented exit codes of `armory`, as reasons.
pub(crate) fn reason_of(exit_code: i32) -> Reason {
    match exit_code {
        1 => Reason::WorkerFailed,
        2 => Reason::InvalidConfiguration,
        3 => Reason::ArchiveDamaged,
        4 => Reason::PreflightRefused,
        5 => Reason::PluginRefused,
        _ => Reason::WorkerEnded,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: serde_json::Value) -> Option<Trouble> {
        let pod = json!({"metadata": {"name": "p-0"}, "status": status});
        trouble(&serde_json::from_value(pod).unwrap())
    }

    fn container(status: serde_json::Value) -> Option<(Reason, String)> {
        let trouble = of(json!({"phase": "Running", "containerStatuses": [status]}));
        trouble.map(|trouble| (trouble.reason, trouble.message))
    }

    #[test]
    fn pods_that_start_or_run_are_in_no_trouble() {
        assert_eq!(of(json!({"phase": "Pending"})), None);
        assert_eq!(
            container(json!({"state": {"running": {}}, "ready": true})),
            None
        );
        assert_eq!(
            container(json!({"state": {"waiting": {"reason": "ContainerCreating"}}})),
            None
        );
        assert_eq!(
            container(json!({"state": {"terminated": {"exitCode": 0}}})),
            None
        );
    }

    #[test]
    fn a_worker_s_own_words_are_passed_on() {
        let ended = json!({"exitCode": 4, "reason": "Error", "message": "topic x is not empty\n"});
        let expected = Some((Reason::PreflightRefused, "topic x is not empty".to_owned()));
        assert_eq!(container(json!({"state": {"terminated": ended}})), expected);
        let looping = json!({"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}, "lastState": {"terminated": ended}});
        assert_eq!(container(looping), expected);
        let silent = json!({"state": {"terminated": {"exitCode": 139}}});
        let (reason, message) = container(silent).unwrap();
        assert_eq!(reason, Reason::WorkerEnded);
        assert_eq!(message, "pod p-0 ended with exit code 139; see its log");
        let memory = json!({"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}});
        assert_eq!(container(memory).unwrap().0, Reason::OutOfMemory);
    }

    #[test]
    fn what_keeps_a_pod_from_starting_is_named() {
        let image =
            json!({"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}});
        let (reason, message) = container(image).unwrap();
        assert_eq!(
            (reason, message.as_str()),
            (
                Reason::ImageUnavailable,
                "pod p-0 waits: ErrImagePull: not found"
            )
        );
        let pending = of(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "persistentvolumeclaim \"x\" not found"}]}));
        assert_eq!(
            pending.unwrap().message,
            "pod p-0 finds no node: persistentvolumeclaim \"x\" not found"
        );
    }

    /// As docs/guide/exit-codes.md has them.
    #[test]
    fn an_exit_code_is_a_reason() {
        let reasons = [
            (1, Reason::WorkerFailed),
            (2, Reason::InvalidConfiguration),
            (3, Reason::ArchiveDamaged),
            (4, Reason::PreflightRefused),
            (5, Reason::PluginRefused),
            (101, Reason::WorkerEnded),
            (143, Reason::WorkerEnded),
        ];
        for (code, reason) in reasons {
            let ended = json!({"state": {"terminated": {"exitCode": code, "message": "x"}}});
            assert_eq!(container(ended), Some((reason, "x".to_owned())));
        }
    }

    #[test]
    fn what_its_node_did_to_a_pod_is_told() {
        let evicted =
            of(json!({"phase": "Failed", "message": "The node was low on resource: memory"}));
        assert_eq!(
            evicted,
            Some(Trouble {
                reason: Reason::PodFailed,
                message: "pod p-0 failed: The node was low on resource: memory".to_owned(),
            })
        );
    }
}
