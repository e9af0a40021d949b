//! `armory verify`

use armory_archive::{Depth, Finding, FindingKind, Progress, Severity, VerifyReport};
use serde::Serialize;

use super::{find_topic, open};
use crate::args::VerifyArguments;
use crate::console::Console;
use crate::exit::Exit;
use crate::format::{count, plural, size};
use crate::output;

pub(super) async fn run(arguments: VerifyArguments, console: &Console) -> anyhow::Result<Exit> {
    let archive = open(arguments.storage, &arguments.s3).await?;
    if let Some(name) = &arguments.topic {
        // A mistyped topic must not pass as a sound one.
        find_topic(archive.topics().await?, name)?;
    }
    let depth = if arguments.deep {
        Depth::Segments
    } else {
        Depth::Chains
    };
    let topic = arguments.topic.as_deref();
    let progress = console.progress(archive.display());
    let report = archive
        .verify(
            |name| topic.is_none_or(|topic| topic == name),
            depth,
            |checked| progress.tell(None, &words(checked)),
        )
        .await?;
    drop(progress);
    let view = View::new(&report, arguments.deep);
    output::print(arguments.output, &view, for_people)?;
    Ok(if report.is_sound() {
        Exit::Done
    } else {
        Exit::Damage
    })
}

fn words(checked: &Progress) -> String {
    let mut words = format!(
        "{}, {}, {}",
        plural(checked.partitions, "partition"),
        plural(checked.manifests, "manifest"),
        plural(checked.segments, "segment"),
    );
    if checked.bytes > 0 {
        words.push_str(&format!(", {} read", size(checked.bytes)));
    }
    words
}

/// What a verification found, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    sound: bool,
    deep: bool,
    findings: Vec<FindingView>,
    checked: Checked,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FindingView {
    severity: &'static str,
    kind: &'static str,
    place: String,
    batch: Option<u64>,
    offset: Option<i64>,
    message: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    partitions: u64,
    manifests: u64,
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
}

impl View {
    fn new(report: &VerifyReport, deep: bool) -> Self {
        let checked = &report.checked;
        View {
            sound: report.is_sound(),
            deep,
            findings: report.findings.iter().map(FindingView::new).collect(),
            checked: Checked {
                partitions: checked.partitions,
                manifests: checked.manifests,
                segments: checked.segments,
                batches: checked.batches,
                records: checked.records,
                bytes: checked.bytes,
            },
        }
    }
}

impl FindingView {
    fn new(finding: &Finding) -> Self {
        FindingView {
            severity: match finding.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Damage => "damage",
            },
            kind: kind(finding.kind),
            place: finding.place.clone(),
            batch: finding.batch,
            offset: finding.offset,
            message: finding.message.clone(),
        }
    }
}

fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Document => "document",
        FindingKind::Unsupported => "unsupported",
        FindingKind::MissingLink => "missing-link",
        FindingKind::Overlap => "overlap",
        FindingKind::Predecessor => "predecessor",
        FindingKind::MissingEnd => "missing-end",
        FindingKind::MissingSegment => "missing-segment",
        FindingKind::SegmentSize => "segment-size",
        FindingKind::Segment => "segment",
        FindingKind::Leftover => "leftover",
        // A kind that a later version of the archive's crate knows.
        _ => "other",
    }
}

fn for_people(view: &View) -> String {
    let mut text = String::new();
    for finding in &view.findings {
        text.push_str(&format!("{}: {}", finding.severity, finding.place));
        if let Some(batch) = finding.batch {
            text.push_str(&format!(", batch {batch}"));
        }
        if let Some(offset) = finding.offset {
            text.push_str(&format!(", offset {offset}"));
        }
        text.push_str(&format!(": {}\n", finding.message));
    }
    let checked = &view.checked;
    text.push_str(&format!(
        "{}: {}, {} and {} checked",
        if view.sound { "sound" } else { "damaged" },
        plural(checked.partitions, "partition"),
        plural(checked.manifests, "manifest"),
        plural(checked.segments, "segment"),
    ));
    if view.deep {
        text.push_str(&format!(
            ", with {} in {} of batches read",
            plural(checked.records, "record"),
            size(checked.bytes)
        ));
    } else {
        text.push_str("; --deep reads the segments, too");
    }
    let damages = view
        .findings
        .iter()
        .filter(|finding| finding.severity == "damage")
        .count() as u64;
    if damages > 0 {
        text.push_str(&format!("; {} found", count_damages(damages)));
    }
    text
}

fn count_damages(damages: u64) -> String {
    match damages {
        1 => "1 place of damage".to_owned(),
        _ => format!("{} places of damage", count(damages)),
    }
}
