//! How fast records come and go, beside a loop that does nothing but read a socket.
//!
//! ```text
//! cargo run --release -p armory-kafka --example speed -- BOOTSTRAP fill TOPIC [MEGABYTES [BATCH_KB]]
//! cargo run --release -p armory-kafka --example speed -- BOOTSTRAP fetch TOPIC
//! cargo run --release -p armory-kafka --example speed -- BOOTSTRAP bare TOPIC
//! ```
//!
//! `fill` creates the topic with four partitions and produces batches of 1 kB records. `fetch` and `bare` read all of it
//! and check every batch's CRC. Each prints MB/s and CPU seconds a GB; run them alternately, several times.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use armory_kafka::{
    Backoff, Client, ClientConfig, FetchAssignment, FetchOptions, Fetcher, NewTopic, OffsetSpec,
    PendingProduce, ProduceBatch, ProduceConnection, ProduceOptions, TopicFilter, TopicMetadata,
};
use armory_records::{BatchBuilder, BatchOptions, Batches};
use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion as _, Request as _};

const PARTITIONS: i32 = 4;
const FETCH_VERSION: i16 = 17;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, mode, topic, rest @ ..] = &arguments[..] else {
        bail!("give it a bootstrap server, fill, fetch or bare, and a topic");
    };
    let properties = BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap.clone())]);
    let client = Client::new(ClientConfig::from_properties(&properties)?)?;
    let started = Instant::now();
    let cpu = cpu_seconds()?;
    let bytes = match mode.as_str() {
        "fill" => {
            let number =
                |place: usize, or| rest.get(place).map_or(Ok(or), |text| text.parse::<usize>());
            fill(
                &client,
                topic,
                number(0, 2000)? * 1_000_000,
                number(1, 16)? * 1000,
            )
            .await?
        }
        "fetch" => fetch(&client, topic).await?,
        "bare" => {
            let meta = describe(&client, topic).await?;
            let ends = ends(&client, topic).await?;
            let bootstrap = bootstrap.clone();
            tokio::task::spawn_blocking(move || bare(&bootstrap, &meta, ends)).await??
        }
        other => bail!("{other} is neither fill, fetch nor bare"),
    };
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let megabytes = bytes as f64 / 1e6;
    println!(
        "{mode}: {:.0} MB/s, {:.2} CPU s/GB, {megabytes:.0} MB",
        megabytes / seconds,
        cpu / megabytes * 1000.0
    );
    Ok(())
}

/// User and system time of this process so far.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .context("a process name")?
        .split_whitespace()
        .collect();
    // Clock ticks are hundredths of a second on every Linux that Rust runs on.
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

async fn describe(client: &Client, topic: &str) -> Result<TopicMetadata> {
    let metadata = client
        .metadata(TopicFilter::Names(&[topic.to_owned()]))
        .await?;
    metadata
        .topics
        .into_iter()
        .next()
        .context("the topic is in the answer")
}

async fn ends(client: &Client, topic: &str) -> Result<Vec<i64>> {
    let all: Vec<(String, i32)> = (0..PARTITIONS)
        .map(|partition| (topic.to_owned(), partition))
        .collect();
    let ends = client.list_offsets(&all, OffsetSpec::Latest).await?;
    all.iter()
        .map(|key| Ok(ends[key].map_err(|code| anyhow::anyhow!("{code}"))?.offset))
        .collect()
}

async fn fill(client: &Client, topic: &str, bytes: usize, batch_bytes: usize) -> Result<usize> {
    let new = NewTopic {
        name: topic.to_owned(),
        partitions: PARTITIONS,
        replication_factor: None,
        configs: BTreeMap::from([("max.message.bytes".to_owned(), "10000000".to_owned())]),
    };
    client.create_topics(&[new], false).await?;
    let mut backoff = Backoff::default();
    while ends(client, topic).await.is_err() {
        tokio::time::sleep(backoff.next_delay()).await;
    }
    let meta = describe(client, topic).await?;
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value: Vec<u8> = (0..1000_usize)
        .map(|number| ((number * 7919) >> 3) as u8)
        .collect();
    for number in 0..(batch_bytes / 1000).max(1) {
        builder.append(number as i64, 1_700_000_000_000, None, Some(&value), []);
    }
    let mut batch = Vec::new();
    builder.finish(&mut batch)?;
    let batch = Bytes::from(batch);
    let name: Arc<str> = topic.into();
    let leader = meta.partitions[0].leader.context("a leader")?;
    let connection = ProduceConnection::connect(client, leader, ProduceOptions::default()).await?;
    let mut flying: std::collections::VecDeque<PendingProduce> = Default::default();
    let mut sent = 0;
    while sent < bytes {
        let batches = (0..PARTITIONS).map(|partition| ProduceBatch {
            topic: Arc::clone(&name),
            topic_id: meta.id,
            partition,
            records: batch.clone(),
        });
        flying.push_back(connection.send(batches.collect()).await?);
        sent += batch.len() * PARTITIONS as usize;
        if flying.len() == 5 {
            check_acks(flying.pop_front()).await?;
        }
    }
    while !flying.is_empty() {
        check_acks(flying.pop_front()).await?;
    }
    Ok(sent)
}

async fn check_acks(pending: Option<PendingProduce>) -> Result<()> {
    for ack in pending.context("a request under way")?.await? {
        ensure!(ack.error.is_none(), "{ack:?}");
    }
    Ok(())
}

fn check_crc(records: &[u8]) -> Result<()> {
    for batch in Batches::new(records) {
        batch?.verify_crc()?;
    }
    Ok(())
}

async fn fetch(client: &Client, topic: &str) -> Result<usize> {
    let meta = describe(client, topic).await?;
    let mut missing: i64 = ends(client, topic).await?.iter().sum();
    let leader = meta.partitions[0].leader.context("a leader")?;
    let mut fetcher = Fetcher::connect(client, leader, client.config().fetch).await?;
    for partition in 0..PARTITIONS {
        fetcher.assign(FetchAssignment {
            topic: topic.to_owned(),
            topic_id: meta.id,
            partition,
            offset: 0,
            leader_epoch: -1,
        });
    }
    let mut bytes = 0;
    while missing > 0 {
        let response = fetcher.receive().await?;
        fetcher.send().await?;
        for fetch in &response.partitions {
            ensure!(fetch.error.is_none(), "{fetch:?}");
            missing -= fetch.next_offset - fetch.fetch_offset;
        }
        bytes += response.bytes;
        tokio::task::spawn_blocking(move || {
            response
                .partitions
                .iter()
                .try_for_each(|fetch| check_crc(&fetch.records))
        })
        .await??;
    }
    Ok(bytes)
}

/// One thread, one socket, two reused buffers: what any client could reach at the most.
fn bare(bootstrap: &str, meta: &TopicMetadata, ends: Vec<i64>) -> Result<usize> {
    let mut stream = TcpStream::connect(bootstrap)?;
    stream.set_nodelay(true)?;
    let mut positions = vec![0; ends.len()];
    let mut bytes = 0;
    let mut turn = 0;
    send_fetch(&mut stream, meta, &positions, turn)?;
    let mut spare = Some(BytesMut::new());
    while positions != ends {
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let size = u32::from_be_bytes(size) as usize;
        let mut answer = spare.take().unwrap_or_default();
        answer.resize(size, 0);
        stream.read_exact(&mut answer)?;
        bytes += size;
        let frame = answer.freeze();
        let mut rest = frame.clone();
        ResponseHeader::decode(&mut rest, FetchResponse::header_version(FETCH_VERSION))?;
        let answer = FetchResponse::decode(&mut rest, FETCH_VERSION)?;
        let partitions: Vec<_> = answer
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .collect();
        for partition in &partitions {
            let records = partition.records.clone().unwrap_or_default();
            if let Some(last) = Batches::new(&records).map_while(Result::ok).last() {
                positions[partition.partition_index as usize] = last.header().next_offset();
            }
        }
        turn += 1;
        if positions != ends {
            send_fetch(&mut stream, meta, &positions, turn)?;
        }
        for partition in &partitions {
            check_crc(partition.records.as_ref().unwrap_or(&Bytes::new()))?;
        }
        drop((partitions, rest));
        spare = frame.try_into_mut().ok();
    }
    Ok(bytes)
}

fn send_fetch(
    stream: &mut TcpStream,
    meta: &TopicMetadata,
    positions: &[i64],
    turn: usize,
) -> Result<()> {
    let options = FetchOptions::default();
    let partitions = (0..positions.len())
        .map(|step| (turn + step) % positions.len())
        .map(|partition| {
            FetchPartition::default()
                .with_partition(partition as i32)
                .with_fetch_offset(positions[partition])
                .with_partition_max_bytes(options.partition_max_bytes)
        });
    let topic = FetchTopic::default()
        .with_topic_id(meta.id.context("an id")?)
        .with_partitions(partitions.collect());
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(options.max_bytes)
        .with_isolation_level(1)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let mut frame = BytesMut::new();
    frame.put_u32(0);
    let header = RequestHeader::default()
        .with_request_api_key(FetchRequest::KEY)
        .with_request_api_version(FETCH_VERSION);
    header.encode(&mut frame, FetchRequest::header_version(FETCH_VERSION))?;
    request.encode(&mut frame, FETCH_VERSION)?;
    let size = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    Ok(stream.write_all(&frame)?)
}
