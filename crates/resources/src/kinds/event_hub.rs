//! EventHub: a Kafka cluster.

use std::collections::BTreeMap;

use crate::decode::{Place, Required, object};

/// Where the client begins, by its usual name.
pub const BOOTSTRAP: &str = "bootstrap.servers";
/// The same by librdkafka's first name for it.
pub const BROKER_LIST: &str = "metadata.broker.list";

object! {
    /// A Kafka cluster, or one that speaks its protocol.
    EventHubSpec {
        /// How clients connect to the cluster.
        "kafka" => kafka: KafkaSpec,
    }
}

impl EventHubSpec {
    /// Where clients begin: host and port, several with commas between them. Empty in an EventHub that was refused.
    pub fn bootstrap_servers(&self) -> &str {
        let properties = &self.kafka.properties.0;
        let servers = properties
            .get(BOOTSTRAP)
            .or_else(|| properties.get(BROKER_LIST));
        servers.map(|servers| servers.trim()).unwrap_or_default()
    }
}

object! {
    /// How clients connect to a Kafka cluster.
    KafkaSpec {
        /// Properties of the client by librdkafka's names. `bootstrap.servers` (or `metadata.broker.list`) must be there;
        /// those for authentication are overridden by Credentials, where they are used.
        "properties" => properties: Required<BTreeMap<String, String>> {
            "x-kubernetes-validations": [{
                "rule": "('bootstrap.servers' in self) != ('metadata.broker.list' in self)",
                "message": "must have bootstrap.servers, or metadata.broker.list instead",
            }],
        },
        /// What this is for, for people.
        "description" => description: Option<String>,
        /// Labels for what belongs to this cluster. Nothing is made for an EventHub, so they change nothing.
        "labels" => labels: BTreeMap<String, String>,
        /// Annotations for what belongs to this cluster. Nothing is made for an EventHub, so they change nothing.
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
