//! The control loop of a backup: follows the cluster (`follow.rs`), places partitions on brokers (`place.rs`), seals and commits.

mod follow;
mod place;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use armory_archive::{Archive, Codec, PartitionKey, WriterIdentity};
use armory_kafka::{Client, ClientConfig};
use armory_resources::job::BackupJob;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::broker::{BrokerHandle, Event, Shared};
use super::catalog::Followed;
use super::commits::{Commits, Finished};
use super::counters::Counters;
use super::partition::{Partition, Phase};
use super::{BackupSummary, Until};
use crate::budget::Budget;
use crate::error::sentence;
use crate::plugins::PluginSet;
use crate::{BackupProgress, EngineError, Level, Observer, Remark};

/// How often open segments are made durable, closed by age or for lack of room, and progress is told.
const TICK: Duration = Duration::from_millis(250);
/// Ticks between two flushes: what a power cut may take from a folder is about this long.
const TICKS_PER_FLUSH: u32 = 4;

pub(crate) struct Control {
    job: BackupJob,
    until: Until,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
    shared: Arc<Shared>,
    events: mpsc::UnboundedReceiver<Event>,
    archive: Archive,
    identity: WriterIdentity,
    compression: Option<(Codec, Option<i32>)>,
    plugins: PluginSet,
    started: Instant,
    topics: BTreeMap<String, Followed>,
    brokers: HashMap<i32, BrokerHandle>,
    placed: HashMap<PartitionKey, i32>,
    /// Partitions without a leader to fetch from; asked for again at the next refresh.
    unplaced: Vec<Arc<Partition>>,
    commits: Commits,
    failed: Vec<String>,
    done: usize,
    summary: BackupSummary,
}

impl Control {
    pub(crate) async fn start(
        job: BackupJob,
        until: Until,
        observer: Arc<dyn Observer>,
        stop: CancellationToken,
    ) -> Result<Control, EngineError> {
        let client = Client::new(ClientConfig::from_properties(&job.source.properties)?)?;
        let archive = Archive::create_or_open(crate::storage::location(&job.storage)?).await?;
        let compression = crate::storage::compression(job.compression.as_ref())?;
        let plugins = PluginSet::load(&job.plugins, armory_plugins::World::Backup).await?;
        let identity =
            WriterIdentity::new(job.name.clone(), archive.next_generation(&job.name).await?);
        let (sender, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            client,
            budget: Arc::new(Budget::new(
                usize::try_from(job.memory_budget).unwrap_or(usize::MAX),
            )),
            counters: Counters::default(),
            events: sender,
            stop: stop.child_token(),
        });
        Ok(Control {
            job,
            until,
            observer,
            stop,
            shared,
            events,
            archive,
            identity,
            compression,
            plugins,
            started: Instant::now(),
            topics: BTreeMap::new(),
            brokers: HashMap::new(),
            placed: HashMap::new(),
            unplaced: Vec::new(),
            commits: Commits::default(),
            failed: Vec::new(),
            done: 0,
            summary: BackupSummary::default(),
        })
    }

    pub(crate) async fn run(mut self) -> Result<BackupSummary, EngineError> {
        let outcome = self.follow().await;
        // Whatever ended the run: what was taken in is committed before it is told.
        let committed = self.finish().await;
        outcome?;
        committed?;
        if !self.failed.is_empty() {
            return Err(EngineError::Partitions {
                failed: self.failed,
                total: self.summary.partitions,
            });
        }
        Ok(self.summary)
    }

    async fn follow(&mut self) -> Result<(), EngineError> {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            first = self.refresh() => first?,
        }
        if self.until == Until::CaughtUp && self.topics.is_empty() {
            return Err(EngineError::NoTopic {
                selection: self.job.topics.to_string(),
            });
        }
        let mut refresh = interval(self.shared.client.config().metadata_refresh_interval);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refresh.reset();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        while !self.is_over() {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                event = self.events.recv() => {
                    let event = event.expect("the control loop holds a sender itself");
                    let urgent = matches!(event, Event::Unplaced(..) | Event::OutOfRange(..));
                    self.on_event(event);
                    if urgent {
                        // Leaders that moved are asked for soon, with room for the election to end.
                        refresh.reset_after(Duration::from_millis(200));
                    }
                }
                Some(finished) = self.commits.next() => self.on_commit(finished?),
                _ = refresh.tick() => {
                    if let Err(error) = self.refresh().await {
                        if !error.is_transient() {
                            return Err(error);
                        }
                        self.remark(Level::Warning, format!("the cluster could not be asked for its topics, trying again: {}", sentence(&error)));
                    }
                }
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.close_what_is_due()?;
                    if ticks.is_multiple_of(TICKS_PER_FLUSH) {
                        self.flush().await?;
                    }
                    self.observer.backup_progress(&self.progress());
                }
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let all = self.partitions().count();
        match self.until {
            Until::CaughtUp => self.done + self.failed.len() >= all && self.commits.is_empty(),
            Until::Stopped => all > 0 && self.failed.len() >= all,
        }
    }

    fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.topics
            .values()
            .flat_map(|followed| followed.partitions.values())
    }

    fn remark(&self, level: Level, text: String) {
        self.observer.remark(&Remark { level, text });
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Unplaced(partition, why) => {
                tracing::debug!(partition = partition.name(), why, "looking for its leader");
                self.placed.remove(&partition.key);
                self.unplaced.push(partition);
            }
            Event::OutOfRange(partition) => {
                self.placed.remove(&partition.key);
                self.unplaced.push(partition);
            }
            Event::Failed(partition, error) => self.fail(&partition, format!("{}: {}", partition.name(), sentence(&error))),
            Event::Holes(partition, offsets) => self.remark(
                Level::Warning,
                format!("{}: {offsets} offsets are absent at the source although the topic is not compacted; recorded as a gap", partition.name()),
            ),
            Event::Trimmed(partition, from, until) => self.remark_on_trimmed(&partition, from, until),
            Event::Sealed(partition, sealed) => self.commits.add(partition, sealed),
            Event::ReachedEnd(partition) => {
                self.done += 1;
                self.unassign(&partition);
            }
        }
    }

    fn on_commit(&mut self, finished: Finished) {
        match finished.result {
            Ok(committed) => self.shared.counters.committed(&committed),
            Err(error) => self.fail(
                &finished.partition,
                format!("{}: {}", finished.partition.name(), sentence(&error)),
            ),
        }
    }

    fn fail(&mut self, partition: &Partition, why: String) {
        let before = std::mem::replace(&mut partition.state().phase, Phase::Failed);
        if before == Phase::Failed {
            return;
        }
        if before == Phase::Done {
            self.done -= 1;
        }
        self.unassign(partition);
        self.remark(Level::Warning, format!("given up: {why}"));
        self.failed.push(why);
    }

    fn seal(&mut self, partition: &Arc<Partition>) {
        match partition.seal(&self.shared.budget) {
            Ok(Some(sealed)) => self.commits.add(Arc::clone(partition), sealed),
            Ok(None) => {}
            Err(error) => self.fail(
                partition,
                format!("{}: {}", partition.name(), sentence(&error)),
            ),
        }
    }

    /// Seals segments that are old enough, and the largest ones when memory is short.
    fn close_what_is_due(&mut self) -> Result<(), EngineError> {
        let now = jiff::Timestamp::now().as_millisecond();
        let timeout = i64::try_from(self.job.rollover.timeout.as_millis()).unwrap_or(i64::MAX);
        let due: Vec<_> = self
            .partitions()
            .filter(|partition| {
                let state = partition.state();
                state.phase == Phase::Streaming
                    && state.writer.has_uncommitted()
                    && state
                        .writer
                        .opened_at()
                        .is_some_and(|since| now.saturating_sub(since) >= timeout)
            })
            .cloned()
            .collect();
        for partition in due {
            self.seal(&partition);
        }
        let limit = self.shared.budget.buffer_limit();
        if self.shared.budget.buffered() >= limit / 2 {
            let mut open: Vec<_> = self
                .partitions()
                .map(|partition| {
                    (
                        partition.state().writer.buffered_bytes(),
                        Arc::clone(partition),
                    )
                })
                .filter(|(bytes, _)| *bytes > 0)
                .collect();
            open.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
            let mut open_bytes: usize = open.iter().map(|(bytes, _)| bytes).sum();
            for (bytes, partition) in open {
                if open_bytes < limit / 4 {
                    break;
                }
                open_bytes -= bytes;
                self.seal(&partition);
            }
        }
        Ok(())
    }

    /// Makes durable what lies in open segments, where the storage can.
    async fn flush(&mut self) -> Result<(), EngineError> {
        let unflushed: Vec<_> = self
            .partitions()
            .filter(|partition| {
                let state = partition.state();
                state.phase == Phase::Streaming
                    && state.writer.durable_offset() < state.writer.next_offset()
            })
            .cloned()
            .collect();
        if unflushed.is_empty() {
            return Ok(());
        }
        let events = self.shared.events.clone();
        tokio::task::spawn_blocking(move || {
            for partition in unflushed {
                if let Err(error) = partition.flush() {
                    let _ = events.send(Event::Failed(partition, error));
                }
            }
        })
        .await?;
        Ok(())
    }

    fn progress(&self) -> BackupProgress {
        let counts = self.shared.counters.read();
        let lag = self
            .partitions()
            .map(|partition| {
                let state = partition.state();
                let end = state.stop_at.unwrap_or(state.high_watermark);
                u64::try_from(end.saturating_sub(state.writer.durable_offset())).unwrap_or(0)
            })
            .sum();
        BackupProgress {
            elapsed: self.started.elapsed(),
            topics: self.topics.len(),
            partitions: self.summary.partitions,
            partitions_done: self.done,
            partitions_failed: self.failed.len(),
            records: counts.records,
            bytes: counts.bytes,
            filtered: counts.filtered,
            lag,
            segments: counts.segments,
            stored_bytes: counts.stored_bytes,
        }
    }

    /// Stops fetching, commits everything that was taken in, and leaves the hint where the chains end.
    async fn finish(&mut self) -> Result<(), EngineError> {
        self.shared.stop.cancel();
        for (_, handle) in std::mem::take(&mut self.brokers) {
            handle.task.await?;
        }
        // What the brokers' tasks said last; among it segments to commit.
        while let Ok(event) = self.events.try_recv() {
            self.on_event(event);
        }
        let open: Vec<_> = self.partitions().cloned().collect();
        for partition in &open {
            if partition.state().phase != Phase::Failed {
                self.seal(partition);
            }
        }
        while let Some(finished) = self.commits.next().await {
            self.on_commit(finished?);
        }
        let ends: Vec<_> = open
            .iter()
            .filter_map(|partition| partition.state().writer.chain_end())
            .collect();
        self.archive
            .write_head(&self.job.name, &self.identity, &ends)
            .await?;
        let progress = self.progress();
        self.observer.backup_progress(&progress);
        let BackupProgress {
            records,
            bytes,
            filtered,
            segments,
            stored_bytes,
            elapsed,
            ..
        } = progress;
        self.summary = BackupSummary {
            records,
            bytes,
            filtered,
            segments,
            stored_bytes,
            elapsed,
            ..std::mem::take(&mut self.summary)
        };
        Ok(())
    }
}
