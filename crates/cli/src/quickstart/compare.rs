//! Compares two topics record by record, as fetched from the broker.

use anyhow::{Context as _, Result, bail, ensure};
use armory_kafka::{Client, OffsetSpec, TopicFilter};
use armory_records::{Batches, DecodeBuffer};

/// What the comparison found; a difference that is not the plugin's is an error.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) records: usize,
    /// Records that lost their header `secret`.
    pub(super) without_secret: usize,
    pub(super) example: Example,
}

/// One record before and after.
#[derive(Debug, Default)]
pub(super) struct Example {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) before: String,
    pub(super) after: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    fn show(&self) -> String {
        let text = |bytes: &Option<Vec<u8>>| {
            bytes.as_ref().map_or("null".to_owned(), |bytes| {
                String::from_utf8_lossy(bytes).into_owned()
            })
        };
        let headers: Vec<String> = self
            .headers
            .iter()
            .map(|(name, value)| format!("{}: {}", String::from_utf8_lossy(name), text(value)))
            .collect();
        format!(
            "headers {{{}}} key {} value {}",
            headers.join(", "),
            text(&self.key),
            text(&self.value)
        )
    }
}

pub(super) async fn topics(client: &Client, source: &str, target: &str) -> Result<Compared> {
    let names = [source.to_owned(), target.to_owned()];
    let metadata = client.metadata(TopicFilter::Names(&names)).await?;
    let count = |name: &str| {
        metadata
            .topics
            .iter()
            .find(|topic| topic.name == name)
            .map(|topic| topic.partitions.len())
    };
    let partitions = count(source).context("the source topic is there")?;
    ensure!(
        count(target) == Some(partitions),
        "{target} has another number of partitions than {source}"
    );
    let mut compared = Compared::default();
    for partition in 0..i32::try_from(partitions)? {
        let before = read(client, source, partition).await?;
        let after = read(client, target, partition).await?;
        ensure!(
            before.len() == after.len(),
            "partition {partition}: {} records became {}",
            before.len(),
            after.len()
        );
        for (offset, (before, after)) in before.into_iter().zip(after).enumerate() {
            compared.records += 1;
            if before == after {
                continue;
            }
            let mut expected = before.clone();
            expected.headers.retain(|(name, _)| name != b"secret");
            if expected != after {
                bail!(
                    "partition {partition}, record {offset}: {} became {}",
                    before.show(),
                    after.show()
                );
            }
            if compared.without_secret == 0 {
                compared.example = Example {
                    partition,
                    offset: i64::try_from(offset)?,
                    before: before.show(),
                    after: after.show(),
                };
            }
            compared.without_secret += 1;
        }
    }
    Ok(compared)
}

async fn read(client: &Client, topic: &str, partition: i32) -> Result<Vec<Owned>> {
    let name = (topic.to_owned(), partition);
    let ends = client
        .list_offsets(std::slice::from_ref(&name), OffsetSpec::Latest)
        .await?;
    let end = match ends.get(&name) {
        Some(Ok(end)) => end.offset,
        other => bail!("{topic}-{partition} has no end: {other:?}"),
    };
    let metadata = client
        .metadata(TopicFilter::Names(&[topic.to_owned()]))
        .await?;
    let id = metadata.topics.first().and_then(|topic| topic.id);
    let mut scratch = DecodeBuffer::default();
    let mut records = Vec::new();
    let mut position = 0;
    while position < end {
        let fetched = client
            .fetch_at(topic, id, partition, position, 1 << 20)
            .await?;
        for batch in Batches::new(&fetched.records) {
            let batch = batch?;
            for record in batch.decode(&mut scratch)? {
                let record = record?;
                records.push(Owned {
                    timestamp: record.timestamp,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record
                        .headers
                        .iter()
                        .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
                        .collect(),
                });
            }
            position = batch.header().next_offset();
        }
    }
    Ok(records)
}
