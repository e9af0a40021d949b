//! Where logs begin and end, and where times and epochs lie in them: ListOffsets and OffsetForLeaderEpoch.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

use super::code;
use crate::cluster::Cluster;
use crate::log::{Log, TimedOffset};

/// Since this version of ListOffsets the leader epoch of an offset is told (KIP-320).
const EPOCHS_SINCE: i16 = 4;
// `ListOffsetsRequest`: times that are none.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;

/// Refuses a client whose idea of the leader is not this one's (KIP-320). A negative epoch is no idea.
pub(super) fn check_epoch(claimed: i32, log: &Log) -> Result<(), ResponseError> {
    match claimed {
        claimed if claimed < 0 || claimed == log.leader_epoch() => Ok(()),
        claimed if claimed < log.leader_epoch() => Err(ResponseError::FencedLeaderEpoch),
        _ => Err(ResponseError::UnknownLeaderEpoch),
    }
}

/// The isolation level makes no difference: without transactions the last stable offset is the high watermark.
pub(super) fn list(
    cluster: &Cluster,
    request: &ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let state = cluster.topics();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let found = match state.partition(&topic.name, asked.partition_index) {
                None => Err(ResponseError::UnknownTopicOrPartition),
                Some(partition) => {
                    let log = partition.log();
                    check_epoch(asked.current_leader_epoch, &log)
                        .map(|()| find(&log, asked.timestamp))
                }
            };
            let nowhere = TimedOffset {
                offset: -1,
                timestamp: -1,
                leader_epoch: -1,
            };
            let place = found.ok().flatten().unwrap_or(nowhere);
            ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(code(found.err()))
                .with_offset(place.offset)
                .with_timestamp(place.timestamp)
                .with_leader_epoch(if version >= EPOCHS_SINCE {
                    place.leader_epoch
                } else {
                    -1
                })
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn find(log: &Log, timestamp: i64) -> Option<TimedOffset> {
    let at = |offset| {
        Some(TimedOffset {
            offset,
            timestamp: -1,
            leader_epoch: log.epoch_of(offset),
        })
    };
    match timestamp {
        LATEST => at(log.end_offset()),
        EARLIEST | EARLIEST_LOCAL => at(log.start_offset()),
        MAX_TIMESTAMP => log.newest_record(),
        timestamp if timestamp >= 0 => log.first_at_or_after(timestamp),
        // The others ask about tiered storage, which holds nothing.
        _ => None,
    }
}

pub(super) fn for_leader_epoch(
    cluster: &Cluster,
    request: &OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let state = cluster.topics();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let found = match state.partition(&topic.topic, asked.partition) {
                None => Err(ResponseError::UnknownTopicOrPartition),
                Some(partition) => {
                    let log = partition.log();
                    check_epoch(asked.current_leader_epoch, &log)
                        .map(|()| log.epoch_end(asked.leader_epoch))
                }
            };
            let (epoch, end) = found.ok().flatten().unwrap_or((-1, -1));
            EpochEndOffset::default()
                .with_partition(asked.partition)
                .with_error_code(code(found.err()))
                .with_leader_epoch(epoch)
                .with_end_offset(end)
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
