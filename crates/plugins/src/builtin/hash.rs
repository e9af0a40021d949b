//! The hashes by which partitions are chosen, each as the client that is known for it does.

/// How bytes become a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashAlgorithm {
    /// Kafka's own: `Utils.murmur2`, made positive by clearing the sign (`BuiltInPartitioner.partitionForKey`).
    #[default]
    Murmur2,
    /// FNV-1a of 32 bits, made positive as Sarama and librdkafka's `fnv1a` do: a negative one is negated.
    Fnv1a,
    /// CRC-32 (that of zlib), without a sign, as librdkafka's `consistent`.
    Crc32,
}

impl HashAlgorithm {
    /// The partition of some bytes, of so many.
    pub(super) fn partition(self, bytes: &[u8], partitions: i32) -> i32 {
        let hash = match self {
            Self::Murmur2 => murmur2(bytes) & 0x7fff_ffff,
            Self::Fnv1a => fnv1a(bytes).cast_signed().unsigned_abs(),
            Self::Crc32 => crc32fast::hash(bytes),
        };
        let partitions = u32::try_from(partitions).expect("a topic has partitions");
        i32::try_from(hash % partitions).expect("less than the partitions")
    }
}

/// `Utils.murmur2` of Kafka's Java client.
pub fn murmur2(data: &[u8]) -> u32 {
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

/// FNV-1a of 32 bits (draft-eastlake-fnv).
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
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
            let key_text = String::from_utf8_lossy(key);
            assert_eq!(murmur2(key).cast_signed(), expected, "{key_text}");
        }
    }

    /// The test vectors of draft-eastlake-fnv, and the check value of CRC-32.
    #[test]
    fn other_hashes_are_what_their_names_say() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn signs_are_taken_away_as_clients_do() {
        // All three hashes have their highest bit set.
        let partition = |algorithm: HashAlgorithm, bytes| algorithm.partition(bytes, 1000);
        let murmur2_of_21 = i32::try_from((-973_932_308_i64 & 0x7fff_ffff) % 1000);
        assert_eq!(Ok(partition(HashAlgorithm::Murmur2, b"21")), murmur2_of_21);
        let fnv1a_of_a = i32::try_from((0x1_0000_0000_u64 - 0xe40c_292c) % 1000);
        assert_eq!(Ok(partition(HashAlgorithm::Fnv1a, b"a")), fnv1a_of_a);
        let crc32_of_digits = i32::try_from(0xcbf4_3926_u32 % 1000);
        assert_eq!(
            Ok(partition(HashAlgorithm::Crc32, b"123456789")),
            crc32_of_digits
        );
    }
}
