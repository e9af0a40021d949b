//! What becomes of a chunk of records: which are wanted, what the plugins make of them, and which target partition each goes to.

use std::collections::BTreeMap;
use std::ops::Range;

use armory_plugins::{Chain, RecordRef, Timestamp, TimestampKind, Verdict};
use armory_records::{
    BatchHeader, Batches, Compression, DecodeBuffer, ProduceBuilder, Record, TimestampType,
};
use armory_resources::job::TimeRange;

use super::feed::Source;
use super::partitioner::{partition_of_key, partition_without_key};
use crate::EngineError;

/// A batch is closed when its records reach this many bytes, or the target's limit if that is lower.
const BATCH_BYTES: usize = 512 * 1024;

/// How a topic's records are changed on their way.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) chain: Option<Chain>,
    pub(crate) time: TimeRange,
    /// How many partitions the target has.
    pub(crate) target_partitions: i32,
    /// The target's `max.message.bytes`.
    pub(crate) max_message_bytes: usize,
    pub(crate) target_topic: String,
}

/// A chunk's records, sorted by target partition.
#[derive(Debug, Default)]
pub(crate) struct Shaped {
    pub(crate) targets: BTreeMap<i32, TargetShare>,
    pub(crate) filtered: u64,
}

/// What one target partition gets of it.
#[derive(Debug, Default)]
pub(crate) struct TargetShare {
    pub(crate) count: u64,
    pub(crate) batches: Vec<ShapedBatch>,
}

/// A batch with everything but producer id, epoch and sequence.
#[derive(Debug)]
pub(crate) struct ShapedBatch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u64,
    /// The offset of its first record in the archive.
    pub(crate) source: i64,
}

/// A batch being filled.
struct Filling {
    builder: ProduceBuilder,
    count: u64,
    source: i64,
}

/// Batches being filled, by target partition.
struct Sorter<'a> {
    shape: &'a Shape,
    compression: Compression,
    filling: BTreeMap<i32, Filling>,
    shaped: Shaped,
}

impl Shape {
    /// Transforms the records of a chunk with offsets in `range` that the plan wants. Blocks on plugins.
    pub(crate) fn apply(
        &self,
        chunk: &[u8],
        source: &Source,
        range: Range<i64>,
    ) -> Result<Shaped, EngineError> {
        let mut lease = match &self.chain {
            Some(chain) => Some(chain.lease().map_err(|source| self.plugin_error(source))?),
            None => None,
        };
        let wanted = source.plan.from.max(range.start)..source.plan.until.min(range.end);
        let partition = source.key.partition;
        let mut scratch = DecodeBuffer::default();
        let mut sorter = Sorter {
            shape: self,
            compression: Compression::None,
            filling: BTreeMap::new(),
            shaped: Shaped::default(),
        };
        for batch in Batches::new(chunk) {
            let batch = batch.map_err(|error| source.damaged(-1, error))?;
            let header = *batch.header();
            let damaged = |error| source.damaged(header.base_offset, error);
            sorter.compression = header.attributes.compression().map_err(damaged)?;
            let kind = kind_of(&header);
            let mut headers = Vec::new();
            for record in batch.decode(&mut scratch).map_err(damaged)? {
                let record = record.map_err(damaged)?;
                if !wanted.contains(&record.offset) || !self.time.contains(record.timestamp) {
                    continue;
                }
                let verdict = match lease.as_mut() {
                    None => Verdict::Unchanged,
                    Some(lease) => {
                        headers.clear();
                        headers.extend(record.headers.iter());
                        lease
                            .transform(RecordRef {
                                key: record.key,
                                value: record.value,
                                headers: &headers,
                                partition,
                                offset: record.offset,
                                timestamp: Timestamp {
                                    kind: if record.timestamp < 0 {
                                        TimestampKind::None
                                    } else {
                                        kind
                                    },
                                    time: record.timestamp,
                                },
                            })
                            .map_err(|source| self.plugin_error(source))?
                    }
                };
                sorter.add(partition, range.start, &record, verdict)?;
            }
        }
        sorter.finish()
    }

    fn plugin_error(&self, source: armory_plugins::PluginError) -> EngineError {
        EngineError::Plugin {
            topic: self.target_topic.clone(),
            source,
        }
    }
}

fn kind_of(header: &BatchHeader) -> TimestampKind {
    match header.attributes.timestamp_type() {
        TimestampType::CreateTime => TimestampKind::CreateTime,
        TimestampType::LogAppendTime => TimestampKind::LogAppendTime,
    }
}

impl Sorter<'_> {
    fn add(
        &mut self,
        source_partition: i32,
        chunk_from: i64,
        record: &Record<'_>,
        verdict: Verdict,
    ) -> Result<(), EngineError> {
        let targets = self.shape.target_partitions;
        let partition = match &verdict {
            Verdict::Filtered | Verdict::Dropped { .. } => {
                self.shaped.filtered += 1;
                return Ok(());
            }
            Verdict::Unchanged => source_partition,
            Verdict::Changed(changed) => match (changed.partition, &changed.key) {
                (Some(partition), _) => partition,
                (None, Some(key)) => partition_of_key(key, targets),
                // Sticky as in Kafka's own partitioner, and the same when the chunk is transformed again.
                (None, None) => partition_without_key(source_partition, chunk_from, targets),
            },
        };
        if !(0..targets).contains(&partition) {
            return Err(EngineError::NoSuchPartition {
                topic: self.shape.target_topic.clone(),
                partition,
                partitions: targets,
                source_partition,
                offset: record.offset,
            });
        }
        let limit = BATCH_BYTES.min(self.shape.max_message_bytes / 2);
        let compression = self.compression;
        // A large record does not join others in a batch that the target would refuse.
        if let Some(filling) = self.filling.get(&partition)
            && filling.builder.size_bound() + record_bound(record, &verdict)
                > self.shape.max_message_bytes
        {
            self.close(partition)?;
        }
        let filling = self.filling.entry(partition).or_insert_with(|| Filling {
            builder: ProduceBuilder::new(compression, None),
            count: 0,
            source: record.offset,
        });
        match verdict {
            Verdict::Changed(changed) => filling.builder.append(
                changed.timestamp,
                changed.key.as_deref(),
                changed.value.as_deref(),
                changed
                    .headers
                    .iter()
                    .map(|(key, value)| (key.as_bytes(), value.as_deref())),
            ),
            _ => filling.builder.append_record(record),
        }
        filling.count += 1;
        if filling.builder.size_bound() >= limit {
            self.close(partition)?;
        }
        Ok(())
    }

    fn close(&mut self, partition: i32) -> Result<(), EngineError> {
        let Some(mut filling) = self.filling.remove(&partition) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        filling
            .builder
            .finish(-1, -1, -1, &mut bytes)
            .map_err(|source| EngineError::Damaged {
                topic: self.shape.target_topic.clone(),
                partition,
                offset: filling.source,
                place: "archive",
                source,
            })?;
        let share = self.shaped.targets.entry(partition).or_default();
        share.count += filling.count;
        share.batches.push(ShapedBatch {
            bytes,
            count: filling.count,
            source: filling.source,
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Shaped, EngineError> {
        while let Some((partition, _)) = self.filling.first_key_value() {
            let partition = *partition;
            self.close(partition)?;
        }
        Ok(self.shaped)
    }
}

/// What a record takes in a batch at the most.
fn record_bound(record: &Record<'_>, verdict: &Verdict) -> usize {
    /// Its length, attributes, deltas, and the lengths of key, value and headers.
    const FIXED: usize = 36;
    /// The lengths of a header's key and value.
    const HEADER: usize = 10;
    let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    match verdict {
        Verdict::Changed(changed) => {
            let headers = changed.headers.iter();
            FIXED
                + len(changed.key.as_deref())
                + len(changed.value.as_deref())
                + headers
                    .map(|(key, value)| HEADER + key.len() + len(value.as_deref()))
                    .sum::<usize>()
        }
        _ => FIXED + len(record.key) + len(record.value) + record.headers.bytes().len(),
    }
}

#[cfg(test)]
mod tests {
    use armory_records::{Batch, BatchBuilder, BatchOptions};

    use super::*;

    /// Small records followed by a large one made a batch that the target refuses, on every run again.
    #[test]
    fn no_batch_is_larger_than_the_target_takes() {
        let mut bytes = Vec::new();
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for offset in 0..520 {
            let size = if offset % 130 == 129 { 900_000 } else { 1_000 };
            let value = vec![b'v'; size];
            builder.append(offset, 1, None, Some(&value), std::iter::empty());
        }
        builder.finish(&mut bytes).expect("it can be encoded");
        let max_message_bytes = 1_048_588;
        let shape = Shape {
            chain: None,
            time: TimeRange::default(),
            target_partitions: 1,
            max_message_bytes,
            target_topic: "orders".to_owned(),
        };
        let mut sorter = Sorter {
            shape: &shape,
            compression: Compression::None,
            filling: BTreeMap::new(),
            shaped: Shaped::default(),
        };
        let batch = Batch::parse(&bytes).expect("a batch");
        let mut scratch = DecodeBuffer::default();
        for record in batch.decode(&mut scratch).expect("it can be decoded") {
            let record = record.expect("a record");
            sorter
                .add(0, 0, &record, Verdict::Unchanged)
                .expect("it fits");
        }
        let shaped = sorter.finish().expect("all fit");
        let share = &shaped.targets[&0];
        assert_eq!(share.count, 520);
        let largest = share.batches.iter().map(|batch| batch.bytes.len()).max();
        assert!(largest <= Some(max_message_bytes), "{largest:?}");
        assert!(share.batches.len() < 12, "and not one for every record");
    }
}
