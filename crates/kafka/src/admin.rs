//! Creating, configuring and deleting topics, and deleting records.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_records_response::DeleteRecordsResponse;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::client::calls::check;
use crate::client::leaders::{Answers, Led, PartitionKey, Question, by_topic};
use crate::metadata::{topic_id, topic_name};
use crate::{Client, Error, ErrorCode};

/// `org.apache.kafka.common.config.ConfigResource.Type.TOPIC`.
const TOPIC_RESOURCE: i8 = 2;
/// `org.apache.kafka.clients.admin.AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;
/// `org.apache.kafka.common.requests.DescribeConfigsResponse.ConfigSource.TOPIC_CONFIG`.
const TOPIC_CONFIG: i8 = 1;
/// `CreateTopicsRequest.NO_REPLICATION_FACTOR`: the cluster's default (KIP-464).
const DEFAULT_REPLICATION_FACTOR: i16 = -1;
/// Topics whose configuration is asked for in one request: about 4 kB of answer each.
const CONFIGS_AT_ONCE: usize = 500;

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions it gets.
    pub partitions: i32,
    /// How many replicas each gets; `None` leaves it to the cluster.
    pub replication_factor: Option<i16>,
    /// Its settings, beside the cluster's defaults.
    pub configs: BTreeMap<String, String>,
}

/// A topic that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id. `None` on brokers before 2.8, and where creating was only tried.
    pub id: Option<Uuid>,
    /// How many replicas each partition has, or would have. `None` where the broker does not say (before 2.4).
    pub replication_factor: Option<i16>,
    /// What is configured for it, or would be, defaults included; empty where the broker does not say.
    pub configs: BTreeMap<String, String>,
}

/// One setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its value; `None` if it is sensitive or not set.
    pub value: Option<String>,
    /// Whether it was not set on the topic itself: it comes from the cluster, or is Kafka's default.
    pub is_default: bool,
    /// Whether the broker keeps the value to itself.
    pub sensitive: bool,
    /// Whether it cannot be changed.
    pub read_only: bool,
}

impl Client {
    /// Creates topics, or with `validate_only` asks whether they could be. New topics take a moment to be seen by all brokers.
    ///
    /// # Errors
    /// For the first topic that was refused, with the broker's reason; others of the same call may have been created. After a
    /// lost connection nothing is tried again, because the topics may be there.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Vec<CreatedTopic>, Error> {
        self.do_once(|| async {
            let timeout = self.config().request_timeout.as_millis() as i32;
            let build = |_| {
                CreateTopicsRequest::default()
                    .with_topics(topics.iter().map(creatable).collect())
                    .with_timeout_ms(timeout)
                    .with_validate_only(validate_only)
            };
            let answered = self.ask_controller(build).await?;
            let mut created = Vec::with_capacity(topics.len());
            for topic in answered.answer.topics {
                let name = topic.name.to_string();
                let message = topic.error_message.as_deref();
                check::<CreateTopicsRequest>(
                    &answered.broker,
                    topic.error_code,
                    Some(&name),
                    message,
                )?;
                let configs = topic.configs.unwrap_or_default().into_iter();
                created.push(CreatedTopic {
                    name,
                    id: topic_id(topic.topic_id),
                    replication_factor: (topic.replication_factor > 0)
                        .then_some(topic.replication_factor),
                    configs: configs
                        .filter_map(|config| {
                            Some((config.name.to_string(), config.value?.to_string()))
                        })
                        .collect(),
                });
            }
            Ok(created)
        })
        .await
    }

    /// Deletes topics. They take a moment to be gone from all brokers.
    ///
    /// # Errors
    /// For the first topic that was refused; others of the same call may have been deleted. After a lost connection nothing is
    /// tried again, because the topics may be gone.
    pub async fn delete_topics(&self, names: &[String]) -> Result<(), Error> {
        /// The first version that can name topics by id, and so has another field for their names.
        const BY_ID: i16 = 6;
        self.do_once(|| async {
            let timeout = self.config().request_timeout.as_millis() as i32;
            let build = |version| {
                let request = DeleteTopicsRequest::default().with_timeout_ms(timeout);
                let names = names.iter().map(|name| topic_name(name));
                if version >= BY_ID {
                    let topics =
                        names.map(|name| DeleteTopicState::default().with_name(Some(name)));
                    request.with_topics(topics.collect())
                } else {
                    request.with_topic_names(names.collect())
                }
            };
            let answered = self.ask_controller(build).await?;
            for topic in answered.answer.responses {
                let name = topic.name.map(|name| name.to_string());
                let message = topic.error_message.as_deref();
                check::<DeleteTopicsRequest>(
                    &answered.broker,
                    topic.error_code,
                    name.as_deref(),
                    message,
                )?;
            }
            Ok(())
        })
        .await
    }

    /// The settings of topics, defaults included.
    ///
    /// # Errors
    /// If no broker answers, or one refuses a topic; a topic that does not exist is refused.
    pub async fn describe_topic_configs(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, BTreeMap<String, ConfigEntry>>, Error> {
        let mut described = BTreeMap::new();
        for names in names.chunks(CONFIGS_AT_ONCE) {
            let some = self
                .repeat(|| self.describe_some_topic_configs(names))
                .await?;
            described.extend(some);
        }
        Ok(described)
    }

    async fn describe_some_topic_configs(
        &self,
        names: &[String],
    ) -> Result<Vec<(String, BTreeMap<String, ConfigEntry>)>, Error> {
        let build = |_| {
            let resources = names.iter().map(|name| {
                DescribeConfigsResource::default()
                    .with_resource_type(TOPIC_RESOURCE)
                    .with_resource_name(StrBytes::from_string(name.clone()))
                    .with_configuration_keys(None)
            });
            DescribeConfigsRequest::default().with_resources(resources.collect())
        };
        let answered = self.ask_any(build).await?;
        let mut described = Vec::with_capacity(names.len());
        for topic in answered.answer.results {
            let name = topic.resource_name.to_string();
            let message = topic.error_message.as_deref();
            check::<DescribeConfigsRequest>(
                &answered.broker,
                topic.error_code,
                Some(&name),
                message,
            )?;
            let entries = topic
                .configs
                .iter()
                .map(|config| (config.name.to_string(), ConfigEntry::from(config)));
            described.push((name, entries.collect()));
        }
        Ok(described)
    }

    /// Sets some settings of a topic and sets others back to the cluster's defaults; the rest stay as they are.
    ///
    /// # Errors
    /// If the broker refuses, with its reason. After a lost connection it is done again, which changes nothing more.
    pub async fn alter_topic_configs(
        &self,
        topic: &str,
        set: &BTreeMap<String, String>,
        delete: &[String],
    ) -> Result<(), Error> {
        let change = |name: &String, operation, value: Option<&String>| {
            AlterableConfig::default()
                .with_name(StrBytes::from_string(name.clone()))
                .with_config_operation(operation)
                .with_value(value.map(|value| StrBytes::from_string(value.clone())))
        };
        self.repeat(|| async {
            let build = |_| {
                let set = set
                    .iter()
                    .map(|(name, value)| change(name, SET, Some(value)));
                let delete = delete.iter().map(|name| change(name, DELETE, None));
                let resource = AlterConfigsResource::default()
                    .with_resource_type(TOPIC_RESOURCE)
                    .with_resource_name(StrBytes::from_string(topic.to_owned()))
                    .with_configs(set.chain(delete).collect());
                IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
            };
            let answered = self.ask_controller(build).await?;
            for answer in answered.answer.responses {
                let message = answer.error_message.as_deref();
                check::<IncrementalAlterConfigsRequest>(
                    &answered.broker,
                    answer.error_code,
                    Some(topic),
                    message,
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Deletes the records before `offset` (exclusive) and returns the new log start.
    ///
    /// # Errors
    /// If the leader cannot be asked or answers with an error code.
    pub async fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<i64, Error> {
        let key: PartitionKey = (topic.to_owned(), partition);
        let timeout_ms = self.config().request_timeout.as_millis() as i32;
        let question = DeleteRecords { offset, timeout_ms };
        let mut answers = self.ask_leaders(&question, [key.clone()]).await?;
        answers
            .remove(&key)
            .expect("every partition that was asked about is answered")
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(name.clone()))
            .with_value(Some(StrBytes::from_string(value.clone())))
    });
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(
            topic
                .replication_factor
                .unwrap_or(DEFAULT_REPLICATION_FACTOR),
        )
        .with_configs(configs.collect())
}

impl From<&DescribeConfigsResourceResult> for ConfigEntry {
    fn from(config: &DescribeConfigsResourceResult) -> ConfigEntry {
        ConfigEntry {
            value: config.value.as_ref().map(|value| value.to_string()),
            is_default: config.config_source != TOPIC_CONFIG,
            sensitive: config.is_sensitive,
            read_only: config.read_only,
        }
    }
}

/// Deleting twice what lies before the same offset does nothing more than deleting it once.
struct DeleteRecords {
    offset: i64,
    timeout_ms: i32,
}

impl Question for DeleteRecords {
    type Request = DeleteRecordsRequest;
    type Answer = i64;

    fn request(&self, _: i16, partitions: &[Led]) -> DeleteRecordsRequest {
        let topics = by_topic(partitions).map(|(topic, led)| {
            let partitions = led.iter().map(|led| {
                DeleteRecordsPartition::default()
                    .with_partition_index(led.partition)
                    .with_offset(self.offset)
            });
            DeleteRecordsTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions.collect())
        });
        DeleteRecordsRequest::default()
            .with_topics(topics.collect())
            .with_timeout_ms(self.timeout_ms)
    }

    fn answers(&self, _: &[Led], answer: DeleteRecordsResponse) -> Answers<i64> {
        let mut answers = Vec::new();
        for topic in answer.topics {
            for partition in topic.partitions {
                let result = ErrorCode::from_wire(partition.error_code)
                    .map_or(Ok(partition.low_watermark), Err);
                answers.push(((topic.name.to_string(), partition.partition_index), result));
            }
        }
        answers
    }
}
