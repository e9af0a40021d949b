//! A lane: one connection to one broker, over which several target partitions are written.
//!
//! A request carries at most one batch of each partition, and up to five requests are under way. A partition stays on its lane until it
//! is done or its leader moves. After any lost or doubtful answer nothing more is sent to the partition until its log has been read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use armory_failpoints::{Point, reach};
use armory_kafka::{
    Backoff, Client, ErrorCode, PendingProduce, ProduceAck, ProduceBatch, ProduceConnection,
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::target::{ResolveError, Target};
use crate::EngineError;
use crate::error::sentence;

/// Requests under way: what an idempotent producer may have (`max.in.flight.requests.per.connection` ≤ 5).
const IN_FLIGHT: usize = 5;
/// Bytes of batches in one request, unless a single batch is larger.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// How long a run that is stopped waits for answers: a broker that is silent must not cost the time that is left to end in good order.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What a lane tells the run.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Records landed.
    Progress {
        records: u64,
        bytes: u64,
    },
    /// A partition of this target has everything.
    Done(usize),
    /// It has to be given to another broker, or to the same again once it is back.
    Moved(Box<Target>, String),
    Failed(Box<Target>, EngineError),
    /// Something of a partition takes long.
    Remark(String),
    /// The run was stopped before everything landed in a partition of this target.
    Stopped(usize),
}

/// The partitions that wait for their lane.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Nothing once the lane is closed.
    waiting: Mutex<Option<VecDeque<Target>>>,
    added: Notify,
}

impl Queue {
    pub(crate) fn new() -> Queue {
        Queue {
            waiting: Mutex::new(Some(VecDeque::new())),
            added: Notify::new(),
        }
    }

    /// Adds a partition; gives it back if the lane is closed.
    pub(crate) fn push(&self, target: Target) -> Result<(), Target> {
        match &mut *self.waiting() {
            Some(waiting) => waiting.push_back(target),
            None => return Err(target),
        }
        // Kept for the lane if it does not wait just now.
        self.added.notify_one();
        Ok(())
    }

    fn pop(&self) -> Option<Target> {
        self.waiting().as_mut()?.pop_front()
    }

    /// From now on nothing is added. The partitions that waited.
    fn close(&self) -> VecDeque<Target> {
        self.waiting().take().unwrap_or_default()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<VecDeque<Target>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) client: Client,
    pub(crate) broker: i32,
    pub(crate) queue: Arc<Queue>,
    pub(crate) outcomes: mpsc::UnboundedSender<Outcome>,
    pub(crate) stop: CancellationToken,
}

/// A request under way, with the partitions it holds a batch of.
struct Flight {
    pending: PendingProduce,
    partitions: Vec<(Arc<str>, i32)>,
}

impl Lane {
    /// Writes until the run is over; what waits then is told as stopped.
    pub(crate) async fn run(self) {
        self.write().await;
        for target in self.queue.close() {
            self.tell(Outcome::Stopped(target.group));
        }
    }

    async fn write(&self) {
        let mut active: Vec<Target> = Vec::new();
        let mut backoff = Backoff::default();
        loop {
            if !self.admit(&mut active).await {
                return;
            }
            let connected = self.stop.run_until_cancelled(self.connect()).await;
            let result = match connected {
                Some(Ok(mut connection)) => {
                    self.produce(&mut connection, &mut active, &mut backoff)
                        .await
                }
                Some(Err(error)) => Err(error),
                None => Ok(()),
            };
            let why = match result {
                Ok(()) => {
                    for target in active.drain(..) {
                        self.tell(Outcome::Stopped(target.group));
                    }
                    return;
                }
                Err(error) => sentence(&error),
            };
            for mut target in active.drain(..) {
                target.flying = 0;
                self.tell(match target.on_doubt(why.clone()) {
                    Ok(()) => Outcome::Moved(Box::new(target), why.clone()),
                    Err(error) => Outcome::Failed(Box::new(target), error),
                });
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    async fn connect(&self) -> Result<ProduceConnection, armory_kafka::Error> {
        ProduceConnection::connect(&self.client, self.broker, self.client.config().produce).await
    }

    /// Fills the lane from the queue, and waits while there is nothing. False: the run is over.
    async fn admit(&self, active: &mut Vec<Target>) -> bool {
        loop {
            let added = self.queue.added.notified();
            tokio::pin!(added);
            added.as_mut().enable();
            self.fill(active);
            if !active.is_empty() {
                return true;
            }
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = added => {}
            }
        }
    }

    fn fill(&self, active: &mut Vec<Target>) {
        while let Some(target) = self.queue.pop() {
            active.push(target);
        }
    }

    fn tell(&self, outcome: Outcome) {
        // Nobody listens once the run is over.
        let _ = self.outcomes.send(outcome);
    }

    /// Writes until the connection breaks (an error) or the run is over. Answers under way are awaited before it returns well.
    async fn produce(
        &self,
        connection: &mut ProduceConnection,
        active: &mut Vec<Target>,
        backoff: &mut Backoff,
    ) -> Result<(), armory_kafka::Error> {
        let mut flights: VecDeque<Flight> = VecDeque::new();
        let mut turn = 0_usize;
        let mut stopped_at = None;
        loop {
            let stopping = self.stop.is_cancelled();
            let last_answer = stopping
                .then(|| *stopped_at.get_or_insert_with(tokio::time::Instant::now) + LAST_ANSWERS);
            if !stopping {
                self.resolve_doubts(active, backoff).await;
            }
            self.retire(active);
            if stopping && flights.is_empty() {
                return Ok(());
            }
            if active.is_empty() && flights.is_empty() {
                if !self.admit(active).await {
                    return Ok(());
                }
                continue;
            }
            self.fill(active);
            turn = turn.wrapping_add(1);
            if !stopping && flights.len() < IN_FLIGHT {
                let batches = collect(active, turn);
                if !batches.is_empty() {
                    let partitions = batches
                        .iter()
                        .map(|batch| (Arc::clone(&batch.topic), batch.partition))
                        .collect();
                    let pending = connection.send(batches).await?;
                    reach(Point::BatchesSent);
                    flights.push_back(Flight {
                        pending,
                        partitions,
                    });
                    continue;
                }
            }
            let may_send = !stopping && flights.len() < IN_FLIGHT;
            match flights.front_mut() {
                Some(flight) => tokio::select! {
                    acks = &mut flight.pending => {
                        let flight = flights.pop_front().expect("it was awaited");
                        self.on_answer(active, &flight, acks?);
                        backoff.reset();
                    }
                    () = fed(active), if may_send => {}
                    () = self.stop.cancelled(), if !stopping => {}
                    // What it would have said is in the log, which the next run reads.
                    () = until(last_answer), if stopping => return Ok(()),
                },
                None => tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = self.queue.added.notified() => {}
                    () = fed(active) => {}
                },
            }
        }
    }

    fn on_answer(&self, active: &mut [Target], flight: &Flight, acks: Vec<ProduceAck>) {
        reach(Point::BatchesAcknowledged);
        let slots: HashMap<(&str, i32), usize> = active
            .iter()
            .enumerate()
            .map(|(slot, target)| ((&*target.topic, target.partition), slot))
            .collect();
        let mut answered: Vec<(usize, Option<ProduceAck>)> =
            Vec::with_capacity(flight.partitions.len());
        let mut acks: HashMap<(String, i32), ProduceAck> = acks
            .into_iter()
            .map(|ack| ((ack.topic.clone(), ack.partition), ack))
            .collect();
        for (topic, partition) in &flight.partitions {
            if let Some(slot) = slots.get(&(&**topic, *partition)) {
                answered.push((*slot, acks.remove(&(topic.to_string(), *partition))));
            }
        }
        drop(slots);
        for (slot, ack) in answered {
            let target = &mut active[slot];
            target.flying -= 1;
            // Once in doubt, the log tells what landed; answers that still come in only tell that nothing flies any more.
            if target.doubt.is_some() || target.failure.is_some() {
                continue;
            }
            let bytes = target
                .sent
                .front()
                .map_or(0, |batch| batch.records.len() as u64);
            let result = match ack {
                None => target
                    .on_doubt("the broker left the partition out of its answer".to_owned())
                    .map(|()| 0),
                Some(ProduceAck {
                    error: None,
                    base_offset,
                    ..
                }) => target.on_acknowledged(base_offset),
                Some(ack) => self.on_refusal(target, &ack).map(|()| 0),
            };
            match result {
                Ok(0) => {}
                Ok(records) => self.tell(Outcome::Progress { records, bytes }),
                Err(error) => target.failure = Some(error),
            }
        }
    }

    fn on_refusal(&self, target: &mut Target, ack: &ProduceAck) -> Result<(), EngineError> {
        let code = ack.error.unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
        let doubtful = code.is_retriable()
            || matches!(
                code,
                ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
                    | ErrorCode::DUPLICATE_SEQUENCE_NUMBER
                    | ErrorCode::UNKNOWN_PRODUCER_ID
            );
        if doubtful {
            return target.on_doubt(code.to_string());
        }
        let error = self.client.refusal(
            self.broker,
            "Produce",
            &target.topic,
            target.partition,
            code,
        );
        Err(EngineError::Refused {
            topic: target.topic.to_string(),
            partition: target.partition,
            landed: target.landed,
            offset: target.sent.front().map_or(-1, |batch| batch.source),
            message: ack
                .error_message
                .clone()
                .map(|message| format!(" ({message})"))
                .unwrap_or_default(),
            source: error,
        })
    }

    /// Reads the logs of partitions in doubt that have nothing under way.
    async fn resolve_doubts(&self, active: &mut Vec<Target>, backoff: &mut Backoff) {
        let mut slot = 0;
        while slot < active.len() {
            let target = &mut active[slot];
            if target.doubt.is_none() || target.flying > 0 {
                slot += 1;
                continue;
            }
            if let Some(text) = target.overdue_remark() {
                self.tell(Outcome::Remark(text));
            }
            let outcome = match target.resolve(&self.client).await {
                Ok(()) => {
                    // Its leader may have moved: the metadata is asked before it is written to again.
                    match self.client.leader(&target.topic, target.partition).await {
                        Ok(Some(leader)) if leader == self.broker => {
                            // What was refused is not to be sent again at once, over and over.
                            tokio::time::sleep(backoff.next_delay()).await;
                            slot += 1;
                            continue;
                        }
                        _ => Outcome::Moved(
                            Box::new(active.swap_remove(slot)),
                            "its leader moved".to_owned(),
                        ),
                    }
                }
                Err(ResolveError::Again(why)) => {
                    let mut target = active.swap_remove(slot);
                    match target.on_doubt(why.clone()) {
                        Ok(()) => Outcome::Moved(Box::new(target), why),
                        Err(error) => Outcome::Failed(Box::new(target), error),
                    }
                }
                Err(ResolveError::Final(error)) => {
                    Outcome::Failed(Box::new(active.swap_remove(slot)), error)
                }
            };
            self.tell(outcome);
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Takes the partitions off the lane that are done or cannot go on.
    fn retire(&self, active: &mut Vec<Target>) {
        let mut slot = 0;
        while slot < active.len() {
            let target = &mut active[slot];
            target.take_in();
            let found = std::mem::take(&mut target.found);
            if found > 0 {
                self.tell(Outcome::Progress {
                    records: found,
                    bytes: 0,
                });
            }
            if !target.can_leave() {
                slot += 1;
                continue;
            }
            let mut target = active.swap_remove(slot);
            self.tell(match target.failure.take() {
                Some(error) => Outcome::Failed(Box::new(target), error),
                None => Outcome::Done(target.group),
            });
        }
    }
}

/// Waits until a partition that has nothing to send is fed, or one can leave the lane.
async fn fed(active: &mut [Target]) {
    std::future::poll_fn(|context| {
        let mut ready = false;
        for target in &mut *active {
            ready |= target.poll_feed(context).is_ready() || target.can_leave();
        }
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// The next request: one batch of each partition that may send, another partition first each turn.
fn collect(active: &mut [Target], turn: usize) -> Vec<ProduceBatch> {
    let mut batches = Vec::new();
    let mut bytes = 0;
    let count = active.len();
    for step in 0..count {
        let target = &mut active[(turn + step) % count];
        target.take_in();
        if target.failure.is_some() || !target.may_send() {
            continue;
        }
        let size = target.staged.front().map_or(0, |batch| batch.records.len());
        if bytes > 0 && bytes + size > REQUEST_BYTES {
            break;
        }
        let batch = target
            .staged
            .pop_front()
            .expect("a partition that may send has a batch");
        bytes += size;
        batches.push(ProduceBatch {
            topic: Arc::clone(&target.topic),
            topic_id: target.topic_id,
            partition: target.partition,
            records: batch.records.clone(),
        });
        target.flying += 1;
        target.sent.push_back(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::super::feed::{Fed, Feed, Producer};
    use super::super::target::TargetId;
    use super::*;

    fn target(feed: Feed) -> Target {
        let id = TargetId {
            topic: Arc::from("orders"),
            topic_id: None,
            partition: 0,
            producer: Producer { id: 1, epoch: 0 },
            start: 0,
            max_batch_bytes: 1_000_000,
        };
        Target::new(id, 0, 0, feed, &armory_troubles::Troubles::default())
    }

    /// A feed that ended just when the next request was put together left its partition on the lane for ever.
    #[tokio::test(start_paused = true)]
    async fn a_partition_whose_end_was_noticed_in_passing_leaves_its_lane() {
        let (sender, feed) = mpsc::channel(1);
        let mut active = [target(feed)];
        sender.try_send(Ok(Fed::End(0))).expect("there is room");
        assert!(collect(&mut active, 0).is_empty());
        tokio::time::timeout(Duration::from_secs(1), fed(&mut active))
            .await
            .expect("it can leave");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_waits_for_a_feed_that_is_open() {
        let (_sender, feed) = mpsc::channel(1);
        let mut active = [target(feed)];
        let waited = tokio::time::timeout(Duration::from_secs(1), fed(&mut active)).await;
        assert!(waited.is_err());
    }
}
