//! The course of a restore: plan, targets, report (`begin.rs`), records on their way (`writing.rs`), end.

mod begin;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use armory_archive::Archive;
use armory_failpoints::{Point, reach};
use armory_kafka::{Client, ClientConfig, ErrorCode, Metadata};
use armory_plugins::World;
use armory_resources::job::RestoreJob;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use begin::{make_begin, requirements, restored_topics, summary_of_finished};
use writing::Writing;

use super::RestoreSummary;
use super::feed::{Producer, Source};
use super::memory::Memory;
use super::plan::{self, Plan};
use super::preflight::{self, TargetTopic, now_ms};
use super::report::{Begin, Entry, Intent, PluginRecord, Report, TopicRecord, restore_id};
use super::reshape::Reshape;
use super::shape::Shape;
use super::target::{ResolveError, Target, TargetId, landed};
use crate::error::sentence;
use crate::plugins::PluginSet;
use crate::{EngineError, Level, Observer, Remark};

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
    let records: Vec<PluginRecord> = plugins
        .identities()
        .into_iter()
        .map(|plugin| PluginRecord {
            label: plugin.label,
            digest: plugin.digest,
            config: plugin.config,
        })
        .collect();
    let id_for = |metadata: &Metadata, targets: &[TargetTopic]| {
        let archive = archive.id().to_string();
        restore_id(
            &archive,
            &plan,
            metadata.cluster_id.as_deref(),
            targets,
            &records,
        )
    };

    // What has begun goes on, and what is done is done, whatever became of archive and targets meanwhile.
    let mut begun = None;
    if let Some((metadata, targets)) = preflight::existing(&client, &job, &plan).await? {
        let id = id_for(&metadata, &targets);
        let report = Report::open(&archive, &id).await?;
        if report.is_done() {
            return Ok(summary_of_finished(&report, &plan, &targets, id, started));
        }
        if let Some(begin) = report.begin() {
            begun = Some((begin.clone(), targets, report));
        }
    }
    let (begin, targets, mut report) = match begun {
        Some(begun) => begun,
        None => {
            let partitions = requirements(&plan, &plugins).await?;
            let (metadata, targets) = preflight::targets(&client, &job, &plan, &partitions).await?;
            reach(Point::TargetsReady);
            let id = id_for(&metadata, &targets);
            let mut report = Report::open(&archive, &id).await?;
            let starts = preflight::check_empty(&client, &targets, &plan).await?;
            let begin = make_begin(
                &client,
                &archive,
                &plan,
                &targets,
                &starts,
                metadata.cluster_id,
                id,
                records.clone(),
            )
            .await?;
            reach(Point::ProducersGranted);
            report.append(Entry::Begin(begin.clone())).await?;
            reach(Point::RestoreBegun);
            (begin, targets, report)
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

impl Setup {
    async fn restore(mut self) -> Result<RestoreSummary, EngineError> {
        self.pin_ends().await?;
        let filtered = Arc::new(AtomicU64::new(0));
        let waiting = self.open_targets(&filtered).await?;
        reach(Point::LogsRead);
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
        let total = done + failed.len() + unfinished;
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
        reach(Point::RecordsLanded);
        self.give_configs().await?;
        reach(Point::DoneDue);
        self.report
            .lock()
            .await
            .append(Entry::Done {
                at: now_ms(),
                records: summary.records,
            })
            .await?;
        reach(Point::DoneEntered);
        summary.elapsed = self.started.elapsed();
        Ok(summary)
    }

    /// A resumed restore ends where its first run would have ended, whatever was archived since.
    async fn pin_ends(&mut self) -> Result<(), EngineError> {
        for (topic, record) in self.plan.topics.iter_mut().zip(&self.begin.topics) {
            let source = |index: i32| {
                let mut sources = record.sources.iter();
                sources.find(|source| source.partition == index)
            };
            topic
                .partitions
                .retain(|partition| source(partition.index).is_some());
            for partition in &mut topic.partitions {
                let source = source(partition.index).expect("the others were taken out");
                partition
                    .pin(&self.archive, &topic.key, source.lineage, source.next)
                    .await?;
            }
        }
        Ok(())
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
            let ids = self.target_ids(target, record)?;
            let landed = self.landed(&ids).await?;
            let sources: Vec<Source> = topic
                .partitions
                .iter()
                .map(|partition| Source {
                    archive: self.archive.clone(),
                    key: topic.key.partition(partition.index),
                    plan: partition.clone(),
                    memory: memory.of(partition),
                })
                .collect();
            let chain = self
                .plugins
                .restore_chain(&topic.mapping.source, &topic.mapping.target);
            if let Some(chain) = &chain {
                chain.set_target_partitions(i32::try_from(ids.len()).unwrap_or(i32::MAX));
            }
            if chain.is_none()
                && topic
                    .partitions
                    .iter()
                    .all(|partition| !partition.is_partial())
            {
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
        target: &TargetTopic,
        record: &TopicRecord,
    ) -> Result<Vec<TargetId>, EngineError> {
        let name: Arc<str> = Arc::from(target.meta.name.as_str());
        let mut ids: Vec<TargetId> = record
            .targets
            .iter()
            .map(|record| TargetId {
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
            self.alter_configs(&record.target, &set, &delete).await?;
            reach(Point::ConfigsGiven);
            report
                .append(Entry::Configured {
                    target: record.target.clone(),
                })
                .await?;
        }
        Ok(())
    }

    /// Sets and deletes configurations of a topic; those that its brokers do not take are told and left out.
    async fn alter_configs(
        &self,
        topic: &str,
        set: &BTreeMap<String, String>,
        delete: &[String],
    ) -> Result<(), EngineError> {
        let is_refusal = |error: &armory_kafka::Error| {
            matches!(
                error.code(),
                Some(ErrorCode::INVALID_CONFIG | ErrorCode::POLICY_VIOLATION)
            )
        };
        // All or nothing, so one that is refused would hold up the others.
        match self.client.alter_topic_configs(topic, set, delete).await {
            Err(error) if is_refusal(&error) => {}
            done => return Ok(done?),
        }
        let set = set.iter().map(|(name, value)| (name, Some(value.clone())));
        let delete = delete.iter().map(|name| (name, None));
        for (name, value) in set.chain(delete) {
            let delete = value.is_none().then(|| name.clone());
            let set = value
                .map(|value| (name.clone(), value))
                .into_iter()
                .collect();
            match self
                .client
                .alter_topic_configs(topic, &set, delete.as_slice())
                .await
            {
                Err(error) if is_refusal(&error) => {
                    let text = format!(
                        "topic {topic} does not get the configuration {name} that its source had: {}",
                        sentence(&error)
                    );
                    let level = Level::Warning;
                    self.observer.remark(&Remark { level, text });
                }
                done => done?,
            }
        }
        Ok(())
    }
}
