//! What tests can do to a broker that its clients cannot.

use armory_broker::{Broker, BrokerError};
use armory_records::{Attributes, BatchHeader};
use bytes::Bytes;
use kafka_protocol::messages::OffsetForLeaderEpochRequest;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};

use crate::batches::{TestBatch, with_header};
use crate::wire::{Named, Wire, fetch_request};

async fn start() -> (Broker, Wire, Named) {
    let broker = Broker::start().await.expect("a port is free");
    let mut wire = Wire::connect(&broker.bootstrap()).await;
    let topic = wire.create_topic("t", 1, &[]).await;
    (broker, wire, topic)
}

async fn epoch_end(wire: &mut Wire, topic: &Named, current: i32, epoch: i32) -> (i16, i32, i64) {
    let partition = OffsetForLeaderPartition::default()
        .with_current_leader_epoch(current)
        .with_leader_epoch(epoch);
    let asked = OffsetForLeaderTopic::default()
        .with_topic(topic.name.clone())
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![asked]);
    let answer = wire.call(4, request).await;
    let end = &answer.topics[0].partitions[0];
    (end.error_code, end.leader_epoch, end.end_offset)
}

#[tokio::test]
async fn a_clean_election_fences_clients_of_the_old_leader() {
    let (broker, mut wire, topic) = start().await;
    wire.append(&topic, 0, &TestBatch::new(3).encode()).await;
    assert_eq!(broker.elect_leader("t", 0).unwrap(), 1);
    wire.append(&topic, 0, &TestBatch::new(1).encode()).await;
    assert_eq!(epoch_end(&mut wire, &topic, 1, 0).await, (0, 0, 3));
    assert_eq!(epoch_end(&mut wire, &topic, 0, 0).await, (74, -1, -1));

    let mut request = fetch_request(17, &topic, &[(0, 0)]);
    request.topics[0].partitions[0].current_leader_epoch = 0;
    let answer = wire.call(17, request).await;
    let fenced = &answer.responses[0].partitions[0];
    assert_eq!(
        (
            fenced.error_code,
            fenced.current_leader.leader_epoch,
            answer.node_endpoints.len()
        ),
        (74, 1, 1)
    );
}

#[tokio::test]
async fn an_unclean_election_changes_history() {
    let (broker, mut wire, topic) = start().await;
    for _ in 0..3 {
        wire.append(&topic, 0, &TestBatch::new(2).encode()).await;
    }
    assert_eq!(broker.elect_lagging_leader("t", 0, 4).unwrap(), 1);
    assert_eq!(wire.append(&topic, 0, &TestBatch::new(5).encode()).await, 4);
    assert_eq!(
        epoch_end(&mut wire, &topic, 1, 0).await,
        (0, 0, 4),
        "offsets 4 and 5 were others under epoch 0"
    );

    let mut request = fetch_request(13, &topic, &[(0, 6)]);
    request.topics[0].partitions[0].last_fetched_epoch = 0;
    let answer = wire.call(13, request).await;
    let diverging = &answer.responses[0].partitions[0].diverging_epoch;
    assert_eq!((diverging.epoch, diverging.end_offset), (0, 4));
}

#[tokio::test]
async fn producers_of_old_records_are_forgotten() {
    let (broker, mut wire, topic) = start().await;
    let old = Bytes::from(TestBatch::new(1).by(5, 0, 0).encode());
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let recent = TestBatch::new(1)
        .at(i64::try_from(now).unwrap())
        .by(6, 0, 0);
    let recent = Bytes::from(recent.encode());
    for batch in [&old, &recent, &old, &recent] {
        wire.produce(13, &topic, 0, Some(batch.clone())).await;
    }
    assert_eq!(
        wire.list_offset(&topic.name, 0, -1).await.1,
        2,
        "sent twice, appended once"
    );

    broker.expire_producers();
    assert_eq!(
        wire.produce(13, &topic, 0, Some(recent)).await.base_offset,
        1
    );
    assert_eq!(
        wire.produce(13, &topic, 0, Some(old)).await.base_offset,
        2,
        "appended twice"
    );
}

#[tokio::test]
async fn a_log_can_hold_what_no_producer_may_send() {
    let (broker, mut wire, topic) = start().await;
    let marker = with_header(&TestBatch::new(1).encode(), |header| {
        header.base_offset = 20;
        header.attributes = Attributes(0x30);
        header.partition_leader_epoch = 0;
    });
    let compacted = with_header(&TestBatch::new(2).encode(), |header| {
        header.base_offset = 7;
        header.last_offset_delta = 9;
        header.partition_leader_epoch = 0;
    });
    let run = [compacted, marker].concat();
    broker.append_replicated("t", 0, &run).unwrap();
    let answer = wire.call(13, fetch_request(13, &topic, &[(0, 0)])).await;
    assert_eq!(
        answer.responses[0].partitions[0].records.as_deref(),
        Some(&run[..])
    );
    assert_eq!(
        wire.append(&topic, 0, &TestBatch::new(1).encode()).await,
        21
    );

    let early = BatchHeader::parse(&run).unwrap().base_offset;
    let error = broker.append_replicated("t", 0, &run).unwrap_err();
    assert!(
        matches!(error, BrokerError::Unappendable { .. }),
        "offset {early} is taken: {error}"
    );
    let error = broker.append_replicated("t", 1, &run).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no partition t-1; create the topic first"
    );
}
