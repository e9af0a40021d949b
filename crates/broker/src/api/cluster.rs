//! What the cluster is and can do: ApiVersions, DescribeCluster, FindCoordinator.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, DescribeClusterResponse,
    FindCoordinatorRequest, FindCoordinatorResponse,
};

use super::{SERVED, code, text};
use crate::cluster::{Cluster, HOST, NODE_ID};

/// Since this version of ApiVersions a client has to say which software it is (KIP-511).
const NAMES_SINCE: i16 = 3;

pub(super) fn api_versions(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    let named = version < NAMES_SINCE
        || (is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version));
    if named {
        offer(None)
    } else {
        ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code())
    }
}

/// `ApiVersionsRequest.SUPPORTED_CLIENT_NAME_VERSION_PATTERN`.
fn is_software_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    outer(bytes.first()) && outer(bytes.last()) && bytes.iter().copied().all(inner)
}

/// Everything that is served.
pub(super) fn offer(error: Option<ResponseError>) -> ApiVersionsResponse {
    let api_keys = SERVED.iter().map(|(api, min, max)| {
        let min = if *api == ApiKey::Produce { 0 } else { *min };
        ApiVersion::default()
            .with_api_key(*api as i16)
            .with_min_version(min)
            .with_max_version(*max)
    });
    ApiVersionsResponse::default()
        .with_error_code(code(error))
        .with_api_keys(api_keys.collect())
}

pub(super) fn describe(cluster: &Cluster) -> DescribeClusterResponse {
    let node = DescribeClusterBroker::default()
        .with_broker_id(NODE_ID.into())
        .with_host(text(HOST))
        .with_port(cluster.port.into());
    DescribeClusterResponse::default()
        .with_cluster_id(text(&cluster.id))
        .with_controller_id(NODE_ID.into())
        .with_brokers(vec![node])
}

/// There are neither groups nor transactions here, and a client that wants them had better hear so at once than try
/// again until it gives up.
pub(super) fn find_coordinator(
    request: &FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let error = ResponseError::InvalidRequest.code();
    let message = || {
        Some(text(
            "the embedded broker has no consumer groups and no transactions; assign partitions, or use Apache Kafka",
        ))
    };
    if version < 4 {
        let message = if version >= 1 { message() } else { None };
        return FindCoordinatorResponse::default()
            .with_error_code(error)
            .with_error_message(message)
            .with_node_id((-1).into())
            .with_port(-1);
    }
    let refused = request.coordinator_keys.iter().map(|key| {
        Coordinator::default()
            .with_key(key.clone())
            .with_error_code(error)
            .with_error_message(message())
            .with_node_id((-1).into())
            .with_port(-1)
    });
    FindCoordinatorResponse::default().with_coordinators(refused.collect())
}
