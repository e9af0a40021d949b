//! Any records through a batch and back, with every codec.
#![no_main]

use arbitrary::Arbitrary;
use armory_records::{Batch, BatchBuilder, BatchOptions, Compression, DecodeBuffer};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Given<'a> {
    hole_before: u16,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

fuzz_target!(|input: (u8, u32, Vec<Given<'_>>)| {
    use Compression::{Gzip, Lz4, None, Snappy, Zstd};
    let (codec, base_offset, given) = input;
    if given.is_empty() {
        return;
    }
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: base_offset.into(),
        compression: [None, Gzip, Snappy, Lz4, Zstd][usize::from(codec) % 5],
        ..BatchOptions::default()
    });
    let mut next = i64::from(base_offset);
    for record in &given {
        let offset = next + i64::from(record.hole_before);
        builder.append(
            offset,
            record.timestamp,
            record.key,
            record.value,
            record.headers.iter().copied(),
        );
        next = offset + 1;
    }
    let bound = builder.size_bound();
    let mut out = Vec::new();
    let header = builder.finish(&mut out).unwrap();
    assert!(out.len() <= bound);

    let batch = Batch::parse(&out).unwrap();
    assert_eq!(*batch.header(), header);
    batch.verify_crc().unwrap();
    assert_eq!(header.next_offset(), next);
    let mut scratch = DecodeBuffer::new();
    let mut records = batch.decode(&mut scratch).unwrap();
    let mut next = i64::from(base_offset);
    for expect in &given {
        let record = records.next().unwrap().unwrap();
        assert_eq!(record.offset, next + i64::from(expect.hole_before));
        assert_eq!(record.timestamp, expect.timestamp);
        assert_eq!((record.key, record.value), (expect.key, expect.value));
        assert!(record.headers.iter().eq(expect.headers.iter().copied()));
        next = record.offset + 1;
    }
    assert!(records.next().is_none());
});
