//! What is found out, and entered in the report, before the first record is sent.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};

use super::super::plan::{PartitionPlan, Plan};
use super::super::preflight::{TargetTopic, Tools};
use super::super::report::{
    Begin, Entry, FORMAT, Report, SourceRecord, TargetRecord, TargetTopicRecord, TopicRecord,
};
use super::ASKED_AT_ONCE;
use crate::EngineError;
use crate::restore::{RestoreSummary, RestoredTopic};

/// What the first entry is made of, beside the plan.
pub(super) struct Beginning<'a> {
    pub(super) id: String,
    pub(super) target_cluster: Option<String>,
    pub(super) targets: &'a [TargetTopic],
    /// Where the partitions of the targets end.
    pub(super) ends: &'a BTreeMap<(String, i32), i64>,
    /// Before which time records are left out, target by target.
    pub(super) oldest: &'a [Option<i64>],
    /// What `topic-retention` goes by, target by target.
    pub(super) expires_before: &'a [Option<i64>],
}

/// The report's first entry. Every target partition gets a producer id of its own, which stays the same over restarts.
pub(super) async fn make_begin(
    tools: &Tools,
    plan: &Plan,
    beginning: Beginning<'_>,
) -> Result<Begin, EngineError> {
    let mut targets = Vec::new();
    for (index, (target, topic)) in plan.targets.iter().zip(beginning.targets).enumerate() {
        let records = topic.meta.partitions.iter().map(async |partition| {
            let (producer_id, producer_epoch) = tools.client.init_producer_id().await?;
            Ok::<_, EngineError>(TargetRecord {
                partition: partition.index,
                producer_id,
                producer_epoch,
                start_offset: beginning.ends[&(target.name.clone(), partition.index)],
            })
        });
        let partitions = stream::iter(records)
            .buffered(ASKED_AT_ONCE)
            .try_collect()
            .await?;
        targets.push(TargetTopicRecord {
            target: target.name.clone(),
            target_id: topic.meta.id.map(|id| id.to_string()),
            created: topic.created,
            reshaped: tools.plugins.applies_to(&target.name),
            oldest: beginning.oldest[index],
            expires_before: beginning.expires_before[index],
            partitions,
        });
    }
    let source = |partition: &PartitionPlan| SourceRecord {
        partition: partition.index,
        lineage: partition.lineage,
        from: partition.from,
        next: partition.until,
        records: partition.records(),
        left_out: partition.left_out.clone(),
    };
    let topics = plan.topics.iter().map(|topic| TopicRecord {
        source: topic.mapping.source.clone(),
        source_id: topic.key.topic_id.to_string(),
        incarnation: topic.incarnation,
        target: topic.mapping.target.clone(),
        time: plan.variant.time,
        sources: topic.partitions.iter().map(source).collect(),
    });
    let mut source_clusters: Vec<String> = plan
        .topics
        .iter()
        .filter_map(|topic| topic.cluster_id.clone())
        .collect();
    source_clusters.sort();
    source_clusters.dedup();
    Ok(Begin {
        format: FORMAT,
        id: beginning.id,
        archive: tools.archive.id().to_string(),
        dead_letters: plan.variant.dead_letters,
        source_clusters,
        target_cluster: beginning.target_cluster,
        plugins: tools.plugin_records(),
        topics: topics.collect(),
        targets,
    })
}

pub(super) fn summary_of_finished(
    report: &Report,
    plan: &Plan,
    id: String,
    started: Instant,
) -> RestoreSummary {
    let records = report
        .entries()
        .iter()
        .find_map(|entry| match entry {
            Entry::Done { records, .. } => Some(*records),
            _ => None,
        })
        .unwrap_or(0);
    RestoreSummary {
        id,
        topics: restored_topics(plan, report.begin()),
        records,
        was_complete: true,
        elapsed: started.elapsed(),
        ..RestoreSummary::default()
    }
}

pub(super) fn restored_topics(plan: &Plan, begin: Option<&Begin>) -> Vec<RestoredTopic> {
    let is_created = |target: &str| {
        let mut targets = begin.iter().flat_map(|begin| &begin.targets);
        targets.any(|record| record.target == target && record.created)
    };
    let topics = plan.topics.iter().map(|topic| RestoredTopic {
        source: topic.mapping.source.clone(),
        incarnation: topic.incarnation,
        target: topic.mapping.target.clone(),
        created: is_created(&topic.mapping.target),
        records: topic.records(),
    });
    topics.collect()
}
