//! Where partitions begin and end, and where their leader epochs do.

use std::collections::{HashMap, HashSet};

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsResponse;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse;
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest};
use tracing::warn;

use crate::client::leaders::{Answers, Led, PartitionKey, Question, by_topic};
use crate::metadata::topic_name;
use crate::{Client, Error, ErrorCode};

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first one that is there (the log start).
    Earliest,
    /// The one after the last that every in-sync replica has (the high watermark).
    Latest,
    /// The one up to which all transactions are decided (the last stable offset): where a read-committed reader stops.
    LastStable,
    /// The first one whose record has this timestamp (ms since the epoch) or a later one.
    Timestamp(i64),
}

impl OffsetSpec {
    /// What stands for it in the timestamp field (`org.apache.kafka.clients.admin.OffsetSpec`).
    fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Earliest => -2,
            OffsetSpec::Latest | OffsetSpec::LastStable => -1,
            OffsetSpec::Timestamp(ms) => ms,
        }
    }

    /// 1 is read committed.
    fn isolation_level(self) -> i8 {
        i8::from(self == OffsetSpec::LastStable)
    }
}

/// An offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetInfo {
    /// The offset; −1 if no record has the timestamp that was asked for or a later one.
    pub offset: i64,
    /// The timestamp of the record there, in ms; −1 where no timestamp was asked for.
    pub timestamp: i64,
    /// The epoch of the leader that wrote the record there; `None` where the broker does not say.
    pub leader_epoch: Option<i32>,
}

/// Asks where a leader epoch of a partition ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochQuery {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The leader epoch that the asker takes for the present one; −1 leaves it open.
    pub current_leader_epoch: i32,
    /// The leader epoch whose end is asked for.
    pub leader_epoch: i32,
}

/// Where a leader epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch that was asked for or, if the log has none of it, the largest before it; −1 if there is none.
    pub leader_epoch: i32,
    /// The first offset after that epoch; −1 if it is not known.
    pub end_offset: i64,
}

impl Client {
    /// Asks the leaders of partitions for offsets, several partitions in one request to each.
    ///
    /// Every partition is in the result. The code of one whose leader could not be reached, or did not speak Kafka's protocol,
    /// is [`ErrorCode::NETWORK_EXCEPTION`]; of one without a leader, [`ErrorCode::LEADER_NOT_AVAILABLE`]; of one whose
    /// leader does not let us in, [`ErrorCode::SASL_AUTHENTICATION_FAILED`].
    ///
    /// # Errors
    /// If the cluster cannot be reached, or does not let us in.
    pub async fn list_offsets(
        &self,
        partitions: &[(String, i32)],
        spec: OffsetSpec,
    ) -> Result<HashMap<(String, i32), Result<OffsetInfo, ErrorCode>>, Error> {
        let answers = self
            .ask_leaders(&ListOffsets { spec }, partitions.iter().cloned())
            .await?;
        Ok(codes_only(answers))
    }

    /// Asks the leaders of partitions where leader epochs ended (KIP-320). A reader that has records beyond the end of the
    /// last epoch that it knows has read what the cluster later cut off.
    ///
    /// Every partition is in the result, as with [`Client::list_offsets`]; ask about a partition only once.
    ///
    /// # Errors
    /// As [`Client::list_offsets`].
    pub async fn offset_for_leader_epoch(
        &self,
        queries: &[EpochQuery],
    ) -> Result<HashMap<(String, i32), Result<EpochEnd, ErrorCode>>, Error> {
        let by_key: HashMap<PartitionKey, &EpochQuery> = queries
            .iter()
            .map(|query| ((query.topic.clone(), query.partition), query))
            .collect();
        let keys: Vec<PartitionKey> = by_key.keys().cloned().collect();
        Ok(codes_only(
            self.ask_leaders(&EpochEnds { by_key }, keys).await?,
        ))
    }
}

/// Turns errors about partitions into codes. One without a code is about the leader: it is logged, because a code does not say
/// what is wrong there, and the other leaders' partitions have their answers all the same.
fn codes_only<T>(
    answers: HashMap<PartitionKey, Result<T, Error>>,
) -> HashMap<PartitionKey, Result<T, ErrorCode>> {
    let mut told = HashSet::new();
    let mut code = |error: Error| {
        if error.code().is_none() || matches!(error, Error::Authentication { .. }) {
            let text = error.to_string();
            if !told.contains(&text) {
                warn!("{text}");
                told.insert(text);
            }
        }
        let access = ErrorCode::SASL_AUTHENTICATION_FAILED;
        let otherwise = if error.is_about_access() {
            access
        } else {
            ErrorCode::NETWORK_EXCEPTION
        };
        error.code().unwrap_or(otherwise)
    };
    answers
        .into_iter()
        .map(|(key, answer)| (key, answer.map_err(&mut code)))
        .collect()
}

struct ListOffsets {
    spec: OffsetSpec,
}

impl Question for ListOffsets {
    type Request = ListOffsetsRequest;
    type Answer = OffsetInfo;

    fn request(&self, _: i16, partitions: &[Led]) -> ListOffsetsRequest {
        let topics = by_topic(partitions).map(|(topic, led)| {
            let partitions = led.iter().map(|led| {
                ListOffsetsPartition::default()
                    .with_partition_index(led.partition)
                    .with_current_leader_epoch(led.epoch)
                    .with_timestamp(self.spec.timestamp())
            });
            ListOffsetsTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions.collect())
        });
        ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(self.spec.isolation_level())
            .with_topics(topics.collect())
    }

    fn answers(&self, _: &[Led], answer: ListOffsetsResponse) -> Answers<OffsetInfo> {
        let topics = answer.topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic
                .partitions
                .into_iter()
                .map(move |partition| (name.to_string(), partition))
        });
        topics
            .map(|(topic, partition)| {
                let info = OffsetInfo {
                    offset: partition.offset,
                    timestamp: partition.timestamp,
                    leader_epoch: (partition.leader_epoch >= 0).then_some(partition.leader_epoch),
                };
                let result = ErrorCode::from_wire(partition.error_code).map_or(Ok(info), Err);
                ((topic, partition.partition_index), result)
            })
            .collect()
    }
}

struct EpochEnds<'a> {
    by_key: HashMap<PartitionKey, &'a EpochQuery>,
}

impl Question for EpochEnds<'_> {
    type Request = OffsetForLeaderEpochRequest;
    type Answer = EpochEnd;

    fn request(&self, _: i16, partitions: &[Led]) -> OffsetForLeaderEpochRequest {
        let topics = by_topic(partitions).map(|(topic, led)| {
            let partitions = led.iter().map(|led| {
                let query = self.by_key[&led.key()];
                OffsetForLeaderPartition::default()
                    .with_partition(led.partition)
                    // What metadata says now is newer than what the asker knew, if either is to be believed.
                    .with_current_leader_epoch(led.epoch.max(query.current_leader_epoch))
                    .with_leader_epoch(query.leader_epoch)
            });
            OffsetForLeaderTopic::default()
                .with_topic(topic_name(topic))
                .with_partitions(partitions.collect())
        });
        OffsetForLeaderEpochRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(topics.collect())
    }

    fn answers(&self, _: &[Led], answer: OffsetForLeaderEpochResponse) -> Answers<EpochEnd> {
        let topics = answer.topics.into_iter().flat_map(|topic| {
            let name = topic.topic;
            topic
                .partitions
                .into_iter()
                .map(move |partition| (name.to_string(), partition))
        });
        topics
            .map(|(topic, partition)| {
                let end = EpochEnd {
                    leader_epoch: partition.leader_epoch,
                    end_offset: partition.end_offset,
                };
                let result = ErrorCode::from_wire(partition.error_code).map_or(Ok(end), Err);
                ((topic, partition.partition), result)
            })
            .collect()
    }
}
