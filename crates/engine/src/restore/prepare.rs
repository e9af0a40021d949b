//! From chunks of an archive to batches that a broker takes: each gets a new header and keeps its records' bytes, and small
//! neighbours become one batch.
//!
//! A broker's cost is per batch, and a request holds one batch of a partition. So a topic of many small batches is restored faster when
//! they are merged, at the price of copying their records, and of compressing them again (`docs/decisions/0004`). Gzip, the slowest to
//! compress, is left alone.

use std::sync::Arc;

use armory_records::{
    Batch, BatchError, BatchHeader, Compression, DecodeBuffer, ProduceBuilder, ProduceForm,
    encode_for_produce, produce_form, rewrite_for_produce,
};
use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use super::feed::{Prepared, Producer, sequence};

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
pub(crate) type PrepareError = (i64, BatchError);

/// Prepares the batches of one source partition for one target partition.
#[derive(Debug)]
pub(crate) struct Preparer {
    producer: Producer,
    /// Records before this ordinal have landed and are left out.
    from: u64,
    /// Batches from this offset on are not restored.
    until: i64,
    max_merged: usize,
    /// The ordinal of the next record.
    ordinal: u64,
    scratch: DecodeBuffer,
    builder: ProduceBuilder,
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
    pub(crate) fn new(
        producer: Producer,
        from: u64,
        until: i64,
        max_batch_bytes: usize,
    ) -> Preparer {
        Preparer {
            producer,
            from,
            until,
            max_merged: max_batch_bytes.min(MERGED),
            ordinal: 0,
            scratch: DecodeBuffer::default(),
            builder: ProduceBuilder::new(Compression::None, None),
            run: Run::default(),
        }
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
            let header = BatchHeader::parse(&rest).map_err(|error| (-1, error))?;
            if header.base_offset >= self.until {
                break;
            }
            let bytes = rest.split_to(header.size());
            let first = self.ordinal;
            self.ordinal += count_of(&header);
            if self.ordinal <= self.from {
                continue;
            }
            let form = produce_form(&header);
            let mergeable = form == ProduceForm::AsIs && first >= self.from && is_small(&header);
            if !(mergeable && self.run.has_room_for(&header, self.max_merged)) {
                self.end_run(credit, &mut out)?;
            }
            if mergeable {
                self.run.add(header, bytes, first);
                continue;
            }
            let records = match form {
                ProduceForm::AsIs => self.rewritten(bytes, first),
                ProduceForm::Encode(_) => self
                    .encoded(&bytes, first)
                    .map_err(|error| (header.base_offset, error))?,
                ProduceForm::Withheld(_) => continue,
            };
            let count = self.ordinal - first;
            let prepared = self.prepared(records, first, count, &header, credit);
            out.push(if first < self.from {
                prepared
                    .without_landed(self.from, self.producer)
                    .map_err(|error| (header.base_offset, error))?
            } else {
                prepared
            });
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

    fn rewritten(&self, mut bytes: BytesMut, first: u64) -> Bytes {
        let Producer { id, epoch } = self.producer;
        rewrite_for_produce(&mut bytes, id, epoch, sequence(first));
        bytes.freeze()
    }

    fn encoded(&mut self, bytes: &[u8], first: u64) -> Result<Bytes, BatchError> {
        let Producer { id, epoch } = self.producer;
        let batch = Batch::parse(bytes)?;
        let mut out = Vec::with_capacity(bytes.len());
        encode_for_produce(
            &batch,
            id,
            epoch,
            sequence(first),
            &mut self.scratch,
            &mut self.builder,
            &mut out,
        )?;
        Ok(Bytes::from(out))
    }

    /// Makes one batch of the run, if there is one; several if it turns out to be very compressible.
    fn end_run(
        &mut self,
        credit: &Arc<OwnedSemaphorePermit>,
        out: &mut Vec<Prepared>,
    ) -> Result<(), PrepareError> {
        let Run {
            mut batches,
            mut first,
            ..
        } = std::mem::take(&mut self.run);
        if batches.len() < 2 {
            if let Some((header, bytes)) = batches.pop() {
                let records = self.rewritten(bytes, first);
                out.push(self.prepared(records, first, count_of(&header), &header, credit));
            }
            return Ok(());
        }
        let codec = batches[0].0.attributes.compression();
        let codec = codec.map_err(|error| (batches[0].0.base_offset, error))?;
        self.builder.reset(codec, None);
        let (mut head, mut count) = (batches[0].0, 0);
        for (header, bytes) in &batches {
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
                out.push(self.prepared(records, first, count, &head, credit));
                first += count;
                count = 0;
            }
        }
        if count > 0 {
            let records = self
                .merged(first)
                .map_err(|error| (head.base_offset, error))?;
            out.push(self.prepared(records, first, count, &head, credit));
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

    fn prepared(
        &self,
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
}

#[cfg(test)]
mod tests;
