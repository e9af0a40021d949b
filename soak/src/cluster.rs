//! The cluster of a soak as its own client sees it: what is written, and what can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use armory_kafka::{
    Client, ClientConfig, FetchAssignment, FetchOptions, Fetcher, OffsetSpec, ProduceBatch,
    ProduceConnection, ProduceOptions, TopicFilter, TopicMetadata,
};
use armory_records::{BatchBuilder, BatchOptions, Batches, Compression, DecodeBuffer};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use crate::model::{Ledger, Log, Logs, digest, take_in};

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

pub(crate) fn client(bootstrap: &str) -> Result<Client> {
    let properties = [
        ("bootstrap.servers", bootstrap),
        ("socket.timeout.ms", "5000"),
        ("reconnect.backoff.max.ms", "500"),
    ];
    let properties: BTreeMap<String, String> = properties
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Ok(Client::new(ClientConfig::from_properties(&properties)?)?)
}

async fn describe(client: &Client, topic: &str) -> Result<TopicMetadata> {
    let names = [topic.to_owned()];
    let metadata = client.metadata(TopicFilter::Names(&names)).await?;
    let topic = metadata.topics.into_iter().next().context("an answer")?;
    ensure!(topic.error.is_none(), "{topic:?}");
    Ok(topic)
}

/// Reads all committed records of a topic.
pub(crate) async fn read(client: &Client, topic: &str) -> Result<Logs> {
    let meta = describe(client, topic).await?;
    let names: Vec<(String, i32)> = meta
        .partitions
        .iter()
        .map(|partition| (topic.to_owned(), partition.index))
        .collect();
    let starts = client.list_offsets(&names, OffsetSpec::Earliest).await?;
    let ends = client.list_offsets(&names, OffsetSpec::Latest).await?;
    let stable = client.list_offsets(&names, OffsetSpec::LastStable).await?;
    let mut logs = Logs::new();
    for partition in &meta.partitions {
        let name = (topic.to_owned(), partition.index);
        let offset = |offsets: &std::collections::HashMap<
            _,
            std::result::Result<armory_kafka::OffsetInfo, armory_kafka::ErrorCode>,
        >| match offsets.get(&name) {
            Some(Ok(info)) => Ok(info.offset),
            other => bail!("{topic}-{}: {other:?}", partition.index),
        };
        let (start, end) = (offset(&starts)?, offset(&ends)?);
        ensure!(
            offset(&stable)? == end,
            "{topic}-{}: a transaction is open",
            partition.index
        );
        let leader = partition.leader.context("a leader")?;
        let log = read_partition(client, &meta, partition.index, leader, start, end)
            .await
            .with_context(|| format!("reading {topic}-{}", partition.index))?;
        logs.insert(partition.index, log);
    }
    Ok(logs)
}

async fn read_partition(
    client: &Client,
    topic: &TopicMetadata,
    partition: i32,
    leader: i32,
    start: i64,
    end: i64,
) -> Result<Log> {
    let mut log = Log::new();
    if start == end {
        return Ok(log);
    }
    let mut fetcher = Fetcher::connect(client, leader, FetchOptions::default()).await?;
    fetcher.assign(FetchAssignment {
        topic: topic.name.clone(),
        topic_id: topic.id,
        partition,
        offset: start,
        leader_epoch: -1,
    });
    let mut scratch = DecodeBuffer::new();
    let mut position = start;
    while position < end {
        let response = fetcher.receive().await?;
        for fetch in response.partitions {
            ensure!(fetch.error.is_none(), "{fetch:?}");
            position = fetch.next_offset;
            let whole = {
                let mut batches = Batches::new(&fetch.records);
                while batches.next().is_some() {}
                batches.consumed()
            };
            // As a read-committed consumer does it: a transaction counts as aborted from its first offset to its marker.
            let mut waiting = fetch.aborted.clone();
            waiting.sort_by_key(|transaction| transaction.first_offset);
            let mut waiting = waiting.into_iter().peekable();
            let mut aborted: BTreeSet<i64> = BTreeSet::new();
            let mut decisions = BTreeMap::new();
            let mut markers = DecodeBuffer::new();
            for batch in Batches::new(&fetch.records[..whole]) {
                let batch = batch?;
                let header = *batch.header();
                while let Some(transaction) =
                    waiting.next_if(|next| next.first_offset <= header.last_offset())
                {
                    aborted.insert(transaction.producer_id);
                }
                if header.attributes.is_control() {
                    // The marker's key: version, then 0 for abort and 1 for commit.
                    for record in batch.decode(&mut markers)? {
                        if record?.key.is_some_and(|key| key[2..4] == [0, 0]) {
                            aborted.remove(&header.producer_id);
                        }
                    }
                }
                let drop =
                    header.attributes.is_transactional() && aborted.contains(&header.producer_id);
                decisions.insert(header.base_offset, !drop);
            }
            take_in(&fetch.records[..whole], &mut log, &mut scratch, |header| {
                decisions[&header.base_offset]
            })?;
        }
    }
    // The first batch may begin before the log's start.
    Ok(log.split_off(&start))
}

/// Writes records that no two of are the same until it is told to stop.
pub(crate) struct Writer {
    pub(crate) topic: String,
    pub(crate) seed: u64,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Writer {
    /// Lost answers leave it open whether a batch landed; it is not sent again.
    pub(crate) async fn run(self, client: Client) {
        let mut dice = StdRng::seed_from_u64(self.seed);
        let mut sequence = 0_u64;
        while !*self.stop.borrow() {
            // Whatever goes wrong is the fault of a broker that was killed or paused.
            let _ = self.write(&client, &mut dice, &mut sequence).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, client: &Client, dice: &mut StdRng, sequence: &mut u64) -> Result<()> {
        let topic = describe(client, &self.topic).await?;
        let leader = topic.partitions[0].leader.context("a leader")?;
        let connection =
            ProduceConnection::connect(client, leader, ProduceOptions::default()).await?;
        // Now and then the topic is looked at anew, for it may have grown.
        for _ in 0..50 {
            if *self.stop.borrow() {
                return Ok(());
            }
            let partition = dice.random_range(0..topic.partitions.len()) as i32;
            let (bytes, digests) = batch(dice, sequence)?;
            self.ledger().sent.extend(digests.iter().copied());
            let batch = ProduceBatch {
                topic: Arc::from(topic.name.as_str()),
                topic_id: topic.id,
                partition,
                records: bytes.into(),
            };
            let acks = connection.send(vec![batch]).await?.await?;
            let ack = acks.first().context("an answer")?;
            if let Some(error) = ack.error {
                bail!("{error}");
            }
            self.ledger()
                .acknowledged
                .entry(partition)
                .or_default()
                .extend((ack.base_offset..).zip(digests));
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..8))).await;
        }
        Ok(())
    }
}

/// One batch of records that were never written before, and their digests.
fn batch(dice: &mut StdRng, sequence: &mut u64) -> Result<(Vec<u8>, Vec<[u8; 16]>)> {
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: CODECS[dice.random_range(0..CODECS.len())],
        ..BatchOptions::default()
    });
    // Brokers forget producers by the age of records: most are old.
    let timestamp = if dice.random_ratio(1, 4) {
        1_790_000_000_000
    } else {
        1_590_000_000_000
    };
    let most: usize = if dice.random_ratio(1, 5) { 200 } else { 20 };
    for offset in 0..dice.random_range(1..=most) {
        let key = format!("{sequence}").into_bytes();
        let mut value = vec![0_u8; dice.random_range(0..600)];
        // Half random, half easily compressed.
        let random = value.len() / 2;
        dice.fill(&mut value[..random]);
        let key = (!dice.random_ratio(1, 20)).then_some(&key[..]);
        let value = (!dice.random_ratio(1, 20)).then_some(&value[..]);
        let number = sequence.to_le_bytes();
        // The sequence number is in a header, so that no record is like another.
        let mut headers: Vec<(&[u8], Option<&[u8]>)> = vec![(b"n", Some(&number))];
        if dice.random_ratio(1, 3) {
            headers.push((b"", None));
            headers.push((b"n", Some(b"")));
        }
        let timestamp = timestamp + dice.random_range(-1000..1000);
        builder.append(offset as i64, timestamp, key, value, headers);
        *sequence += 1;
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes)?;
    let mut digests = Vec::new();
    let mut scratch = DecodeBuffer::new();
    for batch in Batches::new(&bytes) {
        for record in batch?.decode(&mut scratch)? {
            digests.push(digest(&record?));
        }
    }
    Ok((bytes, digests))
}
