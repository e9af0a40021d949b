//! A segment from its first batch to its publication.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use armory_failpoints::{Point, reach};
use armory_records::BatchHeader;
use bytes::Bytes;

use super::content::Content;
use super::memory::Chunks;
use super::open_file::{OpenFile, OpenPaths};
use super::sidecar::SidecarHeader;
use crate::archive::now_ms;
use crate::chain::Chain;
use crate::codec::Codec;
use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::error::ArchiveError;
use crate::gaps::{Gap, GapCause};
use crate::layout;
use crate::manifest::{IndexEntry, Segment};
use crate::names::new_nonce;
use crate::storage::trace::{Operation, note};
use crate::storage::{
    Created, Folder, Objects, Storage, TEMPORARY, blocking, io_error, link, remove, sync_parent,
    unfinished,
};

/// What is being gathered for one manifest.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) content: Content,
    /// The digest of the batches.
    pub(crate) digest: blake3::Hasher,
    /// Random; part of the segment's name.
    pub(crate) nonce: String,
    /// When it began, in ms since 1970.
    pub(crate) opened_at: i64,
    pub(crate) body: Body,
}

/// Where the batches of an open segment are.
#[derive(Debug)]
pub(crate) enum Body {
    File(OpenFile),
    Memory(Chunks),
}

impl OpenSegment {
    /// Begins a segment at offset `base`.
    pub(crate) fn create(chain: &Chain, base: i64) -> Result<Self, ArchiveError> {
        let nonce = new_nonce();
        let body = match chain.storage() {
            Storage::Folder(folder) => {
                let paths = chain.open_paths(folder, base, &nonce);
                let limit = chain.options().write_buffer;
                Body::File(OpenFile::create(folder, paths, base, limit)?)
            }
            Storage::Objects(_) => Body::Memory(Chunks::default()),
        };
        Ok(Self {
            content: Content::new(base),
            digest: blake3::Hasher::new(),
            nonce,
            opened_at: now_ms(),
            body,
        })
    }

    pub(crate) fn append(
        &mut self,
        bytes: &[u8],
        headers: &[BatchHeader],
    ) -> Result<(), ArchiveError> {
        match &mut self.body {
            Body::File(file) => file.append(bytes)?,
            Body::Memory(chunks) => chunks.append(bytes),
        }
        self.digest.update(bytes);
        let observed_at = now_ms();
        for header in headers {
            self.content.add_batch(header, observed_at);
        }
        Ok(())
    }

    pub(crate) fn gap(&mut self, until: i64, cause: GapCause) {
        if let Body::File(file) = &mut self.body {
            file.gap(Gap {
                start: self.content.next,
                end: until,
                cause,
            });
        }
        self.content.add_gap(until, cause);
    }

    /// Adds records that were put aside. On a folder, before the first ones, the sidecar learns that there are some: from then on
    /// batches count only up to its mark, because beyond it nobody would know what was put aside of them.
    pub(crate) fn dead_letters(
        &mut self,
        letters: Vec<DeadLetter>,
        chain: &Chain,
    ) -> Result<(), ArchiveError> {
        if let Body::File(file) = &mut self.body
            && file.begin_dead_letters()
        {
            self.flush(chain)?;
        }
        self.content.add_dead_letters(letters);
        Ok(())
    }

    pub(crate) fn flush(&mut self, chain: &Chain) -> Result<(), ArchiveError> {
        let Body::File(file) = &mut self.body else {
            return Ok(());
        };
        let has_dead_letters = file.has_dead_letters();
        let (base, nonce, opened_at) = (self.content.base, &self.nonce, self.opened_at);
        let header = || {
            let identity = &chain.options().identity;
            SidecarHeader::new(
                chain.partition(),
                chain.lineage(),
                base,
                nonce,
                opened_at,
                identity,
                has_dead_letters,
            )
        };
        file.flush(&self.content, &self.digest, header)
    }

    /// The end (exclusive) of what of it survives a crash, if anything does.
    pub(crate) fn flushed_next(&self) -> i64 {
        match &self.body {
            Body::File(file) => file.marked_next(),
            Body::Memory(_) => self.content.base,
        }
    }

    /// Bytes of memory held, beyond a fixed size.
    pub(crate) fn buffered_bytes(&self) -> usize {
        let body = match &self.body {
            Body::File(file) => file.heap_bytes(),
            Body::Memory(chunks) => chunks.held_bytes(),
        };
        body + self.content.heap_bytes()
    }
}

/// What is appended but not committed yet, detached from its writer by
/// [`PartitionWriter::seal`](crate::PartitionWriter::seal).
///
/// Dropping it without a commit ends the writer's chain: what follows it can no longer be committed either.
/// On a folder the next [`PartitionWriter::open`](crate::PartitionWriter::open) finds its batches again.
#[derive(Debug)]
pub struct SealedSegment {
    /// Present until it is committed.
    segment: Option<Box<OpenSegment>>,
    base: i64,
    next: i64,
    raw_bytes: u64,
    buffered_bytes: usize,
    chain: Arc<Chain>,
}

impl SealedSegment {
    pub(super) fn new(segment: Box<OpenSegment>, chain: Arc<Chain>) -> Self {
        Self {
            base: segment.content.base,
            next: segment.content.next,
            raw_bytes: segment.content.raw_bytes,
            buffered_bytes: segment.buffered_bytes(),
            segment: Some(segment),
            chain,
        }
    }

    /// The first offset (inclusive).
    pub fn base(&self) -> i64 {
        self.base
    }

    /// The offset after the last one.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Bytes of batches; 0 where there are only gaps.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Bytes of memory held until it is committed.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    pub(crate) fn belongs_to(&self, chain: &Chain) -> bool {
        std::ptr::eq(chain, &*self.chain)
    }

    pub(crate) fn content(&self) -> Option<&OpenSegment> {
        self.segment.as_deref()
    }

    /// Makes the batches durable under the segment's final name; nothing if there are none.
    pub(crate) async fn store(&mut self) -> Result<Option<Segment>, ArchiveError> {
        let Some(mut segment) = self.segment.take() else {
            return Ok(None);
        };
        let chain = Arc::clone(&self.chain);
        let (segment, stored) = match chain.storage() {
            Storage::Folder(folder) => {
                let (folder, chain) = (folder.clone(), Arc::clone(&chain));
                blocking(move || {
                    let stored = publish(&mut segment, &folder, &chain);
                    (segment, stored)
                })
                .await
            }
            Storage::Objects(objects) => {
                let stored = upload(&mut segment, objects, &chain).await;
                (segment, stored)
            }
        };
        self.segment = Some(segment);
        stored
    }

    /// Makes the dead letters durable under their final name; nothing if there are none.
    pub(crate) async fn store_dead_letters(&self) -> Result<Option<DeadLetters>, ArchiveError> {
        let Some(segment) = self.segment.as_deref() else {
            return Ok(None);
        };
        if segment.content.dead_letters.is_empty() {
            return Ok(None);
        }
        let (key, chain) = (self.chain.partition(), &self.chain);
        let place = layout::dead_letters(key, chain.lineage(), self.base, &segment.nonce);
        let (named, text) = DeadLetters::of(place, key, &segment.content.dead_letters)?;
        chain.storage().replace(&named.place, text).await?;
        reach(Point::DeadLettersStored);
        Ok(Some(named))
    }

    /// After the commit: removes what only served the open segment.
    pub(crate) async fn clear(&mut self) -> Result<(), ArchiveError> {
        let Some(segment) = self.segment.take() else {
            return Ok(());
        };
        let Storage::Folder(folder) = self.chain.storage() else {
            return Ok(());
        };
        let paths = self.chain.open_paths(folder, self.base, &segment.nonce);
        blocking(move || {
            // The sidecar last: an open segment is never without it.
            remove(&paths.segment)?;
            reach(Point::OpenFileRemoved);
            remove(&paths.sidecar)
        })
        .await
    }
}

impl Drop for SealedSegment {
    fn drop(&mut self) {
        if self.segment.is_some() {
            self.chain.fail(format!(
                "offsets {} to {} were not committed",
                self.base, self.next
            ));
        }
    }
}

/// The codec for a segment: producers' compression is not wrapped in another one.
fn codec_for(content: &Content, chain: &Chain) -> (Codec, Option<i32>) {
    match chain.options().compression {
        Some((codec, level)) if !content.is_mostly_compressed() => (codec, level),
        _ => (Codec::None, None),
    }
}

fn segment_name(segment: &OpenSegment, codec: Codec) -> String {
    let base = layout::digits(segment.content.base);
    format!("{base}.{}{}", segment.nonce, codec.extension())
}

/// Gives the segment on a folder its final name.
fn publish(
    segment: &mut OpenSegment,
    folder: &Folder,
    chain: &Chain,
) -> Result<Option<Segment>, ArchiveError> {
    let (codec, level) = codec_for(&segment.content, chain);
    let name = segment_name(segment, codec);
    let Body::File(open) = &mut segment.body else {
        return Ok(None);
    };
    if segment.content.batches == 0 {
        return Ok(None);
    }
    let path = folder.path(&layout::segment(chain.partition(), chain.lineage(), &name));
    let mut stored = Segment {
        name,
        codec,
        stored_bytes: segment.content.raw_bytes,
        raw_bytes: segment.content.raw_bytes,
        blake3: String::new(),
        index: segment.content.index.clone(),
    };
    if codec == Codec::None {
        open.sync()?;
        stored.blake3 = segment.digest.finalize().to_hex().to_string();
        link_new(open.path(), &path)?;
    } else {
        open.write_out()?;
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(TEMPORARY);
        let temporary = PathBuf::from(temporary);
        // A leftover of an earlier try at the same segment.
        remove(&temporary)?;
        let mut out = folder.create_file(&temporary)?;
        compress_file(open.file(), &mut out, level, &mut stored)
            .map_err(io_error("compress to", &temporary))
            .map_err(|error| unfinished(error, &temporary, &path))?;
        note(|| {
            let content = std::fs::read(&temporary).unwrap_or_default();
            Operation::Wrote(temporary.clone(), content)
        });
        note(|| Operation::Synced(temporary.clone()));
        link_new(&temporary, &path)?;
        remove(&temporary)?;
    }
    reach(Point::SegmentLinked);
    sync_parent(&path)?;
    Ok(Some(stored))
}

/// The name has a nonce that nobody else has: what carries it is of an earlier try at the same segment.
fn link_new(existing: &Path, name: &Path) -> Result<(), ArchiveError> {
    if link(existing, name)? == Created::Exists {
        remove(name)?;
        link(existing, name)?;
    }
    Ok(())
}

fn compress_file(
    open: &File,
    out: &mut File,
    level: Option<i32>,
    stored: &mut Segment,
) -> std::io::Result<()> {
    let mut hasher = blake3::Hasher::new();
    let mut frame = Vec::new();
    let mut written = 0;
    for number in 0..stored.index.len() {
        let (start, end) = frame_range(&stored.index, stored.raw_bytes, number);
        frame.resize((end - start) as usize, 0);
        open.read_exact_at(&mut frame, start)?;
        let compressed = stored.codec.compress(level, &[&frame])?;
        out.write_all(&compressed)?;
        hasher.update(&compressed);
        stored.index[number].stored_position = written;
        written += compressed.len() as u64;
    }
    out.sync_all()?;
    stored.stored_bytes = written;
    stored.blake3 = hasher.finalize().to_hex().to_string();
    Ok(())
}

/// Where frame `number` lies in the batches.
fn frame_range(index: &[IndexEntry], raw_bytes: u64, number: usize) -> (u64, u64) {
    let end = index
        .get(number + 1)
        .map_or(raw_bytes, |next| next.position);
    (index[number].position, end)
}

/// Puts the segment into the object store.
async fn upload(
    segment: &mut OpenSegment,
    objects: &Objects,
    chain: &Chain,
) -> Result<Option<Segment>, ArchiveError> {
    let (codec, level) = codec_for(&segment.content, chain);
    let name = segment_name(segment, codec);
    let Body::Memory(chunks) = &mut segment.body else {
        return Ok(None);
    };
    if segment.content.batches == 0 {
        return Ok(None);
    }
    let path = layout::segment(chain.partition(), chain.lineage(), &name);
    let mut stored = Segment {
        name,
        codec,
        stored_bytes: segment.content.raw_bytes,
        raw_bytes: segment.content.raw_bytes,
        blake3: segment.digest.finalize().to_hex().to_string(),
        index: segment.content.index.clone(),
    };
    let mut pieces = std::mem::take(chunks).into_pieces();
    if codec != Codec::None {
        let compressed = blocking(move || {
            let pieces = compress_pieces(pieces, level, &mut stored)?;
            Ok((stored, pieces))
        })
        .await;
        (stored, pieces) = compressed.map_err(io_error("compress", &path))?;
    }
    objects.put(&path, pieces).await?;
    Ok(Some(stored))
}

/// Compresses frame by frame; each frees the batches it was made of.
fn compress_pieces(
    pieces: Vec<Bytes>,
    level: Option<i32>,
    stored: &mut Segment,
) -> std::io::Result<Vec<Bytes>> {
    let mut pieces = VecDeque::from(pieces);
    let mut hasher = blake3::Hasher::new();
    let mut frames = Vec::with_capacity(stored.index.len());
    let mut written = 0;
    for number in 0..stored.index.len() {
        let (start, end) = frame_range(&stored.index, stored.raw_bytes, number);
        let frame = take_front(&mut pieces, (end - start) as usize);
        let slices: Vec<&[u8]> = frame.iter().map(|piece| &**piece).collect();
        let compressed = Bytes::from(stored.codec.compress(level, &slices)?);
        hasher.update(&compressed);
        stored.index[number].stored_position = written;
        written += compressed.len() as u64;
        frames.push(compressed);
    }
    stored.stored_bytes = written;
    stored.blake3 = hasher.finalize().to_hex().to_string();
    Ok(frames)
}

/// Takes `length` bytes from the front, without copying.
fn take_front(pieces: &mut VecDeque<Bytes>, mut length: usize) -> Vec<Bytes> {
    let mut taken = Vec::new();
    while length > 0 {
        let Some(mut piece) = pieces.pop_front() else {
            break;
        };
        if piece.len() > length {
            taken.push(piece.split_to(length));
            pieces.push_front(piece);
            break;
        }
        length -= piece.len();
        taken.push(piece);
    }
    taken
}

impl Chain {
    /// The names of an open segment's files.
    pub(crate) fn open_paths(&self, folder: &Folder, base: i64, nonce: &str) -> OpenPaths {
        let stem = format!("{}.{nonce}", layout::digits(base));
        let path = |extension: &str| {
            let name = format!("{stem}.{extension}");
            folder.path(&layout::segment(self.partition(), self.lineage(), &name))
        };
        OpenPaths {
            segment: path(layout::OPEN),
            sidecar: path(layout::MARK),
        }
    }
}
