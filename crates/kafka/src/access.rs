//! What the user may do with topics.

use std::collections::BTreeMap;

use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;

use crate::client::calls::check;
use crate::metadata::topic_name;
use crate::{Client, Error};

/// `org.apache.kafka.common.acl.AclOperation.WRITE`.
const WRITE: u32 = 4;
/// The first version of Metadata that tells operations (KIP-430).
const TELLS_OPERATIONS: i16 = 8;
/// What stands for "not told".
const NOT_TOLD: i32 = i32::MIN;

impl Client {
    /// Whether the user may write to topics. One that the broker tells nothing about, as before Kafka 2.3, is not in the answer.
    ///
    /// # Errors
    /// If no broker answers.
    pub async fn may_write(&self, topics: &[String]) -> Result<BTreeMap<String, bool>, Error> {
        self.repeat(|| async {
            let build = |version| {
                let topics = topics
                    .iter()
                    .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
                MetadataRequest::default()
                    .with_topics(Some(topics.collect()))
                    .with_allow_auto_topic_creation(false)
                    .with_include_topic_authorized_operations(version >= TELLS_OPERATIONS)
            };
            let answered = self.ask_any(build).await?;
            check::<MetadataRequest>(&answered.broker, answered.answer.error_code, None, None)?;
            let told = answered
                .answer
                .topics
                .into_iter()
                .filter(|topic| topic.topic_authorized_operations != NOT_TOLD);
            Ok(told
                .filter_map(|topic| {
                    let may_write = topic.topic_authorized_operations & (1 << WRITE) != 0;
                    Some((topic.name?.to_string(), may_write))
                })
                .collect())
        })
        .await
    }
}
