//! Restore: from an archive into the topics of a cluster, every record exactly once.
//!
//! A restore is planned from the archive alone (`plan.rs`), held against the target (`preflight.rs`), and entered in a report
//! that lies in the archive (`report.rs`). Then every target partition has a feed of batches ready to produce: its own
//! source partition's batches with a new header (`feed.rs`, `prepare.rs`), or what plugins made of the records of several (`reshape.rs`). Lanes
//! (`lane.rs`), a connection each, produce them. What has landed is read from the target's log, never guessed (`target.rs`).

mod checks;
mod encode;
pub(crate) mod feed;
mod lane;
pub(crate) mod memory;
mod partitioner;
pub(crate) mod plan;
mod preflight;
mod prepare;
pub(crate) mod report;
mod reshape;
mod run;
pub(crate) mod select;
mod shape;
mod target;

pub use checks::{Check, Name, PreflightReport, Standing, TopicAmount, Verdict};

use std::sync::Arc;
use std::time::Duration;

use armory_archive::{Archive, DeadLetters, PartitionKey};
use armory_plugins::EntryCounters;
use armory_resources::job::RestoreJob;
use tokio_util::sync::CancellationToken;

use crate::{EngineError, Observer};

/// What a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreSummary {
    /// The restore's id: the name of its report in the archive.
    pub id: String,
    /// Each topic with its target.
    pub topics: Vec<RestoredTopic>,
    /// Records in the targets, those of earlier runs of this restore included.
    pub records: u64,
    /// Records that this run produced.
    pub records_this_run: u64,
    /// Bytes of record batches that this run produced.
    pub bytes_this_run: u64,
    /// Records that plugins filtered in this run.
    pub filtered: u64,
    /// Records that plugins failed on in this run and that were put aside.
    pub dead_lettered: u64,
    /// What every plugin did on every topic in this run.
    pub plugins: Vec<EntryCounters>,
    /// Whether everything had been restored by an earlier run.
    pub was_complete: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// One topic of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredTopic {
    /// The topic in the archive.
    pub source: String,
    /// Its incarnation, the N of `vN`.
    pub incarnation: u32,
    /// The topic in the cluster.
    pub target: String,
    /// Whether this restore created the target.
    pub created: bool,
    /// Records that the archive holds of it.
    pub records: u64,
}

/// Dead letters of a restore: what its plugins failed on of a stretch of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreDeadLetters {
    /// The partition in the archive.
    pub partition: PartitionKey,
    /// The file that holds them.
    pub letters: DeadLetters,
}

/// The dead letters of a restore whose report lies in the archive, by partition and offset.
///
/// # Errors
/// Where there is no report of that id, or it cannot be read.
pub async fn dead_letters(
    archive: &Archive,
    id: &str,
) -> Result<Vec<RestoreDeadLetters>, EngineError> {
    report::dead_letters(archive, id).await
}

/// Looks at archive and target as a restore does before it writes, and tells what it would do. Nothing is written.
///
/// # Errors
/// Where nothing can be told: the archive cannot be opened or read, a plugin cannot be loaded. That the cluster cannot be reached, or
/// anything else is in the way, is in the report.
pub async fn preflight(job: RestoreJob) -> Result<PreflightReport, EngineError> {
    preflight::report(job).await
}

/// Runs a restore, or goes on with one that was interrupted. A stop is graceful: what is in flight is awaited.
///
/// # Errors
/// [`EngineError::Preflight`] before anything was written; [`EngineError::Partitions`] when partitions stopped early. What has
/// landed stays, and the same call goes on after it.
pub async fn run(
    job: RestoreJob,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
) -> Result<RestoreSummary, EngineError> {
    run::run(job, observer, stop).await
}
