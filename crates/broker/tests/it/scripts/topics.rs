//! Creating, configuring, growing and deleting topics.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, MetadataRequest, TopicName,
};
use uuid::Uuid;

use super::unique;
use crate::transcripts::{Transcript, error};
use crate::wire::{Named, Wire, text};

pub(crate) async fn play(wire: &mut Wire, transcript: &mut Transcript) {
    create(wire, transcript).await;
    configure(wire, transcript).await;
    grow(wire, transcript).await;
    describe(wire, transcript).await;
    delete(wire, transcript).await;
}

fn new_topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(text(name).into())
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn with_config(name: &str, value: Option<&str>) -> CreatableTopic {
    let config = CreatableTopicConfig::default()
        .with_name(text(name))
        .with_value(value.map(text));
    new_topic(&unique("config"), 1, 1).with_configs(vec![config])
}

async fn create(wire: &mut Wire, transcript: &mut Transcript) {
    transcript.heading("creating");
    let there = unique("topics.a");
    wire.create_topic(&there, 1, &[]).await;
    let assigned = |broker: i32| {
        let assignment = CreatableReplicaAssignment::default()
            .with_partition_index(0)
            .with_broker_ids(vec![broker.into()]);
        new_topic(&unique("topics"), -1, -1).with_assignments(vec![assignment])
    };
    let cases = [
        ("plain", new_topic(&unique("topics"), 3, 1)),
        ("defaults", new_topic(&unique("topics"), -1, -1)),
        ("assigned", assigned(1)),
        ("assigned to nobody", assigned(77)),
        ("there already", new_topic(&there, 1, 1)),
        ("too similar", new_topic(&there.replace('.', "_"), 1, 1)),
        ("no partitions", new_topic(&unique("topics"), 0, 1)),
        ("negative partitions", new_topic(&unique("topics"), -2, 1)),
        ("no replicas", new_topic(&unique("topics"), 1, 0)),
        ("too many replicas", new_topic(&unique("topics"), 1, 3)),
        ("empty name", new_topic("", 1, 1)),
        ("name .", new_topic(".", 1, 1)),
        ("name with a slash", new_topic("a/b", 1, 1)),
        (
            "name of 249",
            new_topic(&format!("{:x<249}", unique("t")), 1, 1),
        ),
        (
            "name of 250",
            new_topic(&format!("{:x<250}", unique("t")), 1, 1),
        ),
        ("unknown config", with_config("no.such.config", Some("1"))),
        (
            "malformed config",
            with_config("max.message.bytes", Some("many")),
        ),
        (
            "config out of bounds",
            with_config("max.message.bytes", Some("-1")),
        ),
        (
            "config without a value",
            with_config("max.message.bytes", None),
        ),
        (
            "other policy",
            with_config("cleanup.policy", Some("compact,delete")),
        ),
        (
            "unknown policy",
            with_config("cleanup.policy", Some("shred")),
        ),
    ];
    for (what, topic) in cases {
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let answer = wire.call(7, request).await;
        transcript.line(what, created(&answer.topics[0]));
    }
    let topic = new_topic(&unique("topics"), 2, 1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic.clone()])
        .with_validate_only(true);
    let answer = wire.call(7, request).await;
    transcript.line("only validated", error(answer.topics[0].error_code));
    transcript.line(
        "after that",
        error(wire.describe_topic(&topic.name).await.0),
    );
    let request = CreateTopicsRequest::default().with_topics(vec![topic.clone(), topic]);
    let answer = wire.call(7, request).await;
    transcript.line("twice in one request", error(answer.topics[0].error_code));
}

fn created(result: &CreatableTopicResult) -> String {
    let id = if result.topic_id.is_nil() {
        "no id"
    } else {
        "id"
    };
    format!(
        "{}, {id}, {} partitions, {} replicas, message {}",
        error(result.error_code),
        result.num_partitions,
        result.replication_factor,
        result.error_message.is_some()
    )
}

async fn configure(wire: &mut Wire, transcript: &mut Transcript) {
    transcript.heading("configuring");
    let topic = wire
        .create_topic(&unique("topics"), 1, &[("max.message.bytes", "5000")])
        .await;
    configs(wire, transcript, &topic.name, None).await;
    // Operation: 0 set, 1 delete, 2 append, 3 subtract. Left out is what no client sends and Kafka is peculiar about:
    // it takes "NaN" for any fraction, does not trim what is subtracted, and knows how throttled replicas are written.
    let cases = [
        ("set", "retention.ms", 0, Some("1234")),
        ("set again", "max.message.bytes", 0, Some("6000")),
        ("delete", "max.message.bytes", 1, None),
        ("delete what was not set", "segment.bytes", 1, None),
        ("append", "cleanup.policy", 2, Some("compact")),
        ("append what is there", "cleanup.policy", 2, Some("compact")),
        ("subtract", "cleanup.policy", 3, Some("delete")),
        ("append to no list", "retention.ms", 2, Some("1")),
        ("subtract from no list", "retention.ms", 3, Some("1")),
        ("unknown", "no.such.config", 0, Some("1")),
        ("malformed", "retention.ms", 0, Some("long")),
        ("out of bounds", "retention.ms", 0, Some("-2")),
        ("boolean", "preallocate", 0, Some("TRUE")),
        ("no boolean", "preallocate", 0, Some("yes")),
        ("zeros and a sign", "flush.ms", 0, Some("+0077")),
        ("no fraction", "min.cleanable.dirty.ratio", 0, Some("1")),
        ("zeros", "min.cleanable.dirty.ratio", 0, Some("00.250")),
        ("not a number", "min.cleanable.dirty.ratio", 0, Some("half")),
        (
            "blanks in a list",
            "leader.replication.throttled.replicas",
            0,
            Some(" 0:1 , 1:1 "),
        ),
        ("repeated", "cleanup.policy", 0, Some("compact,compact")),
        ("holes", "cleanup.policy", 0, Some("compact,,delete")),
        ("nothing", "cleanup.policy", 0, Some("")),
        ("append to nothing", "cleanup.policy", 2, Some("compact")),
        (
            "append two",
            "follower.replication.throttled.replicas",
            2,
            Some("0:1,1:1"),
        ),
        (
            "append one of two",
            "follower.replication.throttled.replicas",
            2,
            Some("1:1,2:1"),
        ),
        ("remote", "remote.storage.enable", 0, Some("true")),
        ("blanks", "segment.ms", 0, Some(" 77 ")),
        (
            "unknown timestamp type",
            "message.timestamp.type",
            0,
            Some("logappendtime"),
        ),
        ("small segments", "segment.bytes", 0, Some("1000")),
        ("unknown operation", "retention.ms", 9, Some("1")),
        ("null", "retention.ms", 0, None),
    ];
    for (what, name, operation, value) in cases {
        let answer = alter(wire, &topic.name, name, operation, value).await;
        transcript.line(what, answer);
    }
    let absent: TopicName = text("no-such-topic").into();
    let answer = alter(wire, &absent, "retention.ms", 0, Some("1")).await;
    transcript.line("no topic", answer);
    // Kafka applies changes behind its answers.
    wire.until("the changes are in force", async |wire| {
        let value = config_value(wire, &topic.name, "segment.ms").await;
        value.is_some_and(|value| value.trim() == "77")
    })
    .await;
    let changed = [
        "cleanup.policy",
        "flush.ms",
        "follower.replication.throttled.replicas",
        "leader.replication.throttled.replicas",
        "max.message.bytes",
        "min.cleanable.dirty.ratio",
        "preallocate",
        "retention.ms",
        "segment.ms",
        "nonsense",
    ];
    configs(wire, transcript, &topic.name, Some(&changed)).await;
    configs(wire, transcript, &absent, None).await;
}

async fn alter(
    wire: &mut Wire,
    topic: &TopicName,
    name: &str,
    operation: i8,
    value: Option<&str>,
) -> String {
    let config = AlterableConfig::default()
        .with_name(text(name))
        .with_config_operation(operation)
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(topic.0.clone())
        .with_configs(vec![config]);
    let answer = wire
        .call(
            1,
            IncrementalAlterConfigsRequest::default().with_resources(vec![resource]),
        )
        .await;
    error(answer.responses[0].error_code)
}

fn describe_request(topic: &TopicName, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(topic.0.clone())
        .with_configuration_keys(keys);
    DescribeConfigsRequest::default().with_resources(vec![resource])
}

async fn config_value(wire: &mut Wire, topic: &TopicName, name: &str) -> Option<String> {
    let answer = wire.call(4, describe_request(topic, Some(&[name]))).await;
    let value = answer.results[0].configs.first()?.value.as_ref()?;
    Some(value.as_str().to_owned())
}

async fn configs(
    wire: &mut Wire,
    transcript: &mut Transcript,
    topic: &TopicName,
    keys: Option<&[&str]>,
) {
    let answer = wire.call(4, describe_request(topic, keys)).await;
    let result = &answer.results[0];
    transcript.line("described", error(result.error_code));
    let mut entries: Vec<_> = result.configs.iter().collect();
    entries.sort_by_key(|entry| entry.name.as_str());
    for entry in entries {
        // What a node's own configuration says differs; everything else must not.
        let set_by_node = [
            "file.delete.delay.ms",
            "min.insync.replicas",
            "retention.ms",
        ]
        .contains(&entry.name.as_str());
        let value = if set_by_node && entry.config_source != 1 {
            "up to the node".to_owned()
        } else {
            format!(
                "{:?}, source {}",
                entry.value.as_ref().map(|value| value.as_str()),
                entry.config_source
            )
        };
        transcript.line(
            &entry.name,
            format!(
                "{value}, type {}, read only {}, sensitive {}",
                entry.config_type, entry.read_only, entry.is_sensitive
            ),
        );
    }
}

async fn grow(wire: &mut Wire, transcript: &mut Transcript) {
    transcript.heading("growing");
    let topic = wire.create_topic(&unique("topics"), 2, &[]).await;
    for (what, count, validate_only) in [
        ("validated", 4, true),
        ("not more", 2, false),
        ("fewer", 1, false),
        ("more", 3, false),
    ] {
        let asked = CreatePartitionsTopic::default()
            .with_name(topic.name.clone())
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![asked])
            .with_timeout_ms(10_000)
            .with_validate_only(validate_only);
        transcript.line(
            what,
            error(wire.call(3, request).await.results[0].error_code),
        );
    }
    wire.until("the topic grows", async |wire| {
        wire.describe_topic(&topic.name).await.1 == 3
    })
    .await;
    let asked = CreatePartitionsTopic::default()
        .with_name(text("no-such-topic").into())
        .with_count(4)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![asked])
        .with_timeout_ms(10_000);
    transcript.line(
        "no topic",
        error(wire.call(3, request).await.results[0].error_code),
    );
}

async fn describe(wire: &mut Wire, transcript: &mut Transcript) {
    transcript.heading("describing");
    let topic = wire.create_topic(&unique("topics"), 2, &[]).await;
    for version in 0..=13 {
        let asked = MetadataRequestTopic::default().with_name(Some(topic.name.clone()));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        metadata(
            wire,
            transcript,
            &format!("by name, version {version}"),
            version,
            request,
        )
        .await;
    }
    let by_id = |id: Uuid| {
        let asked = MetadataRequestTopic::default()
            .with_name(None)
            .with_topic_id(id);
        MetadataRequest::default().with_topics(Some(vec![asked]))
    };
    metadata(wire, transcript, "by id", 12, by_id(topic.id)).await;
    metadata(
        wire,
        transcript,
        "by unknown id",
        12,
        by_id(Uuid::from_u128(77)),
    )
    .await;
    for (what, name) in [("absent", "no-such-topic"), ("illegal", "a/b")] {
        let asked = MetadataRequestTopic::default().with_name(Some(text(name).into()));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![asked]))
            .with_allow_auto_topic_creation(false);
        metadata(wire, transcript, what, 12, request).await;
    }
    let none = MetadataRequest::default().with_topics(Some(Vec::new()));
    metadata(wire, transcript, "none", 12, none).await;
    let all = wire
        .call(12, MetadataRequest::default().with_topics(None))
        .await;
    let found = all
        .topics
        .iter()
        .any(|found| found.name.as_ref() == Some(&topic.name));
    transcript.line("among all", found);
}

async fn metadata(
    wire: &mut Wire,
    transcript: &mut Transcript,
    what: &str,
    version: i16,
    request: MetadataRequest,
) {
    let answer = wire.call(version, request).await;
    let topics = answer.topics.iter().map(|topic| {
        let partitions: Vec<String> = topic
            .partitions
            .iter()
            .map(|partition| {
                format!(
                    "{} {} leader {} epoch {} of {:?} in sync {:?}",
                    partition.partition_index,
                    error(partition.error_code),
                    *partition.leader_id,
                    partition.leader_epoch,
                    partition
                        .replica_nodes
                        .iter()
                        .map(|id| id.0)
                        .collect::<Vec<_>>(),
                    partition
                        .isr_nodes
                        .iter()
                        .map(|id| id.0)
                        .collect::<Vec<_>>(),
                )
            })
            .collect();
        format!(
            "{}, name {}, id {}, internal {}, operations {}, {partitions:?}",
            error(topic.error_code),
            topic.name.as_ref().is_some_and(|name| !name.is_empty()),
            !topic.topic_id.is_nil(),
            topic.is_internal,
            topic.topic_authorized_operations
        )
    });
    let topics: Vec<String> = topics.collect();
    transcript.line(
        what,
        format!("{} nodes, {}", answer.brokers.len(), topics.join("; ")),
    );
}

async fn delete(wire: &mut Wire, transcript: &mut Transcript) {
    transcript.heading("deleting");
    for (what, version, by_id) in [
        ("by name, version 5", 5, false),
        ("by name", 6, false),
        ("by id", 6, true),
    ] {
        let topic = wire.create_topic(&unique("topics"), 1, &[]).await;
        for again in ["", ", again"] {
            let request = delete_request(version, &topic, by_id);
            let answer = wire.call(version, request).await;
            let response = &answer.responses[0];
            transcript.line(
                &format!("{what}{again}"),
                format!(
                    "{}, named {}, id {}",
                    error(response.error_code),
                    response.name.is_some(),
                    !response.topic_id.is_nil()
                ),
            );
            wire.until("the topic is gone", async |wire| {
                wire.describe_topic(&topic.name).await.0 == 3
            })
            .await;
        }
        let reborn = wire.create_topic(&topic.name, 1, &[]).await;
        transcript.line(
            "created again",
            if reborn.id == topic.id {
                "same id"
            } else {
                "new id"
            },
        );
    }
}

fn delete_request(version: i16, topic: &Named, by_id: bool) -> DeleteTopicsRequest {
    let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
    if version < 6 {
        return request.with_topic_names(vec![topic.name.clone()]);
    }
    let asked = DeleteTopicState::default();
    request.with_topics(vec![if by_id {
        asked.with_name(None).with_topic_id(topic.id)
    } else {
        asked.with_name(Some(topic.name.clone()))
    }])
}
