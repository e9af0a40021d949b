//! The records that a plugin is tried out on: from a file, or from an archive.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use armory_archive::{Archive, PartitionKey, SegmentReader, TopicKey};
use armory_plugins::{RecordRef, Timestamp, TimestampKind};
use armory_records::{Batches, DecodeBuffer, TimestampType};

use crate::args::PluginRecords;
use crate::commands::{find_topic, open};
use crate::exit::Usage;
use crate::record_line::{
    CREATE_TIME, Data, Headers, LOG_APPEND_TIME, OwnedHeader, ReadLine, RecordLine, read_lines,
};

/// A record with its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TestRecord {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp: Timestamp,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<OwnedHeader>,
}

/// The topic of records that do not say theirs.
const DEFAULT_TOPIC: &str = "records";

impl TestRecord {
    /// Completes what a line leaves out: `number` counts from 0.
    fn from_line(line: ReadLine, number: usize) -> Self {
        let time = line.timestamp.unwrap_or(-1);
        let kind = match line.timestamp_type.as_deref() {
            Some(LOG_APPEND_TIME) => TimestampKind::LogAppendTime,
            _ => TimestampKind::CreateTime,
        };
        TestRecord {
            topic: line.topic.unwrap_or_else(|| DEFAULT_TOPIC.to_owned()),
            partition: line.partition.flatten().unwrap_or(0),
            offset: line.offset.unwrap_or(number as i64),
            timestamp: Timestamp::of_record(kind, time),
            key: line.key.flatten(),
            value: line.value.flatten(),
            headers: line.headers.unwrap_or_default(),
        }
    }

    /// The record as a plugin is handed it; `headers` is room for its headers.
    pub(super) fn with_ref<R>(&self, work: impl FnOnce(RecordRef<'_>) -> R) -> R {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
            .collect();
        work(RecordRef {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
            partition: self.partition,
            offset: self.offset,
            timestamp: self.timestamp,
        })
    }

    pub(super) fn line(&self) -> RecordLine<'_> {
        RecordLine {
            topic: &self.topic,
            partition: Some(self.partition),
            offset: self.offset,
            timestamp: self.timestamp.time,
            timestamp_type: match self.timestamp.kind {
                TimestampKind::LogAppendTime => LOG_APPEND_TIME,
                TimestampKind::None | TimestampKind::CreateTime => CREATE_TIME,
            },
            key: Data(self.key.as_deref()),
            value: Data(self.value.as_deref()),
            headers: Headers::Owned(&self.headers),
        }
    }

    /// Bytes of key, value and headers.
    pub(super) fn bytes(&self) -> usize {
        let size = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter();
        size(&self.key)
            + size(&self.value)
            + headers
                .map(|(key, value)| key.len() + size(value))
                .sum::<usize>()
    }
}

/// The records that the options name; `None` where they name none.
pub(super) async fn read(input: &PluginRecords) -> anyhow::Result<Option<Vec<TestRecord>>> {
    let records = match (&input.records, &input.from) {
        (Some(file), _) => from_file(file, input.limit)?,
        (None, Some(from)) => from_archive(input, from).await?,
        (None, None) => return Ok(None),
    };
    if records.is_empty() {
        return Err(Usage("there are no records to run through the plugin".to_owned()).into());
    }
    Ok(Some(records))
}

/// Reads a file of lines; `-` is standard input.
pub(super) fn lines_of(file: &Path) -> Result<Vec<ReadLine>, Usage> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let name = file.display();
    let text = read.map_err(|error| Usage(format!("cannot read {name}: {error}")))?;
    read_lines(&text).map_err(|error| Usage(format!("{name}, {error}")))
}

fn from_file(file: &Path, limit: usize) -> Result<Vec<TestRecord>, Usage> {
    let lines = lines_of(file)?.into_iter().take(limit).enumerate();
    Ok(lines
        .map(|(number, line)| TestRecord::from_line(line, number))
        .collect())
}

async fn from_archive(input: &PluginRecords, from: &[String]) -> anyhow::Result<Vec<TestRecord>> {
    let [storage, topic] = from else {
        unreachable!("the command line takes two values")
    };
    let storage = armory_resources::job::StorageLocation::parse(storage)
        .map_err(|error| Usage(format!("--from: {error}")))?;
    let (topic, partition) = match topic.split_once('/') {
        Some((topic, number)) => {
            let number = number.parse::<i32>().ok().filter(|number| *number >= 0);
            let wrong = || {
                Usage(format!(
                    "--from: expected TOPIC or TOPIC/PARTITION, found {topic:?}/…"
                ))
            };
            (topic, Some(number.ok_or_else(wrong)?))
        }
        None => (topic.as_str(), None),
    };
    let archive = open(storage, &input.s3).await?;
    let newest = find_topic(archive.topics().await?, topic)?
        .incarnations
        .pop()
        .with_context(|| format!("topic {topic} has nothing in the archive"))?;
    let key = TopicKey::new(topic, newest.topic_id);
    let mut partitions = archive.partitions(&key).await?;
    if let Some(wanted) = partition {
        anyhow::ensure!(
            partitions.contains(&wanted),
            "there is no partition {wanted} of {topic} in the archive"
        );
        partitions = vec![wanted];
    }
    let mut records = Vec::new();
    for partition in partitions {
        let key = key.partition(partition);
        read_partition(&archive, &key, input.limit, &mut records).await?;
    }
    Ok(records)
}

/// Appends the records of a partition, until there are `limit`.
async fn read_partition(
    archive: &Archive,
    key: &PartitionKey,
    limit: usize,
    records: &mut Vec<TestRecord>,
) -> anyhow::Result<()> {
    let mut scratch = DecodeBuffer::new();
    for part in archive.history(key, None).await? {
        if records.len() >= limit {
            return Ok(());
        }
        if part.manifest.segment.is_none() {
            continue;
        }
        let mut reader =
            SegmentReader::open(archive, key, part.manifest.lineage, &part.manifest).await?;
        reader.until(part.until);
        while let Some(chunk) = reader.next_chunk().await? {
            for batch in Batches::new(&chunk) {
                let batch =
                    batch.with_context(|| format!("cannot read {}", part.manifest.place()))?;
                let kind = match batch.header().attributes.timestamp_type() {
                    TimestampType::CreateTime => TimestampKind::CreateTime,
                    TimestampType::LogAppendTime => TimestampKind::LogAppendTime,
                };
                for record in batch.decode(&mut scratch)? {
                    let record = record?;
                    if record.offset >= part.until {
                        continue;
                    }
                    if records.len() >= limit {
                        return Ok(());
                    }
                    records.push(TestRecord {
                        topic: key.topic.topic.clone(),
                        partition: key.partition,
                        offset: record.offset,
                        timestamp: Timestamp::of_record(kind, record.timestamp),
                        key: record.key.map(<[u8]>::to_vec),
                        value: record.value.map(<[u8]>::to_vec),
                        headers: record
                            .headers
                            .iter()
                            .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
                            .collect(),
                    });
                }
            }
        }
    }
    Ok(())
}
