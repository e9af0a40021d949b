//! Batches that Apache Kafka's own client wrote, read here. `fixtures/KafkaBatches.java` generated them.

mod common;

use armory_records::{
    BatchError, BatchHeader, Batches, DecodeBuffer, EncodeReason, ProduceForm, WithheldReason,
};
use armory_records::{ProduceBuilder, encode_for_produce, produce_form};
use common::{describe, fixtures};

#[track_caller]
fn check(name: &str) {
    let bytes = std::fs::read(fixtures().join(name).with_extension("bin")).unwrap();
    let expect = std::fs::read_to_string(fixtures().join(name).with_extension("tsv")).unwrap();
    assert_eq!(describe(&bytes).unwrap(), expect);
}

#[test]
fn uncompressed() {
    check("none");
    check("compacted-none");
}

#[test]
fn gzip() {
    check("gzip");
    check("compacted-gzip");
}

#[test]
fn snappy() {
    check("snappy");
    check("compacted-snappy");
}

#[test]
fn lz4() {
    check("lz4");
    check("compacted-lz4");
}

#[test]
fn zstd() {
    check("zstd");
    check("compacted-zstd");
}

#[test]
fn log_append_time() {
    check("log-append-time");
}

#[test]
fn transactions() {
    check("transactions");
}

#[test]
fn far_offsets_and_sequences() {
    check("offsets");
}

#[test]
fn old_formats_are_named() {
    for (name, magic) in [("legacy-v0.bin", 0), ("legacy-v1.bin", 1)] {
        let bytes = std::fs::read(fixtures().join(name)).unwrap();
        let mut batches = Batches::new(&bytes);
        let expect = BatchError::LegacyMagic {
            base_offset: 5,
            magic,
        };
        assert_eq!(batches.next().unwrap().unwrap_err(), expect);
        assert!(batches.next().is_none());
    }
}

#[test]
fn every_fixture_is_checked() {
    let mut found: Vec<String> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".bin").map(str::to_owned))
        .collect();
    found.sort();
    let codecs = ["gzip", "lz4", "none", "snappy", "zstd"];
    let mut checked: Vec<String> = codecs
        .iter()
        .map(|codec| format!("compacted-{codec}"))
        .collect();
    checked.extend(codecs.map(str::to_owned));
    checked.extend(
        [
            "legacy-v0",
            "legacy-v1",
            "log-append-time",
            "offsets",
            "transactions",
        ]
        .map(str::to_owned),
    );
    checked.sort();
    assert_eq!(found, checked);
}

fn forms(name: &str) -> Vec<ProduceForm> {
    let bytes = std::fs::read(fixtures().join(name)).unwrap();
    Batches::new(&bytes)
        .map(|batch| produce_form(batch.unwrap().header()))
        .collect()
}

#[test]
fn what_produce_needs() {
    use ProduceForm::{AsIs, Encode, Withheld};
    assert_eq!(forms("zstd.bin"), [AsIs, AsIs, AsIs]);
    assert_eq!(
        forms("compacted-zstd.bin"),
        [
            Encode(EncodeReason::Holes),
            Withheld(WithheldReason::Empty),
            Encode(EncodeReason::Holes),
            AsIs
        ]
    );
    assert_eq!(
        forms("log-append-time.bin"),
        [Encode(EncodeReason::LogAppendTime); 2]
    );
    let control = Withheld(WithheldReason::Control);
    assert_eq!(forms("transactions.bin"), [AsIs, control, control]);
}

/// The records of all batches: timestamp, key, value, headers.
fn records(bytes: &[u8]) -> Vec<String> {
    let mut scratch = DecodeBuffer::new();
    let mut all = Vec::new();
    for batch in Batches::new(bytes) {
        for record in batch.unwrap().decode(&mut scratch).unwrap() {
            let record = record.unwrap();
            all.push(format!(
                "{} {:?} {:?} {:?}",
                record.timestamp, record.key, record.value, record.headers
            ));
        }
    }
    all
}

#[test]
fn encoding_for_produce_keeps_the_records() {
    for name in [
        "compacted-none",
        "compacted-gzip",
        "compacted-snappy",
        "compacted-lz4",
        "compacted-zstd",
        "log-append-time",
    ] {
        let bytes = std::fs::read(fixtures().join(name).with_extension("bin")).unwrap();
        let mut scratch = DecodeBuffer::new();
        let mut builder = ProduceBuilder::new(Default::default(), None);
        let mut out = Vec::new();
        let mut sequence = 0;
        for batch in Batches::new(&bytes) {
            let batch = batch.unwrap();
            let header = *batch.header();
            if header.record_count == 0 {
                continue;
            }
            let start = out.len();
            let encoded = encode_for_produce(
                &batch,
                77,
                3,
                sequence,
                &mut scratch,
                &mut builder,
                &mut out,
            )
            .unwrap();
            assert_eq!(BatchHeader::parse(&out[start..]).unwrap(), encoded);
            assert_eq!(encoded.size(), out.len() - start);
            assert_eq!(produce_form(&encoded), ProduceForm::AsIs);
            assert_eq!(
                encoded.attributes.compression(),
                header.attributes.compression()
            );
            assert_eq!(
                (
                    encoded.base_offset,
                    encoded.producer_id,
                    encoded.producer_epoch
                ),
                (0, 77, 3)
            );
            assert_eq!(
                (encoded.base_sequence, encoded.partition_leader_epoch),
                (sequence, -1)
            );
            assert_eq!(encoded.record_count, header.record_count);
            assert!(!encoded.attributes.has_delete_horizon());
            sequence += encoded.record_count;
        }
        describe(&out).unwrap();
        assert_eq!(records(&out), records(&bytes), "{name}");
    }
}

#[test]
fn merging_keeps_the_records() {
    let bytes = std::fs::read(fixtures().join("compacted-lz4.bin")).unwrap();
    let mut scratch = DecodeBuffer::new();
    let mut builder = ProduceBuilder::new(armory_records::Compression::Zstd, Some(1));
    for batch in Batches::new(&bytes) {
        builder.append_batch(&batch.unwrap(), &mut scratch).unwrap();
    }
    let mut out = Vec::new();
    assert_eq!(builder.len(), 18);
    let bound = builder.size_bound();
    let header = builder.finish(1, 2, i32::MAX, &mut out).unwrap();
    assert!(header.size() <= bound);
    assert_eq!(
        (
            header.record_count,
            header.last_offset_delta,
            header.base_sequence
        ),
        (18, 17, i32::MAX)
    );
    describe(&out).unwrap();
    assert_eq!(records(&out), records(&bytes));
    assert!(builder.is_empty());
}

#[test]
fn control_batches_are_not_produced() {
    let bytes = std::fs::read(fixtures().join("transactions.bin")).unwrap();
    let mut scratch = DecodeBuffer::new();
    let mut builder = ProduceBuilder::new(Default::default(), None);
    let marker = Batches::new(&bytes).nth(1).unwrap().unwrap();
    let refused = Err(BatchError::Control { base_offset: 52 });
    assert_eq!(builder.append_batch(&marker, &mut scratch), refused);
    // The error sticks, so that nothing is sent of what is not whole.
    let mut out = Vec::new();
    assert_eq!(builder.finish(1, 0, 0, &mut out).map(|_| ()), refused);
    assert!(out.is_empty());
    assert_eq!(
        builder.finish(1, 0, 0, &mut out).map(|_| ()),
        Err(BatchError::Empty)
    );
}
