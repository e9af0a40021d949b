//! Batches for tests: proper ones, and ways to spoil them.

use armory_records::{BatchBuilder, BatchHeader, BatchOptions, Compression};

/// A batch as a producer would send it.
#[derive(Debug, Clone)]
pub(crate) struct TestBatch {
    pub(crate) count: i32,
    pub(crate) compression: Compression,
    /// Of the first record, in ms; each further one is a millisecond later. −1: none has one.
    pub(crate) timestamp: i64,
    /// Producer id, epoch and first sequence.
    pub(crate) producer: (i64, i16, i32),
    pub(crate) keys: bool,
    /// Bytes of each value.
    pub(crate) value_size: usize,
}

/// What [`TestBatch::new`] gives the first record: some moment in 2023, well away from any test's present.
pub(crate) const A_TIME: i64 = 1_700_000_000_000;

impl TestBatch {
    pub(crate) fn new(count: i32) -> Self {
        Self {
            count,
            compression: Compression::None,
            timestamp: A_TIME,
            producer: (-1, -1, -1),
            keys: true,
            value_size: 10,
        }
    }

    pub(crate) fn by(self, id: i64, epoch: i16, sequence: i32) -> Self {
        Self {
            producer: (id, epoch, sequence),
            ..self
        }
    }

    pub(crate) fn at(self, timestamp: i64) -> Self {
        Self { timestamp, ..self }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        let mut builder = BatchBuilder::new(BatchOptions {
            compression: self.compression,
            producer_id,
            producer_epoch,
            base_sequence,
            ..BatchOptions::default()
        });
        for offset in 0..i64::from(self.count) {
            let timestamp = if self.timestamp == -1 {
                -1
            } else {
                self.timestamp + offset
            };
            let key = format!("key-{offset}");
            let value = vec![b'v'; self.value_size];
            builder.append(
                offset,
                timestamp,
                self.keys.then_some(key.as_bytes()),
                Some(&value),
                [],
            );
        }
        let mut bytes = Vec::new();
        builder
            .finish(&mut bytes)
            .expect("test records fit into a batch");
        bytes
    }
}

/// `batch` with its header changed and the checksum right again.
pub(crate) fn with_header(batch: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut bytes = batch.to_vec();
    let mut header = BatchHeader::parse(batch).expect("the batch to change is proper");
    change(&mut header);
    header.write(&mut bytes);
    header.crc = crc32c::crc32c(&bytes[21..]);
    header.write(&mut bytes);
    bytes
}
