//! Where each partition is fetched: from which offset on, and by which broker's task.

use std::collections::HashMap;
use std::sync::Arc;

use armory_kafka::Metadata;

use super::super::broker::{self, Command};
use super::super::partition::{Partition, Phase};
use super::super::position;
use super::Control;
use crate::backup::{UnstableRange, Until};
use crate::{EngineError, Level};

impl Control {
    /// Finds out where to fetch each partition from, and hands it to its leader.
    pub(super) async fn place(
        &mut self,
        metadata: &Metadata,
        partitions: Vec<Arc<Partition>>,
    ) -> Result<(), EngineError> {
        let mut led = Vec::new();
        let mut leaders = HashMap::new();
        for partition in partitions {
            if partition.state().phase != Phase::Streaming {
                continue;
            }
            let meta = metadata.topics.iter().find(|topic| {
                topic.name == *partition.topic.name && topic.id == partition.topic.id
            });
            let leader = meta
                .and_then(|topic| {
                    topic
                        .partitions
                        .iter()
                        .find(|meta| meta.index == partition.index)
                })
                .and_then(|meta| Some((meta.leader?, meta.leader_epoch)));
            match leader {
                Some((leader, epoch)) => {
                    leaders.insert(partition.key.clone(), (leader, epoch));
                    led.push((partition, epoch));
                }
                None => self.unplaced.push(partition),
            }
        }
        if led.is_empty() {
            return Ok(());
        }
        let positions = position::find(&self.shared.client, led).await?;
        for (partition, why) in positions.unknown {
            tracing::debug!(partition = partition.name(), why, "no position yet");
            self.unplaced.push(partition);
        }
        for position in positions.found {
            // A lineage ends with everything of it committed; what is open goes first, and the partition is asked for again.
            if position.diverged_at.is_some() && position.partition.state().writer.has_uncommitted()
            {
                self.seal(&position.partition);
                self.unplaced.push(position.partition);
                continue;
            }
            position.settle().await?;
            self.remark_on(&position);
            let partition = position.partition;
            if self.until == Until::CaughtUp
                && self.reach(&partition, position.last_stable, position.high_watermark)
            {
                continue;
            }
            let (leader, leader_epoch) = leaders[&partition.key];
            self.assign(
                partition,
                leader,
                position.offset,
                leader_epoch,
                metadata.brokers.len(),
            );
        }
        Ok(())
    }

    fn remark_on(&self, position: &position::Position) {
        let name = position.partition.name();
        if let Some(at) = position.diverged_at {
            let lineage = position.partition.state().writer.lineage();
            self.remark(
                Level::Warning,
                format!("{name}: the cluster lost records that are archived (an unclean leader election); its history departs at offset {at}, and goes on as lineage {lineage}"),
            );
        }
        // Where records are left, the first batch tells how far the gap reaches; the remark comes with it.
        if let Some((from, until)) = position.lost
            && from > 0
            && until == position.high_watermark
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
        self.done += 1;
        self.seal(partition);
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
        let handle = self
            .brokers
            .entry(leader)
            .or_insert_with(|| broker::spawn(leader, brokers, Arc::clone(&self.shared)));
        // A broker's task ends only when the run does.
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
