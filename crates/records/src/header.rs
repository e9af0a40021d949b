//! The 61 bytes that every batch starts with.

use crate::{Attributes, BatchError};

/// How many bytes a batch header has; the records follow it.
pub const HEADER_LEN: usize = 61;

/// How many bytes precede what `batch_length` counts: the base offset and `batch_length` itself.
pub const LOG_OVERHEAD: usize = 12;

/// Where the magic byte lies. It is in the same place in all formats.
pub(crate) const MAGIC_AT: usize = 16;
/// Where the checksum lies.
pub(crate) const CRC_AT: usize = 17;
/// Where the bytes begin that the checksum covers: the attributes and all that follows.
pub(crate) const CHECKED_FROM: usize = 21;

/// The fields of a batch's header. They tell everything that the control of a backup or a restore has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset that the records' deltas count from; the first offset that the batch covers. Not negative.
    pub base_offset: i64,
    /// The batch's length in bytes without the first 12 ([`LOG_OVERHEAD`]). At least 49.
    pub batch_length: i32,
    /// The epoch of the leader that appended the batch; −1 where it is not known.
    pub partition_leader_epoch: i32,
    /// The format: 2.
    pub magic: i8,
    /// The CRC32C of everything from the attributes to the end.
    pub crc: u32,
    /// Codec, timestamp type and what kind of batch it is.
    pub attributes: Attributes,
    /// The last offset that the batch covers, as a distance from `base_offset`. Compaction keeps it when it
    /// removes records, so there need not be a record at that offset. Not negative.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas count from, in ms since 1970: the first record's timestamp or the delete horizon.
    pub base_timestamp: i64,
    /// The greatest timestamp of the records, in ms since 1970; with LogAppendTime the timestamp of all of them.
    pub max_timestamp: i64,
    /// The producer's id; −1 without idempotence.
    pub producer_id: i64,
    /// The producer's epoch; −1 without idempotence.
    pub producer_epoch: i16,
    /// The sequence number of the batch's first record; −1 without idempotence.
    pub base_sequence: i32,
    /// How many records the batch holds. 0 in batches that compaction emptied.
    pub record_count: i32,
}

impl BatchHeader {
    /// The `magic` of RecordBatch v2.
    pub const MAGIC: i8 = 2;

    /// Reads the header at the beginning of `bytes`. The checksum is not checked (see [`crate::Batch::verify_crc`]), and it
    /// does not cover the first 21 bytes: of these, the magic byte must be right and the others possible, and a
    /// checksum that fits ties the length. Whether base offset and leader epoch fit what came before, only the caller knows.
    ///
    /// # Errors
    /// If there are fewer than 61 bytes, if the format is not v2, or if a field has a value that no batch can have.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let truncated = |needed| BatchError::Truncated {
            needed,
            available: bytes.len(),
        };
        // A message of the old formats may be shorter than this header: look at the format before asking for 61 bytes.
        let Some(&magic) = bytes.get(MAGIC_AT) else {
            return Err(truncated(HEADER_LEN));
        };
        let magic = magic as i8;
        let base_offset = i64::from_be_bytes(field(bytes, 0));
        match magic {
            BatchHeader::MAGIC => {}
            0 | 1 => return Err(BatchError::LegacyMagic { base_offset, magic }),
            _ => return Err(BatchError::UnknownMagic { base_offset, magic }),
        }
        if bytes.len() < HEADER_LEN {
            return Err(truncated(HEADER_LEN));
        }
        let header = BatchHeader::read(bytes);
        header.check()?;
        Ok(header)
    }

    /// The fields as they stand in the first 61 bytes of `bytes`, whatever they say.
    pub(crate) fn read(bytes: &[u8]) -> BatchHeader {
        BatchHeader {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            batch_length: i32::from_be_bytes(field(bytes, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            magic: bytes[MAGIC_AT] as i8,
            crc: u32::from_be_bytes(field(bytes, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(field(bytes, 21))),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        }
    }

    fn check(&self) -> Result<(), BatchError> {
        let damaged = |field, value| {
            Err(BatchError::Header {
                base_offset: self.base_offset,
                field,
                value,
            })
        };
        if self.base_offset < 0 {
            return damaged("baseOffset", self.base_offset);
        }
        if self.batch_length < (HEADER_LEN - LOG_OVERHEAD) as i32 {
            return damaged("batchLength", self.batch_length.into());
        }
        if self.partition_leader_epoch < -1 {
            return damaged("partitionLeaderEpoch", self.partition_leader_epoch.into());
        }
        // What follows the last offset must be an offset too, so that `next_offset` always has an answer.
        if self.last_offset_delta < 0
            || self.base_offset > i64::MAX - 1 - i64::from(self.last_offset_delta)
        {
            return damaged("lastOffsetDelta", self.last_offset_delta.into());
        }
        if self.record_count < 0
            || i64::from(self.record_count) > i64::from(self.last_offset_delta) + 1
        {
            return damaged("recordsCount", self.record_count.into());
        }
        Ok(())
    }

    /// The size of the whole batch in bytes.
    pub fn size(&self) -> usize {
        LOG_OVERHEAD + self.batch_length as usize
    }

    /// The last offset that the batch covers (inclusive).
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The first offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// How many of the offsets that the batch covers have no record.
    pub fn missing_offsets(&self) -> i64 {
        i64::from(self.last_offset_delta) + 1 - i64::from(self.record_count)
    }

    /// Writes the header into the first 61 bytes of `bytes`, with `self.crc` as it is.
    ///
    /// # Panics
    /// If `bytes` is shorter than that.
    pub fn write(&self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..HEADER_LEN];
        bytes[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        bytes[MAGIC_AT] = self.magic as u8;
        bytes[CRC_AT..CHECKED_FROM].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
    }
}

/// The `N` bytes at `at`.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}
