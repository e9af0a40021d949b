//! A folder as storage: durable creation by temporary name, fsync, link, fsync of the folder.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use armory_failpoints::{Point, reach};
use bytes::Bytes;

use super::trace::{Operation, note};
use super::{Aged, Created, Listing, io_error};
use crate::error::ArchiveError;
use crate::names::new_nonce;

/// What names of unfinished files end in; nobody reads them.
pub(crate) const TEMPORARY: &str = ".tmp";

/// A folder and everything below it.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The path of something in the archive.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub(super) fn get(&self, relative: &str) -> Result<Option<Bytes>, ArchiveError> {
        let path = self.path(relative);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(io_error("read", path)(error)),
        }
    }

    pub(super) fn get_range(
        &self,
        relative: &str,
        range: Range<u64>,
    ) -> Result<Option<Bytes>, ArchiveError> {
        let path = self.path(relative);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(io_error("open", path)(error)),
        };
        let length = range.end - range.start;
        let mut content = Vec::with_capacity(length as usize);
        file.seek(SeekFrom::Start(range.start))
            .and_then(|_| file.take(length).read_to_end(&mut content))
            .map_err(io_error("read", path))?;
        Ok(Some(content.into()))
    }

    pub(super) fn size(&self, relative: &str) -> Result<Option<u64>, ArchiveError> {
        let path = self.path(relative);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(io_error("look at", path)(error)),
        }
    }

    pub(super) fn create(&self, relative: &str, content: &[u8]) -> Result<Created, ArchiveError> {
        let path = self.path(relative);
        let temporary = self.write_temporary(&path, content)?;
        reach(Point::TemporaryWritten);
        let created = link(&temporary, &path);
        remove(&temporary)?;
        if created? == Created::Yes {
            sync_parent(&path)?;
            return Ok(Created::Yes);
        }
        Ok(Created::Exists)
    }

    pub(super) fn replace(&self, relative: &str, content: &[u8]) -> Result<(), ArchiveError> {
        let path = self.path(relative);
        let temporary = self.write_temporary(&path, content)?;
        rename(&temporary, &path, "replace")?;
        sync_parent(&path)
    }

    pub(super) fn delete(&self, relative: &str) -> Result<(), ArchiveError> {
        remove(&self.path(relative))
    }

    pub(super) fn list(&self, relative: &str) -> Result<Listing, ArchiveError> {
        let directory = self.path(relative);
        let mut listing = Listing::default();
        for name in self.names(relative)? {
            if name.ends_with(TEMPORARY) {
                continue;
            }
            let path = directory.join(&name);
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => listing.directories.push(name),
                Ok(metadata) => listing.files.push((name, metadata.len())),
                // Deleted meanwhile, as a writer does with its open segments.
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(io_error("look at", path)(error)),
            }
        }
        Ok(listing)
    }

    pub(super) fn list_aged(&self, relative: &str) -> Result<Vec<Aged>, ArchiveError> {
        let directory = self.path(relative);
        let mut files = Vec::new();
        for name in self.names(relative)? {
            let path = directory.join(&name);
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(metadata) => {
                    let modified = metadata.modified().map_err(io_error("look at", path))?;
                    let age = modified.duration_since(std::time::UNIX_EPOCH);
                    files.push(Aged {
                        name,
                        bytes: metadata.len(),
                        modified: age.map_or(0, |age| age.as_millis() as i64),
                    });
                }
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(io_error("look at", path)(error)),
            }
        }
        Ok(files)
    }

    /// The names of everything directly in a directory, unfinished files included, sorted. Cheaper than
    /// [`list`](Self::list), for it does not look at the files: years of segments may lie there.
    pub(crate) fn names(&self, relative: &str) -> Result<Vec<String>, ArchiveError> {
        let path = self.path(relative);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(io_error("list", path)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("list", &path))?;
            // Names that are no UTF-8 are not ours.
            names.extend(entry.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes a directory with all above it, durably.
    pub(crate) fn make_directory(&self, path: &Path) -> Result<(), ArchiveError> {
        match fs::create_dir(path) {
            Ok(()) => {
                note(|| Operation::FolderMade(path.to_owned()));
                sync_parent(path)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parent = path
                    .parent()
                    .ok_or_else(|| io_error("make the folder", path)(error))?;
                self.make_directory(parent)?;
                self.make_directory(path)
            }
            Err(error) => Err(io_error("make the folder", path)(error)),
        }
    }

    /// Creates a file, with its directory if need be. Neither the file's name nor its content is durable yet.
    pub(crate) fn create_file(&self, path: &Path) -> Result<File, ArchiveError> {
        let open = || {
            OpenOptions::new()
                .read(true)
                .append(true)
                .create_new(true)
                .open(path)
        };
        let file = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    self.make_directory(parent)?;
                }
                open()
            }
            opened => opened,
        };
        let file = file.map_err(io_error("create", path))?;
        note(|| Operation::Created(path.to_owned()));
        Ok(file)
    }

    fn write_temporary(&self, target: &Path, content: &[u8]) -> Result<PathBuf, ArchiveError> {
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}{TEMPORARY}", new_nonce()));
        let temporary = PathBuf::from(name);
        let write = || {
            let mut file = self.create_file(&temporary)?;
            file.write_all(content)
                .map_err(io_error("write", &temporary))?;
            note(|| Operation::Wrote(temporary.clone(), content.to_vec()));
            file.sync_all().map_err(io_error("sync", &temporary))?;
            note(|| Operation::Synced(temporary.clone()));
            Ok(())
        };
        write().map_err(|error| unfinished(error, &temporary, target))?;
        Ok(temporary)
    }
}

/// Removes what a failure left of a file that was to become `target`: where a volume is full, every try would leave more. The error
/// names the target, as it would after every other try.
pub(crate) fn unfinished(error: ArchiveError, temporary: &Path, target: &Path) -> ArchiveError {
    if let Err(error) = remove(temporary) {
        tracing::debug!("an unfinished file stays: {error}");
    }
    match error {
        ArchiveError::Io {
            action,
            path,
            source,
        } if path == temporary => ArchiveError::Io {
            action,
            path: target.to_owned(),
            source,
        },
        other => other,
    }
}

/// Gives `existing` the further name `name`, unless that exists. The name is durable after [`sync_parent`].
pub(crate) fn link(existing: &Path, name: &Path) -> Result<Created, ArchiveError> {
    match fs::hard_link(existing, name) {
        Ok(()) => {
            note(|| Operation::Linked(existing.to_owned(), name.to_owned()));
            Ok(Created::Yes)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Created::Exists),
        Err(error) => Err(io_error("link", name)(error)),
    }
}

/// Gives a file another name, replacing what has it; `action` says for what. The name is durable after [`sync_parent`].
pub(crate) fn rename(from: &Path, to: &Path, action: &'static str) -> Result<(), ArchiveError> {
    fs::rename(from, to).map_err(io_error(action, to))?;
    note(|| Operation::Renamed(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Removes a file, which may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), ArchiveError> {
    match fs::remove_file(path) {
        Ok(()) => {
            note(|| Operation::Removed(path.to_owned()));
            Ok(())
        }
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(io_error("remove", path)(error)),
    }
}

/// Makes the names in `path`'s folder durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), ArchiveError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error("sync the folder", parent))?;
    note(|| Operation::FolderSynced(parent.to_owned()));
    Ok(())
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
