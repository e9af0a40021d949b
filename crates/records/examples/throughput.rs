//! How many GB of records a second one core checks, rewrites, decodes and builds, for each codec:
//! `cargo run --release -p armory-records --example throughput`. The best of several runs counts, for the machine may be busy.

use std::hint::black_box;
use std::time::{Duration, Instant};

use armory_records::{
    Batch, BatchBuilder, BatchOptions, Compression, DecodeBuffer, rewrite_for_produce,
};

const RECORDS: i64 = 16;
const RECORD_SIZE: usize = 1000;

/// Batches of 16 KB, as a producer fills them by default, with text that compresses to about a third.
fn batch(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions {
        compression,
        ..BatchOptions::default()
    });
    fill(&mut builder, &values());
    let mut out = Vec::new();
    builder.finish(&mut out).expect("the batch is fine");
    out
}

fn values() -> Vec<Vec<u8>> {
    let mut noise: u32 = 1;
    let mut value = || {
        let mut text = Vec::new();
        while text.len() < RECORD_SIZE {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.extend_from_slice(
                format!("{{\"measured\":{},\"unit\":\"kelvin\"}},", noise >> 4).as_bytes(),
            );
        }
        text.truncate(RECORD_SIZE);
        text
    };
    (0..RECORDS).map(|_| value()).collect()
}

fn fill(builder: &mut BatchBuilder, values: &[Vec<u8>]) {
    for (index, value) in values.iter().enumerate() {
        builder.append(
            index as i64,
            1_700_000_000_000 + index as i64,
            Some(b"key"),
            Some(value),
            [],
        );
    }
}

/// Runs `once`, which handles `bytes` bytes, and prints the best of ten rounds.
fn measure(name: &str, bytes: usize, mut once: impl FnMut()) {
    let rounds = 10;
    let best = (0..rounds)
        .map(|_| {
            let (start, mut count) = (Instant::now(), 0_u32);
            while start.elapsed() < Duration::from_millis(30) {
                for _ in 0..16 {
                    once();
                }
                count += 16;
            }
            start.elapsed().as_secs_f64() / f64::from(count)
        })
        .fold(f64::INFINITY, f64::min);
    println!(
        "{name:24} {:8.2} GB/s {:10.2} us",
        bytes as f64 / best / 1e9,
        best * 1e6
    );
}

fn main() {
    let logical = RECORDS as usize * RECORD_SIZE;
    let plain = batch(Compression::None);
    measure("verify_crc", plain.len(), || {
        black_box(Batch::parse(black_box(&plain)))
            .and_then(|batch| batch.verify_crc())
            .expect("the batch is fine");
    });
    let mut rewritten = plain.clone();
    measure("rewrite_for_produce", plain.len(), || {
        rewrite_for_produce(black_box(&mut rewritten), 1, 2, 3)
    });

    for compression in [
        Compression::None,
        Compression::Lz4,
        Compression::Snappy,
        Compression::Zstd,
        Compression::Gzip,
    ] {
        let bytes = batch(compression);
        let mut scratch = DecodeBuffer::new();
        println!("{compression}: {} bytes for {logical}", bytes.len());
        measure("  decode and iterate", logical, || {
            let batch = Batch::parse(black_box(&bytes)).expect("the batch is fine");
            for record in batch.decode(&mut scratch).expect("the batch is fine") {
                black_box(record.expect("the record is fine"));
            }
        });
        let mut builder = BatchBuilder::new(BatchOptions {
            compression,
            ..BatchOptions::default()
        });
        let (values, mut out) = (values(), Vec::new());
        measure("  build", logical, || {
            out.clear();
            fill(&mut builder, black_box(&values));
            builder.finish(&mut out).expect("the batch is fine");
        });
    }
}
