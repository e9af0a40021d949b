//! A fetch session (KIP-227) as state alone: what is assigned, what the broker was told of it, and what to tell it next.
//!
//! The broker remembers the partitions of a session and what they were last asked for, so that a request only has
//! to name those that changed. Here every partition therefore has two sides: what is wanted, and what the broker was
//! told. An answer counts for a partition only if the two belong to the same assignment.
//!
//! The broker also moves a partition that it sent records of to the end of its list, so that all get their turn. Where
//! it gives no session (it has too many of them), every request names all partitions and the turn is kept here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};
use uuid::Uuid;

use super::{FetchAssignment, FetchOptions, PartitionFetch, partition_fetch};
use crate::ErrorCode;
use crate::metadata::{topic_id, topic_name};

/// The epoch of a request that begins a session; 0 is never used within one.
const BEGIN: i32 = 0;

#[derive(Debug, Default)]
pub(super) struct Session {
    /// The broker's id of the session; 0 if there is none.
    id: i32,
    /// The epoch of the next request.
    epoch: i32,
    /// Whether the session names topics by id. It cannot do so by halves.
    by_topic_id: bool,
    topics: HashMap<Arc<str>, HashMap<i32, Entry>>,
    names: HashMap<Uuid, Arc<str>>,
    len: usize,
    without_id: usize,
    /// The partitions that the broker has to be told about; each at most once, some of them removed meanwhile.
    changed: Vec<(Arc<str>, i32)>,
    /// Partitions that the broker still has in the session and shall drop.
    forgotten: HashSet<Forgotten>,
    assignments: u64,
    answers: u64,
}

/// An assigned partition.
#[derive(Debug)]
struct Entry {
    topic_id: Option<Uuid>,
    /// The next offset to fetch.
    offset: i64,
    leader_epoch: i32,
    /// Which assignment it is.
    assignment: u64,
    /// What the broker's session has of it.
    told: Option<Told>,
    /// Whether it is in `changed`.
    is_queued: bool,
    /// The answer that last brought records of it.
    last_served: u64,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    topic_id: Option<Uuid>,
    offset: i64,
    assignment: u64,
}

/// A partition by what names it in the session: the topic id where there is one, otherwise the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Forgotten {
    topic: Arc<str>,
    topic_id: Option<Uuid>,
    partition: i32,
}

/// What an answer means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// The broker lost the session: ask for everything again.
    StartOver(ErrorCode),
    Refused(ErrorCode),
}

impl Session {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn all_have_ids(&self) -> bool {
        self.without_id == 0
    }

    pub(super) fn assign(&mut self, assignment: FetchAssignment) {
        let FetchAssignment {
            topic,
            topic_id,
            partition,
            offset,
            leader_epoch,
        } = assignment;
        self.remove(&topic, partition);
        let name = match self.topics.get_key_value(topic.as_str()) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(topic),
        };
        if let Some(id) = topic_id {
            self.names.insert(id, Arc::clone(&name));
        } else {
            self.without_id += 1;
        }
        self.len += 1;
        self.assignments += 1;
        // The broker has it in the session already: it is told of the change, and must not be told to drop it as well.
        let forgotten = self.forgotten(&name, topic_id, partition);
        self.forgotten.remove(&forgotten);
        let entry = Entry {
            topic_id,
            offset,
            leader_epoch,
            assignment: self.assignments,
            told: None,
            is_queued: true,
            last_served: 0,
        };
        self.changed.push((Arc::clone(&name), partition));
        self.topics
            .entry(name)
            .or_default()
            .insert(partition, entry);
    }

    pub(super) fn remove(&mut self, topic: &str, partition: i32) {
        let Some((name, partitions)) = self.topics.get_key_value(topic) else {
            return;
        };
        let name = Arc::clone(name);
        let is_last = partitions.len() == 1;
        let Some(entry) = self
            .topics
            .get_mut(topic)
            .and_then(|partitions| partitions.remove(&partition))
        else {
            return;
        };
        self.len -= 1;
        self.without_id -= usize::from(entry.topic_id.is_none());
        if let Some(told) = entry.told {
            let forgotten = self.forgotten(&name, told.topic_id, partition);
            self.forgotten.insert(forgotten);
        }
        if is_last {
            self.topics.remove(topic);
            if let Some(id) = entry.topic_id {
                self.names.remove(&id);
            }
        }
    }

    fn forgotten(&self, topic: &Arc<str>, topic_id: Option<Uuid>, partition: i32) -> Forgotten {
        let topic_id = topic_id.filter(|_| self.by_topic_id);
        Forgotten {
            topic: Arc::clone(topic),
            topic_id,
            partition,
        }
    }

    /// The next request; what it says counts as told.
    pub(super) fn next_request(
        &mut self,
        options: &FetchOptions,
        by_topic_id: bool,
    ) -> FetchRequest {
        if by_topic_id != self.by_topic_id {
            // With the old id and the first epoch, the broker ends the old session and begins another.
            self.by_topic_id = by_topic_id;
            self.epoch = BEGIN;
        }
        let partitions = if self.epoch == BEGIN {
            self.everything()
        } else {
            self.what_changed()
        };
        let forgotten = std::mem::take(&mut self.forgotten);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(options.max_wait_ms())
            .with_min_bytes(options.min_bytes)
            .with_max_bytes(options.max_bytes)
            .with_isolation_level(options.isolation_level())
            .with_session_id(self.id)
            .with_session_epoch(self.epoch)
            .with_forgotten_topics_data(forgotten_topics(forgotten));
        request.with_topics(self.tell(partitions, options.partition_max_bytes))
    }

    /// All partitions, those first that waited longest for records.
    fn everything(&mut self) -> Vec<(Arc<str>, i32)> {
        self.changed.clear();
        self.forgotten.clear();
        let mut all: Vec<(u64, &Arc<str>, i32)> = Vec::with_capacity(self.len);
        for (name, partitions) in &self.topics {
            all.extend(
                partitions
                    .iter()
                    .map(|(partition, entry)| (entry.last_served, name, *partition)),
            );
        }
        all.sort_unstable();
        all.into_iter()
            .map(|(_, name, partition)| (Arc::clone(name), partition))
            .collect()
    }

    fn what_changed(&mut self) -> Vec<(Arc<str>, i32)> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        // A partition that was removed and assigned again is there twice.
        changed.dedup();
        changed.retain(|(name, partition)| {
            self.topics
                .get(name)
                .is_some_and(|topic| topic.contains_key(partition))
        });
        changed
    }

    /// Turns partitions into the topics of a request, in their order: neighbours of the same topic share an entry.
    fn tell(
        &mut self,
        partitions: Vec<(Arc<str>, i32)>,
        partition_max_bytes: i32,
    ) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut current: Option<(Arc<str>, Option<Uuid>)> = None;
        for (name, partition) in partitions {
            let Some(entry) = self
                .topics
                .get_mut(&name)
                .and_then(|topic| topic.get_mut(&partition))
            else {
                continue;
            };
            let topic_id = entry.topic_id.filter(|_| self.by_topic_id);
            entry.told = Some(Told {
                topic_id,
                offset: entry.offset,
                assignment: entry.assignment,
            });
            entry.is_queued = false;
            let asked = FetchPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(entry.leader_epoch)
                .with_fetch_offset(entry.offset)
                .with_partition_max_bytes(partition_max_bytes);
            let is_same = current
                .as_ref()
                .is_some_and(|current| current.0 == name && current.1 == topic_id);
            if !is_same {
                topics.push(
                    FetchTopic::default()
                        .with_topic(topic_name(&name))
                        .with_topic_id(topic_id.unwrap_or_default()),
                );
                current = Some((name, topic_id));
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(asked);
            }
        }
        topics
    }

    /// Decides what an answer means, before its partitions are taken in.
    pub(super) fn judge(&mut self, answer: &FetchResponse) -> Verdict {
        let began = self.epoch == BEGIN;
        if let Some(code) = ErrorCode::from_wire(answer.error_code) {
            let is_lost = matches!(
                code,
                ErrorCode::FETCH_SESSION_ID_NOT_FOUND
                    | ErrorCode::INVALID_FETCH_SESSION_EPOCH
                    | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
            );
            if !is_lost || began {
                return Verdict::Refused(code);
            }
            self.end();
            return Verdict::StartOver(code);
        }
        if began {
            self.id = answer.session_id;
            self.epoch = if self.id == 0 { BEGIN } else { BEGIN + 1 };
        } else if answer.session_id == self.id {
            self.epoch = self.epoch.checked_add(1).unwrap_or(BEGIN + 1);
        } else {
            // The broker ended the session with this answer.
            self.end();
        }
        Verdict::Fine
    }

    fn end(&mut self) {
        self.id = 0;
        self.epoch = BEGIN;
    }

    /// What an answer says about partitions that are still wanted as they were asked for. Moves their positions on.
    pub(super) fn take_in(&mut self, answer: FetchResponse) -> Vec<PartitionFetch> {
        self.answers += 1;
        let mut taken = Vec::new();
        for topic in answer.responses {
            let id = topic_id(topic.topic_id);
            let name = match id {
                Some(id) => self.names.get(&id).cloned(),
                None => self
                    .topics
                    .get_key_value(&**topic.topic)
                    .map(|(name, _)| Arc::clone(name)),
            };
            let Some((name, partitions)) =
                name.and_then(|name| Some((Arc::clone(&name), self.topics.get_mut(&name)?)))
            else {
                continue;
            };
            for data in topic.partitions {
                let partition = data.partition_index;
                let Some(entry) = partitions.get_mut(&partition) else {
                    continue;
                };
                let Some(told) = entry
                    .told
                    .filter(|told| told.assignment == entry.assignment && told.topic_id == id)
                else {
                    continue;
                };
                let fetch = partition_fetch(name.to_string(), entry.topic_id, told.offset, data);
                if fetch.error.is_none() && fetch.next_offset != told.offset {
                    entry.offset = fetch.next_offset;
                    entry.last_served = self.answers;
                    if !entry.is_queued {
                        entry.is_queued = true;
                        self.changed.push((Arc::clone(&name), partition));
                    }
                }
                taken.push(fetch);
            }
        }
        taken
    }
}

fn forgotten_topics(forgotten: HashSet<Forgotten>) -> Vec<ForgottenTopic> {
    let mut by_topic: HashMap<(Arc<str>, Option<Uuid>), Vec<i32>> = HashMap::new();
    for Forgotten {
        topic,
        topic_id,
        partition,
    } in forgotten
    {
        by_topic
            .entry((topic, topic_id))
            .or_default()
            .push(partition);
    }
    let topics = by_topic.into_iter().map(|((topic, topic_id), partitions)| {
        ForgottenTopic::default()
            .with_topic(topic_name(&topic))
            .with_topic_id(topic_id.unwrap_or_default())
            .with_partitions(partitions)
    });
    topics.collect()
}

#[cfg(test)]
mod tests;
