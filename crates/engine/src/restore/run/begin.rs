//! What is found out, and entered in the report, before the first record is sent.

use std::collections::BTreeMap;
use std::time::Instant;

use armory_archive::Archive;
use armory_kafka::Client;
use futures::{StreamExt, TryStreamExt, stream};

use super::super::plan::Plan;
use super::super::preflight::TargetTopic;
use super::super::report::{
    Begin, Entry, PluginRecord, Report, SourceRecord, TargetRecord, TopicRecord,
};
use super::ASKED_AT_ONCE;
use crate::EngineError;
use crate::plugins::PluginSet;
use crate::restore::{RestoreSummary, RestoredTopic};

/// How many partitions each target needs: what the archive has, or what the plugins ask for.
pub(super) async fn requirements(
    plan: &Plan,
    plugins: &PluginSet,
) -> Result<Vec<i32>, EngineError> {
    let mut partitions = Vec::new();
    for topic in &plan.topics {
        let archived = topic.partition_count.max(1);
        let Some(chain) = plugins.restore_chain(&topic.mapping.source, &topic.mapping.target)
        else {
            partitions.push(archived);
            continue;
        };
        let target = topic.mapping.target.clone();
        let wanted = tokio::task::spawn_blocking(move || {
            chain.requirements(u64::from(archived.unsigned_abs()))
        })
        .await?
        .map_err(|source| EngineError::Plugin {
            topic: target.clone(),
            source,
        })?;
        let wanted = i32::try_from(wanted).ok().filter(|wanted| *wanted >= 1).ok_or_else(|| EngineError::Preflight {
            problems: vec![format!("the plugins ask for {wanted} partitions of {target}; Kafka has topics of 1 to {} partitions", i32::MAX)],
        })?;
        partitions.push(wanted);
    }
    Ok(partitions)
}

/// The report's first entry. Every target partition gets a producer id of its own, which stays the same over restarts.
#[expect(
    clippy::too_many_arguments,
    reason = "these are the parts of the entry"
)]
pub(super) async fn make_begin(
    client: &Client,
    archive: &Archive,
    plan: &Plan,
    targets: &[TargetTopic],
    starts: &BTreeMap<(String, i32), i64>,
    target_cluster: Option<String>,
    id: String,
    plugins: Vec<PluginRecord>,
) -> Result<Begin, EngineError> {
    let mut topics = Vec::new();
    for (topic, target) in plan.topics.iter().zip(targets) {
        let records = target.meta.partitions.iter().map(async |partition| {
            let (producer_id, producer_epoch) = client.init_producer_id().await?;
            Ok::<_, EngineError>(TargetRecord {
                partition: partition.index,
                producer_id,
                producer_epoch,
                start_offset: starts[&(target.meta.name.clone(), partition.index)],
            })
        });
        let records = stream::iter(records)
            .buffered(ASKED_AT_ONCE)
            .try_collect()
            .await?;
        topics.push(TopicRecord {
            source: topic.mapping.source.clone(),
            source_id: topic.key.topic_id.to_string(),
            incarnation: topic.incarnation,
            target: topic.mapping.target.clone(),
            target_id: target.meta.id.map(|id| id.to_string()),
            created: target.created,
            sources: topic
                .partitions
                .iter()
                .map(|partition| SourceRecord {
                    partition: partition.index,
                    lineage: partition.lineage,
                    next: partition.until,
                    records: partition.records(),
                })
                .collect(),
            targets: records,
        });
    }
    let mut source_clusters: Vec<String> = plan
        .topics
        .iter()
        .filter_map(|topic| topic.cluster_id.clone())
        .collect();
    source_clusters.sort();
    source_clusters.dedup();
    Ok(Begin {
        format: 1,
        id,
        archive: archive.id().to_string(),
        source_clusters,
        target_cluster,
        plugins,
        topics,
    })
}

pub(super) fn summary_of_finished(
    report: &Report,
    plan: &Plan,
    targets: &[TargetTopic],
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
        topics: restored_topics(plan, targets, report.begin()),
        records,
        was_complete: true,
        elapsed: started.elapsed(),
        ..RestoreSummary::default()
    }
}

pub(super) fn restored_topics(
    plan: &Plan,
    targets: &[TargetTopic],
    begin: Option<&Begin>,
) -> Vec<RestoredTopic> {
    plan.topics
        .iter()
        .zip(targets)
        .enumerate()
        .map(|(index, (topic, target))| RestoredTopic {
            source: topic.mapping.source.clone(),
            incarnation: topic.incarnation,
            target: target.meta.name.clone(),
            created: begin
                .and_then(|begin| begin.topics.get(index))
                .is_some_and(|record| record.created),
            records: topic.records(),
        })
        .collect()
}
