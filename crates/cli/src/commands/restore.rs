//! `armory restore`

mod preflight;

use std::sync::Arc;

use anyhow::Context as _;
use armory_engine::restore::{self, RestoreSummary};
use armory_engine::{Level, Observer, PluginProgress, Remark, RestoreProgress};
use armory_resources::job::RestoreJob;
use armory_troubles::Troubles;
use serde::Serialize;

use super::backup::finish;
use super::plugin_report::PluginReport;
use crate::args::RestoreArguments;
use crate::console::{Console, Progress};
use crate::exit::{self, Exit, Interrupted};
use crate::format::{count, plural, rate};
use crate::metrics::Metrics;
use crate::output::{self, Format};
use crate::{jobs, signals, termination};

pub(super) async fn run(arguments: RestoreArguments, console: &Console) -> anyhow::Result<Exit> {
    let format = arguments.output;
    let dry_run = arguments.dry_run;
    let address = arguments.metrics.metrics_address;
    let jobs = jobs::restore_jobs(arguments)?;
    if dry_run {
        return preflight::run(jobs, format, console).await;
    }
    let stop = signals::stop_token("stopping: what was read is committed first")?;
    let metrics = Metrics::serve(address, &[], &jobs, stop.clone()).await?;
    let mut done = Vec::new();
    let mut failed = Vec::new();
    // One after another: each has the whole memory, and two of them may write one topic.
    for job in jobs {
        if stop.is_cancelled() {
            failed.push(Interrupted(format!("restore {} was not begun", job.name)).into());
            continue;
        }
        let observer = Arc::new(RestoreObserver {
            progress: console.progress(job.name.clone()),
            name: job.name.clone(),
            metrics: metrics.clone(),
        });
        match run_one(job, observer, stop.clone()).await {
            Ok(report) => done.push(report),
            Err(error) => failed.push(error),
        }
    }
    console.suspend(|| print(format, &done))?;
    finish(failed, console)?;
    if metrics.is_kept() {
        // Nobody can ask any more how far it came.
        termination::tell(&metrics.status());
    }
    Ok(Exit::Done)
}

async fn run_one(
    job: RestoreJob,
    observer: Arc<RestoreObserver>,
    stop: tokio_util::sync::CancellationToken,
) -> anyhow::Result<RestoreReport> {
    let name = job.name.clone();
    tracing::info!(
        "restore {name}: {} of {} to {}",
        plural(job.mappings.len() as u64, "topic"),
        job.storage,
        job.sink.bootstrap_servers()
    );
    let metrics = observer.metrics.clone();
    let result = restore::run(job, observer, stop).await;
    let result = result.with_context(|| format!("restore {name} failed"));
    let ended = result.as_ref().map(|summary| summary.records);
    let ended = ended.map_err(exit::sentence);
    metrics.restore_ended(&name, ended);
    let summary = result?;
    Ok(RestoreReport::new(name, summary))
}

/// What a restore did, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RestoreReport {
    name: String,
    id: String,
    topics: Vec<RestoredTopic>,
    records: u64,
    records_this_run: u64,
    bytes_this_run: u64,
    filtered: u64,
    dead_lettered: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plugins: Vec<PluginReport>,
    was_complete: bool,
    elapsed_seconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RestoredTopic {
    source: String,
    snapshot: String,
    target: String,
    created: bool,
    records: u64,
}

impl RestoreReport {
    fn new(name: String, summary: RestoreSummary) -> Self {
        let topics = summary.topics.into_iter().map(|topic| RestoredTopic {
            source: topic.source,
            snapshot: format!("v{}", topic.incarnation),
            target: topic.target,
            created: topic.created,
            records: topic.records,
        });
        RestoreReport {
            name,
            id: summary.id,
            topics: topics.collect(),
            records: summary.records,
            records_this_run: summary.records_this_run,
            bytes_this_run: summary.bytes_this_run,
            filtered: summary.filtered,
            dead_lettered: summary.dead_lettered,
            plugins: PluginReport::all(&summary.plugins),
            was_complete: summary.was_complete,
            elapsed_seconds: summary.elapsed.as_secs_f64(),
        }
    }

    fn for_people(&self) -> String {
        let mut text = if self.was_complete {
            format!(
                "{}: everything was restored before, {} are in the target",
                self.name,
                plural(self.records, "record")
            )
        } else {
            format!(
                "{}: {} restored, {} of them by this run",
                self.name,
                plural(self.records, "record"),
                count(self.records_this_run),
            )
        };
        text.push_str(&format!(" (restore {})", self.id));
        if self.filtered > 0 {
            text.push_str(&format!(", {} filtered", count(self.filtered)));
        }
        if self.dead_lettered > 0 {
            text.push_str(&format!(
                ", {} put aside as dead letters",
                count(self.dead_lettered)
            ));
        }
        for topic in &self.topics {
            text.push_str(&format!(
                "\n  {} ({}) into {}{}: {} in the archive",
                topic.source,
                topic.snapshot,
                topic.target,
                if topic.created { ", created" } else { "" },
                plural(topic.records, "record"),
            ));
        }
        for plugin in &self.plugins {
            text.push_str("\n  ");
            text.push_str(&plugin.for_people());
        }
        text
    }
}

fn print(format: Format, reports: &Vec<RestoreReport>) -> anyhow::Result<()> {
    output::print(format, reports, |reports| {
        let lines: Vec<String> = reports.iter().map(RestoreReport::for_people).collect();
        lines.join("\n")
    })
}

/// Shows a restore on the console, and to those who watch its metrics.
struct RestoreObserver {
    progress: Progress,
    name: String,
    metrics: Metrics,
}

impl Observer for RestoreObserver {
    fn restore_progress(&self, progress: &RestoreProgress) {
        let words = format!(
            "{} of {} ({}), {} of {} done",
            count(progress.records),
            plural(progress.records_total, "record"),
            rate(progress.bytes, progress.elapsed),
            count(progress.partitions_done as u64),
            plural(progress.partitions as u64, "partition"),
        );
        let done = (progress.records_total > 0).then_some((
            progress.records + progress.filtered + progress.dead_lettered,
            progress.records_total,
        ));
        self.progress.tell(done, &words);
        self.metrics.restore_progress(&self.name, progress);
    }

    fn troubles(&self) -> Troubles {
        self.metrics.restore_troubles(&self.name)
    }

    fn turned(&self) {
        self.metrics.restore_turned(&self.name);
    }

    fn wants_details(&self) -> bool {
        self.metrics.is_kept()
    }

    fn plugin_progress(&self, progress: &PluginProgress) {
        self.metrics.restore_plugins(&self.name, progress);
    }

    fn remark(&self, remark: &Remark) {
        tell(remark);
    }
}

/// Puts a remark of the engine among the logs.
pub(super) fn tell(remark: &Remark) {
    match remark.level {
        Level::Info => tracing::info!("{}", remark.text),
        Level::Warning => tracing::warn!("{}", remark.text),
    }
}
