//! Writing batches, as `MemoryRecordsBuilder` of Kafka's clients does.

use crate::codec::{Compressor, NoSuchLevel, compressed_bound};
use crate::crc::crc32c;
use crate::header::{CHECKED_FROM, HEADER_LEN, LOG_OVERHEAD};
use crate::varint::{put_varint, put_varlong, varint_len};
use crate::{Attributes, BatchError, BatchHeader, Compression, Record, TimestampType};

/// The header fields of a batch that is to be built; the others follow from its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// The first offset that the batch covers; none of its records has a lower one.
    pub base_offset: i64,
    /// The epoch of the leader that appended it; −1: not known.
    pub partition_leader_epoch: i32,
    /// The codec.
    pub compression: Compression,
    /// The codec's level; `None`: its default. Only gzip (1–9) and zstd (−131072–22) have levels here.
    pub compression_level: Option<i32>,
    /// With LogAppendTime all records must have the same timestamp, for readers see only the header's.
    pub timestamp_type: TimestampType,
    /// The producer's id; −1: none.
    pub producer_id: i64,
    /// The producer's epoch; −1: none.
    pub producer_epoch: i16,
    /// The sequence number of the first record; −1: none.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub transactional: bool,
}

impl Default for BatchOptions {
    /// Offset 0, uncompressed, CreateTime, no leader epoch and no producer.
    fn default() -> Self {
        BatchOptions {
            base_offset: 0,
            partition_leader_epoch: -1,
            compression: Compression::None,
            compression_level: None,
            timestamp_type: TimestampType::CreateTime,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            transactional: false,
        }
    }
}

/// Builds batches, one after the other: append records in the order of their offsets, then [`BatchBuilder::finish`].
///
/// Reuse one: it keeps its memory and the codecs' contexts, which take longer to make than a small batch.
/// What cannot be encoded is remembered and reported by `finish`, so that appending needs no error of its own.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    options: BatchOptions,
    compressor: Compressor,
    /// The encoded records.
    records: Vec<u8>,
    /// The headers of the record that is being appended.
    headers: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    /// The offset of the last record.
    last_record: Option<i64>,
    /// The last offset that the batch is to cover, if that is to be behind its last record.
    last_offset: Option<i64>,
    failed: Option<BatchError>,
}

impl BatchBuilder {
    /// A builder of a batch with these options.
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder {
            options,
            ..BatchBuilder::default()
        }
    }

    /// Drops what was appended and begins a batch with other options.
    pub fn reset(&mut self, options: BatchOptions) {
        self.options = options;
        self.clear();
    }

    /// The options of the batch that is being built.
    pub fn options(&self) -> &BatchOptions {
        &self.options
    }

    /// Appends a record. Offsets must ascend; they may leave holes.
    ///
    /// `offset` is absolute, `timestamp` in ms since 1970 (−1: none), `headers` are keys and values.
    pub fn append<'h>(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) {
        let mut encoded = std::mem::take(&mut self.headers);
        encoded.clear();
        let mut count = 0;
        for (key, value) in headers {
            put_nullable(&mut encoded, Some(key));
            put_nullable(&mut encoded, value);
            count += 1;
        }
        self.append_encoded(offset, timestamp, 0, key, value, count, &encoded);
        self.headers = encoded;
    }

    /// Appends a record of another batch at its own offset. Its headers are copied as they are.
    pub fn append_record(&mut self, record: &Record<'_>) {
        self.append_record_at(record.offset, record);
    }

    /// Appends a record of another batch at another offset.
    pub fn append_record_at(&mut self, offset: i64, record: &Record<'_>) {
        let Record {
            timestamp,
            attributes,
            key,
            value,
            headers,
            ..
        } = *record;
        self.append_encoded(
            offset,
            timestamp,
            attributes,
            key,
            value,
            headers.len(),
            headers.bytes(),
        );
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a record")]
    fn append_encoded(
        &mut self,
        offset: i64,
        timestamp: i64,
        attributes: i8,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        header_count: usize,
        headers: &[u8],
    ) {
        if self.failed.is_some() {
            return;
        }
        let offset_delta = match self.delta_of(offset, timestamp) {
            Ok(delta) => delta,
            Err(reason) => return self.refuse(offset, reason),
        };
        if self.count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        // Kafka's reader wraps around as well, so that any two timestamps fit into one batch.
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let len = 1
            + varint_len(timestamp_delta)
            + varint_len(offset_delta.into())
            + nullable_len(key)
            + nullable_len(value)
            + varint_len(header_count as i64)
            + headers.len();
        let Ok(record_len) = i32::try_from(len) else {
            return self.refuse(offset, "it is larger than 2147483647 bytes");
        };

        let out = &mut self.records;
        out.reserve(len + 5);
        put_varint(out, record_len);
        let start = out.len();
        out.push(attributes as u8);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_nullable(out, key);
        put_nullable(out, value);
        put_varint(out, header_count as i32);
        out.extend_from_slice(headers);
        debug_assert_eq!(out.len() - start, len);

        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_record = Some(offset);
    }

    /// The record's offset delta, or why it cannot follow what is there.
    fn delta_of(&self, offset: i64, timestamp: i64) -> Result<i32, &'static str> {
        if self.last_record.is_some_and(|last| offset <= last) {
            return Err("its offset does not follow the one before");
        }
        if self.options.base_offset < 0 || offset == i64::MAX {
            return Err("offsets run from 0 to 9223372036854775806");
        }
        let delta = offset
            .checked_sub(self.options.base_offset)
            .filter(|delta| *delta >= 0);
        let delta = delta.ok_or("its offset lies before the batch")?;
        let delta = i32::try_from(delta)
            .map_err(|_| "its offset is more than 2147483647 behind the batch's")?;
        // A batch counts its records in 31 bits, deltas run from 0.
        if self.count == i32::MAX {
            return Err("the batch already holds 2147483647 records");
        }
        if self.options.timestamp_type == TimestampType::LogAppendTime
            && self.count > 0
            && timestamp != self.max_timestamp
        {
            return Err("with LogAppendTime all records of a batch have the same timestamp");
        }
        Ok(delta)
    }

    fn refuse(&mut self, offset: i64, reason: &'static str) {
        self.fail(BatchError::Unencodable {
            base_offset: self.options.base_offset,
            offset,
            reason,
        });
    }

    /// Makes `finish` fail, with the first error that there was.
    pub(crate) fn fail(&mut self, error: BatchError) {
        self.failed.get_or_insert(error);
    }

    /// Sets the producer that is to send the batch.
    pub(crate) fn set_producer(&mut self, id: i64, epoch: i16, base_sequence: i32) {
        self.options.producer_id = id;
        self.options.producer_epoch = epoch;
        self.options.base_sequence = base_sequence;
    }

    /// Makes the batch cover all offsets up to `last_offset` (inclusive), also if its last record lies before. A batch
    /// that takes the place of another one covers the same offsets, as compaction keeps them.
    pub fn set_last_offset(&mut self, last_offset: i64) {
        self.last_offset = Some(last_offset);
    }

    /// How many records were appended.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether no record was appended.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The size in bytes that the batch would have so far without compression, header included.
    pub fn estimated_size(&self) -> usize {
        HEADER_LEN + self.records.len()
    }

    /// The size in bytes that the batch cannot exceed so far. What does not compress can grow a little.
    pub fn size_bound(&self) -> usize {
        HEADER_LEN + compressed_bound(self.options.compression, self.records.len())
    }

    /// Appends the batch to `out`, tells its header, and begins anew with the same options.
    ///
    /// # Errors
    /// If something was appended that cannot be encoded, nothing was appended, the batch is too long, or its codec does not
    /// have the level. `out` is then as it was.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<BatchHeader, BatchError> {
        let start = out.len();
        let finished = self.write(start, out);
        if finished.is_err() {
            out.truncate(start);
        }
        self.clear();
        finished
    }

    fn write(&mut self, start: usize, out: &mut Vec<u8>) -> Result<BatchHeader, BatchError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let options = self.options;
        let base_offset = options.base_offset;
        let last_record = self.last_record.ok_or(BatchError::Empty)?;
        let last_offset = self.last_offset.unwrap_or(last_record);
        let unencodable = |reason| BatchError::Unencodable {
            base_offset,
            offset: last_record,
            reason,
        };
        if last_offset == i64::MAX {
            return Err(unencodable(
                "the offsets that the batch is to cover end at 9223372036854775806",
            ));
        }
        if last_offset < last_record {
            return Err(unencodable(
                "it lies behind the offset that the batch is to end with",
            ));
        }
        let last_offset_delta = i32::try_from(last_offset - base_offset)
            .map_err(|_| unencodable("the batch is to cover more than 2147483648 offsets"))?;

        out.resize(start + HEADER_LEN, 0);
        self.compressor
            .compress(
                options.compression,
                options.compression_level,
                &self.records,
                out,
            )
            .map_err(|NoSuchLevel(remedy)| BatchError::Level {
                codec: options.compression,
                level: options.compression_level.unwrap_or_default(),
                remedy,
            })?;
        let size = out.len() - start;
        let batch_length =
            i32::try_from(size - LOG_OVERHEAD).map_err(|_| BatchError::BatchTooLong { size })?;
        let mut header = BatchHeader {
            base_offset,
            batch_length,
            partition_leader_epoch: options.partition_leader_epoch,
            magic: BatchHeader::MAGIC,
            crc: 0,
            attributes: Attributes::default()
                .with_compression(options.compression)
                .with_timestamp_type(options.timestamp_type)
                .with_transactional(options.transactional),
            last_offset_delta,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: options.producer_id,
            producer_epoch: options.producer_epoch,
            base_sequence: options.base_sequence,
            record_count: self.count,
        };
        let batch = &mut out[start..];
        header.write(batch);
        header.crc = crc32c(&batch[CHECKED_FROM..]);
        header.write(batch);
        Ok(header)
    }

    fn clear(&mut self) {
        self.records.clear();
        self.count = 0;
        self.last_record = None;
        self.last_offset = None;
        self.failed = None;
    }
}

#[inline]
fn nullable_len(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varint_len(bytes.len() as i64) + bytes.len(),
        None => 1,
    }
}

#[inline]
fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_varlong(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => put_varint(out, -1),
    }
}
