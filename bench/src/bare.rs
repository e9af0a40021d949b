//! The loops to be measured against: the least that has to be done, with the same checks.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use armory_kafka::{
    Client, ClientConfig, FetchAssignment, FetchOptions, FetchResponse, Fetcher, OffsetSpec,
    ProduceBatch, ProduceConnection, ProduceOptions, TopicFilter,
};
use armory_records::{BatchHeader, Batches, rewrite_for_produce};
use bytes::BytesMut;

/// Requests under way, as the restore has.
const IN_FLIGHT: usize = 5;
/// Connections, as the restore has.
const CONNECTIONS: usize = 2;

pub(crate) fn client(bootstrap: &str) -> Result<Client> {
    let properties = [("bootstrap.servers".to_owned(), bootstrap.to_owned())].into();
    Ok(Client::new(ClientConfig::from_properties(&properties)?)?)
}

/// Fetch, check every batch's CRC32C, hash, write; up to the end of every partition.
pub(crate) async fn fetch(bootstrap: &str, topic: &str, out: &Path) -> Result<()> {
    let client = client(bootstrap)?;
    let metadata = client
        .metadata(TopicFilter::Names(&[topic.to_owned()]))
        .await?;
    let meta = metadata.topics.first().context("the topic is there")?;
    let names: Vec<(String, i32)> = meta
        .partitions
        .iter()
        .map(|partition| (topic.to_owned(), partition.index))
        .collect();
    let ends = client.list_offsets(&names, OffsetSpec::LastStable).await?;
    let leader = meta.partitions[0].leader.context("it has a leader")?;
    let options = FetchOptions {
        max_bytes: 16 << 20,
        read_committed: true,
        ..FetchOptions::default()
    };
    let mut fetcher = Fetcher::connect(&client, leader, options).await?;
    let mut files = Vec::new();
    let mut left = Vec::new();
    for partition in &meta.partitions {
        let end = ends[&(topic.to_owned(), partition.index)]
            .as_ref()
            .map_err(|code| anyhow::anyhow!("{code}"))?
            .offset;
        left.push(end);
        files.push((
            File::create(out.join(format!("{}.log", partition.index)))?,
            blake3::Hasher::new(),
        ));
        if end > 0 {
            fetcher.assign(FetchAssignment {
                topic: topic.to_owned(),
                topic_id: meta.id,
                partition: partition.index,
                offset: 0,
                leader_epoch: partition.leader_epoch,
            });
        }
    }
    let mut open = left.iter().filter(|end| **end > 0).count();
    fetcher.send().await?;
    let mut writing: Option<tokio::task::JoinHandle<Result<Vec<(File, blake3::Hasher)>>>> = None;
    while open > 0 {
        let response = fetcher.receive().await?;
        for partition in &response.partitions {
            let slot = usize::try_from(partition.partition)?;
            if left[slot] > 0 && partition.next_offset >= left[slot] {
                left[slot] = 0;
                open -= 1;
                fetcher.remove(topic, partition.partition);
            }
        }
        if open > 0 {
            fetcher.send().await?;
        }
        let mut held = match writing.take() {
            Some(task) => task.await??,
            None => std::mem::take(&mut files),
        };
        writing = Some(tokio::task::spawn_blocking(move || {
            write(&response, &mut held)?;
            Ok(held)
        }));
    }
    if let Some(task) = writing {
        for (_, hasher) in task.await?? {
            std::hint::black_box(hasher.finalize());
        }
    }
    Ok(())
}

fn write(response: &FetchResponse, files: &mut [(File, blake3::Hasher)]) -> Result<()> {
    for partition in &response.partitions {
        let mut batches = Batches::new(&partition.records);
        let mut whole = 0;
        for batch in &mut batches {
            let batch = batch?;
            batch.verify_crc()?;
            whole += batch.bytes().len();
        }
        let (file, hasher) = &mut files[usize::try_from(partition.partition)?];
        hasher.update(&partition.records[..whole]);
        file.write_all(&partition.records[..whole])?;
    }
    Ok(())
}

/// Read, check every batch's CRC32C, hash, give a new header, produce with acknowledgement of all replicas.
pub(crate) async fn produce(bootstrap: &str, topic: &str, from: &Path) -> Result<()> {
    let client = client(bootstrap)?;
    let metadata = client
        .metadata(TopicFilter::Names(&[topic.to_owned()]))
        .await?;
    let meta = metadata.topics.first().context("the topic is there")?;
    let leader = meta.partitions[0].leader.context("it has a leader")?;
    let mut lanes: Vec<Vec<Lane>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
    for partition in &meta.partitions {
        let path = from.join(format!("{}.log", partition.index));
        let (id, epoch) = client.init_producer_id().await?;
        lanes[usize::try_from(partition.index)? % CONNECTIONS].push(Lane::open(
            &path,
            partition.index,
            id,
            epoch,
        ));
    }
    let mut tasks = Vec::new();
    for lane in lanes {
        let connection =
            ProduceConnection::connect(&client, leader, ProduceOptions::default()).await?;
        tasks.push(tokio::spawn(produce_lane(
            connection,
            Arc::from(topic),
            meta.id,
            lane,
        )));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// One partition's batches, read ahead.
struct Lane {
    partition: i32,
    batches: tokio::sync::mpsc::Receiver<Result<Vec<bytes::Bytes>>>,
    ready: VecDeque<bytes::Bytes>,
}

impl Lane {
    fn open(path: &Path, partition: i32, id: i64, epoch: i16) -> Lane {
        let (sender, batches) = tokio::sync::mpsc::channel(2);
        let path: PathBuf = path.to_owned();
        tokio::task::spawn_blocking(move || {
            let read = || -> Result<()> {
                let mut file = File::open(&path)?;
                let mut hasher = blake3::Hasher::new();
                let mut sequence = 0;
                let mut rest = BytesMut::new();
                loop {
                    let mut chunk = BytesMut::zeroed(4 << 20);
                    let count = file.read(&mut chunk)?;
                    if count == 0 {
                        break;
                    }
                    hasher.update(&chunk[..count]);
                    chunk.truncate(count);
                    let mut bytes = if rest.is_empty() {
                        chunk
                    } else {
                        rest.extend_from_slice(&chunk);
                        std::mem::take(&mut rest)
                    };
                    let mut out = Vec::new();
                    while let Ok(header) = BatchHeader::parse(&bytes) {
                        if header.size() > bytes.len() {
                            break;
                        }
                        let mut batch = bytes.split_to(header.size());
                        armory_records::Batch::parse(&batch)?.verify_crc()?;
                        rewrite_for_produce(&mut batch, id, epoch, sequence);
                        sequence += header.record_count;
                        out.push(batch.freeze());
                    }
                    rest = bytes;
                    if sender.blocking_send(Ok(out)).is_err() {
                        break;
                    }
                }
                std::hint::black_box(hasher.finalize());
                Ok(())
            };
            if let Err(error) = read() {
                let _ = sender.blocking_send(Err(error));
            }
        });
        Lane {
            partition,
            batches,
            ready: VecDeque::new(),
        }
    }
}

async fn produce_lane(
    connection: ProduceConnection,
    topic: Arc<str>,
    topic_id: Option<uuid::Uuid>,
    mut lanes: Vec<Lane>,
) -> Result<()> {
    let mut flying = VecDeque::new();
    loop {
        let mut request = Vec::new();
        for lane in &mut lanes {
            if lane.ready.is_empty()
                && let Some(batches) = lane.batches.recv().await
            {
                lane.ready.extend(batches?);
            }
            if let Some(records) = lane.ready.pop_front() {
                request.push(ProduceBatch {
                    topic: Arc::clone(&topic),
                    topic_id,
                    partition: lane.partition,
                    records,
                });
            }
        }
        let ended = request.is_empty();
        if !ended {
            flying.push_back(connection.send(request).await?);
        }
        while flying.len() >= IN_FLIGHT || (ended && !flying.is_empty()) {
            let acks = flying.pop_front().context("it is not empty")?.await?;
            for ack in acks {
                ensure!(ack.error.is_none(), "{:?}", ack.error);
            }
        }
        if ended {
            return Ok(());
        }
    }
}
