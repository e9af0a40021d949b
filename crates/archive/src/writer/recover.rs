//! Recovering the open segments that a crashed writer left on a folder.
//!
//! There may be several in a row, for one is detached while the next is begun. They are taken in the order of
//! their bases: one that continues the chain is adopted, and committed if another follows; one that the chain
//! covers is a leftover of a finished commit; of one that the chain covers in part (an older writer was
//! overtaken) the rest is appended anew; one that does not follow was never promised and is put aside.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt as _;

use super::open_file::OpenFile;
use super::segment::Body;
use super::sidecar::SidecarHeader;
use super::{OpenPaths, OpenSegment, PartitionWriter, lock, resume};
use crate::chain::Chain;
use crate::dead_letters::DeadLetter;
use crate::error::ArchiveError;
use crate::layout;
use crate::manifest::EpochStart;
use crate::storage::trace::{Operation, note};
use crate::storage::{Folder, blocking, io_error, remove, rename, sync_parent};
use crate::tail::{self, BatchStream, StreamError, Tail};

/// The extension of an open segment that was put aside: nobody reads it.
const ASIDE: &str = "aside";

/// Recovers what a folder holds beyond the end of the writer's chain.
pub(super) async fn recover(mut writer: PartitionWriter) -> Result<PartitionWriter, ArchiveError> {
    let Some(folder) = writer.chain.storage().folder().cloned() else {
        return Ok(writer);
    };
    loop {
        let (folder, chain) = (folder.clone(), writer.chain());
        let names = blocking(move || open_names(&folder, &chain)).await?;
        let Some(name) = names.into_iter().find(|name| !writer.is_adopted(name)) else {
            break;
        };
        if let Some(sealed) = writer.seal()? {
            writer.chain().commit(sealed).await?;
        }
        writer = writer.recover_one(name).await?;
    }
    // What was recovered beyond the mark is promised from now on.
    blocking(move || writer.flush().map(|()| writer)).await
}

/// The names of the lineage's open segments, ascending by base.
fn open_names(folder: &Folder, chain: &Chain) -> Result<Vec<String>, ArchiveError> {
    let directory = layout::segment_dir(chain.partition(), chain.lineage());
    let mut names = folder.names(&directory)?;
    names.retain(|name| layout::open_name(name).is_some());
    Ok(names)
}

impl PartitionWriter {
    fn is_adopted(&self, name: &str) -> bool {
        let Some(open) = &self.open else {
            return false;
        };
        layout::open_name(name) == Some((open.content.base, open.nonce.as_str()))
    }

    async fn recover_one(self, name: String) -> Result<Self, ArchiveError> {
        let Some(folder) = self.chain.storage().folder().cloned() else {
            return Ok(self);
        };
        let mut writer = self;
        blocking(move || writer.recover_file(&folder, &name).map(|()| writer)).await
    }

    fn recover_file(&mut self, folder: &Folder, name: &str) -> Result<(), ArchiveError> {
        let Some((base, nonce)) = layout::open_name(name) else {
            return Ok(());
        };
        let chain = self.chain();
        let paths = chain.open_paths(folder, base, nonce);
        let Some(file) = open_locked(&paths)? else {
            // Its writer finished meanwhile, and so moved the chain's end.
            return Err(ArchiveError::Locked {
                path: paths.segment,
            });
        };
        let place = layout::segment(chain.partition(), chain.lineage(), name);
        let tail = tail::read(
            &file,
            &paths.sidecar,
            &place,
            chain.partition(),
            chain.lineage(),
            base,
        )?;
        let writer = tail.header.as_ref().map(|header| header.writer.clone());
        let owner = resume::check_owner(chain.partition(), chain.options(), writer);
        let next = tail.content.next;
        if base == self.next {
            // Only what would go on from here is anybody's claim. The rest was left by a writer that lost the chain,
            // and says nothing about whose it is now.
            owner?;
            self.remove_unpublished(folder, base, nonce)?;
            self.adopt(tail, file, paths, nonce)
        } else if next <= self.next {
            remove(&paths.segment)?;
            remove(&paths.sidecar)
        } else if base < self.next && owner.is_ok() && self.append_rest(&tail, &file, &place)? {
            self.flush()?;
            remove(&paths.segment)?;
            remove(&paths.sidecar)
        } else {
            put_aside(&paths)
        }
    }

    /// Removes what the commit of an open segment had already named, without coming to its manifest.
    fn remove_unpublished(
        &self,
        folder: &Folder,
        base: i64,
        nonce: &str,
    ) -> Result<(), ArchiveError> {
        let stem = format!("{}.{nonce}.log", layout::digits(base));
        let directory = layout::segment_dir(self.partition(), self.lineage());
        for name in folder.names(&directory)? {
            if name.starts_with(&stem) {
                remove(&folder.path(&format!("{directory}/{name}")))?;
            }
        }
        let (key, lineage) = (self.partition(), self.lineage());
        remove(&folder.path(&layout::dead_letters(key, lineage, base, nonce)))
    }

    /// Goes on with a recovered segment as the open one.
    fn adopt(
        &mut self,
        tail: Tail,
        file: File,
        paths: OpenPaths,
        nonce: &str,
    ) -> Result<(), ArchiveError> {
        let Tail {
            content,
            digest,
            header,
            ..
        } = tail;
        file.set_len(content.raw_bytes)
            .map_err(io_error("cut", &paths.segment))?;
        note(|| Operation::Cut(paths.segment.clone(), content.raw_bytes));
        if content.next == content.base {
            remove(&paths.segment)?;
            return remove(&paths.sidecar);
        }
        let limit = self.chain.options().write_buffer;
        self.next = content.next;
        self.last_leader_epoch = self.last_leader_epoch.max(content.last_leader_epoch);
        let has_dead_letters = header.as_ref().is_some_and(SidecarHeader::has_dead_letters);
        let opened_at = header.map_or_else(crate::archive::now_ms, |header| header.opened_at);
        self.open = Some(Box::new(OpenSegment {
            body: Body::File(OpenFile::adopt(
                file,
                paths,
                content.base,
                limit,
                has_dead_letters,
            )),
            content,
            digest,
            nonce: nonce.to_owned(),
            opened_at,
        }));
        Ok(())
    }

    /// Appends what of a recovered segment lies beyond the chain's end; whether that was possible: a batch
    /// that lies on both sides of the end cannot be stored without storing offsets twice.
    fn append_rest(&mut self, tail: &Tail, file: &File, place: &str) -> Result<bool, ArchiveError> {
        let mut letters = tail.content.dead_letters.clone();
        letters.retain(|letter| letter.offset >= self.next);
        let mut letters = letters.into_iter().peekable();
        let mut gaps = tail.gaps.iter().peekable();
        let mut batches = BatchStream::new(file).map_err(io_error("read", place))?;
        for _ in 0..tail.content.batches {
            let batch = match batches.next() {
                Ok(Some(batch)) => batch,
                Ok(None) | Err(StreamError::Batch(_)) => {
                    return Err(ArchiveError::damaged(place, "it changed while it was read"));
                }
                Err(StreamError::Io(error)) => return Err(io_error("read", place)(error)),
            };
            let header = *batch.header();
            while let Some(gap) = gaps.next_if(|gap| gap.start < header.base_offset) {
                let epoch = epoch_before(&tail.content.epoch_starts, gap.end);
                self.dead_letters(letters_before(&mut letters, gap.end))?;
                self.gap(gap.end.max(self.next), gap.cause, epoch)?;
            }
            if header.base_offset >= self.next {
                self.dead_letters(letters_before(&mut letters, header.next_offset()))?;
                self.append(batch.bytes(), &[header])?;
            } else if header.next_offset() > self.next {
                return Ok(false);
            }
            let size = batch.bytes().len();
            batches.consume(size);
        }
        for gap in gaps {
            let epoch = epoch_before(&tail.content.epoch_starts, gap.end);
            self.dead_letters(letters_before(&mut letters, gap.end))?;
            self.gap(gap.end.max(self.next), gap.cause, epoch)?;
        }
        self.last_leader_epoch = self.last_leader_epoch.max(tail.content.last_leader_epoch);
        if let Some(open) = &mut self.open {
            open.content.reach_epoch(tail.content.last_leader_epoch);
        }
        Ok(true)
    }
}

/// Takes the dead letters with offsets below `end`.
fn letters_before(
    letters: &mut std::iter::Peekable<impl Iterator<Item = DeadLetter>>,
    end: i64,
) -> Vec<DeadLetter> {
    std::iter::from_fn(|| letters.next_if(|letter| letter.offset < end)).collect()
}

/// The leader epoch that the offset before `end` has, as far as it is known.
fn epoch_before(starts: &[EpochStart], end: i64) -> Option<i32> {
    let before = starts.iter().rev().find(|start| start.offset < end);
    before.map(|start| start.epoch)
}

/// Opens and locks an open segment; nothing if it was removed meanwhile.
fn open_locked(paths: &OpenPaths) -> Result<Option<File>, ArchiveError> {
    let path = &paths.segment;
    let file = match OpenOptions::new().read(true).append(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    lock(&file, path)?;
    let locked = file.metadata().map_err(io_error("look at", path))?;
    match fs::metadata(path) {
        Ok(named) if named.ino() == locked.ino() => Ok(Some(file)),
        _ => Ok(None),
    }
}

fn put_aside(paths: &OpenPaths) -> Result<(), ArchiveError> {
    let aside = paths.segment.with_extension(ASIDE);
    tracing::warn!(
        segment = %paths.segment.display(), aside = %aside.display(),
        "an open segment does not follow the chain and is put aside"
    );
    rename(&paths.segment, &aside, "put aside")?;
    sync_parent(&aside)
}
