//! The records of the quick start.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use armory_kafka::{
    Client, ClientConfig, NewTopic, ProduceBatch, ProduceConnection, ProduceOptions, TopicFilter,
};
use armory_records::{BatchBuilder, BatchOptions, Compression};
use armory_resources::job::KafkaEndpoint;

/// What was written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) records: usize,
    /// Records with a header `secret`.
    pub(super) secrets: usize,
}

pub(super) fn client(endpoint: &KafkaEndpoint) -> Result<Client> {
    Ok(Client::new(ClientConfig::from_properties(
        &endpoint.properties,
    )?)?)
}

/// Creates the topic and fills it: orders as JSON, every third with a header that should not be there.
pub(super) async fn fill(
    client: &Client,
    topic: &str,
    partitions: i32,
    records: usize,
) -> Result<Written> {
    let new = NewTopic {
        name: topic.to_owned(),
        partitions,
        replication_factor: None,
        configs: Default::default(),
    };
    client.create_topics(&[new], false).await?;
    let metadata = client
        .metadata(TopicFilter::Names(&[topic.to_owned()]))
        .await?;
    let meta = metadata
        .topics
        .first()
        .context("the topic was just created")?;
    let mut written = Written::default();
    for partition in &meta.partitions {
        let leader = partition
            .leader
            .context("the broker leads every partition")?;
        let connection =
            ProduceConnection::connect(client, leader, ProduceOptions::default()).await?;
        let share = records / meta.partitions.len();
        for start in (0..share).step_by(100) {
            let (batch, secrets) = batch(partition.index, start, 100.min(share - start))?;
            written.records += 100.min(share - start);
            written.secrets += secrets;
            let batch = ProduceBatch {
                topic: Arc::from(topic),
                topic_id: meta.id,
                partition: partition.index,
                records: batch.into(),
            };
            for ack in connection.send(vec![batch]).await?.await? {
                ensure!(
                    ack.error.is_none(),
                    "the broker refused the sample records: {:?}",
                    ack.error
                );
            }
        }
    }
    Ok(written)
}

fn batch(partition: i32, start: usize, count: usize) -> Result<(Vec<u8>, usize)> {
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: Compression::Lz4,
        ..BatchOptions::default()
    });
    let mut secrets = 0;
    for index in 0..count {
        let number = start + index;
        let key = format!("customer-{}", number % 97);
        let value = format!(
            r#"{{"order":{number},"partition":{partition},"total":{}.{:02},"currency":"EUR"}}"#,
            number % 500,
            number % 100
        );
        let secret: &[(&[u8], Option<&[u8]>)] = &[
            (b"content-type", Some(b"application/json")),
            (b"secret", Some(b"hunter2")),
        ];
        let plain: &[(&[u8], Option<&[u8]>)] = &[(b"content-type", Some(b"application/json"))];
        let headers = if number.is_multiple_of(3) {
            secret
        } else {
            plain
        };
        secrets += usize::from(number.is_multiple_of(3));
        builder.append(
            i64::try_from(index)?,
            1_767_225_600_000 + i64::try_from(number)?,
            Some(key.as_bytes()),
            Some(value.as_bytes()),
            headers.iter().copied(),
        );
    }
    let mut out = Vec::new();
    builder.finish(&mut out)?;
    Ok((out, secrets))
}
