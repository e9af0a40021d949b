//! Runs of record batches.

use armory_records::{
    Batches, DecodeBuffer, ProduceBuilder, encode_for_produce, rewrite_for_produce,
};

const LIMIT: usize = 1 << 20;

/// Any bytes as a run of batches: an answer or an error, never a panic, and never more memory than the limit.
pub fn batches(bytes: &[u8]) {
    let mut scratch = DecodeBuffer::with_limit(LIMIT);
    let mut builder = ProduceBuilder::new(Default::default(), None);
    let mut batches = Batches::new(bytes);
    for batch in &mut batches {
        let Ok(batch) = batch else { break };
        let sound = batch.verify_crc().is_ok();
        if let Ok(records) = batch.decode(&mut scratch) {
            for record in records.flatten() {
                assert!(record.offset >= batch.header().base_offset);
                assert!(record.offset <= batch.header().last_offset());
                assert_eq!(record.headers.iter().count(), record.headers.len());
            }
        }
        let mut out = Vec::new();
        let _ = encode_for_produce(&batch, 1, 2, 3, &mut scratch, &mut builder, &mut out);
        let mut rewritten = batch.bytes().to_vec();
        rewrite_for_produce(&mut rewritten, 1, 2, 3);
        let rewritten = Batches::new(&rewritten).next().unwrap().unwrap();
        if sound {
            rewritten.verify_crc().unwrap();
        }
        assert!(scratch.capacity() <= LIMIT);
    }
    assert_eq!(batches.consumed() + batches.remainder().len(), bytes.len());
}
