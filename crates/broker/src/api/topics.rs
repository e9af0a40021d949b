//! Creating, deleting, growing and trimming topics.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse,
};
use uuid::Uuid;

use super::configs::{DEFAULT, SET_ON_TOPIC};
use super::{code, text, topic_name};
use crate::cluster::{Cluster, NODE_ID};
use crate::configs::{Alteration, DEFINITIONS, TopicConfigs};
use crate::refusal::Refusal;
use crate::topics::TopicRef;

/// `DeleteRecordsRequest.HIGH_WATERMARK`.
const HIGH_WATERMARK: i64 = -1;

pub(super) fn create(cluster: &Cluster, request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|asked| {
        let named_twice = request
            .topics
            .iter()
            .filter(|other| other.name == asked.name)
            .count()
            > 1;
        let created = if named_twice {
            Err(Refusal::new(
                ResponseError::InvalidRequest,
                "Duplicate topic name.",
            ))
        } else {
            create_one(cluster, asked, request.validate_only)
        };
        let result = CreatableTopicResult::default().with_name(asked.name.clone());
        match created {
            Ok(Created {
                id,
                partitions,
                configs,
            }) => result
                .with_error_message(None)
                .with_topic_id(id)
                .with_num_partitions(partitions)
                .with_replication_factor(1)
                .with_configs(Some(describe(&configs))),
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(Some(text(refusal.message)))
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_configs(None),
        }
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

struct Created {
    id: Uuid,
    partitions: i32,
    configs: TopicConfigs,
}

fn create_one(
    cluster: &Cluster,
    asked: &CreatableTopic,
    validate_only: bool,
) -> Result<Created, Refusal> {
    let partitions = partition_count(cluster, asked)?;
    let mut configs = TopicConfigs::default();
    for config in &asked.configs {
        configs.alter(
            &config.name,
            Alteration::Set,
            config.value.as_ref().map(|value| value.as_str()),
        )?;
    }
    let mut topics = cluster.topics_mut();
    if validate_only {
        topics.check_new(&asked.name, partitions)?;
        return Ok(Created {
            id: Uuid::nil(),
            partitions,
            configs,
        });
    }
    let id = topics.create(&asked.name, partitions, configs.clone())?.id;
    Ok(Created {
        id,
        partitions,
        configs,
    })
}

/// The partitions a new topic gets, once its replicas are found possible on one node. −1 stands for a default.
fn partition_count(cluster: &Cluster, asked: &CreatableTopic) -> Result<i32, Refusal> {
    if !asked.assignments.is_empty() {
        let only_here = |brokers: &[BrokerId]| brokers == [BrokerId(NODE_ID)];
        if !asked
            .assignments
            .iter()
            .all(|assignment| only_here(&assignment.broker_ids))
        {
            return Err(Refusal::new(
                ResponseError::InvalidReplicaAssignment,
                format!("the only node is {NODE_ID}, and each partition has its one replica there"),
            ));
        }
        return Ok(i32::try_from(asked.assignments.len()).unwrap_or(i32::MAX));
    }
    match asked.replication_factor {
        -1 | 1 => {}
        factor if factor < 1 => {
            return Err(Refusal::new(
                ResponseError::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ));
        }
        factor => {
            return Err(Refusal::new(
                ResponseError::InvalidReplicationFactor,
                format!("{factor} replicas of a partition need as many nodes, and there is 1"),
            ));
        }
    }
    Ok(if asked.num_partitions == -1 {
        cluster.options.default_partitions
    } else {
        asked.num_partitions
    })
}

fn describe(configs: &TopicConfigs) -> Vec<CreatableTopicConfigs> {
    DEFINITIONS
        .iter()
        .map(|definition| {
            let (value, set) = configs.get(definition);
            CreatableTopicConfigs::default()
                .with_name(text(definition.name))
                .with_value(Some(text(value)))
                .with_config_source(if set { SET_ON_TOPIC } else { DEFAULT })
        })
        .collect()
}

pub(super) fn delete(
    cluster: &Cluster,
    request: &DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let named = request.topic_names.iter().map(|name| TopicRef::name(name));
    let asked = request.topics.iter().map(|topic| match &topic.name {
        Some(name) => TopicRef::name(name),
        None => TopicRef::Id(topic.topic_id),
    });
    let mut topics = cluster.topics_mut();
    let responses = named.chain(asked).map(|topic| {
        let result = DeletableTopicResult::default();
        match topics.delete(&topic) {
            Ok((name, id)) => {
                let id = if version >= 6 { id } else { Uuid::nil() };
                result.with_name(Some(topic_name(&name))).with_topic_id(id)
            }
            Err(refusal) => {
                let message = (version >= 5).then(|| text(refusal.message));
                let result = result
                    .with_error_code(refusal.code.code())
                    .with_error_message(message);
                match topic {
                    TopicRef::Name(name) => result.with_name(Some(topic_name(&name))),
                    TopicRef::Id(id) => result.with_name(None).with_topic_id(id),
                }
            }
        }
    });
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

pub(super) fn grow(
    cluster: &Cluster,
    request: &CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let results = request.topics.iter().map(|asked| {
        let grown = cluster
            .topics_mut()
            .grow(&asked.name, asked.count, request.validate_only);
        let result = CreatePartitionsTopicResult::default().with_name(asked.name.clone());
        match grown {
            Ok(()) => result.with_error_message(None),
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(Some(text(refusal.message))),
        }
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

pub(super) fn trim(cluster: &Cluster, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let trimmed = trim_one(cluster, &topic.name, asked.partition_index, asked.offset);
            DeleteRecordsPartitionResult::default()
                .with_partition_index(asked.partition_index)
                .with_low_watermark(trimmed.unwrap_or(-1))
                .with_error_code(code(trimmed.err()))
        });
        DeleteRecordsTopicResult::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

/// Deletes the records before `offset` and returns where the log starts then.
fn trim_one(cluster: &Cluster, topic: &str, index: i32, offset: i64) -> Result<i64, ResponseError> {
    let topics = cluster.topics();
    let topic = topics
        .get(&TopicRef::name(topic))
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let partition = topic
        .partition(index)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    if !topic.configs.settings().deletable {
        return Err(ResponseError::PolicyViolation);
    }
    let start = {
        let mut log = partition.log();
        let offset = if offset == HIGH_WATERMARK {
            log.end_offset()
        } else {
            offset
        };
        if offset < 0 {
            return Err(ResponseError::OffsetOutOfRange);
        }
        log.trim(offset)
            .map_err(|_| ResponseError::OffsetOutOfRange)?;
        log.start_offset()
    };
    partition.changed();
    Ok(start)
}
