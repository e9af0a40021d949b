//! Produce.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceResponse, ResponseKind};

use super::{Answer, text};
use crate::cluster::{Cluster, now_ms};
use crate::configs::TopicSettings;
use crate::log::{Appended, judge, only_batch};
use crate::refusal::Refusal;
use crate::topics::{Partition, TopicRef};

/// Since this version of produce a batch may be compressed with zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;
const ZSTD: u8 = 4;
const TRANSACTIONAL: u8 = 16;
/// Where the low byte of a batch's attributes lies.
const ATTRIBUTES_AT: usize = 22;

pub(super) fn answer(cluster: &Cluster, request: &ProduceRequest, version: i16) -> Answer {
    let refused = refuse_all(request);
    let mut failed = false;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in &request.topic_data {
        let by_id = version >= 13;
        let named = if by_id {
            TopicRef::Id(topic.topic_id)
        } else {
            TopicRef::name(&topic.name)
        };
        let partitions = topic.partition_data.iter().map(|data| {
            let outcome = match refused {
                Some(error) => Err((Refusal::new(error, ""), -1)),
                None => append(cluster, &named, data, version),
            };
            failed |= outcome.is_err();
            describe(data.index, outcome)
        });
        let partitions = partitions.collect();
        let response = TopicProduceResponse::default().with_partition_responses(partitions);
        responses.push(if by_id {
            response.with_topic_id(topic.topic_id)
        } else {
            response.with_name(topic.name.clone())
        });
    }
    match request.acks {
        // A client that wants no answer learns of an error by losing its connection.
        0 if failed => Answer::Disconnect,
        0 => Answer::Silence,
        _ => Answer::Respond(Box::new(ResponseKind::Produce(
            ProduceResponse::default().with_responses(responses),
        ))),
    }
}

/// Why nothing of a request is even looked at.
fn refuse_all(request: &ProduceRequest) -> Option<ResponseError> {
    let batches = request
        .topic_data
        .iter()
        .flat_map(|topic| &topic.partition_data);
    let mut attributes =
        batches.filter_map(|data| data.records.as_ref()?.get(ATTRIBUTES_AT).copied());
    if attributes.any(|attributes| attributes & TRANSACTIONAL != 0) {
        return Some(ResponseError::TransactionalIdAuthorizationFailed);
    }
    (!matches!(request.acks, -1..=1)).then_some(ResponseError::InvalidRequiredAcks)
}

/// A refusal, and where the log starts if the log itself refused.
type Refused = (Refusal, i64);

fn append(
    cluster: &Cluster,
    topic: &TopicRef,
    data: &PartitionProduceData,
    version: i16,
) -> Result<(Appended, i64), Refused> {
    let unplaced = |refusal| (refusal, -1);
    let (partition, settings) = find(cluster, topic, data.index).map_err(unplaced)?;
    let records = data.records.as_deref().unwrap_or_default();
    let batch = only_batch(records).map_err(unplaced)?;
    if version < ZSTD_SINCE && attributes(batch).is_some_and(|attributes| attributes & 7 == ZSTD) {
        return Err(unplaced(Refusal::new(
            ResponseError::UnsupportedCompressionType,
            format!("zstd needs produce requests of version {ZSTD_SINCE} or later"),
        )));
    }
    // Judged outside the lock, so that decompression of one batch holds up nobody.
    let judged = judge(batch, &settings, now_ms());
    let mut log = partition.log();
    let start = log.start_offset();
    let appended = judged
        .and_then(|judged| log.append(judged))
        .map_err(|refusal| {
            // `ReplicaManager.appendRecordsToLeader` does not tell the start of the log along with these two.
            let untold = matches!(
                refusal.code,
                ResponseError::MessageTooLarge | ResponseError::CorruptMessage
            );
            (refusal, if untold { -1 } else { start })
        })?;
    drop(log);
    if !appended.duplicate {
        partition.changed();
    }
    Ok((appended, start))
}

fn attributes(batch: &[u8]) -> Option<u8> {
    batch.get(ATTRIBUTES_AT).copied()
}

fn find(
    cluster: &Cluster,
    topic: &TopicRef,
    index: i32,
) -> Result<(std::sync::Arc<Partition>, TopicSettings), Refusal> {
    let topics = cluster.topics();
    let found = topics.get(topic).ok_or_else(|| topic.unknown())?;
    let partition = found.partition(index).ok_or_else(|| {
        Refusal::new(
            ResponseError::UnknownTopicOrPartition,
            format!("{} has no partition {index}", found.name),
        )
    })?;
    Ok((std::sync::Arc::clone(partition), found.configs.settings()))
}

fn describe(index: i32, outcome: Result<(Appended, i64), Refused>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match outcome {
        Ok((appended, log_start_offset)) => response
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(appended.append_time)
            .with_log_start_offset(log_start_offset),
        Err((refusal, log_start_offset)) => {
            let records = refusal.records.into_iter().map(|(position, reason)| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(position)
                    .with_batch_index_error_message(Some(text(reason)))
            });
            response
                .with_error_code(refusal.code.code())
                .with_error_message((!refusal.message.is_empty()).then(|| text(refusal.message)))
                .with_record_errors(records.collect())
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(log_start_offset)
        }
    }
}
