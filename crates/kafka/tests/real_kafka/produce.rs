//! Producing: order, idempotence, and refusals.

use anyhow::Result;
use armory_kafka::{Error, ErrorCode, ProduceBatch};
use armory_records::rewrite_for_produce;
use bytes::BytesMut;
use uuid::Uuid;

use crate::setup::{Producer, batch, client, for_partition, headers, produce, producing, topic};

#[tokio::test]
async fn an_idempotent_producer_appends_every_batch_once() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 1).await?;
    let connection = producing(&client, &orders).await?;
    let (id, epoch) = client.init_producer_id().await?;
    let numbered = |sequence| {
        batch(
            Producer {
                id,
                epoch,
                sequence,
            },
            10,
            100,
        )
    };

    // Five requests under way at once.
    let mut flying = Vec::new();
    for number in 0..5 {
        flying.push(
            connection
                .send(vec![for_partition(&orders, 0, numbered(10 * number))])
                .await?,
        );
    }
    for (number, pending) in (0_i64..).zip(flying) {
        let acks = pending.await?;
        assert_eq!((acks[0].error, acks[0].base_offset), (None, 10 * number));
        assert_eq!(
            (acks[0].topic.as_str(), acks[0].partition),
            (orders.name.as_str(), 0)
        );
        assert_eq!(
            (acks[0].log_append_time, acks[0].log_start_offset),
            (None, 0)
        );
    }
    let states = client.describe_producers(&orders.name, 0).await?;
    assert_eq!(states.len(), 1);
    assert_eq!(
        (states[0].producer_id, states[0].producer_epoch),
        (id, i32::from(epoch))
    );
    assert_eq!(
        (states[0].last_sequence, states[0].transaction_start_offset),
        (49, None)
    );

    // Sent again, on another connection: recognised, and not appended.
    let another = producing(&client, &orders).await?;
    let again = produce(&another, &orders, 0, numbered(40)).await?;
    assert_eq!((again.error, again.base_offset), (None, 40));
    // A gap, and an older epoch.
    let gap = produce(&another, &orders, 0, numbered(60)).await?;
    assert_eq!(gap.error, Some(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    let newer = Producer {
        id,
        epoch: epoch + 1,
        sequence: 0,
    };
    assert_eq!(
        produce(&another, &orders, 0, batch(newer, 10, 100))
            .await?
            .base_offset,
        50
    );
    let older = produce(&another, &orders, 0, numbered(50)).await?;
    assert_eq!(older.error, Some(ErrorCode::INVALID_PRODUCER_EPOCH));

    // What landed is in the header of the last batch.
    let last = client.fetch_at(&orders.name, orders.id, 0, 59, 1).await?;
    let header = headers(&last.records)[0];
    assert_eq!(
        (
            header.producer_id,
            header.producer_epoch,
            header.base_sequence
        ),
        (id, epoch + 1, 0)
    );
    assert_eq!(header.last_offset(), 59);
    Ok(())
}

#[tokio::test]
async fn one_request_takes_batches_of_several_topics_and_partitions() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 3).await?;
    let payments = topic(&client, "payments", 2).await?;
    let connection = producing(&client, &orders).await?;
    let stranger = ProduceBatch {
        topic_id: Some(Uuid::from_u128(0x5eed)),
        topic: "stranger".into(),
        ..for_partition(&orders, 0, batch(Producer::NONE, 1, 100))
    };
    let batches = vec![
        for_partition(&orders, 0, batch(Producer::NONE, 1, 100)),
        for_partition(&payments, 1, batch(Producer::NONE, 2, 100)),
        stranger,
        for_partition(&orders, 2, batch(Producer::NONE, 3, 300_000)),
        for_partition(&payments, 7, batch(Producer::NONE, 1, 100)),
    ];
    let mut acks = connection.send(batches).await?.await?;
    acks.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    let told: Vec<_> = acks
        .iter()
        .map(|ack| (ack.topic.as_str(), ack.partition, ack.error))
        .collect();
    let expected = [
        (orders.name.as_str(), 0, None),
        (orders.name.as_str(), 2, None),
        (payments.name.as_str(), 1, None),
        (
            payments.name.as_str(),
            7,
            Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ),
        ("stranger", 0, Some(ErrorCode::UNKNOWN_TOPIC_ID)),
    ];
    assert_eq!(told, expected);
    let fetched = client.fetch_at(&orders.name, orders.id, 2, 0, 1).await?;
    assert_eq!(headers(&fetched.records)[0].record_count, 3);
    Ok(())
}

#[tokio::test]
async fn a_partition_named_twice_is_refused_before_anything_is_sent() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 1).await?;
    let connection = producing(&client, &orders).await?;
    let one = for_partition(&orders, 0, batch(Producer::NONE, 1, 100));
    let error = connection
        .send(vec![one.clone(), one.clone()])
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Request { .. }) && error.is_certain(),
        "{error}"
    );
    assert_eq!(connection.send(vec![one]).await?.await?[0].base_offset, 0);
    Ok(())
}

#[tokio::test]
async fn what_the_broker_refuses_is_told_with_its_code() -> Result<()> {
    let client = client()?;
    let orders = topic(&client, "orders", 1).await?;
    let connection = producing(&client, &orders).await?;
    let sound = batch(Producer::NONE, 3, 100);

    let mut with_offset = BytesMut::from(&sound[..]);
    with_offset[7] = 5;
    let ack = produce(&connection, &orders, 0, with_offset.freeze()).await?;
    assert_eq!(ack.error, Some(ErrorCode::INVALID_RECORD));

    let mut damaged = BytesMut::from(&sound[..]);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let ack = produce(&connection, &orders, 0, damaged.freeze()).await?;
    assert_eq!(
        (ack.error, ack.base_offset),
        (Some(ErrorCode::CORRUPT_MESSAGE), -1)
    );

    let ack = produce(&connection, &orders, 0, batch(Producer::NONE, 1, 3_000_000)).await?;
    assert_eq!(ack.error, Some(ErrorCode::MESSAGE_TOO_LARGE));
    Ok(())
}

#[tokio::test]
async fn fetched_batches_can_be_produced_again() -> Result<()> {
    let client = client()?;
    let source = topic(&client, "source", 1).await?;
    let target = topic(&client, "target", 1).await?;
    let connection = producing(&client, &source).await?;
    for _ in 0..3 {
        produce(&connection, &source, 0, batch(Producer::NONE, 10, 1000)).await?;
    }
    let (id, epoch) = client.init_producer_id().await?;
    let fetched = client
        .fetch_at(&source.name, source.id, 0, 0, 1 << 20)
        .await?;
    let mut rest = BytesMut::from(&fetched.records[..]);
    let mut sequence = 0;
    for header in headers(&fetched.records) {
        let mut one = rest.split_to(header.size());
        rewrite_for_produce(&mut one, id, epoch, sequence);
        let ack = produce(&connection, &target, 0, one.freeze()).await?;
        assert_eq!((ack.error, ack.base_offset), (None, header.base_offset));
        sequence += header.record_count;
    }
    Ok(())
}
