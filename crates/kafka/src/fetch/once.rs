//! One Fetch of one partition, without a session: to look at a single place of a log.

use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest};
use uuid::Uuid;

use super::{FetchOptions, PartitionFetch, partition_fetch};
use crate::api::FETCH_BY_TOPIC_ID;
use crate::client::leaders::{Answers, Led, Question};
use crate::metadata::topic_name;
use crate::{Client, Error, ErrorCode};

/// The epoch of a request that neither has nor wants a session.
const NO_SESSION: i32 = -1;

impl Client {
    /// Fetches the batches at `offset` of one partition from its leader, whatever became of the transactions in them. The
    /// first batch comes whole, even if it is larger than `max_bytes`.
    ///
    /// # Errors
    /// If the leader cannot be asked, or answers with an error code.
    pub async fn fetch_at(
        &self,
        topic: &str,
        topic_id: Option<Uuid>,
        partition: i32,
        offset: i64,
        max_bytes: i32,
    ) -> Result<PartitionFetch, Error> {
        let key = (topic.to_owned(), partition);
        let options = FetchOptions {
            max_bytes,
            partition_max_bytes: max_bytes,
            min_bytes: 0,
            max_wait: Duration::ZERO,
            read_committed: false,
        };
        let question = FetchOnce {
            topic_id,
            offset,
            options,
        };
        let mut answers = self.ask_leaders(&question, [key.clone()]).await?;
        answers
            .remove(&key)
            .expect("every partition that was asked about is answered")
    }
}

struct FetchOnce {
    topic_id: Option<Uuid>,
    offset: i64,
    options: FetchOptions,
}

impl Question for FetchOnce {
    type Request = FetchRequest;
    type Answer = PartitionFetch;

    fn newest_version(&self) -> i16 {
        match self.topic_id {
            Some(_) => i16::MAX,
            None => FETCH_BY_TOPIC_ID - 1,
        }
    }

    fn request(&self, version: i16, partitions: &[Led]) -> FetchRequest {
        let id = self.topic_id.filter(|_| version >= FETCH_BY_TOPIC_ID);
        let topics = partitions.iter().map(|led| {
            let partition = FetchPartition::default()
                .with_partition(led.partition)
                .with_current_leader_epoch(led.epoch)
                .with_fetch_offset(self.offset)
                .with_partition_max_bytes(self.options.partition_max_bytes);
            FetchTopic::default()
                .with_topic(topic_name(&led.topic))
                .with_topic_id(id.unwrap_or_default())
                .with_partitions(vec![partition])
        });
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(self.options.max_wait_ms())
            .with_min_bytes(self.options.min_bytes)
            .with_max_bytes(self.options.max_bytes)
            .with_isolation_level(self.options.isolation_level())
            .with_session_epoch(NO_SESSION)
            .with_topics(topics.collect())
    }

    fn answers(
        &self,
        partitions: &[Led],
        answer: kafka_protocol::messages::FetchResponse,
    ) -> Answers<PartitionFetch> {
        let [asked] = partitions else {
            return Vec::new();
        };
        if let Some(code) = ErrorCode::from_wire(answer.error_code) {
            return vec![(asked.key(), Err(code))];
        }
        let data = answer
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions);
        let fetches = data
            .filter(|data| data.partition_index == asked.partition)
            .map(|data| {
                let fetch = partition_fetch(asked.topic.clone(), self.topic_id, self.offset, data);
                let result = match fetch.error {
                    None => Ok(fetch),
                    Some(code) => Err(code),
                };
                (asked.key(), result)
            });
        fetches.collect()
    }
}
