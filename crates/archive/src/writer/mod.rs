//! Writing a partition.

use std::sync::Arc;

use armory_records::BatchHeader;

use crate::archive::Archive;
use crate::chain::Chain;
use crate::codec::Codec;
use crate::error::ArchiveError;
use crate::gaps::GapCause;
use crate::heads::ChainEnd;
use crate::names::{PartitionKey, WriterIdentity};

/// How a partition is written.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Who writes.
    pub identity: WriterIdentity,
    /// Whether to continue a chain whose newest manifest is another backup's.
    pub take_over: bool,
    /// At how many bytes of batches a segment [is full](PartitionWriter::is_full).
    pub rollover_bytes: u64,
    /// The outer compression with its level, for segments that producers mostly left uncompressed.
    pub compression: Option<(Codec, Option<i32>)>,
    /// The digests of the plugins that the records went through, for the manifests.
    pub plugin_digests: Vec<String>,
    /// On a folder: runs of batches smaller than this (bytes) are gathered before they are written.
    pub write_buffer: usize,
}

impl WriterOptions {
    /// Options with a roll-over at 64 MiB, no outer compression and a write buffer of 8 KiB.
    pub fn new(identity: WriterIdentity) -> Self {
        Self {
            identity,
            take_over: false,
            rollover_bytes: 64 << 20,
            compression: None,
            plugin_digests: Vec::new(),
            write_buffer: 8 << 10,
        }
    }
}

/// What is written but not committed yet, detached from its writer by [`PartitionWriter::seal`].
#[derive(Debug)]
pub struct SealedSegment {}

impl SealedSegment {
    /// The first offset (inclusive).
    pub fn base(&self) -> i64 {
        todo!()
    }
    /// The offset after the last one.
    pub fn next(&self) -> i64 {
        todo!()
    }
    /// Bytes of batches.
    pub fn raw_bytes(&self) -> u64 {
        todo!()
    }
    /// Bytes of memory held until it is committed.
    pub fn buffered_bytes(&self) -> usize {
        todo!()
    }
}

/// Writes one partition: appends batches and gaps, and detaches segments for their commit.
#[derive(Debug)]
pub struct PartitionWriter {}

impl PartitionWriter {
    /// Finds the end of the partition's newest chain and continues it.
    pub async fn open(
        _archive: &Archive,
        _key: PartitionKey,
        _options: WriterOptions,
    ) -> Result<Self, ArchiveError> {
        todo!()
    }
    /// The partition.
    pub fn partition(&self) -> &PartitionKey {
        todo!()
    }
    /// The offset that comes next: where to fetch from.
    pub fn next_offset(&self) -> i64 {
        todo!()
    }
    /// The leader epoch of the last batch, archived or appended.
    pub fn last_leader_epoch(&self) -> Option<i32> {
        todo!()
    }
    /// The lineage that is written.
    pub fn lineage(&self) -> u32 {
        todo!()
    }
    /// The end (exclusive) of what survives a crash: committed, or flushed to a folder.
    pub fn durable_offset(&self) -> i64 {
        todo!()
    }
    /// Appends a run of whole batches that follow each other from [`next_offset`](Self::next_offset) without holes.
    pub fn append(&mut self, _bytes: &[u8], _headers: &[BatchHeader]) -> Result<(), ArchiveError> {
        todo!()
    }
    /// Records that there is nothing from `next_offset` up to `until` (exclusive).
    pub fn gap(&mut self, _until: i64, _cause: GapCause) -> Result<(), ArchiveError> {
        todo!()
    }
    /// On a folder: makes everything appended durable. Blocks. Nothing on object stores.
    pub fn flush(&mut self) -> Result<(), ArchiveError> {
        todo!()
    }
    /// Bytes of memory held by the open segment.
    pub fn buffered_bytes(&self) -> usize {
        todo!()
    }
    /// Bytes of batches in the open segment.
    pub fn open_bytes(&self) -> u64 {
        todo!()
    }
    /// Whether the open segment has reached its size, in batches or in gaps.
    pub fn is_full(&self) -> bool {
        todo!()
    }
    /// Whether anything appended or sealed is not committed.
    pub fn has_uncommitted(&self) -> bool {
        todo!()
    }
    /// When the open segment began, in ms since 1970; nothing if none is open.
    pub fn opened_at(&self) -> Option<i64> {
        todo!()
    }
    /// Detaches what is open; nothing if nothing is.
    pub fn seal(&mut self) -> Result<Option<SealedSegment>, ArchiveError> {
        todo!()
    }
    /// The chain, which outlives the writer in the hands of its commits.
    pub fn chain(&self) -> Arc<Chain> {
        todo!()
    }
    /// Where the chain ends, for [`Archive::write_head`]; nothing before its first commit.
    pub fn chain_end(&self) -> Option<ChainEnd> {
        todo!()
    }
    /// Begins the next lineage at `base`, where the source's history parted from the archived one;
    /// `leader_epoch` is that of the last common record, if known. Everything must be committed.
    pub async fn start_lineage(
        &mut self,
        _base: i64,
        _leader_epoch: Option<i32>,
    ) -> Result<(), ArchiveError> {
        todo!()
    }
}
