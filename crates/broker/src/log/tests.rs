use armory_records::{Attributes, BatchHeader, Batches, Compression, TimestampType};
use kafka_protocol::ResponseError;

use super::test_batches::{A_TIME, TestBatch, with_header};
use super::*;
use crate::configs::{Alteration, TopicConfigs, TopicSettings};

const NOW: i64 = A_TIME + 1_000_000;

fn settings(configs: &[(&str, &str)]) -> TopicSettings {
    let mut topic = TopicConfigs::default();
    for (name, value) in configs {
        topic.alter(name, Alteration::Set, Some(value)).unwrap();
    }
    topic.settings()
}

fn verdict(records: &[u8], settings: &TopicSettings) -> Result<JudgedBatch, Refusal> {
    judge(only_batch(records)?, settings, NOW)
}

#[track_caller]
fn append(log: &mut Log, batch: &[u8]) -> Appended {
    log.append(verdict(batch, &settings(&[])).unwrap()).unwrap()
}

/// A log of batches with 3, 1, 4 and 2 records.
fn sample() -> Log {
    let mut log = Log::new();
    for (count, base_offset) in [(3, 0), (1, 3), (4, 4), (2, 8)] {
        let batch = TestBatch::new(count)
            .at(A_TIME + base_offset * 1000)
            .encode();
        assert_eq!(append(&mut log, &batch).base_offset, base_offset);
    }
    log
}

fn base_offsets(slice: &LogSlice) -> Vec<i64> {
    let bytes = slice.batches.concat();
    assert_eq!(bytes.len(), slice.size);
    Batches::new(&bytes)
        .map(|batch| batch.unwrap().header().base_offset)
        .collect()
}

#[test]
fn produced_bytes_are_kept_but_for_base_offset_and_leader_epoch() {
    let mut log = Log::new();
    log.elect_leader(0);
    append(&mut log, &TestBatch::new(5).encode());
    for compression in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let sent = TestBatch {
            compression,
            value_size: 1000,
            ..TestBatch::new(7)
        }
        .encode();
        let at = append(&mut log, &sent).base_offset;
        let stored = log.read(at, usize::MAX, true).unwrap().batches.concat();
        let header = BatchHeader::parse(&stored).unwrap();
        assert_eq!((header.base_offset, header.partition_leader_epoch), (at, 1));
        assert_eq!(stored[8..12], sent[8..12]);
        assert_eq!(stored[16..], sent[16..]);
    }
}

#[track_caller]
fn refused(batch: &[u8], configs: &[(&str, &str)]) -> ResponseError {
    verdict(batch, &settings(configs)).unwrap_err().code
}

#[test]
fn what_no_leader_takes() {
    let good = TestBatch::new(3).encode();
    let invalid = [
        ("no bytes", Vec::new()),
        ("a cut-off batch", good[..good.len() - 1].to_vec()),
        ("two batches", [good.clone(), good.clone()].concat()),
        (
            "a base offset",
            with_header(&good, |header| header.base_offset = 7),
        ),
        (
            "a hole",
            with_header(&good, |header| header.last_offset_delta = 5),
        ),
        (
            "a control batch",
            with_header(&good, |header| header.attributes = Attributes(0x20)),
        ),
        (
            "no sequence",
            with_header(&good, |header| header.producer_id = 4),
        ),
        (
            "fewer records than it says",
            with_header(&good, |header| {
                (header.last_offset_delta, header.record_count) = (3, 4)
            }),
        ),
        (
            "more records than it says",
            with_header(&good, |header| {
                (header.last_offset_delta, header.record_count) = (1, 2)
            }),
        ),
        (
            "no records",
            with_header(&good, |header| header.record_count = 0),
        ),
        ("magic 1", with_header(&good, |header| header.magic = 1)),
    ];
    for (what, batch) in invalid {
        assert_eq!(refused(&batch, &[]), ResponseError::InvalidRecord, "{what}");
    }

    let mut stale = good.clone();
    *stale.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&stale, &[]), ResponseError::CorruptMessage);
    let unknown_codec = with_header(&good, |header| header.attributes = Attributes(6));
    assert_eq!(
        refused(&unknown_codec, &[]),
        ResponseError::UnknownServerError
    );
    let not_gzip = with_header(&good, |header| header.attributes = Attributes(1));
    assert_eq!(refused(&not_gzip, &[]), ResponseError::UnknownServerError);
}

#[test]
fn what_a_topic_forbids() {
    let good = TestBatch::new(3);
    let size = good.encode().len();
    assert_eq!(
        refused(
            &good.encode(),
            &[("max.message.bytes", &(size - 1).to_string())]
        ),
        ResponseError::MessageTooLarge
    );
    assert!(
        judge(
            &good.encode(),
            &settings(&[("max.message.bytes", &size.to_string())]),
            NOW
        )
        .is_ok()
    );

    let keyless = TestBatch {
        keys: false,
        ..good.clone()
    }
    .encode();
    let refusal = verdict(&keyless, &settings(&[("cleanup.policy", "compact")])).unwrap_err();
    assert_eq!(refusal.code, ResponseError::InvalidRecord);
    assert_eq!(refusal.records.len(), 3);

    let late = good.clone().at(NOW + 3_600_000).encode();
    let refusal = verdict(&late, &settings(&[])).unwrap_err();
    assert_eq!(refusal.code, ResponseError::InvalidTimestamp);
    assert_eq!(
        refusal
            .records
            .iter()
            .map(|(position, _)| *position)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert!(
        verdict(&good.clone().at(0).encode(), &settings(&[])).is_ok(),
        "1970"
    );
    let early = good.clone().at(0).encode();
    assert_eq!(
        refused(&early, &[("message.timestamp.before.max.ms", "1000")]),
        ResponseError::InvalidTimestamp
    );
    let timeless = good.at(-1).encode();
    assert!(
        judge(
            &timeless,
            &settings(&[("message.timestamp.before.max.ms", "1000")]),
            NOW
        )
        .is_ok()
    );
}

#[test]
fn the_topic_decides_whose_clock_counts() {
    let sent = TestBatch::new(3).encode();
    let judged = judge(
        &sent,
        &settings(&[("message.timestamp.type", "LogAppendTime")]),
        NOW,
    )
    .unwrap();
    assert_eq!(
        judged.header.attributes.timestamp_type(),
        TimestampType::LogAppendTime
    );
    assert_eq!(judged.header.max_timestamp, NOW);
    Batch::parse(&judged.bytes).unwrap().verify_crc().unwrap();
    assert_eq!(judged.bytes[61..], sent[61..]);
    let mut log = Log::new();
    assert_eq!(log.append(judged).unwrap().append_time, NOW);

    let claimed = with_header(&sent, |header| {
        header.attributes = header
            .attributes
            .with_timestamp_type(TimestampType::LogAppendTime);
    });
    let judged = verdict(&claimed, &settings(&[])).unwrap();
    assert_eq!(
        judged.bytes, sent,
        "on a CreateTime topic the bit is cleared"
    );

    let boastful = with_header(&sent, |header| header.max_timestamp += 5);
    assert_eq!(
        verdict(&boastful, &settings(&[])).unwrap().bytes,
        sent,
        "a wrong largest timestamp is put right"
    );
}

#[test]
fn reading_starts_with_the_batch_that_holds_the_offset() {
    let log = sample();
    assert_eq!(
        base_offsets(&log.read(0, usize::MAX, false).unwrap()),
        [0, 3, 4, 8]
    );
    assert_eq!(
        base_offsets(&log.read(5, usize::MAX, false).unwrap()),
        [4, 8]
    );
    assert_eq!(base_offsets(&log.read(9, usize::MAX, false).unwrap()), [8]);
    assert_eq!(log.read(10, usize::MAX, true), Ok(LogSlice::default()));
    assert_eq!(log.read(11, usize::MAX, true), Err(OutOfRange));
    assert_eq!(log.read(-1, usize::MAX, true), Err(OutOfRange));
}

#[test]
fn limits_cut_off_the_last_batch_but_never_the_first() {
    let log = sample();
    let first = log.read(0, 1, true).unwrap();
    assert_eq!(base_offsets(&first), [0]);
    assert_eq!(log.read(0, first.size - 1, false), Ok(LogSlice::default()));
    assert_eq!(log.read(0, first.size, false).unwrap(), first);
    let more = log.read(0, first.size + 7, false).unwrap();
    assert_eq!((base_offsets(&more), more.size), (vec![0], first.size + 7));
}

#[test]
fn trimming_keeps_the_batch_that_the_start_lies_in() {
    let mut log = sample();
    log.trim(5).unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (5, 10));
    assert_eq!(log.read(4, usize::MAX, true), Err(OutOfRange));
    assert_eq!(
        base_offsets(&log.read(5, usize::MAX, true).unwrap()),
        [4, 8]
    );
    log.trim(2).unwrap();
    assert_eq!(log.start_offset(), 5, "a log never starts earlier again");
    assert_eq!(log.trim(11), Err(OutOfRange));
    log.trim(10).unwrap();
    assert_eq!(log.read(10, usize::MAX, true), Ok(LogSlice::default()));
    assert_eq!(
        append(&mut log, &TestBatch::new(1).encode()).base_offset,
        10
    );
}

#[test]
fn a_lagging_leader_has_another_history() {
    let mut log = Log::new();
    append(&mut log, &TestBatch::new(3).by(7, 0, 0).encode());
    append(&mut log, &TestBatch::new(2).by(7, 0, 3).encode());
    assert_eq!(
        log.elect_leader(4),
        1,
        "a batch is kept whole or not at all"
    );
    assert_eq!(log.end_offset(), 3);
    assert_eq!(log.epoch_end(0), Some((0, 3)));
    assert_eq!(
        append(&mut log, &TestBatch::new(1).by(7, 0, 3).encode()).base_offset,
        3
    );
    assert_eq!(log.epoch_end(1), Some((1, 4)));
    assert_eq!((log.epoch_of(2), log.epoch_of(3)), (0, 1));
}

#[test]
fn records_are_found_by_time() {
    let mut log = sample();
    let found = |log: &Log, time| {
        log.first_at_or_after(time)
            .map(|found| (found.offset, found.timestamp))
    };
    assert_eq!(found(&log, 0), Some((0, A_TIME)));
    assert_eq!(found(&log, A_TIME + 2), Some((2, A_TIME + 2)));
    assert_eq!(found(&log, A_TIME + 3), Some((3, A_TIME + 3000)));
    assert_eq!(found(&log, A_TIME + 8002), None);
    assert_eq!(log.newest_record().map(|found| found.offset), Some(9));
    log.trim(1).unwrap();
    assert_eq!(found(&log, 0), Some((1, A_TIME + 1)));
    assert_eq!(found(&Log::new(), 0), None);
    assert_eq!(Log::new().newest_record(), None);
}

#[test]
fn replicated_batches_keep_offsets_and_epochs() {
    let mut log = Log::new();
    let place = |batch: &[u8], offset, epoch| {
        with_header(batch, |header| {
            header.base_offset = offset;
            header.partition_leader_epoch = epoch;
            header.last_offset_delta = 9;
        })
    };
    let batch = TestBatch::new(2).encode();
    let run = [place(&batch, 5, 0), place(&batch, 40, 3)].concat();
    log.append_replicated(&run).unwrap();
    assert_eq!((log.end_offset(), log.leader_epoch()), (50, 3));
    assert_eq!(
        log.read(0, usize::MAX, true).unwrap().batches.concat(),
        run,
        "a hole is read over"
    );
    assert_eq!(log.epoch_end(0), Some((0, 40)));

    for bad in [&place(&batch, 49, 3)[..], &run[..30], &[0; 80]] {
        assert!(log.append_replicated(bad).is_err());
    }
    assert_eq!(log.end_offset(), 50);
}
