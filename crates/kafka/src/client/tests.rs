use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreateTopicsResponse, FindCoordinatorResponse, InitProducerIdRequest,
    InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataResponse,
    OffsetFetchResponse, ProducerId,
};
use kafka_protocol::protocol::StrBytes;

use super::*;
use crate::metadata::topic_name;
use crate::testing::{Asked, FakeCluster, Reply};
use crate::{ErrorCode, NewTopic, OffsetSpec};

/// Brokers 1 and 2, and topic `orders` whose partitions are led by `leaders`, in order; −1 is nobody.
fn metadata(leaders: &[i32]) -> MetadataResponse {
    let brokers = [1, 2].map(|id| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(id))
            .with_host(StrBytes::from_string(format!("kafka-{id}")))
            .with_port(9092)
    });
    let partitions = leaders.iter().enumerate().map(|(index, leader)| {
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(*leader))
            .with_leader_epoch(4)
    });
    let topic = MetadataResponseTopic::default()
        .with_name(Some(topic_name("orders")))
        .with_partitions(partitions.collect());
    MetadataResponse::default()
        .with_brokers(brokers.to_vec())
        .with_controller_id(BrokerId(2))
        .with_topics(vec![topic])
}

/// Answers every partition that is asked about, by `offset`.
fn offsets(asked: &Asked, offset: impl Fn(i32) -> Result<i64, ErrorCode>) -> Reply {
    let request: ListOffsetsRequest = asked.decode();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index);
            match offset(partition.partition_index) {
                Ok(offset) => answer.with_offset(offset),
                Err(code) => answer.with_error_code(code.0),
            }
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    Reply::with(
        &ListOffsetsResponse::default().with_topics(topics.collect()),
        asked.version,
    )
}

fn orders(partitions: i32) -> Vec<(String, i32)> {
    (0..partitions)
        .map(|partition| ("orders".to_owned(), partition))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn leaders_are_asked_together_and_asked_again_where_they_moved() {
    static LEADER_OF_1: AtomicI32 = AtomicI32::new(1);
    let client = FakeCluster::client(|asked| match asked.api {
        ApiKey::Metadata => Reply::with(
            &metadata(&[1, LEADER_OF_1.load(Ordering::SeqCst), 2]),
            asked.version,
        ),
        ApiKey::ListOffsets => {
            let broker = if &*asked.broker.host == "kafka-1" {
                1
            } else {
                2
            };
            offsets(asked, |partition| {
                // The leader of partition 1 has moved, and metadata learns it only now.
                if partition == 1 && broker == 1 {
                    LEADER_OF_1.store(2, Ordering::SeqCst);
                    return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
                }
                Ok(i64::from(100 * broker + partition))
            })
        }
        other => panic!("{other:?} is not needed"),
    });
    let found = client
        .list_offsets(&orders(3), OffsetSpec::Latest)
        .await
        .unwrap();
    let offsets =
        [0, 1, 2].map(|partition| found[&("orders".to_owned(), partition)].unwrap().offset);
    assert_eq!(offsets, [100, 201, 202]);
}

#[tokio::test(start_paused = true)]
async fn partitions_without_a_leader_do_not_hold_up_the_others_for_long() {
    let client = FakeCluster::client(|asked| match asked.api {
        ApiKey::Metadata => Reply::with(&metadata(&[1, -1]), asked.version),
        _ => offsets(asked, |_| Ok(5)),
    });
    let started = tokio::time::Instant::now();
    let found = client
        .list_offsets(&orders(3), OffsetSpec::Earliest)
        .await
        .unwrap();
    assert!(started.elapsed() <= client.config().leader_timeout);
    assert_eq!(found[&("orders".to_owned(), 0)].unwrap().offset, 5);
    assert_eq!(
        found[&("orders".to_owned(), 1)],
        Err(ErrorCode::LEADER_NOT_AVAILABLE)
    );
    assert_eq!(
        found[&("orders".to_owned(), 2)],
        Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_talks_nonsense_does_not_take_the_others_answers_away() {
    let client = FakeCluster::client(|asked| match asked.api {
        ApiKey::Metadata => Reply::with(&metadata(&[1, 2]), asked.version),
        _ if &*asked.broker.host == "kafka-2" => Reply::Answer(bytes::Bytes::from_static(&[0])),
        _ => offsets(asked, |_| Ok(5)),
    });
    let found = client
        .list_offsets(&orders(2), OffsetSpec::Latest)
        .await
        .unwrap();
    assert_eq!(found[&("orders".to_owned(), 0)].unwrap().offset, 5);
    assert_eq!(
        found[&("orders".to_owned(), 1)],
        Err(ErrorCode::NETWORK_EXCEPTION)
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_broker_refuses_for_good_is_not_asked_again() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let client = FakeCluster::client(|asked| match asked.api {
        ApiKey::Metadata => Reply::with(&metadata(&[1]), asked.version),
        _ => {
            CALLS.fetch_add(1, Ordering::SeqCst);
            offsets(asked, |_| Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED))
        }
    });
    let found = client
        .list_offsets(&orders(1), OffsetSpec::Latest)
        .await
        .unwrap();
    assert_eq!(
        found[&("orders".to_owned(), 0)],
        Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED)
    );
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_made_anew_and_the_question_repeated() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let client = FakeCluster::client(|asked| match asked.api {
        ApiKey::Metadata => Reply::with(&metadata(&[1]), asked.version),
        _ if CALLS.fetch_add(1, Ordering::SeqCst) == 0 => Reply::HangUp,
        _ => offsets(asked, |_| Ok(5)),
    });
    let found = client
        .list_offsets(&orders(1), OffsetSpec::LastStable)
        .await
        .unwrap();
    assert_eq!(found[&("orders".to_owned(), 0)].unwrap().offset, 5);
    assert_eq!(CALLS.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_producer_id_is_asked_for_until_there_is_one() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let client = FakeCluster::client(|asked| {
        let request: InitProducerIdRequest = asked.decode();
        assert_eq!(request.transactional_id, None);
        let code = match CALLS.fetch_add(1, Ordering::SeqCst) {
            0 => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            1 => ErrorCode::COORDINATOR_NOT_AVAILABLE,
            _ => {
                let answer = InitProducerIdResponse::default().with_producer_id(ProducerId(4000));
                return Reply::with(&answer, asked.version);
            }
        };
        Reply::with(
            &InitProducerIdResponse::default().with_error_code(code.0),
            asked.version,
        )
    });
    assert_eq!(client.init_producer_id().await.unwrap(), (4000, 0));
}

fn new_topic() -> NewTopic {
    NewTopic {
        name: "orders".to_owned(),
        partitions: 1,
        replication_factor: None,
        configs: Default::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn topics_are_created_by_the_controller_and_not_twice() {
    static CALLS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let client = FakeCluster::client(|asked| match asked.api {
        ApiKey::Metadata => Reply::with(&metadata(&[1]), asked.version),
        _ => {
            CALLS.lock().unwrap().push(asked.broker.host.to_string());
            Reply::HangUp
        }
    });
    let error = client
        .create_topics(&[new_topic()], false)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Disconnected {
                api: "CreateTopics",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(*CALLS.lock().unwrap(), ["kafka-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_moved_is_found_again() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let client = FakeCluster::client(|asked| match asked.api {
        ApiKey::Metadata => Reply::with(&metadata(&[1]), asked.version),
        _ => {
            let code = if CALLS.fetch_add(1, Ordering::SeqCst) == 0 {
                ErrorCode::NOT_CONTROLLER.0
            } else {
                0
            };
            let topic =
                kafka_protocol::messages::create_topics_response::CreatableTopicResult::default()
                    .with_name(topic_name("orders"))
                    .with_error_code(code);
            Reply::with(
                &CreateTopicsResponse::default().with_topics(vec![topic]),
                asked.version,
            )
        }
    });
    let created = client.create_topics(&[new_topic()], false).await.unwrap();
    assert_eq!(created[0].name, "orders");
    assert_eq!(CALLS.load(Ordering::SeqCst), 2);
}

/// The coordinator of a group that moved between the question who it is and the next one is asked for again.
#[tokio::test(start_paused = true)]
async fn a_coordinator_that_moved_is_found_again() {
    static ASKED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let client = FakeCluster::client(|asked| match asked.api {
        ApiKey::Metadata => Reply::with(&metadata(&[1]), asked.version),
        ApiKey::FindCoordinator => {
            let moved = !ASKED.lock().unwrap().is_empty();
            let answer =
                FindCoordinatorResponse::default().with_node_id(BrokerId(1 + i32::from(moved)));
            Reply::with(&answer, asked.version)
        }
        ApiKey::OffsetFetch => {
            let broker = asked.broker.host.to_string();
            let code = match broker.as_str() {
                "kafka-1" => ErrorCode::NOT_COORDINATOR,
                _ => ErrorCode(0),
            };
            ASKED.lock().unwrap().push(broker);
            let partition = OffsetFetchResponsePartition::default().with_committed_offset(7);
            let topic = OffsetFetchResponseTopic::default()
                .with_name(topic_name("orders"))
                .with_partitions(vec![partition]);
            let answer = OffsetFetchResponse::default()
                .with_error_code(code.0)
                .with_topics(vec![topic]);
            Reply::with(&answer, asked.version)
        }
        other => panic!("{other:?} is not needed"),
    });
    let offsets = client.committed_offsets("billing").await.unwrap();
    assert_eq!(offsets[&("orders".to_owned(), 0)].offset, 7);
    assert_eq!(*ASKED.lock().unwrap(), ["kafka-1", "kafka-2"]);
}

#[tokio::test(start_paused = true)]
async fn metadata_shows_partitions_without_leaders_and_topics_that_are_not_there() {
    let client = FakeCluster::client(|asked| {
        let mut answer = metadata(&[2, -1]).with_cluster_id(Some(StrBytes::from_static_str("c")));
        let missing = MetadataResponseTopic::default()
            .with_name(Some(topic_name("gone")))
            .with_error_code(3);
        answer.topics.push(missing);
        Reply::with(&answer, asked.version)
    });
    let metadata = client.metadata(TopicFilter::All).await.unwrap();
    assert_eq!(metadata.cluster_id.as_deref(), Some("c"));
    assert_eq!(metadata.controller, Some(2));
    let [orders, gone] = &metadata.topics[..] else {
        panic!("{metadata:?}")
    };
    assert_eq!((orders.id, orders.error), (None, None));
    assert_eq!(orders.partition(0).unwrap().leader, Some(2));
    assert_eq!(orders.partition(1).unwrap().leader, None);
    assert_eq!(gone.error, Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(client.leader("orders", 0).await.unwrap(), Some(2));
    assert_eq!(client.leader("orders", 1).await.unwrap(), None);
    assert_eq!(client.leader("elsewhere", 0).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_cannot_be_reached_is_an_error_in_the_end() {
    let client = FakeCluster::client(|_| Reply::HangUp);
    let started = tokio::time::Instant::now();
    let error = client.cluster_id().await.unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }), "{error}");
    assert!(started.elapsed() <= client.config().call_timeout);
}

#[tokio::test]
async fn calls_can_be_spawned() {
    fn check<T: Send>(_: T) {}
    let client = FakeCluster::client(|_| Reply::HangUp);
    check(client.metadata(TopicFilter::All));
    check(client.list_offsets(&[], OffsetSpec::Latest));
    check(client.create_topics(&[], false));
    check(client.describe_topic_configs(&[]));
    check(client.fetch_at("orders", None, 0, 0, 1));
    check(client.describe_producers("orders", 0));
    check(client.init_producer_id());
}
