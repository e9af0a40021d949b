//! For how long a partition has been behind, in seconds.
//!
//! Batches are not decoded, so no record's own time is at hand. What is measured is better for an alarm anyway: for how long there has been
//! something at the source, at the least, that is not durable yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use armory_engine::PartitionDetails;

/// What was seen of partitions that are behind.
#[derive(Debug, Default)]
pub(super) struct Behind {
    seen: HashMap<(Arc<str>, i32), Mark>,
}

/// At `since` the source ended at `offset` (exclusive), and that was not durable.
#[derive(Debug, Clone, Copy)]
struct Mark {
    offset: i64,
    since: Instant,
}

impl Behind {
    /// Notes how partitions stand. Those that are not among them are forgotten.
    pub(super) fn note(&mut self, partitions: &[PartitionDetails], now: Instant) {
        let mut seen = HashMap::with_capacity(self.seen.len());
        for partition in partitions.iter().filter(|partition| partition.lag() > 0) {
            let key = (Arc::clone(&partition.topic), partition.partition);
            let known = self.seen.get(&key).copied();
            let mark = known
                .filter(|mark| mark.offset > partition.durable_offset)
                .unwrap_or(Mark {
                    offset: partition.high_watermark.unwrap_or_default(),
                    since: now,
                });
            seen.insert(key, mark);
        }
        self.seen = seen;
    }

    /// For how many seconds a partition has been behind; 0 if it is not.
    pub(super) fn seconds(&self, partition: &PartitionDetails, now: Instant) -> f64 {
        let key = (Arc::clone(&partition.topic), partition.partition);
        self.seen.get(&key).map_or(0.0, |mark| {
            now.saturating_duration_since(mark.since).as_secs_f64()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lag_in_time_is_that_of_the_oldest_end_which_is_not_durable() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut behind = Behind::default();
        let mut check = |second, durable_offset, end, expected: f64| {
            let partition = PartitionDetails {
                topic: Arc::from("orders"),
                partition: 0,
                durable_offset,
                high_watermark: end,
            };
            behind.note(std::slice::from_ref(&partition), at(second));
            assert_eq!(behind.seconds(&partition, at(second)), expected);
        };
        check(0, 10, None, 0.0);
        check(1, 10, Some(10), 0.0);
        check(2, 10, Some(20), 0.0);
        check(5, 10, Some(30), 3.0);
        // Still not what was there at second 2.
        check(6, 19, Some(40), 4.0);
        check(7, 20, Some(40), 0.0);
        check(9, 20, Some(50), 2.0);
        check(10, 50, Some(50), 0.0);
        check(11, 50, Some(51), 0.0);
    }
}
