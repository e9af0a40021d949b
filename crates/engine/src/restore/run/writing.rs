//! The part of a restore in which records are on their way: partitions on lanes, and what the lanes tell.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use armory_kafka::TopicFilter;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::super::lane::{Lane, Outcome, Queue};
use super::super::plan;
use super::super::preflight::now_ms;
use super::super::report::Entry;
use super::super::target::Target;
use super::Setup;
use crate::error::sentence;
use crate::{EngineError, Level, Remark, RestoreProgress};

/// Connections to each broker. One connection's requests are handled one after the other, so two keep a broker busier.
const LANES: usize = 2;
/// How often a running restore signs its report.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(250);

/// The part of a restore in which records are on their way.
pub(super) struct Writing<'a> {
    setup: &'a Setup,
    /// The queues of each broker's lanes; the first is the next one's turn.
    queues: HashMap<i32, VecDeque<Arc<Queue>>>,
    pub(super) lanes: Vec<JoinHandle<()>>,
    sender: mpsc::UnboundedSender<Outcome>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    pub(super) done: usize,
    pub(super) failed: Vec<String>,
    pub(super) unfinished: usize,
    total: usize,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl<'a> Writing<'a> {
    pub(super) fn new(setup: &'a Setup, total: usize) -> Writing<'a> {
        let (sender, outcomes) = mpsc::unbounded_channel();
        Writing {
            setup,
            queues: HashMap::new(),
            lanes: Vec::new(),
            sender,
            outcomes,
            done: 0,
            failed: Vec::new(),
            unfinished: 0,
            total,
            records: 0,
            bytes: 0,
        }
    }

    /// Gives a partition to one of its leader's lanes, in turn; they are started when the first one comes.
    pub(super) async fn place(&mut self, target: Target) {
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
                let queue = Arc::new(Queue::new());
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
        if queues[0].push(target).is_err() {
            // Lanes close only when the run is stopped.
            self.unfinished += 1;
        }
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

    pub(super) async fn run(
        &mut self,
        filtered: &AtomicU64,
        already: u64,
    ) -> Result<(), EngineError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut signed = Instant::now();
        while self.done + self.failed.len() + self.unfinished < self.total {
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
            Outcome::Done => self.done += 1,
            Outcome::Remark(text) => self.remark(text),
            Outcome::Moved(target, _) if self.setup.stop.is_cancelled() => {
                drop(target);
                self.unfinished += 1;
            }
            Outcome::Moved(mut target, why) => {
                if let Some(text) = target.overdue_remark() {
                    self.remark(text);
                }
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
                self.remark(text.clone());
                self.failed.push(text);
            }
            Outcome::Stopped => self.unfinished += 1,
        }
    }

    fn remark(&self, text: String) {
        let level = Level::Warning;
        self.setup.observer.remark(&Remark { level, text });
    }

    fn progress(&self, filtered: &AtomicU64, already: u64) -> RestoreProgress {
        let plan = &self.setup.plan;
        let partitions = plan.topics.iter().flat_map(|topic| &topic.partitions);
        RestoreProgress {
            elapsed: self.setup.started.elapsed(),
            topics: plan.topics.len(),
            partitions: self.total,
            partitions_done: self.done,
            records: already + self.records,
            records_total: plan.topics.iter().map(plan::TopicPlan::records).sum(),
            bytes: self.bytes,
            bytes_total: partitions.map(plan::PartitionPlan::stored_bytes).sum(),
            filtered: filtered.load(Ordering::Relaxed),
        }
    }
}
