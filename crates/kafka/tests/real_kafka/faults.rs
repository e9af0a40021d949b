//! Brokers that go away, come back, hang, or hand a partition to another.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use armory_kafka::{
    Backoff, Client, Error, ErrorCode, FetchOptions, Fetcher, NewTopic, OffsetSpec,
    ProduceConnection, ProduceOptions,
};
use armory_testkit::{Kafka, KafkaOptions};

use crate::setup::{
    Producer, assignment, batch, client_of, config, fetch_until, for_partition, leader, produce,
    producing, settled, topic,
};

#[tokio::test(flavor = "multi_thread")]
async fn own_kafka_that_restarts_ends_connections_cleanly_and_takes_new_ones() -> Result<()> {
    let mut kafka = Kafka::start(KafkaOptions::default())?;
    let client = client_of(&kafka)?;
    let orders = topic(&client, "orders", 1).await?;
    let connection = producing(&client, &orders).await?;
    let (id, epoch) = client.init_producer_id().await?;
    produce(
        &connection,
        &orders,
        0,
        batch(
            Producer {
                id,
                epoch,
                sequence: 0,
            },
            10,
            100,
        ),
    )
    .await?;
    let mut fetcher =
        Fetcher::connect(&client, leader(&orders, 0), FetchOptions::default()).await?;
    fetcher.assign(assignment(&orders, 0, 0));
    fetch_until(&mut fetcher, &[(0, 10)]).await?;

    kafka.kill()?;
    let lost = fetcher.receive().await.unwrap_err();
    assert!(
        matches!(lost, Error::Disconnected { api: "Fetch", .. }) && lost.is_retriable(),
        "{lost}"
    );
    let next = for_partition(
        &orders,
        0,
        batch(
            Producer {
                id,
                epoch,
                sequence: 10,
            },
            10,
            100,
        ),
    );
    let lost = match connection.send(vec![next.clone()]).await {
        Ok(pending) => pending.await.unwrap_err(),
        Err(error) => error,
    };
    assert!(
        matches!(lost, Error::Disconnected { api: "Produce", .. }) && !lost.is_certain(),
        "{lost}"
    );
    let refused = Fetcher::connect(&client, leader(&orders, 0), FetchOptions::default())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::Connect { .. }) && refused.is_retriable(),
        "{refused}"
    );
    assert!(refused.to_string().contains(kafka.bootstrap()), "{refused}");

    // A call that may be repeated waits for the broker to come back.
    let key = (orders.name.clone(), 0);
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.cluster_id().await }
    });
    kafka.start_again()?;
    assert!(asking.await??.is_some());

    let orders = settled(&client, &orders.name, 1).await?;
    let ends = client
        .list_offsets(std::slice::from_ref(&key), OffsetSpec::Latest)
        .await?;
    assert_eq!(ends[&key].unwrap().offset, 10);
    let connection = producing(&client, &orders).await?;
    let ack = connection.send(vec![next]).await?.await?;
    assert_eq!((ack[0].error, ack[0].base_offset), (None, 10));
    let mut fetcher =
        Fetcher::connect(&client, leader(&orders, 0), FetchOptions::default()).await?;
    fetcher.assign(assignment(&orders, 0, 10));
    fetch_until(&mut fetcher, &[(0, 20)]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn own_kafka_that_hangs_is_given_up_after_the_socket_timeout() -> Result<()> {
    let mut kafka = Kafka::start(KafkaOptions::default())?;
    let properties = [
        ("socket.timeout.ms", "1000"),
        ("request.timeout.ms", "500"),
        ("fetch.wait.max.ms", "100"),
    ];
    let client = Client::new(config(&kafka, &properties)?)?;
    let orders = topic(&client, "orders", 1).await?;
    let mut fetcher = Fetcher::connect(&client, leader(&orders, 0), client.config().fetch).await?;
    fetcher.assign(assignment(&orders, 0, 0));
    fetcher.receive().await?;
    let connection =
        ProduceConnection::connect(&client, leader(&orders, 0), client.config().produce).await?;
    produce(&connection, &orders, 0, batch(Producer::NONE, 1, 100)).await?;

    kafka.pause()?;
    let started = Instant::now();
    let pending = connection
        .send(vec![for_partition(
            &orders,
            0,
            batch(Producer::NONE, 1, 100),
        )])
        .await?;
    let (produced, fetched) = tokio::join!(pending, async {
        loop {
            if let Err(error) = fetcher.receive().await {
                break error;
            }
        }
    });
    let produced = produced.unwrap_err();
    assert!(
        matches!(produced, Error::Timeout { api: "Produce", .. }) && !produced.is_certain(),
        "{produced}"
    );
    assert!(
        matches!(fetched, Error::Timeout { api: "Fetch", .. }),
        "{fetched}"
    );
    assert!(started.elapsed() < Duration::from_secs(10));
    kafka.resume()?;
    assert!(client.cluster_id().await?.is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn own_kafka_of_three_nodes_is_followed_when_a_leader_goes() -> Result<()> {
    let mut kafka = Kafka::start(KafkaOptions::three_nodes())?;
    let client = client_of(&kafka)?;
    let new = NewTopic {
        name: "orders".to_owned(),
        partitions: 6,
        replication_factor: Some(3),
        configs: BTreeMap::from([("min.insync.replicas".to_owned(), "2".to_owned())]),
    };
    client.create_topics(&[new], false).await?;
    let orders = settled(&client, "orders", 6).await?;
    for partition in 0..6 {
        let to = leader(&orders, partition);
        let connection = ProduceConnection::connect(&client, to, ProduceOptions::default()).await?;
        produce(
            &connection,
            &orders,
            partition,
            batch(Producer::NONE, 10, 100),
        )
        .await?;
    }
    // A broker that has nothing of a partition says who leads it. (A follower would serve it.)
    let alone = NewTopic {
        name: "alone".to_owned(),
        partitions: 1,
        replication_factor: Some(1),
        configs: BTreeMap::new(),
    };
    client.create_topics(&[alone], false).await?;
    let alone = settled(&client, "alone", 1).await?;
    let stranger = (1..=3)
        .find(|id| *id != leader(&alone, 0))
        .expect("there are three");
    let mut fetcher = Fetcher::connect(&client, stranger, FetchOptions::default()).await?;
    fetcher.assign(assignment(&alone, 0, 0));
    let told = fetcher.receive().await?.partitions.remove(0);
    assert_eq!(told.error, Some(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    assert_eq!(
        told.current_leader.map(|(id, _)| id),
        Some(leader(&alone, 0))
    );

    let gone = leader(&orders, 0);
    kafka.node(gone as usize - 1).kill()?;
    let all: Vec<(String, i32)> = (0..6)
        .map(|partition| ("orders".to_owned(), partition))
        .collect();
    let mut backoff = Backoff::default();
    let started = Instant::now();
    loop {
        let ends = client.list_offsets(&all, OffsetSpec::Latest).await?;
        assert_eq!(ends.len(), 6);
        if ends
            .values()
            .all(|end| end.is_ok_and(|end| end.offset == 10))
        {
            break;
        }
        // The cluster itself takes its time to notice.
        assert!(started.elapsed() < Duration::from_secs(60), "{ends:?}");
        tokio::time::sleep(backoff.next_delay()).await;
    }
    let moved = client
        .leader("orders", 0)
        .await?
        .expect("another broker leads it");
    assert_ne!(moved, gone);
    let last = client.fetch_at("orders", orders.id, 0, 9, 1).await?;
    assert_eq!(last.next_offset, 10);
    Ok(())
}
