//! What goes into a batch comes out of it, whatever it is, and damage is an error and nothing worse.

mod common;

use armory_records::{
    Batch, BatchBuilder, BatchHeader, BatchOptions, Batches, Compression, DecodeBuffer, HEADER_LEN,
    ProduceBuilder, ProduceForm, Record, TimestampType, encode_for_produce, next_sequence,
    produce_form, rewrite_for_produce,
};
use common::raw_batch;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A record as a test gives it; its offset follows from the hole before it.
#[derive(Clone, Debug)]
struct Given {
    hole_before: u32,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Given {
    fn headers(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.headers
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..40),
        1 => vec(any::<u8>(), 0..400),
        1 => (any::<u8>(), 0..20_000usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn given_record() -> impl Strategy<Value = Given> {
    let timestamp = prop_oneof![
        4 => 1_600_000_000_000..1_800_000_000_000i64,
        1 => any::<i64>(),
        1 => Just(-1),
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
    ];
    let hole_before = prop_oneof![6 => Just(0u32), 1 => 1..1000u32, 1 => Just(1 << 25)];
    let headers = vec((vec(any::<u8>(), 0..10), option::of(bytes())), 0..5);
    (
        hole_before,
        timestamp,
        option::of(bytes()),
        option::of(bytes()),
        headers,
    )
        .prop_map(|(hole_before, timestamp, key, value, headers)| Given {
            hole_before,
            timestamp,
            key,
            value,
            headers,
        })
}

fn given_records() -> impl Strategy<Value = Vec<Given>> {
    vec(given_record(), 1..12)
}

fn codec() -> impl Strategy<Value = Compression> {
    use Compression::{Gzip, Lz4, None, Snappy, Zstd};
    proptest::sample::select(&[None, Gzip, Snappy, Lz4, Zstd][..])
}

fn options() -> impl Strategy<Value = BatchOptions> {
    let base_offset = prop_oneof![Just(0), Just(i64::from(u32::MAX)), 0..i64::MAX - (1 << 33)];
    let fields = (
        base_offset,
        any::<u16>(),
        codec(),
        any::<i64>(),
        any::<i16>(),
        any::<i32>(),
        any::<bool>(),
    );
    fields.prop_map(
        |(
            base_offset,
            epoch,
            compression,
            producer_id,
            producer_epoch,
            base_sequence,
            transactional,
        )| BatchOptions {
            base_offset,
            partition_leader_epoch: i32::from(epoch) - 1,
            compression,
            compression_level: None,
            timestamp_type: TimestampType::CreateTime,
            producer_id,
            producer_epoch,
            base_sequence,
            transactional,
        },
    )
}

/// The records at their offsets, and the builder that holds them.
fn fill(options: BatchOptions, records: &[Given]) -> (BatchBuilder, Vec<i64>) {
    let mut builder = BatchBuilder::new(options);
    let mut next = options.base_offset;
    let mut offsets = Vec::new();
    for record in records {
        let offset = next + i64::from(record.hole_before);
        builder.append(
            offset,
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            record.headers(),
        );
        offsets.push(offset);
        next = offset + 1;
    }
    (builder, offsets)
}

fn build(options: BatchOptions, records: &[Given]) -> Vec<u8> {
    let mut out = Vec::new();
    fill(options, records).0.finish(&mut out).unwrap();
    out
}

fn check_record(record: &Record<'_>, given: &Given) {
    assert_eq!(record.timestamp, given.timestamp);
    assert_eq!(record.key, given.key.as_deref());
    assert_eq!(record.value, given.value.as_deref());
    assert_eq!(record.headers.len(), given.headers.len());
    assert!(record.headers.iter().eq(given.headers()));
}

fn check_records(bytes: &[u8], given: &[Given]) {
    let batch = Batch::parse(bytes).unwrap();
    batch.verify_crc().unwrap();
    let mut scratch = DecodeBuffer::new();
    let records: Vec<_> = batch
        .decode(&mut scratch)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(records.len(), given.len());
    for (record, given) in records.iter().zip(given) {
        check_record(record, given);
    }
}

/// Decodes whatever `bytes` holds, within a small limit. Nothing is expected but that it returns.
fn decode_all(bytes: &[u8], scratch: &mut DecodeBuffer) {
    for batch in Batches::new(bytes) {
        let Ok(batch) = batch else { break };
        let _ = batch.verify_crc();
        if let Ok(records) = batch.decode(scratch) {
            for record in records.flatten() {
                assert_eq!(record.headers.iter().count(), record.headers.len());
            }
        }
        assert!(scratch.capacity() <= LIMIT);
    }
}

const LIMIT: usize = 100_000;

proptest! {
    #[test]
    fn every_field_comes_back(options in options(), given in given_records(), beyond in 0..1000i64) {
        let (mut builder, offsets) = fill(options, &given);
        let last_offset = offsets.last().unwrap() + beyond;
        builder.set_last_offset(last_offset);
        let estimated = builder.estimated_size();
        let bound = builder.size_bound();
        let mut out = b"before".to_vec();
        let header = builder.finish(&mut out).unwrap();
        let bytes = &out[6..];

        prop_assert_eq!(BatchHeader::parse(bytes).unwrap(), header);
        prop_assert_eq!(header.size(), bytes.len());
        prop_assert!(bytes.len() <= bound);
        if options.compression == Compression::None {
            prop_assert_eq!(bytes.len(), estimated);
        }
        prop_assert_eq!(header.base_offset, options.base_offset);
        prop_assert_eq!(header.last_offset(), last_offset);
        prop_assert_eq!(header.partition_leader_epoch, options.partition_leader_epoch);
        prop_assert_eq!(header.attributes.compression().unwrap(), options.compression);
        prop_assert_eq!(header.attributes.timestamp_type(), TimestampType::CreateTime);
        prop_assert_eq!(header.attributes.is_transactional(), options.transactional);
        prop_assert!(!header.attributes.is_control() && !header.attributes.has_delete_horizon());
        prop_assert_eq!(header.max_timestamp, given.iter().map(|record| record.timestamp).max().unwrap());
        prop_assert_eq!(header.producer_id, options.producer_id);
        prop_assert_eq!(header.producer_epoch, options.producer_epoch);
        prop_assert_eq!(header.base_sequence, options.base_sequence);
        prop_assert_eq!(header.record_count as usize, given.len());
        check_records(bytes, &given);

        let mut scratch = DecodeBuffer::new();
        let records = Batch::parse(bytes).unwrap().decode(&mut scratch).unwrap();
        let read: Vec<i64> = records.map(|record| record.unwrap().offset).collect();
        prop_assert_eq!(read, offsets);
        // A builder begins anew with the same options.
        prop_assert!(builder.is_empty());
        prop_assert_eq!(builder.options(), &options);
    }

    #[test]
    fn records_are_copied_as_they_are(options in options(), given in given_records()) {
        let bytes = build(options, &given);
        let mut scratch = DecodeBuffer::new();
        let mut builder = BatchBuilder::default();
        builder.reset(options);
        for record in Batch::parse(&bytes).unwrap().decode(&mut scratch).unwrap() {
            builder.append_record(&record.unwrap());
        }
        let mut copy = Vec::new();
        builder.finish(&mut copy).unwrap();
        prop_assert_eq!(copy, bytes);
    }

    #[test]
    fn a_new_header_for_produce_is_the_one_that_would_be_built(
        options in options(), mut given in given_records(), id: i64, epoch: i16, sequence: i32,
    ) {
        given.iter_mut().for_each(|record| record.hole_before = 0);
        let mut bytes = build(options, &given);
        prop_assert_eq!(produce_form(&BatchHeader::parse(&bytes).unwrap()), ProduceForm::AsIs);
        rewrite_for_produce(&mut bytes, id, epoch, sequence);

        let expect = BatchOptions {
            compression: options.compression,
            producer_id: id,
            producer_epoch: epoch,
            base_sequence: sequence,
            ..BatchOptions::default()
        };
        prop_assert_eq!(bytes, build(expect, &given));
    }

    #[test]
    fn damage_is_not_signed_over(options in options(), given in given_records(), at: prop::sample::Index, bit in 0..8u8) {
        let mut bytes = build(options, &given);
        let at = 23 + at.index(bytes.len() - 23);
        bytes[at] ^= 1 << bit;
        let checksum_of = |bytes: &[u8]| Batch::parse(bytes).map(|batch| batch.verify_crc().is_err());
        // What is damaged in a field that is rewritten is gone afterwards; that much is not restored.
        let rewritten = (43..57).contains(&at);
        rewrite_for_produce(&mut bytes, 1, 2, 3);
        if !rewritten {
            prop_assert!(checksum_of(&bytes).unwrap_or(true));
        }
    }

    #[test]
    fn encoding_for_produce_closes_holes(options in options(), given in given_records()) {
        let bytes = build(options, &given);
        let mut scratch = DecodeBuffer::new();
        let mut builder = ProduceBuilder::new(Compression::None, None);
        builder.append(0, None, Some(b"dropped"), []);
        let mut out = Vec::new();
        let batch = Batch::parse(&bytes).unwrap();
        let header = encode_for_produce(&batch, 5, 6, 7, &mut scratch, &mut builder, &mut out).unwrap();
        prop_assert_eq!(produce_form(&header), ProduceForm::AsIs);
        prop_assert_eq!(header.missing_offsets(), 0);
        prop_assert_eq!(header.attributes.compression().unwrap(), options.compression);
        prop_assert!(!header.attributes.is_transactional());
        check_records(&out, &given);
    }

    #[test]
    fn merged_batches_hold_all_records(
        first in (options(), given_records()), second in (options(), given_records()), codec in codec(),
    ) {
        let mut scratch = DecodeBuffer::new();
        let mut builder = ProduceBuilder::new(codec, None);
        for (options, given) in [&first, &second] {
            let bytes = build(*options, given);
            builder.append_batch(&Batch::parse(&bytes).unwrap(), &mut scratch).unwrap();
        }
        let bound = builder.size_bound();
        let mut out = Vec::new();
        let header = builder.finish(1, 2, 3, &mut out).unwrap();
        prop_assert!(out.len() <= bound);
        prop_assert_eq!(produce_form(&header), ProduceForm::AsIs);
        check_records(&out, &[first.1, second.1].concat());
    }

    #[test]
    fn a_run_that_is_cut_off_gives_its_whole_batches(
        batches in vec((options(), given_records()), 1..4), cut: prop::sample::Index,
    ) {
        let batches: Vec<Vec<u8>> = batches.iter().map(|(options, given)| build(*options, given)).collect();
        let run = batches.concat();
        let cut = &run[..cut.index(run.len() + 1)];
        let mut iter = Batches::new(cut);
        let mut consumed = 0;
        for expect in &batches {
            if cut.len() < consumed + expect.len() {
                break;
            }
            prop_assert_eq!(iter.next().unwrap().unwrap().bytes(), &expect[..]);
            consumed += expect.len();
            prop_assert_eq!(iter.consumed(), consumed);
        }
        prop_assert!(iter.next().is_none());
        prop_assert_eq!(iter.consumed(), consumed);
        prop_assert_eq!(iter.remainder(), &cut[consumed..]);
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in vec(any::<u8>(), 0..200)) {
        let mut scratch = DecodeBuffer::with_limit(LIMIT);
        let _ = BatchHeader::parse(&bytes);
        decode_all(&bytes, &mut scratch);
    }

    #[test]
    fn any_header_is_an_answer(mut bytes in vec(any::<u8>(), HEADER_LEN..200), length in 0..300i32) {
        bytes[0] &= 0x7f;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        let mut scratch = DecodeBuffer::with_limit(LIMIT);
        decode_all(&bytes, &mut scratch);
        if let Ok(header) = BatchHeader::parse(&bytes) {
            prop_assert!(header.next_offset() > header.base_offset);
            prop_assert!(header.missing_offsets() >= 0);
            let mut written = bytes.clone();
            header.write(&mut written);
            prop_assert_eq!(written, bytes);
        }
    }

    #[test]
    fn any_payload_is_an_answer(codec in codec(), count in 0..100i32, payload in vec(any::<u8>(), 0..500)) {
        let mut scratch = DecodeBuffer::with_limit(LIMIT);
        decode_all(&raw_batch(codec, count, &payload), &mut scratch);
    }

    #[test]
    fn any_damage_is_an_answer(
        options in options(), given in given_records(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
    ) {
        let mut bytes = build(options, &given);
        for (at, byte) in damage {
            let at = HEADER_LEN + at.index(bytes.len() - HEADER_LEN);
            bytes[at] = byte;
        }
        decode_all(&bytes, &mut DecodeBuffer::with_limit(LIMIT));
    }

    #[test]
    fn sequences_never_leave_their_range(base in 0..=i32::MAX, count in 1..=i32::MAX) {
        let expect = (i64::from(base) + i64::from(count)) % (1 << 31);
        prop_assert_eq!(i64::from(next_sequence(base, count)), expect);
    }
}
