//! `armory restore --dry-run`

use anyhow::Context as _;
use armory_engine::Outlook;
use armory_engine::restore::{self, Check, PreflightReport, Standing, TopicAmount, Verdict};
use armory_resources::job::RestoreJob;
use serde::Serialize;

use crate::console::Console;
use crate::exit::Exit;
use crate::format::{count, size, time};
use crate::output::{self, Format};

/// Tells what restores would do. The worst of them gives the exit code.
pub(super) async fn run(
    jobs: Vec<RestoreJob>,
    format: Format,
    console: &Console,
) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let mut reports = Vec::new();
    for job in jobs {
        let name = job.name.clone();
        let report = restore::preflight(job)
            .await
            .with_context(|| format!("restore {name} cannot be looked at"))?;
        if report.is_refused() {
            let refused = match report.outlook() {
                Outlook::Damage => Exit::Damage,
                Outlook::Passing => Exit::Failed,
                _ => Exit::Refused,
            };
            // Damage is the worst, and what may pass counts least.
            if exit == Exit::Done || exit == Exit::Failed || refused == Exit::Damage {
                exit = refused;
            }
        }
        reports.push(Report::new(name, report));
    }
    console.suspend(|| {
        output::print(format, &reports, |reports| {
            let texts: Vec<String> = reports.iter().map(Report::for_people).collect();
            texts.join("\n")
        })
    })?;
    Ok(exit)
}

/// What a restore would do, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    name: String,
    /// Null as long as a target is missing.
    id: Option<String>,
    /// `new`, `begun` or `done`.
    standing: &'static str,
    /// Whether it would start.
    starts: bool,
    topics: Vec<Topic>,
    checks: Vec<Finding>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Topic {
    source: String,
    snapshot: String,
    target: String,
    partitions: usize,
    records: u64,
    batch_bytes: u64,
    stored_bytes: u64,
    /// Whether these numbers are an upper bound, because a range or a time leaves records out.
    at_most: bool,
    /// In ms since the epoch, as batch headers tell.
    oldest_ms: Option<i64>,
    newest_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    check: String,
    target: Option<String>,
    /// `ok`, `warning` or `refused`.
    verdict: String,
    reason: String,
    remedy: Option<String>,
}

impl From<TopicAmount> for Topic {
    fn from(topic: TopicAmount) -> Topic {
        Topic {
            source: topic.source,
            snapshot: format!("v{}", topic.incarnation),
            target: topic.target,
            partitions: topic.partitions,
            records: topic.records,
            batch_bytes: topic.batch_bytes,
            stored_bytes: topic.stored_bytes,
            at_most: topic.at_most,
            oldest_ms: topic.oldest_ms,
            newest_ms: topic.newest_ms,
        }
    }
}

impl From<Check> for Finding {
    fn from(check: Check) -> Finding {
        Finding {
            check: check.name.to_string(),
            target: check.target,
            verdict: check.verdict.to_string(),
            reason: check.reason,
            remedy: check.remedy,
        }
    }
}

impl Report {
    fn new(name: String, report: PreflightReport) -> Report {
        let starts = !report.is_refused();
        Report {
            name,
            id: report.id,
            standing: match report.standing {
                Standing::New => "new",
                Standing::Begun => "begun",
                Standing::Done => "done",
            },
            starts,
            topics: report.topics.into_iter().map(Topic::from).collect(),
            checks: report.checks.into_iter().map(Finding::from).collect(),
        }
    }

    fn for_people(&self) -> String {
        let moment = |ms: Option<i64>| ms.map_or_else(|| "-".to_owned(), time);
        let topics = self.topics.iter().map(|topic| {
            let bound = if topic.at_most { "≤ " } else { "" };
            [
                format!("{} ({})", topic.source, topic.snapshot),
                topic.target.clone(),
                count(topic.partitions as u64),
                format!("{bound}{}", count(topic.records)),
                format!("{bound}{}", size(topic.batch_bytes)),
                moment(topic.oldest_ms),
                moment(topic.newest_ms),
            ]
        });
        let headings = [
            "SOURCE",
            "TARGET",
            "PARTITIONS",
            "RECORDS",
            "BYTES",
            "OLDEST",
            "NEWEST",
        ];
        let topics = output::table(headings, &[2, 3, 4], topics);
        let checks = self.checks.iter().map(|check| {
            let remedy = check.remedy.as_ref();
            [
                check.verdict.clone(),
                check.check.clone(),
                check.target.clone().unwrap_or_default(),
                match remedy {
                    Some(remedy) => format!("{}; {remedy}", check.reason),
                    None => check.reason.clone(),
                },
            ]
        });
        let checks = output::table(["VERDICT", "CHECK", "TARGET", "FOUND"], &[], checks);
        let refused = Verdict::Refused.to_string();
        let refused = self.checks.iter().filter(|check| check.verdict == refused);
        let end = match (self.standing, refused.count()) {
            ("done", _) => "everything was restored before, it would write nothing".to_owned(),
            ("begun", _) => "it was interrupted, and would go on".to_owned(),
            (_, 0) => "it would start".to_owned(),
            (_, number) => format!("it would be refused, for {number} reasons"),
        };
        format!("{topics}\n{checks}\n{}: {end}", self.name)
    }
}
