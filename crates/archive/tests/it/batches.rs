//! Record batches as a broker would send them.

use armory_records::{BatchBuilder, BatchHeader, BatchOptions, Compression};

/// A run of batches with their headers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Run {
    pub(crate) bytes: Vec<u8>,
    pub(crate) headers: Vec<BatchHeader>,
}

impl Run {
    pub(crate) fn extend(&mut self, other: &Run) {
        self.bytes.extend_from_slice(&other.bytes);
        self.headers.extend_from_slice(&other.headers);
    }
}

/// How the batches of a run look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) records: i64,
    pub(crate) value_bytes: usize,
    pub(crate) compression: Compression,
    pub(crate) epoch: i32,
    /// The timestamp of offset 0; each further offset is one ms later.
    pub(crate) time: i64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            records: 3,
            value_bytes: 20,
            compression: Compression::None,
            epoch: 1,
            time: 1_000_000,
        }
    }
}

/// One batch that begins at `base`.
pub(crate) fn batch(base: i64, shape: Shape) -> Run {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: base,
        partition_leader_epoch: shape.epoch,
        compression: shape.compression,
        ..BatchOptions::default()
    });
    for offset in base..base + shape.records {
        let value: Vec<u8> = (0..shape.value_bytes)
            .map(|i| (i as i64 ^ offset) as u8)
            .collect();
        let key = offset.to_string();
        let headers = [(&b"h"[..], Some(&b"1"[..])), (&b"h"[..], None)];
        builder.append(
            offset,
            shape.time + offset,
            Some(key.as_bytes()),
            Some(&value),
            headers,
        );
    }
    let mut bytes = Vec::new();
    let header = builder.finish(&mut bytes).unwrap();
    Run {
        bytes,
        headers: vec![header],
    }
}

/// `count` batches that follow each other from `base`.
pub(crate) fn run(base: i64, count: i64, shape: Shape) -> Run {
    let mut run = Run::default();
    for number in 0..count {
        run.extend(&batch(base + number * shape.records, shape));
    }
    run
}
