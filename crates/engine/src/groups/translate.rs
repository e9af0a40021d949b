//! From offsets of the source to offsets of what a restore made of it.
//!
//! A record that passed unchanged lies at the start offset of its target partition plus the number of restored records before it:
//! manifests tell most of that number, and the batches around the offset are decoded for the rest. Where plugins had a say, the intents
//! of the report tell which source offset became the how manieth record of which target partition.
//!
//! Records of several source partitions may lie in one target partition. Then the group goes on at the first one that it has not read:
//! none is left out, and it is told if some come again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use armory_archive::{Archive, GroupOffset, GroupsSnapshot, TopicKey};
use armory_records::{Batches, DecodeBuffer};
use armory_resources::job::{NameMatcher, StorageLocation};
use armory_troubles::Troubles;

use crate::EngineError;
use crate::restore::feed::Source;
use crate::restore::memory::Memory;
use crate::restore::plan::PartitionPlan;
use crate::restore::report::{
    Begin, Report, ReportPlace, SourceRecord, TargetTopicRecord, TopicRecord,
};
use crate::restore::select::Wanted;
use crate::storage::location;

/// What is to be translated, and by what.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The archive.
    pub storage: StorageLocation,
    /// Where the restore's report is kept, if not in the archive.
    pub report: Option<StorageLocation>,
    /// The id of the restore; where there is only one it need not be named.
    pub restore: Option<String>,
    /// Take the newest snapshot at or before this time (ms since the epoch).
    pub at: Option<i64>,
    /// Only these groups; none is all of them.
    pub groups: Vec<NameMatcher>,
}

/// Offsets of groups, translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPlan {
    /// The restore's id.
    pub restore: String,
    /// The cluster that it went to.
    pub target_cluster: Option<String>,
    /// Its target topics with their ids.
    pub target_ids: Vec<(String, Option<String>)>,
    /// When the snapshot was taken, in ms since the epoch.
    pub taken_at: i64,
    /// What to commit, by group, topic and partition.
    pub offsets: Vec<TargetOffset>,
    /// What is not carried over.
    pub skipped: Vec<SkippedOffset>,
}

/// An offset to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetOffset {
    /// The group.
    pub group: String,
    /// The topic.
    pub target: String,
    /// Its partition.
    pub partition: i32,
    /// The offset of the next record to read.
    pub offset: i64,
    /// Whether the group reads exactly what it has not read. Otherwise some records come again, because those of several source
    /// partitions are mixed.
    pub exact: bool,
    /// From what it was made.
    pub sources: Vec<SourceOffset>,
    /// What the group had written beside it.
    pub metadata: String,
}

/// Where a group stood in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOffset {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The offset of the next record to read.
    pub offset: i64,
    /// What is to be known of it, if it is not the offset of a restored record.
    pub note: Option<&'static str>,
}

/// An offset that is not carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedOffset {
    /// The group.
    pub group: String,
    /// The topic of the source.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Why not.
    pub reason: String,
}

const NOT_RESTORED: &str = "the record there was not restored: the next restored one";
const ALL_READ: &str = "everything that was restored had been read: the end";

/// Translates the offsets of a snapshot.
///
/// # Errors
/// Where there is no snapshot, no such restore, or it is not done; [`EngineError::Groups`] says what there is.
pub async fn plan(options: &PlanOptions) -> Result<GroupPlan, EngineError> {
    let archive = Archive::open(location(&options.storage)?).await?;
    let snapshot = archive
        .latest_group_snapshot(options.at.unwrap_or(i64::MAX))
        .await?;
    let snapshot = snapshot.ok_or_else(|| {
        problem("the archive has no snapshot of groups from before that time; take one with `armory groups snapshot`")
    })?;
    let place = ReportPlace::new(&archive, options.report.as_ref(), &Troubles::default())?;
    let report = find_report(&place, options.restore.as_deref()).await?;
    let begin = report.begin().expect("it was looked for").clone();
    if !report.is_done() {
        return Err(problem(format!(
            "restore {} is not done; run it again to its end",
            begin.id
        )));
    }
    let translator = Translator {
        archive,
        memory: Memory::new(64 << 20, false),
        report,
        begin,
    };
    translator.translate(&snapshot, &options.groups).await
}

fn problem(text: impl Into<String>) -> EngineError {
    EngineError::Groups {
        problems: vec![text.into()],
    }
}

async fn find_report(place: &ReportPlace, wanted: Option<&str>) -> Result<Report, EngineError> {
    let ids = place.ids().await?;
    let mut known = Vec::new();
    for id in &ids {
        if wanted.is_some_and(|wanted| wanted != id) {
            continue;
        }
        let report = Report::open(place, id).await?;
        // What puts dead letters back says nothing about where records went.
        let Some(begin) = report.begin().filter(|begin| !begin.dead_letters) else {
            continue;
        };
        let targets: Vec<&str> = begin
            .targets
            .iter()
            .map(|target| target.target.as_str())
            .collect();
        known.push((format!("{id} (into {})", targets.join(", ")), report));
    }
    match known.len() {
        1 => Ok(known.remove(0).1),
        0 => Err(problem(match wanted {
            Some(id) => format!("there is no report of a restore {id}; there are: {}", ids.join(", ")),
            None => "there is no report of a restore; restore first, or say with --report where it is kept".to_owned(),
        })),
        _ => {
            let names: Vec<String> = known.into_iter().map(|(name, _)| name).collect();
            Err(problem(format!("there are several restores, name one with --restore: {}", names.join("; "))))
        }
    }
}

struct Translator {
    archive: Archive,
    memory: Memory,
    report: Report,
    begin: Begin,
}

/// What a source partition means to one target partition: its records there, and where the group stands among them.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// The ordinal of the first record that was not read.
    unread: Option<u64>,
    /// The ordinal after the last record that was read.
    read: u64,
    /// The ordinal after its last record.
    end: u64,
}

/// Committed offsets of one group by the index of the topic and the partition.
type Committed<'a> = BTreeMap<(usize, i32), &'a GroupOffset>;

impl Translator {
    async fn translate(
        &self,
        snapshot: &GroupsSnapshot,
        patterns: &[NameMatcher],
    ) -> Result<GroupPlan, EngineError> {
        let ids = self.begin.targets.iter();
        let mut plan = GroupPlan {
            restore: self.begin.id.clone(),
            target_cluster: self.begin.target_cluster.clone(),
            target_ids: ids
                .map(|target| (target.target.clone(), target.target_id.clone()))
                .collect(),
            taken_at: snapshot.taken_at,
            offsets: Vec::new(),
            skipped: Vec::new(),
        };
        // Of a group and the next the same places are asked for, more often than not.
        let mut counts = Counts::default();
        for group in &snapshot.groups {
            let wanted =
                patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(&group.group));
            if !wanted {
                continue;
            }
            let mut committed = Committed::new();
            for offset in &group.offsets {
                let topics = self.topics_of(offset);
                if let Err(reason) = &topics {
                    plan.skipped.push(SkippedOffset {
                        group: group.group.clone(),
                        topic: offset.topic.clone(),
                        partition: offset.partition,
                        offset: offset.offset,
                        reason: reason.clone(),
                    });
                }
                let topics = topics.unwrap_or_default();
                committed.extend(
                    topics
                        .into_iter()
                        .map(|topic| ((topic, offset.partition), offset)),
                );
            }
            for target in &self.begin.targets {
                let rows = if target.reshaped {
                    self.by_intents(target, &committed).await?
                } else {
                    self.by_counting(target, &committed, &mut counts).await?
                };
                plan.offsets
                    .extend(rows.into_iter().map(|row| TargetOffset {
                        group: group.group.clone(),
                        ..row
                    }));
            }
        }
        Ok(plan)
    }

    /// The topics of the restore that an offset is about, by index.
    fn topics_of(&self, offset: &GroupOffset) -> Result<Vec<usize>, String> {
        let topics = || {
            let topics = self.begin.topics.iter().enumerate();
            topics.filter(|(_, topic)| topic.source == offset.topic)
        };
        if topics().next().is_none() {
            return Err("the topic is not part of the restore".to_owned());
        }
        let id = offset.topic_id.map(|id| id.to_string());
        let same =
            topics().filter(|(_, topic)| id.as_ref().is_none_or(|id| *id == topic.source_id));
        let same: Vec<(usize, &TopicRecord)> = same.collect();
        if same.is_empty() {
            return Err(
                "the topic was created again: the restore has another one of that name".to_owned(),
            );
        }
        let has = |topic: &TopicRecord| {
            let mut sources = topic.sources.iter();
            sources.any(|source| source.partition == offset.partition)
        };
        let found: Vec<usize> = same
            .iter()
            .filter(|(_, topic)| has(topic))
            .map(|(index, _)| *index)
            .collect();
        match found.is_empty() {
            true => Err("the partition is not part of the restore".to_owned()),
            false => Ok(found),
        }
    }

    fn members<'a>(
        &'a self,
        target: &'a TargetTopicRecord,
    ) -> impl Iterator<Item = (usize, &'a TopicRecord)> {
        let topics = self.begin.topics.iter().enumerate();
        topics.filter(|(_, topic)| topic.target == target.target)
    }

    /// Where records passed unchanged: each source partition's lie behind those of the one before.
    async fn by_counting(
        &self,
        target: &TargetTopicRecord,
        committed: &Committed<'_>,
        counts: &mut Counts,
    ) -> Result<Vec<TargetOffset>, EngineError> {
        let mut rows = Vec::new();
        for record in &target.partitions {
            let members = || {
                self.members(target).filter_map(|(index, topic)| {
                    let mut sources = topic.sources.iter();
                    let source = sources.find(|source| source.partition == record.partition)?;
                    Some((index, topic, source))
                })
            };
            if !members()
                .any(|(index, _, source)| committed.contains_key(&(index, source.partition)))
            {
                continue;
            }
            let (mut parts, mut sources, mut base) = (Vec::new(), Vec::new(), 0);
            for (index, topic, source) in members() {
                let opened = self.open(topic, source, target).await?;
                let key = (index, source.partition);
                let all = counts.below(key, &opened, i64::MAX).await?;
                if let Some(committed) = committed.get(&key) {
                    let read = counts.below(key, &opened, committed.offset).await?;
                    let here = committed.offset.saturating_add(1);
                    let is_there = counts.below(key, &opened, here).await? > read;
                    parts.push(Part {
                        unread: (read < all).then_some(base + read),
                        read: if read > 0 { base + read } else { 0 },
                        end: base + all,
                    });
                    sources.push((*committed, note(is_there, read < all)));
                }
                base += all;
            }
            rows.push(row(
                target,
                record.partition,
                record.start_offset,
                &parts,
                &sources,
            ));
        }
        Ok(rows)
    }

    /// Where plugins had a say: by what the report says was sent.
    async fn by_intents(
        &self,
        target: &TargetTopicRecord,
        committed: &Committed<'_>,
    ) -> Result<Vec<TargetOffset>, EngineError> {
        let members: Vec<usize> = self.members(target).map(|(index, _)| index).collect();
        let is_member = |key: &(usize, i32)| members.contains(&key.0);
        if !committed.keys().any(is_member) {
            return Ok(Vec::new());
        }
        // By target partition and source.
        let mut parts: BTreeMap<i32, BTreeMap<(usize, i32), Part>> = BTreeMap::new();
        let mut is_there: HashMap<(usize, i32), bool> = HashMap::new();
        let mut intents = self.report.intents_of(&members);
        while let Some(some) = intents.next().await? {
            for intent in some {
                let key = (intent.topic, intent.partition);
                let Some(offset) = committed.get(&key).map(|committed| committed.offset) else {
                    continue;
                };
                for share in intent.targets {
                    let position = u64::try_from(offset - intent.from).ok();
                    let (below, hit) = match position {
                        // All of it comes after the offset.
                        None => (0, false),
                        Some(position) => share.runs.below(position),
                    };
                    *is_there.entry(key).or_default() |= hit;
                    let part = parts
                        .entry(share.partition)
                        .or_default()
                        .entry(key)
                        .or_default();
                    if below < share.count && part.unread.is_none() {
                        part.unread = Some(share.first + below);
                    }
                    if below > 0 {
                        part.read = part.read.max(share.first + below);
                    }
                    part.end = share.first + share.count;
                }
            }
        }
        // Of a partition of which nothing was restored, the group has read all there is.
        for (topic, partition) in committed.keys().filter(|key| is_member(key)) {
            let sent = parts
                .values()
                .any(|parts| parts.contains_key(&(*topic, *partition)));
            if !sent && !parts.contains_key(partition) {
                parts
                    .entry(*partition)
                    .or_default()
                    .insert((*topic, *partition), Part::default());
            }
        }
        let mut rows = Vec::new();
        for record in &target.partitions {
            let Some(parts) = parts.get(&record.partition) else {
                continue;
            };
            let sources: Vec<(&GroupOffset, Option<&'static str>)> = parts
                .iter()
                .map(|(key, part)| {
                    let hit = is_there.get(key).copied().unwrap_or(false);
                    (committed[key], note(hit, part.unread.is_some()))
                })
                .collect();
            let parts: Vec<Part> = parts.values().copied().collect();
            rows.push(row(
                target,
                record.partition,
                record.start_offset,
                &parts,
                &sources,
            ));
        }
        Ok(rows)
    }

    async fn open(
        &self,
        topic: &TopicRecord,
        record: &SourceRecord,
        target: &TargetTopicRecord,
    ) -> Result<Source, EngineError> {
        let id = topic.source_id.parse().map_err(|_| EngineError::Report {
            id: self.begin.id.clone(),
            what: format!("{} is no topic id", topic.source_id),
        })?;
        let key = TopicKey {
            topic: topic.source.clone(),
            topic_id: id,
        }
        .partition(record.partition);
        let parts = self.archive.history(&key, Some(record.lineage)).await?;
        let mut time = topic.time;
        if let Some(oldest) = target.oldest {
            time.from_ms = Some(time.from_ms.map_or(oldest, |from| from.max(oldest)));
        }
        let plan = PartitionPlan {
            index: record.partition,
            lineage: record.lineage,
            parts: Arc::new(parts),
            from: record.from,
            until: record.next,
            time,
            left_out: record.left_out.clone(),
        };
        Ok(Source {
            archive: self.archive.clone(),
            memory: self.memory.of(&plan),
            key,
            plan,
        })
    }
}

fn note(is_there: bool, has_unread: bool) -> Option<&'static str> {
    match (is_there, has_unread) {
        (true, _) => None,
        (false, true) => Some(NOT_RESTORED),
        (false, false) => Some(ALL_READ),
    }
}

fn row(
    target: &TargetTopicRecord,
    partition: i32,
    start: i64,
    parts: &[Part],
    sources: &[(&GroupOffset, Option<&'static str>)],
) -> TargetOffset {
    let unread = parts.iter().filter_map(|part| part.unread).min();
    let ordinal = unread.unwrap_or_else(|| parts.iter().map(|part| part.end).max().unwrap_or(0));
    let source = |(offset, note): &(&GroupOffset, Option<&'static str>)| SourceOffset {
        topic: offset.topic.clone(),
        partition: offset.partition,
        offset: offset.offset,
        note: *note,
    };
    TargetOffset {
        group: String::new(),
        target: target.target.clone(),
        partition,
        offset: start + i64::try_from(ordinal).unwrap_or(i64::MAX),
        exact: parts.iter().all(|part| part.read <= ordinal),
        sources: sources.iter().map(source).collect(),
        metadata: sources
            .first()
            .map(|(offset, _)| offset.metadata.clone())
            .unwrap_or_default(),
    }
}

/// How many restored records of a source partition have offsets below one.
#[derive(Debug, Default)]
struct Counts(HashMap<((usize, i32), i64), u64>);

impl Counts {
    async fn below(
        &mut self,
        key: (usize, i32),
        source: &Source,
        offset: i64,
    ) -> Result<u64, EngineError> {
        if let Some(count) = self.0.get(&(key, offset)) {
            return Ok(*count);
        }
        let count = count_below(source, offset).await?;
        self.0.insert((key, offset), count);
        Ok(count)
    }
}

async fn count_below(source: &Source, offset: i64) -> Result<u64, EngineError> {
    let mut count = 0;
    for part in source.plan.segments() {
        if part.manifest.base >= offset {
            break;
        }
        if source.plan.is_whole(part) && part.manifest.next <= offset {
            count += part.manifest.records;
            continue;
        }
        let mut selection = source.plan.selection(part);
        selection.offsets.end = selection.offsets.end.min(offset);
        let mut reader = source.open_part(part).await?;
        if selection.offsets.end < part.manifest.next {
            reader.until(selection.offsets.end);
        }
        while let Some(chunk) = reader.next_chunk().await? {
            let (owner, selection) = (source.clone(), selection.clone());
            count +=
                tokio::task::spawn_blocking(move || count_in(&owner, &chunk, &selection)).await??;
        }
    }
    Ok(count)
}

fn count_in(
    source: &Source,
    chunk: &[u8],
    selection: &crate::restore::select::Selection,
) -> Result<u64, EngineError> {
    let mut scratch = DecodeBuffer::default();
    let mut count = 0;
    for batch in Batches::new(chunk) {
        let batch = batch.map_err(|error| source.damaged(-1, error))?;
        let header = *batch.header();
        match selection.of(&header) {
            Wanted::None => {}
            Wanted::All => count += u64::try_from(header.record_count).unwrap_or(0),
            Wanted::Some => {
                let damaged = |error| source.damaged(header.base_offset, error);
                for record in batch.decode(&mut scratch).map_err(damaged)? {
                    count += u64::from(selection.contains(&record.map_err(damaged)?));
                }
            }
        }
    }
    Ok(count)
}
