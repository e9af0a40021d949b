//! What a reader checks while batches pass.

use std::iter::Peekable;
use std::ops::Range;

use armory_records::{Batch, Batches};
use bytes::Bytes;

use crate::codec::Codec;
use crate::error::{ArchiveError, Damage};
use crate::gaps::Gap;
use crate::layout;
use crate::manifest::{EpochStart, Manifest, Segment};

/// Checks the frames of one segment in order.
#[derive(Debug)]
pub(super) struct Checker {
    place: String,
    /// The offset that comes next.
    expected: i64,
    /// The gaps that come next.
    gaps: Peekable<std::vec::IntoIter<Gap>>,
    /// The leader epochs that come next, after the current one.
    epochs: Peekable<std::vec::IntoIter<EpochStart>>,
    epoch: Option<i32>,
    /// The offset and size of the batches of each frame, as the index tells.
    frames: Vec<(i64, usize)>,
    batches: u64,
    records: u64,
    largest_batch: u64,
    digest: blake3::Hasher,
    /// What must come out at the end; nothing if the end is not read.
    end: Option<End>,
}

/// What a segment must amount to.
#[derive(Debug)]
struct End {
    next: i64,
    /// Nothing if it is not read from the start.
    whole: Option<Whole>,
}

/// What a segment that is read from start to end must amount to.
#[derive(Debug)]
struct Whole {
    batches: u64,
    records: u64,
    largest_batch: u64,
    digest: String,
}

impl Checker {
    /// A checker for the given index entries of a manifest's segment.
    pub(super) fn new(manifest: &Manifest, entries: Range<usize>) -> Self {
        let index = manifest
            .segment
            .as_ref()
            .map_or(&[][..], |segment| &segment.index);
        let raw_bytes = manifest
            .segment
            .as_ref()
            .map_or(0, |segment| segment.raw_bytes);
        let frame = |number: usize| {
            let end = index
                .get(number + 1)
                .map_or(raw_bytes, |next| next.position);
            (
                index[number].offset,
                (end - index[number].position) as usize,
            )
        };
        let from_start = entries.start == 0;
        let expected = match entries.start {
            0 => manifest.base,
            start => index.get(start).map_or(manifest.next, |entry| entry.offset),
        };
        let gaps: Vec<_> = manifest
            .gaps
            .iter(manifest.base)
            .filter(|gap| gap.end > expected)
            .collect();
        let place = manifest.segment.as_ref().map_or_else(
            || manifest.place(),
            |segment| layout::segment(&manifest.partition_key(), manifest.lineage, &segment.name),
        );
        let whole = |segment: &Segment| Whole {
            batches: manifest.batches,
            records: manifest.records,
            largest_batch: manifest.largest_batch,
            digest: segment.blake3.clone(),
        };
        Self {
            place,
            expected,
            gaps: gaps.into_iter().peekable(),
            epochs: manifest.leader_epochs.clone().into_iter().peekable(),
            epoch: None,
            frames: (0..index.len()).map(frame).collect(),
            batches: 0,
            records: 0,
            largest_batch: 0,
            digest: blake3::Hasher::new(),
            end: (entries.end >= index.len()).then(|| End {
                next: manifest.next,
                whole: manifest.segment.as_ref().filter(|_| from_start).map(whole),
            }),
        }
    }

    /// Unwraps and checks frame `number`; gives its batches.
    pub(super) fn frame(
        &mut self,
        number: usize,
        stored: Bytes,
        codec: Codec,
    ) -> Result<Bytes, ArchiveError> {
        if self.end.as_ref().is_some_and(|end| end.whole.is_some()) {
            self.digest.update(&stored);
        }
        let (offset, size) = self.frames[number];
        let batches = match codec {
            Codec::None => stored,
            _ => match codec.decompress(&stored, size) {
                Ok(batches) => batches.into(),
                Err(error) => return Err(self.damage(format!("cannot decompress: {error}"))),
            },
        };
        let mut walk = Batches::new(&batches);
        let mut first = true;
        for batch in &mut walk {
            let batch = batch.map_err(|error| self.damage(error.to_string()))?;
            if std::mem::take(&mut first) && batch.header().base_offset != offset {
                return Err(self.damage(format!(
                    "a batch begins at offset {}, but the index says {offset}",
                    batch.header().base_offset
                )));
            }
            self.batch(&batch)?;
        }
        if !walk.remainder().is_empty() {
            return Err(self.damage("a batch is longer than what is there".to_owned()));
        }
        Ok(batches)
    }

    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), ArchiveError> {
        let header = batch.header();
        self.skip_gaps();
        if header.base_offset != self.expected {
            return Err(self.damage(format!(
                "a batch begins at offset {}, and no recorded gap explains it",
                header.base_offset
            )));
        }
        batch
            .verify_crc()
            .map_err(|error| self.damage(error.to_string()))?;
        while let Some(start) = self
            .epochs
            .next_if(|start| start.offset <= header.base_offset)
        {
            self.epoch = Some(start.epoch);
        }
        if self.epoch != Some(header.partition_leader_epoch) {
            return Err(self.damage(format!(
                "leader epoch {}, but its manifest tells another one",
                header.partition_leader_epoch
            )));
        }
        self.expected = header.next_offset();
        self.batches += 1;
        self.records += u64::from(header.record_count.unsigned_abs());
        self.largest_batch = self.largest_batch.max(batch.bytes().len() as u64);
        Ok(())
    }

    fn skip_gaps(&mut self) {
        while let Some(gap) = self.gaps.next_if(|gap| gap.start == self.expected) {
            self.expected = gap.end;
        }
    }

    /// At the end: whether everything was there.
    pub(super) fn finish(mut self) -> Result<(), ArchiveError> {
        let Some(end) = self.end.take() else {
            return Ok(());
        };
        self.skip_gaps();
        if self.expected != end.next {
            return Err(self.damage(format!(
                "it ends here, but its manifest goes on to {}",
                end.next
            )));
        }
        let Some(whole) = end.whole else {
            return Ok(());
        };
        let found = (self.batches, self.records, self.largest_batch);
        let told = (whole.batches, whole.records, whole.largest_batch);
        if found != told {
            return Err(self.damage(format!(
                "batches, records and largest batch are {found:?}, but its manifest tells {told:?}"
            )));
        }
        if self.digest.finalize().to_hex().as_str() != whole.digest {
            return Err(self.damage("its digest does not match its manifest".to_owned()));
        }
        Ok(())
    }

    fn damage(&self, what: String) -> ArchiveError {
        Box::new(Damage {
            place: self.place.clone(),
            batch: Some(self.batches),
            offset: Some(self.expected),
            what,
        })
        .into()
    }
}
