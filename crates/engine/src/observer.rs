//! How a run tells the outside what it does: snapshots of its progress, and remarks.
//!
//! Snapshots are taken a few times a second by the run's own clock, not per record, so an observer may
//! draw, print or export them as it likes. What they count is durable unless a field says otherwise.

use std::sync::Arc;
use std::time::Duration;

use armory_plugins::{CompilationCounters, EntryCounters};
use armory_troubles::Troubles;

/// Watches a run. Every method has a default that does nothing.
pub trait Observer: Send + Sync + 'static {
    /// The backup as it stands.
    fn backup_progress(&self, _progress: &BackupProgress) {}
    /// The restore as it stands.
    fn restore_progress(&self, _progress: &RestoreProgress) {}
    /// Where is told what is tried again; asked for once, at the beginning.
    fn troubles(&self) -> Troubles {
        Troubles::default()
    }
    /// The loop that controls the run turns, or waits for what may take its time; told every second or more often once it has begun.
    fn turned(&self) {}
    /// Whether [`Self::backup_details`] and [`Self::plugin_progress`] are looked at; nothing is gathered for them otherwise.
    fn wants_details(&self) -> bool {
        false
    }
    /// The partitions of a backup as they stand, every two seconds.
    fn backup_details(&self, _details: &BackupDetails) {}
    /// What plugins have done, every two seconds.
    fn plugin_progress(&self, _progress: &PluginProgress) {}
    /// Something that a user should know and that does not end the run: a gap, a new incarnation, a retry that takes long.
    fn remark(&self, _remark: &Remark) {}
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// One sentence about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How much it matters.
    pub level: Level,
    /// The sentence.
    pub text: String,
}

/// How much a remark matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Good to know.
    Info,
    /// Somebody should look at it.
    Warning,
}

/// A backup as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupProgress {
    /// How long the run has lasted.
    pub elapsed: Duration,
    /// Topics followed now.
    pub topics: usize,
    /// Partitions followed now.
    pub partitions: usize,
    /// Partitions that reached the offset at which `--once` stops; 0 in a continuous run.
    pub partitions_done: usize,
    /// Partitions that were given up, each with a remark.
    pub partitions_failed: usize,
    /// Records taken from the source by this run, durable or not.
    pub records: u64,
    /// Bytes of record batches taken from the source by this run, as the broker sent them.
    pub bytes: u64,
    /// Records that a plugin filtered.
    pub filtered: u64,
    /// Records that a plugin failed on and that were put aside in the archive.
    pub dead_lettered: u64,
    /// Records in segments committed by this run.
    pub committed_records: u64,
    /// Bytes of the batches in segments committed by this run, as they are read again.
    pub committed_bytes: u64,
    /// What is wrong at the moment, one sentence each; the first one matters most.
    pub problems: Vec<String>,
    /// Whether the cluster as a whole gives nothing at the moment.
    pub is_cut_off: bool,
    /// Offsets between what is durable and what `--once` stops at (or the high watermarks).
    pub lag: u64,
    /// Segments committed by this run.
    pub segments: u64,
    /// Bytes of committed segments, as stored.
    pub stored_bytes: u64,
}

/// A restore as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreProgress {
    /// How long the run has lasted.
    pub elapsed: Duration,
    /// Topics to restore.
    pub topics: usize,
    /// Source partitions to restore.
    pub partitions: usize,
    /// Source partitions whose last record is in the target.
    pub partitions_done: usize,
    /// Partitions that were given up, each with a remark.
    pub partitions_failed: usize,
    /// Records in the target, acknowledged by its broker.
    pub records: u64,
    /// Records that the archive holds for this restore.
    pub records_total: u64,
    /// Bytes of record batches acknowledged by the target's broker.
    pub bytes: u64,
    /// Bytes of the segments to read.
    pub bytes_total: u64,
    /// Records that a plugin filtered.
    pub filtered: u64,
    /// Records that a plugin failed on and that were put aside in the archive.
    pub dead_lettered: u64,
    /// What is wrong at the moment, one sentence each; the first one matters most.
    pub problems: Vec<String>,
}

/// For how long a step of a control loop may take, before it counts as stuck: a few calls, each with its own deadline.
const LONGEST_STEP: Duration = Duration::from_secs(900);

/// Waits for a step of a control loop, and tells meanwhile that the loop is alive.
pub(crate) async fn alive<T>(observer: &Arc<dyn Observer>, step: impl Future<Output = T>) -> T {
    let mut step = std::pin::pin!(step);
    let began = tokio::time::Instant::now();
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            done = &mut step => return done,
            _ = beat.tick() => {
                if began.elapsed() < LONGEST_STEP {
                    observer.turned();
                }
            }
        }
    }
}

/// The partitions of a backup as they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupDetails {
    /// Those that are followed.
    pub partitions: Vec<PartitionDetails>,
    /// Commits that this run made, those of gaps included.
    pub commits: u64,
    /// How long they took together, each from when its turn came.
    pub commit_time: Duration,
}

/// One partition of a backup as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDetails {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// The offset (exclusive) up to which everything is durable in the archive.
    pub durable_offset: i64,
    /// The last high watermark heard of (exclusive); `None` while the leader has not answered.
    pub high_watermark: Option<i64>,
}

impl PartitionDetails {
    /// Offsets at the source that are not durable yet.
    pub fn lag(&self) -> u64 {
        let end = self.high_watermark.unwrap_or(self.durable_offset);
        u64::try_from(end.saturating_sub(self.durable_offset)).unwrap_or(0)
    }
}

/// What the plugins of a run have done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginProgress {
    /// For every plugin and topic.
    pub entries: Vec<EntryCounters>,
    /// How their components became machine code.
    pub compilations: CompilationCounters,
    /// Bytes of memory that all instances have together now.
    pub instance_bytes: u64,
}
