//! A journal: numbered entries, each created once.

use bytes::Bytes;

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::location::Location;

/// An append-only list of opaque entries in a directory of an archive, with one writer at a time.
#[derive(Debug)]
pub struct Journal {}

impl Journal {
    /// Opens the journal in directory `path` of an archive, e.g. `restores/<id>`, and reads what it holds.
    pub async fn open(_archive: &Archive, _path: &str) -> Result<Self, ArchiveError> {
        todo!()
    }
    /// Opens a journal outside of an archive.
    pub async fn open_at(_location: &Location, _path: &str) -> Result<Self, ArchiveError> {
        todo!()
    }
    /// The entries in order: those found on opening, then those appended.
    pub fn entries(&self) -> &[Bytes] {
        todo!()
    }
    /// Adds an entry, durably. [`ArchiveError::JournalConflict`] if another process added one first.
    pub async fn append(&mut self, _entry: impl Into<Bytes> + Send) -> Result<(), ArchiveError> {
        todo!()
    }
}
