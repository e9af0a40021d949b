//! Kafka's default partitioner, for records whose plugin leaves the choice open.

use armory_plugins::murmur2;

/// The partition of a key: murmur2, made positive, modulo the number of partitions (`BuiltInPartitioner.partitionForKey`).
pub(crate) fn partition_of_key(key: &[u8], partitions: i32) -> i32 {
    let hash = murmur2(key) & 0x7fff_ffff;
    i32::try_from(hash).expect("31 bits") % partitions
}

/// The partition of records without a key: the same for a chunk, as Kafka's producer stays with one for a batch, and spread over
/// chunks. It depends on nothing but where the chunk lies in its source, so that a restore that is resumed chooses alike.
pub(crate) fn partition_without_key(
    source_partition: i32,
    chunk_from: i64,
    partitions: i32,
) -> i32 {
    let mut place = [0; 12];
    place[..4].copy_from_slice(&source_partition.to_be_bytes());
    place[4..].copy_from_slice(&chunk_from.to_be_bytes());
    partition_of_key(&place, partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_is_in_range() {
        for partitions in [1, 3, 12] {
            for chunk in 0..100 {
                assert!((0..partitions).contains(&partition_without_key(
                    7,
                    chunk * 1000,
                    partitions
                )));
            }
        }
    }
}
