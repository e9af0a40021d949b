//! From chunks of an archive to batches that a broker takes: each gets a new header and keeps its records' bytes, and small
//! neighbours become one batch.
//!
//! A broker's cost is per batch, and a request holds one batch of a partition. So a topic of many small batches is restored faster when
//! they are merged, at the price of copying their records, and of compressing them again (`docs/decisions/0004`). Gzip, the slowest to
//! compress, is left alone.
//!
//! Batches of which only some records are wanted, which are larger than the target takes, or whose records get a header, are encoded
//! anew.

use std::sync::Arc;

use armory_records::{
    Batch, BatchError, BatchHeader, Compression, DecodeBuffer, ProduceBuilder, ProduceForm, Record,
    produce_form, rewrite_for_produce,
};
use armory_resources::job::TimeRange;
use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use super::encode::{EncodeError, Encoder};
use super::feed::{Prepared, Producer, sequence};
use super::select::{Selection, Wanted};

/// Batches above this size are not merged: there is little to gain.
const SMALL: usize = 64 << 10;
/// A merged batch is no larger than this.
const MERGED: usize = 256 << 10;
/// Batches of more records are not merged: every record costs its encoding, and what is saved is per batch.
const FEW: i32 = 512;
/// Records are merged up to this many bytes before compression, so that batches of zeros do not take memory without a bound.
const MERGED_RAW: usize = 2 << 20;
/// How much larger a record can become in a merged batch: its offset delta takes up to 5 bytes, its timestamp delta up to 10.
const GROWTH: usize = 15;

/// What went wrong, with the base offset of the batch in the archive.
pub(crate) type PrepareError = (i64, EncodeError);

/// How the batches of one target partition are made.
#[derive(Debug, Clone)]
pub(crate) struct Making {
    pub(crate) producer: Producer,
    /// Records before this ordinal have landed and are left out.
    pub(crate) from: u64,
    /// The target's `max.message.bytes`.
    pub(crate) max_batch_bytes: usize,
    /// The header that every record gets for its original offset.
    pub(crate) offset_header: Option<String>,
}

/// Prepares batches of source partitions, one after the other, for one target partition.
#[derive(Debug)]
pub(crate) struct Preparer {
    producer: Producer,
    from: u64,
    max_batch: usize,
    max_merged: usize,
    selection: Selection,
    /// The ordinal of the next record.
    ordinal: u64,
    scratch: DecodeBuffer,
    builder: ProduceBuilder,
    encoder: Encoder,
    run: Run,
}

/// Neighbours that become one batch.
#[derive(Debug, Default)]
struct Run {
    batches: Vec<(BatchHeader, BytesMut)>,
    /// The ordinal of its first record.
    first: u64,
    /// What the merged batch takes at the most.
    size_bound: usize,
}

impl Run {
    /// Whether a batch can join: it has the same codec, and the merged batch stays within `max_size`.
    fn has_room_for(&self, header: &BatchHeader, max_size: usize) -> bool {
        let codec = |header: &BatchHeader| header.attributes.compression();
        self.batches
            .last()
            .is_none_or(|(last, _)| codec(last) == codec(header))
            && self.size_bound + size_bound(header) <= max_size
    }

    fn add(&mut self, header: BatchHeader, bytes: BytesMut, first: u64) {
        if self.batches.is_empty() {
            self.first = first;
        }
        self.size_bound += size_bound(&header);
        self.batches.push((header, bytes));
    }
}

fn count_of(header: &BatchHeader) -> u64 {
    u64::try_from(header.record_count).unwrap_or(0)
}

/// Whether it pays to merge a batch with its neighbours.
fn is_small(header: &BatchHeader) -> bool {
    header.size() <= SMALL
        && header.record_count <= FEW
        && !matches!(
            header.attributes.compression(),
            Ok(Compression::Gzip) | Err(_)
        )
}

/// What a batch takes in a merged one. Compressed anew, with the codec's usual level, it may come out larger than it was.
fn size_bound(header: &BatchHeader) -> usize {
    let plain = header.size() + usize::try_from(header.record_count).unwrap_or(0) * GROWTH;
    match header.attributes.compression() {
        Ok(Compression::None) => plain,
        _ => 2 * plain,
    }
}

impl Preparer {
    pub(crate) fn new(making: Making) -> Preparer {
        let max_batch = making.max_batch_bytes;
        Preparer {
            producer: making.producer,
            from: making.from,
            max_batch,
            max_merged: max_batch.min(MERGED),
            selection: Selection {
                offsets: 0..i64::MAX,
                time: TimeRange::default(),
            },
            ordinal: 0,
            scratch: DecodeBuffer::default(),
            builder: ProduceBuilder::new(Compression::None, None),
            encoder: Encoder::new(max_batch, making.offset_header),
            run: Run::default(),
        }
    }

    /// Which records of the chunks that follow are restored.
    pub(crate) fn select(&mut self, selection: Selection) {
        self.selection = selection;
    }

    /// Records before this ordinal have landed.
    pub(crate) fn from(&self) -> u64 {
        self.from
    }

    /// How many records came before.
    pub(crate) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Counts records that are not read because they have landed.
    pub(crate) fn pass_over(&mut self, records: u64) {
        self.ordinal += records;
    }

    /// Gives every batch of a chunk the form that the target's broker takes.
    pub(crate) fn prepare(
        &mut self,
        chunk: Bytes,
        credit: &Arc<OwnedSemaphorePermit>,
    ) -> Result<Vec<Prepared>, PrepareError> {
        let whole = chunk.len();
        let mut rest = chunk
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
        let memory = rest.as_ptr_range();
        let mut out = Vec::new();
        while !rest.is_empty() {
            let header = BatchHeader::parse(&rest).map_err(|error| (-1, error.into()))?;
            if header.base_offset >= self.selection.offsets.end {
                break;
            }
            let bytes = rest.split_to(header.size());
            let wanted = self.selection.of(&header);
            let form = produce_form(&header);
            if wanted == Wanted::None || matches!(form, ProduceForm::Withheld(_)) {
                continue;
            }
            if wanted == Wanted::All {
                let next = self.ordinal + count_of(&header);
                if next <= self.from {
                    self.ordinal = next;
                    continue;
                }
                let as_is = form == ProduceForm::AsIs
                    && self.ordinal >= self.from
                    && header.size() <= self.max_batch
                    && !self.encoder.adds_header();
                if as_is {
                    self.add_as_is(header, bytes, credit, &mut out)?;
                    continue;
                }
            }
            self.end_run(credit, &mut out)?;
            self.add_encoded(&header, bytes, credit, &mut out)
                .map_err(|error| (header.base_offset, error))?;
        }
        self.end_run(credit, &mut out)?;
        let lies_in_chunk = |batch: &Prepared| memory.contains(&batch.records.as_ptr());
        let kept: usize = out
            .iter()
            .filter(|batch| lies_in_chunk(batch))
            .map(|batch| batch.records.len())
            .sum();
        if kept < whole {
            // A few batches would keep the memory of all that were encoded anew.
            for batch in out.iter_mut().filter(|batch| lies_in_chunk(batch)) {
                batch.records = Bytes::copy_from_slice(&batch.records);
            }
        }
        Ok(out)
    }

    /// A batch that needs a new header only, or joins its neighbours.
    fn add_as_is(
        &mut self,
        header: BatchHeader,
        bytes: BytesMut,
        credit: &Arc<OwnedSemaphorePermit>,
        out: &mut Vec<Prepared>,
    ) -> Result<(), PrepareError> {
        let first = self.ordinal;
        self.ordinal += count_of(&header);
        let mergeable = is_small(&header);
        if !(mergeable && self.run.has_room_for(&header, self.max_merged)) {
            self.end_run(credit, out)?;
        }
        if mergeable {
            self.run.add(header, bytes, first);
        } else {
            let records = self.rewritten(bytes, first);
            out.push(prepared(records, first, count_of(&header), &header, credit));
        }
        Ok(())
    }

    /// A batch whose records are looked at: those that are wanted and have not landed are encoded anew, unless the batch can
    /// stay as it is after all.
    fn add_encoded(
        &mut self,
        header: &BatchHeader,
        bytes: BytesMut,
        credit: &Arc<OwnedSemaphorePermit>,
        out: &mut Vec<Prepared>,
    ) -> Result<(), EncodeError> {
        let first = self.ordinal;
        let batch = Batch::parse(&bytes)?;
        let codec = header.attributes.compression()?;
        let mut records: Vec<Record<'_>> = Vec::new();
        for record in batch.decode(&mut self.scratch)? {
            let record = record?;
            if self.selection.contains(&record) {
                records.push(record);
            }
        }
        let count = records.len() as u64;
        self.ordinal += count;
        if self.ordinal <= self.from {
            return Ok(());
        }
        let as_is = count == count_of(header)
            && produce_form(header) == ProduceForm::AsIs
            && first >= self.from
            && header.size() <= self.max_batch
            && !self.encoder.adds_header();
        if as_is {
            drop(records);
            let records = self.rewritten(bytes, first);
            out.push(prepared(records, first, count, header, credit));
            return Ok(());
        }
        let landed = usize::try_from(self.from.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut encoded = Vec::new();
        let from = first + landed as u64;
        self.encoder
            .encode(&records[landed..], codec, self.producer, from, &mut encoded)?;
        out.extend(
            encoded
                .into_iter()
                .map(|encoded| Prepared::new(encoded, credit)),
        );
        Ok(())
    }

    fn rewritten(&self, mut bytes: BytesMut, first: u64) -> Bytes {
        let Producer { id, epoch } = self.producer;
        rewrite_for_produce(&mut bytes, id, epoch, sequence(first));
        bytes.freeze()
    }

    /// Makes one batch of the run, if there is one; several if it turns out to be very compressible.
    fn end_run(
        &mut self,
        credit: &Arc<OwnedSemaphorePermit>,
        out: &mut Vec<Prepared>,
    ) -> Result<(), PrepareError> {
        let Run {
            batches, mut first, ..
        } = std::mem::take(&mut self.run);
        let mut merged = Vec::new();
        if batches.len() > 1 {
            self.merge(&batches, first, credit, &mut merged)
                .map_err(|(offset, error)| (offset, error.into()))?;
        }
        // Compressed anew, they may have become larger than the target takes.
        if !merged.is_empty()
            && merged
                .iter()
                .all(|batch| batch.records.len() <= self.max_batch)
        {
            out.append(&mut merged);
            return Ok(());
        }
        for (header, bytes) in batches {
            let records = self.rewritten(bytes, first);
            out.push(prepared(records, first, count_of(&header), &header, credit));
            first += count_of(&header);
        }
        Ok(())
    }

    fn merge(
        &mut self,
        batches: &[(BatchHeader, BytesMut)],
        mut first: u64,
        credit: &Arc<OwnedSemaphorePermit>,
        out: &mut Vec<Prepared>,
    ) -> Result<(), (i64, BatchError)> {
        let codec = batches[0].0.attributes.compression();
        let codec = codec.map_err(|error| (batches[0].0.base_offset, error))?;
        self.builder.reset(codec, None);
        let (mut head, mut count) = (batches[0].0, 0);
        for (header, bytes) in batches {
            let at = |error| (header.base_offset, error);
            if count == 0 {
                head = *header;
            }
            let batch = Batch::parse(bytes).map_err(at)?;
            self.builder
                .append_batch(&batch, &mut self.scratch)
                .map_err(at)?;
            count += count_of(header);
            if self.builder.estimated_size() >= MERGED_RAW {
                let records = self.merged(first).map_err(at)?;
                out.push(prepared(records, first, count, &head, credit));
                first += count;
                count = 0;
            }
        }
        if count > 0 {
            let records = self
                .merged(first)
                .map_err(|error| (head.base_offset, error))?;
            out.push(prepared(records, first, count, &head, credit));
        }
        Ok(())
    }

    fn merged(&mut self, first: u64) -> Result<Bytes, BatchError> {
        let Producer { id, epoch } = self.producer;
        let mut merged = Vec::new();
        self.builder
            .finish(id, epoch, sequence(first), &mut merged)?;
        Ok(Bytes::from(merged))
    }
}

fn prepared(
    records: Bytes,
    first: u64,
    count: u64,
    header: &BatchHeader,
    credit: &Arc<OwnedSemaphorePermit>,
) -> Prepared {
    Prepared {
        records,
        first,
        count,
        source: header.base_offset,
        _credit: Arc::clone(credit),
    }
}

#[cfg(test)]
mod tests;
