//! `topic-repartitioning`

use super::TargetFacts;
use super::hash::{HashAlgorithm, murmur2};
use crate::host::contract::GuestRecord;

/// How a record's partition is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repartitioning {
    /// By the default partitioner.
    Automatic,
    /// By a hash of the key. A record without a key goes to the default partitioner; an empty key is one.
    KeyHash(Hashing),
    /// By a hash of a header's value: of the last one of that name. A record that has none, or one without value, goes to the
    /// default partitioner.
    HeaderHash {
        /// The header's name.
        name: String,
        /// The hash.
        hashing: Hashing,
    },
    /// By chance, which is the same at every attempt: it comes from the source partition and the offset.
    Random {
        /// As in [`Hashing::partitions`].
        partitions: Option<i32>,
    },
    /// In turn: the records of a source partition go round by their offsets.
    RoundRobin {
        /// As in [`Hashing::partitions`].
        partitions: Option<i32>,
    },
}

/// A hash, and over how many partitions it spreads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hashing {
    /// How bytes become a number.
    pub algorithm: HashAlgorithm,
    /// How many partitions, at least 1; the target is asked to have as many. `None` is as many as it has.
    pub partitions: Option<i32>,
}

impl Repartitioning {
    /// How many partitions the target is to have.
    pub(super) fn partitions(&self) -> Option<i32> {
        match self {
            Self::Automatic => None,
            Self::KeyHash(hashing) | Self::HeaderHash { hashing, .. } => hashing.partitions,
            Self::Random { partitions } | Self::RoundRobin { partitions } => *partitions,
        }
    }

    /// The partition of a record; `None` leaves the choice to the default partitioner.
    pub(super) fn partition(
        &self,
        target: TargetFacts,
        record: &GuestRecord<'_>,
    ) -> Result<Option<i32>, String> {
        let count = || {
            self.partitions()
                .or(target.partitions)
                .filter(|count| *count > 0)
                .ok_or_else(|| "the number of the target's partitions is not known".to_owned())
        };
        let hashed = |hashing: &Hashing, bytes: Option<&[u8]>| match bytes {
            Some(bytes) => Ok(Some(hashing.algorithm.partition(bytes, count()?))),
            None => Ok(None),
        };
        match self {
            Self::Automatic => Ok(None),
            Self::KeyHash(hashing) => hashed(hashing, record.key),
            Self::HeaderHash { name, hashing } => {
                let mut headers = record.headers.iter().rev();
                let value = headers
                    .find(|(key, _)| key == name)
                    .and_then(|(_, value)| *value);
                hashed(hashing, value)
            }
            Self::Random { .. } => {
                let mut place = [0; 12];
                place[..4].copy_from_slice(&source_partition(record).to_be_bytes());
                place[4..].copy_from_slice(&record.offset.to_be_bytes());
                let hash = murmur2(&place);
                Ok(Some(modulo(i64::from(hash), count()?)))
            }
            Self::RoundRobin { .. } => {
                let turn = record.offset.wrapping_add(source_partition(record).into());
                Ok(Some(modulo(turn, count()?)))
            }
        }
    }
}

/// Where the record comes from, unless a plugin before this one has sent it elsewhere.
fn source_partition(record: &GuestRecord<'_>) -> i32 {
    record.partition.unwrap_or(0)
}

fn modulo(number: i64, count: i32) -> i32 {
    i32::try_from(number.rem_euclid(count.into())).expect("less than the count")
}
