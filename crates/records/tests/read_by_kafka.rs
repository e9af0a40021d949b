//! Batches written here, read by Apache Kafka's own client. Needs `java` and the folder of Kafka's jars in
//! `ARMORY_KAFKA_LIB`; `cargo xtask test` sets it.
#![cfg(feature = "real")]

mod common;

use std::path::Path;
use std::process::Command;

use armory_records::{
    Batch, BatchBuilder, BatchOptions, Batches, Compression, DecodeBuffer, ProduceBuilder,
    TimestampType, encode_for_produce, rewrite_for_produce,
};
use common::{describe, fixtures};

fn kafka_batches(command: &str, path: &Path) -> String {
    let lib = std::env::var("ARMORY_KAFKA_LIB").expect(
        "ARMORY_KAFKA_LIB must name the folder of Kafka's jars; `cargo xtask test` sets it",
    );
    let output = Command::new("java")
        .arg("-cp")
        .arg(Path::new(&lib).join("*"))
        .arg(fixtures().join("KafkaBatches.java"))
        .arg(command)
        .arg(path)
        .output()
        .expect("java starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// Every kind of record with every codec, holes, both timestamp types, and what compresses into several blocks.
fn written() -> Vec<u8> {
    let mut out = Vec::new();
    let headers: [(&[u8], Option<&[u8]>); 5] = [
        (b"trace", Some(b"1")),
        (b"", Some(b"")),
        (b"trace", None),
        ("Grüße".as_bytes(), Some(&[0, 255])),
        (b"trace", Some(b"1")),
    ];
    let mut noise: u32 = 7;
    let large: Vec<u8> = (0..150_000)
        .map(|index: u32| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if (index / 40_000).is_multiple_of(2) {
                (noise >> 24) as u8
            } else {
                (index / 100) as u8
            }
        })
        .collect();
    for (number, compression) in CODECS.into_iter().enumerate() {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: number as i64 * (1 << 40),
            partition_leader_epoch: 5,
            compression,
            producer_id: 77,
            producer_epoch: 1,
            base_sequence: 12,
            transactional: true,
            ..BatchOptions::default()
        });
        let base = builder.options().base_offset;
        builder.append(
            base + 2,
            1_700_000_000_000,
            Some(b"key"),
            Some(b"value"),
            headers,
        );
        builder.append(base + 3, 0, None, Some(b""), []);
        builder.append(base + 9, 253_402_300_799_999, Some(b""), None, []);
        builder.append(base + 10, -1, Some(b"large"), Some(&large), headers);
        builder.set_last_offset(base + 2_000_000_000);
        builder.finish(&mut out).unwrap();

        builder.reset(BatchOptions {
            base_offset: base + 2_000_000_001,
            compression,
            timestamp_type: TimestampType::LogAppendTime,
            ..BatchOptions::default()
        });
        builder.append(
            base + 2_000_000_001,
            1_700_000_000_000,
            None,
            Some(b"1"),
            [],
        );
        builder.append(
            base + 2_000_000_002,
            1_700_000_000_000,
            None,
            Some(b"2"),
            [],
        );
        builder.finish(&mut out).unwrap();
    }
    for (compression, level) in [
        (Compression::Gzip, 9),
        (Compression::Zstd, -7),
        (Compression::Zstd, 19),
    ] {
        let mut builder = BatchBuilder::new(BatchOptions {
            compression,
            compression_level: Some(level),
            ..BatchOptions::default()
        });
        builder.append(0, 0, None, Some(&large), []);
        builder.finish(&mut out).unwrap();
    }
    out
}

/// Kafka's own batches in the forms that are sent to a broker.
fn produced() -> Vec<u8> {
    let mut out = Vec::new();
    let mut scratch = DecodeBuffer::new();
    for codec in CODECS {
        let mut merged = ProduceBuilder::new(codec, None);
        let mut encoder = ProduceBuilder::new(Compression::None, None);
        let bytes = std::fs::read(fixtures().join(format!("compacted-{codec}.bin"))).unwrap();
        for batch in Batches::new(&bytes) {
            let batch = batch.unwrap();
            merged.append_batch(&batch, &mut scratch).unwrap();
            if batch.header().record_count > 0 {
                encode_for_produce(&batch, 9, 1, 2, &mut scratch, &mut encoder, &mut out).unwrap();
            }
        }
        merged.finish(3, 4, 5, &mut out).unwrap();
        let mut bytes = std::fs::read(fixtures().join(format!("{codec}.bin"))).unwrap();
        let size = Batch::parse(&bytes).unwrap().bytes().len();
        rewrite_for_produce(&mut bytes[..size], 6, 7, 8);
        out.extend_from_slice(&bytes[..size]);
    }
    out
}

#[test]
fn kafka_reads_what_is_written() {
    let batches = [written(), produced()].concat();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("batches.bin");
    std::fs::write(&path, &batches).unwrap();
    assert_eq!(
        kafka_batches("describe", &path),
        describe(&batches).unwrap()
    );
}

#[test]
fn the_fixtures_are_what_kafka_writes() {
    let dir = tempfile::tempdir().unwrap();
    kafka_batches("generate", dir.path());
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "java")
        {
            continue;
        }
        let generated = std::fs::read(dir.path().join(path.file_name().unwrap())).unwrap();
        assert!(
            generated == std::fs::read(&path).unwrap(),
            "{} differs from what Kafka writes",
            path.display()
        );
    }
}
