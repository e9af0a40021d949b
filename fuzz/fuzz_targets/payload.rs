//! Any bytes as the payload of a batch, with each codec: deeper into the codecs and the records than whole batches get.
#![no_main]

use armory_records::{
    Attributes, Batch, BatchHeader, Compression, DecodeBuffer, HEADER_LEN, LOG_OVERHEAD,
};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 20;

fuzz_target!(|input: (u8, u16, &[u8])| {
    use Compression::{Gzip, Lz4, None, Snappy, Zstd};
    let (codec, record_count, payload) = input;
    let header = BatchHeader {
        base_offset: 1000,
        batch_length: (HEADER_LEN - LOG_OVERHEAD + payload.len()) as i32,
        partition_leader_epoch: 0,
        magic: BatchHeader::MAGIC,
        crc: 0,
        attributes: Attributes::default()
            .with_compression([None, Gzip, Snappy, Lz4, Zstd][usize::from(codec) % 5]),
        last_offset_delta: i32::from(u16::MAX),
        base_timestamp: i64::MAX,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: record_count.into(),
    };
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend_from_slice(payload);
    header.write(&mut bytes);
    let mut scratch = DecodeBuffer::with_limit(LIMIT);
    if let Ok(records) = Batch::parse(&bytes).unwrap().decode(&mut scratch) {
        for record in records.flatten() {
            assert_eq!(record.headers.iter().count(), record.headers.len());
        }
    }
    assert!(scratch.capacity() <= LIMIT);
});
