//! What an open segment of a folder holds, also when its writer crashed.
//!
//! Up to the sidecar's mark everything was durable: whatever is wrong there is damage. What lies beyond counts
//! as far as it is whole batches that follow each other without holes (holes beyond the mark have no recorded
//! cause); the rest was being written, was never promised, and is cut. Nothing is written here: readers look
//! at the segments of live writers in this way, too.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::Path;

use armory_records::{Batch, BatchHeader, HEADER_LEN};

use crate::archive::now_ms;
use crate::error::{ArchiveError, Damage};
use crate::gaps::Gap;
use crate::names::PartitionKey;
use crate::storage::io_error;
use crate::writer::content::Content;
use crate::writer::sidecar::{self, Mark, SidecarHeader};

/// How much is read at a time.
const READ: usize = 1 << 20;
/// By how much a leader epoch beyond the mark may exceed its predecessor: no checksum covers it.
const PLAUSIBLE_EPOCHS: i32 = 1 << 20;

/// What was found in an open segment.
#[derive(Debug)]
pub(crate) struct Tail {
    /// What counts.
    pub(crate) content: Content,
    /// The digest of the batches that count.
    pub(crate) digest: blake3::Hasher,
    /// The gaps that count, ascending.
    pub(crate) gaps: Vec<Gap>,
    /// Whose segment it is; nothing if it was never flushed.
    pub(crate) header: Option<SidecarHeader>,
}

/// Reads an open segment of `key` that begins at `base`. `place` names it in errors.
pub(crate) fn read(
    file: &File,
    sidecar_path: &Path,
    place: &str,
    key: &PartitionKey,
    lineage: u32,
    base: i64,
) -> Result<Tail, ArchiveError> {
    // The sidecar first: a live writer moves its mark only to what the file holds.
    let sidecar = sidecar::read(sidecar_path, place)?;
    if let Some(header) = &sidecar.header {
        let in_place = header.topic == key.topic.topic
            && header.topic_id == key.topic.topic_id
            && header.partition == key.partition
            && header.lineage == lineage
            && header.base == base;
        if !in_place {
            return Err(ArchiveError::damaged(
                place,
                "its sidecar is another segment's",
            ));
        }
    }
    let mut scan = Scan {
        place,
        content: Content::new(base),
        digest: blake3::Hasher::new(),
        gaps: sidecar.gaps.iter().peekable(),
        mark: sidecar.mark.as_ref(),
        observed: sidecar.mark.as_ref().map_or(&[], |mark| &mark.observed),
        now: now_ms(),
    };
    let has_dead_letters = sidecar
        .header
        .as_ref()
        .is_some_and(SidecarHeader::has_dead_letters);
    let mut batches = BatchStream::new(file).map_err(io_error("read", place))?;
    loop {
        scan.pass_mark()?;
        // What was put aside of what lies beyond is not known, so it is read again from the source.
        if has_dead_letters && scan.mark.is_none() {
            break;
        }
        let bytes = match batches.next() {
            Ok(Some(batch)) => match scan.take(&batch) {
                Ok(()) => batch.bytes().len(),
                Err(_) if scan.mark.is_none() => break,
                Err(what) => return Err(scan.damage(what)),
            },
            Ok(None) if scan.mark.is_none() => break,
            Ok(None) => return Err(scan.damage("the file ends, but more was durable".to_owned())),
            Err(StreamError::Batch(_)) if scan.mark.is_none() => break,
            Err(StreamError::Batch(what)) => return Err(scan.damage(what)),
            Err(StreamError::Io(error)) => return Err(io_error("read", place)(error)),
        };
        batches.consume(bytes);
    }
    Ok(Tail {
        content: scan.content,
        digest: scan.digest,
        gaps: sidecar.gaps,
        header: sidecar.header,
    })
}

struct Scan<'a> {
    place: &'a str,
    content: Content,
    digest: blake3::Hasher,
    gaps: std::iter::Peekable<std::slice::Iter<'a, Gap>>,
    /// The mark, until it is passed.
    mark: Option<&'a Mark>,
    observed: &'a [(u64, i64)],
    now: i64,
}

impl Scan<'_> {
    /// Records the gaps that come next.
    fn fill_gaps(&mut self) {
        while let Some(gap) = self.gaps.next_if(|gap| gap.start == self.content.next) {
            self.content.add_gap(gap.end, gap.cause);
        }
    }

    /// At the mark: checks that everything is as it was when the mark was set.
    fn pass_mark(&mut self) -> Result<(), ArchiveError> {
        self.fill_gaps();
        let Some(mark) = self.mark else {
            return Ok(());
        };
        if self.content.raw_bytes < mark.bytes {
            return Ok(());
        }
        if self.content.raw_bytes > mark.bytes || self.content.next != mark.next {
            return Err(self.damage("its sidecar's mark lies inside of a batch".to_owned()));
        }
        if self.digest.finalize().to_hex().as_str() != mark.blake3 {
            return Err(self.damage("the digest of what was durable does not match".to_owned()));
        }
        self.content.reach_epoch(mark.last_leader_epoch);
        // Marks of earlier versions have none; then those of the kept batches are all that is known.
        if !mark.epoch_starts.is_empty() {
            self.content.epoch_starts.clone_from(&mark.epoch_starts);
        }
        self.content
            .add_dead_letters(mark.dead_letters.iter().cloned());
        self.mark = None;
        Ok(())
    }

    fn take(&mut self, batch: &Batch<'_>) -> Result<(), String> {
        let header = batch.header();
        if header.base_offset != self.content.next {
            return Err(format!(
                "a batch begins at offset {}, expected {}",
                header.base_offset, self.content.next
            ));
        }
        batch.verify_crc().map_err(|error| error.to_string())?;
        if self.mark.is_none() && !self.is_plausible(header) {
            return Err("implausible leader epoch".to_owned());
        }
        let position = self.content.raw_bytes;
        while self.observed.first().is_some_and(|(at, _)| *at < position) {
            self.observed = &self.observed[1..];
        }
        let observed_at = match self.observed.first() {
            Some((at, observed_at)) if *at == position => *observed_at,
            _ => self.now,
        };
        self.content.add_batch(header, observed_at);
        self.digest.update(batch.bytes());
        Ok(())
    }

    /// A batch's checksum does not cover its leader epoch.
    fn is_plausible(&self, header: &BatchHeader) -> bool {
        let epoch = header.partition_leader_epoch;
        match self.content.leader_epochs.last() {
            Some(last) => {
                epoch == last.epoch
                    || (epoch > last.epoch && epoch.saturating_sub(last.epoch) < PLAUSIBLE_EPOCHS)
            }
            None => true,
        }
    }

    fn damage(&self, what: String) -> ArchiveError {
        Box::new(Damage {
            place: self.place.to_owned(),
            batch: Some(self.content.batches),
            offset: Some(self.content.next),
            what,
        })
        .into()
    }
}

/// Why there is no next batch.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// What comes next is no whole batch.
    Batch(String),
    /// The file cannot be read.
    Io(std::io::Error),
}

/// Reads the batches of a file one after the other, with memory for one batch or [`READ`] bytes.
#[derive(Debug)]
pub(crate) struct BatchStream<'f> {
    file: &'f File,
    /// Bytes of the file that are not in the buffer yet.
    unread: u64,
    buffer: Vec<u8>,
    /// Where in the buffer the next batch begins.
    start: usize,
}

impl<'f> BatchStream<'f> {
    /// Begins at the file's start.
    pub(crate) fn new(file: &'f File) -> std::io::Result<Self> {
        let mut cursor = file;
        cursor.seek(SeekFrom::Start(0))?;
        Ok(Self {
            file,
            unread: file.metadata()?.len(),
            buffer: Vec::new(),
            start: 0,
        })
    }

    /// The batch that comes next, its checksum unchecked; nothing at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<Batch<'_>>, StreamError> {
        if !self.fill(HEADER_LEN)? {
            return match self.buffer.len() - self.start {
                0 => Ok(None),
                _ => Err(StreamError::Batch(
                    "the file ends inside of a batch".to_owned(),
                )),
            };
        }
        let not_a_batch = |error: armory_records::BatchError| StreamError::Batch(error.to_string());
        let header = BatchHeader::parse(&self.buffer[self.start..]).map_err(not_a_batch)?;
        if !self.fill(header.size())? {
            return Err(StreamError::Batch(
                "the file ends inside of a batch".to_owned(),
            ));
        }
        Batch::parse(&self.buffer[self.start..])
            .map(Some)
            .map_err(not_a_batch)
    }

    /// Goes beyond the batch that [`next`](Self::next) gave, which had `bytes` bytes.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// Sees to it that the buffer holds `wanted` bytes of what comes next; whether the file has them.
    fn fill(&mut self, wanted: usize) -> Result<bool, StreamError> {
        let buffered = self.buffer.len() - self.start;
        if buffered >= wanted {
            return Ok(true);
        }
        // A length that is garbage must not make us reserve memory for it.
        if (wanted - buffered) as u64 > self.unread {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let more = (wanted - buffered).max(READ) as u64;
        let mut part = self.file.take(more.min(self.unread));
        let read = part
            .read_to_end(&mut self.buffer)
            .map_err(StreamError::Io)?;
        self.unread -= read as u64;
        Ok(self.buffer.len() >= wanted)
    }
}
