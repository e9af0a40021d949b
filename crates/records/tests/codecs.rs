//! What other clients than Java's write, and what nobody should: bombs, cut-off data, unknown codecs.

mod common;

use std::io::Write;

use armory_records::{Batch, BatchBuilder, BatchError, BatchOptions, Compression, DecodeBuffer};
use common::raw_batch;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

const CODECS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// Encoded records that fill several blocks of every codec, and how many there are.
fn records() -> (Vec<u8>, i32) {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let mut noise: u32 = 1;
    for offset in 0..40 {
        let value: Vec<u8> = (0..12_000)
            .map(|index| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Some of it compresses, some does not, and some repeats what lies a block back.
                if index % 100 < 30 {
                    (noise >> 24) as u8
                } else {
                    (index % 251) as u8
                }
            })
            .collect();
        builder.append(offset, 0, None, Some(&value), []);
    }
    let mut batch = Vec::new();
    let header = builder.finish(&mut batch).unwrap();
    (batch.split_off(61), header.record_count)
}

#[track_caller]
fn check(codec: Compression, payload: &[u8]) {
    let (records, count) = records();
    let uncompressed = raw_batch(Compression::None, count, &records);
    let compressed = raw_batch(codec, count, payload);
    let (mut plain, mut scratch) = (DecodeBuffer::new(), DecodeBuffer::new());
    let expect = Batch::parse(&uncompressed)
        .unwrap()
        .decode(&mut plain)
        .unwrap();
    let batch = Batch::parse(&compressed).unwrap();
    assert!(batch.decode(&mut scratch).unwrap().eq(expect));

    // The limit is exact.
    let mut enough = DecodeBuffer::with_limit(records.len());
    assert_eq!(
        batch.decode(&mut enough).unwrap().flatten().count(),
        count as usize
    );
    let mut short = DecodeBuffer::with_limit(records.len() - 1);
    let refused = BatchError::TooLarge {
        base_offset: 1000,
        codec,
        limit: records.len() - 1,
    };
    assert_eq!(batch.decode(&mut short).unwrap_err(), refused);
    assert!(short.capacity() < records.len());
}

#[test]
fn own_writing() {
    for codec in CODECS {
        let (mut scratch, mut out) = (DecodeBuffer::new(), Vec::new());
        let mut builder = BatchBuilder::new(BatchOptions {
            compression: codec,
            ..BatchOptions::default()
        });
        let (records, count) = records();
        let uncompressed = raw_batch(Compression::None, count, &records);
        for record in Batch::parse(&uncompressed)
            .unwrap()
            .decode(&mut scratch)
            .unwrap()
        {
            builder.append_record_at(
                record.clone().unwrap().offset_delta.into(),
                &record.unwrap(),
            );
        }
        builder.finish(&mut out).unwrap();
        check(codec, &out[61..]);
        assert!(out.len() < records.len());
    }
}

#[test]
fn snappy_as_one_raw_block() {
    check(
        Compression::Snappy,
        &snap::raw::Encoder::new()
            .compress_vec(&records().0)
            .unwrap(),
    );
}

#[test]
fn snappy_streams_that_follow_each_other() {
    let mut payload = Vec::new();
    for part in records().0.chunks(100_000) {
        payload.extend_from_slice(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
        let block = snap::raw::Encoder::new().compress_vec(part).unwrap();
        payload.extend_from_slice(&(block.len() as u32).to_be_bytes());
        payload.extend_from_slice(&block);
    }
    check(Compression::Snappy, &payload);
}

#[test]
fn lz4_frames_of_every_kind() {
    let records = records().0;
    for block_size in [
        BlockSize::Max64KB,
        BlockSize::Max256KB,
        BlockSize::Max1MB,
        BlockSize::Max4MB,
    ] {
        for block_mode in [BlockMode::Independent, BlockMode::Linked] {
            for checksums in [false, true] {
                let info = FrameInfo::new()
                    .block_size(block_size)
                    .block_mode(block_mode)
                    .block_checksums(checksums)
                    .content_checksum(checksums)
                    .content_size(checksums.then_some(records.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&records).unwrap();
                check(Compression::Lz4, &encoder.finish().unwrap());
            }
        }
    }
}

#[test]
fn zstd_with_and_without_a_size() {
    let records = records().0;
    check(
        Compression::Zstd,
        &zstd::bulk::compress(&records, 3).unwrap(),
    );
    check(
        Compression::Zstd,
        &zstd::stream::encode_all(&records[..], 3).unwrap(),
    );
}

#[test]
fn zstd_frames_that_follow_each_other() {
    let frames: Vec<u8> = records()
        .0
        .chunks(100_000)
        .flat_map(|part| zstd::bulk::compress(part, 1).unwrap())
        .collect();
    check(Compression::Zstd, &frames);
}

#[test]
fn gzip_members_that_follow_each_other() {
    let mut payload = Vec::new();
    for part in records().0.chunks(100_000) {
        let mut encoder = flate2::write::GzEncoder::new(payload, flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        payload = encoder.finish().unwrap();
    }
    check(Compression::Gzip, &payload);
}

/// A few KB that decompress to 100 MB.
fn bomb(codec: Compression) -> Vec<u8> {
    let value = vec![0; 100 << 20];
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: codec,
        ..BatchOptions::default()
    });
    builder.append(0, 0, None, Some(&value), []);
    let mut out = Vec::new();
    builder.finish(&mut out).unwrap();
    out
}

#[test]
fn bombs_are_refused_within_the_limit() {
    for codec in CODECS {
        let bytes = bomb(codec);
        assert!(bytes.len() < 10 << 20, "{codec}");
        let mut scratch = DecodeBuffer::with_limit(1 << 20);
        let refused = BatchError::TooLarge {
            base_offset: 0,
            codec,
            limit: 1 << 20,
        };
        assert_eq!(
            Batch::parse(&bytes)
                .unwrap()
                .decode(&mut scratch)
                .unwrap_err(),
            refused
        );
        assert!(scratch.capacity() <= 1 << 20, "{codec}");
    }
}

#[test]
fn promised_sizes_allocate_nothing() {
    // A raw snappy block of 4 GiB − 1 whose data is missing.
    let snappy = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    // A zstd frame whose header tells a content size of 2^62.
    let zstd = [
        0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x58, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0,
    ];
    for (codec, payload) in [
        (Compression::Snappy, &snappy[..]),
        (Compression::Zstd, &zstd),
    ] {
        let mut scratch = DecodeBuffer::new();
        let bytes = raw_batch(codec, 1, payload);
        assert!(Batch::parse(&bytes).unwrap().decode(&mut scratch).is_err());
        assert!(
            scratch.capacity() <= 64 << 10,
            "{codec}: {}",
            scratch.capacity()
        );
    }
}

#[test]
fn cut_off_data_is_an_error() {
    for codec in CODECS {
        let mut whole = Vec::new();
        let mut builder = BatchBuilder::new(BatchOptions {
            compression: codec,
            ..BatchOptions::default()
        });
        builder.append(0, 0, Some(b"key"), Some(&[7; 300]), []);
        builder.finish(&mut whole).unwrap();
        let payload = &whole[61..];
        let mut scratch = DecodeBuffer::new();
        for len in 1..payload.len() {
            let bytes = raw_batch(codec, 1, &payload[..len]);
            let batch = Batch::parse(&bytes).unwrap();
            let failed = match batch.decode(&mut scratch) {
                Ok(mut records) => records.any(|record| record.is_err()),
                Err(error) => matches!(error, BatchError::Compressed { .. }),
            };
            assert!(failed, "{codec} cut off at {len} of {}", payload.len());
        }
    }
}

#[test]
fn unknown_codecs_are_named() {
    let mut bytes = raw_batch(Compression::None, 0, b"");
    bytes[22] = 5;
    let batch = Batch::parse(&bytes).unwrap();
    assert_eq!(
        batch.decode(&mut DecodeBuffer::new()).unwrap_err(),
        BatchError::UnknownCodec { id: 5 }
    );
}

#[track_caller]
fn check_level(compression: Compression, level: i32, fits: bool) {
    let options = BatchOptions {
        compression,
        compression_level: Some(level),
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    builder.append(0, 0, None, Some(b"value"), []);
    let mut out = b"before".to_vec();
    match builder.finish(&mut out) {
        Ok(_) => assert!(fits),
        Err(BatchError::Level {
            codec,
            level: named,
            ..
        }) => {
            assert!(!fits);
            assert_eq!(
                (codec, named, &out[..]),
                (compression, level, &b"before"[..])
            );
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn levels() {
    check_level(Compression::Gzip, 1, true);
    check_level(Compression::Gzip, 9, true);
    check_level(Compression::Gzip, 0, false);
    check_level(Compression::Gzip, 10, false);
    check_level(Compression::Zstd, -131_072, true);
    check_level(Compression::Zstd, 22, true);
    check_level(Compression::Zstd, 23, false);
    check_level(Compression::Snappy, 1, false);
    check_level(Compression::Lz4, 1, false);
    check_level(Compression::None, 1, false);
}
