//! What a partition remembers of idempotent producers, and what it concludes from it (Kafka classes
//! `ProducerStateManager`, `ProducerAppendInfo`, `ProducerStateEntry`).

use std::collections::{BTreeMap, VecDeque};

use armory_records::BatchHeader;
use kafka_protocol::ResponseError;

use crate::refusal::Refusal;

/// `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`: so many of a producer's newest batches are recognised when sent again.
const BATCHES_REMEMBERED: usize = 5;

/// A batch that was appended before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducedBatch {
    first_sequence: i32,
    last_sequence: i32,
    pub(crate) base_offset: i64,
    /// Largest timestamp of its records, in ms.
    pub(crate) timestamp: i64,
}

/// What is known of one producer id.
#[derive(Debug, Clone)]
pub(crate) struct ProducerEntry {
    pub(crate) epoch: i16,
    batches: VecDeque<ProducedBatch>,
    /// Largest timestamp of the newest batch, in ms: what the entry's age is counted from.
    pub(crate) last_timestamp: i64,
}

impl ProducerEntry {
    pub(crate) fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }
}

/// The producers of one partition, by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Producers {
    entries: BTreeMap<i64, ProducerEntry>,
}

impl Producers {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &ProducerEntry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// Whether a batch is next in its producer's sequence. `Ok(Some)` is a batch that was appended before, which is
    /// answered with its old offset and not appended again.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Option<ProducedBatch>, Refusal> {
        if header.producer_id < 0 {
            return Ok(None);
        }
        let Some(entry) = self.entries.get(&header.producer_id) else {
            // Without memory of a producer any sequence is taken: memory can have been lost to age.
            return Ok(None);
        };
        let first_sequence = header.base_sequence;
        let last_sequence = advance(first_sequence, header.last_offset_delta);
        if header.producer_epoch == entry.epoch {
            let known = entry.batches.iter().find(|batch| {
                batch.first_sequence == first_sequence && batch.last_sequence == last_sequence
            });
            if let Some(batch) = known {
                return Ok(Some(*batch));
            }
        }
        if header.producer_epoch < entry.epoch {
            return Err(Refusal::new(
                ResponseError::InvalidProducerEpoch,
                format!(
                    "producer {} has epoch {} and sent {}",
                    header.producer_id, entry.epoch, header.producer_epoch
                ),
            ));
        }
        let expected = if header.producer_epoch > entry.epoch {
            0
        } else {
            advance(entry.last_sequence(), 1)
        };
        if first_sequence != expected {
            return Err(Refusal::new(
                ResponseError::OutOfOrderSequenceNumber,
                format!(
                    "producer {} sent sequence {first_sequence} where {expected} is next",
                    header.producer_id
                ),
            ));
        }
        Ok(None)
    }

    /// Remembers a batch that was appended at `header.base_offset`.
    pub(crate) fn record(&mut self, header: &BatchHeader) {
        if header.producer_id < 0 {
            return;
        }
        let entry = self
            .entries
            .entry(header.producer_id)
            .or_insert_with(|| ProducerEntry {
                epoch: header.producer_epoch,
                batches: VecDeque::with_capacity(BATCHES_REMEMBERED),
                last_timestamp: -1,
            });
        if entry.epoch != header.producer_epoch {
            entry.epoch = header.producer_epoch;
            entry.batches.clear();
        }
        if entry.batches.len() == BATCHES_REMEMBERED {
            entry.batches.pop_front();
        }
        entry.batches.push_back(ProducedBatch {
            first_sequence: header.base_sequence,
            last_sequence: advance(header.base_sequence, header.last_offset_delta),
            base_offset: header.base_offset,
            timestamp: header.max_timestamp,
        });
        entry.last_timestamp = header.max_timestamp;
    }

    /// Forgets the producers whose newest *record timestamp* is `expiration_ms` or more behind the clock
    /// (`ProducerStateManager.isProducerExpired`).
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.entries
            .retain(|_, entry| now_ms.saturating_sub(entry.last_timestamp) < expiration_ms);
    }
}

/// A sequence number `by` further on; after the largest comes 0 (`DefaultRecordBatch.incrementSequence`).
fn advance(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_batches::TestBatch;

    fn produced(
        producers: &mut Producers,
        epoch: i16,
        sequence: i32,
        count: i32,
        base_offset: i64,
    ) -> Result<Option<i64>, i16> {
        let mut header = BatchHeader::parse(&TestBatch::new(count).encode()).unwrap();
        header.producer_id = 9;
        header.producer_epoch = epoch;
        header.base_sequence = sequence;
        header.base_offset = base_offset;
        header.max_timestamp = 1_000;
        match producers.check(&header) {
            Ok(Some(batch)) => Ok(Some(batch.base_offset)),
            Ok(None) => {
                producers.record(&header);
                Ok(None)
            }
            Err(refusal) => Err(refusal.code.code()),
        }
    }

    #[test]
    fn sequences_go_on_without_gaps_and_the_last_five_batches_are_known() {
        let mut producers = Producers::default();
        for ordinal in 0..7 {
            assert_eq!(
                produced(&mut producers, 0, ordinal * 2, 2, i64::from(ordinal) * 2),
                Ok(None)
            );
        }
        for ordinal in 2..7 {
            assert_eq!(
                produced(&mut producers, 0, ordinal * 2, 2, 99),
                Ok(Some(i64::from(ordinal) * 2))
            );
        }
        assert_eq!(
            produced(&mut producers, 0, 2, 2, 99),
            Err(45),
            "older than five batches"
        );
        assert_eq!(
            produced(&mut producers, 0, 12, 1, 99),
            Err(45),
            "same start, other count"
        );
        assert_eq!(produced(&mut producers, 0, 15, 1, 99), Err(45), "a gap");
        assert_eq!(produced(&mut producers, 0, 14, 1, 14), Ok(None));
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
        let mut producers = Producers::default();
        assert_eq!(
            produced(&mut producers, 1, 41, 1, 0),
            Ok(None),
            "an unknown producer may start anywhere"
        );
        assert_eq!(produced(&mut producers, 2, 42, 1, 1), Err(45));
        assert_eq!(produced(&mut producers, 2, 0, 1, 1), Ok(None));
        assert_eq!(produced(&mut producers, 1, 42, 1, 2), Err(47));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut producers = Producers::default();
        assert_eq!(produced(&mut producers, 0, i32::MAX - 1, 2, 0), Ok(None));
        assert_eq!(produced(&mut producers, 0, 0, 3, 2), Ok(None));
        let mut other = Producers::default();
        assert_eq!(produced(&mut other, 0, i32::MAX, 3, 0), Ok(None));
        assert_eq!(produced(&mut other, 0, 2, 1, 3), Ok(None));
        assert_eq!(produced(&mut other, 0, i32::MAX, 3, 9), Ok(Some(0)));
    }

    #[test]
    fn memory_ages_by_record_timestamps() {
        let mut producers = Producers::default();
        assert_eq!(produced(&mut producers, 0, 0, 1, 0), Ok(None));
        producers.expire(1_999, 1_000);
        assert_eq!(produced(&mut producers, 0, 0, 1, 9), Ok(Some(0)));
        producers.expire(2_000, 1_000);
        assert_eq!(
            produced(&mut producers, 0, 0, 1, 1),
            Ok(None),
            "forgotten, so appended twice"
        );
    }
}
