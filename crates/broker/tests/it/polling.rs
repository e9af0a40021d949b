//! Waiting, not answering, and closing connections.

use std::time::Duration;

use armory_broker::{Broker, BrokerOptions};
use armory_records::Batches;
use bytes::Bytes;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DeleteTopicsRequest, FetchRequest, FetchResponse,
    MetadataRequest, metadata_request::MetadataRequestTopic,
};
use kafka_protocol::protocol::Decodable;

use crate::batches::TestBatch;
use crate::wire::{Wire, fetch_request, produce_request, text};

const LONG_MS: i32 = 60_000;
/// Far longer than any of this takes, and far shorter than a poll that is not woken.
const SOON: Duration = Duration::from_secs(20);

async fn start() -> (Broker, Wire) {
    let broker = Broker::start().await.expect("a port is free");
    let wire = Wire::connect(&broker.bootstrap()).await;
    (broker, wire)
}

async fn poll(mut wire: Wire, request: FetchRequest) -> FetchResponse {
    tokio::time::timeout(SOON, wire.call(13, request))
        .await
        .expect("the poll is answered")
}

fn base_offsets(response: &FetchResponse, partition: usize) -> Vec<i64> {
    let records = response.responses[0].partitions[partition]
        .records
        .clone()
        .unwrap_or_default();
    Batches::new(&records)
        .map(|batch| batch.unwrap().header().base_offset)
        .collect()
}

#[tokio::test]
async fn a_poll_is_answered_when_enough_is_appended() {
    let (broker, mut wire) = start().await;
    let topic = wire.create_topic("t", 2, &[]).await;
    let batch = TestBatch::new(1).encode();
    let enough = i32::try_from(2 * batch.len()).unwrap();
    let request = fetch_request(13, &topic, &[(0, 0), (1, 0)])
        .with_max_wait_ms(LONG_MS)
        .with_min_bytes(enough);
    let mut poller = Wire::connect(&broker.bootstrap()).await;
    // Answered in order: once the second request is, the first would have been.
    poller.send(13, request.clone().with_max_wait_ms(1)).await;
    poller.receive().await.unwrap();
    let polled = tokio::spawn(poll(poller, request));
    wire.append(&topic, 1, &batch).await;
    wire.append(&topic, 0, &batch).await;
    let response = polled.await.unwrap();
    assert_eq!(
        (base_offsets(&response, 0), base_offsets(&response, 1)),
        (vec![0], vec![0])
    );
}

#[tokio::test]
async fn a_poll_ends_with_its_time_or_its_topic() {
    let (broker, mut wire) = start().await;
    let topic = wire.create_topic("t", 1, &[]).await;
    let request = fetch_request(13, &topic, &[(0, 0)]).with_min_bytes(1);
    let expired = wire.call(13, request.clone().with_max_wait_ms(30)).await;
    assert!(base_offsets(&expired, 0).is_empty());

    let polled = tokio::spawn(poll(
        Wire::connect(&broker.bootstrap()).await,
        request.with_max_wait_ms(LONG_MS),
    ));
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic.name.clone()]);
    wire.call(5, request).await;
    assert_eq!(
        polled.await.unwrap().responses[0].partitions[0].error_code,
        100
    );
}

#[tokio::test]
async fn who_wants_no_answer_gets_none() {
    let (_broker, mut wire) = start().await;
    let topic = wire.create_topic("t", 1, &[]).await;
    let batch = Bytes::from(TestBatch::new(1).encode());
    wire.send(
        13,
        produce_request(13, &topic, vec![(0, Some(batch))]).with_acks(0),
    )
    .await;
    let answer = wire.call(0, ApiVersionsRequest::default()).await;
    assert_eq!(answer.error_code, 0);
    assert_eq!(wire.list_offset(&topic.name, 0, -1).await.1, 1);

    wire.send(
        13,
        produce_request(13, &topic, vec![(0, None)]).with_acks(0),
    )
    .await;
    assert_eq!(
        wire.receive().await,
        None,
        "an error is told by closing the connection"
    );
}

#[tokio::test]
async fn what_is_not_served_closes_the_connection() {
    let (broker, _) = start().await;
    let header =
        |api: i16, version: i16| [&api.to_be_bytes()[..], &version.to_be_bytes(), &[0; 6]].concat();
    for (what, bytes) in [
        ("an unknown request", header(999, 0)),
        ("a request that is not served", header(11, 0)),
        ("a version that is not served", header(1, 3)),
        ("nonsense", header(1, 13)),
        ("too few bytes", vec![0; 3]),
    ] {
        let mut wire = Wire::connect(&broker.bootstrap()).await;
        wire.send_bytes(&bytes).await;
        assert_eq!(wire.receive().await, None, "{what}");
    }

    let mut wire = Wire::connect(&broker.bootstrap()).await;
    wire.send_bytes(&header(18, 99)).await;
    let mut frame = wire.receive().await.expect("an answer");
    let body = frame.split_off(4);
    let answer = ApiVersionsResponse::decode(&mut body.clone(), 0).unwrap();
    assert_eq!(answer.error_code, 35);
    assert!(
        answer
            .api_keys
            .iter()
            .any(|api| api.api_key == 18 && api.max_version == 4)
    );
}

#[tokio::test]
async fn a_dropped_broker_is_gone() {
    let (broker, mut wire) = start().await;
    let address = broker.bootstrap();
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    drop(broker);
    assert_eq!(wire.receive().await, None);
    wire.until("the port is free again", async |_| {
        let options = BrokerOptions {
            port,
            ..BrokerOptions::default()
        };
        Broker::start_with(options).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn topics_come_into_being_when_asked_about_unless_told_otherwise() {
    for auto_create_topics in [true, false] {
        let options = BrokerOptions {
            auto_create_topics,
            default_partitions: 3,
            ..BrokerOptions::default()
        };
        let broker = Broker::start_with(options).await.unwrap();
        let mut wire = Wire::connect(&broker.bootstrap()).await;
        let asked = MetadataRequestTopic::default().with_name(Some(text("new").into()));
        let answer = wire
            .call(
                12,
                MetadataRequest::default().with_topics(Some(vec![asked])),
            )
            .await;
        let expected = if auto_create_topics { (0, 3) } else { (3, 0) };
        assert_eq!(
            (
                answer.topics[0].error_code,
                answer.topics[0].partitions.len()
            ),
            expected
        );
    }
}

#[tokio::test]
async fn ten_thousand_partitions_are_followed_in_one_session() {
    const PARTITIONS: i32 = 10_000;
    let (_broker, mut wire) = start().await;
    let topic = wire.create_topic("wide", PARTITIONS, &[]).await;
    let all: Vec<(i32, i64)> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    let opened = wire
        .call(13, fetch_request(13, &topic, &all).with_session_epoch(0))
        .await;
    assert_eq!(opened.responses[0].partitions.len(), 10_000);
    wire.append(&topic, 7777, &TestBatch::new(1).encode()).await;
    let request = fetch_request(13, &topic, &[]).with_topics(Vec::new());
    let request = request
        .with_session_id(opened.session_id)
        .with_session_epoch(1);
    let news = wire
        .call(13, request.with_max_wait_ms(LONG_MS).with_min_bytes(1))
        .await;
    assert_eq!(news.responses[0].partitions.len(), 1);
    assert_eq!(news.responses[0].partitions[0].partition_index, 7777);
}
