//! The course of a restore: plan, targets, report (`begin.rs`), records on their way (`writing.rs`), end.

mod begin;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use armory_failpoints::{Point, reach};
use armory_kafka::ErrorCode;
use armory_plugins::TargetFacts;
use armory_resources::job::RestoreJob;
use armory_troubles::Troubles;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use begin::{Beginning, make_begin, restored_topics, summary_of_finished};
use writing::Writing;

use super::RestoreSummary;
use super::checks::Check;
use super::feed::{Producer, Source, pass_through};
use super::memory::Memory;
use super::plan::{Plan, TopicPlan};
use super::preflight::{self, Assessment, NewRestore, State, TargetTopic, Tools, now_ms};
use super::prepare::Making;
use super::report::{Begin, Entry, Report, TargetTopicRecord};
use super::reshape::{Reshape, ShapedSource, StoppedSources};
use super::shape::Shape;
use super::target::{ResolveError, Target, TargetId, landed};
use crate::error::sentence;
use crate::observer::alive;
use crate::{EngineError, Level, Observer, Remark};

/// Partitions of which something is asked at once.
const ASKED_AT_ONCE: usize = 16;

/// What the end of a restore needs to know of its beginning.
struct Setup {
    tools: Tools,
    plan: Plan,
    targets: Vec<TargetTopic>,
    begin: Begin,
    report: Arc<Mutex<Report>>,
    memory: Memory,
    filtered: Arc<AtomicU64>,
    dead_lettered: Arc<AtomicU64>,
    /// Sources that plugins stopped, or damage.
    stopped: Arc<StoppedSources>,
    observer: Arc<dyn Observer>,
    troubles: Troubles,
    stop: CancellationToken,
    started: Instant,
}

pub(crate) async fn run(
    job: RestoreJob,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
) -> Result<RestoreSummary, EngineError> {
    let started = Instant::now();
    // Killed anywhere before records are on their way, a restore begins anew; so it may be left anywhere as well.
    let begun = begin(job, observer, stop.clone(), started);
    match stop.run_until_cancelled(begun).await {
        Some(Ok(Begun::Setup(setup))) => setup.restore().await,
        Some(Ok(Begun::Finished(summary))) => Ok(summary),
        Some(Err(error)) => Err(error),
        None => Err(EngineError::StoppedEarly),
    }
}

/// How a restore begins.
enum Begun {
    /// Records can be sent.
    Setup(Box<Setup>),
    /// An earlier run had done everything.
    Finished(RestoreSummary),
}

async fn begin(
    job: RestoreJob,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
    started: Instant,
) -> Result<Begun, EngineError> {
    let troubles = observer.troubles();
    let mut tools = Tools::open(job, &troubles).await?;
    let Assessment {
        plan,
        checks,
        state,
    } = preflight::assess(&tools).await?;
    let (begin, targets, mut report) = match state {
        State::Begun { id, report, .. } if report.is_done() => {
            let summary = summary_of_finished(&report, &plan, id, started);
            return Ok(Begun::Finished(summary));
        }
        State::Begun {
            targets,
            report,
            place,
            ..
        } => {
            tools.reports = place;
            let begin = report.begin().expect("it has begun").clone();
            (begin, targets, *report)
        }
        State::New(_) if checks.is_refused() => {
            return Err(EngineError::Preflight {
                problems: checks.refused().map(Check::sentence).collect(),
                outlook: checks.outlook(),
            });
        }
        State::New(mut new) => {
            if tools.settle_reports().await?
                && let Some((id, report)) = &mut new.report
            {
                *report = Report::open(&tools.reports, id).await?;
            }
            for check in checks.warnings() {
                observer.remark(&Remark {
                    level: Level::Warning,
                    text: match &check.target {
                        Some(target) => format!("target {target}: {}", check.sentence()),
                        None => check.sentence(),
                    },
                });
            }
            start(&tools, &plan, *new).await?
        }
    };
    let session = uuid::Uuid::new_v4().simple().to_string();
    report
        .append(Entry::Session {
            session,
            at: now_ms(),
        })
        .await?;
    let reshapes = begin.targets.iter().any(|target| target.reshaped);
    let setup = Setup {
        memory: Memory::new(tools.job.memory_budget, reshapes),
        filtered: Arc::new(AtomicU64::new(0)),
        dead_lettered: Arc::new(AtomicU64::new(0)),
        stopped: Arc::default(),
        tools,
        plan,
        targets,
        begin,
        report: Arc::new(Mutex::new(report)),
        observer,
        troubles,
        stop,
        started,
    };
    Ok(Begun::Setup(Box::new(setup)))
}

/// Creates what is missing, and enters the restore in its report.
async fn start(
    tools: &Tools,
    plan: &Plan,
    mut new: NewRestore,
) -> Result<(Begin, Vec<TargetTopic>, Report), EngineError> {
    let found: Option<Vec<TargetTopic>> = new.found.iter().cloned().collect();
    let (metadata, targets, ends) = match found {
        Some(targets) => (new.metadata, targets, new.ends),
        None => {
            let (metadata, targets) =
                preflight::create(&tools.client, &tools.job, plan, &new).await?;
            // Those that were there are as they were found.
            let created = targets.iter().zip(&new.found);
            let created: Vec<TargetTopic> = created
                .filter(|(_, found)| found.is_none())
                .map(|(target, _)| target.clone())
                .collect();
            let mut ends = std::mem::take(&mut new.ends);
            ends.extend(preflight::ends_of_created(&tools.client, &created).await?);
            (metadata, targets, ends)
        }
    };
    reach(Point::TargetsReady);
    let (id, mut report) = match new.report {
        Some(opened) => opened,
        None => {
            let id = tools.id(plan, &metadata, &targets);
            let report = Report::open(&tools.reports, &id).await?;
            (id, report)
        }
    };
    let beginning = Beginning {
        id,
        target_cluster: metadata.cluster_id,
        targets: &targets,
        ends: &ends,
        oldest: &new.oldest,
        expires_before: &new.expires_before,
    };
    let begin = make_begin(tools, plan, beginning).await?;
    reach(Point::ProducersGranted);
    report.append(Entry::Begin(begin.clone())).await?;
    reach(Point::RestoreBegun);
    Ok((begin, targets, report))
}

impl Setup {
    async fn restore(mut self) -> Result<RestoreSummary, EngineError> {
        let stop = self.stop.clone();
        let Some(pinned) = stop.run_until_cancelled(self.pin_ends()).await else {
            return Err(EngineError::StoppedEarly);
        };
        pinned?;
        let mut writing = Writing::new(&self);
        let ended = writing.run().await;
        let Writing {
            done,
            mut failed,
            mut outlook,
            unfinished,
            already,
            records,
            bytes,
            ..
        } = writing;
        ended?;
        let targets = done + failed.len() + unfinished;
        for stopped in self.stopped.so_far() {
            failed.push(stopped.text);
            outlook = outlook.max(stopped.outlook);
        }
        let total = targets.max(failed.len());
        if !failed.is_empty() {
            failed.sort();
            return Err(EngineError::Partitions {
                failed,
                outlook,
                total,
            });
        }
        let mut summary = RestoreSummary {
            id: self.begin.id.clone(),
            topics: restored_topics(&self.plan, Some(&self.begin)),
            records: already + records,
            records_this_run: records,
            bytes_this_run: bytes,
            filtered: self.filtered.load(Ordering::Relaxed),
            dead_lettered: self.dead_lettered.load(Ordering::Relaxed),
            plugins: self.tools.plugins.progress().entries,
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
        alive(&self.observer, self.complete(summary.records)).await?;
        reach(Point::DoneEntered);
        summary.elapsed = self.started.elapsed();
        Ok(summary)
    }

    /// What is left to do when everything has landed.
    async fn complete(&self, records: u64) -> Result<(), EngineError> {
        self.give_configs().await?;
        reach(Point::DoneDue);
        let at = now_ms();
        let done = Entry::Done { at, records };
        self.report.lock().await.append(done).await
    }

    /// A resumed restore reads what its first run would have read, whatever was archived since.
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
                partition.time = record.time;
                partition
                    .pin(
                        &self.tools.archive,
                        &topic.key,
                        source.lineage,
                        source.next,
                        &source.left_out,
                        self.begin.dead_letters,
                    )
                    .await?;
            }
        }
        for (index, record) in self.begin.targets.iter().enumerate() {
            if let Some(oldest) = record.oldest {
                self.plan.leave_out_before(index, oldest);
            }
        }
        Ok(())
    }

    /// Reads what has landed of every partition of a target, and starts their feeds. Those that get nothing are left out.
    async fn open_target(&self, index: usize) -> Result<Vec<Target>, EngineError> {
        let (plan, topic) = (&self.plan.targets[index], &self.targets[index]);
        let record = &self.begin.targets[index];
        let ids = self.target_ids(topic, record)?;
        let landed = self.landed(&ids).await?;
        reach(Point::LogsRead);
        let slots = ids.into_iter().zip(landed);
        if record.reshaped {
            return self.open_reshaped(index, slots.collect()).await;
        }
        let mut open = Vec::new();
        for (id, landed) in slots {
            let sources: Vec<Source> = self
                .plan
                .members(plan)
                .flat_map(|topic| self.sources(topic))
                .filter(|source| source.key.partition == id.partition)
                .filter(|source| source.plan.records() > 0)
                .collect();
            if sources.is_empty() {
                continue;
            }
            let making = Making {
                producer: id.producer,
                from: landed,
                max_batch_bytes: topic.max_message_bytes,
                offset_header: self.plan.variant.legacy_offset_header.clone(),
            };
            let feed = pass_through(sources, making);
            open.push(Target::new(id, index, landed, feed, &self.troubles));
        }
        Ok(open)
    }

    /// Starts the feeds of a target into which records go through plugins.
    async fn open_reshaped(
        &self,
        index: usize,
        slots: Vec<(TargetId, u64)>,
    ) -> Result<Vec<Target>, EngineError> {
        let (plan, target) = (&self.plan.targets[index], &self.targets[index]);
        let partitions = i32::try_from(slots.len()).unwrap_or(i32::MAX);
        let facts = TargetFacts {
            partitions: Some(partitions),
            expires_before: self.begin.targets[index].expires_before,
        };
        let mut sources = Vec::new();
        for member in &plan.members {
            let topic = &self.plan.topics[*member];
            let source = &topic.mapping.source;
            let chain = self.tools.plugins.restore_chain(source, &plan.name, facts);
            if let Some(chain) = &chain {
                chain.set_target_partitions(partitions);
            }
            let shape = Arc::new(Shape {
                chain,
                offset_header: self.plan.variant.legacy_offset_header.clone(),
                target_partitions: partitions,
                max_message_bytes: target.max_message_bytes,
                target_topic: plan.name.clone(),
            });
            sources.extend(self.sources(topic).map(|source| ShapedSource {
                topic: *member,
                source,
                shape: Arc::clone(&shape),
            }));
        }
        let reshape = Reshape {
            target: plan.name.clone(),
            sources,
            targets: slots
                .iter()
                .map(|(id, landed)| (id.producer, *landed))
                .collect(),
            max_batch_bytes: target.max_message_bytes,
            intents: self.report.lock().await.intents_of(&plan.members),
            report: Arc::clone(&self.report),
            restore_id: self.begin.id.clone(),
            filtered: Arc::clone(&self.filtered),
            stopped: Arc::clone(&self.stopped),
            dead_letters: self.tools.reports.dead_letters(),
            dead_lettered: Arc::clone(&self.dead_lettered),
        };
        let feeds = slots.into_iter().zip(reshape.start());
        Ok(feeds
            .map(|((id, landed), feed)| Target::new(id, index, landed, feed, &self.troubles))
            .collect())
    }

    fn sources<'a>(&'a self, topic: &'a TopicPlan) -> impl Iterator<Item = Source> + 'a {
        topic.partitions.iter().map(|partition| Source {
            archive: self.tools.archive.clone(),
            key: topic.key.partition(partition.index),
            plan: partition.clone(),
            memory: self.memory.of(partition),
        })
    }

    fn target_ids(
        &self,
        target: &TargetTopic,
        record: &TargetTopicRecord,
    ) -> Result<Vec<TargetId>, EngineError> {
        let name: Arc<str> = Arc::from(target.meta.name.as_str());
        let mut ids: Vec<TargetId> = record
            .partitions
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
                max_batch_bytes: target.max_message_bytes,
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
            match landed(&self.tools.client, id).await {
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
        for (index, record) in self.begin.targets.iter().enumerate() {
            let mut report = self.report.lock().await;
            let configured = report.entries().iter().any(
                |entry| matches!(entry, Entry::Configured { target } if *target == record.target),
            );
            if !record.created || configured {
                continue;
            }
            let (plan, target) = (&self.plan.targets[index], &self.targets[index]);
            let (mut set, delete) = preflight::archived_configs(&self.plan, plan, &target.own);
            self.leave_out_replicas(target, &mut set);
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

    /// A topic with fewer replicas than `min.insync.replicas` takes no acknowledged write any more.
    fn leave_out_replicas(&self, target: &TargetTopic, set: &mut BTreeMap<String, String>) {
        const NAME: &str = "min.insync.replicas";
        let needed = set.get(NAME).and_then(|value| value.parse::<usize>().ok());
        let Some(replicas) = target.fewest_replicas() else {
            return;
        };
        if let Some(needed) = needed
            && needed > replicas
        {
            set.remove(NAME);
            self.observer.remark(&Remark {
                level: Level::Warning,
                text: format!(
                    "topic {} has {replicas} replicas, and does not get {NAME}={needed} that its source had: nobody could write to it",
                    target.meta.name
                ),
            });
        }
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
        match self
            .tools
            .client
            .alter_topic_configs(topic, set, delete)
            .await
        {
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
                .tools
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
