//! What a restore is going to read: the mappings, held against what the archive has. Nothing here asks the target.

use std::sync::Arc;

use armory_archive::{Archive, ArchiveError, HistoryPart, Manifest, TopicKey};
use armory_resources::job::{Incarnation, PartitionRange, RestoreJob, TimeRange, TopicMapping};
use serde::Serialize;

use crate::EngineError;

/// Everything that is going to be read.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) topics: Vec<TopicPlan>,
    pub(crate) variant: Variant,
}

/// What besides topics and plugins makes a restore another restore.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Variant {
    pub(crate) time: TimeRange,
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
    pub(crate) configs: std::collections::BTreeMap<String, String>,
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
    /// Whether only some of the records are wanted, by offset or time.
    pub(crate) ranged: bool,
}

impl PartitionPlan {
    /// Whether some of the records in the segments that are read are not restored: not wanted, or of a history that a later lineage cut.
    pub(crate) fn is_partial(&self) -> bool {
        self.ranged
            || self
                .parts
                .iter()
                .any(|part| part.until < part.manifest.next)
    }

    /// Goes back to where the partition stood when the restore began, whatever was archived since: its lineage then, up to `until`
    /// (exclusive).
    pub(crate) async fn pin(
        &mut self,
        archive: &Archive,
        key: &TopicKey,
        lineage: u32,
        until: i64,
    ) -> Result<(), EngineError> {
        if self.lineage != lineage {
            let key = key.partition(self.index);
            self.parts = Arc::new(archive.history(&key, Some(lineage)).await?);
            self.lineage = lineage;
        }
        self.until = until;
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

    /// The parts with a segment that has to be read, in offset order.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &HistoryPart> {
        let (from, until) = (self.from, self.until);
        self.parts.iter().filter(move |part| {
            let manifest = &part.manifest;
            manifest.segment.is_some() && part.until > from && manifest.base < until
        })
    }

    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.segments().map(|part| &part.manifest)
    }
}

impl TopicPlan {
    pub(crate) fn records(&self) -> u64 {
        self.partitions.iter().map(PartitionPlan::records).sum()
    }
}

/// Reads the archive's side of a restore. Every problem is collected, so that a user sees all of them at once.
pub(crate) async fn read(archive: &Archive, job: &RestoreJob) -> Result<Plan, EngineError> {
    let entries = archive.topics().await?;
    let mut problems = Vec::new();
    let mut topics = Vec::new();
    for mapping in &job.mappings {
        if job
            .mappings
            .iter()
            .filter(|other| other.target == mapping.target)
            .count()
            > 1
        {
            problems.push(format!(
                "several sources are mapped to the target {}; map each to a target of its own",
                mapping.target
            ));
            continue;
        }
        let Some(entry) = entries.iter().find(|entry| entry.name == mapping.source) else {
            let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
            problems.push(format!(
                "topic {} is not in the archive {}; it has: {}",
                mapping.source,
                archive.display(),
                if names.is_empty() {
                    "no topic".to_owned()
                } else {
                    names.join(", ")
                }
            ));
            continue;
        };
        let incarnation = match mapping.incarnation {
            Incarnation::Latest => entry
                .incarnations
                .iter()
                .max_by_key(|incarnation| incarnation.genesis.incarnation),
            Incarnation::Version(wanted) => entry
                .incarnations
                .iter()
                .find(|incarnation| incarnation.genesis.incarnation == wanted),
        };
        let Some(incarnation) = incarnation else {
            let known: Vec<String> = entry
                .incarnations
                .iter()
                .map(|incarnation| format!("v{}", incarnation.genesis.incarnation))
                .collect();
            problems.push(format!(
                "topic {} has no {} in the archive; it has: {}",
                mapping.source,
                mapping.incarnation,
                known.join(", ")
            ));
            continue;
        };
        let key = TopicKey {
            topic: entry.name.clone(),
            topic_id: incarnation.topic_id,
        };
        let snapshot = archive.latest_snapshot(&key, i64::MAX).await?;
        let (partition_count, configs) = match snapshot {
            Some(snapshot) => (snapshot.partitions, snapshot.configs),
            None => (
                incarnation.genesis.partitions,
                incarnation.genesis.configs.clone(),
            ),
        };
        let partitions = read_partitions(archive, &key, mapping, job.time, &mut problems).await?;
        let highest = partitions
            .iter()
            .map(|partition| partition.index + 1)
            .max()
            .unwrap_or(0);
        topics.push(TopicPlan {
            mapping: mapping.clone(),
            key,
            incarnation: incarnation.genesis.incarnation,
            cluster_id: incarnation.genesis.cluster_id.clone(),
            partition_count: partition_count.max(highest),
            configs,
            partitions,
        });
    }
    if problems.is_empty() {
        Ok(Plan {
            topics,
            variant: Variant { time: job.time },
        })
    } else {
        Err(EngineError::Preflight { problems })
    }
}

async fn read_partitions(
    archive: &Archive,
    key: &TopicKey,
    mapping: &TopicMapping,
    time: TimeRange,
    problems: &mut Vec<String>,
) -> Result<Vec<PartitionPlan>, EngineError> {
    let archived = archive.partitions(key).await?;
    let wanted: Vec<PartitionRange> = match &mapping.partitions {
        Some(ranges) => ranges.clone(),
        None => archived
            .iter()
            .map(|number| PartitionRange {
                number: *number,
                from: None,
                until: None,
            })
            .collect(),
    };
    let mut plans = Vec::new();
    for range in wanted {
        if !archived.contains(&range.number) {
            problems.push(format!(
                "topic {} has no partition {} in the archive; it has: {archived:?}",
                mapping.source, range.number
            ));
            continue;
        }
        let partition = key.partition(range.number);
        let parts = match archive.history(&partition, None).await {
            Ok(parts) => parts,
            Err(error @ (ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. })) => {
                problems.push(crate::error::sentence(&error));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let manifests: Vec<Manifest> = parts.iter().map(|part| part.manifest.clone()).collect();
        for missing in archive.check_segments(&manifests).await? {
            let found = missing
                .found_bytes
                .map_or("it is missing".to_owned(), |bytes| {
                    format!("it has {bytes} bytes instead of {}", missing.expected_bytes)
                });
            problems.push(format!(
                "segment {} (offsets {} to {}) cannot be restored: {found}; run `armory verify` for the whole extent",
                missing.place, missing.base, missing.next
            ));
        }
        let next = parts.last().map_or(0, |part| part.until);
        let offsets = range.offsets();
        plans.push(PartitionPlan {
            index: range.number,
            lineage: parts.last().map_or(0, |part| part.manifest.lineage),
            parts: Arc::new(parts),
            from: offsets.start,
            until: offsets.end.min(next),
            ranged: range.from.is_some() || range.until.is_some() || !time.is_unbounded(),
        });
    }
    Ok(plans)
}
