//! The requests this broker serves, one module for each group: from wire messages to the state and back.

mod cluster;
mod configs;
mod fetch;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod topics;

use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestKind, ResponseKind};

use crate::cluster::Cluster;

/// Every API that is served, and the versions.
///
/// `kafka-protocol` 0.18 has the versions of Apache Kafka 4.x. Clients are told of them as Kafka tells: produce claims
/// to begin at 0 (KIP-896 left it so for librdkafka, which infers the codecs it may use from it) although requests
/// below 3 are refused.
const SERVED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 13),
    (ApiKey::Fetch, 4, 18),
    (ApiKey::ListOffsets, 1, 10),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::DescribeCluster, 0, 2),
    (ApiKey::DescribeProducers, 0, 0),
];

/// What happens to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Respond(Box<ResponseKind>),
    /// The client asked for no answer (produce with `acks=0`).
    Silence,
    /// The connection is closed, which is how a broker refuses what it cannot answer.
    Disconnect,
}

/// Whether a request of this version can be decoded and served.
pub(crate) fn serves(api: ApiKey, version: i16) -> bool {
    SERVED
        .iter()
        .any(|(served, min, max)| *served == api && (*min..=*max).contains(&version))
}

/// The answer to an ApiVersions request of a version that is not served: version 0 of the response, with error 35 and
/// the list by which the client can choose another (KIP-511).
pub(crate) fn unsupported_api_versions() -> ApiVersionsResponse {
    cluster::offer(Some(kafka_protocol::ResponseError::UnsupportedVersion))
}

/// Serves one request.
pub(crate) async fn answer(cluster: &Cluster, request: RequestKind, version: i16) -> Answer {
    let response = match request {
        RequestKind::ApiVersions(request) => {
            ResponseKind::ApiVersions(cluster::api_versions(&request, version))
        }
        RequestKind::DescribeCluster(_) => {
            ResponseKind::DescribeCluster(cluster::describe(cluster))
        }
        RequestKind::FindCoordinator(request) => {
            ResponseKind::FindCoordinator(cluster::find_coordinator(&request, version))
        }
        RequestKind::Metadata(request) => {
            ResponseKind::Metadata(metadata::answer(cluster, &request, version))
        }
        RequestKind::CreateTopics(request) => {
            ResponseKind::CreateTopics(topics::create(cluster, &request))
        }
        RequestKind::DeleteTopics(request) => {
            ResponseKind::DeleteTopics(topics::delete(cluster, &request, version))
        }
        RequestKind::CreatePartitions(request) => {
            ResponseKind::CreatePartitions(topics::grow(cluster, &request))
        }
        RequestKind::DeleteRecords(request) => {
            ResponseKind::DeleteRecords(topics::trim(cluster, &request))
        }
        RequestKind::DescribeConfigs(request) => {
            ResponseKind::DescribeConfigs(configs::describe(cluster, &request))
        }
        RequestKind::IncrementalAlterConfigs(request) => {
            ResponseKind::IncrementalAlterConfigs(configs::alter(cluster, &request))
        }
        RequestKind::InitProducerId(request) => {
            ResponseKind::InitProducerId(producers::init(cluster, &request))
        }
        RequestKind::DescribeProducers(request) => {
            ResponseKind::DescribeProducers(producers::describe(cluster, &request))
        }
        RequestKind::ListOffsets(request) => {
            ResponseKind::ListOffsets(offsets::list(cluster, &request, version))
        }
        RequestKind::OffsetForLeaderEpoch(request) => {
            ResponseKind::OffsetForLeaderEpoch(offsets::for_leader_epoch(cluster, &request))
        }
        RequestKind::Produce(request) => return produce::answer(cluster, &request, version),
        RequestKind::Fetch(request) => {
            ResponseKind::Fetch(fetch::answer(cluster, request, version).await)
        }
        _ => return Answer::Disconnect,
    };
    Answer::Respond(Box::new(response))
}

/// The wire's number for an outcome.
fn code(error: Option<kafka_protocol::ResponseError>) -> i16 {
    error.map_or(0, |error| error.code())
}

/// Text of ours as the wire's string type.
fn text(text: impl Into<String>) -> kafka_protocol::protocol::StrBytes {
    kafka_protocol::protocol::StrBytes::from_string(text.into())
}

/// A topic's name as the wire's type.
fn topic_name(name: &str) -> kafka_protocol::messages::TopicName {
    text(name).into()
}
