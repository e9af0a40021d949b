//! What an answer of a broker means for a partition: which bytes to keep, which stretches are gaps, and why.
//!
//! This is the read-committed rule of Kafka's own consumer (`CompletedFetch` of the Java client): the list of aborted
//! transactions belongs to the answer it came with, so nothing is carried from one answer to the next. The position is
//! taken from batch headers, never from records: compaction leaves batches whose last record is gone, and empty ones.

use std::collections::HashSet;
use std::ops::Range;

use armory_archive::GapCause;
use armory_kafka::AbortedTransaction;
use armory_records::{Batch, BatchError, BatchHeader, Batches, DecodeBuffer};

/// One thing to do with a partition, in offset order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is nothing to store up to `until` (exclusive). Where the source has batches there, `leader_epoch` is theirs.
    Gap {
        until: i64,
        cause: GapCause,
        leader_epoch: Option<i32>,
    },
    /// A run of whole batches without anything between them: their bytes in the answer, and their headers.
    Keep {
        bytes: Range<usize>,
        headers: Range<usize>,
    },
    /// One batch that begins before the position: only its records from the position on are new.
    KeepFrom { bytes: Range<usize>, header: usize },
}

/// The steps of one answer; reused from answer to answer.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    pub(crate) steps: Vec<Step>,
    pub(crate) headers: Vec<BatchHeader>,
    /// Where the partition stands after the steps: the next offset to ask for.
    pub(crate) position: i64,
    /// Offsets that are missing although nobody told why; normal in a compacted topic.
    pub(crate) unexplained: u64,
    /// Offsets `[from, until)` that retention removed before they could be archived.
    pub(crate) trimmed: Option<(i64, i64)>,
}

/// A batch that must not be kept.
#[derive(Debug)]
pub(crate) struct DamagedBatch {
    pub(crate) offset: i64,
    pub(crate) source: BatchError,
}

impl Intake {
    /// Reads the batches of an answer. `position` is the next offset the archive wants; `log_start` the first
    /// offset that the broker still has (inclusive), or −1 where it did not say.
    pub(crate) fn read(
        &mut self,
        records: &[u8],
        aborted: &[AbortedTransaction],
        log_start: i64,
        position: i64,
        scratch: &mut DecodeBuffer,
    ) -> Result<(), DamagedBatch> {
        self.steps.clear();
        self.headers.clear();
        self.position = position;
        self.unexplained = 0;
        self.trimmed = None;
        let mut aborted = AbortedTransactions::new(aborted);
        let mut at = 0;
        for batch in Batches::new(records) {
            let batch = batch.map_err(|source| DamagedBatch {
                offset: self.position,
                source,
            })?;
            let header = *batch.header();
            let bytes = at..at + header.size();
            at = bytes.end;
            batch.verify_crc().map_err(|source| DamagedBatch {
                offset: header.base_offset,
                source,
            })?;
            let control = if header.attributes.is_control() {
                Some(
                    control_type(&batch, scratch).map_err(|source| DamagedBatch {
                        offset: header.base_offset,
                        source,
                    })?,
                )
            } else {
                None
            };
            let is_aborted = aborted.covers(&header, control);
            // An offset inside a batch is answered with the whole batch.
            if header.last_offset() < self.position {
                continue;
            }
            self.explain_hole(header.base_offset, log_start);
            let epoch = Some(header.partition_leader_epoch);
            match control {
                Some(_) => self.gap(header.next_offset(), GapCause::Control, epoch),
                None if is_aborted => self.gap(header.next_offset(), GapCause::Aborted, epoch),
                None => self.keep(bytes, header),
            }
        }
        Ok(())
    }

    /// Offsets before the log start were removed by retention; those after it are holes that compaction left.
    fn explain_hole(&mut self, base_offset: i64, log_start: i64) {
        if self.position < log_start.min(base_offset) {
            self.trimmed = Some((self.position, log_start.min(base_offset)));
            self.gap(log_start.min(base_offset), GapCause::BeforeLogStart, None);
        }
        if self.position < base_offset {
            self.unexplained += base_offset.abs_diff(self.position);
            self.gap(base_offset, GapCause::AbsentAtSource, None);
        }
    }

    fn gap(&mut self, until: i64, cause: GapCause, leader_epoch: Option<i32>) {
        debug_assert!(until > self.position, "a gap is never empty");
        self.position = until;
        if let Some(Step::Gap {
            until: last,
            cause: same,
            leader_epoch: last_epoch,
        }) = self.steps.last_mut()
            && *same == cause
            // Where an epoch begins is written down, also where nothing of it is kept.
            && *last_epoch == leader_epoch
        {
            *last = until;
            return;
        }
        self.steps.push(Step::Gap {
            until,
            cause,
            leader_epoch,
        });
    }

    fn keep(&mut self, bytes: Range<usize>, header: BatchHeader) {
        let index = self.headers.len();
        self.headers.push(header);
        if header.base_offset < self.position {
            self.position = header.next_offset();
            self.steps.push(Step::KeepFrom {
                bytes,
                header: index,
            });
            return;
        }
        self.position = header.next_offset();
        if let Some(Step::Keep {
            bytes: run,
            headers,
        }) = self.steps.last_mut()
            && run.end == bytes.start
        {
            run.end = bytes.end;
            headers.end = index + 1;
            return;
        }
        self.steps.push(Step::Keep {
            bytes,
            headers: index..index + 1,
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ControlType {
    Abort,
    Other,
}

/// The key of a control record is its version and its type, each two bytes (`ControlRecordType` of Kafka).
fn control_type(batch: &Batch<'_>, scratch: &mut DecodeBuffer) -> Result<ControlType, BatchError> {
    let Some(first) = batch.decode(scratch)?.next() else {
        return Ok(ControlType::Other);
    };
    Ok(match first?.key {
        Some([_, _, 0, 0, ..]) => ControlType::Abort,
        _ => ControlType::Other,
    })
}

/// The aborted transactions of one answer.
struct AbortedTransactions {
    /// Latest first, so that the next to begin is popped off the end.
    pending: Vec<AbortedTransaction>,
    producers: HashSet<i64>,
}

impl AbortedTransactions {
    fn new(list: &[AbortedTransaction]) -> AbortedTransactions {
        let mut pending = list.to_vec();
        pending.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        AbortedTransactions {
            pending,
            producers: HashSet::new(),
        }
    }

    /// Whether the batch is part of an aborted transaction. Called for every batch of the answer, in order.
    fn covers(&mut self, header: &BatchHeader, control: Option<ControlType>) -> bool {
        while let Some(next) = self.pending.last()
            && next.first_offset <= header.last_offset()
        {
            self.producers.insert(next.producer_id);
            self.pending.pop();
        }
        if control == Some(ControlType::Abort) {
            self.producers.remove(&header.producer_id);
            return false;
        }
        header.attributes.is_transactional() && self.producers.contains(&header.producer_id)
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
