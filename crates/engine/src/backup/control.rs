//! The control loop of a backup: follows the cluster (`follow.rs`), places partitions on brokers (`place.rs`), seals and commits,
//! and decides what becomes of what fails (`failures.rs`).

mod failures;
mod follow;
mod place;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use armory_archive::{Archive, ChainEnd, PartitionKey, Share, WriterIdentity, WriterOptions};
use armory_failpoints::{Point, reach};
use armory_resources::job::BackupJob;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::broker::{BrokerHandle, Event, Shared};
use super::catalog::Followed;
use super::commits::{Commits, Finished};
use super::counters::Counters;
use super::partition::{Partition, Phase};
use super::retention::Pruner;
use super::{BackupSummary, Delay, Until};
use crate::budget::Budget;
use crate::error::sentence;
use crate::observer::alive;
use crate::plugins::PluginSet;
use crate::{
    BackupDetails, BackupProgress, EngineError, Level, Observer, Outlook, PartitionDetails, Remark,
};
use failures::{Closed, LockedOut, Opened, Patience, Subject};
use place::Unplaced;

/// How often open segments are made durable, closed by age or for lack of room, and progress is told.
const TICK: Duration = Duration::from_millis(250);
/// Ticks between two flushes: what a power cut may take from a folder is about this long.
const TICKS_PER_FLUSH: u32 = 4;
/// Ticks between two looks at every partition and plugin, for an observer that wants them.
const TICKS_PER_DETAILS: u32 = 8;
/// Ticks between two hints where the chains end. After a crash what was committed since the last one is found by asking for one
/// manifest after the other.
const TICKS_PER_HEAD: u32 = 1200;

pub(crate) struct Control {
    job: BackupJob,
    until: Until,
    /// For as long as the cluster has not been asked for the first time: whoever has none is told at once when it cannot be.
    patience_at_first: Option<Delay>,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
    shared: Arc<Shared>,
    events: mpsc::UnboundedReceiver<Event>,
    archive: Archive,
    identity: WriterIdentity,
    /// For every partition, but for the digests of its topic's plugins.
    writer_options: WriterOptions,
    plugins: PluginSet,
    started: Instant,
    topics: BTreeMap<String, Followed>,
    brokers: HashMap<i32, BrokerHandle>,
    placed: HashMap<PartitionKey, i32>,
    unplaced: HashMap<PartitionKey, Unplaced>,
    commits: Commits,
    /// A flush of open segments under way.
    flushing: JoinSet<()>,
    /// A hint being written.
    hinting: JoinSet<()>,
    /// Segments and gaps committed since the last one.
    unhinted: usize,
    /// Partitions to be opened, again or at last.
    closed: HashMap<PartitionKey, Closed>,
    openings: JoinSet<(PartitionKey, Result<Opened, EngineError>)>,
    patience: HashMap<PartitionKey, Patience>,
    /// Why the cluster does not let us in any more, if so.
    locked_out: Option<LockedOut>,
    /// Why the cluster could not be asked for its topics, if it could not the last time.
    unasked: Option<String>,
    /// Every partition that was ever to be followed.
    known: HashSet<PartitionKey>,
    /// Followed partitions that are done or given up.
    ended: HashSet<PartitionKey>,
    /// What did not come to its end, for the end of the run.
    failures: BTreeMap<Subject, String>,
    /// What can be done about the worst failure so far.
    outlook: Outlook,
    /// Whether something waits for the next look at the cluster.
    is_urgent: bool,
    is_finishing: bool,
    summary: BackupSummary,
}

impl Control {
    pub(crate) async fn start(
        job: BackupJob,
        until: Until,
        patience_at_first: Option<Delay>,
        observer: Arc<dyn Observer>,
        stop: CancellationToken,
    ) -> Result<Control, EngineError> {
        let troubles = observer.troubles();
        let client = crate::cluster::client(&job.source, &troubles)?;
        let location = crate::storage::location(&job.storage)?.watched(&troubles);
        let archive = Archive::create_or_open(location).await?;
        let compression = crate::storage::compression(job.compression.as_ref())?;
        let plugins = PluginSet::load(&job.plugins, armory_plugins::World::Backup).await?;
        archive.set_retention(&job.name, job.delete_after).await?;
        let share = job.worker.map_or_else(Share::default, |worker| Share {
            index: worker.index,
            workers: worker.group.workers,
            seed: worker.group.seed,
            group_generation: worker.generation,
        });
        let identity = archive.begin_writing(&job.name, share).await?;
        let writer_options = WriterOptions {
            take_over: job.take_over,
            rollover_bytes: job.rollover.size,
            compression,
            write_buffer: usize::try_from(job.write_buffer).unwrap_or(usize::MAX),
            ..WriterOptions::new(identity.clone())
        };
        let (sender, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            client,
            budget: Arc::new(Budget::new(
                usize::try_from(job.memory_budget).unwrap_or(usize::MAX),
            )),
            counters: Counters::default(),
            events: sender,
            stop: stop.child_token(),
            troubles,
        });
        Ok(Control {
            job,
            until,
            patience_at_first,
            observer,
            stop,
            shared,
            events,
            archive,
            identity,
            writer_options,
            plugins,
            started: Instant::now(),
            topics: BTreeMap::new(),
            brokers: HashMap::new(),
            placed: HashMap::new(),
            unplaced: HashMap::new(),
            commits: Commits::default(),
            flushing: JoinSet::new(),
            hinting: JoinSet::new(),
            unhinted: 0,
            closed: HashMap::new(),
            openings: JoinSet::new(),
            patience: HashMap::new(),
            locked_out: None,
            unasked: None,
            known: HashSet::new(),
            ended: HashSet::new(),
            failures: BTreeMap::new(),
            outlook: Outlook::default(),
            is_urgent: false,
            is_finishing: false,
            summary: BackupSummary::default(),
        })
    }

    pub(crate) async fn run(mut self) -> Result<BackupSummary, EngineError> {
        let pruner = Pruner::new(&self.archive, &self.job, &self.observer);
        let pruning = match (&pruner, self.until) {
            (Some(pruner), Until::Stopped) => Some(pruner.clone().start()),
            _ => None,
        };
        let outcome = self.follow().await;
        // Whatever ended the run: what was taken in is committed before it is told.
        let observer = Arc::clone(&self.observer);
        let committed = alive(&observer, self.finish()).await;
        drop(pruning);
        if let (Some(pruner), Until::CaughtUp) = (&pruner, self.until) {
            let stop = self.stop.clone();
            tokio::select! {
                () = pruner.round() => {}
                () = stop.cancelled() => {}
            }
        }
        outcome?;
        committed?;
        if !self.failures.is_empty() {
            return Err(EngineError::Partitions {
                failed: self.failures.into_values().collect(),
                outlook: self.outlook,
                total: self.summary.partitions,
            });
        }
        Ok(self.summary)
    }

    async fn follow(&mut self) -> Result<(), EngineError> {
        let stop = self.stop.clone();
        let observer = Arc::clone(&self.observer);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            first = self.first_look() => first?,
        }
        if self.until == Until::CaughtUp && self.topics.is_empty() && self.failures.is_empty() {
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
                    self.on_event(event);
                }
                Some(finished) = self.commits.next() => self.on_commit(finished?),
                Some(opened) = self.openings.join_next() => {
                    let (key, opened) = opened?;
                    self.on_opened(key, opened);
                }
                Some(flushed) = self.flushing.join_next() => flushed?,
                Some(hinted) = self.hinting.join_next() => hinted?,
                _ = refresh.tick() => {
                    // What is asked of a silent broker may take as long as it likes; the stop does not wait for it.
                    let refreshed = tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        refreshed = alive(&observer, self.refresh()) => refreshed,
                    };
                    match refreshed {
                        Ok(()) => self.on_refreshed(),
                        Err(error) => {
                            if let Some(pause) = self.on_not_refreshed(error)? {
                                refresh.reset_after(pause);
                            }
                        }
                    }
                }
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.open_what_is_due();
                    self.close_what_is_due();
                    if ticks.is_multiple_of(TICKS_PER_FLUSH) {
                        self.flush();
                    }
                    if ticks.is_multiple_of(TICKS_PER_HEAD) {
                        self.hint();
                    }
                    self.remark_on_unplaced();
                    self.observer.turned();
                    self.observer.backup_progress(&self.progress());
                    if ticks % TICKS_PER_DETAILS == 1 {
                        self.tell_details();
                    }
                }
            }
            // Somebody who is locked out does not knock all the time.
            if std::mem::take(&mut self.is_urgent) && self.locked_out.is_none() {
                // Leaders that moved are asked for soon, with room for the election to end.
                refresh.reset_after(Duration::from_millis(200));
            }
        }
        Ok(())
    }

    /// Asks the cluster for the first time, as often as there is patience for.
    async fn first_look(&mut self) -> Result<(), EngineError> {
        let observer = Arc::clone(&self.observer);
        let mut patience = self.patience_at_first.take();
        loop {
            let error = match alive(&observer, self.refresh()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let may_pass = error.is_transient() || error.is_about_access();
            let Some(delay) = patience.as_mut().filter(|_| may_pass) else {
                return Err(error);
            };
            let pause = delay.next(&error);
            alive(&observer, sleep(pause)).await;
        }
    }

    fn is_over(&self) -> bool {
        let all = self.partitions().count();
        let all_ended = self.ended.len() >= all && self.closed.is_empty();
        match self.until {
            // An event may tell of a failure.
            Until::CaughtUp => all_ended && self.commits.is_empty() && self.events.is_empty(),
            // Without `--once` partitions end only by being given up.
            Until::Stopped => all_ended && all > 0,
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
            Event::Unplaced(partition, why) => self.on_unplaced(partition, why),
            Event::Failed(partition, error) => self.on_failure(&partition, &error),
            Event::Holes(partition, offsets) => self.remark(
                Level::Warning,
                format!("{}: {offsets} offsets are absent at the source although the topic is not compacted; recorded as a gap", partition.name()),
            ),
            Event::Trimmed(partition, from, until) => self.remark_on_trimmed(&partition, from, until),
            Event::Sealed(partition, sealed) => {
                // What is sealed after a failed commit would leave a hole in the chain.
                let failed = partition.state().writer.chain().has_failed();
                if !failed {
                    self.commits.add(partition, sealed);
                }
            }
            Event::LockedOut(broker, why) => self.remark(
                Level::Warning,
                format!("broker {broker} does not let the backup in; it is tried again with the credentials as they are then: {why}"),
            ),
            Event::ReachedEnd(partition) => {
                if self.is_current(&partition) && partition.state().phase == Phase::Done {
                    self.unassign(&partition);
                    self.ended.insert(partition.key.clone());
                }
            }
        }
    }

    fn on_unplaced(&mut self, partition: Arc<Partition>, why: String) {
        if !self.is_current(&partition) {
            return;
        }
        tracing::debug!(partition = partition.name(), why, "looking for its leader");
        self.placed.remove(&partition.key);
        self.want_placed(partition, why);
        self.is_urgent = true;
    }

    fn on_commit(&mut self, finished: Finished) {
        match finished.result {
            Ok(committed) => {
                self.patience.remove(&finished.partition.key);
                self.shared.counters.committed(&committed, finished.took);
                self.unhinted += 1;
            }
            Err(error) => self.on_failure(&finished.partition, &error.into()),
        }
    }

    /// Seals segments that are old enough, and the largest ones when memory is short.
    fn close_what_is_due(&self) {
        let now = jiff::Timestamp::now().as_millisecond() + armory_failpoints::clock_shift_ms();
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
                        .is_some_and(|since| is_due(since, now, timeout))
            })
            .cloned()
            .collect();
        for partition in due {
            partition.seal(&self.shared);
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
                partition.seal(&self.shared);
            }
        }
    }

    /// Makes durable what lies in open segments, where the storage can. Not while the flush before is under way.
    fn flush(&mut self) {
        if !self.flushing.is_empty() {
            return;
        }
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
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.flushing.spawn_blocking(move || {
            for partition in unflushed {
                partition.flush(&shared);
            }
        });
    }

    /// Leaves a hint where the chains end, beside everything else. It is worth nothing more than a faster start.
    fn hint(&mut self) {
        if self.unhinted == 0 || !self.hinting.is_empty() {
            return;
        }
        self.unhinted = 0;
        let ends = self.chain_ends();
        let (archive, name, identity) = (
            self.archive.clone(),
            self.head_name(),
            self.identity.clone(),
        );
        self.hinting.spawn(async move {
            if let Err(error) = archive.write_head(&name, &identity, &ends).await {
                tracing::debug!(error = sentence(&error), "no hint where the chains end");
            }
        });
    }

    fn chain_ends(&self) -> Vec<ChainEnd> {
        self.partitions()
            .filter_map(|partition| partition.state().writer.chain_end())
            .collect()
    }

    /// Each worker has a hint of its own, for they write at the same time.
    fn head_name(&self) -> String {
        match &self.job.worker {
            Some(worker) => format!("{}.worker-{}", self.job.name, worker.index),
            None => self.job.name.clone(),
        }
    }

    fn progress(&self) -> BackupProgress {
        let counts = self.shared.counters.read();
        let mut done = 0;
        let lag = self
            .partitions()
            .map(|partition| {
                let state = partition.state();
                done += usize::from(state.phase == Phase::Done);
                let end = state.stop_at.unwrap_or(state.high_watermark);
                u64::try_from(end.saturating_sub(state.writer.durable_offset())).unwrap_or(0)
            })
            .sum();
        BackupProgress {
            elapsed: self.started.elapsed(),
            topics: self.topics.len(),
            partitions: self.known.len(),
            partitions_done: done,
            partitions_failed: self.failed_partitions(),
            records: counts.records,
            bytes: counts.bytes,
            filtered: counts.filtered,
            dead_lettered: counts.dead_lettered,
            lag,
            committed_records: counts.committed_records,
            committed_bytes: counts.committed_bytes,
            problems: self.problems(),
            is_cut_off: self.locked_out.is_some() || self.unasked.is_some(),
            segments: counts.segments,
            stored_bytes: counts.stored_bytes,
        }
    }

    fn tell_details(&self) {
        if !self.observer.wants_details() {
            return;
        }
        let counts = self.shared.counters.read();
        let partitions = self.partitions().map(|partition| {
            let state = partition.state();
            PartitionDetails {
                topic: Arc::clone(&partition.topic.name),
                partition: partition.index,
                durable_offset: state.writer.durable_offset(),
                high_watermark: Some(state.high_watermark).filter(|end| *end >= 0),
            }
        });
        self.observer.backup_details(&BackupDetails {
            partitions: partitions.collect(),
            commits: counts.commits,
            commit_time: counts.commit_time,
        });
        self.observer.plugin_progress(&self.plugins.progress());
    }

    fn drain_events(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.on_event(event);
        }
    }

    /// Stops fetching, commits everything that was taken in, and leaves the hint where the chains end.
    async fn finish(&mut self) -> Result<(), EngineError> {
        self.shared.stop.cancel();
        for (_, handle) in std::mem::take(&mut self.brokers) {
            // A panic was told by the partitions that it concerned. The others are to be committed.
            let _ = handle.task.await;
        }
        while let Some(flushed) = self.flushing.join_next().await {
            flushed?;
        }
        self.openings.shutdown().await;
        self.hinting.shutdown().await;
        // Nothing is opened again from now on.
        self.is_finishing = true;
        // What the brokers' tasks said last; among it segments to commit, and after it what is still open.
        self.drain_events();
        let open: Vec<_> = self.partitions().cloned().collect();
        for partition in &open {
            partition.seal(&self.shared);
        }
        self.drain_events();
        while let Some(finished) = self.commits.next().await {
            self.on_commit(finished?);
            self.drain_events();
        }
        self.record_closed();
        reach(Point::HeadDue);
        self.archive
            .write_head(&self.head_name(), &self.identity, &self.chain_ends())
            .await?;
        let progress = self.progress();
        self.observer.backup_progress(&progress);
        self.tell_details();
        let BackupProgress {
            records,
            bytes,
            filtered,
            dead_lettered,
            segments,
            stored_bytes,
            elapsed,
            ..
        } = progress;
        self.summary = BackupSummary {
            topics: self.topics.len(),
            partitions: self.known.len(),
            records,
            bytes,
            filtered,
            dead_lettered,
            segments,
            stored_bytes,
            plugins: self.plugins.progress().entries,
            elapsed,
            ..std::mem::take(&mut self.summary)
        };
        Ok(())
    }
}

/// Whether what was opened at `since` is `timeout` old (all in ms). The clock may have been set back meanwhile, by a restart on another machine or by
/// somebody's hand: what seems to come from the future would never be old enough.
fn is_due(since: i64, now: i64, timeout: i64) -> bool {
    since > now || now.saturating_sub(since) >= timeout
}

#[cfg(test)]
mod tests;
