//! Backup: from the leaders of a cluster into an archive.
//!
//! A control loop owns what there is: which topics match, who leads their partitions, which segments are to be
//! committed. One task a broker fetches (`broker.rs`); an answer is read (`intake.rs`), transformed where plugins are
//! configured (`transform.rs`) and appended (`partition.rs`) on a blocking thread. Commits run beside it, one at a time
//! for a partition.

mod broker;
mod catalog;
mod commits;
mod control;
mod counters;
mod intake;
mod partition;
mod position;
mod retention;
mod transform;

use std::sync::Arc;
use std::time::Duration;

use armory_kafka::Backoff;
use armory_plugins::EntryCounters;
use armory_resources::job::BackupJob;
use armory_troubles::{Cause, Retrying, Troubles};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::sentence;
use crate::{EngineError, Observer, Outlook};

/// How a backup is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Until {
    /// Until the token is cancelled.
    #[default]
    Stopped,
    /// Until everything is archived that was stable when the run began: up to the last stable offset of every partition.
    CaughtUp,
}

/// What a backup did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupSummary {
    /// Topics followed.
    pub topics: usize,
    /// Partitions followed.
    pub partitions: usize,
    /// Records taken from the source.
    pub records: u64,
    /// Bytes of record batches taken from the source.
    pub bytes: u64,
    /// Records that a plugin filtered.
    pub filtered: u64,
    /// Records that a plugin failed on and that were put aside in the archive.
    pub dead_lettered: u64,
    /// Segments committed.
    pub segments: u64,
    /// Bytes of committed segments, as stored.
    pub stored_bytes: u64,
    /// Partitions whose last stable offset lay below their high watermark when the run began: an open transaction keeps
    /// what lies between (last stable offset inclusive, high watermark exclusive) out of this backup.
    pub unstable: Vec<UnstableRange>,
    /// What every plugin did on every topic.
    pub plugins: Vec<EntryCounters>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Offsets that belong to transactions without an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnstableRange {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The first offset left out.
    pub last_stable_offset: i64,
    /// The offset after the last one left out.
    pub high_watermark: i64,
}

/// Runs a backup until it has caught up or is stopped. A stop is graceful: what has been taken in is committed first.
///
/// # Errors
/// When the cluster or the archive cannot be used at all, and at the end when partitions were given up; what the
/// other partitions took in is committed all the same.
pub async fn run(
    job: BackupJob,
    until: Until,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
) -> Result<BackupSummary, EngineError> {
    // Until the archive is open nothing is under way, and a storage that is silent may take minutes.
    let start = control::Control::start(job, until, None, observer, stop.clone());
    match stop.run_until_cancelled(start).await {
        Some(control) => control?.run().await,
        None => Ok(BackupSummary::default()),
    }
}

/// Runs a backup until it is stopped, as a service does: what keeps it from beginning and may pass (a missing secret, a storage that
/// refuses, a cluster that cannot be reached) is told among the observer's [troubles](Observer::troubles), and waited for.
///
/// # Errors
/// As of [`run`], but for those that may pass before it has begun.
pub async fn serve(
    job: BackupJob,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
) -> Result<BackupSummary, EngineError> {
    let mut delay = Delay::new(observer.troubles());
    loop {
        let patience = Some(Delay::new(observer.troubles()));
        let (job, watched) = (job.clone(), Arc::clone(&observer));
        let start = control::Control::start(job, Until::Stopped, patience, watched, stop.clone());
        let error = match stop.run_until_cancelled(start).await {
            None => return Ok(BackupSummary::default()),
            Some(Ok(control)) => {
                drop(delay);
                return control.run().await;
            }
            Some(Err(error)) => error,
        };
        if error.outlook() != Outlook::Passing {
            return Err(error);
        }
        let pause = delay.next(&error);
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return Ok(BackupSummary::default());
        }
    }
}

/// The first and the longest pause before a backup that could not begin is begun again.
const BEGIN_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// How long a backup that cannot begin waits, and the trouble that it is in until this is dropped.
#[derive(Debug)]
struct Delay {
    troubles: Troubles,
    backoff: Backoff,
    trouble: Option<Retrying>,
}

impl Delay {
    fn new(troubles: Troubles) -> Delay {
        Delay {
            troubles,
            backoff: Backoff::new(BEGIN_AGAIN.0, BEGIN_AGAIN.1),
            trouble: None,
        }
    }

    /// How long to wait after one more failure, which is told until the next.
    fn next(&mut self, error: &EngineError) -> Duration {
        let why = sentence(error);
        match &self.trouble {
            Some(trouble) => trouble.again(&why),
            None => {
                tracing::warn!("cannot begin, trying again until it can: {why}");
                self.trouble = Some(self.troubles.retrying(Cause::Start, &why));
            }
        }
        self.backoff.next_delay()
    }
}
