//! Fetch.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::offsets::check_epoch;
use super::{code, text, topic_name};
use crate::cluster::{Cluster, HOST, NODE_ID};
use crate::fetch_sessions::{Answered, Wanted};
use crate::log::{Log, LogSlice};
use crate::topics::{TopicRef, Topics};

/// `fetch.max.bytes` of a broker: no response holds more records, except where one batch alone is larger.
const RESPONSE_MAX_BYTES: usize = 55 * 1024 * 1024;
/// Since this version topics are named by id (KIP-516).
const IDS_SINCE: i16 = 13;
/// Since this version an answer to a client with an old leader epoch names the new leader (KIP-951).
const LEADER_HINTS_SINCE: i16 = 16;

/// What reading one partition gave.
#[derive(Debug)]
struct Reading {
    error: Option<ResponseError>,
    high_watermark: i64,
    log_start_offset: i64,
    /// Where the client's history ends to agree with this log's: epoch and end offset (exclusive).
    diverging: Option<(i32, i64)>,
    leader_epoch: i32,
    slice: LogSlice,
}

impl Reading {
    fn failed(error: ResponseError, leader_epoch: i32) -> Self {
        Self {
            error: Some(error),
            high_watermark: -1,
            log_start_offset: -1,
            diverging: None,
            leader_epoch,
            slice: LogSlice::default(),
        }
    }

    /// Whether there is no such partition.
    fn is_unknown(&self) -> bool {
        matches!(
            self.error,
            Some(ResponseError::UnknownTopicOrPartition | ResponseError::UnknownTopicId)
        )
    }

    fn answered(&self) -> Answered {
        Answered {
            bytes: self.slice.size,
            failed: self.error.is_some(),
            diverging: self.diverging.is_some(),
            high_watermark: self.high_watermark,
            log_start_offset: self.log_start_offset,
        }
    }
}

pub(super) async fn answer(
    cluster: &Cluster,
    request: FetchRequest,
    version: i16,
) -> FetchResponse {
    let by_ids = version >= IDS_SINCE;
    let metadata = (request.session_id, request.session_epoch);
    let opened = cluster.sessions().open(
        metadata,
        by_ids,
        wanted(&request, by_ids),
        &forgotten(&request, by_ids),
    );
    let (context, wanted) = match opened {
        Ok(opened) => opened,
        Err(error) => return FetchResponse::default().with_error_code(error.code()),
    };
    let readings = read_or_wait(cluster, &request, &wanted).await;
    let mut answers: Vec<(Wanted, Reading)> = wanted.into_iter().zip(readings).collect();
    // Bound before the match, so that the sessions are not locked while the response is put together.
    let answered = cluster
        .sessions()
        .answer(context, &mut answers, Reading::answered);
    match answered {
        Ok(session_id) => respond(cluster, session_id, answers, &request, version),
        Err(error) => FetchResponse::default().with_error_code(error.code()),
    }
}

fn wanted(request: &FetchRequest, by_ids: bool) -> Vec<Wanted> {
    let topics = request
        .topics
        .iter()
        .map(|topic| (named(by_ids, topic.topic_id, &topic.topic), topic));
    topics
        .flat_map(|(name, topic)| {
            topic.partitions.iter().map(move |partition| Wanted {
                topic: name.clone(),
                partition: partition.partition,
                current_leader_epoch: partition.current_leader_epoch,
                fetch_offset: partition.fetch_offset,
                last_fetched_epoch: partition.last_fetched_epoch,
                max_bytes: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
            })
        })
        .collect()
}

fn forgotten(request: &FetchRequest, by_ids: bool) -> Vec<(TopicRef, i32)> {
    let topics = request
        .forgotten_topics_data
        .iter()
        .map(|topic| (named(by_ids, topic.topic_id, &topic.topic), topic));
    topics
        .flat_map(|(name, topic)| {
            topic
                .partitions
                .iter()
                .map(move |index| (name.clone(), *index))
        })
        .collect()
}

fn named(by_ids: bool, id: Uuid, name: &str) -> TopicRef {
    if by_ids {
        TopicRef::Id(id)
    } else {
        TopicRef::name(name)
    }
}

/// Reads all partitions; where that gives less than the client's minimum, waits for more to be appended.
async fn read_or_wait(
    cluster: &Cluster,
    request: &FetchRequest,
    wanted: &[Wanted],
) -> Vec<Reading> {
    let max_bytes = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(RESPONSE_MAX_BYTES);
    let min_bytes = usize::try_from(request.min_bytes)
        .unwrap_or(0)
        .min(max_bytes);
    let deadline =
        Instant::now() + Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));

    let mut readings = read_all(&cluster.topics(), wanted, max_bytes, None);
    if request.max_wait_ms > 0 && must_wait(&readings, min_bytes) {
        let waiter = Arc::new(Notify::new());
        loop {
            readings = read_all(&cluster.topics(), wanted, max_bytes, Some(&waiter));
            if !must_wait(&readings, min_bytes)
                || timeout_at(deadline, waiter.notified()).await.is_err()
            {
                break;
            }
        }
    }
    readings
}

/// `ReplicaManager.fetchMessages`: an error in a log, or nothing at all that exists, is answered at once; an unknown
/// topic next to others is not.
fn must_wait(readings: &[Reading], min_bytes: usize) -> bool {
    let mut existing = readings
        .iter()
        .filter(|reading| !reading.is_unknown())
        .peekable();
    let bytes: usize = readings.iter().map(|reading| reading.slice.size).sum();
    existing.peek().is_some()
        && existing.all(|reading| reading.error.is_none() && reading.diverging.is_none())
        && bytes < min_bytes
}

/// Reads partitions in turn until the response is full; subscribes `waiter` to each before it is read.
fn read_all(
    topics: &Topics,
    wanted: &[Wanted],
    max_bytes: usize,
    waiter: Option<&Arc<Notify>>,
) -> Vec<Reading> {
    let mut room = max_bytes;
    let mut empty = true;
    let read = |wanted: &Wanted| {
        let Some(topic) = topics.get(&wanted.topic) else {
            return Reading::failed(wanted.topic.unknown().code, -1);
        };
        let Some(partition) = topic.partition(wanted.partition) else {
            return Reading::failed(ResponseError::UnknownTopicOrPartition, -1);
        };
        if let Some(waiter) = waiter {
            partition.subscribe(waiter);
        }
        let log = partition.log();
        let reading = read_log(&log, wanted, room, empty)
            .unwrap_or_else(|error| Reading::failed(error, log.leader_epoch()));
        room = room.saturating_sub(reading.slice.size);
        empty &= reading.slice.size == 0;
        reading
    };
    wanted.iter().map(read).collect()
}

/// `Partition.readRecords`. The first batch of a response is returned however large it is (KIP-74).
fn read_log(
    log: &Log,
    wanted: &Wanted,
    room: usize,
    first: bool,
) -> Result<Reading, ResponseError> {
    check_epoch(wanted.current_leader_epoch, log)?;
    let mut reading = Reading {
        error: None,
        high_watermark: log.end_offset(),
        log_start_offset: log.start_offset(),
        diverging: None,
        leader_epoch: log.leader_epoch(),
        slice: LogSlice::default(),
    };
    if wanted.last_fetched_epoch >= 0 {
        let end = log
            .epoch_end(wanted.last_fetched_epoch)
            .ok_or(ResponseError::OffsetOutOfRange)?;
        if wanted.fetch_offset < log.start_offset() {
            return Err(ResponseError::OffsetOutOfRange);
        }
        if end.0 < wanted.last_fetched_epoch || end.1 < wanted.fetch_offset {
            reading.diverging = Some(end);
            return Ok(reading);
        }
    }
    reading.slice = log
        .read(wanted.fetch_offset, wanted.max_bytes.min(room), first)
        .map_err(|_| ResponseError::OffsetOutOfRange)?;
    Ok(reading)
}

fn respond(
    cluster: &Cluster,
    session_id: i32,
    answers: Vec<(Wanted, Reading)>,
    request: &FetchRequest,
    version: i16,
) -> FetchResponse {
    let read_committed = request.isolation_level == 1;
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut last_topic = None;
    let mut leader_moved = false;
    for (wanted, reading) in answers {
        if last_topic.as_ref() != Some(&wanted.topic) {
            let topic = FetchableTopicResponse::default();
            responses.push(match &wanted.topic {
                TopicRef::Name(name) => topic.with_topic(topic_name(name)),
                TopicRef::Id(id) => topic.with_topic_id(*id),
            });
        }
        last_topic = Some(wanted.topic);
        // Null except to who reads committed records; Kafka leaves it empty also for what does not exist.
        let lists_aborted = read_committed || reading.is_unknown();
        let mut data = PartitionData::default()
            .with_partition_index(wanted.partition)
            .with_error_code(code(reading.error))
            .with_high_watermark(reading.high_watermark)
            .with_last_stable_offset(reading.high_watermark)
            .with_log_start_offset(reading.log_start_offset)
            .with_aborted_transactions(lists_aborted.then(Vec::new))
            .with_records(Some(concat(reading.slice)));
        if let Some((epoch, end_offset)) = reading.diverging {
            data = data.with_diverging_epoch(
                EpochEndOffset::default()
                    .with_epoch(epoch)
                    .with_end_offset(end_offset),
            );
        }
        if version >= LEADER_HINTS_SINCE && reading.error == Some(ResponseError::FencedLeaderEpoch)
        {
            let leader = LeaderIdAndEpoch::default()
                .with_leader_id(NODE_ID.into())
                .with_leader_epoch(reading.leader_epoch);
            data = data.with_current_leader(leader);
            leader_moved = true;
        }
        if let Some(topic) = responses.last_mut() {
            topic.partitions.push(data);
        }
    }
    let mut response = FetchResponse::default()
        .with_session_id(session_id)
        .with_responses(responses);
    if leader_moved {
        let node = NodeEndpoint::default()
            .with_node_id(NODE_ID.into())
            .with_host(text(HOST))
            .with_port(cluster.port.into());
        response = response.with_node_endpoints(vec![node]);
    }
    response
}

fn concat(slice: LogSlice) -> Bytes {
    match <[Bytes; 1]>::try_from(slice.batches) {
        Ok([only]) => only,
        Err(batches) => {
            let mut all = BytesMut::with_capacity(slice.size);
            for batch in &batches {
                all.extend_from_slice(batch);
            }
            all.freeze()
        }
    }
}
