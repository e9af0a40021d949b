//! Work groups: which of several workers reads which partition.
//!
//! Every worker computes it for itself, by rendezvous hashing (highest random weight): for a partition each worker gets a
//! weight, a hash of the seed, the topic, the partition and the worker, and the highest one has it. So each partition has exactly
//! one owner, one big topic is spread like many small ones, and another number of workers moves only what has to move.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Workers that share a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkGroup {
    /// How many, 1 to 16.
    pub workers: u32,
    /// Another seed spreads the partitions differently.
    pub seed: u32,
}

impl WorkGroup {
    /// `spec.workGroup.workers` goes up to this.
    pub const MOST_WORKERS: u32 = 16;

    /// The worker, counted from 0, that reads a partition.
    ///
    /// Weights are the first eight bytes, in big-endian order, of the BLAKE3 hash of: seed (4 bytes), partition (4), worker (4),
    /// all big-endian, and the topic's name. They must never change: the workers of one group may be of different versions.
    pub fn owner(&self, topic: &str, partition: i32) -> u32 {
        let weight = |worker: u32| {
            let mut hash = blake3::Hasher::new();
            hash.update(&self.seed.to_be_bytes());
            hash.update(&partition.to_be_bytes());
            hash.update(&worker.to_be_bytes());
            hash.update(topic.as_bytes());
            let mut weight = [0; 8];
            weight.copy_from_slice(&hash.finalize().as_bytes()[..8]);
            u64::from_be_bytes(weight)
        };
        let workers = 0..self.workers.max(1);
        workers.max_by_key(|worker| weight(*worker)).unwrap_or(0)
    }
}

/// One worker of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Its number, from 0 on.
    pub index: u32,
    /// The group.
    pub group: WorkGroup,
    /// The generation of the group: a number that grows whenever the partitions are dealt out anew. Workers of a lower one give
    /// way. `None`: who starts later wins.
    pub generation: Option<u64>,
}

impl Worker {
    /// Is the partition this worker's?
    pub fn owns(&self, topic: &str, partition: i32) -> bool {
        self.group.owner(topic, partition) == self.index
    }
}

/// `0/3`: the first of three.
impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.group.workers)
    }
}

/// Reads what [`Worker`]'s `Display` writes; the seed is 0 and the generation is left open.
impl FromStr for Worker {
    type Err = String;

    fn from_str(text: &str) -> Result<Worker, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(index, workers)| Some((index.parse().ok()?, workers.parse().ok()?)));
        let Some((index, workers)) = parsed else {
            return Err("expected INDEX/WORKERS, e.g. 0/3 for the first of three".to_owned());
        };
        if !(1..=WorkGroup::MOST_WORKERS).contains(&workers) {
            return Err(format!(
                "there can be 1 to {} workers",
                WorkGroup::MOST_WORKERS
            ));
        }
        if index >= workers {
            return Err(format!(
                "workers count from 0, so the last of {workers} is {}",
                workers - 1
            ));
        }
        Ok(Worker {
            index,
            group: WorkGroup { workers, seed: 0 },
            generation: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARTITIONS: i32 = 2000;

    fn owners(workers: u32, seed: u32, topic: &str) -> Vec<u32> {
        let group = WorkGroup { workers, seed };
        (0..PARTITIONS)
            .map(|partition| group.owner(topic, partition))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

        /// Exactly one of the workers takes a partition, and each has about as many as the others.
        #[test]
        fn every_partition_has_one_owner(workers in 1..=16_u32, seed in 0..=i32::MAX as u32, topic in "[a-z.]{1,20}") {
            let mut counts = vec![0; workers as usize];
            let group = WorkGroup { workers, seed };
            for (partition, owner) in (0..).zip(owners(workers, seed, &topic)) {
                counts[owner as usize] += 1;
                let takers = (0..workers).filter(|index| Worker { index: *index, group, generation: None }.owns(&topic, partition));
                prop_assert_eq!(takers.collect::<Vec<_>>(), [owner]);
            }
            let fair = PARTITIONS / workers as i32;
            prop_assert!(counts.iter().all(|count| (fair / 2..=fair * 2).contains(count)), "{:?}", counts);
        }

        /// One more worker takes its share and leaves everything else where it was; one less gives only its own away.
        #[test]
        fn another_number_of_workers_moves_little(workers in 1..16_u32, seed in 0..=i32::MAX as u32, topic in "[a-z.]{1,20}") {
            let (fewer, more) = (owners(workers, seed, &topic), owners(workers + 1, seed, &topic));
            for (before, after) in fewer.iter().zip(&more) {
                prop_assert!(before == after || *after == workers);
            }
            let moved = fewer.iter().zip(&more).filter(|(before, after)| before != after).count() as i32;
            prop_assert!(moved <= 2 * PARTITIONS / (workers as i32 + 1));
        }

        #[test]
        fn another_seed_spreads_differently(seed in 0..i32::MAX as u32, topic in "[a-z.]{1,20}") {
            prop_assert_ne!(owners(3, seed, &topic), owners(3, seed + 1, &topic));
        }
    }

    /// Workers of different versions must agree.
    #[test]
    fn owners_do_not_change_from_version_to_version() {
        let group = WorkGroup {
            workers: 5,
            seed: 42,
        };
        let owners: Vec<u32> = (0..12)
            .map(|partition| group.owner("orders", partition))
            .collect();
        assert_eq!(owners, OWNERS);
    }

    /// Computed by another implementation of BLAKE3.
    const OWNERS: [u32; 12] = [1, 4, 1, 0, 0, 1, 0, 4, 4, 2, 3, 2];

    #[test]
    fn workers_are_written_as_index_and_number() {
        let worker: Worker = "2/3".parse().unwrap();
        assert_eq!(
            (worker.index, worker.group),
            (
                2,
                WorkGroup {
                    workers: 3,
                    seed: 0
                }
            )
        );
        assert_eq!(worker.to_string(), "2/3");
        for (wrong, words) in [
            ("3/3", "last of 3 is 2"),
            ("0/17", "1 to 16"),
            ("0/0", "1 to 16"),
            ("1", "INDEX/WORKERS"),
            ("-1/3", "INDEX/WORKERS"),
        ] {
            let error = wrong.parse::<Worker>().unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
    }
}
