//! What the last metadata answers said: where brokers are, and who leads what.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::connect::Address;
use crate::{Metadata, TopicMetadata};

/// The cluster as it was last seen.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    brokers: HashMap<i32, Address>,
    controller: Option<i32>,
    topics: HashMap<String, TopicMetadata>,
}

/// Who leads a partition, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leader {
    /// This broker, in this leader epoch.
    Broker { id: i32, epoch: i32 },
    /// The partition has none.
    None,
    /// The cluster has to be asked.
    Unknown,
}

impl Cluster {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn address(&self, broker: i32) -> Option<Address> {
        self.seen().brokers.get(&broker).cloned()
    }

    pub(super) fn controller(&self) -> Option<i32> {
        self.seen().controller
    }

    pub(super) fn brokers(&self) -> Vec<i32> {
        self.seen().brokers.keys().copied().collect()
    }

    pub(super) fn leader(&self, topic: &str, partition: i32) -> Leader {
        let seen = self.seen();
        let known = seen
            .topics
            .get(topic)
            .and_then(|topic| topic.partition(partition));
        match known {
            Some(partition) => match partition.leader {
                Some(id) => Leader::Broker {
                    id,
                    epoch: partition.leader_epoch,
                },
                None => Leader::None,
            },
            None => Leader::Unknown,
        }
    }

    /// Takes in an answer. Of topics that it does not cover, what was known stays.
    pub(super) fn take_in(&self, metadata: &Metadata, covers_all_topics: bool) {
        let mut seen = self.seen();
        if !metadata.brokers.is_empty() {
            let addresses = metadata
                .brokers
                .iter()
                .map(|broker| (broker.id, Address::new(&broker.host, broker.port)));
            seen.brokers = addresses.collect();
        }
        seen.controller = metadata.controller;
        if covers_all_topics {
            seen.topics.clear();
        }
        for topic in &metadata.topics {
            if topic.error.is_none() {
                seen.topics.insert(topic.name.clone(), topic.clone());
            } else {
                seen.topics.remove(&topic.name);
            }
        }
    }

    /// Forgets the leaders of a topic, because one of them turned out to be wrong.
    pub(super) fn forget_topic(&self, topic: &str) {
        self.seen().topics.remove(topic);
    }
}
