//! What can be wrong with a batch.

use crate::Compression;

/// Why bytes are not the batch they should be, or why a batch could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does. Normal at the end of a Fetch answer, where [`crate::Batches`] stops quietly.
    #[error("the batch is cut off: it needs {needed} bytes and {available} are there")]
    Truncated {
        /// How many bytes are needed at least, from the batch's first one on.
        needed: usize,
        /// How many there are.
        available: usize,
    },
    /// A message of the formats before Kafka 0.11. Brokers since 4.0 no longer hand them out (KIP-724).
    #[error(
        "the messages at offset {base_offset} have the old format v{magic}, which only brokers before 4.0 hand out; \
         copy the topic into a new one with a consumer and a producer and back that one up"
    )]
    LegacyMagic {
        /// The offset of the message.
        base_offset: i64,
        /// 0 or 1.
        magic: i8,
    },
    /// A format newer than this program, or bytes that are no batch.
    #[error(
        "the bytes at offset {base_offset} are no record batch of format v2: their format byte is {magic}"
    )]
    UnknownMagic {
        /// What stands where a batch has its base offset.
        base_offset: i64,
        /// What stands where a batch has its magic byte.
        magic: i8,
    },
    /// A header field has a value that no batch can have.
    #[error("the header of the batch at offset {base_offset} is damaged: {field} is {value}")]
    Header {
        /// What stands where a batch has its base offset.
        base_offset: i64,
        /// The field as Kafka's documentation names it.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The checksum does not fit the bytes.
    #[error(
        "the batch at offset {base_offset} is damaged: its checksum says {stored:08x}, its bytes give {computed:08x}"
    )]
    Checksum {
        /// The batch's base offset.
        base_offset: i64,
        /// The CRC32C in the header.
        stored: u32,
        /// The CRC32C of the bytes.
        computed: u32,
    },
    /// A codec number without a meaning.
    #[error("the batch is compressed with codec {id}, which is not known")]
    UnknownCodec {
        /// The number in the attributes.
        id: i16,
    },
    /// The compressed bytes are not what their codec prescribes.
    #[error("the {codec} data of the batch at offset {base_offset} is damaged: {reason}")]
    Compressed {
        /// The batch's base offset.
        base_offset: i64,
        /// The codec.
        codec: Compression,
        /// What is wrong.
        reason: String,
    },
    /// The records would take more memory than the [`crate::DecodeBuffer`] may.
    #[error(
        "the {codec} batch at offset {base_offset} holds more than the {limit} bytes that may be decompressed at once"
    )]
    TooLarge {
        /// The batch's base offset.
        base_offset: i64,
        /// The codec.
        codec: Compression,
        /// The buffer's limit in bytes.
        limit: usize,
    },
    /// A record is not what the format prescribes.
    #[error("record {index} of the batch at offset {base_offset} is damaged: {reason}")]
    Record {
        /// The batch's base offset.
        base_offset: i64,
        /// The record's place in the batch, counted from 0.
        index: i32,
        /// What is wrong.
        reason: &'static str,
    },
    /// The header's record count and the records disagree.
    #[error(
        "the batch at offset {base_offset} should hold {expected} records, but {surplus} bytes follow the last one"
    )]
    Surplus {
        /// The batch's base offset.
        base_offset: i64,
        /// The header's record count.
        expected: i32,
        /// How many bytes are left over.
        surplus: usize,
    },
    /// Records that no batch can hold together were given to a [`crate::BatchBuilder`].
    #[error(
        "the record at offset {offset} cannot be part of the batch at offset {base_offset}: {reason}"
    )]
    Unencodable {
        /// The batch's base offset.
        base_offset: i64,
        /// The record's offset.
        offset: i64,
        /// Why not.
        reason: &'static str,
    },
    /// A control batch was to be produced.
    #[error(
        "the control batch at offset {base_offset} cannot be produced, only a broker writes such batches"
    )]
    Control {
        /// The batch's base offset.
        base_offset: i64,
    },
    /// A batch without records was to be written.
    #[error("a batch without records cannot be written")]
    Empty,
    /// The records do not fit into one batch.
    #[error(
        "the records take {size} bytes, more than the 2147483647 that one batch may have; give it fewer records"
    )]
    BatchTooLong {
        /// The size of the batch, in bytes.
        size: usize,
    },
    /// A compression level that the codec does not have.
    #[error("{codec} has no compression level {level}; {remedy}")]
    Level {
        /// The codec.
        codec: Compression,
        /// The level asked for.
        level: i32,
        /// What may be given instead.
        remedy: &'static str,
    },
}
