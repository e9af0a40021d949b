//! The control loop of a backup: follows the cluster, places partitions on brokers, seals and commits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use armory_archive::{
    Archive, ArchiveError, Codec, PartitionKey, PartitionWriter, WriterIdentity, WriterOptions,
};
use armory_kafka::{Client, ClientConfig, Metadata, TopicFilter, TopicMetadata};
use armory_resources::job::BackupJob;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::broker::{self, BrokerHandle, Command, Event, Shared};
use super::catalog::{Followed, compare};
use super::commits::{Commits, Finished};
use super::counters::Counters;
use super::partition::{Partition, Phase, Topic};
use super::position;
use super::{BackupSummary, UnstableRange, Until};
use crate::budget::Budget;
use crate::error::sentence;
use crate::plugins::PluginSet;
use crate::{BackupProgress, EngineError, Level, Observer, Remark};

/// How often open segments are made durable, closed by age or for lack of room, and progress is told.
const TICK: Duration = Duration::from_millis(250);
/// Ticks between two flushes: what a power cut may take from a folder is about this long.
const TICKS_PER_FLUSH: u32 = 4;
/// Partitions opened at once.
const OPENING: usize = 32;

/// Whether a partition is somebody else's, while the rest of the archive may be ours.
fn is_taken(error: &ArchiveError) -> bool {
    matches!(
        error,
        ArchiveError::OwnedByOther { .. }
            | ArchiveError::Fenced { .. }
            | ArchiveError::Locked { .. }
    )
}

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

    /// Looks at the cluster: new topics, new partitions, new incarnations, leaders that moved.
    async fn refresh(&mut self) -> Result<(), EngineError> {
        let metadata = self.shared.client.metadata(TopicFilter::All).await?;
        let changes = compare(&metadata, &self.job.topics, &self.topics);
        for name in changes.gone {
            self.on_gone(&name);
        }
        // `--once` archives what was there when it began.
        if self.until == Until::Stopped || self.topics.is_empty() {
            for topic in changes.new.iter().chain(&changes.grown) {
                self.follow_topic(&metadata, topic).await?;
            }
        }
        let unplaced = std::mem::take(&mut self.unplaced);
        if !unplaced.is_empty() {
            self.place(&metadata, unplaced).await?;
        }
        Ok(())
    }

    fn on_gone(&mut self, name: &str) {
        let Some(followed) = self.topics.get_mut(name) else {
            return;
        };
        followed.present = false;
        let partitions: Vec<_> = followed.partitions.values().cloned().collect();
        self.remark(Level::Warning, format!("topic {name} is gone from the cluster; its archive stays, and a topic of that name is followed again when it appears"));
        for partition in partitions {
            if self.until == Until::CaughtUp && partition.state().phase == Phase::Streaming {
                let at = partition.state().writer.next_offset();
                self.fail(
                    &partition,
                    format!(
                        "{} was deleted while it was backed up, at offset {at}",
                        partition.name()
                    ),
                );
            } else {
                self.seal(&partition);
            }
        }
    }

    /// Opens what is not open of a topic. Another topic id than before is another incarnation: the old one is closed.
    async fn follow_topic(
        &mut self,
        metadata: &Metadata,
        meta: &TopicMetadata,
    ) -> Result<(), EngineError> {
        if let Some(old) = self.topics.get(&meta.name)
            && old.topic.id != meta.id
        {
            let old = self
                .topics
                .remove(&meta.name)
                .expect("it was there a line ago");
            for partition in old.partitions.values() {
                self.unassign(partition);
                self.seal(partition);
            }
        }
        let (topic, key, incarnation) = match self.topics.get(&meta.name) {
            Some(known) => (
                Arc::clone(&known.topic),
                crate::storage::topic_key(meta),
                None,
            ),
            None => {
                let (topic, key, incarnation) = self.describe(metadata, meta).await?;
                (topic, key, Some(incarnation))
            }
        };
        if let Some(incarnation) = incarnation {
            self.remark(
                Level::Info,
                format!(
                    "following topic {} (v{incarnation}, {} partitions)",
                    meta.name,
                    meta.partitions.len()
                ),
            );
        }
        let known = self
            .topics
            .get(&meta.name)
            .map(|followed| followed.partitions.keys().copied().collect::<Vec<_>>());
        let known = known.unwrap_or_default();
        let new = meta
            .partitions
            .iter()
            .map(|partition| &partition.index)
            .filter(|index| !known.contains(index));
        let opening: Vec<_> = new
            .map(|index| {
                let key = PartitionKey {
                    topic: key.clone(),
                    partition: *index,
                };
                let options = self.writer_options(&topic);
                let archive = self.archive.clone();
                async move {
                    let writer = PartitionWriter::open(&archive, key.clone(), options).await;
                    (key, writer)
                }
            })
            .collect();
        let opened: Vec<(PartitionKey, Result<PartitionWriter, ArchiveError>)> =
            stream::iter(opening)
                .buffer_unordered(OPENING)
                .collect()
                .await;

        let followed = self
            .topics
            .entry(meta.name.clone())
            .or_insert_with(|| Followed {
                topic: Arc::clone(&topic),
                partitions: BTreeMap::new(),
                present: true,
            });
        followed.present = true;
        let mut added = Vec::new();
        let mut refused = Vec::new();
        for (key, writer) in opened {
            match writer {
                Ok(writer) => {
                    let partition = Arc::new(Partition::new(
                        Arc::clone(&topic),
                        key,
                        writer,
                        &self.shared.budget,
                    ));
                    followed
                        .partitions
                        .insert(partition.index, Arc::clone(&partition));
                    added.push(partition);
                }
                Err(error) if is_taken(&error) => refused.push(sentence(&error)),
                Err(error) => return Err(error.into()),
            }
        }
        self.summary.partitions += added.len() + refused.len();
        for why in refused {
            self.remark(Level::Warning, why.clone());
            self.failed.push(why);
        }
        self.summary.topics = self.topics.len();
        self.place(metadata, added).await
    }

    async fn describe(
        &self,
        metadata: &Metadata,
        meta: &TopicMetadata,
    ) -> Result<(Arc<Topic>, armory_archive::TopicKey, u32), EngineError> {
        let key = crate::storage::topic_key(meta);
        if meta.id.is_none() {
            self.remark(
                Level::Warning,
                format!("topic {} has no topic id on this cluster: a topic that is deleted and created again cannot be told from the old one", meta.name),
            );
        }
        let configs = self
            .shared
            .client
            .describe_topic_configs(std::slice::from_ref(&meta.name))
            .await?;
        let configs: BTreeMap<String, String> = configs
            .into_iter()
            .filter(|(name, _)| *name == meta.name)
            .flat_map(|(_, configs)| configs)
            .filter(|(_, entry)| !entry.is_default && !entry.sensitive)
            .filter_map(|(name, entry)| Some((name, entry.value?)))
            .collect();
        let compacted = configs
            .get("cleanup.policy")
            .is_some_and(|policy| policy.contains("compact"));
        let info = armory_archive::GenesisInfo {
            cluster_id: metadata.cluster_id.clone(),
            partitions: i32::try_from(meta.partitions.len()).unwrap_or(i32::MAX),
            configs: configs.clone(),
        };
        let genesis = self.archive.genesis(&key, info.clone()).await?;
        self.archive
            .snapshot_topic(
                &self.identity,
                &key,
                configs,
                info.partitions,
                jiff::Timestamp::now().as_millisecond(),
            )
            .await?;
        let chain = self.plugins.backup_chain(&meta.name);
        let topic = Topic {
            name: Arc::from(meta.name.as_str()),
            id: meta.id,
            chain,
            compacted,
            rollover_bytes: self.job.rollover.size,
        };
        Ok((Arc::new(topic), key, genesis.incarnation))
    }

    fn writer_options(&self, topic: &Topic) -> WriterOptions {
        WriterOptions {
            take_over: self.job.take_over,
            rollover_bytes: self.job.rollover.size,
            compression: self.compression,
            write_buffer: usize::try_from(self.job.write_buffer).unwrap_or(usize::MAX),
            plugin_digests: self.plugins.digests(&topic.name),
            ..WriterOptions::new(self.identity.clone())
        }
    }

    /// Finds out where to fetch each partition from, and hands it to its leader.
    async fn place(
        &mut self,
        metadata: &Metadata,
        partitions: Vec<Arc<Partition>>,
    ) -> Result<(), EngineError> {
        let mut led = Vec::new();
        let mut leaders = HashMap::new();
        for partition in partitions {
            if partition.state().phase != Phase::Streaming {
                continue;
            }
            let meta = metadata.topics.iter().find(|topic| {
                topic.name == *partition.topic.name && topic.id == partition.topic.id
            });
            let leader = meta
                .and_then(|topic| {
                    topic
                        .partitions
                        .iter()
                        .find(|meta| meta.index == partition.index)
                })
                .and_then(|meta| Some((meta.leader?, meta.leader_epoch)));
            match leader {
                Some((leader, epoch)) => {
                    leaders.insert(partition.key.clone(), (leader, epoch));
                    led.push((partition, epoch));
                }
                None => self.unplaced.push(partition),
            }
        }
        if led.is_empty() {
            return Ok(());
        }
        let positions = position::find(&self.shared.client, led).await?;
        for (partition, why) in positions.unknown {
            tracing::debug!(partition = partition.name(), why, "no position yet");
            self.unplaced.push(partition);
        }
        for position in positions.found {
            // A lineage ends with everything of it committed; what is open goes first, and the partition is asked for again.
            if position.diverged_at.is_some() && position.partition.state().writer.has_uncommitted()
            {
                self.seal(&position.partition);
                self.unplaced.push(position.partition);
                continue;
            }
            position.settle().await?;
            self.remark_on(&position);
            let partition = position.partition;
            if self.until == Until::CaughtUp
                && self.reach(&partition, position.last_stable, position.high_watermark)
            {
                continue;
            }
            let (leader, leader_epoch) = leaders[&partition.key];
            self.assign(
                partition,
                leader,
                position.offset,
                leader_epoch,
                metadata.brokers.len(),
            );
        }
        Ok(())
    }

    fn remark_on(&self, position: &position::Position) {
        let name = position.partition.name();
        if let Some(at) = position.diverged_at {
            let lineage = position.partition.state().writer.lineage();
            self.remark(
                Level::Warning,
                format!("{name}: the cluster lost records that are archived (an unclean leader election); its history departs at offset {at}, and goes on as lineage {lineage}"),
            );
        }
        // Where records are left, the first batch tells how far the gap reaches; the remark comes with it.
        if let Some((from, until)) = position.lost
            && from > 0
            && until == position.high_watermark
        {
            self.remark_on_trimmed(&position.partition, from, until);
        }
    }

    fn remark_on_trimmed(&self, partition: &Partition, from: i64, until: i64) {
        self.remark(
            Level::Warning,
            format!(
                "{}: offsets {from} to {until} (exclusive) were removed at the source before they could be archived; recorded as a gap",
                partition.name()
            ),
        );
    }

    /// Sets where `--once` stops, the first time. True: the partition is there already.
    fn reach(&mut self, partition: &Arc<Partition>, last_stable: i64, high_watermark: i64) -> bool {
        let mut state = partition.state();
        if state.stop_at.is_none() && last_stable < high_watermark {
            self.summary.unstable.push(UnstableRange {
                topic: partition.topic.name.to_string(),
                partition: partition.index,
                last_stable_offset: last_stable,
                high_watermark,
            });
        }
        let stop_at = *state.stop_at.get_or_insert(last_stable);
        if state.writer.next_offset() < stop_at {
            return false;
        }
        state.phase = Phase::Done;
        drop(state);
        self.done += 1;
        self.seal(partition);
        true
    }

    fn assign(
        &mut self,
        partition: Arc<Partition>,
        leader: i32,
        offset: i64,
        leader_epoch: i32,
        brokers: usize,
    ) {
        self.placed.insert(partition.key.clone(), leader);
        let command = Command::Assign {
            partition,
            offset,
            leader_epoch,
        };
        let handle = self
            .brokers
            .entry(leader)
            .or_insert_with(|| broker::spawn(leader, brokers, Arc::clone(&self.shared)));
        // A broker's task ends only when the run does.
        let _ = handle.commands.send(command);
    }

    fn unassign(&mut self, partition: &Partition) {
        if let Some(broker) = self
            .placed
            .remove(&partition.key)
            .and_then(|id| self.brokers.get(&id))
        {
            let command = Command::Remove {
                topic: Arc::clone(&partition.topic.name),
                partition: partition.index,
            };
            let _ = broker.commands.send(command);
        }
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
