//! One round: a topic is written and backed up under faults and kills, then restored under faults and kills, and compared.

mod disturb;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use armory_failpoints::Point;
use armory_kafka::Client;
use armory_records::DecodeBuffer;
use armory_testkit::kafka::proxy::Proxy;
use armory_testkit::{Kafka, StoreProxy, unique};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::break_store;
use crate::cluster::{self, Writer};
use crate::command::{Armory, Ended, Run};
use crate::model::{Ledger, Log, Logs, same, take_in};
use crate::summary::Summary;

/// One request in so many fails.
const ONE_IN: u32 = 15;
/// How long a run may take to stop after a SIGTERM.
const STOPS_WITHIN: Duration = Duration::from_secs(90);
/// Runs of a restore before the last one, which nothing disturbs.
const RESTORES: usize = 40;

const BACKUP_POINTS: [Point; 8] = [
    Point::GenerationClaimed,
    Point::BatchesSynced,
    Point::SidecarWritten,
    Point::SegmentLinked,
    Point::SegmentStored,
    Point::ManifestCreated,
    Point::OpenFileRemoved,
    Point::TemporaryWritten,
];

const RESTORE_POINTS: [Point; 11] = [
    Point::TemporaryWritten,
    Point::TargetsReady,
    Point::ProducersGranted,
    Point::RestoreBegun,
    Point::LogsRead,
    Point::IntentsEntered,
    Point::BatchesSent,
    Point::BatchesAcknowledged,
    Point::RecordsLanded,
    Point::ConfigsGiven,
    Point::DoneDue,
];

/// What ends a run and must never be met: these are no refusals.
const NEVER: [&str; 6] = [
    "somebody else",
    "lost acknowledged",
    "panic",
    "damage",
    "the plugins made other records",
    "the report knows of",
];

pub(crate) struct Round<'a> {
    pub(crate) kafka: &'a mut Kafka,
    pub(crate) proxy: &'a Proxy,
    pub(crate) bootstrap: &'a str,
    pub(crate) runtime: &'a Runtime,
    pub(crate) armory: Armory,
    /// What `--storage` takes.
    pub(crate) url: String,
    pub(crate) plugin: Option<PathBuf>,
    pub(crate) dice: StdRng,
    pub(crate) summary: &'a mut Summary,
    /// How long records are written and backed up.
    pub(crate) backup_for: Duration,
    pub(crate) with_java: bool,
    /// In front of an object store.
    pub(crate) store_proxy: Option<&'a StoreProxy>,
    pub(crate) runs: usize,
    pub(crate) broker_kills: usize,
    pub(crate) trimmed: bool,
}

fn texts(args: &[&str]) -> Vec<String> {
    args.iter().map(|text| (*text).to_owned()).collect()
}

impl Round<'_> {
    pub(crate) fn run(&mut self) -> Result<()> {
        let client = cluster::client(self.kafka.bootstrap())?;
        let topic = unique("soak");
        let partitions = self.dice.random_range(1..=4);
        self.kafka
            .create_topic(&topic, partitions, &[("max.message.bytes", "1000000")])?;
        let ledger = Arc::default();
        self.back_up(&client, &topic, &ledger)?;
        let (source, archive) = self.check_archive(&client, &topic, &ledger)?;
        let target = unique("restored");
        self.restore(&client, &topic, &target, &archive)?;
        if self.with_java && !self.trimmed && source.values().any(|log| !log.is_empty()) {
            self.kafka
                .compare(&topic, &target)
                .context("Kafka's own consumer")?;
            self.summary.java_comparisons += 1;
        }
        let names = [topic, target];
        self.runtime.block_on(client.delete_topics(&names))?;
        Ok(())
    }

    fn begin_faults(&mut self) {
        self.proxy.at_random(self.dice.random(), ONE_IN);
        self.store_proxy.inspect(|proxy| break_store(proxy));
    }

    fn end_faults(&self) {
        self.proxy.calm();
        self.store_proxy.inspect(|proxy| proxy.clear());
    }

    /// Writes and backs up at the same time, under faults.
    fn back_up(&mut self, client: &Client, topic: &str, ledger: &Arc<Mutex<Ledger>>) -> Result<()> {
        let (stop, stopped) = watch::channel(false);
        let writer = Writer {
            topic: topic.to_owned(),
            seed: self.dice.random(),
            ledger: Arc::clone(ledger),
            stop: stopped,
        };
        let writing = self.runtime.spawn(writer.run(client.clone()));
        self.begin_faults();
        let ended = self.disturb_backups(client, topic, ledger);
        self.end_faults();
        stop.send(true)?;
        self.runtime.block_on(writing)?;
        ended
    }

    fn disturb_backups(
        &mut self,
        client: &Client,
        topic: &str,
        ledger: &Mutex<Ledger>,
    ) -> Result<()> {
        let args = self.backup_args(topic);
        let deadline = Instant::now() + self.backup_for;
        let mut running: Option<(Run, bool)> = None;
        while Instant::now() < deadline {
            let (run, armed) = match &mut running {
                Some(running) => running,
                none => {
                    let point = self.pick(&BACKUP_POINTS);
                    self.runs += 1;
                    let name = format!("backup-{:03}", self.runs);
                    let run = self.armory.start(&name, &args, point)?;
                    none.insert((run, point.is_some()))
                }
            };
            let patience = Duration::from_millis(match *armed {
                true => 1500,
                false => self.dice.random_range(20..900),
            });
            if let Some(ended) = run.wait(patience)? {
                self.note_end("backup", ended, *armed, false, run)?;
                running = None;
                continue;
            }
            match self.dice.random_range(0..100) {
                0..45 => {
                    if run.kill()? {
                        Summary::count(&mut self.summary.kills, "backup");
                    }
                    running = None;
                }
                45..55 => {
                    run.terminate()?;
                    let ended = run.wait(STOPS_WITHIN)?;
                    let ended = ended.with_context(|| {
                        format!("a backup did not stop, see {}", run.log().display())
                    })?;
                    let armed = *armed;
                    self.note_end("backup", ended, armed, true, run)?;
                    running = None;
                }
                55..70 => self.disturb(client, topic, ledger)?,
                _ => {}
            }
        }
        if let Some((mut run, _)) = running
            && run.kill()?
        {
            Summary::count(&mut self.summary.kills, "backup");
        }
        Ok(())
    }

    /// Completes the archive without any faults, and holds it against the source.
    fn check_archive(
        &mut self,
        client: &Client,
        topic: &str,
        ledger: &Mutex<Ledger>,
    ) -> Result<(Logs, Logs)> {
        let mut once = self.backup_args(topic);
        once.push("--once".to_owned());
        self.armory.must("backup-once", &once)?;
        self.armory
            .must("verify", &texts(&["verify", &self.url, "--deep"]))?;
        let source = self.runtime.block_on(cluster::read(client, topic))?;
        let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.check_source(&source)?;
        let mut archive = Logs::new();
        let mut scratch = DecodeBuffer::new();
        for (partition, log) in &source {
            // Of a partition that never had a record the archive has nothing to print.
            if log.is_empty() && !ledger.acknowledged.contains_key(partition) {
                archive.insert(*partition, Log::new());
                continue;
            }
            let number = partition.to_string();
            let cat = ["cat", &self.url, topic, "--partition", &number, "-o", "raw"];
            let bytes = self.armory.bytes(&texts(&cat))?;
            let mut archived = Log::new();
            take_in(&bytes, &mut archived, &mut scratch, |_| true)
                .with_context(|| format!("archive, partition {partition}"))?;
            ledger.check_archive(*partition, log, &archived)?;
            self.summary.bytes += bytes.len() as u64;
            self.summary.records += log.len() as u64;
            self.summary.records_compared += archived.len() as u64;
            archive.insert(*partition, archived);
        }
        Ok((source, archive))
    }

    /// Restores under faults, until a run ends well.
    fn restore(
        &mut self,
        client: &Client,
        topic: &str,
        target: &str,
        archive: &Logs,
    ) -> Result<()> {
        let args = self.restore_args(topic, target, archive.len())?;
        self.begin_faults();
        let latency = Duration::from_millis(self.dice.random_range(0..40));
        self.proxy.delay_answers(latency);
        let ended = self.disturb_restores(&args);
        self.end_faults();
        let done = ended?;
        if !done {
            self.armory.must("restore-last", &args)?;
        }
        let late = self.proxy.deliver_held()?;
        for _ in &late {
            Summary::count(&mut self.summary.events, "batch delivered after the end");
        }
        let again = self.armory.must("restore-again", &args)?;
        ensure!(
            again.contains("restored before"),
            "a finished restore ran again\n{again}"
        );
        let restored = self.runtime.block_on(cluster::read(client, target))?;
        for (partition, log) in archive {
            let found = restored.get(partition).context("a partition")?;
            same("target", *partition, log, found, false)?;
            self.summary.records_compared += log.len() as u64;
        }
        Ok(())
    }

    /// Whether a run came to its end.
    fn disturb_restores(&mut self, args: &[String]) -> Result<bool> {
        for number in 0..RESTORES {
            let point = self.pick(&RESTORE_POINTS);
            let name = format!("restore-{number:03}");
            let mut run = self.armory.start(&name, args, point)?;
            let patience = match self.dice.random_range(0..10) {
                0 => 20_000,
                _ if point.is_some() => 1500,
                _ => self.dice.random_range(20..900),
            };
            if self.dice.random_ratio(1, 12) {
                self.disturb_restore(&mut run)?;
            }
            match run.wait(Duration::from_millis(patience))? {
                Some(Ended::Code(0)) => return Ok(true),
                Some(ended) => {
                    self.note_end("restore", ended, point.is_some(), false, &run)?;
                }
                None => {
                    if run.kill()? {
                        Summary::count(&mut self.summary.kills, "restore");
                    }
                }
            }
            // Batches of the run before come while the next one is at work.
            if self.dice.random_ratio(1, 2) {
                let late = self.proxy.deliver_held()?;
                for _ in &late {
                    Summary::count(&mut self.summary.events, "batch delivered after the kill");
                }
            }
        }
        Ok(false)
    }

    /// A run ended that nobody had killed.
    fn note_end(
        &mut self,
        what: &str,
        ended: Ended,
        armed: bool,
        told_to_stop: bool,
        run: &Run,
    ) -> Result<()> {
        match ended {
            Ended::Signal(6) if armed => {
                Summary::count(&mut self.summary.kills_at_points, what);
                Ok(())
            }
            Ended::Code(0) if told_to_stop => {
                Summary::count(&mut self.summary.events, format!("{what} stopped"));
                Ok(())
            }
            Ended::Code(1 | 4) => {
                let output = run.output();
                let reason = output
                    .lines()
                    .rev()
                    .find(|line| line.starts_with("error:"))
                    .unwrap_or_default()
                    .to_owned();
                let forbidden = NEVER.iter().any(|never| output.contains(never));
                ensure!(
                    !reason.is_empty() && !forbidden,
                    "a {what} ended by itself after {:?}\n{}",
                    run.age(),
                    run.last_lines()
                );
                // Names and numbers differ from run to run.
                let kind: String = reason
                    .split_whitespace()
                    .map(|word| {
                        if word.contains(|c: char| c.is_ascii_digit()) {
                            "…"
                        } else {
                            word
                        }
                    })
                    .collect::<Vec<_>>()
                    .join(" ");
                Summary::count(&mut self.summary.refusals, format!("{what}: {kind}"));
                Ok(())
            }
            ended => bail!(
                "a {what} ended by itself after {:?}: {ended:?}\n{}",
                run.age(),
                run.last_lines()
            ),
        }
    }

    /// A point to be killed at, for some runs.
    fn pick(&mut self, points: &[Point]) -> Option<(Point, u64)> {
        if !self.dice.random_ratio(2, 5) {
            return None;
        }
        let point = points[self.dice.random_range(0..points.len())];
        let is_reached_often = matches!(
            point,
            Point::TemporaryWritten
                | Point::BatchesSynced
                | Point::SegmentLinked
                | Point::SegmentStored
                | Point::ManifestCreated
                | Point::OpenFileRemoved
                | Point::IntentsEntered
                | Point::BatchesSent
                | Point::BatchesAcknowledged
        );
        let times = match is_reached_often {
            true => self.dice.random_range(1..=4),
            false => 1,
        };
        Some((point, times))
    }

    fn connection(&self) -> Vec<String> {
        texts(&[
            "--bootstrap-server",
            self.bootstrap,
            "-X",
            "socket.timeout.ms=1500",
            "-X",
            "reconnect.backoff.max.ms=300",
            "-X",
            "topic.metadata.refresh.interval.ms=500",
        ])
    }

    fn backup_args(&mut self, topic: &str) -> Vec<String> {
        let size = self.dice.random_range(50..600);
        let mut args = texts(&["backup", "--storage", &self.url, "--topic", topic]);
        args.extend(self.connection());
        args.extend(texts(&["--segment-size", &format!("{size}KiB")]));
        args.extend(texts(&["--segment-time", "1s"]));
        if self.dice.random_ratio(1, 3) {
            args.extend(texts(&["--compression", "zstd"]));
        }
        args
    }

    fn restore_args(
        &mut self,
        topic: &str,
        target: &str,
        partitions: usize,
    ) -> Result<Vec<String>> {
        let mapping = format!("{topic}={target}");
        let mut args = texts(&["restore", "--storage", &self.url, "--topic", &mapping]);
        args.extend(self.connection());
        // Where batches cannot be merged to large ones, a restore takes many requests.
        if self.dice.random_ratio(2, 3) {
            let configs = [("max.message.bytes", "150000"), ("retention.ms", "-1")];
            let partitions = i32::try_from(partitions)?;
            self.kafka.create_topic(target, partitions, &configs)?;
        } else {
            args.push("--create-topics".to_owned());
        }
        if let Some(plugin) = &self.plugin {
            args.extend(["--plugin".to_owned(), plugin.display().to_string()]);
        }
        Ok(args)
    }
}
