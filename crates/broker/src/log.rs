//! One partition's log: batches in memory, judged and numbered as a leader does it.
//!
//! A produced batch is stored as the bytes the producer sent. Assigned are its base offset and leader epoch, which the
//! CRC does not cover; on a topic with `message.timestamp.type=LogAppendTime` also the timestamp type and the largest
//! timestamp; and where a producer left a wrong largest timestamp in the header, the right one.

mod epochs;
mod producers;
#[cfg(test)]
#[path = "../tests/it/batches.rs"]
pub(crate) mod test_batches;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::VecDeque;

use armory_records::{Batch, BatchError, BatchHeader, Batches, DecodeBuffer, HEADER_LEN};
use bytes::Bytes;

use crate::refusal::Refusal;
use epochs::LeaderEpochs;
pub(crate) use producers::ProducerEntry;
use producers::Producers;
pub(crate) use verdict::{JudgedBatch, judge, only_batch};

/// The log of one partition. Its high watermark and last stable offset are its end: one replica, no transactions.
#[derive(Debug)]
pub(crate) struct Log {
    batches: VecDeque<StoredBatch>,
    /// First offset that clients may read.
    start_offset: i64,
    /// Offset that the next record gets.
    end_offset: i64,
    epochs: LeaderEpochs,
    producers: Producers,
}

#[derive(Debug)]
struct StoredBatch {
    last_offset: i64,
    max_timestamp: i64,
    bytes: Bytes,
}

/// Where a batch landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// The broker's time given to the records, in ms; −1 where they keep their own.
    pub(crate) append_time: i64,
    /// Whether it was there already and nothing was appended.
    pub(crate) duplicate: bool,
}

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimedOffset {
    pub(crate) offset: i64,
    /// In ms.
    pub(crate) timestamp: i64,
    pub(crate) leader_epoch: i32,
}

/// An offset that is not between the start and the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfRange;

/// Bytes handed out by [`Log::read`], in whole batches but for the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogSlice {
    pub(crate) batches: Vec<Bytes>,
    pub(crate) size: usize,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            batches: VecDeque::new(),
            start_offset: 0,
            end_offset: 0,
            epochs: LeaderEpochs::new(0),
            producers: Producers::default(),
        }
    }

    /// First offset that can be read (inclusive).
    pub(crate) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// End of the log (exclusive): high watermark, last stable offset and next offset in one.
    pub(crate) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        self.epochs.latest()
    }

    /// The leader epoch under which `offset` was, or would be, written.
    pub(crate) fn epoch_of(&self, offset: i64) -> i32 {
        self.epochs.epoch_of(offset)
    }

    /// The largest known epoch not above `epoch`, and where it ended (exclusive).
    pub(crate) fn epoch_end(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs.end_of(epoch, self.end_offset)
    }

    pub(crate) fn producers(&self) -> impl Iterator<Item = (i64, &ProducerEntry)> {
        self.producers.iter()
    }

    /// Forgets idempotent producers whose newest records are that old.
    pub(crate) fn expire_producers(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.expire(now_ms, expiration_ms);
    }

    /// Appends a produced batch, unless its producer's sequence speaks against it.
    pub(crate) fn append(&mut self, judged: JudgedBatch) -> Result<Appended, Refusal> {
        let JudgedBatch {
            mut header,
            mut bytes,
        } = judged;
        if let Some(known) = self.producers.check(&header)? {
            // Kafka answers a duplicate with the batch's timestamp in the place of an append time.
            return Ok(Appended {
                base_offset: known.base_offset,
                append_time: known.timestamp,
                duplicate: true,
            });
        }
        header.base_offset = self.end_offset;
        header.partition_leader_epoch = self.leader_epoch();
        header.write(&mut bytes);
        self.push(&header, bytes.into());
        let append_time = match header.attributes.timestamp_type() {
            armory_records::TimestampType::LogAppendTime => header.max_timestamp,
            armory_records::TimestampType::CreateTime => -1,
        };
        Ok(Appended {
            base_offset: header.base_offset,
            append_time,
            duplicate: false,
        })
    }

    /// Appends batches with the offsets and leader epochs they carry, as a follower does: holes, control batches and
    /// records that this broker's own rules would refuse are taken. Nothing is appended unless everything can be.
    pub(crate) fn append_replicated(&mut self, records: &[u8]) -> Result<(), ReplicationError> {
        let mut headers = Vec::new();
        let mut batches = Batches::new(records);
        let mut next = self.end_offset;
        for batch in &mut batches {
            let batch = batch?;
            batch.verify_crc()?;
            if batch.header().base_offset < next {
                return Err(ReplicationError::Backwards {
                    base_offset: batch.header().base_offset,
                    next,
                });
            }
            next = batch.header().next_offset();
            headers.push((*batch.header(), Bytes::copy_from_slice(batch.bytes())));
        }
        if !batches.remainder().is_empty() {
            return Err(ReplicationError::Partial {
                bytes: batches.remainder().len(),
            });
        }
        for (header, bytes) in headers {
            if header.partition_leader_epoch > self.leader_epoch() {
                self.epochs
                    .start(header.partition_leader_epoch, header.base_offset);
            }
            self.push(&header, bytes);
        }
        Ok(())
    }

    fn push(&mut self, header: &BatchHeader, bytes: Bytes) {
        debug_assert!(header.base_offset >= self.end_offset, "offsets only go up");
        self.producers.record(header);
        self.end_offset = header.next_offset();
        self.batches.push_back(StoredBatch {
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
            bytes,
        });
    }

    /// Reads at most `max_bytes` from the batch that holds `offset` on; the last batch may be cut off. Where not even
    /// the first fits, it is returned whole if `at_least_one`, else nothing is.
    pub(crate) fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<LogSlice, OutOfRange> {
        if offset < self.start_offset || offset > self.end_offset {
            return Err(OutOfRange);
        }
        let first = self
            .batches
            .partition_point(|batch| batch.last_offset < offset);
        let mut slice = LogSlice::default();
        for batch in self.batches.range(first..) {
            let room = max_bytes.saturating_sub(slice.size);
            if batch.bytes.len() <= room || (slice.size == 0 && at_least_one) {
                slice.size += batch.bytes.len();
                slice.batches.push(batch.bytes.clone());
            } else {
                if slice.size > 0 && room > 0 {
                    slice.size += room;
                    slice.batches.push(batch.bytes.slice(..room));
                }
                break;
            }
        }
        Ok(slice)
    }

    /// Moves the start of the log up to `offset`; whole batches before it are dropped, one that it lies in stays.
    pub(crate) fn trim(&mut self, offset: i64) -> Result<(), OutOfRange> {
        if offset > self.end_offset {
            return Err(OutOfRange);
        }
        if offset > self.start_offset {
            self.start_offset = offset;
            let gone = self
                .batches
                .partition_point(|batch| batch.last_offset < offset);
            self.batches.drain(..gone);
            self.epochs.truncate_start(offset);
        }
        Ok(())
    }

    /// Makes this a log under a new leader, which holds only the batches that lie wholly before `end_offset`
    /// (exclusive): at the end of the log for a clean election, earlier for an unclean one. Returns the new epoch.
    pub(crate) fn elect_leader(&mut self, end_offset: i64) -> i32 {
        let epoch = self.leader_epoch() + 1;
        if end_offset < self.end_offset {
            let kept = self
                .batches
                .partition_point(|batch| batch.last_offset < end_offset);
            self.batches.truncate(kept);
            self.end_offset = self
                .batches
                .back()
                .map_or(self.start_offset, |batch| batch.last_offset + 1);
            self.epochs.truncate_end(self.end_offset);
            self.rebuild_producers();
        }
        self.epochs.start(epoch, self.end_offset);
        epoch
    }

    fn rebuild_producers(&mut self) {
        self.producers = Producers::default();
        for batch in &self.batches {
            if let Ok(header) = BatchHeader::parse(&batch.bytes[..HEADER_LEN]) {
                self.producers.record(&header);
            }
        }
    }

    /// The first record at or after `timestamp` (ms).
    pub(crate) fn first_at_or_after(&self, timestamp: i64) -> Option<TimedOffset> {
        let mut candidates = self
            .batches
            .iter()
            .filter(|batch| batch.max_timestamp >= timestamp);
        candidates.find_map(|batch| self.find_record(batch, |time| time >= timestamp))
    }

    /// The first record with the largest timestamp.
    pub(crate) fn newest_record(&self) -> Option<TimedOffset> {
        let newest = self.batches.iter().map(|batch| batch.max_timestamp).max()?;
        self.first_at_or_after(newest)
    }

    fn find_record(
        &self,
        batch: &StoredBatch,
        matches: impl Fn(i64) -> bool,
    ) -> Option<TimedOffset> {
        // Stored batches were decoded when they were judged; a replicated one that cannot be is passed over.
        let batch = Batch::parse(&batch.bytes).ok()?;
        let mut scratch = DecodeBuffer::new();
        let mut records = batch.decode(&mut scratch).ok()?.map_while(Result::ok);
        let found = records
            .find(|record| record.offset >= self.start_offset && matches(record.timestamp))?;
        Some(TimedOffset {
            offset: found.offset,
            timestamp: found.timestamp,
            leader_epoch: batch.header().partition_leader_epoch,
        })
    }
}

/// Why batches could not be appended as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicationError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("a batch at offset {base_offset} cannot follow a log that ends at {next}")]
    Backwards { base_offset: i64, next: i64 },
    #[error("the last {bytes} bytes are not a whole batch")]
    Partial { bytes: usize },
}
