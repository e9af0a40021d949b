//! The data set: records of one size, in batches of one size, in one codec, spread evenly over the partitions.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use armory_kafka::{
    Client, NewTopic, OffsetSpec, ProduceBatch, ProduceConnection, ProduceOptions, TopicFilter,
};
use armory_records::{BatchBuilder, BatchOptions, Compression, rewrite_for_produce};
use bytes::BytesMut;

/// What to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DataSet {
    pub(crate) codec: Compression,
    /// Bytes of keys and values together.
    pub(crate) logical_bytes: u64,
    pub(crate) record_bytes: usize,
    /// Uncompressed bytes of a batch.
    pub(crate) batch_bytes: usize,
    pub(crate) partitions: i32,
}

pub(crate) fn codec_name(codec: Compression) -> &'static str {
    match codec {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

/// Makes an empty topic under which nothing expires.
pub(crate) async fn create_topic(client: &Client, name: &str, partitions: i32) -> Result<()> {
    let configs = [("retention.ms".to_owned(), "-1".to_owned())].into();
    client
        .create_topics(
            &[NewTopic {
                name: name.to_owned(),
                partitions,
                replication_factor: None,
                configs,
            }],
            false,
        )
        .await?;
    // The metadata names leaders a moment before they know of it themselves.
    let all: Vec<(String, i32)> = (0..partitions)
        .map(|index| (name.to_owned(), index))
        .collect();
    loop {
        let ends = client.list_offsets(&all, OffsetSpec::Latest).await?;
        if ends.len() == all.len() && ends.values().all(Result::is_ok) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Fills a topic. Returns the records written, and the bytes of their batches.
pub(crate) async fn fill(client: &Client, topic: &str, set: &DataSet) -> Result<(u64, u64)> {
    create_topic(client, topic, set.partitions).await?;
    let metadata = client
        .metadata(TopicFilter::Names(&[topic.to_owned()]))
        .await?;
    let meta = metadata.topics.first().context("it was just made")?;
    let leader = meta.partitions[0].leader.context("it has a leader")?;
    let connection = ProduceConnection::connect(client, leader, ProduceOptions::default()).await?;
    let mut producers = Vec::new();
    for _ in 0..set.partitions {
        producers.push((client.init_producer_id().await?, 0_i32));
    }
    let name: Arc<str> = Arc::from(topic);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut records, mut bytes, mut logical) = (0, 0, 0);
    let mut time = 1_700_000_000_000;
    while logical < set.logical_bytes {
        let mut request = Vec::new();
        for partition in 0..set.partitions {
            let (batch, count) = make_batch(set, &mut seed, &mut time)?;
            let ((id, epoch), sequence) = &mut producers[usize::try_from(partition)?];
            let mut batch = BytesMut::from(&batch[..]);
            rewrite_for_produce(&mut batch, *id, *epoch, *sequence);
            *sequence += count;
            records += u64::try_from(count)?;
            bytes += batch.len() as u64;
            logical += u64::try_from(count)? * set.record_bytes as u64;
            request.push(ProduceBatch {
                topic: Arc::clone(&name),
                topic_id: meta.id,
                partition,
                records: batch.freeze(),
            });
        }
        for ack in connection.send(request).await?.await? {
            ensure!(ack.error.is_none(), "{:?}", ack.error);
        }
    }
    Ok((records, bytes))
}

/// Values are hexadecimal digits of a random generator, with a field that repeats: about as compressible as JSON.
fn make_batch(set: &DataSet, seed: &mut u64, time: &mut i64) -> Result<(Vec<u8>, i32)> {
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: set.codec,
        ..BatchOptions::default()
    });
    let count = (set.batch_bytes / set.record_bytes).max(1);
    let mut value = Vec::with_capacity(set.record_bytes);
    for offset in 0..count {
        value.clear();
        value.extend_from_slice(br#"{"event":"order.created","currency":"EUR","customer":""#);
        while value.len() < set.record_bytes - 8 {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            value.extend_from_slice(format!("{seed:016x},").as_bytes());
        }
        value.truncate(set.record_bytes - 8);
        *time += 1;
        builder.append(
            i64::try_from(offset)?,
            *time,
            Some(&seed.to_be_bytes()),
            Some(&value),
            std::iter::empty(),
        );
    }
    let mut out = Vec::new();
    builder.finish(&mut out)?;
    Ok((out, i32::try_from(count)?))
}
