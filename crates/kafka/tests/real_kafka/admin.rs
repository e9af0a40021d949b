//! Metadata, offsets, and administration.

use std::collections::BTreeMap;

use anyhow::Result;
use armory_kafka::{Backoff, EpochQuery, Error, ErrorCode, NewTopic, OffsetSpec, TopicFilter};
use armory_testkit::unique;

use crate::setup::{Producer, batch, client, produce, producing, settled, topic};

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
    result.unwrap_err().code().expect("the broker said why")
}

#[tokio::test]
async fn metadata_names_brokers_topics_and_leaders() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 3).await?;
    let missing = unique("missing");

    let all = client.metadata(TopicFilter::All).await?;
    assert!(all.topics.contains(&orders));
    assert!(all.cluster_id.is_some());
    assert_eq!(all.cluster_id, client.cluster_id().await?);
    assert!(
        all.brokers
            .iter()
            .any(|broker| Some(broker.id) == all.controller)
    );
    assert!(orders.id.is_some() && !orders.internal);
    assert_eq!(
        orders
            .partitions
            .iter()
            .map(|partition| partition.index)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );

    let some = client
        .metadata(TopicFilter::Names(std::slice::from_ref(&missing)))
        .await?;
    assert_eq!(some.topics.len(), 1);
    assert_eq!(
        some.topics[0].error,
        Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    );
    // Asking for a topic does not create it.
    let all = client.metadata(TopicFilter::All).await?;
    assert!(all.topics.iter().all(|topic| topic.name != missing));

    assert_eq!(
        client.leader(&orders.name, 2).await?,
        orders.partitions[2].leader
    );
    assert_eq!(client.leader(&orders.name, 3).await?, None);
    Ok(())
}

#[tokio::test]
async fn topics_are_created_configured_and_deleted() -> Result<()> {
    let client = client()?;
    let name = unique("configured");
    let new = NewTopic {
        name: name.clone(),
        partitions: 2,
        replication_factor: Some(1),
        configs: BTreeMap::from([("retention.ms".to_owned(), "86400000".to_owned())]),
    };
    let tried = client
        .create_topics(std::slice::from_ref(&new), true)
        .await?;
    assert_eq!(tried[0].name, name);
    let names = [name.clone()];
    let metadata = client.metadata(TopicFilter::Names(&names)).await?;
    assert_eq!(
        metadata.topics[0].error,
        Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    );

    let created = client
        .create_topics(std::slice::from_ref(&new), false)
        .await?;
    let meta = settled(&client, &name, 2).await?;
    assert_eq!(created[0].id, meta.id);
    assert_eq!(
        code(client.create_topics(&[new], false).await),
        ErrorCode::TOPIC_ALREADY_EXISTS
    );

    let set = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    client
        .alter_topic_configs(&name, &set, &["retention.ms".to_owned()])
        .await?;
    // The controller has answered; the broker that is asked may learn of it a moment later.
    let mut backoff = Backoff::default();
    let configs = loop {
        let configs = client.describe_topic_configs(&names).await?;
        if !configs[&name]["cleanup.policy"].is_default {
            break configs;
        }
        tokio::time::sleep(backoff.next_delay()).await;
    };
    let configs = &configs[&name];
    let value = |name: &str| (configs[name].value.as_deref(), configs[name].is_default);
    assert_eq!(value("cleanup.policy"), (Some("compact"), false));
    assert!(value("retention.ms").1 && value("retention.ms").0 != Some("86400000"));
    assert!(value("max.message.bytes").1);

    client.delete_topics(&names).await?;
    Ok(())
}

#[tokio::test]
async fn refusals_carry_the_brokers_reason() -> Result<()> {
    let client = client()?;
    let bad = NewTopic {
        name: unique("bad"),
        partitions: 1,
        replication_factor: None,
        configs: BTreeMap::from([("retention.ms".to_owned(), "soon".to_owned())]),
    };
    let error = client
        .create_topics(std::slice::from_ref(&bad), false)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::INVALID_CONFIG));
    let text = error.to_string();
    assert!(
        text.contains(&bad.name) && text.contains("CreateTopics") && text.contains("retention.ms"),
        "{text}"
    );

    let missing = [unique("missing")];
    let described = client.describe_topic_configs(&missing).await;
    assert_eq!(code(described), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    Ok(())
}

#[tokio::test]
async fn offsets_are_found_at_both_ends_and_by_time() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 2).await?;
    let connection = producing(&client, &orders).await?;
    produce(&connection, &orders, 0, batch(Producer::NONE, 10, 100)).await?;
    produce(&connection, &orders, 0, batch(Producer::NONE, 10, 100)).await?;
    let both = [(orders.name.clone(), 0), (orders.name.clone(), 1)];

    let ends = client.list_offsets(&both, OffsetSpec::Latest).await?;
    assert_eq!(
        (
            ends[&both[0]].unwrap().offset,
            ends[&both[1]].unwrap().offset
        ),
        (20, 0)
    );
    let stable = client.list_offsets(&both, OffsetSpec::LastStable).await?;
    assert_eq!(stable[&both[0]].unwrap().offset, 20);
    // Batches of records 0 to 9 have the timestamps …000 to …009.
    let by_time = client
        .list_offsets(&both, OffsetSpec::Timestamp(1_700_000_000_004))
        .await?;
    let found = by_time[&both[0]].unwrap();
    assert_eq!((found.offset, found.timestamp), (4, 1_700_000_000_004));
    assert_eq!(by_time[&both[1]].unwrap().offset, -1);

    assert_eq!(client.delete_records(&orders.name, 0, 7).await?, 7);
    let starts = client.list_offsets(&both, OffsetSpec::Earliest).await?;
    assert_eq!(
        (
            starts[&both[0]].unwrap().offset,
            starts[&both[1]].unwrap().offset
        ),
        (7, 0)
    );
    let beyond = client.delete_records(&orders.name, 0, 21).await;
    assert_eq!(code(beyond), ErrorCode::OFFSET_OUT_OF_RANGE);

    let absent = [(orders.name.clone(), 9)];
    let answer = client.list_offsets(&absent, OffsetSpec::Latest).await?;
    assert_eq!(
        answer[&absent[0]],
        Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    );
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_leader_epoch_is_told() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 1).await?;
    let connection = producing(&client, &orders).await?;
    produce(&connection, &orders, 0, batch(Producer::NONE, 10, 100)).await?;
    let current = orders.partitions[0].leader_epoch;
    let query = |leader_epoch| EpochQuery {
        topic: orders.name.clone(),
        partition: 0,
        current_leader_epoch: current,
        leader_epoch,
    };
    let key = (orders.name.clone(), 0);
    let end = client.offset_for_leader_epoch(&[query(current)]).await?[&key].unwrap();
    assert_eq!((end.leader_epoch, end.end_offset), (current, 10));
    let unknown = client
        .offset_for_leader_epoch(&[query(current + 5)])
        .await?[&key]
        .unwrap();
    assert_eq!((unknown.leader_epoch, unknown.end_offset), (-1, -1));
    Ok(())
}

#[tokio::test]
async fn every_producer_id_is_new() -> Result<()> {
    let client = client()?;
    let first = client.init_producer_id().await?;
    let second = client.init_producer_id().await?;
    assert!(first.0 >= 0 && first.0 != second.0);
    assert_eq!(first.1, 0);
    Ok(())
}
