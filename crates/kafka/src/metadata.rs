//! What a cluster consists of: brokers, topics, partitions and their leaders.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::client::calls::check;
use crate::{Client, Error, ErrorCode};

/// Which topics to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicFilter<'a> {
    /// Every topic that the client may see.
    All,
    /// These. None at all is a cheap way to ask for the brokers.
    Names(&'a [String]),
}

/// A cluster at one moment, as one of its brokers sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The broker to send administration to.
    pub controller: Option<i32>,
    /// The brokers that are alive.
    pub brokers: Vec<Broker>,
    /// The topics that were asked for. One that does not exist is there with its error.
    pub topics: Vec<TopicMetadata>,
}

/// A broker and where clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its name.
    pub name: String,
    /// Its id, which a topic that is deleted and created again does not keep (KIP-516). `None` on brokers before 2.8.
    pub id: Option<Uuid>,
    /// Whether Kafka keeps it for itself, as `__consumer_offsets`.
    pub internal: bool,
    /// Why there is no more to say about the topic.
    pub error: Option<ErrorCode>,
    /// Its partitions, sorted by number.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Its number.
    pub index: i32,
    /// The broker that leads it, if one does.
    pub leader: Option<i32>,
    /// How often its leader has changed; −1 where the broker does not say.
    pub leader_epoch: i32,
    /// How many replicas it has.
    pub replicas: usize,
    /// How many of them are in sync.
    pub in_sync: usize,
    /// What is wrong with it. It may have a leader nevertheless.
    pub error: Option<ErrorCode>,
}

impl TopicMetadata {
    /// The partition of that number.
    pub fn partition(&self, index: i32) -> Option<&PartitionMetadata> {
        let place = self
            .partitions
            .binary_search_by_key(&index, |partition| partition.index);
        place.ok().map(|place| &self.partitions[place])
    }
}

impl Client {
    /// Asks any broker for the cluster's brokers and topics. Topics are never created by asking for them.
    ///
    /// # Errors
    /// If no broker answers within [`crate::ClientConfig::call_timeout`], or one answers in a way that trying again
    /// would not change. What is wrong with a topic is in its [`TopicMetadata::error`].
    pub async fn metadata(&self, filter: TopicFilter<'_>) -> Result<Metadata, Error> {
        let metadata = self
            .repeat(|| async {
                let answered = self.ask_any(|_| request(filter)).await?;
                check::<MetadataRequest>(&answered.broker, answered.answer.error_code, None, None)?;
                Ok(Metadata::from(answered.answer))
            })
            .await?;
        self.remember(&metadata, filter == TopicFilter::All);
        Ok(metadata)
    }
}

fn request(filter: TopicFilter<'_>) -> MetadataRequest {
    let topics = match filter {
        TopicFilter::All => None,
        TopicFilter::Names(names) => Some(names.iter().map(|name| topic_name(name)).collect()),
    };
    let topics = topics.map(|names: Vec<TopicName>| {
        names
            .into_iter()
            .map(|name| MetadataRequestTopic::default().with_name(Some(name)))
            .collect()
    });
    MetadataRequest::default()
        .with_topics(topics)
        .with_allow_auto_topic_creation(false)
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A topic id of the wire, where all zeroes stand for none.
pub(crate) fn topic_id(id: Uuid) -> Option<Uuid> {
    (!id.is_nil()).then_some(id)
}

/// A broker id of the wire, where negative ones stand for none.
fn broker_id(id: i32) -> Option<i32> {
    (id >= 0).then_some(id)
}

impl From<MetadataResponse> for Metadata {
    fn from(answer: MetadataResponse) -> Metadata {
        Metadata {
            cluster_id: answer.cluster_id.map(|id| id.to_string()),
            controller: broker_id(answer.controller_id.0),
            brokers: answer.brokers.iter().map(Broker::from).collect(),
            topics: answer.topics.into_iter().map(TopicMetadata::from).collect(),
        }
    }
}

impl From<&MetadataResponseBroker> for Broker {
    fn from(broker: &MetadataResponseBroker) -> Broker {
        Broker {
            id: broker.node_id.0,
            host: broker.host.to_string(),
            port: u16::try_from(broker.port).unwrap_or_default(),
        }
    }
}

impl From<MetadataResponseTopic> for TopicMetadata {
    fn from(topic: MetadataResponseTopic) -> TopicMetadata {
        let mut partitions: Vec<PartitionMetadata> = topic
            .partitions
            .iter()
            .map(PartitionMetadata::from)
            .collect();
        partitions.sort_by_key(|partition| partition.index);
        TopicMetadata {
            name: topic.name.map(|name| name.to_string()).unwrap_or_default(),
            id: topic_id(topic.topic_id),
            internal: topic.is_internal,
            error: ErrorCode::from_wire(topic.error_code),
            partitions,
        }
    }
}

impl From<&MetadataResponsePartition> for PartitionMetadata {
    fn from(partition: &MetadataResponsePartition) -> PartitionMetadata {
        PartitionMetadata {
            index: partition.partition_index,
            leader: broker_id(partition.leader_id.0),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.len(),
            in_sync: partition.isr_nodes.len(),
            error: ErrorCode::from_wire(partition.error_code),
        }
    }
}
