//! `armory cat --dead-letters`

use std::io::{self, Write as _};
use std::ops::ControlFlow;

use anyhow::Context as _;
use armory_archive::{
    Archive, ArchiveError, DeadLetter, DeadLetterStore, FindingKind, PartitionKey,
};
use armory_engine::restore::RestoreDeadLetters;
use armory_records::{Batch, DecodeBuffer};
use serde::Serialize;

use super::{Printer, Reading};
use crate::args::CatFormat;
use crate::record_line::RecordLine;

/// Where dead letters are from.
pub(super) enum Letters {
    Backups,
    Restore(Vec<RestoreDeadLetters>),
}

/// A record with what happened to it.
#[derive(Serialize)]
struct LetterLine<'a> {
    #[serde(flatten)]
    record: RecordLine<'a>,
    failure: Failure<'a>,
}

#[derive(Serialize)]
struct Failure<'a> {
    plugin: &'a str,
    digest: &'a str,
    class: &'a str,
    message: &'a str,
    backtrace: &'a [String],
}

impl Letters {
    /// Those of backups, or of the restore of that id.
    pub(super) async fn of(archive: &Archive, restore: &str) -> anyhow::Result<Self> {
        if restore.is_empty() {
            return Ok(Self::Backups);
        }
        let found = armory_engine::restore::dead_letters(archive, restore).await?;
        Ok(Self::Restore(found))
    }

    pub(super) async fn print(
        &self,
        key: &PartitionKey,
        reading: &mut Reading,
        printer: &mut Printer<'_>,
    ) -> anyhow::Result<ControlFlow<()>> {
        match self {
            Self::Backups => {
                for part in reading.archive.history(key, None).await? {
                    let read = reading.archive.dead_letters(&part.manifest).await;
                    let end = part.until.min(printer.range.end);
                    if reading.letters(read, end, key, printer)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            Self::Restore(files) => {
                let store = DeadLetterStore::new(&reading.archive);
                for file in files.iter().filter(|file| file.partition == *key) {
                    let read = store.read(key, &file.letters).await;
                    let end = printer.range.end;
                    if reading.letters(read, end, key, printer)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Reading {
    /// Prints the dead letters below `end` (exclusive), or names their damage.
    fn letters(
        &mut self,
        read: Result<Vec<DeadLetter>, ArchiveError>,
        end: i64,
        key: &PartitionKey,
        printer: &mut Printer<'_>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let letters = match read {
            Ok(letters) => letters,
            Err(ArchiveError::Pruned { .. }) => Vec::new(),
            Err(ArchiveError::Damaged(damage)) if self.skip_damaged => {
                self.damaged = true;
                tracing::error!("{damage}; {}", FindingKind::Segment.remedy());
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        let range = printer.range.start..end;
        for letter in letters.iter().filter(|it| range.contains(&it.offset)) {
            if printer.letter(key, letter)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Printer<'_> {
    fn letter(
        &mut self,
        key: &PartitionKey,
        letter: &DeadLetter,
    ) -> anyhow::Result<ControlFlow<()>> {
        if self.left == 0 {
            return Ok(ControlFlow::Break(()));
        }
        self.left -= 1;
        let bytes = letter.batch()?;
        if self.format == CatFormat::Raw {
            self.out.write_all(&bytes)?;
            return Ok(ControlFlow::Continue(()));
        }
        let mut scratch = DecodeBuffer::new();
        let batch = Batch::parse(&bytes)?;
        let record = batch.decode(&mut scratch)?.next();
        let record = record.context("a batch of one record has one")??;
        let line = LetterLine {
            record: RecordLine::new(
                &key.topic.topic,
                key.partition,
                letter.timestamp_type.into(),
                &record,
            ),
            failure: Failure {
                plugin: &letter.plugin,
                digest: &letter.digest,
                class: &letter.class,
                message: &letter.message,
                backtrace: &letter.backtrace,
            },
        };
        serde_json::to_writer(&mut self.out, &line).map_err(io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(ControlFlow::Continue(()))
    }
}
