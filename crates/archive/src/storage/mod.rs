//! The few operations that the archive needs of a storage, with one behaviour on folders and object stores.
//!
//! All paths are relative to the archive's root. Whatever is created is durable when the call returns.

mod folder;
mod objects;
pub(crate) mod trace;

use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;

pub(crate) use folder::{Folder, TEMPORARY, link, remove, rename, sync_parent, unfinished};
pub(crate) use objects::Objects;

use crate::error::ArchiveError;
use crate::location::Location;

/// How creating something that must not exist went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// It did not exist, and is durable now.
    Yes,
    /// Something of that name exists: another's, or one's own from a try whose answer was lost.
    Exists,
}

/// What lies directly in a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Names of subdirectories, sorted.
    pub(crate) directories: Vec<String>,
    /// Names and sizes of files, sorted by name.
    pub(crate) files: Vec<(String, u64)>,
}

/// A file or object with its age; unfinished ones, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aged {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// When it was written, in ms since 1970.
    pub(crate) modified: i64,
}

/// A place for files or objects.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    Folder(Folder),
    Objects(Objects),
}

impl Storage {
    pub(crate) fn new(location: &Location) -> Self {
        match location {
            Location::Folder(root) => Self::Folder(Folder::new(root.clone())),
            Location::ObjectStore {
                store,
                prefix,
                display,
                troubles,
            } => {
                let store = std::sync::Arc::clone(store);
                Self::Objects(Objects::new(store, prefix, display, troubles.clone()))
            }
        }
    }

    /// The folder, if it is one: its open segments are files.
    pub(crate) fn folder(&self) -> Option<&Folder> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Objects(_) => None,
        }
    }

    /// The whole content, or nothing if it does not exist.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Bytes>, ArchiveError> {
        match self {
            Self::Folder(folder) => {
                let (folder, path) = (folder.clone(), path.to_owned());
                blocking(move || folder.get(&path)).await
            }
            Self::Objects(objects) => objects.get(path).await,
        }
    }

    /// A part of the content, or nothing if it does not exist. Shorter than `range` if the content is.
    pub(crate) async fn get_range(
        &self,
        path: &str,
        range: Range<u64>,
    ) -> Result<Option<Bytes>, ArchiveError> {
        match self {
            Self::Folder(folder) => {
                let (folder, path) = (folder.clone(), path.to_owned());
                blocking(move || folder.get_range(&path, range)).await
            }
            Self::Objects(objects) => objects.get_range(path, range).await,
        }
    }

    /// The size in bytes, or nothing if it does not exist.
    pub(crate) async fn size(&self, path: &str) -> Result<Option<u64>, ArchiveError> {
        match self {
            Self::Folder(folder) => {
                let (folder, path) = (folder.clone(), path.to_owned());
                blocking(move || folder.size(&path)).await
            }
            Self::Objects(objects) => objects.size(path).await,
        }
    }

    /// Creates a small file or object that must not exist.
    pub(crate) async fn create(&self, path: &str, content: Bytes) -> Result<Created, ArchiveError> {
        match self {
            Self::Folder(folder) => {
                let (folder, path) = (folder.clone(), path.to_owned());
                blocking(move || folder.create(&path, &content)).await
            }
            Self::Objects(objects) => objects.create(path, content).await,
        }
    }

    /// Writes a small file or object, replacing what is there.
    pub(crate) async fn replace(&self, path: &str, content: Bytes) -> Result<(), ArchiveError> {
        match self {
            Self::Folder(folder) => {
                let (folder, path) = (folder.clone(), path.to_owned());
                blocking(move || folder.replace(&path, &content)).await
            }
            Self::Objects(objects) => objects.put(path, vec![content]).await,
        }
    }

    /// Deletes a file or object; it may be gone already.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), ArchiveError> {
        match self {
            Self::Folder(folder) => {
                let (folder, path) = (folder.clone(), path.to_owned());
                blocking(move || folder.delete(&path)).await
            }
            Self::Objects(objects) => objects.delete(path).await,
        }
    }

    /// What lies directly in a directory; nothing if it does not exist.
    pub(crate) async fn list(&self, directory: &str) -> Result<Listing, ArchiveError> {
        match self {
            Self::Folder(folder) => {
                let (folder, directory) = (folder.clone(), directory.to_owned());
                blocking(move || folder.list(&directory)).await
            }
            Self::Objects(objects) => objects.list(directory).await,
        }
    }

    /// The files directly in a directory with their ages, sorted by name; unfinished ones, too.
    pub(crate) async fn list_aged(&self, directory: &str) -> Result<Vec<Aged>, ArchiveError> {
        match self {
            Self::Folder(folder) => {
                let (folder, directory) = (folder.clone(), directory.to_owned());
                blocking(move || folder.list_aged(&directory)).await
            }
            Self::Objects(objects) => objects.list_aged(directory).await,
        }
    }

    /// What to call the storage in messages.
    pub(crate) fn display(&self) -> String {
        match self {
            Self::Folder(folder) => folder.path("").display().to_string(),
            Self::Objects(objects) => objects.display().to_owned(),
        }
    }
}

/// Runs file work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The work is never cancelled, so it panicked.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Turns an I/O error into an error with its place.
pub(crate) fn io_error(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> ArchiveError {
    let path = path.into();
    move |source| ArchiveError::Io {
        action,
        path,
        source,
    }
}
