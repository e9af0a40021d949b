//! EventHub: a Kafka cluster.

use std::collections::BTreeMap;

use crate::decode::{Place, Required, object};

/// Where the client begins, by its usual name.
pub const BOOTSTRAP: &str = "bootstrap.servers";
/// The same by librdkafka's first name for it.
pub const BROKER_LIST: &str = "metadata.broker.list";

object! {
    /// `spec` of an EventHub.
    EventHubSpec {
        /// The only variant.
        "kafka" => kafka: KafkaSpec,
    }
}

object! {
    /// A Kafka cluster.
    KafkaSpec {
        /// Client properties by librdkafka's names.
        "properties" => properties: Required<BTreeMap<String, String>>,
        /// For people.
        "description" => description: Option<String>,
        /// Of child objects.
        "labels" => labels: BTreeMap<String, String>,
        /// Of child objects.
        "annotations" => annotations: BTreeMap<String, String>,
    }
    check check_kafka
}

fn check_kafka(spec: &KafkaSpec, at: &mut Place<'_>) {
    let properties = &spec.properties.0;
    at.within_keys(&["properties"], |at| {
        match (properties.get(BOOTSTRAP), properties.get(BROKER_LIST)) {
            (None, None) => at.problem_at(BOOTSTRAP, "missing"),
            (Some(_), Some(_)) => {
                at.problem_at(
                    BROKER_LIST,
                    "is another name of bootstrap.servers, give only one of them",
                );
            }
            (Some(servers), None) | (None, Some(servers)) if servers.trim().is_empty() => {
                let key = if properties.contains_key(BOOTSTRAP) {
                    BOOTSTRAP
                } else {
                    BROKER_LIST
                };
                at.problem_at(key, "must not be empty");
            }
            _ => {}
        }
    });
}
