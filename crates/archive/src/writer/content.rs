//! What a segment holds, as its manifest will tell: counted from batch headers while they pass.

use armory_records::{BatchHeader, Compression, TimestampType};

use crate::dead_letters::DeadLetter;
use crate::gaps::{Gap, GapCause, Gaps};
use crate::manifest::{EpochStart, IndexEntry, NO_TIMESTAMP, Timestamps};

/// An index entry, and with an outer codec a frame, covers at least this many bytes of batches …
const FRAME: u64 = 1 << 20;
/// … and at most this many, unless a single batch is larger.
const LARGEST_FRAME: u64 = 4 << 20;

/// The content of an open segment.
#[derive(Debug)]
pub(crate) struct Content {
    /// The first offset (inclusive).
    pub(crate) base: i64,
    /// The offset after the last one.
    pub(crate) next: i64,
    /// Bytes of batches.
    pub(crate) raw_bytes: u64,
    /// Bytes of those batches that the producer compressed.
    pub(crate) compressed_bytes: u64,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    /// Bytes of the largest batch.
    pub(crate) largest_batch: u64,
    pub(crate) timestamps: Option<Timestamps>,
    pub(crate) leader_epochs: Vec<EpochStart>,
    /// Where leader epochs begin, those of batches that are not kept included.
    pub(crate) epoch_starts: Vec<EpochStart>,
    /// The leader epoch of the last batch, kept or not; nothing where none came or it is not known.
    pub(crate) last_leader_epoch: Option<i32>,
    pub(crate) gaps: Gaps,
    /// Records that were put aside, ascending.
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// Bytes of memory that they take.
    pub(crate) dead_letter_bytes: usize,
    /// Positions in stored files are those in the batches, until an outer codec moves them.
    pub(crate) index: Vec<IndexEntry>,
}

impl Content {
    pub(crate) fn new(base: i64) -> Self {
        Self {
            base,
            next: base,
            raw_bytes: 0,
            compressed_bytes: 0,
            batches: 0,
            records: 0,
            largest_batch: 0,
            timestamps: None,
            leader_epochs: Vec::new(),
            epoch_starts: Vec::new(),
            last_leader_epoch: None,
            gaps: Gaps::default(),
            dead_letters: Vec::new(),
            dead_letter_bytes: 0,
            index: Vec::new(),
        }
    }

    /// Counts a batch that begins at `next`. `observed_at` is when it was received, in ms since 1970.
    pub(crate) fn add_batch(&mut self, header: &BatchHeader, observed_at: i64) {
        debug_assert_eq!(header.base_offset, self.next);
        let size = header.size() as u64;
        let times = batch_timestamps(header);
        self.index_batch(header.base_offset, size, times, observed_at);
        if let Some(times) = times {
            self.timestamps = Some(match self.timestamps {
                None => times,
                Some(before) => Timestamps {
                    min: before.min.min(times.min),
                    max: before.max.max(times.max),
                    min_exact: before.min_exact && times.min_exact,
                },
            });
        }
        let epoch = header.partition_leader_epoch;
        if self
            .leader_epochs
            .last()
            .is_none_or(|last| last.epoch != epoch)
        {
            self.leader_epochs.push(EpochStart {
                epoch,
                offset: header.base_offset,
            });
        }
        self.begin_epoch(epoch, header.base_offset);
        self.last_leader_epoch = Some(epoch);
        // An unknown codec id is the producer's matter: nothing is gained by compressing around it.
        if !matches!(header.attributes.compression(), Ok(Compression::None)) {
            self.compressed_bytes += size;
        }
        self.next = header.next_offset();
        self.raw_bytes += size;
        self.batches += 1;
        self.largest_batch = self.largest_batch.max(size);
        self.records += u64::from(header.record_count.unsigned_abs());
    }

    fn index_batch(&mut self, offset: i64, size: u64, times: Option<Timestamps>, observed_at: i64) {
        let min = times.map_or(NO_TIMESTAMP, |times| times.min);
        let max = times.map_or(NO_TIMESTAMP, |times| times.max);
        let covered = self.index.last().map(|last| self.raw_bytes - last.position);
        match (self.index.last_mut(), covered) {
            (Some(last), Some(covered)) if covered < FRAME && covered + size <= LARGEST_FRAME => {
                if last.min_timestamp == NO_TIMESTAMP {
                    last.min_timestamp = min;
                } else if min != NO_TIMESTAMP {
                    last.min_timestamp = last.min_timestamp.min(min);
                }
                last.max_timestamp = last.max_timestamp.max(max);
            }
            _ => self.index.push(IndexEntry {
                offset,
                position: self.raw_bytes,
                stored_position: self.raw_bytes,
                min_timestamp: min,
                max_timestamp: max,
                observed_at,
            }),
        }
    }

    /// Records a gap from `next` to `until` (exclusive).
    pub(crate) fn add_gap(&mut self, until: i64, cause: GapCause) {
        let gap = Gap {
            start: self.next,
            end: until,
            cause,
        };
        self.gaps.push(self.base, gap);
        self.next = until;
    }

    /// Adds records that were put aside, with offsets from `next` on.
    pub(crate) fn add_dead_letters(&mut self, letters: impl IntoIterator<Item = DeadLetter>) {
        for letter in letters {
            self.dead_letter_bytes += letter.heap_bytes();
            self.dead_letters.push(letter);
        }
    }

    /// Counts the leader epoch of batches that a gap stands for, the first of which begins at `offset`.
    pub(crate) fn add_gap_epoch(&mut self, epoch: Option<i32>, offset: i64) {
        if let Some(epoch) = epoch {
            self.begin_epoch(epoch, offset);
        }
        self.reach_epoch(epoch);
    }

    /// Counts a leader epoch of which it is not known where it began.
    pub(crate) fn reach_epoch(&mut self, epoch: Option<i32>) {
        self.last_leader_epoch = self.last_leader_epoch.max(epoch);
    }

    fn begin_epoch(&mut self, epoch: i32, offset: i64) {
        let last = self.epoch_starts.last();
        if last.is_none_or(|last| last.epoch < epoch) {
            self.epoch_starts.push(EpochStart { epoch, offset });
        }
    }

    /// The leader epochs to be written down beside those of the kept batches: nothing where they are the same.
    pub(crate) fn epoch_starts_beyond_batches(&self) -> Vec<EpochStart> {
        if self.epoch_starts == self.leader_epochs {
            return Vec::new();
        }
        self.epoch_starts.clone()
    }

    /// Whether producers compressed most of it, so that an outer codec would cost time and save nothing.
    pub(crate) fn is_mostly_compressed(&self) -> bool {
        self.compressed_bytes * 2 > self.raw_bytes
    }

    /// Bytes of memory held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.gaps.heap_bytes()
            + self.dead_letter_bytes
            + self.index.capacity() * size_of::<IndexEntry>()
            + (self.leader_epochs.capacity() + self.epoch_starts.capacity())
                * size_of::<EpochStart>()
    }
}

/// What a header tells of its records' timestamps; nothing where they have none.
fn batch_timestamps(header: &BatchHeader) -> Option<Timestamps> {
    let max = header.max_timestamp;
    if header.record_count == 0 || max == NO_TIMESTAMP {
        return None;
    }
    let log_append_time = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    let exact = |min| Timestamps {
        min,
        max,
        min_exact: true,
    };
    if log_append_time || header.record_count == 1 {
        return Some(exact(max));
    }
    // With a delete horizon (KIP-534) the base timestamp is that horizon and no record's timestamp.
    let first = match header.attributes.has_delete_horizon() {
        true => NO_TIMESTAMP,
        false => header.base_timestamp,
    };
    let min = if first == NO_TIMESTAMP {
        max
    } else {
        first.min(max)
    };
    Some(Timestamps {
        min,
        max,
        min_exact: false,
    })
}

#[cfg(test)]
mod tests {
    use armory_records::Attributes;

    use super::*;

    fn header(base_offset: i64, size: i32, first: i64, max: i64, records: i32) -> BatchHeader {
        BatchHeader {
            base_offset,
            batch_length: size - 12,
            partition_leader_epoch: 3,
            magic: 2,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta: records - 1,
            base_timestamp: first,
            max_timestamp: max,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: records,
        }
    }

    #[test]
    fn timestamps_leave_out_what_is_none() {
        let mut content = Content::new(0);
        content.add_batch(&header(0, 100, -1, -1, 5), 0);
        assert_eq!(content.timestamps, None);
        content.add_batch(&header(5, 100, 50, 70, 5), 0);
        content.add_batch(&header(10, 100, -1, 60, 5), 0);
        let expected = Timestamps {
            min: 50,
            max: 70,
            min_exact: false,
        };
        assert_eq!(content.timestamps, Some(expected));
        assert_eq!(
            (
                content.index[0].min_timestamp,
                content.index[0].max_timestamp
            ),
            (50, 70)
        );

        let mut single = Content::new(0);
        single.add_batch(&header(0, 100, 50, 50, 1), 0);
        assert!(single.timestamps.unwrap().min_exact);

        let mut horizon = Content::new(0);
        let mut batch = header(0, 100, 9_999, 70, 5);
        batch.attributes = batch.attributes.with_delete_horizon(true);
        horizon.add_batch(&batch, 0);
        assert_eq!(horizon.timestamps.unwrap().min, 70);
    }

    #[test]
    fn index_entries_are_one_to_four_mebibytes_apart_or_one_batch() {
        let mut content = Content::new(0);
        let sizes = [600 << 10, 600 << 10, 600 << 10, 3 << 20, 9 << 20, 100, 100];
        for size in sizes {
            let next = content.next;
            content.add_batch(&header(next, size, 0, 0, 1), 0);
        }
        let offsets: Vec<_> = content.index.iter().map(|entry| entry.offset).collect();
        assert_eq!(offsets, [0, 2, 4, 5]);
        assert_eq!(content.raw_bytes, sizes.iter().sum::<i32>() as u64);
    }
}
