//! The report of a restore: a journal in the archive, from which an interrupted restore goes on.
//!
//! Every entry is created if absent under the next number, so two processes that run the same restore cannot both
//! write: the one that comes second is told, and stops sending. The report never says what has landed (the
//! target's log does); it says what was going to be sent, under which producer ids, and from where.
//!
//! So it also says which source offset became which target offset, without a list of them: a record of an unchanged topic lies at
//! the start offset of its target partition + the number of records before it in the archive. Of other topics the intents tell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use armory_archive::{
    Archive, ArchiveError, DeadLetterStore, DeadLetters, Journal, JournalReader, Location, TopicId,
    TopicKey,
};
use armory_resources::job::{StorageLocation, TimeRange};
use armory_troubles::Troubles;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::RestoreDeadLetters;
use super::plan::Plan;
use super::preflight::TargetTopic;
use crate::EngineError;

/// The format of the entries.
pub(crate) const FORMAT: u32 = 2;
/// The directory of reports.
const REPORTS: &str = "restores";
const READ_AT_ONCE: usize = 16;

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
    /// [`FORMAT`].
    pub(crate) format: u32,
    pub(crate) id: String,
    pub(crate) archive: String,
    /// Whether it puts dead letters back, and not records.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dead_letters: bool,
    pub(crate) source_clusters: Vec<String>,
    pub(crate) target_cluster: Option<String>,
    pub(crate) plugins: Vec<PluginRecord>,
    pub(crate) topics: Vec<TopicRecord>,
    pub(crate) targets: Vec<TargetTopicRecord>,
}

/// A plugin that took part, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginRecord {
    pub(crate) label: String,
    pub(crate) digest: String,
    pub(crate) config: Option<String>,
}

/// A topic that is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TopicRecord {
    pub(crate) source: String,
    pub(crate) source_id: String,
    pub(crate) incarnation: u32,
    pub(crate) target: String,
    /// Which of its records, by timestamp.
    pub(crate) time: TimeRange,
    /// How far each source partition is restored, so that a resumed restore ends where the first run would have.
    pub(crate) sources: Vec<SourceRecord>,
}

/// What is read of a partition: offsets `[from, next)` of what the lineage stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceRecord {
    pub(crate) partition: i32,
    pub(crate) lineage: u32,
    pub(crate) from: i64,
    pub(crate) next: i64,
    /// Records in the segments that are read.
    pub(crate) records: u64,
    /// Offsets that had expired or were pruned when the restore began (from inclusive, until exclusive).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_out: Vec<(i64, i64)>,
}

/// A topic that is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetTopicRecord {
    pub(crate) target: String,
    pub(crate) target_id: Option<String>,
    /// Whether this restore created it, and owes it the archived configuration.
    pub(crate) created: bool,
    /// Whether records pass plugins on their way into it: then intents say where they go.
    pub(crate) reshaped: bool,
    /// Records older than this (ms since the epoch) are left out, because the target would expire them.
    pub(crate) oldest: Option<i64>,
    /// Records older than this are what the plugin `topic-retention` rejects, where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_before: Option<i64>,
    pub(crate) partitions: Vec<TargetRecord>,
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
    /// Records among them that were put aside, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letters: Option<DeadLetters>,
}

/// `count` records of a target partition, the first of which is its `first`-th (counted from 0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i32, u64, u64, Runs)", into = "(i32, u64, u64, Runs)")]
pub(crate) struct Share {
    pub(crate) partition: i32,
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// Which source offsets they had, counted from the intent's `from`.
    pub(crate) runs: Runs,
}

impl From<(i32, u64, u64, Runs)> for Share {
    fn from((partition, first, count, runs): (i32, u64, u64, Runs)) -> Share {
        Share {
            partition,
            first,
            count,
            runs,
        }
    }
}

impl From<Share> for (i32, u64, u64, Runs) {
    fn from(share: Share) -> (i32, u64, u64, Runs) {
        (share.partition, share.first, share.count, share.runs)
    }
}

/// A rising list of numbers as `[skip, take, skip, take …]`: so many are left out, so many follow each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<u64>", into = "Vec<u64>")]
pub(crate) struct Runs {
    runs: Vec<u64>,
    /// The number after the last one.
    next: u64,
}

impl Runs {
    /// Adds a number above all before.
    pub(crate) fn push(&mut self, number: u64) {
        debug_assert!(number >= self.next);
        match self.runs.last_mut() {
            Some(take) if number == self.next => *take += 1,
            _ => self.runs.extend([number - self.next, 1]),
        }
        self.next = number + 1;
    }

    /// How many are below `number`, and whether it is one of them itself.
    pub(crate) fn below(&self, number: u64) -> (u64, bool) {
        let (mut position, mut count) = (0, 0);
        for run in self.runs.chunks(2) {
            let (first, take) = (position + run[0], run.get(1).copied().unwrap_or(0));
            if number < first {
                return (count, false);
            }
            if number < first + take {
                return (count + number - first, true);
            }
            position = first + take;
            count += take;
        }
        (count, false)
    }
}

impl From<Vec<u64>> for Runs {
    fn from(runs: Vec<u64>) -> Runs {
        let next = runs.iter().sum();
        Runs { runs, next }
    }
}

impl From<Runs> for Vec<u64> {
    fn from(runs: Runs) -> Vec<u64> {
        runs.runs
    }
}

/// Where reports are kept.
#[derive(Debug, Clone)]
pub(crate) enum ReportPlace {
    /// In the archive.
    Archive(Archive),
    /// Elsewhere, because the archive cannot be written, or must not be.
    Location(Location),
}

impl ReportPlace {
    pub(crate) fn new(
        archive: &Archive,
        elsewhere: Option<&StorageLocation>,
        troubles: &Troubles,
    ) -> Result<ReportPlace, EngineError> {
        Ok(match elsewhere {
            None => ReportPlace::Archive(archive.clone()),
            Some(storage) => {
                let location = crate::storage::location(storage)?;
                ReportPlace::Location(location.watched(troubles))
            }
        })
    }

    /// Tries whether a report can be kept here. Elsewhere shows with the first entry: it was named for that.
    pub(crate) async fn try_writing(&self) -> Result<(), ArchiveError> {
        match self {
            ReportPlace::Archive(archive) => Journal::try_writing(archive, REPORTS).await,
            ReportPlace::Location(_) => Ok(()),
        }
    }

    async fn journal(&self, id: &str) -> Result<Journal, ArchiveError> {
        let path = format!("{REPORTS}/{id}");
        match self {
            ReportPlace::Archive(archive) => Journal::open(archive, &path).await,
            ReportPlace::Location(location) => Journal::open_at(location, &path).await,
        }
    }

    /// Where dead letters are kept: beside the reports.
    pub(crate) fn dead_letters(&self) -> DeadLetterStore {
        match self {
            ReportPlace::Archive(archive) => DeadLetterStore::new(archive),
            ReportPlace::Location(location) => DeadLetterStore::at(location),
        }
    }

    /// The ids of all restores that have a report here.
    pub(crate) async fn ids(&self) -> Result<Vec<String>, ArchiveError> {
        match self {
            ReportPlace::Archive(archive) => Journal::names(archive, REPORTS).await,
            ReportPlace::Location(location) => Journal::names_at(location, REPORTS).await,
        }
    }
}

/// The report of one restore, open for writing.
#[derive(Debug)]
pub(crate) struct Report {
    id: String,
    journal: Journal,
    /// The entries but intents and signs of life, of which there may be very many.
    entries: Vec<Entry>,
    /// Which entries hold intents, by the topic they are about.
    intents: BTreeMap<usize, Vec<usize>>,
}

impl Report {
    /// Opens the report of restore `id`; empty when it never ran. Its intents are read when they are asked for.
    pub(crate) async fn open(place: &ReportPlace, id: &str) -> Result<Report, EngineError> {
        let journal = place.journal(id).await?;
        let mut report = Report {
            id: id.to_owned(),
            entries: Vec::new(),
            intents: BTreeMap::new(),
            journal,
        };
        let reader = report.journal.reader();
        let reads = (0..report.journal.len()).map(async |number| {
            let bytes = reader.read(number).await?;
            parse(id, number, &bytes).map(|entry| (number, entry))
        });
        let mut reads = std::pin::pin!(stream::iter(reads).buffered(READ_AT_ONCE));
        while let Some((number, entry)) = reads.try_next().await? {
            match entry {
                Entry::Intents { intents } => {
                    let topics: BTreeSet<usize> =
                        intents.iter().map(|intent| intent.topic).collect();
                    for topic in topics {
                        report.intents.entry(topic).or_default().push(number);
                    }
                }
                Entry::Progress { .. } => {}
                Entry::Begin(begin) if begin.format != FORMAT => {
                    return Err(EngineError::Report {
                        id: id.to_owned(),
                        what: format!(
                            "its report has format {}, and this version knows {FORMAT}; go on with the version that began it, or restore into a new topic",
                            begin.format
                        ),
                    });
                }
                entry => report.entries.push(entry),
            }
        }
        Ok(report)
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

    /// What earlier runs were going to send of these topics, to be read in order.
    pub(crate) fn intents_of(&self, topics: &[usize]) -> IntentReader {
        let entries = topics.iter().filter_map(|topic| self.intents.get(topic));
        let numbers: BTreeSet<usize> = entries.flatten().copied().collect();
        IntentReader {
            id: self.id.clone(),
            reader: self.journal.reader(),
            numbers: numbers.into_iter().collect(),
            topics: topics.to_vec(),
        }
    }

    /// Whether everything landed.
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
            Err(ArchiveError::JournalConflict { .. }) => Err(EngineError::TakenOver {
                id: self.id.clone(),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

/// The dead letters that a restore's report names, by partition and offset.
pub(crate) async fn dead_letters(
    archive: &Archive,
    id: &str,
) -> Result<Vec<RestoreDeadLetters>, EngineError> {
    let report = Report::open(&ReportPlace::Archive(archive.clone()), id).await?;
    let Some(begin) = report.begin() else {
        return Err(EngineError::Report {
            id: id.to_owned(),
            what: "the archive has no report of it".to_owned(),
        });
    };
    let keys = begin.topics.iter().map(|topic| {
        let id = topic.source_id.parse().unwrap_or(TopicId::None);
        TopicKey::new(&topic.source, id)
    });
    let keys: Vec<TopicKey> = keys.collect();
    let all: Vec<usize> = (0..keys.len()).collect();
    let mut intents = report.intents_of(&all);
    let mut found = Vec::new();
    while let Some(entry) = intents.next().await? {
        found.extend(entry.into_iter().filter_map(|intent| {
            Some(RestoreDeadLetters {
                partition: keys.get(intent.topic)?.partition(intent.partition),
                letters: intent.dead_letters?,
            })
        }));
    }
    // The intents of a partition are in the order of its offsets.
    found.sort_by(|a, b| a.partition.cmp(&b.partition));
    Ok(found)
}

fn parse(id: &str, number: usize, bytes: &[u8]) -> Result<Entry, EngineError> {
    serde_json::from_slice(bytes).map_err(|error| EngineError::Report {
        id: id.to_owned(),
        what: format!("its entry {number} cannot be read: {error}"),
    })
}

/// Reads intents entry by entry, so that memory does not grow with their number.
#[derive(Debug)]
pub(crate) struct IntentReader {
    id: String,
    reader: JournalReader,
    numbers: VecDeque<usize>,
    topics: Vec<usize>,
}

impl IntentReader {
    /// The intents of the next entry; nothing at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Intent>>, EngineError> {
        let Some(number) = self.numbers.pop_front() else {
            return Ok(None);
        };
        let bytes = self.reader.read(number).await?;
        let Entry::Intents { mut intents } = parse(&self.id, number, &bytes)? else {
            return Ok(Some(Vec::new()));
        };
        intents.retain(|intent| self.topics.contains(&intent.topic));
        Ok(Some(intents))
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
    let target_id = |name: &str| {
        let found = targets.iter().find(|target| target.meta.name == name);
        match found.and_then(|target| target.meta.id) {
            Some(id) => id.to_string(),
            None => name.to_owned(),
        }
    };
    let topics: Vec<_> = plan
        .topics
        .iter()
        .map(|topic| {
            let id = target_id(&topic.mapping.target);
            (
                &topic.mapping.source,
                topic.key.topic_id.to_string(),
                &topic.mapping.target,
                id,
                &topic.mapping.partitions,
            )
        })
        .collect();
    let text = serde_json::to_vec(&(
        FORMAT,
        archive,
        target_cluster,
        topics,
        plugins,
        &plan.variant,
    ))
    .expect("plain data");
    blake3::hash(&text).to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(numbers: &[u64]) -> Runs {
        let mut runs = Runs::default();
        numbers.iter().for_each(|number| runs.push(*number));
        runs
    }

    #[test]
    fn runs_tell_how_many_come_before() {
        let runs = runs(&[0, 1, 2, 7, 9, 10]);
        assert_eq!(Vec::from(runs.clone()), [0, 3, 4, 1, 1, 2]);
        let below: Vec<(u64, bool)> = (0..12).map(|number| runs.below(number)).collect();
        let counts = [0, 1, 2, 3, 3, 3, 3, 3, 4, 4, 5, 6];
        let found = [0, 1, 2, 7, 9, 10];
        for (number, (count, hit)) in below.into_iter().enumerate() {
            assert_eq!(
                (count, hit),
                (counts[number], found.contains(&number)),
                "{number}"
            );
        }
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let entry = Entry::Intents {
            intents: vec![Intent {
                topic: 0,
                partition: 3,
                from: 10,
                next: 20,
                dead_letters: None,
                targets: vec![Share {
                    partition: 1,
                    first: 7,
                    count: 3,
                    runs: runs(&[1, 2, 5]),
                }],
            }],
        };
        let text = serde_json::to_string(&entry).expect("it is plain data");
        assert_eq!(
            text,
            r#"{"entry":"intents","intents":[{"topic":0,"partition":3,"from":10,"next":20,"targets":[[1,7,3,[1,2,2,1]]]}]}"#
        );
        assert_eq!(
            serde_json::from_str::<Entry>(&text).expect("it was just written"),
            entry
        );
    }
}
