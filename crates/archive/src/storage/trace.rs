//! What is done to the files of a folder, in order: a test plays power cuts from it. Costs nothing elsewhere.

use std::path::PathBuf;

/// One operation that has succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    FolderMade(PathBuf),
    Created(PathBuf),
    /// Bytes were appended.
    Wrote(PathBuf, Vec<u8>),
    Cut(PathBuf, u64),
    Synced(PathBuf),
    /// The second is a further name of the first.
    Linked(PathBuf, PathBuf),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
    FolderSynced(PathBuf),
    /// Not of files: the writer reports everything below this offset as durable.
    #[cfg(test)]
    Promised(i64),
}

/// Notes an operation.
#[cfg(not(test))]
#[inline]
pub(crate) fn note(_operation: impl FnOnce() -> Operation) {}

/// Notes an operation.
#[cfg(test)]
pub(crate) use recorder::note;

#[cfg(test)]
pub(crate) mod recorder {
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use super::Operation;

    /// Tests run in one process: each records below a folder of its own.
    static RECORDERS: Mutex<Vec<(PathBuf, Vec<Operation>)>> = Mutex::new(Vec::new());

    pub(crate) fn note(operation: impl FnOnce() -> Operation) {
        let mut recorders = RECORDERS.lock().unwrap();
        if recorders.is_empty() {
            return;
        }
        let operation = operation();
        let recorder = recorders
            .iter_mut()
            .find(|(root, _)| operation.path().is_some_and(|path| path.starts_with(root)));
        if let Some((_, operations)) = recorder {
            operations.push(operation);
        }
    }

    /// Records what happens below `root` from now on.
    pub(crate) fn start(root: &Path) {
        let mut recorders = RECORDERS.lock().unwrap();
        recorders.push((root.to_owned(), Vec::new()));
    }

    /// Adds a promise to the record of `root`.
    pub(crate) fn promise(root: &Path, offset: i64) {
        let mut recorders = RECORDERS.lock().unwrap();
        let recorder = recorders.iter_mut().find(|(path, _)| path == root);
        recorder.unwrap().1.push(Operation::Promised(offset));
    }

    /// Ends the record of `root`.
    pub(crate) fn finish(root: &Path) -> Vec<Operation> {
        let mut recorders = RECORDERS.lock().unwrap();
        let place = recorders.iter().position(|(path, _)| path == root);
        recorders.swap_remove(place.unwrap()).1
    }

    impl Operation {
        fn path(&self) -> Option<&Path> {
            match self {
                Self::FolderMade(path)
                | Self::Created(path)
                | Self::Wrote(path, _)
                | Self::Cut(path, _)
                | Self::Synced(path)
                | Self::Linked(path, _)
                | Self::Renamed(path, _)
                | Self::Removed(path)
                | Self::FolderSynced(path) => Some(path),
                Self::Promised(_) => None,
            }
        }
    }
}
