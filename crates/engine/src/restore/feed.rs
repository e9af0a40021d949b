//! Batches ready to produce, made of one source partition's batches: each gets a new header and keeps its records' bytes.

use std::sync::Arc;

use armory_archive::{Archive, HistoryPart, Manifest, PartitionKey, SegmentReader};
use armory_records::{
    Batch, BatchError, BatchHeader, Compression, DecodeBuffer, ProduceBuilder, ProduceForm,
    encode_for_produce, produce_form, rewrite_for_produce,
};
use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::plan::PartitionPlan;
use crate::EngineError;

/// What a chunk of an archive is counted as while it is in memory. Readers hand out up to this much at once, a larger batch alone.
pub(crate) const CHUNK: u32 = 4 * 1024 * 1024;
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
    /// The partition in the archive that the records come from.
    pub(crate) source_partition: i32,
    /// The source offsets it stands for: `source` inclusive, `source_next` exclusive.
    pub(crate) source: i64,
    pub(crate) source_next: i64,
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

/// Where a lane takes its batches from.
pub(crate) type Feed = mpsc::Receiver<Result<Vec<Prepared>, EngineError>>;

/// What a partition of the archive is read with.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) archive: Archive,
    pub(crate) key: PartitionKey,
    pub(crate) plan: PartitionPlan,
    /// Memory for chunks, in bytes.
    pub(crate) memory: Arc<Semaphore>,
}

impl Source {
    /// Starts to read; the first batch handed out holds the record with the ordinal `from`, and those before it are skipped.
    pub(crate) fn pass_through(self, producer: Producer, from: u64) -> Feed {
        let (sender, feed) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            if let Err(error) = self.read_all(producer, from, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        feed
    }

    async fn read_all(
        &self,
        producer: Producer,
        from: u64,
        sender: &mpsc::Sender<Result<Vec<Prepared>, EngineError>>,
    ) -> Result<(), EngineError> {
        let mut ordinal = 0;
        for HistoryPart { manifest, .. } in self.plan.segments() {
            if ordinal + manifest.records <= from {
                ordinal += manifest.records;
                continue;
            }
            let mut reader = self.open(manifest).await?;
            loop {
                let credit = self.credit().await;
                let Some(chunk) = reader.next_chunk().await? else {
                    break;
                };
                let index = self.key.partition;
                let prepared = tokio::task::spawn_blocking(move || {
                    prepare(chunk, index, ordinal, from, producer, credit)
                })
                .await?;
                let (next, batches) =
                    prepared.map_err(|(offset, source)| self.damaged(offset, source))?;
                ordinal = next;
                if !batches.is_empty() && sender.send(Ok(batches)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn open(&self, manifest: &Manifest) -> Result<SegmentReader, EngineError> {
        Ok(SegmentReader::open(&self.archive, &self.key, manifest.lineage, manifest).await?)
    }

    pub(crate) async fn credit(&self) -> Arc<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.memory).acquire_many_owned(CHUNK).await;
        Arc::new(permit.expect("the semaphore is never closed"))
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

type PrepareError = (i64, BatchError);

/// Gives every batch of a chunk the header that the target's broker takes.
fn prepare(
    chunk: Bytes,
    source_partition: i32,
    mut ordinal: u64,
    from: u64,
    producer: Producer,
    credit: Arc<OwnedSemaphorePermit>,
) -> Result<(u64, Vec<Prepared>), PrepareError> {
    let mut rest = chunk
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
    let mut batches = Vec::new();
    let mut scratch = DecodeBuffer::default();
    let mut builder = ProduceBuilder::new(Compression::None, None);
    while !rest.is_empty() {
        let header = BatchHeader::parse(&rest).map_err(|error| (-1, error))?;
        let at = |error| (header.base_offset, error);
        let mut bytes = rest.split_to(header.size());
        let count = u64::try_from(header.record_count).unwrap_or(0);
        let first = ordinal;
        ordinal += count;
        if ordinal <= from {
            continue;
        }
        let records = match produce_form(&header) {
            ProduceForm::AsIs => {
                rewrite_for_produce(&mut bytes, producer.id, producer.epoch, sequence(first));
                bytes.freeze()
            }
            ProduceForm::Encode(_) => {
                let batch = Batch::parse(&bytes).map_err(at)?;
                let mut out = Vec::with_capacity(header.size());
                encode_for_produce(
                    &batch,
                    producer.id,
                    producer.epoch,
                    sequence(first),
                    &mut scratch,
                    &mut builder,
                    &mut out,
                )
                .map_err(at)?;
                Bytes::from(out)
            }
            ProduceForm::Withheld(_) => continue,
        };
        let prepared = Prepared {
            records,
            first,
            count,
            source_partition,
            source: header.base_offset,
            source_next: header.next_offset(),
            _credit: Arc::clone(&credit),
        };
        batches.push(if first < from {
            prepared.without_landed(from, producer).map_err(at)?
        } else {
            prepared
        });
    }
    Ok((ordinal, batches))
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
