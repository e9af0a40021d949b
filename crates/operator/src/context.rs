//! What every reconciliation has at hand.

use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource, ResourceExt as _};

use crate::apply::Writer;
use crate::kinds::Subject;
use crate::pod::{Image, PodFields};
use crate::progress::WorkerStatus;
use crate::status::{Finding, Progress, Status, bounded, seconds};
use crate::world::World;

/// How often running workers are asked how they do.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How long a status's progress may be behind. Every change of it is a write.
const PROGRESS_INTERVAL_SECONDS: i64 = 60;

/// What is set for the operator as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) image: Image,
    pub(crate) storage_class: Option<String>,
    pub(crate) pod_defaults: PodFields,
}

pub(crate) struct Context {
    pub(crate) world: World,
    pub(crate) writer: Writer,
    pub(crate) recorder: Recorder,
    pub(crate) settings: Settings,
}

/// What failed about the cluster itself; it is tried again.
pub(crate) type Outcome = Result<Action, kube::Error>;

impl Context {
    /// Writes what was found into the status, and tells of a change by an event.
    pub(crate) async fn report<K>(
        &self,
        object: &K,
        finding: &Finding,
        edit: impl FnOnce(&mut Status),
    ) -> kube::Result<()>
    where
        K: Subject + Resource<Scope = NamespaceResourceScope>,
    {
        let before = object.status();
        let now = Timestamp::now();
        let mut status = finding.status(before, object.meta().generation, now);
        edit(&mut status);
        self.writer.status(object, &status).await?;
        let (reason, sentence) = finding.sentence();
        let changed = before
            .and_then(|before| before.condition("Ready"))
            .is_none_or(|ready| {
                ready.reason != reason.as_str()
                    || (finding.word.is_bad() && ready.message != bounded(sentence))
            });
        if changed {
            tracing::info!(
                "{} {}/{}: {:?}: {sentence}",
                K::kind(&()),
                object.namespace().unwrap_or_default(),
                object.name_any(),
                finding.word
            );
            let event = Event {
                type_: match finding.word.is_bad() {
                    true => EventType::Warning,
                    false => EventType::Normal,
                },
                reason: reason.to_string(),
                note: Some(bounded(sentence)),
                action: format!("{:?}", finding.word),
                secondary: None,
            };
            // An event that is lost is told by the status, too.
            if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
                tracing::warn!("cannot publish an event: {error}");
            }
        }
        Ok(())
    }
}

/// What a worker said at a time.
pub(crate) fn seen(told: &WorkerStatus, now: Timestamp) -> Progress {
    Progress {
        records: told.records,
        bytes: told.bytes,
        records_total: told.records_total,
        percent: told.percent.map(|percent| percent.clamp(0.0, 100.0) as u64),
        lag: told.lag.as_ref().and_then(|lag| lag.records),
        observed: seconds(now),
    }
}

/// The progress for a status: the new one if the old one is old.
pub(crate) fn progress(
    before: Option<&Status>,
    workers: Option<&WorkerStatus>,
) -> Option<Progress> {
    let old = before.and_then(|status| status.progress.clone());
    let Some(told) = workers else { return old };
    let now = Timestamp::now();
    let new = seen(told, now);
    match old {
        None => Some(new),
        Some(old) => {
            let same = Progress {
                observed: old.observed.clone(),
                ..new.clone()
            } == old;
            let age = old
                .observed
                .parse::<Timestamp>()
                .map(|then| now.duration_since(then).as_secs());
            let due = age.map_or(true, |age| age >= PROGRESS_INTERVAL_SECONDS);
            // Whether there is anything decides about a Restore, so that is known at once.
            let first = old.records == 0 && new.records > 0;
            Some(if !same && (due || first) { new } else { old })
        }
    }
}
