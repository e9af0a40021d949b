//! An open segment on a folder: a locked file that is appended to, with its sidecar.

use std::fs::File;
use std::io::{IoSlice, Write as _};
use std::path::{Path, PathBuf};

use armory_failpoints::{Point, reach};

use super::content::Content;
use super::sidecar::{Mark, Sidecar, SidecarHeader};
use crate::error::ArchiveError;
use crate::gaps::{Gap, Gaps};
use crate::storage::trace::{Operation, note};
use crate::storage::{Folder, io_error};

/// The file of an open segment.
#[derive(Debug)]
pub(crate) struct OpenFile {
    /// Locked as long as it is open.
    file: File,
    path: PathBuf,
    sidecar: Sidecar,
    /// What is not written yet: runs of batches too small for a write of their own.
    buffer: Vec<u8>,
    buffer_limit: usize,
    /// The gaps since the last mark, relative to `marked_next`.
    unmarked_gaps: Gaps,
    marked_next: i64,
    marked_bytes: u64,
    /// How many entries of the index the sidecar knows.
    marked_entries: usize,
    /// How many of the content's epoch starts the sidecar has.
    marked_epochs: usize,
    /// Whether the segment has dead letters, which its sidecar is to say.
    has_dead_letters: bool,
    /// How many of the content's dead letters the sidecar has.
    marked_letters: usize,
}

/// The names of an open segment's files.
#[derive(Debug, Clone)]
pub(crate) struct OpenPaths {
    pub(crate) segment: PathBuf,
    pub(crate) sidecar: PathBuf,
}

impl OpenFile {
    /// Creates and locks the file of a new open segment.
    pub(crate) fn create(
        folder: &Folder,
        paths: OpenPaths,
        base: i64,
        buffer_limit: usize,
    ) -> Result<Self, ArchiveError> {
        let file = folder.create_file(&paths.segment)?;
        lock(&file, &paths.segment)?;
        Ok(Self {
            file,
            path: paths.segment,
            sidecar: Sidecar::new(paths.sidecar),
            buffer: Vec::new(),
            buffer_limit,
            unmarked_gaps: Gaps::default(),
            marked_next: base,
            marked_bytes: 0,
            marked_entries: 0,
            marked_epochs: 0,
            has_dead_letters: false,
            marked_letters: 0,
        })
    }

    /// Goes on with a recovered file, opened for appending and locked, whose content ends where the file does.
    /// Its sidecar is written anew on the next flush.
    pub(crate) fn adopt(
        file: File,
        paths: OpenPaths,
        base: i64,
        buffer_limit: usize,
        has_dead_letters: bool,
    ) -> Self {
        Self {
            file,
            path: paths.segment,
            sidecar: Sidecar::new(paths.sidecar),
            buffer: Vec::new(),
            buffer_limit,
            unmarked_gaps: Gaps::default(),
            marked_next: base,
            marked_bytes: 0,
            marked_entries: 0,
            marked_epochs: 0,
            has_dead_letters,
            marked_letters: 0,
        }
    }

    /// From now on there are dead letters; whether the sidecar does not say so yet.
    pub(crate) fn begin_dead_letters(&mut self) -> bool {
        if self.has_dead_letters {
            return false;
        }
        self.has_dead_letters = true;
        self.sidecar.want_rewrite();
        true
    }

    pub(crate) fn has_dead_letters(&self) -> bool {
        self.has_dead_letters
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The end (exclusive) of what is durable.
    pub(crate) fn marked_next(&self) -> i64 {
        self.marked_next
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        if self.buffer.len() + bytes.len() < self.buffer_limit {
            if self.buffer.capacity() == 0 {
                self.buffer.reserve_exact(self.buffer_limit);
            }
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        let mut slices = [IoSlice::new(&self.buffer), IoSlice::new(bytes)];
        write_all(&self.file, &mut slices).map_err(io_error("write", &self.path))?;
        note(|| Operation::Wrote(self.path.clone(), [&self.buffer, bytes].concat()));
        self.buffer.clear();
        Ok(())
    }

    pub(crate) fn gap(&mut self, gap: Gap) {
        self.unmarked_gaps.push(self.marked_next, gap);
    }

    /// Writes out what is buffered. An idle segment keeps no buffer.
    pub(crate) fn write_out(&mut self) -> Result<(), ArchiveError> {
        let buffer = std::mem::take(&mut self.buffer);
        (&self.file)
            .write_all(&buffer)
            .map_err(io_error("write", &self.path))?;
        note(|| Operation::Wrote(self.path.clone(), buffer));
        Ok(())
    }

    /// Makes the batches durable, without moving the mark: for the moment before the segment is published.
    pub(crate) fn sync(&mut self) -> Result<(), ArchiveError> {
        self.write_out()?;
        self.file
            .sync_data()
            .map_err(io_error("sync", &self.path))?;
        note(|| Operation::Synced(self.path.clone()));
        Ok(())
    }

    /// Makes everything durable and moves the mark. `digest` is that of the batches so far.
    pub(crate) fn flush(
        &mut self,
        content: &Content,
        digest: &blake3::Hasher,
        header: impl FnOnce() -> SidecarHeader,
    ) -> Result<(), ArchiveError> {
        let rewrite = self.sidecar.wants_rewrite();
        if self.marked_next == content.next && self.marked_bytes == content.raw_bytes && !rewrite {
            return Ok(());
        }
        // A new file is synced even if it is empty: its sidecar must not outlive it.
        if self.marked_bytes < content.raw_bytes || rewrite {
            self.sync()?;
        }
        reach(Point::BatchesSynced);
        let observed_from = if rewrite { 0 } else { self.marked_entries };
        let epochs_from = if rewrite { 0 } else { self.marked_epochs };
        let letters_from = if rewrite { 0 } else { self.marked_letters };
        let observed = content.index[observed_from..]
            .iter()
            .map(|entry| (entry.position, entry.observed_at))
            .collect();
        let unmarked = std::mem::take(&mut self.unmarked_gaps);
        let mark = Mark {
            bytes: content.raw_bytes,
            next: content.next,
            blake3: digest.finalize().to_hex().to_string(),
            gaps: if rewrite {
                content.gaps.clone()
            } else {
                unmarked
            },
            observed,
            last_leader_epoch: content.last_leader_epoch,
            epoch_starts: content.epoch_starts[epochs_from..].to_vec(),
            dead_letters: content.dead_letters[letters_from..].to_vec(),
        };
        if rewrite {
            self.sidecar.rewrite(&header(), &mark)?;
        } else {
            self.sidecar.append(&mark)?;
        }
        self.marked_next = content.next;
        self.marked_bytes = content.raw_bytes;
        self.marked_entries = content.index.len();
        self.marked_epochs = content.epoch_starts.len();
        self.marked_letters = content.dead_letters.len();
        Ok(())
    }

    /// Bytes of memory held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.buffer.capacity() + self.unmarked_gaps.heap_bytes()
    }
}

/// Takes the lock that tells other processes that the segment is being written.
pub(crate) fn lock(file: &File, path: &Path) -> Result<(), ArchiveError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(std::fs::TryLockError::WouldBlock) => Err(ArchiveError::Locked {
            path: path.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(io_error("lock", path)(error)),
    }
}

fn write_all(mut file: &File, mut slices: &mut [IoSlice<'_>]) -> std::io::Result<()> {
    // Empty slices at the front would read as "nothing written".
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
