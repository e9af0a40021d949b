//! The stop rule of a plugin entry: how many of a partition's last records it failed on.
//!
//! A partition that stopped is read again from where the archive ends, so records may come a second time. They are known by their
//! offsets: they do not count twice, neither as records nor as failures, and one that the plugin accepts at last is no failure any more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::StopRule;

/// What an entry failed on, by partition.
#[derive(Debug)]
pub(crate) struct Failures {
    rule: StopRule,
    partitions: Mutex<HashMap<i32, Recent>>,
}

/// The last records of one partition.
#[derive(Debug, Default)]
struct Recent {
    /// The highest offset that was seen.
    newest: Option<i64>,
    /// How many records were seen up to there.
    records: u64,
    /// Offset of each failure within the window, ascending, and which record of the partition it was.
    failed: VecDeque<(i64, u64)>,
    /// The offset of the last failure that left the window. Those up to there were borne when they came first.
    forgotten: Option<i64>,
}

impl Failures {
    pub(crate) fn new(rule: StopRule) -> Self {
        Self {
            rule,
            partitions: Mutex::default(),
        }
    }

    /// Counts a record that the entry did not fail on.
    pub(crate) fn note_success(&self, partition: i32, offset: i64) {
        self.with(partition, |recent| {
            if !recent.see(offset)
                && let Ok(at) = recent.find(offset)
            {
                recent.failed.remove(at);
            }
        });
    }

    /// Counts a record that the entry failed on. Why the partition has to stop, if it has to.
    pub(crate) fn note_failure(&self, partition: i32, offset: i64) -> Option<String> {
        let StopRule {
            max_failures,
            window,
        } = self.rule;
        let failures = self.with(partition, |recent| recent.fail(offset, window));
        (failures > max_failures).then(|| {
            format!(
                "{failures} of the last {window} records of the partition failed, and maxFailures is {max_failures}"
            )
        })
    }

    fn with<T>(&self, partition: i32, work: impl FnOnce(&mut Recent) -> T) -> T {
        let mut partitions = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        work(partitions.entry(partition).or_default())
    }
}

impl Recent {
    /// Counts a record; false if it was seen before.
    fn see(&mut self, offset: i64) -> bool {
        if self.newest.is_some_and(|newest| offset <= newest) {
            return false;
        }
        self.newest = Some(offset);
        self.records += 1;
        true
    }

    fn find(&self, offset: i64) -> Result<usize, usize> {
        self.failed.binary_search_by_key(&offset, |failed| failed.0)
    }

    /// Counts a failure. How many there are among the `window` records that end with it.
    fn fail(&mut self, offset: i64, window: u64) -> u64 {
        self.see(offset);
        while let Some((_, ordinal)) = self.failed.front()
            && ordinal + window <= self.records
        {
            self.forgotten = self.failed.pop_front().map(|failed| failed.0);
        }
        if self.forgotten.is_some_and(|forgotten| offset <= forgotten) {
            return 0;
        }
        let at = match self.find(offset) {
            Ok(at) => at,
            Err(at) => {
                // Of a record that comes again, and failed only now, it is not known which one it was.
                let ordinal = self.failed.get(at).map_or(self.records, |failed| failed.1);
                self.failed.insert(at, (offset, ordinal));
                at
            }
        };
        let ordinal = self.failed[at].1;
        let within = self.failed.range(..=at);
        within.filter(|failed| failed.1 + window > ordinal).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(max_failures: u64, window: u64) -> Failures {
        Failures::new(StopRule {
            max_failures,
            window,
        })
    }

    /// Runs offsets through; those that are negative fail. Returns which of them stop.
    fn stops(failures: &Failures, offsets: &[i64]) -> Vec<i64> {
        let mut stops = Vec::new();
        for offset in offsets {
            if *offset >= 0 {
                failures.note_success(0, *offset);
            } else if failures.note_failure(0, -offset).is_some() {
                stops.push(-offset);
            }
        }
        stops
    }

    #[test]
    fn more_than_so_many_in_the_window_stop() {
        assert_eq!(stops(&failures(1, 3), &[1, -2, 3, -4]), [4]);
        assert!(stops(&failures(1, 3), &[1, -2, 3, 4, -5, 6, 7, -8]).is_empty());
        assert_eq!(stops(&failures(0, 5), &[1, 2, -3]), [3]);
    }

    #[test]
    fn records_are_counted_and_not_offsets() {
        assert_eq!(stops(&failures(1, 3), &[10, -200, 3000, -40_000]), [40_000]);
    }

    #[test]
    fn partitions_do_not_know_each_other() {
        let failures = failures(1, 10);
        assert_eq!(failures.note_failure(0, 1), None);
        assert_eq!(failures.note_failure(1, 2), None);
        assert!(failures.note_failure(0, 3).is_some());
    }

    #[test]
    fn what_comes_again_counts_once_and_stops_at_the_same_place() {
        let failures = failures(2, 10);
        let run = [-1, -2, 3, -4];
        assert_eq!(stops(&failures, &run), [4]);
        assert_eq!(stops(&failures, &run), [4]);
        // Also when the first ones are long ago.
        let long = self::failures(1, 2);
        let run = [-1, 2, 3, -4, 5, 6, -7, -8];
        assert_eq!(stops(&long, &run), [8]);
        assert_eq!(stops(&long, &run), [8]);
        // It has become better meanwhile.
        assert!(stops(&failures, &[1, -2, 3, -4, 5]).is_empty());
    }

    #[test]
    fn failures_that_are_long_ago_take_no_memory() {
        let failures = failures(3, 4);
        let run: Vec<i64> = (1..=1000)
            .map(|n| if n % 2 == 0 { -n } else { n })
            .collect();
        assert!(stops(&failures, &run).is_empty());
        let held = failures.with(0, |recent| recent.failed.len());
        assert!(held <= 3, "{held}");
    }
}
