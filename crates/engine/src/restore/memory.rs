//! The memory of a restore: what readers hold ahead, and the chunks that are on their way to the target.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most that a chunk of an archive takes: readers hand out up to this much at once, a larger batch alone.
const CHUNK: u64 = 4 << 20;
/// The most that the reader of a partition holds ahead (see [`armory_archive::SegmentReader`]).
const AHEAD: u64 = 16 << 20;

/// Shares of one limit: half for reading ahead, half for chunks. Both are taken before anything is read.
///
/// Partitions that find no room to read ahead wait until one before them is read to its end, so memory does not grow with
/// their number. Chunks are given back when their batches have landed.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    ahead: Arc<Semaphore>,
    chunks: Arc<Semaphore>,
}

impl Memory {
    /// Splits `limit` bytes. A few partitions and chunks are always possible.
    pub(crate) fn new(limit: u64) -> Memory {
        let share = |least: u64| {
            let permits = usize::try_from((limit / 2).max(least)).unwrap_or(usize::MAX);
            Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
        };
        Memory {
            ahead: share(2 * AHEAD),
            chunks: share(4 * CHUNK),
        }
    }

    /// For the reader of a partition of which `partition_bytes` are read in all.
    pub(crate) async fn read_ahead(&self, partition_bytes: u64) -> OwnedSemaphorePermit {
        take(&self.ahead, partition_bytes.min(AHEAD)).await
    }

    /// For one chunk of such a partition.
    pub(crate) async fn chunk(&self, partition_bytes: u64) -> OwnedSemaphorePermit {
        take(&self.chunks, partition_bytes.min(CHUNK)).await
    }
}

async fn take(semaphore: &Arc<Semaphore>, bytes: u64) -> OwnedSemaphorePermit {
    let bytes = u32::try_from(bytes).expect("no share is larger than 16 MiB");
    let permit = Arc::clone(semaphore).acquire_many_owned(bytes).await;
    permit.expect("the semaphore is never closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_small_partitions_are_read_at_once_and_few_large_ones() {
        let memory = Memory::new(64 << 20);
        let small = futures::future::join_all((0..1000).map(|_| memory.read_ahead(1000))).await;
        assert_eq!(small.len(), 1000);
        drop(small);
        let _large = (
            memory.read_ahead(u64::MAX).await,
            memory.read_ahead(u64::MAX).await,
        );
        assert_eq!(memory.ahead.available_permits(), 0);
        assert_eq!(memory.chunks.available_permits(), 32 << 20);
    }

    #[tokio::test]
    async fn the_smallest_limit_lets_something_through() {
        let memory = Memory::new(1);
        let _ahead = memory.read_ahead(u64::MAX).await;
        let _chunk = memory.chunk(u64::MAX).await;
    }
}
