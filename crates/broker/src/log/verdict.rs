//! How a broker judges what a producer sent for one partition, before any state is looked at (Kafka classes
//! `ProduceRequest`, `UnifiedLog.analyzeAndValidateRecords` and `LogValidator`).
//!
//! One rule is stricter than Kafka's: the records of a batch must carry the offset deltas 0, 1, 2 …. Kafka checks only
//! how many there are; it renumbers the records of a compressed batch that counts wrongly and stores those of an
//! uncompressed one as they are. No proper producer sends either.

use std::ops::Range;

use armory_records::{
    Attributes, Batch, BatchError, BatchHeader, DecodeBuffer, HEADER_LEN, LOG_OVERHEAD,
    TimestampType,
};
use kafka_protocol::ResponseError;

use crate::configs::TopicSettings;
use crate::refusal::Refusal;

/// Bytes of a batch up to and including its magic.
const MAGIC_END: usize = 17;
/// `LegacyRecord.RECORD_OVERHEAD_V0`: no batch of any format has a smaller length field.
const SMALLEST_BATCH_LENGTH: i32 = 14;
const LEADER_EPOCH: Range<usize> = 12..16;
const CRC: Range<usize> = 17..21;
/// `RecordBatch.NO_TIMESTAMP`: what a record without one carries.
const NO_TIMESTAMP: i64 = -1;
/// The attributes that have a meaning.
const ATTRIBUTES: i16 = 0x7f;

/// A batch that may be appended if its producer's sequence allows; only base offset and leader epoch are still to be
/// assigned.
#[derive(Debug)]
pub(crate) struct JudgedBatch {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Vec<u8>,
}

/// The one batch that the `records` field of a partition in a produce request must hold, as bytes.
pub(crate) fn only_batch(records: &[u8]) -> Result<&[u8], Refusal> {
    let (batch, rest) = first_batch(records)?
        .ok_or_else(|| invalid("a produce request must have one record batch per partition"))?;
    let magic = batch[MAGIC_END - 1];
    if magic != 2 {
        return Err(invalid(format!(
            "a produce request must have record batches of magic 2, not {magic}"
        )));
    }
    if first_batch(rest)?.is_some() {
        return Err(invalid(
            "a produce request must have exactly one record batch per partition",
        ));
    }
    Ok(batch)
}

/// Judges a batch by its own contents and the rules of its topic.
pub(crate) fn judge(
    batch: &[u8],
    settings: &TopicSettings,
    now_ms: i64,
) -> Result<JudgedBatch, Refusal> {
    let base_offset = i64::from_be_bytes([
        batch[0], batch[1], batch[2], batch[3], batch[4], batch[5], batch[6], batch[7],
    ]);
    if base_offset != 0 {
        return Err(invalid(format!(
            "the base offset of a produced batch must be 0, not {base_offset}"
        )));
    }
    if batch.len() > settings.max_message_bytes {
        return Err(Refusal::new(
            ResponseError::MessageTooLarge,
            format!(
                "the batch has {} bytes and max.message.bytes is {}",
                batch.len(),
                settings.max_message_bytes
            ),
        ));
    }
    if batch.len() < HEADER_LEN {
        return Err(corrupt(format!(
            "the batch has {} bytes, fewer than its header",
            batch.len()
        )));
    }
    let mut bytes = batch.to_vec();
    // Whatever leader epoch a producer claims, the broker writes its own.
    bytes[LEADER_EPOCH].copy_from_slice(&(-1_i32).to_be_bytes());
    let batch = match Batch::parse(&bytes) {
        Ok(batch) => batch,
        Err(error) if crc_fits(&bytes) => return Err(invalid(error.to_string())),
        Err(error) => return Err(corrupt(error.to_string())),
    };
    batch
        .verify_crc()
        .map_err(|error| corrupt(error.to_string()))?;
    check_header(batch.header())?;

    let mut header = *batch.header();
    let newest = check_records(&batch, settings, now_ms)?;
    let (timestamp_type, max_timestamp) = if settings.log_append_time {
        (TimestampType::LogAppendTime, now_ms)
    } else {
        (TimestampType::CreateTime, newest)
    };
    // `DefaultRecordBatch.setMaxTimestamp`: bytes whose timestamps are right already stay as they were produced; of
    // the others the attributes are put together anew.
    if header.attributes.timestamp_type() != timestamp_type || header.max_timestamp != max_timestamp
    {
        header.attributes =
            Attributes(header.attributes.0 & ATTRIBUTES).with_timestamp_type(timestamp_type);
        header.max_timestamp = max_timestamp;
        header.write(&mut bytes);
        header.crc = crc32c::crc32c(&bytes[CRC.end..]);
        header.write(&mut bytes);
    }
    Ok(JudgedBatch { header, bytes })
}

/// Splits off the first whole batch of any format; `None` where there is none (`ByteBufferLogInputStream.nextBatch`).
fn first_batch(records: &[u8]) -> Result<Option<(&[u8], &[u8])>, Refusal> {
    if records.len() < LOG_OVERHEAD {
        return Ok(None);
    }
    let length = i32::from_be_bytes([records[8], records[9], records[10], records[11]]);
    if length < SMALLEST_BATCH_LENGTH {
        return Err(corrupt(format!(
            "a batch of length {length} is shorter than any record"
        )));
    }
    if records.len() < MAGIC_END {
        return Ok(None);
    }
    let magic = records[MAGIC_END - 1];
    if magic > 2 {
        return Err(corrupt(format!("no record format has magic {magic}")));
    }
    Ok(records.split_at_checked(LOG_OVERHEAD + length as usize))
}

/// Whether a batch that is otherwise wrong arrived as it was sent.
fn crc_fits(bytes: &[u8]) -> bool {
    bytes[CRC] == crc32c::crc32c(&bytes[CRC.end..]).to_be_bytes()
}

fn check_header(header: &BatchHeader) -> Result<(), Refusal> {
    if header.attributes.compression().is_err() {
        return Err(Refusal::new(
            ResponseError::UnknownServerError,
            format!(
                "no compression codec has the number {}",
                header.attributes.0 & 7
            ),
        ));
    }
    let offsets = i64::from(header.last_offset_delta) + 1;
    if offsets <= 0 || header.record_count <= 0 || offsets != i64::from(header.record_count) {
        return Err(invalid(format!(
            "the batch spans {offsets} offsets and says it has {} records",
            header.record_count
        )));
    }
    if header.attributes.is_control() {
        return Err(invalid("clients may not write control records"));
    }
    if header.producer_id >= 0 && header.base_sequence < 0 {
        return Err(invalid(format!(
            "the batch has a producer id and the sequence number {}",
            header.base_sequence
        )));
    }
    Ok(())
}

/// Checks every record and returns the largest timestamp among them.
fn check_records(batch: &Batch<'_>, settings: &TopicSettings, now_ms: i64) -> Result<i64, Refusal> {
    let mut scratch = DecodeBuffer::new();
    let records = batch
        .decode(&mut scratch)
        .map_err(|error| unreadable(&error))?;
    let claimed = batch.header().attributes.timestamp_type();
    let mut newest = NO_TIMESTAMP;
    let mut keyless = Vec::new();
    let mut mistimed = Vec::new();
    for (position, record) in (0..).zip(records) {
        let record = record.map_err(|error| unreadable(&error))?;
        if record.offset_delta != position {
            return Err(invalid(format!(
                "record {position} of the batch has the offset delta {}",
                record.offset_delta
            )));
        }
        let timestamp = record.timestamp;
        newest = newest.max(timestamp);
        if settings.compacted && record.key.is_none() {
            keyless.push((
                position,
                "Compacted topic cannot accept message without key".to_owned(),
            ));
        } else if let Some(problem) = mistiming(timestamp, claimed, settings, now_ms) {
            mistimed.push((position, problem));
        }
    }
    let (code, message) = match (keyless.is_empty(), mistimed.is_empty()) {
        (true, true) => return Ok(newest),
        (_, false) => (
            ResponseError::InvalidTimestamp,
            "One or more records have been rejected due to invalid timestamp",
        ),
        (false, true) => (
            ResponseError::InvalidRecord,
            "One or more records have been rejected",
        ),
    };
    keyless.append(&mut mistimed);
    keyless.sort_unstable();
    Err(Refusal {
        code,
        message: message.to_owned(),
        records: keyless,
    })
}

/// What is wrong with a record's timestamp, or with the type that its batch claims (`LogValidator.validateTimestamp`).
fn mistiming(
    timestamp: i64,
    claimed: TimestampType,
    settings: &TopicSettings,
    now_ms: i64,
) -> Option<String> {
    if settings.log_append_time || timestamp == NO_TIMESTAMP {
        // Kafka looks at the claim only here; everywhere else the topic's own type silently replaces it.
        return (claimed == TimestampType::LogAppendTime)
            .then(|| "only a broker may give records its own time".to_owned());
    }
    let behind = now_ms.saturating_sub(timestamp);
    let timely = behind <= settings.timestamp_before_max_ms
        && behind.saturating_neg() <= settings.timestamp_after_max_ms;
    (!timely).then(|| format!("timestamp {timestamp} is out of range"))
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(ResponseError::InvalidRecord, message)
}

fn corrupt(message: impl Into<String>) -> Refusal {
    Refusal::new(ResponseError::CorruptMessage, message)
}

/// A payload that does not decompress is an internal error to Kafka, one whose records do not parse is invalid.
fn unreadable(error: &BatchError) -> Refusal {
    let code = match error {
        BatchError::Compressed { .. } | BatchError::TooLarge { .. } => {
            ResponseError::UnknownServerError
        }
        _ => ResponseError::InvalidRecord,
    };
    Refusal::new(code, error.to_string())
}
