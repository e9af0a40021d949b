//! Fetching records as the batches that brokers keep.
//!
//! A [`Fetcher`] fetches many partitions of one broker with one request at a time, and keeps a fetch session there
//! (KIP-227), so that a request only names the partitions that moved on since the last one. The batches of an answer
//! stay in the memory that it was read into.

mod memory;
mod once;
mod session;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_response::PartitionData;
use tracing::debug;
use uuid::Uuid;

use crate::api::FETCH_BY_TOPIC_ID;
use crate::channel::PendingAnswer;
use crate::connection::{Connection, Extras};
use crate::{Client, Error, ErrorCode};
use memory::AnswerMemory;
use session::{Session, Verdict};

/// How much is fetched at once, and what of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchOptions {
    /// Largest answer, in bytes. A broker never cuts its first batch, and has a limit of its own of 55 MiB.
    pub max_bytes: i32,
    /// Largest part of one partition in an answer, in bytes. Where it is as large as `max_bytes`, the first partition
    /// takes all of the answer.
    pub partition_max_bytes: i32,
    /// The broker waits until there are as many bytes, or `max_wait` is over.
    pub min_bytes: i32,
    /// How long the broker waits for `min_bytes`.
    pub max_wait: Duration,
    /// Whether to read only up to the last stable offset, and to be told which transactions were aborted.
    pub read_committed: bool,
}

impl Default for FetchOptions {
    /// 16 MiB an answer and 4 MiB a partition, as soon as there is anything, read committed.
    fn default() -> FetchOptions {
        FetchOptions {
            max_bytes: 16 * 1024 * 1024,
            partition_max_bytes: 4 * 1024 * 1024,
            min_bytes: 1,
            max_wait: Duration::from_millis(500),
            read_committed: true,
        }
    }
}

impl FetchOptions {
    fn isolation_level(&self) -> i8 {
        i8::from(self.read_committed)
    }

    fn max_wait_ms(&self) -> i32 {
        i32::try_from(self.max_wait.as_millis()).unwrap_or(i32::MAX)
    }
}

/// A partition to fetch, and from where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAssignment {
    /// The topic.
    pub topic: String,
    /// The topic's id. Without it, a topic that is deleted and created again goes unnoticed.
    pub topic_id: Option<Uuid>,
    /// The partition.
    pub partition: i32,
    /// The first offset to fetch. If it lies inside a batch, the whole batch comes.
    pub offset: i64,
    /// The leader epoch that metadata names; −1 leaves it open. A broker with another idea of it answers with
    /// [`ErrorCode::FENCED_LEADER_EPOCH`] or [`ErrorCode::UNKNOWN_LEADER_EPOCH`].
    pub leader_epoch: i32,
}

/// One answer.
#[derive(Debug, Default)]
pub struct FetchResponse {
    /// The partitions that have something to tell: records, an error, or new watermarks.
    pub partitions: Vec<PartitionFetch>,
    /// Size of the answer on the wire, in bytes.
    pub bytes: usize,
}

/// What an answer says about a partition.
#[derive(Clone, PartialEq, Eq)]
pub struct PartitionFetch {
    /// The topic.
    pub topic: String,
    /// The topic's id, as it was assigned.
    pub topic_id: Option<Uuid>,
    /// The partition.
    pub partition: i32,
    /// The offset that was asked for.
    pub fetch_offset: i64,
    /// The offset after the last whole batch of `records`; `fetch_offset` if there is none.
    pub next_offset: i64,
    /// What is wrong. The caller decides what becomes of the partition; as long as it stays assigned it is asked for again.
    pub error: Option<ErrorCode>,
    /// The offset after the last record that all in-sync replicas have; −1 if not known.
    pub high_watermark: i64,
    /// The offset before which all transactions are decided; −1 if not known.
    pub last_stable_offset: i64,
    /// The first offset that is there; −1 if not known.
    pub log_start_offset: i64,
    /// The aborted transactions that have records in `records` (only when reading committed).
    pub aborted: Vec<AbortedTransaction>,
    /// The leader's id and epoch, where the broker that was asked is not the leader and knows who is (KIP-951).
    pub current_leader: Option<(i32, i32)>,
    /// Whole batches, and at the end perhaps a part of one. The first may begin before `fetch_offset`.
    pub records: Bytes,
}

impl fmt::Debug for PartitionFetch {
    /// The records only by their size: they are megabytes, and not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionFetch")
            .field("topic", &self.topic)
            .field("topic_id", &self.topic_id)
            .field("partition", &self.partition)
            .field("fetch_offset", &self.fetch_offset)
            .field("next_offset", &self.next_offset)
            .field("error", &self.error)
            .field("high_watermark", &self.high_watermark)
            .field("last_stable_offset", &self.last_stable_offset)
            .field("log_start_offset", &self.log_start_offset)
            .field("aborted", &self.aborted)
            .field("current_leader", &self.current_leader)
            .field("records", &format_args!("{} bytes", self.records.len()))
            .finish()
    }
}

/// A transaction whose records are to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer's id.
    pub producer_id: i64,
    /// The first offset of the transaction. It ends with the producer's next abort marker.
    pub first_offset: i64,
}

/// The offset after the last whole batch of `records`, or `offset`. What cannot be read ends it: whoever takes the
/// records finds the same damage and says what it is.
fn position_after(records: &[u8], offset: i64) -> i64 {
    let batches = armory_records::Batches::new(records);
    let ends = batches
        .map_while(Result::ok)
        .map(|batch| batch.header().next_offset());
    // The first batch may end before `offset` only if the broker is wrong; never go back.
    ends.fold(offset, i64::max)
}

fn partition_fetch(
    topic: String,
    topic_id: Option<Uuid>,
    fetch_offset: i64,
    data: PartitionData,
) -> PartitionFetch {
    let records = data.records.unwrap_or_default();
    let leader = &data.current_leader;
    let aborted = data.aborted_transactions.unwrap_or_default();
    PartitionFetch {
        topic,
        topic_id,
        partition: data.partition_index,
        fetch_offset,
        next_offset: position_after(&records, fetch_offset),
        error: ErrorCode::from_wire(data.error_code),
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        log_start_offset: data.log_start_offset,
        aborted: aborted
            .iter()
            .map(|transaction| AbortedTransaction {
                producer_id: transaction.producer_id.0,
                first_offset: transaction.first_offset,
            })
            .collect(),
        current_leader: (leader.leader_id.0 >= 0)
            .then_some((leader.leader_id.0, leader.leader_epoch)),
        records,
    }
}

/// Fetches partitions from one broker, over a connection of its own.
///
/// ```no_run
/// # async fn example(client: armory_kafka::Client, orders: armory_kafka::FetchAssignment) -> Result<(), armory_kafka::Error> {
/// use armory_kafka::{Fetcher, FetchOptions};
///
/// let mut fetcher = Fetcher::connect(&client, 1, FetchOptions::default()).await?;
/// fetcher.assign(orders);
/// fetcher.send().await?;
/// loop {
///     let response = fetcher.receive().await?; // positions move on,
///     fetcher.send().await?;                   // so the next request can fly
///     for partition in response.partitions {   // while this answer is handled
///         println!("{}-{}: {} bytes", partition.topic, partition.partition, partition.records.len());
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Fetcher {
    connection: Connection,
    options: FetchOptions,
    newest_version: i16,
    session: Session,
    in_flight: Option<InFlight>,
    memory: AnswerMemory,
}

#[derive(Debug)]
struct InFlight {
    version: i16,
    pending: PendingAnswer,
}

impl Fetcher {
    /// Connects to a broker.
    ///
    /// # Errors
    /// If the cluster does not have the broker, it cannot be reached, or it knows no Fetch version that armory knows.
    pub async fn connect(
        client: &Client,
        broker: i32,
        options: FetchOptions,
    ) -> Result<Fetcher, Error> {
        let connection = client.connect_to(broker).await?;
        let newest_version = connection.version::<FetchRequest>()?;
        Ok(Fetcher {
            connection,
            options,
            newest_version,
            session: Session::default(),
            in_flight: None,
            memory: AnswerMemory::default(),
        })
    }

    /// Whether topics are told apart by their ids, so that one that is deleted and created again cannot be mixed up with its
    /// namesake: the broker knows how, and all assigned partitions have ids.
    pub fn is_by_topic_id(&self) -> bool {
        self.newest_version >= FETCH_BY_TOPIC_ID && self.session.all_have_ids()
    }

    /// Adds a partition, or has it fetched from elsewhere. What is under way for an earlier assignment of it is dropped when it comes.
    pub fn assign(&mut self, assignment: FetchAssignment) {
        self.session.assign(assignment);
    }

    /// Stops fetching a partition. What is under way for it is dropped when it comes.
    pub fn remove(&mut self, topic: &str, partition: i32) {
        self.session.remove(topic, partition);
    }

    /// How many partitions are assigned.
    pub fn len(&self) -> usize {
        self.session.len()
    }

    /// Whether no partition is assigned.
    pub fn is_empty(&self) -> bool {
        self.session.len() == 0
    }

    /// Sends the next request. Does nothing while one is under way or nothing is assigned.
    ///
    /// Waits only if the broker asked for it (throttling, authentication again), and may be dropped meanwhile.
    ///
    /// # Errors
    /// If the connection is lost. Then this fetcher is of no more use.
    pub async fn send(&mut self) -> Result<(), Error> {
        if self.in_flight.is_some() || self.is_empty() {
            return Ok(());
        }
        // First, because what the session says of the request counts as told.
        let turn = self.connection.turn().await?;
        let version = if self.is_by_topic_id() {
            self.newest_version
        } else {
            self.newest_version.min(FETCH_BY_TOPIC_ID - 1)
        };
        let request = self
            .session
            .next_request(&self.options, version >= FETCH_BY_TOPIC_ID);
        let encoded = self.connection.encode(version, &request)?;
        let extras = Extras {
            broker_wait: self.options.max_wait,
            buffer: self.memory.take(),
            ..Extras::default()
        };
        let pending = self
            .connection
            .send::<FetchRequest>(turn, encoded, extras)?;
        self.in_flight = Some(InFlight { version, pending });
        Ok(())
    }

    /// Waits for the answer to the request that is under way, sending one first if there is none, and moves on the
    /// positions of the partitions that it brings. May be dropped and called again.
    ///
    /// # Errors
    /// If the connection is lost, nothing comes for too long, or the broker refuses the request as a whole. Then this fetcher
    /// is of no more use. What is wrong with a partition is in its [`PartitionFetch::error`].
    pub async fn receive(&mut self) -> Result<FetchResponse, Error> {
        loop {
            self.send().await?;
            let Some(in_flight) = &mut self.in_flight else {
                // As a broker would: without anything to fetch there is nothing to tell.
                tokio::time::sleep(self.options.max_wait).await;
                return Ok(FetchResponse::default());
            };
            let answer = in_flight.pending.receive().await?;
            let version = in_flight.version;
            self.in_flight = None;
            self.memory.keep(&answer);
            let bytes = answer.len() + size_of::<u32>();
            let answer = self.connection.decode::<FetchRequest>(version, answer)?;
            match self.session.judge(&answer) {
                Verdict::Fine => {
                    let partitions = self.session.take_in(answer);
                    return Ok(FetchResponse { partitions, bytes });
                }
                Verdict::StartOver(code) => {
                    debug!(broker = %self.connection.broker(), %code, "fetch session begins anew")
                }
                Verdict::Refused(code) => {
                    let broker = self.connection.broker().clone();
                    return Err(Error::refused(broker, "Fetch", None, code, None));
                }
            }
        }
    }
}
