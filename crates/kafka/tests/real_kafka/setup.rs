//! What most tests begin with: a client, a topic, batches in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use armory_kafka::{
    Backoff, Client, ClientConfig, FetchAssignment, Fetcher, NewTopic, OffsetSpec, PartitionFetch,
    ProduceAck, ProduceBatch, ProduceConnection, ProduceOptions, TopicFilter, TopicMetadata,
};
use armory_records::{BatchBuilder, BatchHeader, BatchOptions, Batches};
use armory_testkit::{Kafka, unique};
use bytes::Bytes;

pub(crate) fn config(kafka: &Kafka, properties: &[(&str, &str)]) -> Result<ClientConfig> {
    let mut all = BTreeMap::from([("bootstrap.servers".to_owned(), kafka.bootstrap().to_owned())]);
    all.extend(
        properties
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    Ok(ClientConfig::from_properties(&all)?)
}

pub(crate) fn client_of(kafka: &Kafka) -> Result<Client> {
    Ok(Client::new(config(kafka, &[])?)?)
}

/// A client of the broker that tests share.
pub(crate) fn client() -> Result<Client> {
    client_of(Kafka::shared())
}

/// A new topic, once all its partitions have leaders.
pub(crate) async fn topic(client: &Client, prefix: &str, partitions: i32) -> Result<TopicMetadata> {
    let topic = NewTopic {
        name: unique(prefix),
        partitions,
        replication_factor: None,
        configs: BTreeMap::new(),
    };
    client
        .create_topics(std::slice::from_ref(&topic), false)
        .await?;
    settled(client, &topic.name, partitions).await
}

/// A topic's metadata, once it is there with leaders that serve it.
pub(crate) async fn settled(client: &Client, name: &str, partitions: i32) -> Result<TopicMetadata> {
    let names = [name.to_owned()];
    let mut backoff = Backoff::default();
    loop {
        let metadata = client.metadata(TopicFilter::Names(&names)).await?;
        let topic = metadata
            .topics
            .into_iter()
            .next()
            .context("what is asked for is answered")?;
        let is_ready = topic.partitions.len() == partitions as usize
            && topic
                .partitions
                .iter()
                .all(|partition| partition.leader.is_some());
        if is_ready && is_served(client, &topic).await? {
            return Ok(topic);
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Whether the leaders know that they lead: metadata tells it a moment before they do.
async fn is_served(client: &Client, topic: &TopicMetadata) -> Result<bool> {
    let all: Vec<(String, i32)> = topic
        .partitions
        .iter()
        .map(|partition| (topic.name.clone(), partition.index))
        .collect();
    let ends = client.list_offsets(&all, OffsetSpec::Latest).await?;
    Ok(ends.values().all(Result::is_ok))
}

/// Who writes a batch, and what its first record's number is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

impl Producer {
    pub(crate) const NONE: Producer = Producer {
        id: -1,
        epoch: -1,
        sequence: -1,
    };
}

/// A batch ready for Produce, of `count` records with values of `size` bytes.
pub(crate) fn batch(producer: Producer, count: i64, size: usize) -> Bytes {
    batch_with(producer, false, count, size)
}

pub(crate) fn batch_with(
    producer: Producer,
    transactional: bool,
    count: i64,
    size: usize,
) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        base_sequence: producer.sequence,
        transactional,
        ..BatchOptions::default()
    });
    let value = vec![7; size];
    for number in 0..count {
        builder.append(number, 1_700_000_000_000 + number, None, Some(&value), []);
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("the batch is sound");
    bytes.into()
}

pub(crate) fn for_partition(topic: &TopicMetadata, partition: i32, records: Bytes) -> ProduceBatch {
    ProduceBatch {
        topic: Arc::from(topic.name.as_str()),
        topic_id: topic.id,
        partition,
        records,
    }
}

pub(crate) fn leader(topic: &TopicMetadata, partition: i32) -> i32 {
    topic
        .partition(partition)
        .and_then(|partition| partition.leader)
        .expect("it has a leader")
}

pub(crate) async fn producing(client: &Client, topic: &TopicMetadata) -> Result<ProduceConnection> {
    Ok(ProduceConnection::connect(client, leader(topic, 0), ProduceOptions::default()).await?)
}

/// Produces one batch and returns what the broker says.
pub(crate) async fn produce(
    connection: &ProduceConnection,
    topic: &TopicMetadata,
    partition: i32,
    records: Bytes,
) -> Result<ProduceAck> {
    let mut acks = connection
        .send(vec![for_partition(topic, partition, records)])
        .await?
        .await?;
    ensure!(acks.len() == 1, "{acks:?}");
    Ok(acks.remove(0))
}

pub(crate) fn assignment(topic: &TopicMetadata, partition: i32, offset: i64) -> FetchAssignment {
    FetchAssignment {
        topic: topic.name.clone(),
        topic_id: topic.id,
        partition,
        offset,
        leader_epoch: topic
            .partition(partition)
            .map_or(-1, |partition| partition.leader_epoch),
    }
}

pub(crate) fn headers(records: &[u8]) -> Vec<BatchHeader> {
    Batches::new(records)
        .map(|batch| *batch.expect("what brokers send is sound").header())
        .collect()
}

/// Fetches until every partition's position is at `end`, and returns everything that came.
pub(crate) async fn fetch_until(
    fetcher: &mut Fetcher,
    ends: &[(i32, i64)],
) -> Result<Vec<PartitionFetch>> {
    let mut positions: BTreeMap<i32, i64> = BTreeMap::new();
    let mut fetches = Vec::new();
    while ends
        .iter()
        .any(|(partition, end)| positions.get(partition).is_none_or(|at| at < end))
    {
        let response = fetcher.receive().await?;
        fetcher.send().await?;
        for fetch in response.partitions {
            ensure!(fetch.error.is_none(), "{fetch:?}");
            positions.insert(fetch.partition, fetch.next_offset);
            fetches.push(fetch);
        }
    }
    Ok(fetches)
}

/// The answer about a partition that says something about it that is not merely its watermarks.
pub(crate) async fn fetch_one(fetcher: &mut Fetcher, partition: i32) -> Result<PartitionFetch> {
    loop {
        let response = fetcher.receive().await?;
        let told = response.partitions.into_iter().find(|fetch| {
            fetch.partition == partition && (fetch.error.is_some() || !fetch.records.is_empty())
        });
        if let Some(fetch) = told {
            return Ok(fetch);
        }
    }
}
