//! What a batch from a log needs before a producer may send it.
//!
//! A broker takes a batch from a client only if its base offset is 0, it has one record for each offset that it
//! covers, it is no control batch and not part of a transaction. Some things it takes silently and wrongly:
//! a foreign producer id (the batch may count as a duplicate and be dropped), the LogAppendTime bit (timestamps become
//! base + delta, which is not what readers saw), the delete-horizon bit (stored as it is). Kafka's side of these rules is
//! `org.apache.kafka.storage.internals.log.LogValidator`.

use crate::crc::crc32c_replaced;
use crate::header::{CHECKED_FROM, HEADER_LEN};
use crate::{BatchHeader, TimestampType};

/// What must be done with a batch to produce it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceForm {
    /// A new header is enough: [`rewrite_for_produce`].
    AsIs,
    /// Its records must be encoded again.
    Encode(EncodeReason),
    /// It holds nothing that could be produced.
    Withheld(WithheldReason),
}

/// Why a batch must be encoded again before it is produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeReason {
    /// It covers offsets that have no record (compaction removed them).
    Holes,
    /// The timestamp of its records stands in the header only, where a client may not set it.
    LogAppendTime,
}

/// Why a batch cannot be produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithheldReason {
    /// It is a marker of the broker.
    Control,
    /// Compaction has removed all its records.
    Empty,
}

/// What must be done with the batch of this header to produce it.
pub fn produce_form(header: &BatchHeader) -> ProduceForm {
    if header.attributes.is_control() {
        ProduceForm::Withheld(WithheldReason::Control)
    } else if header.record_count == 0 {
        ProduceForm::Withheld(WithheldReason::Empty)
    } else if header.missing_offsets() != 0 {
        ProduceForm::Encode(EncodeReason::Holes)
    } else if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        ProduceForm::Encode(EncodeReason::LogAppendTime)
    } else {
        ProduceForm::AsIs
    }
}

/// Gives a whole batch whose form is [`ProduceForm::AsIs`] the header that a producer sends: base offset 0, no leader epoch, this
/// producer's id, epoch and sequence, neither transactional nor with a delete horizon.
///
/// The checksum is carried over from the old one rather than computed anew, which is quicker and means that bytes
/// damaged since they were checked are refused by the broker instead of being restored.
///
/// # Panics
/// If `batch` is shorter than a header. It must be the bytes of a [`crate::Batch`].
pub fn rewrite_for_produce(
    batch: &mut [u8],
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
) {
    let (head, records) = batch.split_at_mut(HEADER_LEN);
    let mut before = [0; HEADER_LEN];
    before.copy_from_slice(head);
    let mut header = BatchHeader::read(head);
    header.base_offset = 0;
    header.partition_leader_epoch = -1;
    header.attributes = header
        .attributes
        .with_transactional(false)
        .with_delete_horizon(false);
    header.producer_id = producer_id;
    header.producer_epoch = producer_epoch;
    header.base_sequence = base_sequence;
    header.write(head);
    header.crc = crc32c_replaced(
        header.crc,
        &before[CHECKED_FROM..],
        &head[CHECKED_FROM..],
        records.len(),
    );
    header.write(head);
}

/// The sequence number of the first record after a batch: numbers run from 0 to `i32::MAX` and then from 0 again
/// (`DefaultRecordBatch.incrementSequence`).
///
/// `base_sequence` is that of the batch and `record_count` how many records it holds, both not negative.
pub fn next_sequence(base_sequence: i32, record_count: i32) -> i32 {
    base_sequence.wrapping_add(record_count) & i32::MAX
}
