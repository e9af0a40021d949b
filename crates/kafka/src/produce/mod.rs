//! Producing batches as they are, idempotently, over a connection whose answers come in order.
//!
//! Nothing is ever sent a second time here. After a lost answer only the target's log tells what landed: a broker forgets
//! idempotent producers by the timestamps of their records, and then takes the same batch twice.

mod encode;

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::api::{Api as _, PRODUCE_BY_TOPIC_ID};
use crate::connection::{Connection, Extras};
use crate::metadata::topic_id;
use crate::{Client, Error, ErrorCode};

/// Requests that a broker keeps apart for an idempotent producer
/// (`org.apache.kafka.storage.internals.log.ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
const MAX_IN_FLIGHT: usize = 5;

/// How batches are produced. Every batch is acknowledged by all in-sync replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceOptions {
    /// How long the leader waits for its replicas before it answers with [`ErrorCode::REQUEST_TIMED_OUT`].
    pub timeout: Duration,
    /// How many requests may be under way, from 1 to 5.
    pub max_in_flight: usize,
}

impl Default for ProduceOptions {
    fn default() -> ProduceOptions {
        ProduceOptions {
            timeout: Duration::from_secs(30),
            max_in_flight: MAX_IN_FLIGHT,
        }
    }
}

/// A batch for a partition.
#[derive(Clone, PartialEq, Eq)]
pub struct ProduceBatch {
    /// The topic.
    pub topic: Arc<str>,
    /// The topic's id. Without it, the batch may land in a topic that was deleted and created again.
    pub topic_id: Option<Uuid>,
    /// The partition.
    pub partition: i32,
    /// One whole batch, ready for the broker: base offset 0, producer id, epoch and sequence set.
    pub records: Bytes,
}

impl fmt::Debug for ProduceBatch {
    /// The records only by their size: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProduceBatch")
            .field("topic", &self.topic)
            .field("topic_id", &self.topic_id)
            .field("partition", &self.partition)
            .field("records", &format_args!("{} bytes", self.records.len()))
            .finish()
    }
}

/// What the broker answered about a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceAck {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Why the batch was not appended, or may not have been (see [`Error::is_certain`] for codes that leave it open).
    pub error: Option<ErrorCode>,
    /// What the broker says beside the code.
    pub error_message: Option<String>,
    /// The offset of the batch's first record. Of a batch that the broker recognised as sent before, the old one; −1 in
    /// case of an error.
    pub base_offset: i64,
    /// The timestamp (ms) that the broker gave all records, on topics with LogAppendTime.
    pub log_append_time: Option<i64>,
    /// The first offset that is in the partition; −1 if not known.
    pub log_start_offset: i64,
}

/// Produces to one broker, over a connection of its own.
#[derive(Debug)]
pub struct ProduceConnection {
    connection: Connection,
    options: ProduceOptions,
    newest_version: i16,
    in_flight: Arc<Semaphore>,
}

impl ProduceConnection {
    /// Connects to a broker.
    ///
    /// # Errors
    /// If the cluster does not have the broker, it cannot be reached, or it knows no Produce version that armory knows.
    pub async fn connect(
        client: &Client,
        broker: i32,
        options: ProduceOptions,
    ) -> Result<ProduceConnection, Error> {
        let connection = client.connect_to(broker).await?;
        let newest_version = connection.version::<ProduceRequest>()?;
        let in_flight = options.max_in_flight.clamp(1, MAX_IN_FLIGHT);
        Ok(ProduceConnection {
            connection,
            options,
            newest_version,
            in_flight: Arc::new(Semaphore::new(in_flight)),
        })
    }

    /// Sends batches in one request, at most one for each partition, and returns once the last byte was given to the kernel.
    /// While `max_in_flight` requests are under way it waits for the oldest to be answered.
    ///
    /// The answers come in the order in which requests were sent. If this is dropped before it returns, whether the batches
    /// were sent is not known.
    ///
    /// # Errors
    /// If the connection is lost (whether the batches land is not known: see [`Error::is_certain`]), or a partition is named
    /// twice (nothing is sent).
    pub async fn send(&self, batches: Vec<ProduceBatch>) -> Result<PendingProduce, Error> {
        check_partitions(&batches)?;
        let permit = Arc::clone(&self.in_flight)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let by_id = self.newest_version >= PRODUCE_BY_TOPIC_ID
            && batches.iter().all(|batch| batch.topic_id.is_some());
        let version = if by_id {
            self.newest_version
        } else {
            self.newest_version.min(PRODUCE_BY_TOPIC_ID - 1)
        };
        let topics = encode::by_topic(&batches);
        let head = self.connection.head::<ProduceRequest>(version)?;
        let encoded = encode::produce(head, version, self.options.timeout, &topics);
        let names = topics
            .iter()
            .map(|topic| (topic.id, Arc::clone(topic.name)))
            .collect();
        let extras = Extras {
            broker_wait: self.options.timeout,
            permit: Some(permit),
            ..Extras::default()
        };
        let turn = self.connection.turn().await?;
        let mut pending = self
            .connection
            .send::<ProduceRequest>(turn, encoded, extras)?;
        pending.written().await?;
        let connection = self.connection.clone();
        let answer = async move {
            let answer = pending.receive().await?;
            let answer = connection.decode::<ProduceRequest>(version, answer)?;
            Ok(acks(answer, names))
        };
        Ok(PendingProduce {
            answer: Box::pin(answer),
        })
    }
}

/// A broker keeps only one of two batches for the same partition, without a word about the other.
fn check_partitions(batches: &[ProduceBatch]) -> Result<(), Error> {
    let mut seen = HashSet::with_capacity(batches.len());
    match batches
        .iter()
        .find(|batch| !seen.insert((&batch.topic, batch.partition)))
    {
        None => Ok(()),
        Some(twice) => Err(Error::Request {
            api: ProduceRequest::NAME,
            topic: (&*twice.topic).into(),
            partition: twice.partition,
            reason: "it is named twice in one request",
        }),
    }
}

fn acks(answer: ProduceResponse, names: Vec<(Option<Uuid>, Arc<str>)>) -> Vec<ProduceAck> {
    let mut acks = Vec::new();
    for topic in answer.responses {
        let name = match topic_id(topic.topic_id) {
            Some(id) => names
                .iter()
                .find(|(known, _)| *known == Some(id))
                .map(|(_, name)| name.to_string()),
            None => Some(topic.name.to_string()),
        };
        // A topic that was not asked about says nothing about ours.
        let Some(name) = name else { continue };
        acks.extend(
            topic
                .partition_responses
                .into_iter()
                .map(|partition| ack(name.clone(), partition)),
        );
    }
    acks
}

fn ack(topic: String, partition: PartitionProduceResponse) -> ProduceAck {
    // Some errors are explained record by record only (KIP-467): the first one says enough.
    let of_record = partition
        .record_errors
        .first()
        .and_then(|record| record.batch_index_error_message.as_ref());
    let message = partition.error_message.as_ref().or(of_record);
    ProduceAck {
        topic,
        partition: partition.index,
        error: ErrorCode::from_wire(partition.error_code),
        error_message: message.map(|message| message.to_string()),
        base_offset: partition.base_offset,
        log_append_time: (partition.log_append_time_ms >= 0)
            .then_some(partition.log_append_time_ms),
        log_start_offset: partition.log_start_offset,
    }
}

/// The answer to a request that was sent. Dropping it does not take the request back.
///
/// Fails if the connection is lost or nothing comes for too long: whether the batches landed is then not known.
pub struct PendingProduce {
    answer: BoxFuture<'static, Result<Vec<ProduceAck>, Error>>,
}

impl fmt::Debug for PendingProduce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingProduce").finish_non_exhaustive()
    }
}

impl Future for PendingProduce {
    type Output = Result<Vec<ProduceAck>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.as_mut().poll(context)
    }
}
