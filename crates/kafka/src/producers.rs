//! Producer ids: getting one, and asking which of them a partition's leader remembers.

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::DescribeProducersResponse;
use kafka_protocol::messages::{DescribeProducersRequest, InitProducerIdRequest};

use crate::client::calls::check;
use crate::client::leaders::{Answers, Led, Question, by_topic};
use crate::metadata::topic_name;
use crate::{Client, Error, ErrorCode};

/// What a partition's leader remembers of a producer (KIP-664).
///
/// The memory is aged by the timestamps of records: of a producer that writes old ones, it may be gone at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer id.
    pub producer_id: i64,
    /// The producer epoch.
    pub producer_epoch: i32,
    /// The sequence number of the last record that was appended; −1 if there is none.
    pub last_sequence: i32,
    /// The timestamp of that record's batch, in ms; −1 if there is none.
    pub last_timestamp: i64,
    /// The offset at which an open transaction of the producer began.
    pub transaction_start_offset: Option<i64>,
}

impl Client {
    /// A new producer id and its epoch, for idempotent producing without transactions.
    ///
    /// # Errors
    /// If no broker gives one within [`crate::ClientConfig::call_timeout`].
    pub async fn init_producer_id(&self) -> Result<(i64, i16), Error> {
        self.repeat(|| async {
            // The codec's default is an empty transactional id, which brokers refuse: there must be none.
            let answered = self
                .ask_any(|_| {
                    InitProducerIdRequest::default()
                        .with_transactional_id(None)
                        .with_transaction_timeout_ms(-1)
                })
                .await?;
            let answer = answered.answer;
            check::<InitProducerIdRequest>(&answered.broker, answer.error_code, None, None)?;
            Ok((answer.producer_id.0, answer.producer_epoch))
        })
        .await
    }

    /// The producers that the leader of a partition remembers.
    ///
    /// # Errors
    /// If the leader cannot be asked or answers with an error code.
    pub async fn describe_producers(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Vec<ProducerState>, Error> {
        let key = (topic.to_owned(), partition);
        let mut answers = self.ask_leaders(&DescribeProducers, [key.clone()]).await?;
        answers
            .remove(&key)
            .expect("every partition that was asked about is answered")
    }
}

struct DescribeProducers;

impl Question for DescribeProducers {
    type Request = DescribeProducersRequest;
    type Answer = Vec<ProducerState>;

    fn request(&self, _: i16, partitions: &[Led]) -> DescribeProducersRequest {
        let topics = by_topic(partitions).map(|(topic, led)| {
            TopicRequest::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(led.iter().map(|led| led.partition).collect())
        });
        DescribeProducersRequest::default().with_topics(topics.collect())
    }

    fn answers(&self, _: &[Led], answer: DescribeProducersResponse) -> Answers<Vec<ProducerState>> {
        let mut answers = Vec::new();
        for topic in answer.topics {
            for partition in topic.partitions {
                let producers = partition
                    .active_producers
                    .iter()
                    .map(|state| ProducerState {
                        producer_id: state.producer_id.0,
                        producer_epoch: state.producer_epoch,
                        last_sequence: state.last_sequence,
                        last_timestamp: state.last_timestamp,
                        transaction_start_offset: (state.current_txn_start_offset >= 0)
                            .then_some(state.current_txn_start_offset),
                    });
                let result = match ErrorCode::from_wire(partition.error_code) {
                    None => Ok(producers.collect()),
                    Some(code) => Err(code),
                };
                answers.push(((topic.name.to_string(), partition.partition_index), result));
            }
        }
        answers
    }
}
