//! What a backup has taken in and stored, counted a batch or a segment at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use armory_archive::Committed;
use armory_records::BatchHeader;

use super::transform::LeftOut;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    records: AtomicU64,
    bytes: AtomicU64,
    filtered: AtomicU64,
    dead_lettered: AtomicU64,
    segments: AtomicU64,
    stored_bytes: AtomicU64,
    committed_records: AtomicU64,
    committed_bytes: AtomicU64,
    commits: AtomicU64,
    commit_nanos: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) filtered: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) segments: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) committed_records: u64,
    pub(crate) committed_bytes: u64,
    pub(crate) commits: u64,
    pub(crate) commit_time: Duration,
}

impl Counters {
    /// Counts batches as the broker sent them.
    pub(crate) fn took(&self, headers: &[BatchHeader], bytes: usize) {
        let records: u64 = headers
            .iter()
            .map(|header| u64::try_from(header.record_count).unwrap_or(0))
            .sum();
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn left_out(&self, left_out: &LeftOut) {
        self.filtered
            .fetch_add(left_out.filtered, Ordering::Relaxed);
        self.dead_lettered
            .fetch_add(left_out.dead_letters.len() as u64, Ordering::Relaxed);
    }

    pub(crate) fn committed(&self, committed: &Committed, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.commit_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.committed_records
            .fetch_add(committed.records, Ordering::Relaxed);
        self.committed_bytes
            .fetch_add(committed.raw_bytes, Ordering::Relaxed);
        if committed.stored_bytes > 0 {
            self.segments.fetch_add(1, Ordering::Relaxed);
            self.stored_bytes
                .fetch_add(committed.stored_bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Counts {
        Counts {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            filtered: self.filtered.load(Ordering::Relaxed),
            dead_lettered: self.dead_lettered.load(Ordering::Relaxed),
            segments: self.segments.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
            committed_records: self.committed_records.load(Ordering::Relaxed),
            committed_bytes: self.committed_bytes.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            commit_time: Duration::from_nanos(self.commit_nanos.load(Ordering::Relaxed)),
        }
    }
}
