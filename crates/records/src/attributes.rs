//! The attribute bits of a batch header.

use std::fmt;

use crate::BatchError;

/// The codec that a batch's records are compressed with (bits 0–2 of the attributes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not compressed.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy, in the framing of `org.xerial.snappy` or as one raw block.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    /// The number that stands for this codec in a batch's attributes.
    pub fn id(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// Kafka's name of this codec, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Who set the timestamps of a batch's records (bit 3 of the attributes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer: every record has a timestamp of its own.
    #[default]
    CreateTime,
    /// The broker: every record's timestamp is the header's `max_timestamp`, whatever its own delta says.
    LogAppendTime,
}

/// A batch's attribute bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(pub i16);

const COMPRESSION_MASK: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

impl Attributes {
    /// The codec of the records.
    ///
    /// # Errors
    /// [`BatchError::UnknownCodec`] for the numbers that Kafka has not given a meaning (5–7).
    pub fn compression(self) -> Result<Compression, BatchError> {
        match self.0 & COMPRESSION_MASK {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            id => Err(BatchError::UnknownCodec { id }),
        }
    }

    /// Who set the timestamps.
    pub fn timestamp_type(self) -> TimestampType {
        if self.has(LOG_APPEND_TIME) {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Whether the batch belongs to a transaction (KIP-98).
    pub fn is_transactional(self) -> bool {
        self.has(TRANSACTIONAL)
    }

    /// Whether the batch holds a marker that a broker wrote (commit, abort, …) and no records of a producer.
    pub fn is_control(self) -> bool {
        self.has(CONTROL)
    }

    /// Whether `base_timestamp` is the time from which compaction may remove tombstones and markers (KIP-534)
    /// rather than the first record's timestamp. The records' deltas count from it all the same.
    pub fn has_delete_horizon(self) -> bool {
        self.has(DELETE_HORIZON)
    }

    /// These attributes with another codec.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Attributes {
        Attributes(self.0 & !COMPRESSION_MASK | compression.id())
    }

    /// These attributes with another timestamp type.
    #[must_use]
    pub fn with_timestamp_type(self, timestamp_type: TimestampType) -> Attributes {
        self.with(
            LOG_APPEND_TIME,
            timestamp_type == TimestampType::LogAppendTime,
        )
    }

    /// These attributes with the transactional bit set or cleared.
    #[must_use]
    pub fn with_transactional(self, transactional: bool) -> Attributes {
        self.with(TRANSACTIONAL, transactional)
    }

    /// These attributes with the control bit set or cleared.
    #[must_use]
    pub fn with_control(self, control: bool) -> Attributes {
        self.with(CONTROL, control)
    }

    /// These attributes with the delete-horizon bit set or cleared.
    #[must_use]
    pub fn with_delete_horizon(self, delete_horizon: bool) -> Attributes {
        self.with(DELETE_HORIZON, delete_horizon)
    }

    fn has(self, bit: i16) -> bool {
        self.0 & bit != 0
    }

    fn with(self, bit: i16, set: bool) -> Attributes {
        Attributes(if set { self.0 | bit } else { self.0 & !bit })
    }
}
