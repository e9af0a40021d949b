//! Every version that is offered is served.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use armory_broker::Broker;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeProducersRequest,
    FindCoordinatorRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
};
use kafka_protocol::protocol::Request;

use crate::wire::{Wire, fetch_request, produce_request, text};

/// The versions on offer, by API.
pub(crate) async fn offered(wire: &mut Wire) -> BTreeMap<i16, RangeInclusive<i16>> {
    let answer = wire.call(4, named("wire", "1")).await;
    let offers = answer
        .api_keys
        .iter()
        .map(|offer| (offer.api_key, offer.min_version..=offer.max_version));
    offers.collect()
}

fn named(name: &str, version: &str) -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(text(name))
        .with_client_software_version(text(version))
}

/// Whether clients of some names, and of versions that have none, are told what is on offer.
pub(crate) async fn known_by_name(wire: &mut Wire) -> Vec<(i16, bool)> {
    let mut answers = Vec::new();
    for (api_version, name, version) in [
        (2, "", ""),
        (3, "", ""),
        (4, "", ""),
        (4, "wire", ""),
        (4, "", "1"),
        (4, "w", "1"),
        (4, "-wire", "1"),
        (4, "wire.", "1"),
        (4, "my wire", "1"),
        (4, "my-wire.x", "1.0-rc1"),
    ] {
        let answer = wire.call(api_version, named(name, version)).await;
        answers.push((answer.error_code, answer.api_keys.is_empty()));
    }
    answers
}

#[tokio::test]
async fn clients_have_to_name_themselves() {
    let broker = Broker::start().await.unwrap();
    let answers = known_by_name(&mut Wire::connect(&broker.bootstrap()).await).await;
    let (told, refused) = ((0, false), (42, true));
    let expected = [
        told, refused, refused, refused, refused, told, refused, refused, refused, told,
    ];
    assert_eq!(answers, expected);
}

struct Offers {
    wire: Wire,
    left: BTreeMap<i16, RangeInclusive<i16>>,
}

impl Offers {
    /// Sends a request in all offered versions; [`Wire::call`] checks that each answer is whole.
    async fn take<R: Request>(&mut self, request: impl Fn(i16) -> R) {
        let api = ApiKey::try_from(R::KEY).unwrap();
        let mut versions = self
            .left
            .remove(&R::KEY)
            .unwrap_or_else(|| panic!("{api:?} is offered"));
        if api == ApiKey::Produce {
            // Offered from 0 on for librdkafka's sake; below 3 there is no RecordBatch.
            versions = 3..=*versions.end();
        }
        for version in versions {
            self.wire.call(version, request(version)).await;
        }
    }
}

#[tokio::test]
async fn all_offered_versions_are_answered() {
    let broker = Broker::start().await.unwrap();
    let mut wire = Wire::connect(&broker.bootstrap()).await;
    let topic = wire.create_topic("t", 1, &[]).await;
    let left = offered(&mut wire).await;
    let mut offers = Offers { wire, left };
    let name = || topic.name.clone();
    // What goes well and what fails, as both must be encodable in all versions.
    let names = || [name(), text("absent").into()];

    offers.take(|_| named("wire", "1")).await;
    offers.take(|_| DescribeClusterRequest::default()).await;
    offers
        .take(|version| match version {
            0..4 => FindCoordinatorRequest::default().with_key(text("group")),
            _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("group")]),
        })
        .await;
    offers
        .take(|version| {
            let topics = names().map(|name| MetadataRequestTopic::default().with_name(Some(name)));
            MetadataRequest::default()
                .with_topics(Some(topics.to_vec()))
                .with_allow_auto_topic_creation(version < 4)
        })
        .await;
    offers
        .take(|version| {
            let good = CreatableTopic::default()
                .with_name(text(&format!("t{version}")).into())
                .with_num_partitions(1)
                .with_replication_factor(1);
            let bad = good.clone().with_name(text("a/b").into());
            CreateTopicsRequest::default().with_topics(vec![good, bad])
        })
        .await;
    offers
        .take(|version| {
            let partitions = vec![(0, None), (1, None)];
            produce_request(version, &topic, partitions).with_acks(-1)
        })
        .await;
    offers
        .take(|version| fetch_request(version, &topic, &[(0, 0), (1, 0)]))
        .await;
    offers
        .take(|_| {
            let topics = names().map(|name| {
                ListOffsetsTopic::default()
                    .with_name(name)
                    .with_partitions(vec![ListOffsetsPartition::default().with_timestamp(-1)])
            });
            ListOffsetsRequest::default().with_topics(topics.to_vec())
        })
        .await;
    offers
        .take(|_| {
            let topics = names().map(|name| {
                OffsetForLeaderTopic::default()
                    .with_topic(name)
                    .with_partitions(vec![OffsetForLeaderPartition::default()])
            });
            let request = OffsetForLeaderEpochRequest::default().with_topics(topics.to_vec());
            request.with_replica_id((-2).into())
        })
        .await;
    offers
        .take(|_| {
            let topics = names().map(|name| {
                DeleteRecordsTopic::default()
                    .with_name(name)
                    .with_partitions(vec![DeleteRecordsPartition::default()])
            });
            DeleteRecordsRequest::default().with_topics(topics.to_vec())
        })
        .await;
    offers
        .take(|_| InitProducerIdRequest::default().with_transactional_id(None))
        .await;
    offers
        .take(|_| {
            let resources = names().map(|name| {
                DescribeConfigsResource::default()
                    .with_resource_type(2)
                    .with_resource_name(name.0)
            });
            DescribeConfigsRequest::default().with_resources(resources.to_vec())
        })
        .await;
    offers
        .take(|_| {
            let resources = names().map(|name| {
                AlterConfigsResource::default()
                    .with_resource_type(2)
                    .with_resource_name(name.0)
            });
            IncrementalAlterConfigsRequest::default().with_resources(resources.to_vec())
        })
        .await;
    offers
        .take(|_| {
            let topics = names().map(|name| {
                CreatePartitionsTopic::default()
                    .with_name(name)
                    .with_count(1)
            });
            CreatePartitionsRequest::default().with_topics(topics.to_vec())
        })
        .await;
    offers
        .take(|_| {
            use kafka_protocol::messages::describe_producers_request::TopicRequest;
            let topics = names().map(|name| {
                TopicRequest::default()
                    .with_name(name)
                    .with_partition_indexes(vec![0])
            });
            DescribeProducersRequest::default().with_topics(topics.to_vec())
        })
        .await;
    offers
        .take(|version| match version {
            0..6 => DeleteTopicsRequest::default().with_topic_names(vec![
                text(&format!("t{}", version + 1)).into(),
                text("absent").into(),
            ]),
            _ => {
                let absent = DeleteTopicState::default().with_name(None);
                let there = DeleteTopicState::default().with_name(Some(name()));
                DeleteTopicsRequest::default().with_topics(vec![absent, there])
            }
        })
        .await;
    assert_eq!(
        offers.left,
        BTreeMap::new(),
        "each API that is offered is tried here"
    );
}
