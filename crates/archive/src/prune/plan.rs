//! Pruning on request: first what would go and what stays, then the deed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::look::{Incarnation, Look};
use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::layout;
use crate::manifest::Timestamps;
use crate::names::{PartitionKey, TopicKey};
use crate::retention::Retention;

/// What is to be pruned. Segments that were marked before are always finished, when their grace is over.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// How long a marked segment stays for those who are reading it.
    pub grace: Duration,
    /// What has expired by the retention of the backup that wrote it.
    pub expired: bool,
    /// Segments whose newest record is older.
    pub older_than: Option<Duration>,
    /// Incarnations but the newest to which nothing was added for so long.
    pub incarnations_older_than: Option<Duration>,
    /// All incarnations but so many, the newest ones.
    pub keep_incarnations: Option<u32>,
    /// Files that nobody needs and that are older: of writers that crashed or were fenced.
    pub leftovers_older_than: Option<Duration>,
    /// Also the last records of a topic.
    pub force: bool,
}

/// What a file is that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PruneKind {
    /// A segment that expired by its backup's retention.
    Expired,
    /// A segment whose newest record is old enough.
    Old,
    /// A segment of an old incarnation.
    Incarnation,
    /// A segment that was marked before.
    Marked,
    /// A segment that no manifest can ever name.
    Leftover,
    /// An unfinished file.
    Temporary,
}

/// One file that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneAction {
    /// What it is.
    pub kind: PruneKind,
    /// Its path, relative to the archive's root.
    pub place: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Records in it; 0 where they are no loss.
    pub records: u64,
    /// The range of their timestamps.
    pub timestamps: Option<Timestamps>,
    /// Whose it is: partition, incarnation number (0 if unknown), lineage and the base of its manifest; nothing for unfinished files.
    pub chain: Option<(PartitionKey, u32, u32, i64)>,
}

/// Segments that stay, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The topic.
    pub topic: TopicKey,
    /// The number of its incarnation; 0 if unknown.
    pub incarnation: u32,
    /// Why, in words.
    pub why: String,
    /// How many files.
    pub files: u64,
    /// Records in them.
    pub records: u64,
    /// Their size, in bytes.
    pub bytes: u64,
}

/// What would go, and what stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// What goes, in the order of topics.
    pub actions: Vec<PruneAction>,
    /// What stays.
    pub kept: Vec<Kept>,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneOutcome {
    /// Segments that were marked: nobody reads them from now on.
    pub marked: u64,
    /// Records in them.
    pub records: u64,
    /// Files that were deleted.
    pub deleted: u64,
    /// Bytes of these.
    pub deleted_bytes: u64,
    /// Bytes of segments that are marked, and deleted when their grace is over.
    pub waiting_bytes: u64,
}

impl Archive {
    /// Says what of the topics for which `filter` says so would go, and what stays. Nothing is written. `whole` says that the
    /// filter takes every topic: then unfinished files outside of topics are looked for, too.
    ///
    /// Incarnations go but for the newest one with records and what is newer; and whatever else is asked for, a topic's last
    /// records go only by their backup's retention, or with [`PruneRequest::force`].
    pub async fn plan_prune(
        &self,
        filter: impl Fn(&str) -> bool + Send,
        whole: bool,
        request: &PruneRequest,
    ) -> Result<PrunePlan, ArchiveError> {
        let retention = match request.expired {
            true => self.retention().await?,
            false => Retention::default(),
        };
        let mut topics = BTreeSet::new();
        for directory in [layout::TOPICS, layout::MANIFESTS] {
            topics.extend(self.storage().list(directory).await?.directories);
        }
        let mut look = Look::new(self, request, retention);
        for topic in topics.iter().filter(|topic| filter(topic)) {
            let mut incarnations = Vec::new();
            // Without their numbers nobody knows which one is old.
            let numbers = match self.read_claims(topic).await {
                Ok(claims) => Some(claims),
                Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => None,
                Err(error) => return Err(error),
            };
            for key in self.incarnations(topic).await? {
                let number = numbers.iter().flatten().find(|(_, id)| *id == key.topic_id);
                let mut found = Incarnation {
                    key,
                    number: number.map_or(0, |(number, _)| *number),
                    live: Vec::new(),
                };
                look.at_incarnation(&mut found).await?;
                incarnations.push(found);
            }
            incarnations.sort_by_key(|incarnation| incarnation.number);
            look.choose(incarnations);
            for directory in [
                layout::TOPICS,
                layout::MANIFESTS,
                "snapshots",
                layout::DEAD_LETTERS,
            ] {
                look.at_temporaries(format!("{directory}/{topic}"), true)
                    .await?;
            }
        }
        if whole {
            for directory in [
                layout::HEADS,
                layout::RETENTION,
                "restores",
                layout::RESTORE_DEAD_LETTERS,
            ] {
                look.at_temporaries(directory.to_owned(), true).await?;
            }
            look.at_temporaries(String::new(), false).await?;
        }
        Ok(look.into_plan())
    }
}
