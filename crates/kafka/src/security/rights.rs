//! Which right a request lacked, from the API that was called and the code that was answered (`kafka.server.KafkaApis`).

use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorCode};

/// What a right is given on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A topic, by name; where it is not known which, nothing.
    Topic(Option<Box<str>>),
    /// A consumer group, by name; where it is not known which, nothing.
    Group(Option<Box<str>>),
    /// The cluster as a whole.
    Cluster,
}

impl Resource {
    /// The option of `kafka-acls.sh` for it.
    pub(crate) fn flag(&self) -> String {
        match self {
            Resource::Topic(name) => format!("--topic {}", name.as_deref().unwrap_or("TOPIC")),
            Resource::Group(name) => format!("--group {}", name.as_deref().unwrap_or("GROUP")),
            Resource::Cluster => "--cluster".to_owned(),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Topic(Some(name)) => write!(f, "topic {name}"),
            Resource::Topic(None) => f.write_str("a topic"),
            Resource::Group(Some(name)) => write!(f, "group {name}"),
            Resource::Group(None) => f.write_str("a group"),
            Resource::Cluster => f.write_str("the cluster"),
        }
    }
}

/// Kafka's name of the operation that an API needs on a resource.
fn operation(api: &str, code: ErrorCode) -> &'static str {
    match (api, code) {
        ("InitProducerId", _) => "IdempotentWrite",
        // The right on the topic alone is enough; the broker names the topic when neither is given.
        ("CreateTopics", _) => "Create",
        ("Produce", ErrorCode::CLUSTER_AUTHORIZATION_FAILED) => "IdempotentWrite",
        ("Produce", _) => "Write",
        ("DeleteTopics" | "DeleteRecords" | "DeleteGroups", _) => "Delete",
        ("DescribeConfigs", _) => "DescribeConfigs",
        ("IncrementalAlterConfigs", _) => "AlterConfigs",
        ("Fetch" | "DescribeProducers" | "OffsetCommit" | "JoinGroup", _) => "Read",
        _ => "Describe",
    }
}

/// Turns a broker's refusal for lack of a right into an error that says which right, for whom.
pub(crate) fn explain(error: Error, principal: impl FnOnce() -> Arc<str>) -> Error {
    match error {
        Error::Broker {
            broker,
            api,
            topic,
            code,
            ..
        } if code.is_about_rights() => Error::Denied {
            broker,
            api,
            principal: principal(),
            operation: operation(api, code),
            resource: match code {
                ErrorCode::TOPIC_AUTHORIZATION_FAILED => Resource::Topic(topic),
                ErrorCode::GROUP_AUTHORIZATION_FAILED => Resource::Group(topic),
                _ => Resource::Cluster,
            },
            code,
        },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_named_with_whom_to_give_it() {
        let refusal = Error::broker(
            1,
            "Fetch",
            "orders",
            0,
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        );
        let error = explain(refusal, || "User:alice".into());
        assert_eq!(
            error.to_string(),
            "User:alice lacks the right Read on topic orders (broker 1 answered Fetch with TOPIC_AUTHORIZATION_FAILED (29)); \
             allow it: kafka-acls.sh --bootstrap-server HOST:PORT --add --allow-principal 'User:alice' --operation Read --topic orders"
        );
        assert!(error.is_about_access() && !error.is_retriable());
        assert_eq!(error.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    }

    #[test]
    fn other_refusals_stay_what_they_are() {
        let refusal = Error::broker(1, "Fetch", "orders", 0, ErrorCode::OFFSET_OUT_OF_RANGE);
        let error = explain(refusal, || unreachable!("nobody is named"));
        assert!(matches!(error, Error::Broker { .. }));
    }
}
