//! Idempotent producers.

use bytes::Bytes;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{DescribeProducersRequest, InitProducerIdRequest};

use super::unique;
use crate::batches::{A_TIME, TestBatch};
use crate::transcripts::{Transcript, error};
use crate::wire::{Named, Wire, text};

/// A producer id that no broker ever gave out.
const FOREIGN: i64 = 4_000_000_000;

pub(crate) async fn play(wire: &mut Wire, transcript: &mut Transcript) {
    transcript.heading("ids");
    for version in 0..=5 {
        let mut ids = Vec::new();
        for _ in 0..2 {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(1000);
            // Kafka answers that its coordinator is loading for a moment after it started.
            let mut answer = wire.call(version, request.clone()).await;
            while answer.error_code == 14 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                answer = wire.call(version, request.clone()).await;
            }
            assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
            ids.push(answer.producer_id);
        }
        transcript.line(
            &format!("version {version}"),
            if ids[0] < ids[1] {
                "ascending"
            } else {
                "not ascending"
            },
        );
    }
    let request = InitProducerIdRequest::default().with_transactional_id(Some(text("").into()));
    transcript.line(
        "empty transactional id",
        error(wire.call(4, request).await.error_code),
    );

    transcript.heading("sequences");
    let topic = wire.create_topic(&unique("producers"), 2, &[]).await;
    // Epoch, first sequence, count.
    let steps = [
        ("any sequence of an unknown producer", 3, 100, 2),
        ("the next", 3, 102, 1),
        ("a gap", 3, 104, 1),
        ("the same again", 3, 102, 1),
        ("the one before again", 3, 100, 2),
        ("other count", 3, 100, 3),
        ("overlapping", 3, 101, 2),
        ("older", 3, 98, 2),
        ("third", 3, 103, 1),
        ("fourth", 3, 104, 1),
        ("fifth", 3, 105, 1),
        ("first of five again", 3, 100, 2),
        ("sixth", 3, 106, 1),
        ("sixth from the end", 3, 100, 2),
        ("fifth from the end", 3, 102, 1),
        ("older epoch", 2, 107, 1),
        ("older epoch from 0", 2, 0, 1),
        ("older epoch, known sequence", 2, 106, 1),
        ("newer epoch, going on", 4, 107, 1),
        ("newer epoch from 0", 4, 0, 1),
        ("old epoch's batch again", 3, 106, 1),
        ("much newer epoch", 9, 0, 2),
        ("going on in it", 9, 2, 2),
    ];
    for (what, epoch, sequence, count) in steps {
        let answer = produce(
            wire,
            &topic,
            0,
            &TestBatch::new(count).by(FOREIGN, epoch, sequence),
        )
        .await;
        transcript.line(what, answer);
    }
    transcript.line("described", describe(wire, &topic, 0).await);
    transcript.line("the other partition", describe(wire, &topic, 1).await);
    transcript.line("no partition", describe(wire, &topic, 2).await);

    transcript.heading("wrapping");
    for (what, sequence, count) in [
        ("before the end", i32::MAX - 1, 1),
        ("across the end", i32::MAX, 3),
        ("on", 2, 1),
        ("across the end again", i32::MAX, 3),
        ("gap", 4, 1),
    ] {
        let answer = produce(
            wire,
            &topic,
            1,
            &TestBatch::new(count).by(FOREIGN + 1, 0, sequence),
        )
        .await;
        transcript.line(what, answer);
    }
    transcript.line("described", describe(wire, &topic, 1).await);

    transcript.heading("several and none");
    for (what, id, epoch, sequence) in [
        ("another producer", FOREIGN + 2, 0, 0),
        ("none", -1, -1, -1),
        ("none again", -1, -1, -1),
        ("epoch -1", FOREIGN + 3, -1, 0),
    ] {
        let batch = TestBatch::new(1).at(A_TIME + 5000).by(id, epoch, sequence);
        let answer = produce(wire, &topic, 0, &batch).await;
        transcript.line(what, answer);
    }
    transcript.line("described", describe(wire, &topic, 0).await);
}

async fn produce(wire: &mut Wire, topic: &Named, partition: i32, batch: &TestBatch) -> String {
    let answer = wire
        .produce(13, topic, partition, Some(Bytes::from(batch.encode())))
        .await;
    format!(
        "{}, base offset {}, append time {}, log start {}",
        error(answer.error_code),
        answer.base_offset,
        answer.log_append_time_ms,
        answer.log_start_offset
    )
}

async fn describe(wire: &mut Wire, topic: &Named, partition: i32) -> String {
    let asked = TopicRequest::default()
        .with_name(topic.name.clone())
        .with_partition_indexes(vec![partition]);
    let answer = wire
        .call(
            0,
            DescribeProducersRequest::default().with_topics(vec![asked]),
        )
        .await;
    let partition = &answer.topics[0].partitions[0];
    let mut producers: Vec<String> = partition
        .active_producers
        .iter()
        .map(|producer| {
            format!(
                "{} epoch {} sequence {} at {} (coordinator {}, transaction {})",
                i64::from(producer.producer_id),
                producer.producer_epoch,
                producer.last_sequence,
                producer.last_timestamp,
                producer.coordinator_epoch,
                producer.current_txn_start_offset
            )
        })
        .collect();
    producers.sort_unstable();
    format!("{} {producers:?}", error(partition.error_code))
}
