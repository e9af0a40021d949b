//! Which records of a batch are restored: by offset and by time, every record for itself.
//!
//! A batch's header often decides for all of its records. Where it does not, they are looked at one by one, and only a batch of
//! which some are wanted and some are not is encoded anew.

use std::ops::Range;

use armory_records::{BatchHeader, Record, TimestampType};
use armory_resources::job::TimeRange;

/// Offsets (exclusive at the end) and times of the records that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) offsets: Range<i64>,
    pub(crate) time: TimeRange,
}

/// What a batch's header tells of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    None,
    /// Each has to be looked at.
    Some,
}

impl Selection {
    /// What the header alone tells.
    pub(crate) fn of(&self, header: &BatchHeader) -> Wanted {
        let Range { start, end } = self.offsets;
        if header.last_offset() < start || header.base_offset >= end {
            return Wanted::None;
        }
        let by_time = self.by_time(header);
        match (
            start <= header.base_offset && header.last_offset() < end,
            by_time,
        ) {
            (_, Wanted::None) => Wanted::None,
            (true, by_time) => by_time,
            (false, _) => Wanted::Some,
        }
    }

    /// A header tells the highest timestamp of its records, and not the lowest.
    fn by_time(&self, header: &BatchHeader) -> Wanted {
        let newest = header.max_timestamp;
        let TimeRange { from_ms, to_ms } = self.time;
        if self.time.is_unbounded() {
            Wanted::All
        } else if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            match self.time.contains(newest) {
                true => Wanted::All,
                false => Wanted::None,
            }
        } else if from_ms.is_some_and(|from| newest < from) {
            Wanted::None
        } else if from_ms.is_none() && to_ms.is_none_or(|to| newest < to) {
            Wanted::All
        } else {
            Wanted::Some
        }
    }

    /// Whether this record is wanted.
    pub(crate) fn contains(&self, record: &Record<'_>) -> bool {
        self.offsets.contains(&record.offset) && self.time.contains(record.timestamp)
    }
}

#[cfg(test)]
mod tests {
    use armory_records::{Batch, BatchBuilder, BatchOptions, DecodeBuffer};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What the header tells is never another thing than what the records tell.
        #[test]
        fn headers_never_lie(
            timestamps in prop::collection::vec(-1..20_i64, 1..6),
            append_time in any::<bool>(),
            base in 0..10_i64,
            step in 1..3_i64,
            offsets in (0..20_i64, 0..20_i64),
            from in prop::option::of(-1..20_i64),
            to in prop::option::of(-1..20_i64),
        ) {
            let timestamp_type = match append_time {
                true => TimestampType::LogAppendTime,
                false => TimestampType::CreateTime,
            };
            let mut builder = BatchBuilder::new(BatchOptions {
                base_offset: base,
                timestamp_type,
                ..BatchOptions::default()
            });
            for (index, timestamp) in timestamps.iter().enumerate() {
                let timestamp = if append_time { timestamps[0].max(0) } else { *timestamp };
                builder.append(base + index as i64 * step, timestamp, None, None, []);
            }
            let mut bytes = Vec::new();
            let header = builder.finish(&mut bytes).expect("a batch");
            let selection = Selection {
                offsets: offsets.0..offsets.1,
                time: TimeRange { from_ms: from, to_ms: to },
            };
            let mut scratch = DecodeBuffer::default();
            let records = Batch::parse(&bytes).expect("a batch").decode(&mut scratch).expect("records")
                .filter(|record| selection.contains(record.as_ref().expect("a record")))
                .count();
            match selection.of(&header) {
                Wanted::All => prop_assert_eq!(records, timestamps.len()),
                Wanted::None => prop_assert_eq!(records, 0),
                Wanted::Some => {}
            }
        }
    }
}
