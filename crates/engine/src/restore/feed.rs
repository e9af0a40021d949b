//! Feeds: what of a source partition is ready to produce, in order, as far ahead of its lane as memory allows.

use std::sync::Arc;

use armory_archive::{Archive, HistoryPart, Manifest, PartitionKey, SegmentReader};
use armory_records::{Batch, BatchError, DecodeBuffer, ProduceBuilder};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::memory::PartitionMemory;
use super::plan::PartitionPlan;
use super::prepare::Preparer;
use crate::EngineError;

/// Chunks of one partition that wait for its lane.
const AHEAD: usize = 2;

/// A producer id with its epoch: one for each target partition of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// Kafka's sequence numbers count records and wrap to 0 after 2³¹ − 1 (`DefaultRecordBatch.incrementSequence`).
pub(crate) fn sequence(ordinal: u64) -> i32 {
    i32::try_from(ordinal % (1 << 31)).expect("less than 2³¹")
}

/// One batch as it is sent, and sent again if need be.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// The bytes on the wire.
    pub(crate) records: Bytes,
    /// Its first record is the so-manieth of the target partition, counted from 0.
    pub(crate) first: u64,
    /// How many records it has; at least one.
    pub(crate) count: u64,
    /// The offset of its first record in the archive.
    pub(crate) source: i64,
    /// Memory that is given back when the batch has landed.
    pub(crate) _credit: Arc<OwnedSemaphorePermit>,
}

impl Prepared {
    /// The ordinal after its last record.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.count
    }

    /// The same batch without its records before the ordinal `from`, which landed already.
    pub(crate) fn without_landed(
        &self,
        from: u64,
        producer: Producer,
    ) -> Result<Prepared, BatchError> {
        let skip = from - self.first;
        let batch = Batch::parse(&self.records)?;
        let mut scratch = DecodeBuffer::default();
        let mut builder = ProduceBuilder::new(batch.header().attributes.compression()?, None);
        for record in batch
            .decode(&mut scratch)?
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
        {
            builder.append_record(&record?);
        }
        let mut out = Vec::new();
        builder.finish(producer.id, producer.epoch, sequence(from), &mut out)?;
        Ok(Prepared {
            records: out.into(),
            first: from,
            count: self.count - skip,
            ..self.clone()
        })
    }
}

/// What a feed gives.
#[derive(Debug)]
pub(crate) enum Fed {
    /// Batches, in order.
    Batches(Vec<Prepared>),
    /// That was all: so many records. A feed that ends without it has broken off.
    End(u64),
}

/// Where a lane takes its batches from.
pub(crate) type Feed = mpsc::Receiver<Result<Fed, EngineError>>;

/// What a partition of the archive is read with.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) archive: Archive,
    pub(crate) key: PartitionKey,
    pub(crate) plan: PartitionPlan,
    pub(crate) memory: PartitionMemory,
}

impl Source {
    /// Starts to read; the first batch handed out holds the record with the ordinal `from`, and those before it are skipped.
    /// A batch is made no larger than `max_batch_bytes` by merging.
    pub(crate) fn pass_through(
        self,
        producer: Producer,
        from: u64,
        max_batch_bytes: usize,
    ) -> Feed {
        let (sender, feed) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            let preparer = Preparer::new(producer, from, self.plan.until, max_batch_bytes);
            let end = self.read_all(preparer, from, &sender).await;
            // Nobody listens where the target failed.
            let _ = sender.send(end.map(Fed::End)).await;
        });
        feed
    }

    async fn read_all(
        &self,
        mut preparer: Preparer,
        from: u64,
        sender: &mpsc::Sender<Result<Fed, EngineError>>,
    ) -> Result<u64, EngineError> {
        let _ahead = self.memory.read_ahead().await;
        for HistoryPart { manifest, .. } in self.plan.segments() {
            // Not one that goes on beyond the end: of it only some records count.
            if manifest.next <= self.plan.until && preparer.ordinal() + manifest.records <= from {
                preparer.pass_over(manifest.records);
                continue;
            }
            let mut reader = self.open(manifest).await?;
            loop {
                let credit = self.credit().await;
                let Some(chunk) = reader.next_chunk().await? else {
                    break;
                };
                let (batches, back) = tokio::task::spawn_blocking(move || {
                    let batches = preparer.prepare(chunk, &credit);
                    (batches, preparer)
                })
                .await?;
                preparer = back;
                let batches = batches.map_err(|(offset, source)| self.damaged(offset, source))?;
                if !batches.is_empty() && sender.send(Ok(Fed::Batches(batches))).await.is_err() {
                    return Ok(preparer.ordinal());
                }
            }
        }
        Ok(preparer.ordinal())
    }

    pub(crate) async fn open(&self, manifest: &Manifest) -> Result<SegmentReader, EngineError> {
        Ok(SegmentReader::open(&self.archive, &self.key, manifest.lineage, manifest).await?)
    }

    /// The right to have one more chunk on its way.
    pub(crate) async fn credit(&self) -> Arc<OwnedSemaphorePermit> {
        Arc::new(self.memory.chunk().await)
    }

    pub(crate) fn damaged(&self, offset: i64, source: BatchError) -> EngineError {
        EngineError::Damaged {
            topic: self.key.topic.topic.clone(),
            partition: self.key.partition,
            offset,
            place: "archive",
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_as_kafkas_do() {
        assert_eq!(sequence(0), 0);
        assert_eq!(sequence((1 << 31) - 1), i32::MAX);
        assert_eq!(sequence(1 << 31), 0);
        assert_eq!(sequence((1 << 31) + 5), 5);
    }
}
