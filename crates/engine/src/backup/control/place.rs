//! Where a partition goes on: from which offset on, and by which broker's task.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use armory_kafka::{Metadata, PartitionMetadata};
use futures::future::join_all;
use uuid::Uuid;

use super::super::broker::{self, Command};
use super::super::partition::{Partition, Phase};
use super::super::position;
use super::Control;
use crate::backup::{UnstableRange, Until};
use crate::error::sentence;
use crate::{EngineError, Level};

/// For how long a partition may be without a broker to fetch from before that is remarked upon.
const UNPLACED_REMARK: Duration = Duration::from_secs(30);

/// For how long it may be so before that is a problem: a leader that moves is found again sooner.
const UNPLACED_PROBLEM: Duration = Duration::from_secs(3);

/// A partition that no broker's task fetches; asked for again at every refresh.
#[derive(Debug)]
pub(super) struct Unplaced {
    partition: Arc<Partition>,
    since: Instant,
    why: String,
    remarked: bool,
}

impl Control {
    /// Has a partition placed at the next refresh. It is remembered until a broker's task has it, whatever fails meanwhile.
    pub(super) fn want_placed(&mut self, partition: Arc<Partition>, why: String) {
        if let Some(unplaced) = self.unplaced.get_mut(&partition.key) {
            unplaced.partition = partition;
            unplaced.why = why;
            return;
        }
        let unplaced = Unplaced {
            partition: Arc::clone(&partition),
            since: Instant::now(),
            why,
            remarked: false,
        };
        self.unplaced.insert(partition.key.clone(), unplaced);
    }

    pub(super) async fn place_unplaced(&mut self, metadata: &Metadata) -> Result<(), EngineError> {
        let unplaced = self.unplaced.values();
        let partitions = unplaced
            .map(|unplaced| Arc::clone(&unplaced.partition))
            .collect();
        self.place(metadata, partitions).await
    }

    /// Finds out where to fetch each of these unplaced partitions from, and hands it to its leader.
    pub(super) async fn place(
        &mut self,
        metadata: &Metadata,
        partitions: Vec<Arc<Partition>>,
    ) -> Result<(), EngineError> {
        let mut led: HashMap<i32, Vec<(Arc<Partition>, i32)>> = HashMap::new();
        let topics: HashMap<(&str, i32), (Option<Uuid>, &PartitionMetadata)> = metadata
            .topics
            .iter()
            .flat_map(|topic| {
                let of_topic = |meta| ((topic.name.as_str(), meta), topic.id);
                topic.partitions.iter().map(of_topic)
            })
            .map(|((name, meta), id)| ((name, meta.index), (id, meta)))
            .collect();
        for partition in partitions {
            if partition.state().phase != Phase::Streaming {
                self.unplaced.remove(&partition.key);
                continue;
            }
            let meta = topics
                .get(&(&*partition.topic.name, partition.index))
                .filter(|(id, _)| *id == partition.topic.id)
                .map(|(_, meta)| meta);
            match meta.map(|meta| (meta.leader, meta.leader_epoch)) {
                Some((Some(leader), epoch)) => {
                    led.entry(leader).or_default().push((partition, epoch));
                }
                Some((None, _)) => self.want_placed(partition, "it has no leader".to_owned()),
                // Opened again after its topic went.
                None if self.until == Until::CaughtUp && !self.is_present(&partition) => {
                    self.fail_deleted(&partition);
                }
                None => self.want_placed(partition, "the cluster does not list it".to_owned()),
            }
        }
        // One broker each, so that one that is silent does not keep the partitions of the others waiting.
        let client = self.shared.client.clone();
        let asked = led.into_iter().map(|(leader, led)| {
            let client = &client;
            async move {
                let epochs: HashMap<_, _> = led
                    .iter()
                    .map(|(partition, epoch)| (partition.key.clone(), *epoch))
                    .collect();
                (leader, epochs, position::find(client, led).await)
            }
        });
        for (leader, epochs, positions) in join_all(asked).await {
            let positions = match positions {
                Ok(positions) => positions,
                Err(error) if error.is_transient() => {
                    let why = sentence(&error);
                    for key in epochs.keys() {
                        if let Some(unplaced) = self.unplaced.get_mut(key) {
                            unplaced.why.clone_from(&why);
                        }
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            for (partition, why) in positions.unknown {
                tracing::debug!(partition = partition.name(), why, "no position yet");
                self.want_placed(partition, why);
            }
            for position in positions.found {
                let epoch = epochs[&position.partition.key];
                self.place_one(position, leader, epoch, metadata.brokers.len())
                    .await;
            }
        }
        Ok(())
    }

    async fn place_one(
        &mut self,
        position: position::Position,
        leader: i32,
        leader_epoch: i32,
        brokers: usize,
    ) {
        // A lineage ends with everything of it committed; what is open goes first, and the partition is asked for again.
        if position.must_commit
            || (position.diverged_at.is_some()
                && position.partition.state().writer.has_uncommitted())
        {
            position.partition.seal(&self.shared);
            let why = "its last segments are being committed".to_owned();
            self.want_placed(position.partition, why);
            return;
        }
        if let Err(error) = position.settle().await {
            self.on_failure(&position.partition, &error);
            return;
        }
        self.remark_on(&position);
        let partition = position.partition;
        self.unplaced.remove(&partition.key);
        if self.until == Until::CaughtUp
            && self.reach(&partition, position.last_stable, position.high_watermark)
        {
            return;
        }
        self.assign(partition, leader, position.offset, leader_epoch, brokers);
    }

    fn is_present(&self, partition: &Partition) -> bool {
        self.topics
            .get(&*partition.topic.name)
            .is_some_and(|followed| followed.present)
    }

    /// Partitions that no broker could be found for within a moment, and why.
    pub(super) fn waiting_for_leader(&self) -> impl Iterator<Item = (String, &str)> {
        let waiting = self.unplaced.values().filter(|unplaced| {
            unplaced.since.elapsed() >= UNPLACED_PROBLEM && self.is_present(&unplaced.partition)
        });
        waiting.map(|unplaced| (unplaced.partition.name(), unplaced.why.as_str()))
    }

    /// Remarks, once, on partitions that nothing has been fetched of for long.
    pub(super) fn remark_on_unplaced(&mut self) {
        let mut overdue = Vec::new();
        for (key, unplaced) in &self.unplaced {
            if !unplaced.remarked
                && unplaced.since.elapsed() >= UNPLACED_REMARK
                && self.is_present(&unplaced.partition)
            {
                let text = format!(
                    "{}: nothing could be fetched for {} s ({}); it is tried until the cluster has a leader for it",
                    unplaced.partition.name(),
                    UNPLACED_REMARK.as_secs(),
                    unplaced.why
                );
                self.remark(Level::Warning, text);
                overdue.push(key.clone());
            }
        }
        for key in overdue {
            if let Some(unplaced) = self.unplaced.get_mut(&key) {
                unplaced.remarked = true;
            }
        }
    }

    fn remark_on(&self, position: &position::Position) {
        let name = position.partition.name();
        if let Some(end) = position.diverged_at {
            let at = end.end_offset;
            let lineage = position.partition.state().writer.lineage();
            self.remark(
                Level::Warning,
                format!("{name}: the cluster lost records that are archived (an unclean leader election); its history departs at offset {at}, and goes on as lineage {lineage}"),
            );
        }
        // Where records are left, the first batch tells how far the gap reaches; the remark comes with it.
        if let Some((from, until)) = position.empty_head()
            && from > 0
        {
            self.remark_on_trimmed(&position.partition, from, until);
        }
    }

    pub(super) fn remark_on_trimmed(&self, partition: &Partition, from: i64, until: i64) {
        self.remark(
            Level::Warning,
            format!(
                "{}: offsets {from} to {until} (exclusive) were removed at the source before they could be archived; recorded as a gap",
                partition.name()
            ),
        );
    }

    /// Sets where `--once` stops, the first time. True: the partition is there already.
    fn reach(&mut self, partition: &Arc<Partition>, last_stable: i64, high_watermark: i64) -> bool {
        let mut state = partition.state();
        if state.stop_at.is_none() && last_stable < high_watermark {
            self.summary.unstable.push(UnstableRange {
                topic: partition.topic.name.to_string(),
                partition: partition.index,
                last_stable_offset: last_stable,
                high_watermark,
            });
        }
        let stop_at = *state.stop_at.get_or_insert(last_stable);
        if state.writer.next_offset() < stop_at {
            return false;
        }
        state.phase = Phase::Done;
        drop(state);
        self.ended.insert(partition.key.clone());
        partition.seal(&self.shared);
        true
    }

    fn assign(
        &mut self,
        partition: Arc<Partition>,
        leader: i32,
        offset: i64,
        leader_epoch: i32,
        brokers: usize,
    ) {
        self.placed.insert(partition.key.clone(), leader);
        let command = Command::Assign {
            partition,
            offset,
            leader_epoch,
        };
        // A broker's task ends when the run does, or in a panic, of which it has told its partitions.
        self.brokers
            .retain(|_, handle| !handle.commands.is_closed());
        let handle = self
            .brokers
            .entry(leader)
            .or_insert_with(|| broker::spawn(leader, brokers, Arc::clone(&self.shared)));
        let _ = handle.commands.send(command);
    }

    pub(super) fn unassign(&mut self, partition: &Partition) {
        if let Some(broker) = self
            .placed
            .remove(&partition.key)
            .and_then(|id| self.brokers.get(&id))
        {
            let command = Command::Remove {
                topic: Arc::clone(&partition.topic.name),
                partition: partition.index,
            };
            let _ = broker.commands.send(command);
        }
    }
}
