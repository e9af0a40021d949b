//! The memory of a restore: what readers hold ahead, and the chunks that are on their way to the target.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::plan::PartitionPlan;

/// The most that a chunk of an archive takes: readers hand out up to this much at once, a larger batch alone.
const CHUNK: u64 = 4 << 20;
/// Chunks that the reader of a partition holds ahead at the most (see [`armory_archive::SegmentReader`]).
const CHUNKS_AHEAD: u64 = 4;

/// Shares of one limit: half for reading ahead, half for chunks, which is halved again where records are decoded: for chunks, and
/// for what plugins made of them. What is read is taken before.
///
/// Partitions that find no room to read ahead wait until one before them is read to its end, so memory does not grow with
/// their number. Chunks are given back when their batches have landed, or when something else was made of them. What was made waits
/// for room that only what was made before it takes, and that lands whether or not anything else is read: nobody waits in a circle.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    ahead: Share,
    chunks: Share,
    made: Share,
}

#[derive(Debug, Clone)]
struct Share {
    free: Arc<Semaphore>,
    all: u32,
}

impl Memory {
    /// Splits `limit` bytes; `reshapes` says whether something is made of chunks. A few partitions and chunks are always possible.
    pub(crate) fn new(limit: u64, reshapes: bool) -> Memory {
        let chunks = if reshapes { limit / 4 } else { limit / 2 };
        Memory {
            ahead: Share::new((limit / 2).max(2 * CHUNKS_AHEAD * CHUNK)),
            chunks: Share::new(chunks.max(4 * CHUNK)),
            made: Share::new(chunks.max(4 * CHUNK)),
        }
    }

    /// What a partition may take of it. Looks at every manifest, so do it once.
    pub(crate) fn of(&self, plan: &PartitionPlan) -> PartitionMemory {
        PartitionMemory {
            memory: self.clone(),
            raw_bytes: plan.raw_bytes(),
            chunk: CHUNK.max(plan.largest_batch()),
        }
    }
}

/// The part of one partition in the memory of a restore.
#[derive(Debug, Clone)]
pub(crate) struct PartitionMemory {
    memory: Memory,
    /// Bytes of batches that are read in all.
    raw_bytes: u64,
    /// The most that a chunk takes.
    chunk: u64,
}

impl PartitionMemory {
    /// The right to hold what the partition's reader reads ahead, until it is read to its end.
    pub(crate) async fn read_ahead(&self) -> OwnedSemaphorePermit {
        let most = CHUNKS_AHEAD * self.chunk;
        self.memory.ahead.take(most.min(self.raw_bytes)).await
    }

    /// The right to have one more chunk on its way.
    pub(crate) async fn chunk(&self) -> OwnedSemaphorePermit {
        self.memory
            .chunks
            .take(self.chunk.min(self.raw_bytes))
            .await
    }

    /// The right to hold `bytes` that were made of a chunk.
    pub(crate) async fn made(&self, bytes: u64) -> OwnedSemaphorePermit {
        self.memory.made.take(bytes).await
    }
}

impl Share {
    fn new(bytes: u64) -> Share {
        let all = u32::try_from(bytes).unwrap_or(u32::MAX);
        Share {
            free: Arc::new(Semaphore::new(all as usize)),
            all,
        }
    }

    /// What is larger than the whole share passes alone.
    async fn take(&self, bytes: u64) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.all);
        let permit = Arc::clone(&self.free).acquire_many_owned(bytes).await;
        permit.expect("the semaphore is never closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_small_partitions_are_read_at_once_and_few_large_ones() {
        let share = Memory::new(64 << 20, false).ahead;
        let small = futures::future::join_all((0..1000).map(|_| share.take(1000))).await;
        assert_eq!(small.len(), 1000);
        drop(small);
        let _large = (share.take(16 << 20).await, share.take(16 << 20).await);
        assert_eq!(share.free.available_permits(), 0);
    }

    #[tokio::test]
    async fn the_smallest_limit_lets_something_through() {
        let memory = Memory::new(1, true);
        let _ahead = memory.ahead.take(u64::MAX).await;
        let _chunk = memory.chunks.take(u64::MAX).await;
    }
}
