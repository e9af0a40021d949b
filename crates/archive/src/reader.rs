//! Reading a segment.

use bytes::Bytes;

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::manifest::Manifest;
use crate::names::PartitionKey;

/// Reads the batches of one manifest's segment in order, checking them.
#[derive(Debug)]
pub struct SegmentReader {}

impl SegmentReader {
    /// Begins to read at the segment's start. A manifest without a segment reads as nothing.
    pub async fn open(
        _archive: &Archive,
        _key: &PartitionKey,
        _lineage: u32,
        _manifest: &Manifest,
    ) -> Result<Self, ArchiveError> {
        todo!()
    }
    /// Goes to the index entry at or before `offset`; to be called before the first chunk. The first chunk may
    /// begin with batches below `offset`. The segment's digest is then not checked.
    pub fn seek(&mut self, _offset: i64) {
        todo!()
    }
    /// Goes to the first index entry that has a record at or after `timestamp` (ms since 1970); as [`seek`](Self::seek).
    pub fn seek_time(&mut self, _timestamp: i64) {
        todo!()
    }
    /// Ends reading at the index entry that lies entirely at or beyond `offset`. The last chunk may hold batches
    /// beyond. The segment's digest is then not checked.
    pub fn until(&mut self, _offset: i64) {
        todo!()
    }
    /// The next whole batches, about 1 to 4 MiB (one batch alone if it is larger); nothing at the end.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, ArchiveError> {
        todo!()
    }
}
