//! Commit.

use crate::error::ArchiveError;
use crate::writer::SealedSegment;

/// What a commit made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The first offset (inclusive).
    pub base: i64,
    /// The offset after the last one.
    pub next: i64,
    /// Bytes of batches.
    pub raw_bytes: u64,
    /// Bytes of the segment as stored; 0 where there is none.
    pub stored_bytes: u64,
    /// The number of batches.
    pub batches: u64,
    /// The number of records.
    pub records: u64,
}

/// The chain of manifests that a writer continues.
#[derive(Debug)]
pub struct Chain {}

impl Chain {
    /// Makes a sealed segment durable and commits it, after the ones sealed before it.
    pub async fn commit(&self, _sealed: SealedSegment) -> Result<Committed, ArchiveError> {
        todo!()
    }
    /// The end of what is committed (exclusive).
    pub fn committed_next(&self) -> i64 {
        todo!()
    }
}
