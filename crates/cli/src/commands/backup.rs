//! `armory backup`

use std::sync::Arc;

use anyhow::Context as _;
use armory_engine::backup::{self, BackupSummary, Until};
use armory_engine::{BackupDetails, BackupProgress, Observer, PluginProgress, Remark};
use armory_resources::job::BackupJob;
use armory_troubles::Troubles;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::plugin_report::PluginReport;
use super::restore::tell;
use crate::args::BackupArguments;
use crate::console::{Console, Progress};
use crate::exit::{self, Exit, Interrupted};
use crate::format::{count, plural, rate, size};
use crate::metrics::Metrics;
use crate::output::{self, Format};
use crate::{jobs, signals};

pub(super) async fn run(arguments: BackupArguments, console: &Console) -> anyhow::Result<Exit> {
    let format = arguments.output;
    let until = if arguments.once {
        Until::CaughtUp
    } else {
        Until::Stopped
    };
    // Who runs a resolved job is looked at from outside, and has nobody who would start it again at the right moment.
    let is_service = arguments.documents.job.is_some() && until == Until::Stopped;
    let address = arguments.metrics.metrics_address;
    let jobs = jobs::backup_jobs(arguments)?;
    let stop = signals::stop_token("stopping: what was read is committed first")?;
    let metrics = Metrics::serve(address, &jobs, &[], stop.clone()).await?;
    let mut runs = JoinSet::new();
    for (position, job) in jobs.into_iter().enumerate() {
        let observer = Arc::new(BackupObserver {
            progress: console.progress(job.name.clone()),
            name: job.name.clone(),
            metrics: metrics.clone(),
        });
        let stop = stop.clone();
        runs.spawn(async move {
            let result = run_one(job, until, is_service, observer, stop).await;
            (position, result)
        });
    }
    let mut results = Vec::new();
    while let Some(result) = runs.join_next().await {
        results.push(result.context("a backup ended without an answer")?);
    }
    results.sort_by_key(|(position, _)| *position);
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for (_, result) in results {
        match result {
            Ok(report) => done.push(report),
            Err(error) => failed.push(error),
        }
    }
    console.suspend(|| print(format, &done))?;
    finish(failed, console)?;
    if until == Until::CaughtUp && stop.is_cancelled() {
        let words = "the backup was stopped before it had caught up; run it again to go on";
        return Err(Interrupted(words.to_owned()).into());
    }
    Ok(Exit::Done)
}

async fn run_one(
    job: BackupJob,
    until: Until,
    is_service: bool,
    observer: Arc<BackupObserver>,
    stop: CancellationToken,
) -> anyhow::Result<BackupReport> {
    let name = job.name.clone();
    let storage = job.storage.to_string();
    tracing::info!(
        "backup {name}: {} of {} into {storage}",
        job.topics,
        job.source.bootstrap_servers()
    );
    let metrics = observer.metrics.clone();
    let result = match is_service {
        true => backup::serve(job, observer, stop).await,
        false => backup::run(job, until, observer, stop).await,
    };
    let result = result.with_context(|| format!("backup {name} failed"));
    let ended = result.as_ref().map(drop).map_err(exit::sentence);
    metrics.backup_ended(&name, ended);
    let summary = result?;
    Ok(BackupReport::new(name, storage, summary))
}

/// Every failure is told; the first one that is more than a plain failure gives the exit code.
pub(super) fn finish(mut failed: Vec<anyhow::Error>, console: &Console) -> anyhow::Result<()> {
    let worst = failed
        .iter()
        .position(|error| Exit::of(error) != Exit::Failed)
        .unwrap_or(0);
    if failed.is_empty() {
        return Ok(());
    }
    let last = failed.remove(worst);
    for error in &failed {
        console.print(&format!("error: {}", exit::sentence(error)));
    }
    Err(last)
}

/// What a backup did, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BackupReport {
    name: String,
    storage: String,
    topics: usize,
    partitions: usize,
    records: u64,
    bytes: u64,
    filtered: u64,
    dead_lettered: u64,
    segments: u64,
    stored_bytes: u64,
    elapsed_seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plugins: Vec<PluginReport>,
    /// What open transactions kept out.
    unstable: Vec<Unstable>,
}

/// Offsets of transactions without an end.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Unstable {
    topic: String,
    partition: i32,
    /// Inclusive.
    first_offset: i64,
    /// Exclusive.
    end_offset: i64,
}

impl BackupReport {
    fn new(name: String, storage: String, summary: BackupSummary) -> Self {
        let unstable = summary.unstable.into_iter().map(|range| Unstable {
            topic: range.topic,
            partition: range.partition,
            first_offset: range.last_stable_offset,
            end_offset: range.high_watermark,
        });
        BackupReport {
            name,
            storage,
            topics: summary.topics,
            partitions: summary.partitions,
            records: summary.records,
            bytes: summary.bytes,
            filtered: summary.filtered,
            dead_lettered: summary.dead_lettered,
            segments: summary.segments,
            stored_bytes: summary.stored_bytes,
            elapsed_seconds: summary.elapsed.as_secs_f64(),
            plugins: PluginReport::all(&summary.plugins),
            unstable: unstable.collect(),
        }
    }

    fn for_people(&self) -> String {
        let mut text = format!(
            "{}: {} of {} read ({}), {} with {} stored in {}",
            self.name,
            plural(self.records, "record"),
            plural(self.partitions as u64, "partition"),
            size(self.bytes),
            plural(self.segments, "segment"),
            size(self.stored_bytes),
            self.storage,
        );
        if self.filtered > 0 {
            text.push_str(&format!(", {} filtered", count(self.filtered)));
        }
        if self.dead_lettered > 0 {
            text.push_str(&format!(
                ", {} put aside as dead letters",
                count(self.dead_lettered)
            ));
        }
        for plugin in &self.plugins {
            text.push_str("\n  ");
            text.push_str(&plugin.for_people());
        }
        for range in &self.unstable {
            text.push_str(&format!(
                "\n  not read: {} partition {}, offsets {} to {}: a transaction is open there",
                range.topic,
                range.partition,
                range.first_offset,
                range.end_offset - 1,
            ));
        }
        text
    }
}

fn print(format: Format, reports: &Vec<BackupReport>) -> anyhow::Result<()> {
    output::print(format, reports, |reports| {
        let lines: Vec<String> = reports.iter().map(BackupReport::for_people).collect();
        lines.join("\n")
    })
}

/// Shows a backup on the console, and to those who watch its metrics.
struct BackupObserver {
    progress: Progress,
    name: String,
    metrics: Metrics,
}

impl Observer for BackupObserver {
    fn backup_progress(&self, progress: &BackupProgress) {
        let mut words = format!(
            "{} of {}, {} ({}), {} segments, {} behind",
            plural(progress.partitions as u64, "partition"),
            plural(progress.topics as u64, "topic"),
            plural(progress.records, "record"),
            rate(progress.bytes, progress.elapsed),
            count(progress.segments),
            count(progress.lag),
        );
        if progress.partitions_failed > 0 {
            words.push_str(&format!(", {} failed", progress.partitions_failed));
        }
        self.progress.tell(None, &words);
        self.metrics.backup_progress(&self.name, progress);
    }

    fn troubles(&self) -> Troubles {
        self.metrics.backup_troubles(&self.name)
    }

    fn turned(&self) {
        self.metrics.backup_turned(&self.name);
    }

    fn wants_details(&self) -> bool {
        self.metrics.is_kept()
    }

    fn backup_details(&self, details: &BackupDetails) {
        self.metrics.backup_details(&self.name, details);
    }

    fn plugin_progress(&self, progress: &PluginProgress) {
        self.metrics.backup_plugins(&self.name, progress);
    }

    fn remark(&self, remark: &Remark) {
        tell(remark);
    }
}
