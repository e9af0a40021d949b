use armory_records::{BatchBuilder, BatchOptions, Batches, TimestampType};
use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::*;

/// One batch of an archive.
#[derive(Debug, Clone)]
struct Spec {
    /// Offsets between the batch before and this one that are recorded as a gap.
    gap: i64,
    /// The step between offsets: above 1 the batch has holes.
    step: i64,
    timestamps: Vec<i64>,
    value_bytes: usize,
    compression: Compression,
    append_time: bool,
}

fn specs() -> impl Strategy<Value = Vec<Spec>> {
    let timestamp = prop_oneof![4 => 1_600_000_000_000..1_700_000_000_000_i64, 1 => Just(-1), 1 => Just(i64::MAX)];
    let spec = (
        prop_oneof![5 => Just(0), 1 => 1..50_i64],
        prop_oneof![5 => Just(1), 1 => 2..4_i64],
        prop::collection::vec(timestamp, 1..20),
        prop_oneof![8 => 0..3000_usize, 1 => 3000..20_000_usize],
        prop_oneof![4 => Just(Compression::None), 1 => Just(Compression::Lz4), 1 => Just(Compression::Zstd), 1 => Just(Compression::Gzip)],
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |(gap, step, timestamps, value_bytes, compression, append_time)| Spec {
                gap,
                step,
                timestamps,
                value_bytes,
                compression,
                append_time,
            },
        );
    prop::collection::vec(spec, 1..60)
}

fn encode(specs: &[Spec]) -> Vec<Vec<u8>> {
    let mut next = 0;
    let batch = |spec: &Spec| {
        next += spec.gap;
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: next,
            partition_leader_epoch: 3,
            compression: spec.compression,
            timestamp_type: if spec.append_time {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            producer_id: 77,
            producer_epoch: 1,
            base_sequence: 5,
            ..BatchOptions::default()
        });
        for timestamp in &spec.timestamps {
            let timestamp = if spec.append_time { 1000 } else { *timestamp };
            let value = vec![b'v'; spec.value_bytes];
            let key = next.to_be_bytes();
            let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", None), (b"h", Some(b""))];
            builder.append(next, timestamp, Some(&key), Some(&value), headers);
            next += spec.step;
        }
        let mut out = Vec::new();
        builder.finish(&mut out).expect("it can be encoded");
        out
    };
    specs.iter().map(batch).collect()
}

/// Everything of a record that must survive.
type Kept = (
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

fn records(bytes: &[u8]) -> Vec<Kept> {
    let mut scratch = DecodeBuffer::default();
    let mut all = Vec::new();
    for batch in Batches::new(bytes) {
        let batch = batch.expect("a batch");
        batch.verify_crc().expect("its checksum is right");
        for record in batch.decode(&mut scratch).expect("it can be decoded") {
            let record = record.expect("a record");
            let headers = record.headers.iter();
            all.push((
                record.timestamp,
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
                headers
                    .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
                    .collect(),
            ));
        }
    }
    all
}

const PRODUCER: Producer = Producer { id: 4711, epoch: 2 };

fn credit() -> Arc<OwnedSemaphorePermit> {
    let semaphore = Arc::new(Semaphore::new(1));
    Arc::new(semaphore.try_acquire_owned().expect("it is free"))
}

fn making(from: u64, max_batch_bytes: usize) -> Making {
    Making {
        producer: PRODUCER,
        from,
        max_batch_bytes,
        offset_header: None,
    }
}

fn prepare(chunks: &[Vec<u8>], from: u64, max_batch_bytes: usize) -> Vec<Prepared> {
    let mut preparer = Preparer::new(making(from, max_batch_bytes));
    let prepare = |chunk: &Vec<u8>| {
        preparer
            .prepare(Bytes::from(chunk.clone()), &credit())
            .expect("it is sound")
    };
    chunks.iter().flat_map(prepare).collect()
}

proptest! {
    #[test]
    fn every_record_lands_once_in_order_with_the_right_sequence(
        specs in specs(),
        per_chunk in 1..20_usize,
        landed in 0..300_u64,
        max in 25_000..400_000_usize,
    ) {
        let batches = encode(&specs);
        let chunks: Vec<Vec<u8>> = batches.chunks(per_chunk).map(<[_]>::concat).collect();
        let wanted = records(&batches.concat());
        let from = landed.min(wanted.len() as u64);
        let prepared = prepare(&chunks, from, max);

        let mut found = Vec::new();
        let mut ordinal = from;
        for batch in &prepared {
            let parsed = Batch::parse(&batch.records).expect("a batch");
            let header = parsed.header();
            prop_assert_eq!(produce_form(header), ProduceForm::AsIs);
            prop_assert_eq!(header.size(), batch.records.len(), "one batch");
            prop_assert_eq!((header.producer_id, header.producer_epoch), (PRODUCER.id, PRODUCER.epoch));
            prop_assert_eq!(header.base_sequence, sequence(ordinal));
            prop_assert_eq!((batch.first, batch.count), (ordinal, u64::from(header.record_count.unsigned_abs())));
            ordinal = batch.next();
            found.extend(records(&batch.records));
        }
        prop_assert_eq!(ordinal, wanted.len() as u64);
        prop_assert!(found == wanted[usize::try_from(from).expect("it is small")..]);
        // Larger batches are split; no record is larger than the lowest limit.
        prop_assert!(prepared.iter().all(|batch| batch.records.len() <= max));
    }
}

fn plain(count: usize, value_bytes: usize) -> Spec {
    Spec {
        gap: 0,
        step: 1,
        timestamps: vec![1; count],
        value_bytes,
        compression: Compression::None,
        append_time: false,
    }
}

#[test]
fn small_neighbours_become_one_batch() {
    let batches = encode(&vec![plain(10, 1000); 100]);
    let prepared = prepare(&[batches.concat()], 0, 1 << 20);
    assert!(
        (4..=6).contains(&prepared.len()),
        "1 MB in batches of 256 KiB: {}",
        prepared.len()
    );
    assert_eq!(prepare(&[batches.concat()], 0, 15_000).len(), 100);
}

#[test]
fn what_would_cost_more_than_it_saves_is_left_alone() {
    let compressed = Spec {
        compression: Compression::Gzip,
        ..plain(5, 100)
    };
    let many = plain(600, 1);
    let large = plain(1, 100_000);
    for spec in [compressed, many, large] {
        let batches = encode(&vec![spec; 10]);
        assert_eq!(prepare(&[batches.concat()], 0, 1 << 20).len(), 10);
    }
}

#[test]
fn codecs_are_kept_and_not_mixed() {
    let lz4 = Spec {
        compression: Compression::Lz4,
        ..plain(5, 100)
    };
    let batches = encode(&[lz4.clone(), lz4, plain(5, 100), plain(5, 100)]);
    let prepared = prepare(&[batches.concat()], 0, 1 << 20);
    let codecs: Vec<_> = prepared
        .iter()
        .map(|batch| {
            let batch = Batch::parse(&batch.records).expect("a batch");
            batch.header().attributes.compression()
        })
        .collect();
    assert_eq!(codecs, [Ok(Compression::Lz4), Ok(Compression::None)]);
}

#[test]
fn what_is_very_compressible_takes_no_memory_without_a_bound() {
    let zeros = Spec {
        compression: Compression::Zstd,
        ..plain(100, 10_000)
    };
    let batches = encode(&vec![zeros; 20]);
    let prepared = prepare(&[batches.concat()], 0, 1 << 20);
    // 20 MB before compression, in pieces of 2 to 3 MB.
    assert!((7..=10).contains(&prepared.len()), "{}", prepared.len());
    assert_eq!(prepared.iter().map(|batch| batch.count).sum::<u64>(), 2000);
}

#[test]
fn batches_beyond_the_end_are_left_out() {
    let batches = encode(&vec![plain(3, 10); 4]).concat();
    let mut preparer = Preparer::new(making(0, 1 << 20));
    preparer.select(Selection {
        offsets: 0..6,
        time: TimeRange::default(),
    });
    let prepared = preparer.prepare(batches.into(), &credit());
    assert_eq!(prepared.expect("it is sound")[0].count, 6);
    assert_eq!(preparer.ordinal(), 6);
}
