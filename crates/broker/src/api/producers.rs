//! Idempotent producers: InitProducerId and DescribeProducers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, InitProducerIdRequest,
    InitProducerIdResponse,
};

use super::text;
use crate::cluster::Cluster;
use crate::log::Log;
use crate::topics::TopicRef;

/// Without a transactional id every request gets a producer id of its own, whatever id it came with.
pub(super) fn init(cluster: &Cluster, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    let error = match request.transactional_id.as_ref().map(|id| id.is_empty()) {
        None => {
            let id = cluster.allocate_producer_id();
            return InitProducerIdResponse::default()
                .with_producer_id(id.into())
                .with_producer_epoch(0);
        }
        Some(true) => ResponseError::InvalidRequest,
        // Of the answers to "no transactions here", the one that clients take as final.
        Some(false) => ResponseError::TransactionalIdAuthorizationFailed,
    };
    InitProducerIdResponse::default()
        .with_error_code(error.code())
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
}

pub(super) fn describe(
    cluster: &Cluster,
    request: &DescribeProducersRequest,
) -> DescribeProducersResponse {
    let state = cluster.topics();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            let response = PartitionResponse::default().with_partition_index(*index);
            match state.partition(&topic.name, *index) {
                Some(partition) => response.with_active_producers(active(&partition.log())),
                None => {
                    let refusal = TopicRef::name(&topic.name).unknown();
                    response
                        .with_error_code(refusal.code.code())
                        .with_error_message(Some(text(refusal.message)))
                }
            }
        });
        TopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn active(log: &Log) -> Vec<ProducerState> {
    log.producers()
        .map(|(id, entry)| {
            ProducerState::default()
                .with_producer_id(id.into())
                .with_producer_epoch(entry.epoch.into())
                .with_last_sequence(entry.last_sequence())
                .with_last_timestamp(entry.last_timestamp)
                .with_coordinator_epoch(-1)
                .with_current_txn_start_offset(-1)
        })
        .collect()
}
