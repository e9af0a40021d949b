//! Reading a segment: raw batches in order, every one checked.

mod check;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::layout;
use crate::manifest::{Manifest, Segment};
use crate::names::PartitionKey;
use crate::storage::{Storage, blocking, io_error};
use check::Checker;

/// How many bytes of a stored segment are read at a time, or one frame if it is larger.
const WINDOW: u64 = 4 << 20;

/// Reads the batches of one manifest's segment in order, checking them.
///
/// Every batch is checked: its header, its CRC32C, its leader epoch, and that it follows the one before or a
/// recorded gap. At the end of a segment that was read as a whole its digest and counts are checked, too: only
/// then is it certain that not a bit has changed.
///
/// It reads ahead, holding up to about 16 MiB, or four times the largest batch.
#[derive(Debug)]
pub struct SegmentReader {
    plan: Option<Plan>,
    /// The task that reads ahead, once it runs.
    reading: Option<Reading>,
    /// Dead letters as batches.
    letters: Option<Bytes>,
}

/// What is to be read.
#[derive(Debug)]
struct Plan {
    archive: Archive,
    source: Source,
    manifest: Manifest,
    /// The index entries to read.
    entries: Range<usize>,
    /// Batches from this offset on are not given: what an open segment held when its manifest was made.
    cut_at: i64,
}

#[derive(Debug)]
struct Reading {
    chunks: mpsc::Receiver<Result<Bytes, ArchiveError>>,
    task: JoinHandle<()>,
}

/// Where a segment's bytes come from.
#[derive(Debug, Clone)]
enum Source {
    /// A file: readable to the end even if its writer removes its name meanwhile.
    File(Arc<File>),
    Object(Storage),
    /// The manifest has no segment.
    Nothing,
}

impl SegmentReader {
    /// Begins to read at the segment's start. A manifest without a segment reads as nothing; one whose segment was pruned is
    /// [`ArchiveError::Pruned`], also when that happens while it is read.
    pub async fn open(
        archive: &Archive,
        key: &PartitionKey,
        lineage: u32,
        manifest: &Manifest,
    ) -> Result<Self, ArchiveError> {
        if manifest.partition_key() != *key || manifest.lineage != lineage {
            return Err(ArchiveError::Misuse {
                partition: key.clone(),
                reason: format!("the manifest at {} is another partition's", manifest.base),
            });
        }
        if let Some(pruned) = manifest.pruned_error() {
            return Err(pruned);
        }
        if manifest.letters_as_records {
            let letters = archive.letters_as_batches(manifest).await?;
            return Ok(Self {
                plan: None,
                reading: None,
                letters: Some(letters).filter(|letters| !letters.is_empty()),
            });
        }
        let (manifest, cut_at) = match open_source(archive, manifest).await? {
            Some(source) => return Ok(Self::new(archive, source, manifest.clone(), manifest.next)),
            None if manifest.open => {
                // The open segment was committed since its manifest was made.
                let committed = archive.read_manifest(key, lineage, manifest.base).await?;
                let committed = committed.filter(|committed| committed.nonce == manifest.nonce);
                (committed.ok_or_else(|| missing(manifest))?, manifest.next)
            }
            None => return Err(archive.unless_pruned(manifest, missing(manifest)).await),
        };
        let source = match open_source(archive, &manifest).await? {
            Some(source) => source,
            None => return Err(archive.unless_pruned(&manifest, missing(&manifest)).await),
        };
        Ok(Self::new(archive, source, manifest, cut_at))
    }

    fn new(archive: &Archive, source: Source, manifest: Manifest, cut_at: i64) -> Self {
        let entries = 0..manifest
            .segment
            .as_ref()
            .map_or(0, |segment| segment.index.len());
        Self {
            plan: Some(Plan {
                archive: archive.clone(),
                source,
                manifest,
                entries,
                cut_at,
            }),
            reading: None,
            letters: None,
        }
    }

    /// Goes to the index entry at or before `offset`; to be called before the first chunk. The first chunk may
    /// begin with batches below `offset`. The segment's digest is then not checked.
    pub fn seek(&mut self, offset: i64) {
        if let Some(plan) = &mut self.plan
            && let Some(segment) = &plan.manifest.segment
        {
            let entries = &segment.index;
            plan.entries.start = if offset >= plan.manifest.next {
                entries.len()
            } else {
                entries
                    .partition_point(|entry| entry.offset <= offset)
                    .saturating_sub(1)
            };
        }
    }

    /// Goes to the first index entry that has a record at or after `timestamp` (ms since 1970), else to the
    /// end; as [`seek`](Self::seek).
    pub fn seek_time(&mut self, timestamp: i64) {
        if let Some(plan) = &mut self.plan
            && let Some(segment) = &plan.manifest.segment
        {
            let entries = &segment.index;
            plan.entries.start = entries
                .iter()
                .position(|entry| entry.max_timestamp >= timestamp)
                .unwrap_or(entries.len());
        }
    }

    /// Ends before the first index entry that lies entirely at or beyond `offset`; to be called before the
    /// first chunk. The last chunk may hold batches beyond. The segment's digest is then not checked.
    pub fn until(&mut self, offset: i64) {
        if let Some(plan) = &mut self.plan
            && let Some(segment) = &plan.manifest.segment
        {
            plan.entries.end = segment.index.partition_point(|entry| entry.offset < offset);
        }
    }

    /// The next whole batches, about 1 to 4 MiB (one batch alone if it is larger); nothing at the end.
    /// Cancelling it loses nothing.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, ArchiveError> {
        if let Some(letters) = self.letters.take() {
            return Ok(Some(letters));
        }
        if let Some(plan) = self.plan.take() {
            let (sender, chunks) = mpsc::channel(1);
            let task = tokio::spawn(plan.read(sender));
            self.reading = Some(Reading { chunks, task });
        }
        let Some(reading) = &mut self.reading else {
            return Ok(None);
        };
        if let Some(chunk) = reading.chunks.recv().await {
            return chunk.map(Some);
        }
        if let Err(error) = (&mut reading.task).await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        self.reading = None;
        Ok(None)
    }
}

impl Drop for SegmentReader {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.task.abort();
        }
    }
}

fn missing(manifest: &Manifest) -> ArchiveError {
    let place = manifest.segment_place().unwrap_or_else(|| manifest.place());
    ArchiveError::damaged(
        place,
        format!("it is missing, but {} names it", manifest.place()),
    )
}

/// Opens a manifest's segment and checks its size; nothing if it does not exist.
async fn open_source(
    archive: &Archive,
    manifest: &Manifest,
) -> Result<Option<Source>, ArchiveError> {
    let (Some(segment), Some(place)) = (&manifest.segment, manifest.segment_place()) else {
        return Ok(Some(Source::Nothing));
    };
    let (source, size) = match archive.storage() {
        Storage::Folder(folder) => {
            let path = folder.path(&place);
            let opened = blocking(move || match File::open(&path) {
                Ok(file) => {
                    let size = file.metadata().map_err(io_error("look at", &path))?.len();
                    Ok(Some((file, size)))
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(io_error("open", path)(error)),
            });
            match opened.await? {
                Some((file, size)) => (Source::File(Arc::new(file)), size),
                None => return Ok(None),
            }
        }
        storage => match storage.size(&place).await? {
            Some(size) => (Source::Object(storage.clone()), size),
            None => return Ok(None),
        },
    };
    // A live writer goes on appending to its open segment.
    let in_full = match manifest.open {
        true => size >= segment.stored_bytes,
        false => size == segment.stored_bytes,
    };
    if !in_full {
        return Err(ArchiveError::damaged(
            place,
            format!("it has {size} bytes, expected {}", segment.stored_bytes),
        ));
    }
    Ok(Some(source))
}

impl Plan {
    async fn read(self, chunks: mpsc::Sender<Result<Bytes, ArchiveError>>) {
        if let Err(error) = self.read_to(&chunks).await {
            let error = self.archive.unless_pruned(&self.manifest, error).await;
            // Nobody is there to be told if the reader was dropped.
            let _ = chunks.send(Err(error)).await;
        }
    }

    async fn read_to(
        &self,
        chunks: &mpsc::Sender<Result<Bytes, ArchiveError>>,
    ) -> Result<(), ArchiveError> {
        let mut checker = Checker::new(&self.manifest, self.entries.clone());
        let Some(segment) = &self.manifest.segment else {
            return checker.finish();
        };
        let place = layout::segment(
            &self.manifest.partition_key(),
            self.manifest.lineage,
            &segment.name,
        );
        let mut windows = windows(segment, self.entries.clone());
        let mut fetched = windows
            .next()
            .map(|window| self.source.fetch(&place, segment, window));
        while let Some(window) = fetched {
            let (entries, bytes) = window.await?;
            // The next one is fetched while this one is checked and handled.
            fetched = windows
                .next()
                .map(|window| self.source.fetch(&place, segment, window));
            let window_start = segment.index[entries.start].stored_position;
            for number in entries {
                let stored = stored_range(segment, number);
                let from = (stored.start - window_start) as usize;
                let frame = bytes.slice(from..from + (stored.end - stored.start) as usize);
                let codec = segment.codec;
                let (result, back) =
                    blocking(move || (checker.frame(number, frame, codec), checker)).await;
                checker = back;
                let batches = self.cut(result?);
                if !batches.is_empty() && chunks.send(Ok(batches)).await.is_err() {
                    return Ok(());
                }
            }
        }
        checker.finish()
    }

    /// Takes away what lies beyond [`Plan::cut_at`].
    fn cut(&self, batches: Bytes) -> Bytes {
        if self.cut_at >= self.manifest.next {
            return batches;
        }
        let mut walk = armory_records::Batches::new(&batches);
        let mut keep = 0;
        while let Some(Ok(batch)) = walk.next() {
            if batch.header().base_offset >= self.cut_at {
                break;
            }
            keep += batch.bytes().len();
        }
        batches.slice(..keep)
    }
}

/// Index entries in runs whose frames make up about [`WINDOW`] bytes.
fn windows(
    segment: &Segment,
    entries: Range<usize>,
) -> impl Iterator<Item = Range<usize>> + use<'_> {
    let mut start = entries.start;
    std::iter::from_fn(move || {
        if start >= entries.end {
            return None;
        }
        let first = segment.index[start].stored_position;
        let mut end = start + 1;
        while end < entries.end && stored_range(segment, end).end - first <= WINDOW {
            end += 1;
        }
        let window = start..end;
        start = end;
        Some(window)
    })
}

/// Where a frame lies in the stored file.
fn stored_range(segment: &Segment, number: usize) -> Range<u64> {
    let end = segment
        .index
        .get(number + 1)
        .map_or(segment.stored_bytes, |next| next.stored_position);
    segment.index[number].stored_position..end
}

/// A fetch that runs by itself, and ends when it is no longer wanted.
struct Fetch {
    entries: Range<usize>,
    task: JoinHandle<Result<Bytes, ArchiveError>>,
}

impl Source {
    fn fetch(
        &self,
        place: &str,
        segment: &Segment,
        entries: Range<usize>,
    ) -> impl Future<Output = Result<(Range<usize>, Bytes), ArchiveError>> + use<> {
        let range =
            stored_range(segment, entries.start).start..stored_range(segment, entries.end - 1).end;
        let (source, place) = (self.clone(), place.to_owned());
        let fetch = Fetch {
            entries,
            task: tokio::spawn(async move { source.read(place, range).await }),
        };
        fetch.wait()
    }

    async fn read(self, place: String, range: Range<u64>) -> Result<Bytes, ArchiveError> {
        let length = (range.end - range.start) as usize;
        let bytes = match self {
            Self::Nothing => None,
            Self::Object(storage) => storage.get_range(&place, range).await?,
            Self::File(file) => {
                let task_place = place.clone();
                let read = blocking(move || {
                    let mut bytes = Vec::with_capacity(length);
                    let mut cursor = &*file;
                    cursor.seek(SeekFrom::Start(range.start))?;
                    cursor.take(length as u64).read_to_end(&mut bytes)?;
                    Ok(Bytes::from(bytes))
                });
                let bytes = read.await.map_err(io_error("read", task_place))?;
                Some(bytes)
            }
        };
        match bytes {
            Some(bytes) if bytes.len() == length => Ok(bytes),
            Some(_) => Err(ArchiveError::damaged(
                place,
                "it became shorter while it was read",
            )),
            None => Err(ArchiveError::damaged(
                place,
                "it vanished while it was read",
            )),
        }
    }
}

impl Fetch {
    async fn wait(mut self) -> Result<(Range<usize>, Bytes), ArchiveError> {
        let fetched = match (&mut self.task).await {
            Ok(fetched) => fetched?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        Ok((self.entries.clone(), fetched))
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
