//! The part of a restore in which records are on their way: partitions on lanes, and what the lanes tell.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use armory_kafka::TopicFilter;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::super::lane::{Lane, Outcome, Queue};
use super::super::plan;
use super::super::preflight::now_ms;
use super::super::report::Entry;
use super::super::target::Target;
use super::Setup;
use crate::error::sentence;
use crate::observer::alive;
use crate::{EngineError, Level, Outlook, Remark, RestoreProgress};

/// Connections to each broker. One connection's requests are handled one after the other, so two keep a broker busier.
const LANES: usize = 2;
/// Connections to each broker where their number is left to the partitions under way.
const MANY_LANES: usize = 64;
/// How often a running restore signs its report.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(250);
/// Ticks between two looks at the plugins, for an observer that wants them.
const TICKS_PER_DETAILS: u32 = 8;

/// The part of a restore in which records are on their way.
pub(super) struct Writing<'a> {
    setup: &'a Setup,
    /// Targets that nothing was written to yet, by this run.
    waiting: VecDeque<usize>,
    /// How many partitions of each target are under way.
    under_way: HashMap<usize, usize>,
    lanes_a_broker: usize,
    /// The queues of each broker's lanes; the first is the next one's turn.
    queues: HashMap<i32, VecDeque<Arc<Queue>>>,
    /// They end when this is dropped.
    lanes: JoinSet<()>,
    sender: mpsc::UnboundedSender<Outcome>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    pub(super) done: usize,
    pub(super) failed: Vec<String>,
    /// What can be done about the worst of those that failed.
    pub(super) outlook: Outlook,
    pub(super) unfinished: usize,
    /// Records that earlier runs had written.
    pub(super) already: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// How many of the sources that stopped were told of.
    told_stopped: usize,
}

impl<'a> Writing<'a> {
    pub(super) fn new(setup: &'a Setup) -> Writing<'a> {
        let (sender, outcomes) = mpsc::unbounded_channel();
        let lanes = setup.tools.job.max_producers;
        Writing {
            setup,
            waiting: (0..setup.plan.targets.len()).collect(),
            under_way: HashMap::new(),
            lanes_a_broker: match lanes {
                None => LANES,
                Some(0) => MANY_LANES,
                Some(lanes) => usize::try_from(lanes).unwrap_or(usize::MAX),
            },
            queues: HashMap::new(),
            lanes: JoinSet::new(),
            sender,
            outcomes,
            done: 0,
            failed: Vec::new(),
            outlook: Outlook::default(),
            unfinished: 0,
            already: 0,
            records: 0,
            bytes: 0,
            told_stopped: 0,
        }
    }

    /// Begins with as many targets as may be written at a time.
    async fn begin_targets(&mut self) -> Result<(), EngineError> {
        let at_a_time = self.setup.tools.job.parallelism.unwrap_or(u32::MAX);
        let at_a_time = usize::try_from(at_a_time).unwrap_or(usize::MAX);
        while self.under_way.len() < at_a_time
            && let Some(index) = self.waiting.pop_front()
        {
            if self.setup.stop.is_cancelled() {
                self.unfinished += 1;
                continue;
            }
            let opened = self.setup.open_target(index);
            let Some(targets) = self.setup.stop.run_until_cancelled(opened).await else {
                self.unfinished += 1;
                continue;
            };
            let targets = targets?;
            if !targets.is_empty() {
                self.under_way.insert(index, targets.len());
            }
            for target in targets {
                self.already += target.landed;
                self.place(target).await;
            }
        }
        Ok(())
    }

    /// A partition of a target has come to its end, well or not.
    fn leave(&mut self, group: usize) {
        if let Some(partitions) = self.under_way.get_mut(&group) {
            *partitions -= 1;
            if *partitions == 0 {
                self.under_way.remove(&group);
            }
        }
    }

    /// Gives a partition to one of its leader's lanes, in turn; another one is started while there may be more.
    async fn place(&mut self, target: Target) {
        let client = &self.setup.tools.client;
        let asked = client.leader(&target.topic, target.partition);
        let leader = match self.setup.stop.run_until_cancelled(asked).await {
            Some(Ok(Some(leader))) => leader,
            Some(Ok(None)) => return self.wait_for_leader(target, "it has no leader".to_owned()),
            Some(Err(error)) => return self.wait_for_leader(target, sentence(&error)),
            None => {
                self.unfinished += 1;
                return self.leave(target.group);
            }
        };
        let queues = self.queues.entry(leader).or_default();
        if queues.len() < self.lanes_a_broker {
            let queue = Arc::new(Queue::new());
            let lane = Lane {
                client: client.clone(),
                broker: leader,
                queue: Arc::clone(&queue),
                outcomes: self.sender.clone(),
                stop: self.setup.stop.clone(),
            };
            self.lanes.spawn(lane.run());
            queues.push_front(queue);
        }
        let group = target.group;
        let placed = queues[0].push(target).is_ok();
        queues.rotate_left(1);
        if !placed {
            // Lanes close only when the run is stopped.
            self.unfinished += 1;
            self.leave(group);
        }
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

    pub(super) async fn run(&mut self) -> Result<(), EngineError> {
        let observer = Arc::clone(&self.setup.observer);
        alive(&observer, self.begin_targets()).await?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut signed = Instant::now();
        let mut ticks = 0_u32;
        while !self.under_way.is_empty() {
            tokio::select! {
                outcome = self.outcomes.recv() => {
                    let outcome = outcome.expect("the sender lives in this struct");
                    alive(&observer, self.on_outcome(outcome)).await;
                    alive(&observer, self.begin_targets()).await?;
                }
                // One that panicked took its partitions along: waiting for them would have no end.
                Some(ended) = self.lanes.join_next() => ended?,
                _ = tick.tick() => {
                    self.tell_stopped();
                    observer.turned();
                    self.setup.observer.restore_progress(&self.progress());
                    if ticks.is_multiple_of(TICKS_PER_DETAILS) {
                        self.tell_plugins();
                    }
                    ticks = ticks.wrapping_add(1);
                    if signed.elapsed() >= SIGN_OF_LIFE {
                        signed = Instant::now();
                        // Fails when another process went on with this restore.
                        let entry = Entry::Progress { at: now_ms(), records: self.already + self.records };
                        let signing = async { self.setup.report.lock().await.append(entry).await };
                        alive(&observer, signing).await?;
                    }
                }
            }
        }
        self.tell_stopped();
        self.setup.observer.restore_progress(&self.progress());
        self.tell_plugins();
        Ok(())
    }

    fn tell_stopped(&mut self) {
        let stopped = self.setup.stopped.so_far();
        for source in &stopped[self.told_stopped..] {
            self.remark(source.text.clone());
        }
        self.told_stopped = stopped.len();
    }

    fn tell_plugins(&self) {
        let observer = &self.setup.observer;
        if observer.wants_details() {
            observer.plugin_progress(&self.setup.tools.plugins.progress());
        }
    }

    async fn on_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Progress { records, bytes } => {
                self.records += records;
                self.bytes += bytes;
            }
            Outcome::Done(group) => {
                self.done += 1;
                self.leave(group);
            }
            Outcome::Remark(text) => self.remark(text),
            Outcome::Moved(target, _) if self.setup.stop.is_cancelled() => {
                self.unfinished += 1;
                self.leave(target.group);
            }
            Outcome::Moved(mut target, why) => {
                if let Some(text) = target.overdue_remark() {
                    self.remark(text);
                }
                tracing::debug!(partition = target.name(), why, "placing it anew");
                let names = [target.topic.to_string()];
                let client = &self.setup.tools.client;
                let refreshing = client.metadata(TopicFilter::Names(&names));
                match self.setup.stop.run_until_cancelled(refreshing).await {
                    Some(Err(error)) => self.wait_for_leader(*target, sentence(&error)),
                    // Where it is stopped, it is not placed any more either.
                    _ => self.place(*target).await,
                }
            }
            Outcome::Failed(target, error) => {
                let text = format!("{}: {}", target.name(), sentence(&error));
                self.remark(text.clone());
                self.failed.push(text);
                self.outlook = self.outlook.max(error.outlook());
                self.leave(target.group);
            }
            Outcome::Stopped(group) => {
                self.unfinished += 1;
                self.leave(group);
            }
        }
    }

    fn remark(&self, text: String) {
        let level = Level::Warning;
        self.setup.observer.remark(&Remark { level, text });
    }

    /// What stopped; the others go on.
    fn problems(&self) -> Vec<String> {
        let sources = self.setup.stopped.so_far().into_iter();
        let stopped = self.failed.iter().cloned();
        let stopped: Vec<String> = stopped.chain(sources.map(|source| source.text)).collect();
        let told = stopped.first().map(|first| match stopped.len() {
            1 => format!("{first}; the other partitions go on"),
            several => format!("{first}; so did {} more, the others go on", several - 1),
        });
        told.into_iter().collect()
    }

    fn progress(&self) -> RestoreProgress {
        let plan = &self.setup.plan;
        let partitions = || plan.topics.iter().flat_map(|topic| &topic.partitions);
        RestoreProgress {
            elapsed: self.setup.started.elapsed(),
            topics: plan.topics.len(),
            partitions: partitions().filter(|plan| plan.records() > 0).count(),
            partitions_done: self.done,
            partitions_failed: self.failed.len(),
            records: self.already + self.records,
            records_total: plan.topics.iter().map(plan::TopicPlan::records).sum(),
            bytes: self.bytes,
            bytes_total: partitions().map(plan::PartitionPlan::stored_bytes).sum(),
            filtered: self.setup.filtered.load(Ordering::Relaxed),
            dead_lettered: self.setup.dead_lettered.load(Ordering::Relaxed),
            problems: self.problems(),
        }
    }
}
