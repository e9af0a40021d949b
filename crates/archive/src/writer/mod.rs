//! Writing a partition: appending to an open segment, detaching it for its commit, and going on.

pub(crate) mod content;
mod memory;
mod open_file;
#[cfg(test)]
mod power_cuts;
mod recover;
mod resume;
mod segment;
pub(crate) mod sidecar;

use std::sync::Arc;

use armory_records::BatchHeader;

pub(crate) use open_file::{OpenPaths, lock};
pub(crate) use segment::OpenSegment;
pub use segment::SealedSegment;

use crate::archive::{Archive, now_ms};
use crate::chain::{Chain, ChainState, create_once, refusal};
use crate::codec::Codec;
use crate::dead_letters::DeadLetter;
use crate::error::ArchiveError;
use crate::gaps::GapCause;
use crate::heads::ChainEnd;
use crate::layout;
use crate::lineage::Fork;
use crate::names::{PartitionKey, WriterIdentity};
use crate::sealed::{self, FORMAT};

/// At how many bytes of gaps and index in memory a segment is full, whatever its size.
const LARGEST_DESCRIPTION: usize = 256 << 10;
/// At how many bytes of dead letters in memory a segment is full.
const MOST_DEAD_LETTERS: usize = 8 << 20;

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

/// Writes one partition: appends batches and gaps, and detaches segments for their commit.
///
/// On a folder everything but [`open`](Self::open) and [`start_lineage`](Self::start_lineage) works on files
/// and may block. After an error of such a method the writer refuses everything: drop it and open the
/// partition again.
#[derive(Debug)]
pub struct PartitionWriter {
    chain: Arc<Chain>,
    open: Option<Box<OpenSegment>>,
    next: i64,
    last_leader_epoch: Option<i32>,
    /// What is known to survive a crash; see [`durable_offset`](Self::durable_offset).
    durable: i64,
    /// Whether a file operation failed half-way.
    broken: bool,
}

impl PartitionWriter {
    /// Finds the end of the partition's newest chain and continues it. On a folder the open segments of a
    /// writer that crashed are recovered.
    ///
    /// [`ArchiveError::OwnedByOther`] if the newest manifest is another backup's and `take_over` is not set;
    /// [`ArchiveError::Fenced`] if it is a newer writer's of the same backup; [`ArchiveError::Locked`] if a
    /// live process writes.
    pub async fn open(
        archive: &Archive,
        key: PartitionKey,
        options: WriterOptions,
    ) -> Result<Self, ArchiveError> {
        key.check()?;
        options.identity.check()?;
        let end = resume::find_end(archive, &key).await?;
        resume::check_owner(&key, &options, end.writer)?;
        let writer = Self::continue_chain(Chain::new(
            archive.clone(),
            key,
            end.lineage,
            Arc::new(options),
            end.state,
        ));
        recover::recover(writer).await
    }

    fn continue_chain(chain: Chain) -> Self {
        let state = chain.state();
        Self {
            chain: Arc::new(chain),
            open: None,
            next: state.next,
            last_leader_epoch: state.last_leader_epoch,
            durable: state.next,
            broken: false,
        }
    }

    /// The partition.
    pub fn partition(&self) -> &PartitionKey {
        self.chain.partition()
    }

    /// The lineage that is written.
    pub fn lineage(&self) -> u32 {
        self.chain.lineage()
    }

    /// The offset that comes next: where to fetch from.
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// The leader epoch of the last batch, archived or appended, or known to be in a gap.
    pub fn last_leader_epoch(&self) -> Option<i32> {
        self.last_leader_epoch
    }

    /// The end (exclusive) of what survives a crash: committed, or flushed to a folder.
    pub fn durable_offset(&self) -> i64 {
        let committed = self.chain.committed_next();
        let flushed = match &self.open {
            // A segment that is flushed while one before it is not durable would not be found again.
            Some(open) if open.content.base <= committed => open.flushed_next(),
            _ => committed,
        };
        self.durable.max(committed).max(flushed)
    }

    /// Appends a run of whole batches that follow each other without holes from
    /// [`next_offset`](Self::next_offset); `headers` are theirs. Batches are not checked beyond that.
    pub fn append(&mut self, bytes: &[u8], headers: &[BatchHeader]) -> Result<(), ArchiveError> {
        self.check_usable()?;
        let mut next = self.next;
        let mut size = 0;
        for header in headers {
            self.check_follows(next, header.base_offset)?;
            next = header.next_offset();
            size += header.size();
        }
        if size != bytes.len() {
            return Err(self.misuse(format!("headers of {size} bytes for {} bytes", bytes.len())));
        }
        let Some(last) = headers.last() else {
            return Ok(());
        };
        let appended = self.opened().and_then(|open| open.append(bytes, headers));
        self.broken |= appended.is_err();
        appended?;
        self.next = next;
        self.last_leader_epoch = Some(last.partition_leader_epoch);
        Ok(())
    }

    /// Records that there is nothing from [`next_offset`](Self::next_offset) up to `until` (exclusive).
    /// `leader_epoch` is that of the batches that the source has there and that are not kept (one gap an
    /// epoch); nothing where the source has none. It counts as archived: the end of an epoch before it says
    /// nothing about what follows.
    pub fn gap(
        &mut self,
        until: i64,
        cause: GapCause,
        leader_epoch: Option<i32>,
    ) -> Result<(), ArchiveError> {
        self.check_usable()?;
        if until == self.next {
            return Ok(());
        }
        if until < self.next {
            return Err(self.not_contiguous(self.next, until));
        }
        let start = self.next;
        let open = self.opened()?;
        open.gap(until, cause);
        open.content.add_gap_epoch(leader_epoch, start);
        self.next = until;
        self.last_leader_epoch = self.last_leader_epoch.max(leader_epoch);
        Ok(())
    }

    /// Puts records aside that a plugin failed on, with ascending offsets from [`next_offset`](Self::next_offset) on. The batch or the
    /// gap that takes their offsets is to be the next thing. They are committed with it.
    pub fn dead_letters(&mut self, letters: Vec<DeadLetter>) -> Result<(), ArchiveError> {
        self.check_usable()?;
        if letters.is_empty() {
            return Ok(());
        }
        let chain = Arc::clone(&self.chain);
        let added = self
            .opened()
            .and_then(|open| open.dead_letters(letters, &chain));
        self.broken |= added.is_err();
        added
    }

    /// On a folder: makes everything appended durable, with two `fdatasync`s. Nothing on object stores.
    pub fn flush(&mut self) -> Result<(), ArchiveError> {
        self.check_usable()?;
        if let Some(open) = &mut self.open {
            let flushed = open.flush(&self.chain);
            self.broken |= flushed.is_err();
            flushed?;
        }
        self.durable = self.durable_offset();
        Ok(())
    }

    /// Bytes of memory held by the open segment: on a folder the write buffer and what describes the segment,
    /// on object stores its batches, too.
    pub fn buffered_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.buffered_bytes())
    }

    /// Bytes of batches in the open segment.
    pub fn open_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.content.raw_bytes)
    }

    /// Whether the open segment has reached the roll-over size, or has too many gaps for one manifest.
    pub fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.content.raw_bytes >= self.chain.options().rollover_bytes
                || open.content.dead_letter_bytes >= MOST_DEAD_LETTERS
                || open.content.heap_bytes() - open.content.dead_letter_bytes >= LARGEST_DESCRIPTION
        })
    }

    /// Whether anything appended, or recorded as a gap, is not committed.
    pub fn has_uncommitted(&self) -> bool {
        self.next != self.chain.committed_next()
    }

    /// When the open segment began, in ms since 1970; nothing if none is open. It survives a restart.
    pub fn opened_at(&self) -> Option<i64> {
        self.open.as_ref().map(|open| open.opened_at)
    }

    /// Detaches what is open, possibly only gaps, for [`Chain::commit`]; nothing if nothing is open.
    pub fn seal(&mut self) -> Result<Option<SealedSegment>, ArchiveError> {
        self.check_usable()?;
        self.chain.check()?;
        self.durable = self.durable_offset();
        Ok(self
            .open
            .take()
            .map(|open| SealedSegment::new(open, Arc::clone(&self.chain))))
    }

    /// Gives up what is open, with its memory and its lock; the writer refuses everything from now on. On a
    /// folder the next [`open`](Self::open) finds what was written.
    pub fn abandon(&mut self) {
        self.durable = self.durable_offset();
        self.open = None;
        self.broken = true;
    }

    /// The chain, for the commits of what is sealed.
    pub fn chain(&self) -> Arc<Chain> {
        Arc::clone(&self.chain)
    }

    /// Where the chain ends, for [`Archive::write_head`]; nothing before the lineage's first commit.
    pub fn chain_end(&self) -> Option<ChainEnd> {
        self.chain.end()
    }

    /// Begins the next lineage at `base`, where the source's history parted from the archived one;
    /// `leader_epoch` is that of the last common record, if known. Everything must be committed before.
    pub async fn start_lineage(
        &mut self,
        base: i64,
        leader_epoch: Option<i32>,
    ) -> Result<(), ArchiveError> {
        self.check_usable()?;
        if self.has_uncommitted() || self.open.is_some() {
            return Err(self.misuse("a lineage ends with uncommitted offsets".to_owned()));
        }
        let parent = self.chain.state();
        if base < 0 || base > parent.next {
            return Err(self.misuse(format!(
                "a lineage cannot begin at {base}, beyond its parent's end {}",
                parent.next
            )));
        }
        let key = self.chain.partition();
        let identity = &self.chain.options().identity;
        let mut fork = Fork {
            format: FORMAT,
            requires: Vec::new(),
            topic: key.topic.topic.clone(),
            topic_id: key.topic.topic_id,
            partition: key.partition,
            lineage: self.chain.lineage() + 1,
            base,
            parent_next: parent.next,
            previous: parent.previous,
            leader_epoch,
            writer: identity.clone(),
            created_at: now_ms(),
            checksum: String::new(),
        };
        let (text, checksum) = sealed::seal(&fork);
        fork.checksum = checksum;
        let place = layout::fork(key, fork.lineage);
        let archive = self.chain.archive();
        if create_once(archive.storage(), &place, &text.into())
            .await?
            .is_some()
        {
            let theirs = archive.read_fork(key, fork.lineage).await?;
            let theirs = theirs.ok_or_else(|| ArchiveError::damaged(place, "it vanished"))?;
            return Err(refusal(key, identity, theirs.writer, theirs.base));
        }
        *self = Self::continue_chain(Chain::new(
            archive.clone(),
            key.clone(),
            fork.lineage,
            Arc::clone(self.chain.options()),
            ChainState {
                next: base,
                previous: Some(fork.checksum),
                last_leader_epoch: leader_epoch,
                ..ChainState::default()
            },
        ));
        Ok(())
    }

    /// The open segment, begun if there is none.
    fn opened(&mut self) -> Result<&mut OpenSegment, ArchiveError> {
        if self.open.is_none() {
            self.open = Some(Box::new(OpenSegment::create(&self.chain, self.next)?));
        }
        Ok(self.open.as_mut().expect("it was just set"))
    }

    fn check_usable(&self) -> Result<(), ArchiveError> {
        if self.broken {
            return Err(self.misuse("an earlier write failed; open the partition again".to_owned()));
        }
        Ok(())
    }

    fn check_follows(&self, expected: i64, found: i64) -> Result<(), ArchiveError> {
        if expected == found {
            return Ok(());
        }
        Err(self.not_contiguous(expected, found))
    }

    fn not_contiguous(&self, expected: i64, found: i64) -> ArchiveError {
        ArchiveError::NotContiguous {
            partition: self.partition().clone(),
            expected,
            found,
        }
    }

    fn misuse(&self, reason: String) -> ArchiveError {
        ArchiveError::Misuse {
            partition: self.partition().clone(),
            reason,
        }
    }
}
