//! The course of a restore: plan, targets, report, lanes, end.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use armory_archive::Archive;
use armory_kafka::{Client, ClientConfig, TopicFilter};
use armory_plugins::World;
use armory_resources::job::RestoreJob;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::feed::{Producer, Source};
use super::lane::{Lane, Outcome, Queue};
use super::memory::Memory;
use super::plan::{self, Plan};
use super::preflight::{self, TargetTopic, now_ms};
use super::report::{
    Begin, Entry, Intent, OffsetMap, PluginRecord, Report, SourceRecord, TargetRecord, TopicRecord,
    restore_id,
};
use super::reshape::Reshape;
use super::shape::Shape;
use super::target::{ResolveError, Target, TargetId, landed};
use super::{RestoreSummary, RestoredTopic};
use crate::error::sentence;
use crate::plugins::PluginSet;
use crate::{EngineError, Level, Observer, Remark, RestoreProgress};

/// Connections to each broker. One connection's requests are handled one after the other, so two keep a broker busier.
const LANES: usize = 2;
/// How often a running restore signs its report.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(250);
/// Partitions of which something is asked at once.
const ASKED_AT_ONCE: usize = 16;

/// What the end of a restore needs to know of its beginning.
struct Setup {
    job: RestoreJob,
    client: Client,
    archive: Archive,
    plan: Plan,
    targets: Vec<TargetTopic>,
    plugins: PluginSet,
    begin: Begin,
    intents: Vec<Intent>,
    report: Arc<Mutex<Report>>,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
    started: Instant,
}

pub(crate) async fn run(
    job: RestoreJob,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
) -> Result<RestoreSummary, EngineError> {
    let started = Instant::now();
    let client = Client::new(ClientConfig::from_properties(&job.sink.properties)?)?;
    let archive = Archive::open(crate::storage::location(&job.storage)?).await?;
    let plugins = PluginSet::load(&job.plugins, World::Restore).await?;
    let plan = plan::read(&archive, &job).await?;
    let partitions = requirements(&plan, &plugins).await?;
    let (metadata, targets) = preflight::targets(&client, &job, &plan, &partitions).await?;

    let target_ids: Vec<String> = targets
        .iter()
        .map(|target| {
            target
                .meta
                .id
                .map_or_else(|| target.meta.name.clone(), |id| id.to_string())
        })
        .collect();
    let records: Vec<PluginRecord> = plugins
        .identities()
        .into_iter()
        .map(|plugin| PluginRecord {
            label: plugin.label,
            digest: plugin.digest,
            config: plugin.config,
        })
        .collect();
    let id = restore_id(
        &archive.id().to_string(),
        &plan,
        metadata.cluster_id.as_deref(),
        &target_ids,
        &records,
    );
    let mut report = Report::open(&archive, &id).await?;
    if report.is_done() {
        return Ok(summary_of_finished(&report, &plan, &targets, id, started));
    }
    let begin = match report.begin() {
        Some(begin) => begin.clone(),
        None => {
            let starts = preflight::check_empty(&client, &targets, &plan).await?;
            let begin = begin(
                &client,
                &archive,
                &plan,
                &targets,
                &starts,
                metadata.cluster_id,
                id,
                records,
            )
            .await?;
            report.append(Entry::Begin(begin.clone())).await?;
            begin
        }
    };
    let intents = report.take_intents();
    let session = uuid::Uuid::new_v4().simple().to_string();
    report
        .append(Entry::Session {
            session,
            at: now_ms(),
        })
        .await?;
    let setup = Setup {
        job,
        client,
        archive,
        plan,
        targets,
        plugins,
        begin,
        intents,
        report: Arc::new(Mutex::new(report)),
        observer,
        stop,
        started,
    };
    setup.restore().await
}

/// How many partitions each target needs: what the archive has, or what the plugins ask for.
async fn requirements(plan: &Plan, plugins: &PluginSet) -> Result<Vec<i32>, EngineError> {
    let mut partitions = Vec::new();
    for topic in &plan.topics {
        let archived = topic.partition_count.max(1);
        let Some(chain) = plugins.restore_chain(&topic.mapping.source, &topic.mapping.target)
        else {
            partitions.push(archived);
            continue;
        };
        let target = topic.mapping.target.clone();
        let wanted = tokio::task::spawn_blocking(move || {
            chain.requirements(u64::from(archived.unsigned_abs()))
        })
        .await?
        .map_err(|source| EngineError::Plugin {
            topic: target.clone(),
            source,
        })?;
        let wanted = i32::try_from(wanted).ok().filter(|wanted| *wanted >= 1).ok_or_else(|| EngineError::Preflight {
            problems: vec![format!("the plugins ask for {wanted} partitions of {target}; Kafka has topics of 1 to {} partitions", i32::MAX)],
        })?;
        partitions.push(wanted);
    }
    Ok(partitions)
}

/// The report's first entry. Every target partition gets a producer id of its own, which stays the same over restarts.
#[expect(
    clippy::too_many_arguments,
    reason = "these are the parts of the entry"
)]
async fn begin(
    client: &Client,
    archive: &Archive,
    plan: &Plan,
    targets: &[TargetTopic],
    starts: &BTreeMap<(String, i32), i64>,
    target_cluster: Option<String>,
    id: String,
    plugins: Vec<PluginRecord>,
) -> Result<Begin, EngineError> {
    let mut topics = Vec::new();
    for (topic, target) in plan.topics.iter().zip(targets) {
        let records = target.meta.partitions.iter().map(async |partition| {
            let (producer_id, producer_epoch) = client.init_producer_id().await?;
            Ok::<_, EngineError>(TargetRecord {
                partition: partition.index,
                producer_id,
                producer_epoch,
                start_offset: starts[&(target.meta.name.clone(), partition.index)],
            })
        });
        let records = stream::iter(records)
            .buffered(ASKED_AT_ONCE)
            .try_collect()
            .await?;
        topics.push(TopicRecord {
            source: topic.mapping.source.clone(),
            source_id: topic.key.topic_id.to_string(),
            incarnation: topic.incarnation,
            target: topic.mapping.target.clone(),
            target_id: target.meta.id.map(|id| id.to_string()),
            created: target.created,
            sources: topic
                .partitions
                .iter()
                .map(|partition| SourceRecord {
                    partition: partition.index,
                    lineage: partition.lineage,
                    next: partition.until,
                    records: partition.records(),
                })
                .collect(),
            targets: records,
        });
    }
    let mut source_clusters: Vec<String> = plan
        .topics
        .iter()
        .filter_map(|topic| topic.cluster_id.clone())
        .collect();
    source_clusters.sort();
    source_clusters.dedup();
    Ok(Begin {
        format: 1,
        id,
        archive: archive.id().to_string(),
        source_clusters,
        target_cluster,
        plugins,
        topics,
    })
}

fn summary_of_finished(
    report: &Report,
    plan: &Plan,
    targets: &[TargetTopic],
    id: String,
    started: Instant,
) -> RestoreSummary {
    let records = report
        .entries()
        .iter()
        .find_map(|entry| match entry {
            Entry::Done { records, .. } => Some(*records),
            _ => None,
        })
        .unwrap_or(0);
    RestoreSummary {
        id,
        topics: restored_topics(plan, targets, report.begin()),
        records,
        was_complete: true,
        elapsed: started.elapsed(),
        ..RestoreSummary::default()
    }
}

fn restored_topics(
    plan: &Plan,
    targets: &[TargetTopic],
    begin: Option<&Begin>,
) -> Vec<RestoredTopic> {
    plan.topics
        .iter()
        .zip(targets)
        .enumerate()
        .map(|(index, (topic, target))| RestoredTopic {
            source: topic.mapping.source.clone(),
            incarnation: topic.incarnation,
            target: target.meta.name.clone(),
            created: begin
                .and_then(|begin| begin.topics.get(index))
                .is_some_and(|record| record.created),
            records: topic.records(),
        })
        .collect()
}

impl Setup {
    async fn restore(mut self) -> Result<RestoreSummary, EngineError> {
        self.pin_ends();
        let filtered = Arc::new(AtomicU64::new(0));
        let waiting = self.open_targets(&filtered).await?;
        let already: u64 = waiting.iter().map(|target| target.landed).sum();
        let mut writing = Writing::new(&self, waiting.len());
        for target in waiting {
            writing.place(target).await;
        }
        let ended = writing.run(&filtered, already).await;
        let Writing {
            done,
            mut failed,
            unfinished,
            records,
            bytes,
            lanes,
            ..
        } = writing;
        for lane in lanes {
            lane.abort();
        }
        ended?;
        let total = done.len() + failed.len() + unfinished;
        if !failed.is_empty() {
            failed.sort();
            return Err(EngineError::Partitions { failed, total });
        }
        let mut summary = RestoreSummary {
            id: self.begin.id.clone(),
            topics: restored_topics(&self.plan, &self.targets, Some(&self.begin)),
            records: already + records,
            records_this_run: records,
            bytes_this_run: bytes,
            filtered: filtered.load(Ordering::Relaxed),
            was_complete: false,
            elapsed: self.started.elapsed(),
        };
        if unfinished > 0 {
            return Err(EngineError::Stopped {
                id: summary.id,
                records: summary.records,
            });
        }
        self.give_configs().await?;
        let offsets = self.offset_maps(done);
        self.report
            .lock()
            .await
            .append(Entry::Done {
                at: now_ms(),
                records: summary.records,
                offsets,
            })
            .await?;
        summary.elapsed = self.started.elapsed();
        Ok(summary)
    }

    /// A resumed restore ends where its first run would have ended, whatever was archived since.
    fn pin_ends(&mut self) {
        for (topic, record) in self.plan.topics.iter_mut().zip(&self.begin.topics) {
            for partition in &mut topic.partitions {
                if let Some(source) = record
                    .sources
                    .iter()
                    .find(|source| source.partition == partition.index)
                {
                    partition.until = source.next;
                }
            }
            topic.partitions.retain(|partition| {
                record
                    .sources
                    .iter()
                    .any(|source| source.partition == partition.index)
            });
        }
    }

    /// Reads what has landed of every target partition, and starts its feed.
    async fn open_targets(&self, filtered: &Arc<AtomicU64>) -> Result<Vec<Target>, EngineError> {
        let memory = Memory::new(self.job.memory_budget);
        let mut open = Vec::new();
        for (index, ((topic, target), record)) in self
            .plan
            .topics
            .iter()
            .zip(&self.targets)
            .zip(&self.begin.topics)
            .enumerate()
        {
            let ids = self.target_ids(index, target, record)?;
            let landed = self.landed(&ids).await?;
            let sources: Vec<Source> = topic
                .partitions
                .iter()
                .map(|partition| Source {
                    archive: self.archive.clone(),
                    key: topic.key.partition(partition.index),
                    plan: partition.clone(),
                    memory: memory.clone(),
                })
                .collect();
            let chain = self
                .plugins
                .restore_chain(&topic.mapping.source, &topic.mapping.target);
            if let Some(chain) = &chain {
                chain.set_target_partitions(i32::try_from(ids.len()).unwrap_or(i32::MAX));
            }
            if chain.is_none() && topic.partitions.iter().all(|partition| !partition.partial) {
                for source in sources
                    .into_iter()
                    .filter(|source| source.plan.records() > 0)
                {
                    let slot = ids
                        .iter()
                        .position(|id| id.partition == source.key.partition)
                        .expect("preflight counted the partitions");
                    let feed = source.pass_through(
                        ids[slot].producer,
                        landed[slot],
                        target.max_message_bytes,
                    );
                    open.push(Target::new(ids[slot].clone(), landed[slot], feed));
                }
                continue;
            }
            let reshape = Reshape {
                topic_index: index,
                topic: topic.mapping.source.clone(),
                sources,
                shape: Arc::new(Shape {
                    chain,
                    time: self.plan.variant.time,
                    target_partitions: i32::try_from(ids.len()).unwrap_or(i32::MAX),
                    max_message_bytes: target.max_message_bytes,
                    target_topic: target.meta.name.clone(),
                }),
                targets: ids
                    .iter()
                    .zip(&landed)
                    .map(|(id, landed)| (id.producer, *landed))
                    .collect(),
                intents: self
                    .intents
                    .iter()
                    .filter(|intent| intent.topic == index)
                    .cloned()
                    .collect(),
                report: Arc::clone(&self.report),
                restore_id: self.begin.id.clone(),
                filtered: Arc::clone(filtered),
            };
            for ((id, landed), feed) in ids.into_iter().zip(landed).zip(reshape.start()) {
                open.push(Target::new(id, landed, feed));
            }
        }
        Ok(open)
    }

    fn target_ids(
        &self,
        topic_index: usize,
        target: &TargetTopic,
        record: &TopicRecord,
    ) -> Result<Vec<TargetId>, EngineError> {
        let name: Arc<str> = Arc::from(target.meta.name.as_str());
        let mut ids: Vec<TargetId> = record
            .targets
            .iter()
            .map(|record| TargetId {
                topic_index,
                topic: Arc::clone(&name),
                topic_id: target.meta.id,
                partition: record.partition,
                producer: Producer {
                    id: record.producer_id,
                    epoch: record.producer_epoch,
                },
                start: record.start_offset,
            })
            .collect();
        ids.sort_by_key(|id| id.partition);
        if ids.len() != target.meta.partitions.len() {
            return Err(EngineError::Report {
                id: self.begin.id.clone(),
                what: format!(
                    "the target {name} had {} partitions when it began and has {} now; restore into a new topic",
                    ids.len(),
                    target.meta.partitions.len()
                ),
            });
        }
        Ok(ids)
    }

    /// How much of this restore each target partition holds; nothing on its first run.
    async fn landed(&self, ids: &[TargetId]) -> Result<Vec<u64>, EngineError> {
        stream::iter(ids.iter().map(async |id| self.landed_in(id).await))
            .buffered(ASKED_AT_ONCE)
            .try_collect()
            .await
    }

    async fn landed_in(&self, id: &TargetId) -> Result<u64, EngineError> {
        let mut backoff = armory_kafka::Backoff::default();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match landed(&self.client, id).await {
                Ok(landed) => return Ok(landed),
                Err(ResolveError::Final(error)) => return Err(error),
                Err(ResolveError::Again(why)) if Instant::now() > deadline => {
                    return Err(EngineError::Stuck {
                        topic: id.topic.to_string(),
                        partition: id.partition,
                        seconds: 60,
                        why,
                    });
                }
                Err(ResolveError::Again(_)) => tokio::time::sleep(backoff.next_delay()).await,
            }
        }
    }

    /// The last step: a target that this restore created gets the configuration that its source had.
    async fn give_configs(&self) -> Result<(), EngineError> {
        for (topic, record) in self.plan.topics.iter().zip(&self.begin.topics) {
            let mut report = self.report.lock().await;
            let configured = report.entries().iter().any(
                |entry| matches!(entry, Entry::Configured { target } if *target == record.target),
            );
            if !record.created || configured {
                continue;
            }
            let (set, delete) = preflight::archived_configs(topic);
            if let Some(retention) = set
                .get("retention.ms")
                .or_else(|| set.get("retention.bytes"))
            {
                self.observer.remark(&Remark {
                    level: Level::Warning,
                    text: format!("topic {} gets the retention its source had ({retention}); older records expire by it from now on", record.target),
                });
            }
            self.client
                .alter_topic_configs(&record.target, &set, &delete)
                .await?;
            report
                .append(Entry::Configured {
                    target: record.target.clone(),
                })
                .await?;
        }
        Ok(())
    }

    fn offset_maps(&self, done: Vec<Target>) -> Vec<OffsetMap> {
        let mut maps = Vec::new();
        for target in done {
            for (partition, ranges) in target.offsets {
                maps.push(OffsetMap {
                    topic: target.topic_index,
                    partition,
                    target_partition: target.partition,
                    ranges,
                });
            }
        }
        maps.sort_by_key(|map| (map.topic, map.partition, map.target_partition));
        maps
    }
}

/// The part of a restore in which records are on their way.
struct Writing<'a> {
    setup: &'a Setup,
    /// The queues of each broker's lanes; the first is the next one's turn.
    queues: HashMap<i32, VecDeque<Arc<Queue>>>,
    lanes: Vec<JoinHandle<()>>,
    sender: mpsc::UnboundedSender<Outcome>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    done: Vec<Target>,
    failed: Vec<String>,
    unfinished: usize,
    total: usize,
    records: u64,
    bytes: u64,
}

impl<'a> Writing<'a> {
    fn new(setup: &'a Setup, total: usize) -> Writing<'a> {
        let (sender, outcomes) = mpsc::unbounded_channel();
        Writing {
            setup,
            queues: HashMap::new(),
            lanes: Vec::new(),
            sender,
            outcomes,
            done: Vec::new(),
            failed: Vec::new(),
            unfinished: 0,
            total,
            records: 0,
            bytes: 0,
        }
    }

    /// Gives a partition to one of its leader's lanes, in turn; they are started when the first one comes.
    async fn place(&mut self, target: Target) {
        let leader = match self
            .setup
            .client
            .leader(&target.topic, target.partition)
            .await
        {
            Ok(Some(leader)) => leader,
            Ok(None) => return self.wait_for_leader(target, "it has no leader".to_owned()),
            Err(error) => return self.wait_for_leader(target, sentence(&error)),
        };
        let (setup, sender, lanes) = (self.setup, &self.sender, &mut self.lanes);
        let queues = self.queues.entry(leader).or_insert_with(|| {
            let start = |_| {
                let queue = Arc::new(Queue::default());
                let lane = Lane {
                    client: setup.client.clone(),
                    broker: leader,
                    queue: Arc::clone(&queue),
                    outcomes: sender.clone(),
                    stop: setup.stop.clone(),
                };
                lanes.push(tokio::spawn(lane.run()));
                queue
            };
            (0..LANES).map(start).collect()
        });
        queues[0].push(target);
        queues.rotate_left(1);
    }

    /// Comes back to a partition without a leader in a while, until its patience is at an end.
    fn wait_for_leader(&mut self, mut target: Target, why: String) {
        let sender = self.sender.clone();
        let outcome = match target.on_doubt(why.clone()) {
            Ok(()) => Outcome::Moved(Box::new(target), why),
            Err(error) => Outcome::Failed(Box::new(target), error),
        };
        tokio::spawn(async move {
            tokio::time::sleep(TICK).await;
            let _ = sender.send(outcome);
        });
    }

    async fn run(&mut self, filtered: &AtomicU64, already: u64) -> Result<(), EngineError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut signed = Instant::now();
        while self.done.len() + self.failed.len() + self.unfinished < self.total {
            tokio::select! {
                outcome = self.outcomes.recv() => self.on_outcome(outcome.expect("the sender lives in this struct")).await,
                _ = tick.tick() => {
                    self.setup.observer.restore_progress(&self.progress(filtered, already));
                    if signed.elapsed() >= SIGN_OF_LIFE {
                        signed = Instant::now();
                        // Fails when another process went on with this restore.
                        let entry = Entry::Progress { at: now_ms(), records: already + self.records };
                        self.setup.report.lock().await.append(entry).await?;
                    }
                }
            }
        }
        self.setup
            .observer
            .restore_progress(&self.progress(filtered, already));
        Ok(())
    }

    async fn on_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Progress { records, bytes } => {
                self.records += records;
                self.bytes += bytes;
            }
            Outcome::Done(target) => self.done.push(*target),
            Outcome::Moved(target, _) if self.setup.stop.is_cancelled() => {
                drop(target);
                self.unfinished += 1;
            }
            Outcome::Moved(target, why) => {
                tracing::debug!(partition = target.name(), why, "placing it anew");
                let refreshed = self
                    .setup
                    .client
                    .metadata(TopicFilter::Names(&[target.topic.to_string()]))
                    .await;
                match refreshed {
                    Ok(_) => self.place(*target).await,
                    Err(error) => self.wait_for_leader(*target, sentence(&error)),
                }
            }
            Outcome::Failed(target, error) => {
                let text = format!("{}: {}", target.name(), sentence(&error));
                self.setup.observer.remark(&Remark {
                    level: Level::Warning,
                    text: text.clone(),
                });
                self.failed.push(text);
            }
            Outcome::Stopped => self.unfinished += 1,
        }
    }

    fn progress(&self, filtered: &AtomicU64, already: u64) -> RestoreProgress {
        let plan = &self.setup.plan;
        let partitions = plan.topics.iter().flat_map(|topic| &topic.partitions);
        RestoreProgress {
            elapsed: self.setup.started.elapsed(),
            topics: plan.topics.len(),
            partitions: self.total,
            partitions_done: self.done.len(),
            records: already + self.records,
            records_total: plan.topics.iter().map(plan::TopicPlan::records).sum(),
            bytes: self.bytes,
            bytes_total: partitions.map(plan::PartitionPlan::stored_bytes).sum(),
            filtered: filtered.load(Ordering::Relaxed),
        }
    }
}
