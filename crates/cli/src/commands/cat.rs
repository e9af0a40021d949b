//! `armory cat`

use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::ops::ControlFlow;

use anyhow::Context as _;
use armory_archive::{Archive, HistoryPart, PartitionKey, SegmentReader, TopicEntry, TopicKey};
use armory_records::{Batch, Batches, DecodeBuffer};
use armory_resources::job::Incarnation;

use super::{find_topic, open};
use crate::args::{CatArguments, CatFormat, OffsetRange};
use crate::exit::Exit;
use crate::record_line::RecordLine;

pub(super) async fn run(arguments: CatArguments) -> anyhow::Result<Exit> {
    let archive = open(arguments.storage, &arguments.s3).await?;
    let topic = find_topic(archive.topics().await?, &arguments.topic)?;
    let key = choose(&topic, arguments.snapshot)?;
    let mut partitions = archive.partitions(&key).await?;
    if let Some(wanted) = arguments.partition {
        anyhow::ensure!(
            partitions.contains(&wanted),
            "there is no partition {wanted} of {} in the archive, it has {}",
            key.topic,
            list(&partitions)
        );
        partitions = vec![wanted];
    }
    let mut printer = Printer {
        topic: &key.topic,
        format: arguments.output,
        range: arguments.offset,
        left: arguments.limit.unwrap_or(u64::MAX),
        scratch: DecodeBuffer::new(),
        out: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
    };
    for partition in partitions {
        let key = PartitionKey {
            topic: key.clone(),
            partition,
        };
        if print_partition(&archive, &key, &mut printer)
            .await?
            .is_break()
        {
            break;
        }
    }
    printer.out.flush()?;
    Ok(Exit::Done)
}

/// The incarnation that is meant.
fn choose(topic: &TopicEntry, wanted: Incarnation) -> anyhow::Result<TopicKey> {
    let entry = match wanted {
        Incarnation::Latest => topic.incarnations.last(),
        Incarnation::Version(number) => topic
            .incarnations
            .iter()
            .find(|entry| entry.genesis.incarnation == number),
    };
    let entry = entry.with_context(|| {
        let versions: Vec<String> = topic
            .incarnations
            .iter()
            .map(|entry| format!("v{}", entry.genesis.incarnation))
            .collect();
        format!(
            "there is no {wanted} of {}, there is {}",
            topic.name,
            versions.join(", ")
        )
    })?;
    Ok(TopicKey::new(&topic.name, entry.topic_id))
}

fn list(partitions: &[i32]) -> String {
    let numbers: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    match numbers.as_slice() {
        [] => "none".to_owned(),
        numbers => numbers.join(", "),
    }
}

async fn print_partition(
    archive: &Archive,
    key: &PartitionKey,
    printer: &mut Printer<'_>,
) -> anyhow::Result<ControlFlow<()>> {
    for HistoryPart { manifest, until } in archive.history(key, None).await? {
        let range = printer.range;
        if until <= range.start || manifest.base >= range.end || manifest.segment.is_none() {
            continue;
        }
        let mut reader = SegmentReader::open(archive, key, manifest.lineage, &manifest).await?;
        if range.start > manifest.base {
            reader.seek(range.start);
        }
        let end = until.min(range.end);
        if end < manifest.next {
            reader.until(end);
        }
        while let Some(chunk) = reader.next_chunk().await? {
            for batch in Batches::new(&chunk) {
                let batch = batch.with_context(|| format!("cannot read {}", manifest.place()))?;
                if printer.batch(key.partition, &batch, end)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Writes what is in the range, until the limit is reached.
struct Printer<'a> {
    topic: &'a str,
    format: CatFormat,
    range: OffsetRange,
    left: u64,
    scratch: DecodeBuffer,
    out: BufWriter<StdoutLock<'static>>,
}

impl Printer<'_> {
    /// Writes a batch; `end` (exclusive) is the range's, or that of the history it is part of.
    fn batch(
        &mut self,
        partition: i32,
        batch: &Batch<'_>,
        end: i64,
    ) -> anyhow::Result<ControlFlow<()>> {
        let header = batch.header();
        let range = self.range.start..end;
        if header.last_offset() < range.start || header.base_offset >= range.end {
            return Ok(ControlFlow::Continue(()));
        }
        if self.left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        match self.format {
            CatFormat::Raw => {
                self.out.write_all(batch.bytes())?;
                self.left -= 1;
            }
            CatFormat::Json => {
                let timestamp_type = header.attributes.timestamp_type();
                for record in batch.decode(&mut self.scratch)? {
                    let record = record?;
                    if !range.contains(&record.offset) {
                        continue;
                    }
                    if self.left == 0 {
                        return Ok(ControlFlow::Break(()));
                    }
                    let line = RecordLine::new(self.topic, partition, timestamp_type, &record);
                    serde_json::to_writer(&mut self.out, &line).map_err(io::Error::from)?;
                    self.out.write_all(b"\n")?;
                    self.left -= 1;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
