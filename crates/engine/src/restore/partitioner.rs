//! Kafka's default partitioner, for records whose plugin leaves the choice open.

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

/// `Utils.murmur2` of Kafka's Java client.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    const SEED: u32 = 0x9747_b28c;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `UtilsTest.testMurmur2` in Kafka's own tests.
    #[test]
    fn murmur2_is_kafkas() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in cases {
            assert_eq!(
                murmur2(key).cast_signed(),
                expected,
                "{}",
                String::from_utf8_lossy(key)
            );
        }
    }

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
