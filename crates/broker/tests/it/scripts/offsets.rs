//! Offsets by time and by leader epoch, and the start of the log.

use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest,
};

use armory_records::Compression;

use super::fetch::describe;
use super::unique;
use crate::batches::{A_TIME, TestBatch};
use crate::transcripts::{Transcript, error};
use crate::wire::{Named, Wire, fetch_request, text};

pub(crate) async fn play(wire: &mut Wire, transcript: &mut Transcript) {
    let topic = wire.create_topic(&unique("offsets"), 2, &[]).await;
    transcript.heading("an empty log");
    by_time(wire, transcript, &topic, 1).await;
    by_epoch(wire, transcript, &topic, 1).await;

    transcript.heading("by time");
    // The second batch is older than the first.
    for (count, ahead) in [(3, 10_000), (2, 0), (4, 20_000), (1, 15_000)] {
        let batch = TestBatch::new(count).at(A_TIME + ahead);
        let batch = if count == 4 {
            TestBatch {
                compression: Compression::Lz4,
                ..batch
            }
        } else {
            batch
        };
        wire.append(&topic, 0, &batch.encode()).await;
    }
    by_time(wire, transcript, &topic, 0).await;

    transcript.heading("versions");
    for version in 1..=10 {
        for at in [-1, A_TIME + 1] {
            let answer = list(wire, version, &topic, (0, -1), at).await;
            transcript.line(&format!("version {version}, {}", time(at)), answer);
        }
    }
    for epoch in [-1, 0, 1] {
        let answer = list(wire, 7, &topic, (0, epoch), -1).await;
        transcript.line(&format!("current leader epoch {epoch}"), answer);
    }
    let answer = list(wire, 7, &topic, (2, -1), -1).await;
    transcript.line("no partition", answer);
    let absent = Named {
        name: text("no-such-topic").into(),
        ..topic.clone()
    };
    let answer = list(wire, 7, &absent, (0, -1), -1).await;
    transcript.line("no topic", answer);

    transcript.heading("by leader epoch");
    by_epoch(wire, transcript, &topic, 0).await;

    transcript.heading("trimmed");
    let answer = trim(wire, &topic, 0, 4).await;
    transcript.line("before 4", answer);
    for from in [3, 4] {
        let response = wire.call(13, fetch_request(13, &topic, &[(0, from)])).await;
        transcript.line(&format!("read from {from}"), describe(&response));
    }
    by_time(wire, transcript, &topic, 0).await;
    by_epoch(wire, transcript, &topic, 0).await;
    for offset in [2, 0, 4, 11, -2, -1] {
        let answer = trim(wire, &topic, 0, offset).await;
        transcript.line(&format!("before {offset}"), answer);
    }
    // Not by the largest timestamp: Kafka finds it in its files even where the log starts after it.
    for at in [-1, -2, 0] {
        let answer = list(wire, 10, &topic, (0, -1), at).await;
        transcript.line(&time(at), answer);
    }
    let answer = trim(wire, &topic, 2, 0).await;
    transcript.line("no partition", answer);
    let answer = trim(wire, &absent, 0, 0).await;
    transcript.line("no topic", answer);
    let at = wire.append(&topic, 0, &TestBatch::new(1).encode()).await;
    transcript.line("the next record", at);
    let compacted = wire
        .create_topic(&unique("offsets"), 1, &[("cleanup.policy", "compact")])
        .await;
    let answer = trim(wire, &compacted, 0, 0).await;
    transcript.line("compacted topic", answer);
}

fn time(at: i64) -> String {
    match at {
        at if at >= A_TIME => format!("2023 + {}", at - A_TIME),
        at => at.to_string(),
    }
}

async fn by_time(wire: &mut Wire, transcript: &mut Transcript, topic: &Named, partition: i32) {
    for at in [
        -1,
        -2,
        -3,
        -4,
        -5,
        0,
        A_TIME,
        A_TIME + 2,
        A_TIME + 10_000,
        A_TIME + 10_001,
        A_TIME + 12_000,
        A_TIME + 20_003,
        A_TIME + 20_004,
    ] {
        let answer = list(wire, 10, topic, (partition, -1), at).await;
        transcript.line(&time(at), answer);
    }
}

async fn list(
    wire: &mut Wire,
    version: i16,
    topic: &Named,
    (partition, epoch): (i32, i32),
    at: i64,
) -> String {
    let asked = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(at)
        .with_current_leader_epoch(epoch);
    let asked = ListOffsetsTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(vec![asked]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![asked]);
    let response = wire.call(version, request).await;
    let found = &response.topics[0].partitions[0];
    format!(
        "{}, offset {}, time {}, epoch {}",
        error(found.error_code),
        found.offset,
        time(found.timestamp),
        found.leader_epoch
    )
}

async fn by_epoch(wire: &mut Wire, transcript: &mut Transcript, topic: &Named, partition: i32) {
    for (current, asked) in [(-1, 0), (0, 0), (-1, 1), (-1, -1), (1, 0), (0, 7)] {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(current)
            .with_leader_epoch(asked);
        let asked_topic = OffsetForLeaderTopic::default()
            .with_topic(topic.name.clone())
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![asked_topic]);
        let response = wire.call(4, request).await;
        let found = &response.topics[0].partitions[0];
        transcript.line(
            &format!("epoch {asked}, current {current}"),
            format!(
                "{}, epoch {}, end {}",
                error(found.error_code),
                found.leader_epoch,
                found.end_offset
            ),
        );
    }
}

async fn trim(wire: &mut Wire, topic: &Named, partition: i32, offset: i64) -> String {
    let asked = DeleteRecordsPartition::default()
        .with_partition_index(partition)
        .with_offset(offset);
    let asked = DeleteRecordsTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(vec![asked]);
    let request = DeleteRecordsRequest::default()
        .with_topics(vec![asked])
        .with_timeout_ms(10_000);
    let response = wire.call(2, request).await;
    let answer = &response.topics[0].partitions[0];
    format!(
        "{}, low watermark {}",
        error(answer.error_code),
        answer.low_watermark
    )
}
