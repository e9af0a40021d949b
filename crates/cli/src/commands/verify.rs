//! `armory verify`

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::Context as _;
use armory_archive::{Depth, Progress, VerifyOptions, VerifyReport, VerifyState};
use serde::Serialize;

use super::findings::FindingView;
use super::{find_topic, open_damaged};
use crate::args::VerifyArguments;
use crate::console::Console;
use crate::exit::{Exit, Usage};
use crate::format::{count, plural, size};
use crate::{output, signals};

/// How often the state is kept while segments are read.
const KEPT_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(arguments: VerifyArguments, console: &Console) -> anyhow::Result<Exit> {
    let (archive, damage) = open_damaged(arguments.storage, &arguments.s3).await?;
    if let Some(name) = &arguments.topic
        && !archive
            .topic_keys()
            .await?
            .iter()
            .any(|key| key.topic == *name)
    {
        // A mistyped topic must not pass as a sound one.
        find_topic(archive.topics().await?, name)?;
    }
    let depth = if arguments.deep {
        Depth::Segments
    } else {
        Depth::Chains
    };
    let kept = match &arguments.state {
        Some(file) => read_state(file)?.filter(|state| !state.finished || arguments.since_last),
        None => None,
    };
    if kept
        .as_ref()
        .is_some_and(|state| state.archive != archive.id())
    {
        let message = "--state is of another archive: use one file an archive";
        return Err(Usage(message.to_owned()).into());
    }
    let options = VerifyOptions {
        depth,
        rate: arguments.rate,
        state: kept.unwrap_or_else(|| VerifyState::new(archive.id())),
    };
    let topic = arguments.topic.as_deref();
    let progress = console.progress(archive.display());
    let latest = Mutex::new((Instant::now(), options.state.clone()));
    let verified = archive.verify_from(
        |name| topic.is_none_or(|topic| topic == name),
        options,
        |report| {
            progress.tell(None, &words(&report.checked));
            let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(file) = &arguments.state
                && latest.0.elapsed() >= KEPT_EVERY
            {
                *latest = (Instant::now(), report.state.clone());
                if let Err(error) = write_state(file, &latest.1) {
                    tracing::warn!("{error:#}");
                }
            }
        },
    );
    let mut report = match &arguments.state {
        None => verified.await?,
        Some(file) => {
            let stop = signals::stop_token("stopping: what was verified is kept in the state")?;
            tokio::select! {
                report = verified => {
                    let report = report?;
                    write_state(file, &report.state)?;
                    report
                }
                () = stop.cancelled() => anyhow::bail!(
                    "the verification was stopped; run it again with the same --state to go on"
                ),
            }
        }
    };
    drop(progress);
    report.findings.splice(0..0, damage);
    let view = View::new(&report, arguments.deep);
    output::print(arguments.output, &view, for_people)?;
    Ok(if report.is_sound() {
        Exit::Done
    } else {
        Exit::Damage
    })
}

/// The state of an earlier run; nothing if there was none.
fn read_state(file: &Path) -> anyhow::Result<Option<VerifyState>> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let state = serde_json::from_slice(&text).map_err(|error| {
        Usage(format!(
            "{} is no state of a verification ({error}): remove it to begin anew",
            file.display()
        ))
    })?;
    Ok(Some(state))
}

/// Replaces the file as a whole: a crash leaves the old one.
fn write_state(file: &Path, state: &VerifyState) -> anyhow::Result<()> {
    let write = || {
        let mut unfinished = file.as_os_str().to_owned();
        unfinished.push(".tmp");
        fs::write(&unfinished, serde_json::to_vec(state)?)?;
        fs::rename(&unfinished, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

fn words(checked: &Progress) -> String {
    let mut words = format!(
        "{}, {}, {}",
        plural(checked.partitions, "partition"),
        plural(checked.manifests, "manifest"),
        plural(checked.segments, "segment"),
    );
    if checked.dead_letters > 0 {
        words.push_str(&format!(
            ", {}",
            plural(checked.dead_letters, "dead letter")
        ));
    }
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
struct Checked {
    partitions: u64,
    manifests: u64,
    segments: u64,
    dead_letters: u64,
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
            findings: report.findings.iter().map(FindingView::from).collect(),
            checked: Checked {
                partitions: checked.partitions,
                manifests: checked.manifests,
                segments: checked.segments,
                dead_letters: checked.dead_letters,
                batches: checked.batches,
                records: checked.records,
                bytes: checked.bytes,
            },
        }
    }
}

fn for_people(view: &View) -> String {
    let mut text = String::new();
    for finding in &view.findings {
        text.push_str(&finding.line());
        text.push('\n');
    }
    let checked = &view.checked;
    text.push_str(&format!(
        "{}: {}, {} and {} checked",
        if view.sound { "sound" } else { "damaged" },
        plural(checked.partitions, "partition"),
        plural(checked.manifests, "manifest"),
        plural(checked.segments, "segment"),
    ));
    if checked.dead_letters > 0 {
        text.push_str(&format!(
            ", {}",
            plural(checked.dead_letters, "dead letter")
        ));
    }
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
