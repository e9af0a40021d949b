//! `armory cat`

mod letters;

use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::ops::{ControlFlow, Range};

use anyhow::Context as _;
use armory_archive::{
    Archive, ArchiveError, Finding, FindingKind, HistoryPart, IncarnationSurvey, Manifest,
    PartitionKey, SegmentReader,
};
use armory_records::{Batch, Batches, DecodeBuffer};
use armory_resources::job::Incarnation;

use super::findings::FindingView;
use super::{find_topic, open_damaged};
use crate::args::{CatArguments, CatFormat, OffsetRange};
use crate::exit::{DamageMet, Exit};
use crate::record_line::RecordLine;

pub(super) async fn run(arguments: CatArguments) -> anyhow::Result<Exit> {
    let (archive, found) = open_damaged(arguments.storage, &arguments.s3).await?;
    let name = &arguments.topic;
    let topics = archive.survey_topics(|other| other == name).await?;
    if topics.is_empty() {
        find_topic(archive.topics().await?, name)?;
    }
    let chosen = choose(&topics, arguments.snapshot)?;
    let mut damage: Vec<Finding> = found.into_iter().collect();
    damage.extend(chosen.findings.iter().cloned());
    let key = chosen.key.clone();
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
    let mut reading = Reading {
        archive,
        skip_damaged: arguments.skip_damaged,
        damaged: false,
    };
    reading.tell(damage)?;
    if let Some(restore) = &arguments.dead_letters {
        let letters = letters::Letters::of(&reading.archive, restore).await?;
        for partition in partitions {
            let key = key.partition(partition);
            let flow = letters.print(&key, &mut reading, &mut printer).await?;
            if flow.is_break() {
                break;
            }
        }
        return printer.finish(&reading);
    }
    for partition in partitions {
        let key = key.partition(partition);
        if reading.partition(&key, &mut printer).await?.is_break() {
            break;
        }
    }
    printer.finish(&reading)
}

/// The incarnation that is meant.
fn choose(topics: &[IncarnationSurvey], wanted: Incarnation) -> anyhow::Result<&IncarnationSurvey> {
    let entry = match wanted {
        Incarnation::Latest => topics.last(),
        Incarnation::Version(number) => topics.iter().find(|entry| entry.incarnation == number),
    };
    entry.with_context(|| {
        let versions: Vec<String> = topics
            .iter()
            .map(|entry| format!("v{}", entry.incarnation))
            .collect();
        let name = topics.first().map_or("", |entry| &entry.key.topic);
        format!(
            "there is no {wanted} of {name}, there is {}",
            versions.join(", ")
        )
    })
}

fn list(partitions: &[i32]) -> String {
    let numbers: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    match numbers.as_slice() {
        [] => "none".to_owned(),
        numbers => numbers.join(", "),
    }
}

/// What is read, and what becomes of damage.
struct Reading {
    archive: Archive,
    skip_damaged: bool,
    /// Whether any was met.
    damaged: bool,
}

impl Reading {
    /// Names what is damaged: and goes on, or ends with it.
    fn tell(&mut self, findings: Vec<Finding>) -> anyhow::Result<()> {
        for finding in &findings {
            self.damaged = true;
            let line = FindingView::from(finding).line_with_remedy();
            if !self.skip_damaged {
                return Err(DamageMet(line).into());
            }
            tracing::error!("{line}");
        }
        Ok(())
    }

    async fn partition(
        &mut self,
        key: &PartitionKey,
        printer: &mut Printer<'_>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let (parts, findings) = self.archive.survey_history(key).await?;
        let range = printer.range;
        // What lies outside of the range is not asked for.
        let concerned = |finding: &Finding| finding.offset.is_none_or(|offset| offset < range.end);
        // In the order of offsets: what comes before the damage is printed first.
        let mut findings: Vec<Finding> = findings.into_iter().filter(concerned).collect();
        findings.sort_by_key(|finding| finding.offset.unwrap_or(-1));
        let mut findings = findings.into_iter().peekable();
        for HistoryPart { manifest, until } in parts {
            while let Some(finding) =
                findings.next_if(|finding| finding.offset.unwrap_or(-1) <= manifest.base)
            {
                printer.out.flush()?;
                self.tell(vec![finding])?;
            }
            if until <= range.start || manifest.base >= range.end || manifest.segment.is_none() {
                continue;
            }
            let end = until.min(range.end);
            if self.segment(key, &manifest, end, printer).await?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        printer.out.flush()?;
        self.tell(findings.collect())?;
        Ok(ControlFlow::Continue(()))
    }

    /// Prints a segment up to `end` (exclusive); with damage in it, what comes before, and what comes from the next place of the
    /// index on.
    async fn segment(
        &mut self,
        key: &PartitionKey,
        manifest: &Manifest,
        end: i64,
        printer: &mut Printer<'_>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let mut from = printer.range.start;
        loop {
            let error = match self.stretch(key, manifest, from..end, printer).await? {
                Ok(flow) => return Ok(flow),
                Err(error) => error,
            };
            let (damage, at) = match error {
                ArchiveError::Damaged(damage) => {
                    let at = damage.offset;
                    (damage, at)
                }
                // What goes meanwhile is not damaged.
                ArchiveError::Pruned { .. } => return Ok(ControlFlow::Continue(())),
                error => return Err(error.into()),
            };
            self.damaged = true;
            printer.out.flush()?;
            if !self.skip_damaged {
                return Err(anyhow::Error::from(ArchiveError::Damaged(damage)))
                    .context("stopped at the damage, --skip-damaged goes on beyond it");
            }
            tracing::error!("{damage}; {}", FindingKind::Segment.remedy());
            let index = manifest.segment.iter().flat_map(|segment| &segment.index);
            let after = at.unwrap_or(i64::MAX).max(from);
            match index
                .map(|entry| entry.offset)
                .find(|offset| *offset > after)
            {
                Some(next) if next < end => from = next,
                _ => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    /// Prints a range of a segment. The inner error is the archive's.
    async fn stretch(
        &self,
        key: &PartitionKey,
        manifest: &Manifest,
        range: Range<i64>,
        printer: &mut Printer<'_>,
    ) -> anyhow::Result<Result<ControlFlow<()>, ArchiveError>> {
        let opened = SegmentReader::open(&self.archive, key, manifest.lineage, manifest).await;
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(error)),
        };
        if range.start > manifest.base {
            reader.seek(range.start);
        }
        if range.end < manifest.next {
            reader.until(range.end);
        }
        loop {
            let chunk = match reader.next_chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(Ok(ControlFlow::Continue(()))),
                Err(error) => return Ok(Err(error)),
            };
            for batch in Batches::new(&chunk) {
                let batch = batch.with_context(|| format!("cannot read {}", manifest.place()))?;
                if printer.batch(key.partition, &batch, range.end)?.is_break() {
                    return Ok(Ok(ControlFlow::Break(())));
                }
            }
        }
    }
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
    fn finish(&mut self, reading: &Reading) -> anyhow::Result<Exit> {
        self.out.flush()?;
        Ok(match reading.damaged {
            true => Exit::Damage,
            false => Exit::Done,
        })
    }

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
