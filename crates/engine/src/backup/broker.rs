//! One broker of a backup: a connection that fetches the partitions it leads, and hands what comes to their writers.
//!
//! The next request flies while the last answer is handled. An answer is handled on a blocking thread, because
//! it writes files and runs plugins; partitions with plugins are handled side by side.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use armory_failpoints::{Point, reach};
use armory_kafka::{
    Backoff, Client, ErrorCode, FetchAssignment, FetchOptions, FetchResponse, Fetcher,
    PartitionFetch,
};
use armory_troubles::{Cause, Troubles};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::partition::{Partition, Sealed, Workspace};
use crate::EngineError;
use crate::budget::Budget;

/// The first and the longest pause before a broker that does not let us in is tried again: some lock accounts that fail often.
const LOCKED_OUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What the brokers' tasks, and the commits, tell the control loop.
#[derive(Debug)]
pub(crate) enum Event {
    /// The partition has to be placed anew, and why: its leader moved, its broker is gone or does not have the offset.
    Unplaced(Arc<Partition>, String),
    /// The partition cannot go on.
    Failed(Arc<Partition>, EngineError),
    /// `--once` has all of this partition.
    ReachedEnd(Arc<Partition>),
    /// A broker does not let us in, and why; told once for each reason.
    LockedOut(i32, String),
    /// Offsets from the first (inclusive) to the second (exclusive) were removed at the source before they could be archived.
    Trimmed(Arc<Partition>, i64, i64),
    /// Holes that nobody explained: how many offsets.
    Holes(Arc<Partition>, u64),
    /// A segment to commit.
    Sealed(Arc<Partition>, Sealed),
}

/// What a broker's task is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Fetch this partition from this offset on.
    Assign {
        partition: Arc<Partition>,
        offset: i64,
        leader_epoch: i32,
    },
    /// Stop fetching it.
    Remove { topic: Arc<str>, partition: i32 },
}

/// What all brokers' tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) budget: Arc<Budget>,
    pub(crate) counters: Counters,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) stop: CancellationToken,
    pub(crate) troubles: Troubles,
}

impl Shared {
    pub(crate) fn tell(&self, event: Event) {
        // The control loop outlives its brokers; once it is gone nobody needs to know.
        let _ = self.events.send(event);
    }
}

/// The control loop's end of a broker's task.
#[derive(Debug)]
pub(crate) struct BrokerHandle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) task: JoinHandle<()>,
}

pub(crate) fn spawn(id: i32, brokers: usize, shared: Arc<Shared>) -> BrokerHandle {
    let (commands, inbox) = mpsc::unbounded_channel();
    let answer_bytes = shared.budget.answer_size(brokers);
    let broker = Broker {
        id,
        answer_bytes,
        shared,
        inbox,
        partitions: HashMap::new(),
    };
    BrokerHandle {
        commands,
        task: tokio::spawn(broker.run()),
    }
}

struct Broker {
    id: i32,
    answer_bytes: usize,
    shared: Arc<Shared>,
    inbox: mpsc::UnboundedReceiver<Command>,
    partitions: HashMap<(Arc<str>, i32), Arc<Partition>>,
}

impl Drop for Broker {
    /// A panic here must not pass for partitions that are followed and have nothing new.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut waiting = Vec::new();
        self.remember_what_waits(&mut waiting);
        for (_, partition) in self.partitions.drain() {
            partition.suspend();
            let id = self.id;
            let what = format!(
                "what fetches from broker {id} panicked; please report it with its message"
            );
            self.shared
                .tell(Event::Failed(partition, EngineError::Task(what)));
        }
    }
}

impl Broker {
    /// Connects, fetches until the connection breaks, gives the partitions back to the control loop, and begins again.
    async fn run(mut self) {
        let stop = self.shared.stop.clone();
        let mut backoff = Backoff::default();
        let mut locked_out = Backoff::new(LOCKED_OUT.0, LOCKED_OUT.1);
        let mut told = None;
        loop {
            let command = tokio::select! {
                () = stop.cancelled() => return,
                command = self.inbox.recv() => command,
            };
            let Some(command) = command else { return };
            let mut commands = vec![command];
            self.remember_what_waits(&mut commands);
            if self.partitions.is_empty() {
                continue;
            }
            let connected = tokio::select! {
                () = stop.cancelled() => return,
                connected = self.connect() => connected,
            };
            let ended = match connected {
                Ok(mut fetcher) => {
                    locked_out.reset();
                    told = None;
                    for command in &commands {
                        apply(&mut fetcher, command);
                    }
                    self.fetch(&mut fetcher, &mut backoff).await
                }
                Err(error) => {
                    // What came meanwhile would have to wait for a connection of its own to fail.
                    self.remember_what_waits(&mut commands);
                    Err(error)
                }
            };
            if ended.is_err() {
                self.shared.troubles.count(Cause::Kafka);
            }
            let pause = match ended {
                Ok(()) => return,
                Err(error) if error.is_about_access() => {
                    self.give_back(&error);
                    let why = crate::error::sentence(&error);
                    if told.as_ref() != Some(&why) {
                        self.shared.tell(Event::LockedOut(self.id, why.clone()));
                        told = Some(why);
                    }
                    locked_out.next_delay()
                }
                Err(error) => {
                    self.give_back(&error);
                    backoff.next_delay()
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn connect(&self) -> Result<Fetcher, armory_kafka::Error> {
        let options = FetchOptions {
            max_bytes: i32::try_from(self.answer_bytes).unwrap_or(i32::MAX),
            read_committed: true,
            ..FetchOptions::default()
        };
        Fetcher::connect(&self.shared.client, self.id, options).await
    }

    /// Takes what lies in the inbox behind `commands`, the first of which may not be remembered yet.
    fn remember_what_waits(&mut self, commands: &mut Vec<Command>) {
        commands.extend(std::iter::from_fn(|| self.inbox.try_recv().ok()));
        for command in commands.iter() {
            self.remember(command);
        }
    }

    fn remember(&mut self, command: &Command) {
        match command {
            Command::Assign { partition, .. } => {
                let key = (Arc::clone(&partition.topic.name), partition.index);
                self.partitions.insert(key, Arc::clone(partition));
            }
            Command::Remove { topic, partition } => {
                self.partitions.remove(&(Arc::clone(topic), *partition));
            }
        }
    }

    fn give_back(&mut self, error: &armory_kafka::Error) {
        let why = crate::error::sentence(error);
        for (_, partition) in std::mem::take(&mut self.partitions) {
            self.shared.tell(Event::Unplaced(partition, why.clone()));
        }
    }

    /// Fetches until the connection breaks, or the run stops. What has come is handled before it returns.
    async fn fetch(
        &mut self,
        fetcher: &mut Fetcher,
        backoff: &mut Backoff,
    ) -> Result<(), armory_kafka::Error> {
        let stop = self.shared.stop.clone();
        let mut flying: Option<OwnedSemaphorePermit> = None;
        loop {
            if !self.obey(fetcher, flying.is_some()).await {
                return Ok(());
            }
            let credit = match flying.take() {
                Some(credit) => credit,
                None => match self.send_next(fetcher).await? {
                    Some(credit) => credit,
                    None => return Ok(()),
                },
            };
            let response = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                response = fetcher.receive() => response?,
            };
            reach(Point::AnswerReceived);
            backoff.reset();
            let healthy = self.sort_out_errors(fetcher, response);
            let handled = self.handle(healthy);
            let settled = async {
                handled.await;
                drop(credit);
            };
            // Side by side: the next request may have to wait for the credit of the answer that is being handled.
            let (sent, ()) = tokio::join!(
                async {
                    if fetcher.is_empty() {
                        Ok(None)
                    } else {
                        self.send_next(fetcher).await
                    }
                },
                settled
            );
            flying = sent?;
        }
    }

    /// Takes in what the control loop says; waits for it while there is nothing to fetch. False: the run is over.
    async fn obey(&mut self, fetcher: &mut Fetcher, in_flight: bool) -> bool {
        let stop = self.shared.stop.clone();
        loop {
            let command = if fetcher.is_empty() && !in_flight {
                tokio::select! {
                    () = stop.cancelled() => None,
                    command = self.inbox.recv() => command,
                }
            } else {
                match self.inbox.try_recv() {
                    Ok(command) => Some(command),
                    Err(mpsc::error::TryRecvError::Empty) => return !stop.is_cancelled(),
                    Err(mpsc::error::TryRecvError::Disconnected) => None,
                }
            };
            let Some(command) = command else { return false };
            self.remember(&command);
            apply(fetcher, &command);
        }
    }

    /// Sends the next request once there is credit for its answer. `None`: the run is over.
    async fn send_next(
        &self,
        fetcher: &mut Fetcher,
    ) -> Result<Option<OwnedSemaphorePermit>, armory_kafka::Error> {
        let budget = &self.shared.budget;
        let credit = tokio::select! {
            () = self.shared.stop.cancelled() => return Ok(None),
            credit = async {
                budget.wait_for_room().await;
                budget.fetch_credit(self.answer_bytes).await
            } => credit,
        };
        fetcher.send().await?;
        Ok(Some(credit))
    }

    /// Takes the partitions in error out of the answer and out of the fetcher.
    fn sort_out_errors(
        &mut self,
        fetcher: &mut Fetcher,
        response: FetchResponse,
    ) -> Vec<(Arc<Partition>, PartitionFetch)> {
        let mut healthy = Vec::with_capacity(response.partitions.len());
        for fetch in response.partitions {
            let key = (Arc::from(fetch.topic.as_str()), fetch.partition);
            let Some(partition) = self.partitions.get(&key).cloned() else {
                continue;
            };
            let Some(code) = fetch.error else {
                healthy.push((partition, fetch));
                continue;
            };
            fetcher.remove(&fetch.topic, fetch.partition);
            self.partitions.remove(&key);
            self.shared.tell(match code {
                ErrorCode::OFFSET_OUT_OF_RANGE => {
                    Event::Unplaced(partition, "its offset is out of range".to_owned())
                }
                // A broker's own trouble, which says nothing about the partition.
                code if code.is_retriable() || code == ErrorCode::UNKNOWN_SERVER_ERROR => {
                    Event::Unplaced(partition, code.to_string())
                }
                code => {
                    let (topic, index) = (&fetch.topic, fetch.partition);
                    let client = &self.shared.client;
                    let error = client.refusal(self.id, "Fetch", topic, index, code);
                    Event::Failed(partition, error.into())
                }
            });
        }
        healthy
    }

    /// Hands an answer to the writers, on blocking threads. Starts at once; the future waits for the end.
    fn handle(
        &self,
        fetches: Vec<(Arc<Partition>, PartitionFetch)>,
    ) -> impl Future<Output = ()> + use<> {
        let (with_plugins, plain): (Vec<_>, Vec<_>) = fetches
            .into_iter()
            .partition(|(partition, fetch)| partition.chain.is_some() && !fetch.records.is_empty());
        let mut tasks = Vec::new();
        let groups = with_plugins
            .into_iter()
            .map(|one| vec![one])
            .chain((!plain.is_empty()).then_some(plain));
        for group in groups {
            let shared = Arc::clone(&self.shared);
            tasks.push(tokio::task::spawn_blocking(move || {
                take_all(&shared, group)
            }));
        }
        async move {
            for task in tasks {
                // It does not panic, and is not cancelled.
                let _ = task.await;
            }
        }
    }
}

fn apply(fetcher: &mut Fetcher, command: &Command) {
    match command {
        Command::Assign {
            partition,
            offset,
            leader_epoch,
        } => fetcher.assign(FetchAssignment {
            topic: partition.topic.name.to_string(),
            topic_id: partition.topic.id,
            partition: partition.index,
            offset: *offset,
            leader_epoch: *leader_epoch,
        }),
        Command::Remove { topic, partition } => fetcher.remove(topic, *partition),
    }
}

fn take_all(shared: &Shared, fetches: Vec<(Arc<Partition>, PartitionFetch)>) {
    let mut workspace = Workspace::default();
    for (partition, fetch) in fetches {
        let offset = fetch.fetch_offset;
        let taken = catch_unwind(AssertUnwindSafe(|| {
            partition.take(&fetch, &mut workspace, shared);
        }));
        if taken.is_err() {
            // How far the writer came nobody knows. The others of the answer are as they were.
            partition.suspend();
            workspace = Workspace::default();
            let what = format!("a panic at offset {offset}; please report it with its message");
            shared.tell(Event::Failed(partition, EngineError::Task(what)));
        }
    }
}

#[cfg(test)]
#[path = "broker_tests.rs"]
mod tests;
