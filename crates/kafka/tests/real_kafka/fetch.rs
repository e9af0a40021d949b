//! Fetching: sessions, positions, and what brokers answer about partitions.

use std::collections::BTreeMap;

use anyhow::Result;
use armory_kafka::{ErrorCode, FetchAssignment, FetchOptions, Fetcher, NewTopic, PartitionFetch};
use armory_testkit::{Kafka, KafkaOptions};
use uuid::Uuid;

use crate::setup::{
    Producer, assignment, batch, client, client_of, fetch_one, fetch_until, for_partition, headers,
    leader, produce, producing, settled, topic,
};

/// The offsets of all records, by the headers of the whole batches that came, by partition.
fn covered(fetches: &[PartitionFetch]) -> BTreeMap<i32, Vec<(i64, i64)>> {
    let mut covered: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
    for fetch in fetches {
        let batches = headers(&fetch.records);
        covered.entry(fetch.partition).or_default().extend(
            batches
                .iter()
                .map(|header| (header.base_offset, header.last_offset())),
        );
    }
    covered
}

#[tokio::test]
async fn many_partitions_come_in_one_answer_and_every_batch_once() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 5).await?;
    let connection = producing(&client, &orders).await?;
    for _ in 0..3 {
        let batches = (0..5)
            .map(|partition| for_partition(&orders, partition, batch(Producer::NONE, 10, 1000)));
        connection.send(batches.collect()).await?.await?;
    }
    let mut fetcher =
        Fetcher::connect(&client, leader(&orders, 0), FetchOptions::default()).await?;
    assert!(fetcher.is_empty());
    for partition in 0..5 {
        fetcher.assign(assignment(&orders, partition, 0));
    }
    assert_eq!(fetcher.len(), 5);
    assert!(fetcher.is_by_topic_id());
    let first = fetcher.receive().await?;
    assert_eq!(first.partitions.len(), 5);
    assert!(first.bytes > 5 * 3 * 10_000);
    let expected = vec![(0, 9), (10, 19), (20, 29)];
    assert_eq!(
        covered(&first.partitions),
        (0..5)
            .map(|partition| (partition, expected.clone()))
            .collect()
    );
    let one = &first.partitions[0];
    assert_eq!((one.fetch_offset, one.next_offset), (0, 30));
    assert_eq!(
        (
            one.high_watermark,
            one.last_stable_offset,
            one.log_start_offset
        ),
        (30, 30, 0)
    );
    assert_eq!(
        (one.topic.as_str(), one.topic_id),
        (orders.name.as_str(), orders.id)
    );

    // Only what moved is told from now on.
    fetcher.send().await?;
    produce(&connection, &orders, 3, batch(Producer::NONE, 10, 1000)).await?;
    let second = fetch_one(&mut fetcher, 3).await?;
    assert_eq!((second.fetch_offset, second.next_offset), (30, 40));

    fetcher.remove(&orders.name, 3);
    produce(&connection, &orders, 3, batch(Producer::NONE, 10, 1000)).await?;
    produce(&connection, &orders, 4, batch(Producer::NONE, 10, 1000)).await?;
    let third = fetch_until(&mut fetcher, &[(4, 40)]).await?;
    assert!(third.iter().all(|fetch| fetch.partition == 4), "{third:?}");
    Ok(())
}

#[tokio::test]
async fn a_part_of_a_batch_at_the_end_is_asked_for_again() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 2).await?;
    let connection = producing(&client, &orders).await?;
    for _ in 0..20 {
        for partition in 0..2 {
            produce(
                &connection,
                &orders,
                partition,
                batch(Producer::NONE, 10, 1000),
            )
            .await?;
        }
    }
    // Room for one and a half batches of a partition.
    let options = FetchOptions {
        partition_max_bytes: 15_000,
        max_bytes: 20_000,
        ..FetchOptions::default()
    };
    let mut fetcher = Fetcher::connect(&client, leader(&orders, 0), options).await?;
    fetcher.assign(assignment(&orders, 0, 0));
    fetcher.assign(assignment(&orders, 1, 0));
    let fetches = fetch_until(&mut fetcher, &[(0, 200), (1, 200)]).await?;
    assert!(
        fetches.iter().any(|fetch| {
            let whole: usize = headers(&fetch.records)
                .iter()
                .map(|header| header.size())
                .sum();
            fetch.records.len() > whole
        }),
        "no answer ended within a batch"
    );
    let expected: Vec<_> = (0..20).map(|batch| (10 * batch, 10 * batch + 9)).collect();
    assert_eq!(
        covered(&fetches),
        BTreeMap::from([(0, expected.clone()), (1, expected)])
    );
    Ok(())
}

#[tokio::test]
async fn a_batch_larger_than_the_limits_comes_whole() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 1).await?;
    let connection = producing(&client, &orders).await?;
    produce(&connection, &orders, 0, batch(Producer::NONE, 1, 500_000)).await?;
    let options = FetchOptions {
        partition_max_bytes: 1000,
        max_bytes: 1000,
        ..FetchOptions::default()
    };
    let mut fetcher = Fetcher::connect(&client, leader(&orders, 0), options).await?;
    fetcher.assign(assignment(&orders, 0, 0));
    let fetch = fetch_one(&mut fetcher, 0).await?;
    assert_eq!((fetch.next_offset, headers(&fetch.records).len()), (1, 1));
    Ok(())
}

#[tokio::test]
async fn an_offset_within_a_batch_brings_the_whole_batch() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 1).await?;
    let connection = producing(&client, &orders).await?;
    produce(&connection, &orders, 0, batch(Producer::NONE, 10, 100)).await?;
    produce(&connection, &orders, 0, batch(Producer::NONE, 10, 100)).await?;
    let mut fetcher =
        Fetcher::connect(&client, leader(&orders, 0), FetchOptions::default()).await?;
    fetcher.assign(assignment(&orders, 0, 14));
    let fetch = fetch_one(&mut fetcher, 0).await?;
    assert_eq!(headers(&fetch.records)[0].base_offset, 10);
    assert_eq!((fetch.fetch_offset, fetch.next_offset), (14, 20));

    let last = client.fetch_at(&orders.name, orders.id, 0, 19, 1).await?;
    assert_eq!(headers(&last.records)[0].last_offset(), 19);
    let by_name = client.fetch_at(&orders.name, None, 0, 0, 1).await?;
    assert_eq!(headers(&by_name.records)[0].base_offset, 0);
    let beyond = client
        .fetch_at(&orders.name, orders.id, 0, 21, 1)
        .await
        .unwrap_err();
    assert_eq!(beyond.code(), Some(ErrorCode::OFFSET_OUT_OF_RANGE));
    assert!(
        beyond
            .to_string()
            .contains(&format!("Fetch for {}-0", orders.name)),
        "{beyond}"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_partition_is_told_and_the_others_go_on() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 4).await?;
    let connection = producing(&client, &orders).await?;
    for partition in 0..4 {
        produce(
            &connection,
            &orders,
            partition,
            batch(Producer::NONE, 10, 100),
        )
        .await?;
    }
    let mut fetcher =
        Fetcher::connect(&client, leader(&orders, 0), FetchOptions::default()).await?;
    fetcher.assign(assignment(&orders, 0, 0));
    fetcher.assign(assignment(&orders, 1, 11));
    fetcher.assign(FetchAssignment {
        leader_epoch: 99,
        ..assignment(&orders, 2, 0)
    });
    let stranger = Uuid::from_u128(0x5eed);
    fetcher.assign(FetchAssignment {
        topic: "stranger".to_owned(),
        topic_id: Some(stranger),
        leader_epoch: -1,
        ..assignment(&orders, 0, 0)
    });
    let response = fetcher.receive().await?;
    let error = |topic: &str, partition| {
        let mut found = response
            .partitions
            .iter()
            .filter(|fetch| fetch.topic == topic && fetch.partition == partition);
        found.next().expect("it is told").error
    };
    assert_eq!(error(&orders.name, 0), None);
    assert_eq!(error(&orders.name, 1), Some(ErrorCode::OFFSET_OUT_OF_RANGE));
    assert_eq!(
        error(&orders.name, 2),
        Some(ErrorCode::UNKNOWN_LEADER_EPOCH)
    );
    assert_eq!(error("stranger", 0), Some(ErrorCode::UNKNOWN_TOPIC_ID));

    // The caller's decisions.
    fetcher.remove("stranger", 0);
    fetcher.assign(assignment(&orders, 1, 5));
    fetcher.assign(assignment(&orders, 2, 0));
    fetch_until(&mut fetcher, &[(1, 10), (2, 10)]).await?;
    Ok(())
}

#[tokio::test]
async fn what_flies_for_an_earlier_assignment_is_dropped() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 1).await?;
    let connection = producing(&client, &orders).await?;
    for _ in 0..2 {
        produce(&connection, &orders, 0, batch(Producer::NONE, 10, 100)).await?;
    }
    let mut fetcher =
        Fetcher::connect(&client, leader(&orders, 0), FetchOptions::default()).await?;
    fetcher.assign(assignment(&orders, 0, 0));
    fetcher.send().await?;
    fetcher.assign(assignment(&orders, 0, 10));
    assert!(fetcher.receive().await?.partitions.is_empty());
    let fetch = fetch_one(&mut fetcher, 0).await?;
    assert_eq!(
        (fetch.fetch_offset, headers(&fetch.records)[0].base_offset),
        (10, 10)
    );
    Ok(())
}

#[tokio::test]
async fn a_topic_created_again_is_not_mixed_up_with_its_namesake() -> Result<()> {
    let client = client()?;
    let old = topic(&client, "orders", 1).await?;
    let connection = producing(&client, &old).await?;
    produce(&connection, &old, 0, batch(Producer::NONE, 10, 100)).await?;
    let mut fetcher = Fetcher::connect(&client, leader(&old, 0), FetchOptions::default()).await?;
    fetcher.assign(assignment(&old, 0, 0));
    fetch_until(&mut fetcher, &[(0, 10)]).await?;

    client
        .delete_topics(std::slice::from_ref(&old.name))
        .await?;
    let again = NewTopic {
        name: old.name.clone(),
        partitions: 1,
        replication_factor: None,
        configs: BTreeMap::new(),
    };
    client.create_topics(&[again], false).await?;
    let new = loop {
        let found = settled(&client, &old.name, 1).await?;
        if found.id != old.id {
            break found;
        }
    };
    for _ in 0..2 {
        produce(&connection, &new, 0, batch(Producer::NONE, 10, 100)).await?;
    }
    // The old one does not come back under its name, however much the new one holds.
    for _ in 0..3 {
        let gone = fetch_one(&mut fetcher, 0).await?;
        let error = gone.error.expect("nothing can come of it");
        assert!(
            [
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                ErrorCode::UNKNOWN_TOPIC_ID,
                ErrorCode::INCONSISTENT_TOPIC_ID
            ]
            .contains(&error),
            "{error}"
        );
        assert_eq!(gone.topic_id, old.id);
    }
    let ack = produce(&connection, &old, 0, batch(Producer::NONE, 10, 100)).await?;
    assert_eq!(ack.error, Some(ErrorCode::UNKNOWN_TOPIC_ID));

    fetcher.assign(assignment(&new, 0, 0));
    let fetches = fetch_until(&mut fetcher, &[(0, 20)]).await?;
    assert!(fetches.iter().all(|fetch| fetch.topic_id == new.id));
    Ok(())
}

#[tokio::test]
async fn without_topic_ids_topics_are_fetched_and_produced_by_name() -> Result<()> {
    let client = client()?;
    let mut orders = topic(&client, "orders", 2).await?;
    let with_id = orders.clone();
    orders.id = None;
    let connection = producing(&client, &orders).await?;
    assert_eq!(
        produce(&connection, &orders, 0, batch(Producer::NONE, 10, 100))
            .await?
            .base_offset,
        0
    );
    let mut fetcher =
        Fetcher::connect(&client, leader(&orders, 0), FetchOptions::default()).await?;
    fetcher.assign(assignment(&orders, 0, 0));
    assert!(!fetcher.is_by_topic_id());
    fetch_until(&mut fetcher, &[(0, 10)]).await?;
    // From names to ids within one fetcher: the broker gets a new session.
    fetcher.assign(assignment(&with_id, 0, 0));
    assert!(fetcher.is_by_topic_id());
    let fetches = fetch_until(&mut fetcher, &[(0, 10)]).await?;
    assert_eq!(fetches.last().unwrap().topic_id, with_id.id);
    Ok(())
}

#[tokio::test]
async fn a_thousand_partitions_fit_in_a_session() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "wide", 1000).await?;
    let connection = producing(&client, &orders).await?;
    let mut fetcher =
        Fetcher::connect(&client, leader(&orders, 0), FetchOptions::default()).await?;
    for partition in 0..1000 {
        fetcher.assign(assignment(&orders, partition, 0));
    }
    fetcher.receive().await?;
    for round in 0..3 {
        let chosen: Vec<i32> = (0..10).map(|number| 100 * number + round).collect();
        let batches = chosen
            .iter()
            .map(|partition| for_partition(&orders, *partition, batch(Producer::NONE, 1, 10)));
        connection.send(batches.collect()).await?.await?;
        let ends: Vec<(i32, i64)> = chosen.iter().map(|partition| (*partition, 1)).collect();
        fetch_until(&mut fetcher, &ends).await?;
    }
    Ok(())
}

#[tokio::test]
async fn own_kafka_without_room_for_sessions_serves_every_partition() -> Result<()> {
    let options =
        KafkaOptions::default().property("max.incremental.fetch.session.cache.slots", "0");
    let kafka = Kafka::start(options)?;
    let client = client_of(&kafka)?;
    let orders = topic(&client, "orders", 4).await?;
    let connection = producing(&client, &orders).await?;
    for _ in 0..10 {
        let batches = (0..4)
            .map(|partition| for_partition(&orders, partition, batch(Producer::NONE, 10, 1000)));
        connection.send(batches.collect()).await?.await?;
    }
    // Room for one partition in an answer: without turns the first would take it for ever.
    let options = FetchOptions {
        partition_max_bytes: 30_000,
        max_bytes: 30_000,
        ..FetchOptions::default()
    };
    let mut fetcher = Fetcher::connect(&client, leader(&orders, 0), options).await?;
    for partition in 0..4 {
        fetcher.assign(assignment(&orders, partition, 0));
    }
    let mut first_served = Vec::new();
    while first_served.len() < 4 {
        for fetch in fetcher.receive().await?.partitions {
            assert_eq!(fetch.error, None);
            if fetch.next_offset > fetch.fetch_offset && !first_served.contains(&fetch.partition) {
                assert!(
                    fetch.next_offset < 100,
                    "one partition was served to its end before all others began"
                );
                first_served.push(fetch.partition);
            }
        }
    }
    fetch_until(&mut fetcher, &[(0, 100), (1, 100), (2, 100), (3, 100)]).await?;
    Ok(())
}
