//! Passing a batch through the plugins of its topic.
//!
//! A batch that no plugin changed keeps its bytes. One that changed is encoded again with the same codec and the
//! same offsets: it covers its source's whole stretch, so that records filtered inside it need no gap of their own.

use armory_archive::{DeadLetter, GapCause};
use armory_plugins::{Lease, OwnedRecord, PluginError, RecordRef, Timestamp, Verdict};
use armory_records::{Batch, BatchBuilder, BatchError, BatchHeader, BatchOptions, DecodeBuffer};

use crate::plugins::{dead_letter, kind_of};

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum Transformed {
    /// Every record passed unchanged: store the bytes as they came.
    Unchanged,
    /// The batch in its new form lies in the output buffer.
    Encoded(BatchHeader),
    /// No record is left: why, from the first offset on up to each of these (exclusive).
    Nothing(Vec<(i64, GapCause)>),
}

/// Records that were left out.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// How many were filtered or dropped.
    pub(crate) filtered: u64,
    /// Those that were put aside.
    pub(crate) dead_letters: Vec<DeadLetter>,
}

/// Why a batch could not be transformed.
#[derive(Debug)]
pub(crate) enum TransformError {
    Batch(BatchError),
    Plugin(PluginError),
}

impl From<BatchError> for TransformError {
    fn from(error: BatchError) -> TransformError {
        TransformError::Batch(error)
    }
}

/// Runs every record of `batch` with an offset of at least `from` through `lease` (if there is one), and leaves what is to be stored in `out`.
/// Returns what became of the batch, and what was left out of it.
pub(crate) fn transform_batch(
    batch: &Batch<'_>,
    partition: i32,
    from: i64,
    mut lease: Option<&mut Lease>,
    scratch: &mut DecodeBuffer,
    out: &mut Vec<u8>,
) -> Result<(Transformed, LeftOut), TransformError> {
    let header = *batch.header();
    let records = batch.decode(scratch)?;
    let mut headers = Vec::new();
    let mut encoded: Option<BatchBuilder> = None;
    let mut left_out = LeftOut::default();
    let mut causes: Vec<(i64, GapCause)> = Vec::new();
    let timestamp_type = header.attributes.timestamp_type();
    let kind = kind_of(timestamp_type);
    for (index, record) in records.clone().enumerate() {
        let record = record?;
        let verdict = if record.offset < from {
            Verdict::Filtered
        } else if let Some(lease) = lease.as_deref_mut() {
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
                .map_err(TransformError::Plugin)?
        } else {
            Verdict::Unchanged
        };
        if encoded.is_none() && !matches!(verdict, Verdict::Unchanged) {
            encoded = Some(begin(&header, from, records.clone().take(index))?);
        }
        match (verdict, &mut encoded) {
            (Verdict::Unchanged, Some(builder)) => builder.append_record(&record),
            (Verdict::Unchanged, None) => {}
            (Verdict::Changed(changed), Some(builder)) => {
                append_owned(builder, record.offset, &changed)
            }
            (Verdict::Filtered | Verdict::Dropped { .. }, _) => {
                if record.offset >= from {
                    left_out.filtered += 1;
                    note_cause(&mut causes, record.offset, GapCause::Filtered);
                }
            }
            (Verdict::DeadLettered(failed), _) => {
                let letter = dead_letter(&record, timestamp_type, &failed);
                left_out.dead_letters.push(letter);
                note_cause(&mut causes, record.offset, GapCause::DeadLettered);
            }
            (Verdict::Changed(_), None) => unreachable!("the builder was made above"),
        }
    }
    let Some(mut builder) = encoded else {
        return Ok((Transformed::Unchanged, left_out));
    };
    if builder.is_empty() {
        // Each stretch reaches to where the next one begins; what the batch had no record for is part of it.
        let ends = causes.iter().skip(1).map(|(start, _)| *start);
        let ends = ends.chain([header.next_offset()]);
        let mut gaps: Vec<_> = ends.zip(causes.iter().map(|(_, cause)| *cause)).collect();
        if gaps.is_empty() {
            gaps.push((header.next_offset(), GapCause::Filtered));
        }
        return Ok((Transformed::Nothing(gaps), left_out));
    }
    builder.set_last_offset(header.last_offset());
    out.clear();
    Ok((Transformed::Encoded(builder.finish(out)?), left_out))
}

/// Notes why a record is left out, where that is another reason than before.
fn note_cause(causes: &mut Vec<(i64, GapCause)>, offset: i64, cause: GapCause) {
    if causes.last().is_none_or(|(_, last)| *last != cause) {
        causes.push((offset, cause));
    }
}

/// A builder that covers the stretch of `header` from its first offset on and holds the records that passed unchanged so far.
fn begin<'s>(
    header: &BatchHeader,
    from: i64,
    unchanged: impl Iterator<Item = Result<armory_records::Record<'s>, BatchError>>,
) -> Result<BatchBuilder, BatchError> {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: header.base_offset.max(from),
        partition_leader_epoch: header.partition_leader_epoch,
        compression: header.attributes.compression()?,
        // The records differ from what the producer sent, so its id, epoch and sequence no longer describe them,
        // and every timestamp is written out, whoever set it.
        ..BatchOptions::default()
    });
    for record in unchanged {
        builder.append_record(&record?);
    }
    Ok(builder)
}

fn append_owned(builder: &mut BatchBuilder, offset: i64, record: &OwnedRecord) {
    builder.append(
        offset,
        record.timestamp,
        record.key.as_deref(),
        record.value.as_deref(),
        record
            .headers
            .iter()
            .map(|(key, value)| (key.as_bytes(), value.as_deref())),
    );
}
