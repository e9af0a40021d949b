//! Metadata: the node, and which topics and partitions there are.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};

use super::{text, topic_name};
use crate::cluster::{Cluster, HOST, NODE_ID};
use crate::configs::TopicConfigs;
use crate::topics::{Topic, TopicRef};

pub(super) fn answer(
    cluster: &Cluster,
    request: &MetadataRequest,
    version: i16,
) -> MetadataResponse {
    let topics = match &request.topics {
        None => all(cluster),
        Some(asked) if asked.is_empty() && version == 0 => all(cluster),
        Some(asked) => asked
            .iter()
            .map(|asked| match &asked.name {
                Some(name) => by_name(cluster, name, request.allow_auto_topic_creation),
                None => {
                    let topic = TopicRef::Id(asked.topic_id);
                    match cluster.topics().get(&topic) {
                        Some(found) => describe(found),
                        None => absent(topic.unknown().code).with_topic_id(asked.topic_id),
                    }
                }
            })
            .collect(),
    };
    let node = MetadataResponseBroker::default()
        .with_node_id(NODE_ID.into())
        .with_host(text(HOST))
        .with_port(cluster.port.into());
    MetadataResponse::default()
        .with_cluster_id(Some(text(&cluster.id)))
        .with_controller_id(NODE_ID.into())
        .with_brokers(vec![node])
        .with_topics(topics)
}

fn all(cluster: &Cluster) -> Vec<MetadataResponseTopic> {
    cluster.topics().iter().map(describe).collect()
}

fn by_name(cluster: &Cluster, name: &str, may_create: bool) -> MetadataResponseTopic {
    let topic = TopicRef::name(name);
    if let Some(found) = cluster.topics().get(&topic) {
        return describe(found);
    }
    if may_create && cluster.options.auto_create_topics {
        let mut topics = cluster.topics_mut();
        // Another connection may have been quicker.
        if let Some(found) = topics.get(&topic) {
            return describe(found);
        }
        return match topics.create(
            name,
            cluster.options.default_partitions,
            TopicConfigs::default(),
        ) {
            Ok(created) => describe(created),
            Err(refusal) => absent(refusal.code).with_name(Some(topic_name(name))),
        };
    }
    let error = match crate::topics::check_name(name) {
        Ok(()) => topic.unknown().code,
        Err(refusal) => refusal.code,
    };
    absent(error).with_name(Some(topic_name(name)))
}

fn absent(error: ResponseError) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(error.code())
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0..).zip(&topic.partitions).map(|(index, partition)| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(NODE_ID.into())
            .with_leader_epoch(partition.log().leader_epoch())
            .with_replica_nodes(vec![NODE_ID.into()])
            .with_isr_nodes(vec![NODE_ID.into()])
    });
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect())
}
