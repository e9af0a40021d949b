//! Which batches a leader takes, and what it makes of them.

use armory_records::{Attributes, Batch, BatchHeader, Compression, TimestampType};
use bytes::Bytes;

use super::unique;
use crate::batches::{A_TIME, TestBatch, with_header};
use crate::transcripts::{Transcript, error};
use crate::wire::{Named, Wire, fetch_request, produce_request};

pub(crate) async fn play(wire: &mut Wire, transcript: &mut Transcript) {
    for version in [3, 7, 9, 11, 13] {
        transcript.heading(&format!("version {version}"));
        let topic = wire.create_topic(&unique("produce"), 1, &[]).await;
        for (what, batch) in batches() {
            let answer = produce(wire, version, &topic, batch).await;
            transcript.line(what, answer);
        }
    }

    transcript.heading("topics and partitions that do not exist");
    let topic = wire.create_topic(&unique("produce"), 1, &[]).await;
    let batch = Bytes::from(TestBatch::new(1).encode());
    for version in [11, 13] {
        let answer = wire.produce(version, &topic, 1, Some(batch.clone())).await;
        transcript.line(
            &format!("partition 1, version {version}"),
            error(answer.error_code),
        );
    }
    let absent = Named {
        name: crate::wire::text("no-such-topic").into(),
        id: uuid::Uuid::from_u128(77),
    };
    for (what, version) in [("unknown name", 11), ("unknown id", 13)] {
        let answer = wire.produce(version, &absent, 0, Some(batch.clone())).await;
        transcript.line(what, error(answer.error_code));
    }
    for acks in [1, 2] {
        let request = produce_request(13, &topic, vec![(0, Some(batch.clone()))]).with_acks(acks);
        let answer = wire.call(13, request).await;
        transcript.line(
            &format!("acks={acks}"),
            error(answer.responses[0].partition_responses[0].error_code),
        );
    }

    topics_with_rules(wire, transcript).await;
    stored_bytes(wire, transcript).await;
}

/// Proper batches and all the improper ones. (To no records at all, `null`, Kafka never answers.)
fn batches() -> Vec<(&'static str, Vec<u8>)> {
    let good = TestBatch::new(3);
    let plain = good.encode();
    let zstd = TestBatch {
        compression: Compression::Zstd,
        value_size: 200,
        ..good.clone()
    }
    .encode();
    let header = |change: fn(&mut BatchHeader)| with_header(&plain, change);
    let mut stale = plain.clone();
    *stale.last_mut().expect("the batch has bytes") ^= 1;
    let mut stale_header = header(|header| header.record_count = 9);
    stale_header[17] ^= 1;
    let mut magic_3 = plain.clone();
    magic_3[16] = 3;
    let mut tiny = plain.clone();
    tiny[8..12].copy_from_slice(&9_i32.to_be_bytes());
    let mut headless = plain.clone();
    headless[8..12].copy_from_slice(&20_i32.to_be_bytes());
    let far_ahead = i64::MAX / 4;
    vec![
        ("good", plain.clone()),
        ("good, zstd", zstd.clone()),
        (
            "good, gzip",
            TestBatch {
                compression: Compression::Gzip,
                ..good.clone()
            }
            .encode(),
        ),
        (
            "good, snappy",
            TestBatch {
                compression: Compression::Snappy,
                ..good.clone()
            }
            .encode(),
        ),
        (
            "good, lz4",
            TestBatch {
                compression: Compression::Lz4,
                ..good.clone()
            }
            .encode(),
        ),
        ("followed by a few bytes", [&plain[..], &[0; 9]].concat()),
        ("two batches", [plain.clone(), plain.clone()].concat()),
        ("empty", Vec::new()),
        ("a few bytes", plain[..10].to_vec()),
        ("cut off", plain[..plain.len() - 1].to_vec()),
        ("base offset 7", header(|header| header.base_offset = 7)),
        ("base offset -1", {
            let mut batch = plain.clone();
            batch[..8].copy_from_slice(&(-1_i64).to_be_bytes());
            batch
        }),
        (
            "a hole at the end",
            header(|header| header.last_offset_delta = 4),
        ),
        (
            "last offset delta -1",
            header(|header| header.last_offset_delta = -1),
        ),
        (
            "one record too many promised",
            header(|header| (header.last_offset_delta, header.record_count) = (3, 4)),
        ),
        (
            "one record too few promised",
            header(|header| (header.last_offset_delta, header.record_count) = (1, 2)),
        ),
        (
            "one too many promised, zstd",
            with_header(&zstd, |header| {
                (header.last_offset_delta, header.record_count) = (3, 4);
            }),
        ),
        ("count 0", header(|header| header.record_count = 0)),
        ("count -1", header(|header| header.record_count = -1)),
        (
            "control bit",
            header(|header| header.attributes = Attributes(0x20)),
        ),
        (
            "transactional bit",
            header(|header| header.attributes = Attributes(0x10)),
        ),
        (
            "delete horizon bit",
            header(|header| header.attributes = Attributes(0x40)),
        ),
        (
            "LogAppendTime bit",
            header(|header| header.attributes = Attributes(0x08)),
        ),
        (
            "unused bits",
            header(|header| header.attributes = Attributes(0x7f80)),
        ),
        (
            "unused bits, largest timestamp too large",
            header(|header| {
                header.attributes = Attributes(0x7f80);
                header.max_timestamp += 1000;
            }),
        ),
        (
            "LogAppendTime bit, largest timestamp too large",
            header(|header| {
                header.attributes = Attributes(0x08);
                header.max_timestamp += 1000;
            }),
        ),
        (
            "LogAppendTime bit, no timestamp",
            header(|header| {
                header.attributes = Attributes(0x08);
                header.max_timestamp = -1;
            }),
        ),
        (
            "unknown codec",
            header(|header| header.attributes = Attributes(5)),
        ),
        (
            "not gzip",
            header(|header| header.attributes = Attributes(1)),
        ),
        (
            "not zstd",
            header(|header| header.attributes = Attributes(4)),
        ),
        (
            "producer id without sequence",
            header(|header| (header.producer_id, header.producer_epoch) = (4, 0)),
        ),
        (
            "leader epoch 9",
            header(|header| header.partition_leader_epoch = 9),
        ),
        (
            "leader epoch -9",
            header(|header| header.partition_leader_epoch = -9),
        ),
        ("stale checksum", stale),
        ("stale checksum and wrong count", stale_header),
        ("magic 0", header(|header| header.magic = 0)),
        ("magic 1", header(|header| header.magic = 1)),
        ("magic 3", magic_3),
        ("batch length 9", tiny),
        ("batch length 20", headless),
        ("too far ahead", good.clone().at(far_ahead).encode()),
        ("1970", good.clone().at(0).encode()),
        ("no timestamps", good.clone().at(-1).encode()),
        (
            "no keys",
            TestBatch {
                keys: false,
                ..good.clone()
            }
            .encode(),
        ),
        (
            "largest timestamp too large",
            header(|header| header.max_timestamp += 1000),
        ),
        (
            "over a megabyte",
            TestBatch {
                value_size: 1_048_600,
                ..TestBatch::new(1)
            }
            .encode(),
        ),
        ("good again", plain),
    ]
}

async fn produce(wire: &mut Wire, version: i16, topic: &Named, batch: Vec<u8>) -> String {
    let answer = wire
        .produce(version, topic, 0, Some(Bytes::from(batch)))
        .await;
    let records: Vec<i32> = answer
        .record_errors
        .iter()
        .map(|record| record.batch_index)
        .collect();
    let records = if records.is_empty() {
        String::new()
    } else {
        format!(", records {records:?}")
    };
    format!(
        "{}, base offset {}, append time {}, log start {}{records}",
        error(answer.error_code),
        answer.base_offset,
        answer.log_append_time_ms,
        answer.log_start_offset
    )
}

async fn topics_with_rules(wire: &mut Wire, transcript: &mut Transcript) {
    transcript.heading("compacted");
    let topic = wire
        .create_topic(&unique("produce"), 1, &[("cleanup.policy", "compact")])
        .await;
    let keyless = TestBatch {
        keys: false,
        ..TestBatch::new(3)
    };
    let answer = produce(wire, 13, &topic, keyless.encode()).await;
    transcript.line("no keys", answer);
    let answer = produce(wire, 13, &topic, keyless.at(i64::MAX / 4).encode()).await;
    transcript.line("no keys, too far ahead", answer);
    let answer = produce(wire, 13, &topic, TestBatch::new(3).encode()).await;
    transcript.line("keys", answer);

    transcript.heading("max.message.bytes");
    let batch = TestBatch::new(3).encode();
    for (what, limit) in [("exactly", batch.len()), ("one too few", batch.len() - 1)] {
        let limit = limit.to_string();
        let topic = wire
            .create_topic(&unique("produce"), 1, &[("max.message.bytes", &limit)])
            .await;
        let answer = produce(wire, 13, &topic, batch.clone()).await;
        transcript.line(what, answer);
        let mut stale = batch.clone();
        stale[40] ^= 1;
        let answer = produce(wire, 13, &topic, stale).await;
        transcript.line(&format!("{what}, stale checksum"), answer);
    }

    transcript.heading("message.timestamp.before.max.ms");
    let topic = wire
        .create_topic(
            &unique("produce"),
            1,
            &[("message.timestamp.before.max.ms", "1000")],
        )
        .await;
    for (what, batch) in [
        ("2023", TestBatch::new(2)),
        ("no timestamps", TestBatch::new(2).at(-1)),
    ] {
        let answer = produce(wire, 13, &topic, batch.encode()).await;
        transcript.line(what, answer);
    }
}

/// What is read back, with the header fields that were changed.
async fn stored_bytes(wire: &mut Wire, transcript: &mut Transcript) {
    for timestamp_type in ["CreateTime", "LogAppendTime"] {
        transcript.heading(&format!("stored, {timestamp_type}"));
        let topic = wire
            .create_topic(
                &unique("produce"),
                1,
                &[("message.timestamp.type", timestamp_type)],
            )
            .await;
        for (what, sent) in batches() {
            let answer = wire
                .produce(13, &topic, 0, Some(Bytes::from(sent.clone())))
                .await;
            if answer.error_code != 0 {
                transcript.line(what, error(answer.error_code));
                continue;
            }
            let response = wire
                .call(13, fetch_request(13, &topic, &[(0, answer.base_offset)]))
                .await;
            let records = response.responses[0].partitions[0]
                .records
                .clone()
                .unwrap_or_default();
            let stored = Batch::parse(&records).expect("a stored batch is proper");
            stored.verify_crc().expect("a stored batch is proper");
            transcript.line(what, differences(&sent, &stored));
        }
    }
}

fn differences(sent: &[u8], stored: &Batch<'_>) -> String {
    let sent = &sent[..stored.bytes().len()];
    let header = stored.header();
    let mut found = Vec::new();
    if sent[..17] != stored.bytes()[..17] {
        found.push(format!(
            "base offset {}, leader epoch {}",
            header.base_offset, header.partition_leader_epoch
        ));
    }
    if sent[17..61] != stored.bytes()[17..61] {
        let newest = if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            let recent = header.max_timestamp > A_TIME + 1_000_000;
            if recent {
                "now".to_owned()
            } else {
                "not now".to_owned()
            }
        } else {
            header.max_timestamp.to_string()
        };
        found.push(format!(
            "attributes {:#x}, largest timestamp {newest}",
            header.attributes.0
        ));
    }
    found.push(
        if sent[61..] == stored.bytes()[61..] {
            "same records"
        } else {
            "other records"
        }
        .to_owned(),
    );
    found.join(", ")
}
