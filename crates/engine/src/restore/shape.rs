//! What becomes of a chunk of records: which are wanted, what the plugins make of them, and which target partition each goes to.

use std::collections::BTreeMap;
use std::ops::Range;

use armory_archive::DeadLetter;
use armory_plugins::{Chain, RecordRef, Timestamp, Verdict};
use armory_records::{Batches, Compression, DecodeBuffer, ProduceBuilder, Record, TimestampType};

use super::encode::EncodeError;
use super::feed::Source;
use super::partitioner::{partition_of_key, partition_without_key};
use super::report::Runs;
use super::select::Selection;
use crate::EngineError;
use crate::plugins::{dead_letter, kind_of};

/// A batch is closed when its records reach this many bytes, or the target's limit if that is lower.
const BATCH_BYTES: usize = 512 * 1024;

/// How a topic's records are changed on their way.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) chain: Option<Chain>,
    /// The header that every record gets for its original offset.
    pub(crate) offset_header: Option<String>,
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
    /// Records that were put aside.
    pub(crate) dead_letters: Vec<DeadLetter>,
}

/// What one target partition gets of it.
#[derive(Debug, Default)]
pub(crate) struct TargetShare {
    pub(crate) count: u64,
    /// Which offsets of the chunk they had.
    pub(crate) runs: Runs,
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
    source: &'a Source,
    compression: Compression,
    timestamps: TimestampType,
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
        let wanted = Selection {
            offsets: source.plan.from.max(range.start)..source.plan.until.min(range.end),
            time: source.plan.time,
        };
        let partition = source.key.partition;
        let mut scratch = DecodeBuffer::default();
        let mut sorter = Sorter {
            shape: self,
            source,
            compression: Compression::None,
            timestamps: TimestampType::CreateTime,
            filling: BTreeMap::new(),
            shaped: Shaped::default(),
        };
        for batch in Batches::new(chunk) {
            let batch = batch.map_err(|error| source.damaged(-1, error))?;
            let header = *batch.header();
            let damaged = |error| source.damaged(header.base_offset, error);
            sorter.compression = header.attributes.compression().map_err(damaged)?;
            sorter.timestamps = header.attributes.timestamp_type();
            let kind = kind_of(sorter.timestamps);
            let mut headers = Vec::new();
            for record in batch.decode(&mut scratch).map_err(damaged)? {
                let record = record.map_err(damaged)?;
                if !wanted.contains(&record) {
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
                                timestamp: Timestamp::of_record(kind, record.timestamp),
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
            Verdict::DeadLettered(failed) => {
                let letter = dead_letter(record, self.timestamps, failed);
                self.shaped.dead_letters.push(letter);
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
            && filling.builder.size_bound() + self.shape.record_bound(record, &verdict)
                > self.shape.max_message_bytes
        {
            self.close(partition)?;
        }
        let filling = self.filling.entry(partition).or_insert_with(|| Filling {
            builder: ProduceBuilder::new(compression, None),
            count: 0,
            source: record.offset,
        });
        let offset = record.offset.to_string();
        let name = self.shape.offset_header.as_deref();
        let added = name.map(|name| (name.as_bytes(), Some(offset.as_bytes())));
        match &verdict {
            Verdict::Changed(changed) => filling.builder.append(
                changed.timestamp,
                changed.key.as_deref(),
                changed.value.as_deref(),
                changed
                    .headers
                    .iter()
                    .map(|(key, value)| (key.as_bytes(), value.as_deref()))
                    .chain(added),
            ),
            _ if added.is_some() => filling.builder.append(
                record.timestamp,
                record.key,
                record.value,
                record.headers.iter().chain(added),
            ),
            _ => filling.builder.append_record(record),
        }
        filling.count += 1;
        let share = self.shaped.targets.entry(partition).or_default();
        share.runs.push(record.offset.abs_diff(chunk_from));
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
            .map_err(|error| self.source.damaged(filling.source, error))?;
        // Several records were counted before they were put together; one alone may be what the target never takes.
        if bytes.len() > self.shape.max_message_bytes {
            let error = EncodeError::TooLarge {
                offset: filling.source,
                bytes: bytes.len(),
            };
            return Err(self.source.encode_error(filling.source, error));
        }
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

impl Shape {
    /// What a record takes in a batch at the most.
    fn record_bound(&self, record: &Record<'_>, verdict: &Verdict) -> usize {
        /// Its length, attributes, deltas, and the lengths of key, value and headers.
        const FIXED: usize = 36;
        /// The lengths of a header's key and value.
        const HEADER: usize = 10;
        /// An offset in decimal.
        const OFFSET: usize = 20;
        let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let added = self.offset_header.as_ref();
        let added = added.map_or(0, |name| HEADER + name.len() + OFFSET);
        let own = match verdict {
            Verdict::Changed(changed) => {
                let headers = changed.headers.iter();
                len(changed.key.as_deref())
                    + len(changed.value.as_deref())
                    + headers
                        .map(|(key, value)| HEADER + key.len() + len(value.as_deref()))
                        .sum::<usize>()
            }
            _ => len(record.key) + len(record.value) + record.headers.bytes().len(),
        };
        FIXED + own + added
    }
}

#[cfg(test)]
mod tests {
    use armory_records::{Batch, BatchBuilder, BatchOptions};

    use super::*;

    /// Small records followed by a large one made a batch that the target refuses, on every run again.
    #[tokio::test]
    async fn no_batch_is_larger_than_the_target_takes() {
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
            offset_header: None,
            target_partitions: 1,
            max_message_bytes,
            target_topic: "orders".to_owned(),
        };
        let folder = tempfile::tempdir().expect("a folder");
        let source = crate::restore::feed::Source::empty(folder.path()).await;
        let mut sorter = Sorter {
            shape: &shape,
            source: &source,
            compression: Compression::None,
            timestamps: TimestampType::CreateTime,
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
