//! Chains as readers see them.

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::manifest::Manifest;
use crate::names::PartitionKey;

/// A part of a partition's history: a manifest, of which the offsets below `until` count.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPart {
    /// The manifest; it knows its lineage.
    pub manifest: Manifest,
    /// The end (exclusive) of what belongs to the history: the manifest's `next`, or less where a later
    /// lineage parted from its parent inside of it.
    pub until: i64,
}

/// A segment that a manifest names and that is not there in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingSegment {
    /// The segment's path.
    pub place: String,
    /// The first offset (inclusive) of its manifest.
    pub base: i64,
    /// The end (exclusive) of its manifest.
    pub next: i64,
    /// The size it should have, in bytes.
    pub expected_bytes: u64,
    /// The size it has; nothing if it does not exist.
    pub found_bytes: Option<u64>,
}

impl Archive {
    /// The chain of one lineage alone, with what is recovered of open segments at its end. Every checksum,
    /// link and predecessor hash is checked.
    pub async fn chain_manifests(
        &self,
        _key: &PartitionKey,
        _lineage: u32,
    ) -> Result<Vec<Manifest>, ArchiveError> {
        todo!()
    }

    /// What a partition's newest (or the given) lineage stands for, from offset 0 on: the parents' chains up to
    /// the forks, then its own.
    pub async fn history(
        &self,
        _key: &PartitionKey,
        _lineage: Option<u32>,
    ) -> Result<Vec<HistoryPart>, ArchiveError> {
        todo!()
    }

    /// Which segments of the given manifests are missing or have a wrong size.
    pub async fn check_segments(
        &self,
        _manifests: &[Manifest],
    ) -> Result<Vec<MissingSegment>, ArchiveError> {
        todo!()
    }
}
