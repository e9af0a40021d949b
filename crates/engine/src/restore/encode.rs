//! Records to batches that a target takes: one, or several where one would be larger than its `max.message.bytes`.

use armory_records::{BatchError, Compression, ProduceBuilder, Record};
use bytes::Bytes;

use super::feed::{Producer, sequence};

/// Why records could not be made into batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EncodeError {
    Batch(BatchError),
    /// A record that the target takes in no batch.
    TooLarge {
        /// Its offset.
        offset: i64,
        /// The size of a batch that holds it alone.
        bytes: usize,
    },
}

impl From<BatchError> for EncodeError {
    fn from(error: BatchError) -> EncodeError {
        EncodeError::Batch(error)
    }
}

/// A batch ready to produce.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) records: Bytes,
    /// Its first record is the so-manieth of the target partition.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// The offset of its first record in the archive.
    pub(crate) source: i64,
}

/// Encodes records anew.
#[derive(Debug)]
pub(crate) struct Encoder {
    builder: ProduceBuilder,
    /// Batches are no larger than this.
    max_bytes: usize,
    /// The header that every record gets for its original offset.
    offset_header: Option<String>,
}

impl Encoder {
    pub(crate) fn new(max_bytes: usize, offset_header: Option<String>) -> Encoder {
        Encoder {
            builder: ProduceBuilder::new(Compression::None, None),
            max_bytes,
            offset_header,
        }
    }

    /// Whether every record is changed.
    pub(crate) fn adds_header(&self) -> bool {
        self.offset_header.is_some()
    }

    /// Encodes `records`, the first of which has the ordinal `first`, as few batches with this codec.
    pub(crate) fn encode(
        &mut self,
        records: &[Record<'_>],
        codec: Compression,
        producer: Producer,
        first: u64,
        out: &mut Vec<Encoded>,
    ) -> Result<(), EncodeError> {
        let Some(head) = records.first() else {
            return Ok(());
        };
        self.builder.reset(codec, None);
        for record in records {
            self.append(record);
        }
        let mut bytes = Vec::new();
        self.builder
            .finish(producer.id, producer.epoch, sequence(first), &mut bytes)?;
        if bytes.len() <= self.max_bytes {
            out.push(Encoded {
                records: Bytes::from(bytes),
                first,
                count: records.len() as u64,
                source: head.offset,
            });
            return Ok(());
        }
        if records.len() == 1 {
            return Err(EncodeError::TooLarge {
                offset: head.offset,
                bytes: bytes.len(),
            });
        }
        drop(bytes);
        // How well a part compresses shows only when it is done.
        let (left, right) = records.split_at(records.len() / 2);
        self.encode(left, codec, producer, first, out)?;
        self.encode(right, codec, producer, first + left.len() as u64, out)
    }

    fn append(&mut self, record: &Record<'_>) {
        let Some(name) = &self.offset_header else {
            return self.builder.append_record(record);
        };
        let offset = record.offset.to_string();
        let added = (name.as_bytes(), Some(offset.as_bytes()));
        let headers = record.headers.iter().chain([added]);
        self.builder
            .append(record.timestamp, record.key, record.value, headers);
    }
}
