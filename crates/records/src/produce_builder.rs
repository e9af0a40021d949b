//! Encoding records of a log for a producer: closing holes, writing out LogAppendTime, merging small batches.

use crate::{
    Batch, BatchBuilder, BatchError, BatchHeader, BatchOptions, Compression, DecodeBuffer, Record,
};

/// Builds batches that a producer may send: offsets run from 0 without holes, and every record has its timestamp written out.
///
/// A broker's cost is per batch, so several small neighbours of one partition are best appended to one builder. Reuse it.
#[derive(Debug)]
pub struct ProduceBuilder {
    builder: BatchBuilder,
}

impl ProduceBuilder {
    /// A builder of batches with this codec and level (`None`: the codec's default, see [`BatchOptions`]).
    pub fn new(compression: Compression, compression_level: Option<i32>) -> ProduceBuilder {
        ProduceBuilder {
            builder: BatchBuilder::new(options(compression, compression_level)),
        }
    }

    /// Drops what was appended and begins a batch with this codec and level.
    pub fn reset(&mut self, compression: Compression, compression_level: Option<i32>) {
        self.builder.reset(options(compression, compression_level));
    }

    /// Appends a record. `timestamp` is in ms since 1970 (−1: none), `headers` are keys and values.
    pub fn append<'h>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) {
        self.builder
            .append(self.next_offset(), timestamp, key, value, headers);
    }

    /// Appends a record of a log. Its headers are copied as they are.
    pub fn append_record(&mut self, record: &Record<'_>) {
        self.builder.append_record_at(self.next_offset(), record);
    }

    /// Appends all records of a batch of a log, which may be none.
    ///
    /// # Errors
    /// If the batch cannot be decoded or is a control batch. The builder then holds a part of it, and
    /// [`ProduceBuilder::finish`] reports the same error instead of giving a batch.
    pub fn append_batch(
        &mut self,
        batch: &Batch<'_>,
        scratch: &mut DecodeBuffer,
    ) -> Result<(), BatchError> {
        let appended = self.append_records(batch, scratch);
        if let Err(error) = &appended {
            self.builder.fail(error.clone());
        }
        appended
    }

    fn append_records(
        &mut self,
        batch: &Batch<'_>,
        scratch: &mut DecodeBuffer,
    ) -> Result<(), BatchError> {
        let header = batch.header();
        if header.attributes.is_control() {
            return Err(BatchError::Control {
                base_offset: header.base_offset,
            });
        }
        for record in batch.decode(scratch)? {
            self.append_record(&record?);
        }
        Ok(())
    }

    /// The number of records so far is the offset of the next.
    fn next_offset(&self) -> i64 {
        self.builder.len() as i64
    }

    /// How many records were appended.
    pub fn len(&self) -> usize {
        self.builder.len()
    }

    /// Whether no record was appended.
    pub fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// The size in bytes that the batch would have so far without compression, header included.
    pub fn estimated_size(&self) -> usize {
        self.builder.estimated_size()
    }

    /// The size in bytes that the batch cannot exceed so far, to be held against the target's `max.message.bytes`.
    pub fn size_bound(&self) -> usize {
        self.builder.size_bound()
    }

    /// Appends the batch to `out`, tells its header, and begins anew with the same codec.
    ///
    /// # Errors
    /// As [`BatchBuilder::finish`], and if a batch could not be appended.
    pub fn finish(
        &mut self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        out: &mut Vec<u8>,
    ) -> Result<BatchHeader, BatchError> {
        self.builder
            .set_producer(producer_id, producer_epoch, base_sequence);
        self.builder.finish(out)
    }
}

fn options(compression: Compression, compression_level: Option<i32>) -> BatchOptions {
    BatchOptions {
        compression,
        compression_level,
        ..BatchOptions::default()
    }
}

/// Encodes the records of one batch of a log for a producer, with the batch's codec, and appends them to `out` as one batch.
///
/// This is what [`crate::ProduceForm::Encode`] asks for. What was appended to `builder` before is dropped.
///
/// # Errors
/// If the batch cannot be decoded, is a control batch or has no records.
pub fn encode_for_produce(
    batch: &Batch<'_>,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    scratch: &mut DecodeBuffer,
    builder: &mut ProduceBuilder,
    out: &mut Vec<u8>,
) -> Result<BatchHeader, BatchError> {
    builder.reset(batch.header().attributes.compression()?, None);
    builder.append_batch(batch, scratch)?;
    builder.finish(producer_id, producer_epoch, base_sequence, out)
}
