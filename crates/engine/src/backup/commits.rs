//! Committing sealed segments beside the fetching: several partitions at once, one segment at a time for each.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use armory_archive::{ArchiveError, Committed, PartitionKey};
use tokio::task::{JoinError, JoinSet};

use super::partition::{Partition, Sealed};

/// Uploads at once. More would not be faster over one network, and every one holds its segment in memory.
const PARALLEL: usize = 16;

/// A commit that came to its end.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) partition: Arc<Partition>,
    pub(crate) result: Result<Committed, ArchiveError>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Segments on their way into the archive.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    running: JoinSet<Finished>,
    /// Partitions with a commit under way, each with the segments that wait behind it.
    waiting: HashMap<PartitionKey, VecDeque<Sealed>>,
    /// Partitions that may start once a place is free.
    ready: VecDeque<(Arc<Partition>, Sealed)>,
}

impl Commits {
    /// Queues a segment. Segments of one partition are committed in the order in which they are added.
    pub(crate) fn add(&mut self, partition: Arc<Partition>, sealed: Sealed) {
        if let Some(queue) = self.waiting.get_mut(&partition.key) {
            queue.push_back(sealed);
            return;
        }
        self.waiting.insert(partition.key.clone(), VecDeque::new());
        self.ready.push_back((partition, sealed));
        self.fill();
    }

    /// Whether segments of the partition are on their way.
    pub(crate) fn holds(&self, partition: &PartitionKey) -> bool {
        self.waiting.contains_key(partition)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Waits for the next commit to end. `None`: nothing is under way.
    pub(crate) async fn next(&mut self) -> Option<Result<Finished, JoinError>> {
        let finished = self.running.join_next().await?;
        if let Ok(Finished {
            partition, result, ..
        }) = &finished
        {
            let queue = self
                .waiting
                .get_mut(&partition.key)
                .expect("a commit under way has a queue");
            if result.is_err() {
                // Nothing of the partition may follow a failed commit: the chain would have a hole.
                queue.clear();
            }
            match queue.pop_front() {
                Some(sealed) => self.ready.push_back((Arc::clone(partition), sealed)),
                None => {
                    self.waiting.remove(&partition.key);
                }
            }
        }
        self.fill();
        Some(finished)
    }

    fn fill(&mut self) {
        while self.running.len() < PARALLEL
            && let Some((partition, (segment, charge))) = self.ready.pop_front()
        {
            let chain = partition.state().writer.chain();
            self.running.spawn(async move {
                let began = Instant::now();
                let result = chain.commit(segment).await;
                drop(charge);
                Finished {
                    partition,
                    result,
                    took: began.elapsed(),
                }
            });
        }
    }
}
