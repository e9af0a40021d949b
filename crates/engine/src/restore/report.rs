//! The report of a restore: a journal in the archive, from which an interrupted restore goes on.
//!
//! Every entry is created if absent under the next number, so two processes that run the same restore cannot both
//! write: the one that comes second is told, and stops sending. The report never says what has landed (the
//! target's log does); it says what was going to be sent, under which producer ids, and from where.
//!
//! So it also says which source offset became which target offset, without a list of them: a record of an unchanged topic lies at
//! the start offset of its target partition + the number of records before it in the archive. Of other topics the intents tell.

use armory_archive::{Archive, ArchiveError, Journal};
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::preflight::TargetTopic;
use crate::EngineError;

/// One entry of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub(crate) enum Entry {
    /// The first one: what this restore is.
    Begin(Begin),
    /// A process took the restore over, or began it.
    Session {
        /// Random, one a process.
        session: String,
        /// When, in ms since the epoch.
        at: i64,
    },
    /// What is about to be sent of records that plugins may have changed.
    Intents { intents: Vec<Intent> },
    /// A sign of life, with the records that were acknowledged so far.
    Progress { at: i64, records: u64 },
    /// The configuration that the source topic had was given to a target that this restore created.
    Configured { target: String },
    /// Everything landed.
    Done { at: i64, records: u64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) format: u32,
    pub(crate) id: String,
    pub(crate) archive: String,
    pub(crate) source_clusters: Vec<String>,
    pub(crate) target_cluster: Option<String>,
    pub(crate) plugins: Vec<PluginRecord>,
    pub(crate) topics: Vec<TopicRecord>,
}

/// A plugin that took part, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginRecord {
    pub(crate) label: String,
    pub(crate) digest: String,
    pub(crate) config: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TopicRecord {
    pub(crate) source: String,
    pub(crate) source_id: String,
    pub(crate) incarnation: u32,
    pub(crate) target: String,
    pub(crate) target_id: Option<String>,
    /// Whether this restore created the target, and owes it the archived configuration.
    pub(crate) created: bool,
    /// How far each source partition is restored (exclusive), so that a resumed restore ends where the first run would have.
    pub(crate) sources: Vec<SourceRecord>,
    pub(crate) targets: Vec<TargetRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceRecord {
    pub(crate) partition: i32,
    pub(crate) lineage: u32,
    pub(crate) next: i64,
    pub(crate) records: u64,
}

/// Under which producer id a target partition is written, and from which offset on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetRecord {
    pub(crate) partition: i32,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) start_offset: i64,
}

/// Source offsets `[from, next)` of one partition become these records of the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Index of the topic in [`Begin::topics`].
    pub(crate) topic: usize,
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) next: i64,
    pub(crate) targets: Vec<Share>,
}

/// `count` records of a target partition, the first of which is its `first`-th (counted from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i32, u64, u64)", into = "(i32, u64, u64)")]
pub(crate) struct Share {
    pub(crate) partition: i32,
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl From<(i32, u64, u64)> for Share {
    fn from((partition, first, count): (i32, u64, u64)) -> Share {
        Share {
            partition,
            first,
            count,
        }
    }
}

impl From<Share> for (i32, u64, u64) {
    fn from(share: Share) -> (i32, u64, u64) {
        (share.partition, share.first, share.count)
    }
}

/// The report of one restore, open for writing.
#[derive(Debug)]
pub(crate) struct Report {
    id: String,
    journal: Journal,
    entries: Vec<Entry>,
}

impl Report {
    /// Opens the report of restore `id`; empty when it never ran.
    pub(crate) async fn open(archive: &Archive, id: &str) -> Result<Report, EngineError> {
        let mut journal = Journal::open(archive, &format!("restores/{id}")).await?;
        let entries = journal
            .take_found()
            .iter()
            .enumerate()
            .map(|(number, bytes)| {
                serde_json::from_slice(bytes).map_err(|error| EngineError::Report {
                    id: id.to_owned(),
                    what: format!("its entry {number} cannot be read: {error}"),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Report {
            id: id.to_owned(),
            journal,
            entries,
        })
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The first entry, if this restore ever began.
    pub(crate) fn begin(&self) -> Option<&Begin> {
        match self.entries.first()? {
            Entry::Begin(begin) => Some(begin),
            _ => None,
        }
    }

    /// What earlier runs were going to send, in order. They are read once, at the start: keeping them would make memory grow.
    pub(crate) fn take_intents(&mut self) -> Vec<Intent> {
        let mut all = Vec::new();
        self.entries.retain_mut(|entry| match entry {
            Entry::Intents { intents } => {
                all.append(intents);
                false
            }
            _ => true,
        });
        all
    }

    pub(crate) fn is_done(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry, Entry::Done { .. }))
    }

    /// Makes an entry durable. Fails when another process wrote the report meanwhile: then this one must stop sending.
    pub(crate) async fn append(&mut self, entry: Entry) -> Result<(), EngineError> {
        let bytes = serde_json::to_vec(&entry).expect("an entry has only string keys");
        match self.journal.append(bytes).await {
            Ok(()) => {
                if !matches!(entry, Entry::Intents { .. } | Entry::Progress { .. }) {
                    self.entries.push(entry);
                }
                Ok(())
            }
            Err(ArchiveError::JournalConflict { .. }) => Err(EngineError::Report {
                id: self.id.clone(),
                what: "another process has gone on with this restore; this one stops and leaves it to the other".to_owned(),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

/// The id of a restore: whatever makes it another restore makes it another id.
pub(crate) fn restore_id(
    archive: &str,
    plan: &Plan,
    target_cluster: Option<&str>,
    targets: &[TargetTopic],
    plugins: &[PluginRecord],
) -> String {
    let target_ids: Vec<String> = targets
        .iter()
        .map(|target| match target.meta.id {
            Some(id) => id.to_string(),
            None => target.meta.name.clone(),
        })
        .collect();
    let topics: Vec<_> = plan
        .topics
        .iter()
        .zip(&target_ids)
        .map(|(topic, id)| {
            (
                &topic.mapping.source,
                topic.key.topic_id.to_string(),
                &topic.mapping.target,
                id,
                &topic.mapping.partitions,
            )
        })
        .collect();
    let text = serde_json::to_vec(&(1, archive, target_cluster, topics, plugins, &plan.variant))
        .expect("plain data");
    blake3::hash(&text).to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let entry = Entry::Intents {
            intents: vec![Intent {
                topic: 0,
                partition: 3,
                from: 10,
                next: 20,
                targets: vec![Share {
                    partition: 1,
                    first: 7,
                    count: 9,
                }],
            }],
        };
        let text = serde_json::to_string(&entry).expect("it is plain data");
        assert_eq!(
            text,
            r#"{"entry":"intents","intents":[{"topic":0,"partition":3,"from":10,"next":20,"targets":[[1,7,9]]}]}"#
        );
        assert_eq!(
            serde_json::from_str::<Entry>(&text).expect("it was just written"),
            entry
        );
    }
}
