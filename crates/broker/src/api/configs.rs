//! DescribeConfigs and IncrementalAlterConfigs, for topics.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::text;
use crate::cluster::Cluster;
use crate::configs::{Alteration, DEFINITIONS, TopicConfigs};
use crate::refusal::Refusal;
use crate::topics::TopicRef;

/// `ConfigResource.Type.TOPIC`.
const TOPIC: i8 = 2;
// `DescribeConfigsResponse.ConfigSource`.
pub(super) const SET_ON_TOPIC: i8 = 1;
pub(super) const DEFAULT: i8 = 5;

pub(super) fn describe(
    cluster: &Cluster,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match configs_of(cluster, resource.resource_type, &resource.resource_name) {
            Ok(configs) => result
                .with_error_message(None)
                .with_configs(entries(&configs, resource)),
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(Some(text(refusal.message))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn configs_of(cluster: &Cluster, resource_type: i8, name: &str) -> Result<TopicConfigs, Refusal> {
    if resource_type != TOPIC {
        return Err(Refusal::new(
            ResponseError::InvalidRequest,
            format!(
                "the embedded broker has configurations of topics only, not of resources of type {resource_type}"
            ),
        ));
    }
    let topic = TopicRef::name(name);
    let topics = cluster.topics();
    topics
        .get(&topic)
        .map(|found| found.configs.clone())
        .ok_or_else(|| topic.unknown())
}

fn entries(
    configs: &TopicConfigs,
    asked: &DescribeConfigsResource,
) -> Vec<DescribeConfigsResourceResult> {
    let wanted = |name: &str| match &asked.configuration_keys {
        None => true,
        // An empty list means all of them, as to Kafka.
        Some(keys) => keys.is_empty() || keys.iter().any(|key| key.as_str() == name),
    };
    let definitions = DEFINITIONS
        .iter()
        .filter(|definition| wanted(definition.name));
    definitions
        .map(|definition| {
            let (value, set) = configs.get(definition);
            DescribeConfigsResourceResult::default()
                .with_name(text(definition.name))
                .with_value(Some(text(value)))
                .with_config_source(if set { SET_ON_TOPIC } else { DEFAULT })
                .with_config_type(definition.kind.wire_type())
                .with_documentation(None)
        })
        .collect()
}

pub(super) fn alter(
    cluster: &Cluster,
    request: &IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let responses = request.resources.iter().map(|resource| {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match alter_one(cluster, resource, request.validate_only) {
            Ok(()) => response.with_error_message(None),
            Err(refusal) => response
                .with_error_code(refusal.code.code())
                .with_error_message(Some(text(refusal.message))),
        }
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

/// All changes of a resource or none.
fn alter_one(
    cluster: &Cluster,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let mut configs = configs_of(cluster, resource.resource_type, &resource.resource_name)?;
    for change in &resource.configs {
        let alteration = Alteration::from_wire(change.config_operation).ok_or_else(|| {
            Refusal::new(
                // Kafka does not foresee it either.
                ResponseError::UnknownServerError,
                format!(
                    "there is no change of a configuration with the number {}",
                    change.config_operation
                ),
            )
        })?;
        let value = change.value.as_ref().map(|value| value.as_str());
        if value.is_none() && alteration != Alteration::Delete {
            return Err(Refusal::new(
                ResponseError::InvalidRequest,
                format!("{} cannot be changed to null", change.name.as_str()),
            ));
        }
        configs.alter(&change.name, alteration, value)?;
    }
    if !validate_only {
        cluster
            .topics_mut()
            .configure(&resource.resource_name, configs);
    }
    Ok(())
}
