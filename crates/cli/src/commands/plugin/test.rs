//! `armory plugin test`

use std::fmt::Write as _;
use std::io::{self, Write as _};

use armory_plugins::{FailureClass, OwnedRecord};
use serde::Serialize;

use super::difference;
use super::records::{TestRecord, lines_of};
use super::trial::{Trial, Tried, hand_over};
use crate::args::{PluginTestArguments, PluginTestFormat};
use crate::exit::{Exit, Usage};
use crate::format::plural;
use crate::record_line::{Data, Headers, OwnedHeader, ReadLine, RecordLine};

/// How the records came out.
#[derive(Debug, Default)]
struct Counts {
    unchanged: u64,
    changed: u64,
    rejected: u64,
    failed: u64,
    unexpected: u64,
}

pub(super) fn run(arguments: &PluginTestArguments, records: &[TestRecord]) -> anyhow::Result<Exit> {
    let expected = match &arguments.expect {
        Some(file) => Some(expectations(file, records.len())?),
        None => None,
    };
    let mut trial = Trial::new(&arguments.run, records)?;
    let mut printer = Printer {
        format: arguments.output,
        out: String::new(),
    };
    let mut counts = Counts::default();
    let archived = trial.partitions();
    let mut lease = None;
    for (number, record) in records.iter().enumerate() {
        // A thread has one lease at a time.
        let context = trial.context(&record.topic);
        let held = lease.take().filter(|(of, _)| *of == context);
        let (_, lease) = match held {
            Some(held) => lease.insert(held),
            None => {
                let chain = trial.chain(&record.topic, |context, partitions| {
                    printer.text(&format!(
                        "{context}: the target needs {}, the archive has {archived}",
                        plural(partitions, "partition")
                    ));
                })?;
                lease.insert((context, chain.lease()?))
            }
        };
        let result = Came::new(record, hand_over(lease, record)?);
        counts.count(&result);
        let differences = expected
            .as_ref()
            .map(|lines| difference::from_expected(&lines[number], &result.line()));
        counts.unexpected += u64::from(differences.as_ref().is_some_and(|list| !list.is_empty()));
        printer.record(record, &result, differences)?;
    }
    let counters = trial.counters();
    printer.text(&counts.summary(expected.is_some()));
    if counters.faults > counts.failed {
        printer.text(&format!(
            "{} went away with a fresh instance",
            plural(counters.faults - counts.failed, "fault")
        ));
    }
    if counters.ignored_edits > 0 {
        printer.text(&format!(
            "the partition or offset of {} was changed, which a backup ignores",
            plural(counters.ignored_edits, "record")
        ));
    }
    io::stdout().lock().write_all(printer.out.as_bytes())?;
    let bad = match expected {
        Some(_) => counts.unexpected,
        None => counts.failed,
    };
    Ok(if bad == 0 { Exit::Done } else { Exit::Failed })
}

/// The lines of `--expect`, one for each record.
fn expectations(file: &std::path::Path, records: usize) -> Result<Vec<ReadLine>, Usage> {
    let lines = lines_of(file)?;
    if lines.len() < records {
        return Err(Usage(format!(
            "{} has {}, and there are {}: every record needs a line, also one that is rejected: {{\"outcome\":\"rejected\"}}",
            file.display(),
            plural(lines.len() as u64, "line"),
            plural(records as u64, "record"),
        )));
    }
    if lines.len() > records {
        return Err(Usage(format!(
            "{} has {}, and there are only {}",
            file.display(),
            plural(lines.len() as u64, "line"),
            plural(records as u64, "record"),
        )));
    }
    let known = ["accepted", "rejected", "error", "fault", "headerKeyNotUtf8"];
    for (index, line) in lines.iter().enumerate() {
        match &line.outcome {
            Some(outcome) if !known.contains(&outcome.as_str()) => {
                return Err(Usage(format!(
                    "{}, line {}: unknown outcome {outcome:?}, expected one of {}",
                    file.display(),
                    index + 1,
                    known.join(", ")
                )));
            }
            _ => {}
        }
    }
    Ok(lines)
}

/// What came of a record.
pub(super) struct Came<'a> {
    record: &'a TestRecord,
    tried: Tried,
    /// The headers of a changed record.
    headers: Vec<OwnedHeader>,
}

impl<'a> Came<'a> {
    fn new(record: &'a TestRecord, tried: Tried) -> Self {
        let headers = match &tried {
            Tried::Changed(changed) => changed
                .headers
                .iter()
                .map(|(key, value)| (key.as_bytes().to_vec(), value.clone()))
                .collect(),
            _ => Vec::new(),
        };
        Came {
            record,
            tried,
            headers,
        }
    }

    /// The line of `-o json`, and of `--expect`. What was not accepted is told as it went in.
    pub(super) fn line(&self) -> CameLine<'_> {
        let went_in = self.record.line();
        let record = match &self.tried {
            Tried::Changed(OwnedRecord {
                key,
                value,
                partition,
                timestamp,
                ..
            }) => RecordLine {
                partition: *partition,
                timestamp: *timestamp,
                key: Data(key.as_deref()),
                value: Data(value.as_deref()),
                headers: Headers::Owned(&self.headers),
                ..went_in
            },
            _ => went_in,
        };
        let (outcome, message) = match &self.tried {
            Tried::Unchanged | Tried::Changed(_) => ("accepted", None),
            Tried::Failed { class, message } => {
                let message = (*class != FailureClass::Rejected).then_some(message.as_str());
                (class.name(), message)
            }
        };
        CameLine {
            outcome,
            message,
            record,
        }
    }
}

/// What came of a record, as a line of JSON.
#[derive(Debug, Serialize)]
pub(super) struct CameLine<'a> {
    pub(super) outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<&'a str>,
    #[serde(flatten)]
    pub(super) record: RecordLine<'a>,
}

impl Counts {
    fn count(&mut self, result: &Came<'_>) {
        *match &result.tried {
            Tried::Unchanged => &mut self.unchanged,
            Tried::Changed(_) => &mut self.changed,
            Tried::Failed {
                class: FailureClass::Rejected,
                ..
            } => &mut self.rejected,
            Tried::Failed { .. } => &mut self.failed,
        } += 1;
    }

    fn summary(&self, expected: bool) -> String {
        let Counts {
            unchanged,
            changed,
            rejected,
            failed,
            unexpected,
        } = self;
        let records = plural(unchanged + changed + rejected + failed, "record");
        let mut text = format!(
            "{records}: {unchanged} unchanged, {changed} changed, {rejected} rejected, {failed} failed"
        );
        if expected {
            let _ = match unexpected {
                0 => write!(text, "; all as expected"),
                _ => write!(text, "; {unexpected} not as expected"),
            };
        }
        text
    }
}

/// Gathers what is printed: a guest's own lines go to the log meanwhile.
struct Printer {
    format: PluginTestFormat,
    out: String,
}

impl Printer {
    /// A line for people.
    fn text(&mut self, line: &str) {
        if self.format == PluginTestFormat::Text {
            self.out.push_str(line);
            self.out.push('\n');
        }
    }

    fn record(
        &mut self,
        record: &TestRecord,
        result: &Came<'_>,
        differences: Option<Vec<String>>,
    ) -> anyhow::Result<()> {
        if self.format == PluginTestFormat::Json {
            self.out.push_str(&serde_json::to_string(&result.line())?);
            self.out.push('\n');
            return Ok(());
        }
        let TestRecord {
            topic,
            partition,
            offset,
            ..
        } = record;
        let mut tell = |word: &str, details: &[String]| {
            self.text(&format!("{topic}/{partition}@{offset} {word}"));
            details
                .iter()
                .for_each(|line| self.text(&format!("  {line}")));
        };
        match (differences, &result.tried) {
            (Some(differences), _) if differences.is_empty() => {}
            (Some(differences), _) => tell("is not as expected", &differences),
            (None, Tried::Unchanged) => {}
            (None, Tried::Changed(_)) => {
                let changes = difference::between(&record.line(), &result.line().record);
                tell("changed", &changes);
            }
            (None, Tried::Failed { class, message }) => match class {
                FailureClass::Rejected => tell("rejected", &[]),
                class => tell(&format!("{class}: {message}"), &[]),
            },
        }
        Ok(())
    }
}
