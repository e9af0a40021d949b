//! Errors by meaning: what a caller can do about it decides the variant.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use crate::names::{PartitionKey, WriterIdentity};
use crate::prune::PruneReason;

/// What can go wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The location holds no `armory.json`.
    #[error("{location} is not an archive: it has no armory.json")]
    NotAnArchive {
        /// The archive's location.
        location: String,
    },
    /// The location cannot be understood.
    #[error("cannot use {location} as an archive's location: {reason}")]
    InvalidLocation {
        /// The location as given.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name cannot be used in an archive.
    #[error("{kind} {name:?} cannot be used in an archive: allowed are {rule}")]
    InvalidName {
        /// What is named.
        kind: &'static str,
        /// The name as given.
        name: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// Written by a later version, in a form that this one does not know.
    #[error(
        "{place} needs {requirement}, which this version does not know; use the version of armory that wrote it"
    )]
    Unsupported {
        /// The file or object.
        place: String,
        /// The format version or requirement.
        requirement: String,
    },
    /// The storage does not honour create-if-absent, on which commits rest.
    #[error(
        "{location} does not honour create-if-absent ({reason}): two writers could overwrite each other; use a storage with conditional writes"
    )]
    NoCreateIfAbsent {
        /// The archive's location.
        location: String,
        /// How it showed.
        reason: String,
    },
    /// Another backup writes this partition's chain.
    #[error(
        "{partition} is archived by another writer: {owner}; give this one a storage of its own, or continue that one with --take-over (in a pod, by spec.extraArgs)"
    )]
    OwnedByOther {
        /// The partition.
        partition: PartitionKey,
        /// The writer of the newest manifest or open segment.
        owner: WriterIdentity,
    },
    /// The same backup runs with a higher generation: this writer is obsolete and gives the partition up.
    #[error("{partition} was taken over by a newer writer: {by}")]
    Fenced {
        /// The partition.
        partition: PartitionKey,
        /// The newer writer.
        by: WriterIdentity,
    },
    /// An older writer of the same backup committed first. Nothing is lost: open the partition again, it
    /// continues from there.
    #[error("{partition}: an older writer committed up to {next} first ({by}); open it again")]
    Overtaken {
        /// The partition.
        partition: PartitionKey,
        /// The other writer.
        by: WriterIdentity,
        /// The end of what it committed (exclusive).
        next: i64,
    },
    /// The backup's work was dealt out anew: this process belongs to a group that is over.
    #[error(
        "group generation {given} of backup {backup_id} is over, generation {newest} has begun; start it with that or a higher one"
    )]
    GroupIsOver {
        /// The backup.
        backup_id: String,
        /// The group generation that was given.
        given: u64,
        /// The newest one.
        newest: u64,
    },
    /// The group generation was begun with other workers.
    #[error(
        "group generation {generation} of backup {backup_id} has {workers} workers and seed {seed}; give a higher generation to all workers of another group"
    )]
    OtherGroup {
        /// The backup.
        backup_id: String,
        /// The group generation.
        generation: u64,
        /// How many workers it was begun with.
        workers: u32,
        /// The seed it was begun with.
        seed: u32,
    },
    /// A commit before this one failed, so this one cannot be made.
    #[error("{partition}: an earlier commit failed: {reason}")]
    ChainBroken {
        /// The partition.
        partition: PartitionKey,
        /// The earlier failure.
        reason: String,
    },
    /// A live process appends to this open segment.
    #[error("{} is being written by another process; stop it, or wait for it to end", path.display())]
    Locked {
        /// The open segment.
        path: PathBuf,
    },
    /// What was given does not follow what the writer has.
    #[error("{partition}: batch or gap at offset {found} does not follow, expected {expected}")]
    NotContiguous {
        /// The partition.
        partition: PartitionKey,
        /// The offset that must come next.
        expected: i64,
        /// The offset that came.
        found: i64,
    },
    /// Headers and bytes given to the writer disagree, or uncommitted data is in the way.
    #[error("{partition}: {reason}")]
    Misuse {
        /// The partition.
        partition: PartitionKey,
        /// What the caller did.
        reason: String,
    },
    /// The same topic of another cluster lies in this place, and without ids the two cannot be told apart.
    #[error(
        "topic {topic} without id in this archive is of cluster {archived}, not {found}; use another archive"
    )]
    OtherCluster {
        /// The topic's name.
        topic: String,
        /// The cluster id in the archive.
        archived: String,
        /// The cluster id that was given.
        found: String,
    },
    /// Something in the archive is not what it was when written.
    #[error(transparent)]
    Damaged(#[from] Box<Damage>),
    /// The segment was pruned, after the manifest was read that named it or before.
    #[error(
        "offsets {base} to {next} (exclusive) of {partition} were pruned at {} ({reason}): they are no longer in the archive; start anew without them",
        crate::archive::instant(*at)
    )]
    Pruned {
        /// The partition.
        partition: PartitionKey,
        /// The first offset (inclusive).
        base: i64,
        /// The end (exclusive).
        next: i64,
        /// When, in ms since 1970.
        at: i64,
        /// Why.
        reason: PruneReason,
    },
    /// Another process wrote the next journal entry.
    #[error("{place} was written by another process")]
    JournalConflict {
        /// The entry.
        place: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}{}: {source}", path.display(), remedy(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The store does not let these credentials do it.
    #[error(
        "cannot {action} {place}: the credentials do not allow it; a backup needs to read, list, write and delete, everything else to read and list: {source}"
    )]
    Denied {
        /// What was tried.
        action: &'static str,
        /// The object, with the store's name.
        place: String,
        /// The cause.
        source: object_store::Error,
    },
    /// A store operation failed, after all retries.
    #[error("cannot {action} {place}, tried {tries} times in {} s: {source}", spent.as_secs())]
    Store {
        /// What was tried.
        action: &'static str,
        /// The object, with the store's name.
        place: String,
        /// How often; more than once only for failures that may pass.
        tries: u32,
        /// How long.
        spent: Duration,
        /// The cause.
        source: object_store::Error,
    },
}

/// What helps against a failed file operation, where that is known.
fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            " (the volume is full; enlarge it, or remove from it what is not the archive's)"
        }
        ErrorKind::PermissionDenied => " (let the user that armory runs as do that)",
        ErrorKind::ReadOnlyFilesystem => " (make the volume writable)",
        _ => "",
    }
}

impl ArchiveError {
    /// Whether opening the partition again may succeed, without anyone doing anything.
    pub fn is_retriable(&self) -> bool {
        matches!(
            self,
            Self::Overtaken { .. }
                | Self::Locked { .. }
                | Self::ChainBroken { .. }
                | Self::Io { .. }
                | Self::Denied { .. }
                | Self::Store { .. }
        )
    }

    /// Whether the storage does not let us do it, whatever it is.
    pub fn is_about_rights(&self) -> bool {
        match self {
            Self::Denied { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ),
            _ => false,
        }
    }

    pub(crate) fn damaged(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Damaged(Box::new(Damage {
            place: place.into(),
            batch: None,
            offset: None,
            what: what.into(),
        }))
    }
}

/// Where something is not what it was when written, and what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Damage {
    /// The segment, manifest or other object, relative to the archive's root.
    pub place: String,
    /// The batch within the segment, counted from 0 at the segment's (or the read's) start.
    pub batch: Option<u64>,
    /// The Kafka offset at which it shows.
    pub offset: Option<i64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged", self.place)?;
        if let Some(batch) = self.batch {
            write!(f, " in batch {batch}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_stands_before_the_cause_which_is_told_once() {
        let error = ArchiveError::Io {
            action: "write",
            path: "/a/b".into(),
            source: std::io::Error::from_raw_os_error(28),
        };
        assert_eq!(
            armory_troubles::sentence(&error),
            "cannot write /a/b (the volume is full; enlarge it, or remove from it what is not the archive's): No space left on device (os error 28)"
        );
    }
}
