//! What a restore is going to read: the mappings, held against what the archive has. Nothing here asks the target.

use std::collections::BTreeMap;
use std::sync::Arc;

use armory_archive::{
    Archive, ArchiveError, HistoryPart, IncarnationEntry, Manifest, PartitionKey, Retention,
    TopicKey,
};
use armory_resources::job::{Incarnation, PartitionRange, RestoreJob, TimeRange, TopicMapping};
use serde::Serialize;

use super::checks::{Checks, Name, TopicAmount};
use super::select::Selection;
use crate::EngineError;

/// Everything that is going to be read.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) topics: Vec<TopicPlan>,
    /// Where they go, in the order in which the mappings name them.
    pub(crate) targets: Vec<TargetPlan>,
    pub(crate) variant: Variant,
}

/// One target topic.
#[derive(Debug)]
pub(crate) struct TargetPlan {
    pub(crate) name: String,
    /// What goes into it: indices of [`Plan::topics`]. In each of its partitions their records follow each other in this order.
    pub(crate) members: Vec<usize>,
}

impl Plan {
    /// The topics that go into a target.
    pub(crate) fn members(&self, target: &TargetPlan) -> impl Iterator<Item = &TopicPlan> {
        target.members.iter().map(|index| &self.topics[*index])
    }

    /// Leaves out the records of a target's sources that are older than `oldest` (ms since the epoch).
    pub(crate) fn leave_out_before(&mut self, target: usize, oldest: i64) {
        for index in &self.targets[target].members {
            for partition in &mut self.topics[*index].partitions {
                let from = &mut partition.time.from_ms;
                *from = Some(from.map_or(oldest, |from| from.max(oldest)));
            }
        }
    }

    /// What each topic amounts to.
    pub(crate) fn amounts(&self) -> Vec<TopicAmount> {
        self.topics.iter().map(TopicPlan::amount).collect()
    }
}

/// What besides topics and plugins makes a restore another restore.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Variant {
    pub(crate) time: TimeRange,
    pub(crate) apply_target_retention: bool,
    pub(crate) legacy_offset_header: Option<String>,
    /// Whether dead letters are restored, and not records.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dead_letters: bool,
}

/// One topic.
#[derive(Debug)]
pub(crate) struct TopicPlan {
    pub(crate) mapping: TopicMapping,
    pub(crate) key: TopicKey,
    pub(crate) incarnation: u32,
    pub(crate) cluster_id: Option<String>,
    /// Partitions that the topic had when it was archived last.
    pub(crate) partition_count: i32,
    /// Its configuration when it was archived last, defaults left out.
    pub(crate) configs: BTreeMap<String, String>,
    pub(crate) partitions: Vec<PartitionPlan>,
}

/// One partition.
#[derive(Debug, Clone)]
pub(crate) struct PartitionPlan {
    pub(crate) index: i32,
    /// The newest lineage; the parts before its beginning are its parents'.
    pub(crate) lineage: u32,
    pub(crate) parts: Arc<Vec<HistoryPart>>,
    /// Offsets to restore: `from` inclusive, `until` exclusive.
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// Which of their records, by timestamp.
    pub(crate) time: TimeRange,
    /// Offsets (from inclusive, until exclusive) that had expired or were pruned when the restore began: parts that begin there
    /// are no part of it. What is pruned later is, and a restore that comes to it stops.
    pub(crate) left_out: Vec<(i64, i64)>,
}

impl PartitionPlan {
    /// Which records of a part are restored.
    pub(crate) fn selection(&self, part: &HistoryPart) -> Selection {
        Selection {
            offsets: self.from..self.until.min(part.until),
            time: self.time,
        }
    }

    /// Whether every record in the segment of a part is restored, as far as its manifest tells: so many then are its records.
    pub(crate) fn is_whole(&self, part: &HistoryPart) -> bool {
        let manifest = &part.manifest;
        let newest = manifest.timestamps.map_or(-1, |timestamps| timestamps.max);
        self.from <= manifest.base
            && manifest.next <= self.until.min(part.until)
            // The oldest timestamp that a manifest tells is no bound.
            && self.time.from_ms.is_none()
            && self.time.to_ms.is_none_or(|to| newest < to)
    }

    /// Whether only some of the records in the segments that are read are restored.
    fn is_partial(&self) -> bool {
        self.segments().any(|part| !self.is_whole(part))
    }

    /// Goes back to where the partition stood when the restore began, whatever was archived or expired since: its lineage then,
    /// up to `until` (exclusive), without what was left out.
    pub(crate) async fn pin(
        &mut self,
        archive: &Archive,
        key: &TopicKey,
        lineage: u32,
        until: i64,
        left_out: &[(i64, i64)],
        dead_letters: bool,
    ) -> Result<(), EngineError> {
        if self.lineage != lineage {
            let key = key.partition(self.index);
            self.parts = Arc::new(history(archive, &key, Some(lineage), dead_letters).await?);
            self.lineage = lineage;
        }
        self.until = until;
        self.left_out = left_out.to_vec();
        Ok(())
    }

    /// Records in the segments that are read; more than what is restored where only a part of them is wanted.
    pub(crate) fn records(&self) -> u64 {
        self.manifests().map(|manifest| manifest.records).sum()
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        self.manifests()
            .filter_map(|manifest| manifest.segment.as_ref())
            .map(|segment| segment.stored_bytes)
            .sum()
    }

    /// Bytes of batches in the segments that are read.
    pub(crate) fn raw_bytes(&self) -> u64 {
        self.manifests()
            .filter_map(|manifest| manifest.segment.as_ref())
            .map(|segment| segment.raw_bytes)
            .sum()
    }

    /// The oldest and the newest timestamp (ms since the epoch) that the batch headers show.
    pub(crate) fn timestamps(&self) -> Option<(i64, i64)> {
        self.manifests()
            .filter_map(|manifest| manifest.timestamps)
            .map(|timestamps| (timestamps.min, timestamps.max))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The size of the largest batch, in bytes.
    pub(crate) fn largest_batch(&self) -> u64 {
        self.manifests()
            .map(|manifest| manifest.largest_batch)
            .max()
            .unwrap_or(0)
    }

    /// The size of the largest batch among segments in which every batch holds one record, in bytes.
    pub(crate) fn largest_lone_record(&self) -> Option<u64> {
        self.manifests()
            .filter(|manifest| manifest.records == manifest.batches && manifest.batches > 0)
            .map(|manifest| manifest.largest_batch)
            .max()
    }

    /// Records that expired or were pruned before the restore began.
    pub(crate) fn left_out_records(&self) -> u64 {
        let parts = self.parts.iter();
        parts
            .filter(|part| covers(&self.left_out, part.manifest.base))
            .map(|part| part.manifest.records)
            .sum()
    }

    /// The parts with a segment that has to be read, in offset order. One that was pruned since the restore began is among them:
    /// its records count, and who comes to read it is told.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &HistoryPart> {
        let (from, until, time) = (self.from, self.until, self.time);
        self.parts.iter().filter(move |part| {
            let manifest = &part.manifest;
            let newest = manifest.timestamps.map_or(-1, |timestamps| timestamps.max);
            let has_records = manifest.segment.is_some() || manifest.pruned.is_some();
            has_records
                && part.until > from
                && manifest.base < until
                && time.from_ms.is_none_or(|from| newest >= from)
                && !covers(&self.left_out, manifest.base)
        })
    }

    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.segments().map(|part| &part.manifest)
    }
}

fn covers(ranges: &[(i64, i64)], offset: i64) -> bool {
    let at = ranges.partition_point(|(from, _)| *from <= offset);
    at > 0 && offset < ranges[at - 1].1
}

/// The offsets of parts that were pruned, or have expired by their backup's retention.
fn left_out(parts: &[HistoryPart], retention: &Retention, now: i64) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for HistoryPart { manifest, until } in parts {
        if manifest.pruned.is_none() && !retention.is_expired(manifest, now) {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.1 == manifest.base => last.1 = *until,
            _ => ranges.push((manifest.base, *until)),
        }
    }
    ranges
}

impl TopicPlan {
    pub(crate) fn records(&self) -> u64 {
        self.partitions.iter().map(PartitionPlan::records).sum()
    }

    /// The oldest and the newest timestamp that the batch headers show.
    pub(crate) fn timestamps(&self) -> Option<(i64, i64)> {
        let partitions = self.partitions.iter();
        partitions
            .filter_map(PartitionPlan::timestamps)
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    fn amount(&self) -> TopicAmount {
        let partitions = || self.partitions.iter();
        TopicAmount {
            source: self.mapping.source.clone(),
            incarnation: self.incarnation,
            target: self.mapping.target.clone(),
            partitions: self.partitions.len(),
            records: self.records(),
            batch_bytes: partitions().map(PartitionPlan::raw_bytes).sum(),
            stored_bytes: partitions().map(PartitionPlan::stored_bytes).sum(),
            at_most: partitions().any(PartitionPlan::is_partial),
            oldest_ms: self.timestamps().map(|(oldest, _)| oldest),
            newest_ms: self.timestamps().map(|(_, newest)| newest),
        }
    }
}

/// Reads the archive's side of a restore. Every problem is a check, so that a user sees all of them at once; a topic with one may
/// be missing in the plan.
pub(crate) async fn read(
    archive: &Archive,
    job: &RestoreJob,
    checks: &mut Checks,
) -> Result<Plan, EngineError> {
    let names = archive.topic_names().await?;
    let mut topics: Vec<TopicPlan> = Vec::new();
    let mut targets: Vec<TargetPlan> = Vec::new();
    for mapping in &job.mappings {
        let Some((key, topic)) = find(archive, &names, mapping, checks).await? else {
            continue;
        };
        let topic = &topic;
        let twice = topics
            .iter()
            .any(|other| other.key == key && other.mapping.target == mapping.target);
        if twice {
            checks.refuse(
                Name::Mapping,
                &mapping.target,
                format!(
                    "{} {} goes into it twice",
                    mapping.source,
                    incarnation_name(topic)
                ),
                "list it once",
            );
            continue;
        }
        let snapshot = archive.latest_snapshot(&key, i64::MAX).await?;
        let (partition_count, configs) = match snapshot {
            Some(snapshot) => (snapshot.partitions, snapshot.configs),
            None => (topic.genesis.partitions, topic.genesis.configs.clone()),
        };
        let partitions = read_partitions(archive, &key, mapping, job, checks).await?;
        let highest = partitions.iter().map(|partition| partition.index + 1).max();
        let index = topics.len();
        match targets
            .iter_mut()
            .find(|target| target.name == mapping.target)
        {
            Some(target) => target.members.push(index),
            None => targets.push(TargetPlan {
                name: mapping.target.clone(),
                members: vec![index],
            }),
        }
        topics.push(TopicPlan {
            mapping: mapping.clone(),
            key,
            incarnation: topic.genesis.incarnation,
            cluster_id: topic.genesis.cluster_id.clone(),
            partition_count: partition_count.max(highest.unwrap_or(0)),
            configs,
            partitions,
        });
    }
    Ok(Plan {
        topics,
        targets,
        variant: Variant {
            time: job.time,
            apply_target_retention: job.apply_target_retention,
            legacy_offset_header: job.legacy_offset_header.clone(),
            dead_letters: job.dead_letters,
        },
    })
}

/// What is restored of a partition: its records, or what was put aside of them.
async fn history(
    archive: &Archive,
    key: &PartitionKey,
    lineage: Option<u32>,
    dead_letters: bool,
) -> Result<Vec<HistoryPart>, ArchiveError> {
    match dead_letters {
        true => archive.dead_letter_history(key, lineage).await,
        false => archive.history(key, lineage).await,
    }
}

fn incarnation_name(incarnation: &IncarnationEntry) -> String {
    format!("v{}", incarnation.genesis.incarnation)
}

/// The incarnation that a mapping names, if the archive has it. `names` are the topics that it has.
async fn find(
    archive: &Archive,
    names: &[String],
    mapping: &TopicMapping,
    checks: &mut Checks,
) -> Result<Option<(TopicKey, IncarnationEntry)>, EngineError> {
    let source = &mapping.source;
    let entry = match names.contains(source) {
        true => archive.topic(source).await,
        false => Ok(None),
    };
    let entry = match entry {
        Err(error @ (ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. })) => {
            checks.refuse_damage(&mapping.target, crate::error::sentence(&error));
            return Ok(None);
        }
        entry => entry?,
    };
    let Some(entry) = entry else {
        let names = match names {
            [] => "no topic".to_owned(),
            names => names.join(", "),
        };
        checks.refuse(
            Name::Source,
            &mapping.target,
            format!("topic {source} is not in the archive {}", archive.display()),
            format!("name one of those it has: {names}"),
        );
        return Ok(None);
    };
    let incarnations = || entry.incarnations.iter();
    let found = match mapping.incarnation {
        Incarnation::Latest => incarnations().max_by_key(|entry| entry.genesis.incarnation),
        Incarnation::Version(wanted) => {
            incarnations().find(|entry| entry.genesis.incarnation == wanted)
        }
    };
    let Some(found) = found else {
        let known: Vec<String> = incarnations().map(incarnation_name).collect();
        checks.refuse(
            Name::Source,
            &mapping.target,
            format!(
                "topic {source} has no {} in the archive",
                mapping.incarnation
            ),
            format!("name one of those it has: {}", known.join(", ")),
        );
        return Ok(None);
    };
    let found = found.clone();
    let key = TopicKey {
        topic: entry.name.clone(),
        topic_id: found.topic_id,
    };
    checks.pass(
        Name::Source,
        &mapping.target,
        format!("{source} {} is in the archive", incarnation_name(&found)),
    );
    Ok(Some((key, found)))
}

async fn read_partitions(
    archive: &Archive,
    key: &TopicKey,
    mapping: &TopicMapping,
    job: &RestoreJob,
    checks: &mut Checks,
) -> Result<Vec<PartitionPlan>, EngineError> {
    let time = job.time;
    let archived = archive.partitions(key).await?;
    let retention = archive.retention().await?;
    let now = super::preflight::now_ms();
    let everything = |number: &i32| PartitionRange {
        number: *number,
        from: None,
        until: None,
    };
    let wanted: Vec<PartitionRange> = match &mapping.partitions {
        Some(ranges) => ranges.clone(),
        None => archived.iter().map(everything).collect(),
    };
    let target = &mapping.target;
    let mut plans = Vec::new();
    let mut sound = true;
    for range in wanted {
        if !archived.contains(&range.number) {
            checks.refuse(
                Name::Range,
                target,
                format!(
                    "topic {} has no partition {} in the archive",
                    mapping.source, range.number
                ),
                format!("name some of those it has: {archived:?}"),
            );
            continue;
        }
        let partition = key.partition(range.number);
        let parts = match history(archive, &partition, None, job.dead_letters).await {
            Ok(parts) => parts,
            Err(error @ (ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. })) => {
                sound = false;
                checks.refuse_damage(target, crate::error::sentence(&error));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let left_out = left_out(&parts, &retention, now);
        let manifests: Vec<Manifest> = parts
            .iter()
            .map(|part| &part.manifest)
            .filter(|manifest| !covers(&left_out, manifest.base))
            .cloned()
            .collect();
        for missing in archive.check_segments(&manifests).await? {
            let found = missing
                .found_bytes
                .map_or("it is missing".to_owned(), |bytes| {
                    format!("it has {bytes} bytes instead of {}", missing.expected_bytes)
                });
            sound = false;
            checks.refuse_damage(
                target,
                format!(
                    "segment {} (offsets {} to {}) cannot be restored: {found}",
                    missing.place, missing.base, missing.next
                ),
            );
        }
        let next = parts.last().map_or(0, |part| part.until);
        let offsets = range.offsets();
        let plan = PartitionPlan {
            index: range.number,
            lineage: parts.last().map_or(0, |part| part.manifest.lineage),
            parts: Arc::new(parts),
            from: offsets.start,
            until: offsets.end.min(next),
            time,
            left_out,
        };
        check_range(&plan, &range, mapping, next, checks);
        plans.push(plan);
    }
    if sound {
        checks.pass(
            Name::Archive,
            target,
            format!("every segment of {} is there", mapping.source),
        );
    }
    let expired: u64 = plans.iter().map(PartitionPlan::left_out_records).sum();
    if expired > 0 {
        checks.warn(
            Name::Range,
            target,
            format!(
                "{expired} records of {} have expired or were pruned",
                mapping.source
            ),
            "they are not restored",
        );
    }
    if job.dead_letters && plans.iter().all(|plan| plan.segments().next().is_none()) {
        checks.warn(
            Name::Range,
            target,
            format!("{} has no dead letters", mapping.source),
            "nothing of it is restored",
        );
    }
    if !time.is_unbounded() && plans.iter().all(|plan| plan.segments().next().is_none()) {
        checks.warn(
            Name::Range,
            target,
            format!("{} has no record of that time", mapping.source),
            "nothing of it is restored; `armory inspect` tells the times",
        );
    }
    Ok(plans)
}

/// Tells where a range of offsets is not what the archive has: it ends by itself, but not as its writer may think.
fn check_range(
    plan: &PartitionPlan,
    range: &PartitionRange,
    mapping: &TopicMapping,
    next: i64,
    checks: &mut Checks,
) {
    let name = format!("{} partition {}", mapping.source, plan.index);
    let first = plan
        .parts
        .iter()
        .find_map(|part| part.manifest.segment.as_ref()?.index.first())
        .map_or(next, |entry| entry.offset);
    let target = &mapping.target;
    let (from, until) = (range.from, range.until);
    if from.is_some_and(|from| from >= next) || until.is_some_and(|until| until < first) {
        checks.warn(
            Name::Range,
            target,
            format!("{name}: the archive has nothing in that range"),
            format!("nothing of it is restored; the archive has the offsets {first} to {next} (exclusive)"),
        );
        return;
    }
    if from.is_some_and(|from| from < first) {
        checks.warn(
            Name::Range,
            target,
            format!("{name}: the archive begins at offset {first}, later than restoreFromOffset"),
            "the restore begins there",
        );
    }
    if until.is_some_and(|until| until >= next) {
        checks.warn(
            Name::Range,
            target,
            format!(
                "{name}: the archive ends before offset {next}, earlier than restoreUntilOffset"
            ),
            "the restore ends there",
        );
    }
}

#[cfg(test)]
mod tests;
