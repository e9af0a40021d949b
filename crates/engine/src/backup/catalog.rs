//! Which topics a backup follows: the selection, held against what the cluster has.

use std::collections::BTreeMap;
use std::sync::Arc;

use armory_kafka::{Metadata, TopicMetadata};
use armory_resources::job::{TopicSelection, Worker};

use super::partition::{Partition, Topic};

/// A topic under backup, with the partitions that are open.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) topic: Arc<Topic>,
    pub(crate) partitions: BTreeMap<i32, Arc<Partition>>,
    /// Whether the cluster listed it the last time; a deleted topic is remarked upon once.
    pub(crate) present: bool,
}

/// What a fresh look at the cluster shows, compared with what is followed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Topics that match and are not followed yet, or whose topic id changed (the old id is closed first).
    pub(crate) new: Vec<TopicMetadata>,
    /// Followed topics with partitions that are not open yet.
    pub(crate) grown: Vec<TopicMetadata>,
    /// Followed topics that the cluster no longer has.
    pub(crate) gone: Vec<String>,
}

/// Whether a partition is this process's to read.
pub(crate) fn is_owned(worker: Option<&Worker>, topic: &str, partition: i32) -> bool {
    worker.is_none_or(|worker| worker.owns(topic, partition))
}

/// Compares. Internal topics are followed only when a stream names them.
pub(crate) fn compare(
    metadata: &Metadata,
    selection: &TopicSelection,
    worker: Option<&Worker>,
    followed: &BTreeMap<String, Followed>,
) -> Changes {
    let mut changes = Changes::default();
    for topic in &metadata.topics {
        if topic.error.is_some() || !selection.matches(&topic.name) {
            continue;
        }
        if topic.internal && !selection.streams.contains(&topic.name) {
            continue;
        }
        match followed.get(&topic.name) {
            Some(known) if known.topic.id == topic.id => {
                if topic.partitions.iter().any(|partition| {
                    !known.partitions.contains_key(&partition.index)
                        && is_owned(worker, &topic.name, partition.index)
                }) {
                    changes.grown.push(topic.clone());
                }
            }
            _ => changes.new.push(topic.clone()),
        }
    }
    changes.gone = followed
        .iter()
        .filter(|(name, known)| {
            known.present && !metadata.topics.iter().any(|topic| topic.name == **name)
        })
        .map(|(name, _)| name.clone())
        .collect();
    changes
}
