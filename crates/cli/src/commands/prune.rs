//! `armory prune`

use std::collections::BTreeMap;

use armory_archive::{PruneAction, PruneKind, PruneOutcome, PrunePlan, PruneRequest};
use armory_resources::job::NamePattern;
use serde::Serialize;

use super::open;
use crate::args::PruneArguments;
use crate::console::Console;
use crate::exit::{Exit, Usage};
use crate::format::{count, plural, size, time};
use crate::output;

pub(super) async fn run(arguments: PruneArguments, console: &Console) -> anyhow::Result<Exit> {
    let is_pattern = |pattern: &NamePattern| !matches!(pattern, NamePattern::Literal(_));
    let patterns = arguments.topics.iter();
    if arguments.force && patterns.clone().any(|topic| is_pattern(topic.pattern())) {
        let message =
            "--force takes the last records of a topic: name the topics, without patterns";
        return Err(Usage(message.to_owned()).into());
    }
    let archive = open(arguments.storage, &arguments.s3).await?;
    let keys = archive.topic_keys().await?;
    for topic in &arguments.topics {
        // A mistyped topic must not pass as one of which nothing goes.
        if !keys.iter().any(|key| topic.matches(&key.topic)) {
            return Err(Usage(format!(
                "the archive has no topic {topic}, see armory inspect"
            ))
            .into());
        }
    }
    let request = PruneRequest {
        grace: arguments.grace,
        expired: arguments.expired,
        older_than: arguments.older_than,
        incarnations_older_than: arguments.incarnations_older_than,
        keep_incarnations: arguments.keep_incarnations,
        leftovers_older_than: arguments
            .leftovers
            .then_some(arguments.leftovers_older_than),
        force: arguments.force,
    };
    let whole = arguments.topics.is_empty();
    let topics = arguments.topics;
    let progress = console.progress(archive.display());
    progress.tell(None, "looking at the segments");
    let wanted = |name: &str| whole || topics.iter().any(|topic| topic.matches(name));
    let plan = archive.plan_prune(wanted, whole, &request).await?;
    let all = plan.actions.len() as u64;
    let outcome = match arguments.yes {
        true => Some(
            archive
                .prune(&plan, arguments.grace, |done| {
                    let words = format!(
                        "{} marked, {} of {} deleted",
                        plural(done.marked, "segment"),
                        count(done.deleted),
                        plural(all, "file"),
                    );
                    progress.tell(None, &words);
                })
                .await?,
        ),
        false => None,
    };
    drop(progress);
    output::print(arguments.output, &View::new(&plan, outcome), |view| {
        for_people(&plan, view)
    })?;
    Ok(Exit::Done)
}

/// What goes and what stays, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    /// Whether it was done.
    applied: bool,
    goes: Vec<GoesView>,
    stays: Vec<StaysView>,
    /// What was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<DoneView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GoesView {
    why: &'static str,
    place: String,
    bytes: u64,
    records: u64,
    topic: Option<String>,
    version: Option<String>,
    partition: Option<i32>,
    lineage: Option<u32>,
    base: Option<i64>,
    /// Of the newest record, in ms since 1970.
    newest: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StaysView {
    why: String,
    topic: String,
    version: String,
    files: u64,
    records: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DoneView {
    marked_segments: u64,
    marked_records: u64,
    deleted_files: u64,
    deleted_bytes: u64,
    /// Marked, and deleted when the grace is over.
    waiting_bytes: u64,
}

fn version(number: u32) -> String {
    match number {
        0 => "unknown".to_owned(),
        number => format!("v{number}"),
    }
}

fn why(kind: PruneKind) -> &'static str {
    match kind {
        PruneKind::Expired => "expired",
        PruneKind::Old => "old",
        PruneKind::Incarnation => "old incarnation",
        PruneKind::Marked => "marked before",
        PruneKind::Leftover => "leftover",
        PruneKind::Temporary => "unfinished",
        // A kind that a later version of the archive's crate knows.
        _ => "other",
    }
}

impl View {
    fn new(plan: &PrunePlan, outcome: Option<PruneOutcome>) -> Self {
        let stays = plan.kept.iter().map(|kept| StaysView {
            why: kept.why.clone(),
            topic: kept.topic.topic.clone(),
            version: version(kept.incarnation),
            files: kept.files,
            records: kept.records,
            bytes: kept.bytes,
        });
        View {
            applied: outcome.is_some(),
            goes: plan.actions.iter().map(GoesView::new).collect(),
            stays: stays.collect(),
            done: outcome.map(|done| DoneView {
                marked_segments: done.marked,
                marked_records: done.records,
                deleted_files: done.deleted,
                deleted_bytes: done.deleted_bytes,
                waiting_bytes: done.waiting_bytes,
            }),
        }
    }
}

impl GoesView {
    fn new(action: &PruneAction) -> Self {
        let chain = action.chain.as_ref();
        GoesView {
            why: why(action.kind),
            place: action.place.clone(),
            bytes: action.bytes,
            records: action.records,
            topic: chain.map(|(key, ..)| key.topic.topic.clone()),
            version: chain.map(|(_, number, ..)| version(*number)),
            partition: chain.map(|(key, ..)| key.partition),
            lineage: chain.map(|(_, _, lineage, _)| *lineage),
            base: chain.map(|(.., base)| *base),
            newest: action.timestamps.map(|timestamps| timestamps.max),
        }
    }
}

/// A line of the table: files of one topic that go or stay for one reason.
#[derive(Default)]
struct Row {
    files: u64,
    records: u64,
    bytes: u64,
    newest: Option<i64>,
}

fn for_people(plan: &PrunePlan, view: &View) -> String {
    let mut rows: BTreeMap<(bool, String, String, String), Row> = BTreeMap::new();
    for goes in &view.goes {
        let topic = goes.topic.clone().unwrap_or_else(|| "-".to_owned());
        let version = goes.version.clone().unwrap_or_else(|| "-".to_owned());
        let row = rows
            .entry((false, topic, version, goes.why.to_owned()))
            .or_default();
        row.files += 1;
        row.records += goes.records;
        row.bytes += goes.bytes;
        row.newest = row.newest.max(goes.newest);
    }
    for stays in &view.stays {
        let key = (
            true,
            stays.topic.clone(),
            stays.version.clone(),
            stays.why.clone(),
        );
        let row = rows.entry(key).or_default();
        row.files += stays.files;
        row.records += stays.records;
        row.bytes += stays.bytes;
    }
    let lines = rows.iter().map(|((stays, topic, version, why), row)| {
        [
            if *stays { "stays" } else { "goes" }.to_owned(),
            topic.clone(),
            version.clone(),
            count(row.files),
            count(row.records),
            size(row.bytes),
            row.newest.map_or("-".to_owned(), time),
            why.clone(),
        ]
    });
    let headings = [
        "",
        "TOPIC",
        "VERSION",
        "FILES",
        "RECORDS",
        "BYTES",
        "NEWEST RECORD",
        "WHY",
    ];
    let mut text = match rows.is_empty() {
        true => String::new(),
        false => output::table(headings, &[3, 4, 5], lines) + "\n",
    };
    let bytes = plan.actions.iter().map(|action| action.bytes).sum();
    let files = plan.actions.len() as u64;
    match &view.done {
        None if files == 0 => text.push_str("nothing would go"),
        None => text.push_str(&format!(
            "{} ({}) would go; --yes does it",
            plural(files, "file"),
            size(bytes)
        )),
        Some(done) => {
            text.push_str(&format!(
                "{} with {} marked as pruned, {} ({}) deleted",
                plural(done.marked_segments, "segment"),
                plural(done.marked_records, "record"),
                plural(done.deleted_files, "file"),
                size(done.deleted_bytes),
            ));
            if done.waiting_bytes > 0 {
                text.push_str(&format!(
                    "; {} stay until their grace is over: run it again then",
                    size(done.waiting_bytes)
                ));
            }
        }
    }
    text
}
