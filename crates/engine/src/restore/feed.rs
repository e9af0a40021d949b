//! Feeds: what of a source partition is ready to produce, in order, as far ahead of its lane as memory allows.

use std::sync::Arc;

use armory_archive::{Archive, HistoryPart, Manifest, PartitionKey, SegmentReader};
use armory_records::{Batch, BatchError, DecodeBuffer};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::encode::{EncodeError, Encoded, Encoder};
use super::memory::PartitionMemory;
use super::plan::PartitionPlan;
use super::prepare::{Making, Preparer};
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

    pub(crate) fn new(encoded: Encoded, credit: &Arc<OwnedSemaphorePermit>) -> Prepared {
        Prepared {
            records: encoded.records,
            first: encoded.first,
            count: encoded.count,
            source: encoded.source,
            _credit: Arc::clone(credit),
        }
    }

    /// The same batch without its records before the ordinal `from`, which landed already: as one, or several where the rest
    /// compresses worse than the whole.
    pub(crate) fn without_landed(
        &self,
        from: u64,
        producer: Producer,
        max_batch_bytes: usize,
    ) -> Result<Vec<Prepared>, EncodeError> {
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let batch = Batch::parse(&self.records)?;
        let codec = batch.header().attributes.compression()?;
        let mut scratch = DecodeBuffer::default();
        let records = batch.decode(&mut scratch)?.skip(skip);
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let mut rest = Vec::new();
        Encoder::new(max_batch_bytes, None).encode(&records, codec, producer, from, &mut rest)?;
        let rest = rest.into_iter().map(|encoded| Prepared {
            source: self.source,
            ..Prepared::new(encoded, &self._credit)
        });
        Ok(rest.collect())
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
    /// Reads on behalf of a feed. False: nobody listens any more.
    async fn read_into(
        &self,
        preparer: Preparer,
        sender: &mpsc::Sender<Result<Fed, EngineError>>,
    ) -> Result<(Preparer, bool), EngineError> {
        let _ahead = self.memory.read_ahead().await;
        let mut preparer = preparer;
        for part in self.plan.segments() {
            let records = part.manifest.records;
            if self.plan.is_whole(part) && preparer.ordinal() + records <= preparer.from() {
                preparer.pass_over(records);
                continue;
            }
            preparer.select(self.plan.selection(part));
            let mut reader = self.open_part(part).await?;
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
                let batches =
                    batches.map_err(|(offset, error)| self.encode_error(offset, error))?;
                if !batches.is_empty() && sender.send(Ok(Fed::Batches(batches))).await.is_err() {
                    return Ok((preparer, false));
                }
            }
        }
        Ok((preparer, true))
    }

    /// Opens the segment of a part, where what is wanted of it begins and ends as far as its index tells.
    pub(crate) async fn open_part(&self, part: &HistoryPart) -> Result<SegmentReader, EngineError> {
        let manifest = &part.manifest;
        let mut reader = self.open(manifest).await?;
        if self.plan.from > manifest.base {
            reader.seek(self.plan.from);
        } else if let Some(from) = self.plan.time.from_ms {
            reader.seek_time(from);
        }
        let until = self.plan.until.min(part.until);
        if until < manifest.next {
            reader.until(until);
        }
        Ok(reader)
    }

    pub(crate) async fn open(&self, manifest: &Manifest) -> Result<SegmentReader, EngineError> {
        Ok(SegmentReader::open(&self.archive, &self.key, manifest.lineage, manifest).await?)
    }

    /// The right to have one more chunk on its way.
    pub(crate) async fn credit(&self) -> Arc<OwnedSemaphorePermit> {
        Arc::new(self.memory.chunk().await)
    }

    pub(crate) fn encode_error(&self, offset: i64, error: EncodeError) -> EngineError {
        match error {
            EncodeError::Batch(source) => self.damaged(offset, source),
            EncodeError::TooLarge { offset, bytes } => EngineError::TooLarge {
                topic: self.key.topic.topic.clone(),
                partition: self.key.partition,
                offset,
                bytes,
            },
        }
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
impl Source {
    /// A source with nothing in it, of a new archive in `folder`.
    pub(crate) async fn empty(folder: &std::path::Path) -> Source {
        let location = armory_archive::Location::Folder(folder.to_owned());
        let archive = Archive::create_or_open(location).await.expect("an archive");
        let topic = armory_archive::TopicKey::new("orders", armory_archive::TopicId::None);
        let plan = PartitionPlan {
            index: 0,
            lineage: 0,
            parts: Arc::new(Vec::new()),
            from: 0,
            until: i64::MAX,
            time: armory_resources::job::TimeRange::default(),
            left_out: Vec::new(),
        };
        Source {
            archive,
            key: topic.partition(0),
            memory: super::memory::Memory::new(1 << 20, false).of(&plan),
            plan,
        }
    }
}

/// Reads the sources of one target partition, one after the other, and gives their batches the form that its broker takes. The first
/// batch handed out holds the first record that has not landed.
pub(crate) fn pass_through(sources: Vec<Source>, making: Making) -> Feed {
    let (sender, feed) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let end = read_all(&sources, Preparer::new(making), &sender).await;
        // Nobody listens where the target failed.
        let _ = sender.send(end.map(Fed::End)).await;
    });
    feed
}

async fn read_all(
    sources: &[Source],
    mut preparer: Preparer,
    sender: &mpsc::Sender<Result<Fed, EngineError>>,
) -> Result<u64, EngineError> {
    for source in sources {
        let (back, listens) = source.read_into(preparer, sender).await?;
        preparer = back;
        if !listens {
            break;
        }
    }
    Ok(preparer.ordinal())
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
