//! What can go wrong between this program and a broker.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::security::{Resource, SecretError};
use crate::{Address, ErrorCode};

/// The API that every connection begins with, before anything else is asked over it.
pub(crate) const OPENING: &str = "ApiVersions";

/// A broker as errors and log lines name it: by id, by address, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerName {
    /// The broker's id. Not known of a bootstrap server.
    pub id: Option<i32>,
    /// Where it was reached, or was to be.
    pub address: Option<Address>,
}

impl BrokerName {
    pub(crate) fn new(id: Option<i32>, address: &Address) -> BrokerName {
        BrokerName {
            id,
            address: Some(address.clone()),
        }
    }
}

impl From<i32> for BrokerName {
    fn from(id: i32) -> BrokerName {
        BrokerName {
            id: Some(id),
            address: None,
        }
    }
}

impl fmt::Display for BrokerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.id, &self.address) {
            (Some(id), Some(address)) => write!(f, "broker {id} ({address})"),
            (Some(id), None) => write!(f, "broker {id}"),
            (None, Some(address)) => write!(f, "the broker at {address}"),
            (None, None) => f.write_str("the broker"),
        }
    }
}

/// Why a call did not succeed. Says which broker, API, topic and partition, as far as there is one.
///
/// Cheap to clone, because one lost connection ends many calls.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection to a broker could be made.
    #[error("cannot connect to {broker}")]
    Connect {
        /// The broker.
        broker: BrokerName,
        /// What the operating system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// Neither a bootstrap server nor a broker known from metadata answered.
    #[error("none of {addresses} can be reached; check bootstrap.servers and the network")]
    Unreachable {
        /// The bootstrap servers, separated by commas.
        addresses: String,
        /// What the last of them said.
        #[source]
        source: Box<Error>,
    },
    /// The connection ended before the answer came. Whether the broker did what was asked is not known.
    #[error("lost the connection to {broker} before it answered {api}: {reason}")]
    Disconnected {
        /// The broker.
        broker: BrokerName,
        /// The API that was called.
        api: &'static str,
        /// What ended the connection.
        reason: Arc<str>,
    },
    /// The broker kept the connection open and sent nothing. Whether it did what was asked is not known.
    #[error(
        "{broker} did not answer {api} within {after:?}; see to the broker, or raise socket.timeout.ms"
    )]
    Timeout {
        /// The broker.
        broker: BrokerName,
        /// The API that was called.
        api: &'static str,
        /// How long nothing came.
        after: Duration,
    },
    /// The broker answered with an error code.
    #[error("{broker} answered {api}{} with {code}{}", Place(topic, *partition), Message(message))]
    Broker {
        /// The broker.
        broker: BrokerName,
        /// The API that was called.
        api: &'static str,
        /// The topic, or other resource, that the answer is about.
        topic: Option<Box<str>>,
        /// The partition that the answer is about.
        partition: Option<i32>,
        /// The code.
        code: ErrorCode,
        /// What the broker says beside the code.
        message: Option<Box<str>>,
    },
    /// The partition has no leader at present, so there is no broker to ask.
    #[error(
        "partition {partition} of topic {topic} has no leader; see to the brokers that hold it"
    )]
    NoLeader {
        /// The topic.
        topic: Box<str>,
        /// The partition.
        partition: i32,
    },
    /// The cluster's metadata does not list this broker.
    #[error("the cluster has no broker {id} at present")]
    UnknownBroker {
        /// The broker's id.
        id: i32,
    },
    /// What the broker sent is not what Kafka's protocol prescribes.
    #[error("{broker} did not speak Kafka's protocol in {api}: {reason}")]
    Protocol {
        /// The broker.
        broker: BrokerName,
        /// The API that was called.
        api: &'static str,
        /// What is wrong.
        reason: Box<str>,
    },
    /// The broker and this program have no version of an API in common.
    #[error(
        "{broker} speaks {api} {theirs} and armory {ours}; use a broker of a version that both know"
    )]
    UnsupportedVersion {
        /// The broker.
        broker: BrokerName,
        /// The API.
        api: &'static str,
        /// The versions that armory knows.
        ours: Box<str>,
        /// The versions that the broker knows.
        theirs: Box<str>,
    },
    /// The broker does not believe that we are who we say, or will not have the way in which we say it.
    #[error("{broker} does not let {principal} in: {reason}")]
    Authentication {
        /// The broker.
        broker: BrokerName,
        /// As whom we tried, as far as a client can know.
        principal: Arc<str>,
        /// Why not, with the remedy.
        reason: Box<str>,
    },
    /// The two ends of a connection do not trust each other, or do not both speak TLS.
    #[error("no connection to {broker}: {reason}")]
    Tls {
        /// The broker.
        broker: BrokerName,
        /// Why not, with the remedy.
        reason: Box<str>,
    },
    /// A certificate, key or password cannot be read, or is not what it should be.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The OAuth token endpoint gives no token.
    #[error("no token from {url}: {reason}")]
    Token {
        /// The endpoint.
        url: Box<str>,
        /// Why not.
        reason: Box<str>,
        /// Whether it may pass without anybody doing anything.
        passing: bool,
    },
    /// We are let in, and may not do this.
    #[error("{principal} lacks the right {operation} on {resource} ({broker} answered {api} with {code}); \
         allow it: kafka-acls.sh --bootstrap-server HOST:PORT --add --allow-principal '{principal}' --operation {operation} {}", resource.flag())]
    Denied {
        /// The broker.
        broker: BrokerName,
        /// The API that was called.
        api: &'static str,
        /// Who we are, as far as a client can know.
        principal: Arc<str>,
        /// The operation that is not allowed, by Kafka's name.
        operation: &'static str,
        /// What it is not allowed on.
        resource: Resource,
        /// The code.
        code: ErrorCode,
    },
    /// A request that no broker would understand was asked for: a mistake of the calling code.
    #[error("{api} of partition {partition} of topic {topic} cannot be asked for: {reason}")]
    Request {
        /// The API that was to be called.
        api: &'static str,
        /// The topic.
        topic: Box<str>,
        /// The partition.
        partition: i32,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Error {
    /// A broker's answer about a partition.
    pub fn broker(
        broker: impl Into<BrokerName>,
        api: &'static str,
        topic: &str,
        partition: i32,
        code: ErrorCode,
    ) -> Error {
        Error::Broker {
            broker: broker.into(),
            api,
            topic: Some(topic.into()),
            partition: Some(partition),
            code,
            message: None,
        }
    }

    /// A broker's answer about a topic, or about no topic at all.
    pub(crate) fn refused(
        broker: BrokerName,
        api: &'static str,
        topic: Option<&str>,
        code: ErrorCode,
        message: Option<&str>,
    ) -> Error {
        Error::Broker {
            broker,
            api,
            topic: topic.map(Box::from),
            partition: None,
            code,
            message: message.map(Box::from),
        }
    }

    /// The code that says most about the error. A connection that failed counts as [`ErrorCode::NETWORK_EXCEPTION`],
    /// as in Kafka's Java client.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Broker { code, .. } => Some(*code),
            Error::NoLeader { .. } => Some(ErrorCode::LEADER_NOT_AVAILABLE),
            Error::UnknownBroker { .. } => Some(ErrorCode::BROKER_NOT_AVAILABLE),
            Error::Connect { .. }
            | Error::Unreachable { .. }
            | Error::Disconnected { .. }
            | Error::Timeout { .. } => Some(ErrorCode::NETWORK_EXCEPTION),
            Error::UnsupportedVersion { .. } => Some(ErrorCode::UNSUPPORTED_VERSION),
            Error::Authentication { .. } => Some(ErrorCode::SASL_AUTHENTICATION_FAILED),
            Error::Denied { code, .. } => Some(*code),
            Error::Protocol { .. }
            | Error::Request { .. }
            | Error::Tls { .. }
            | Error::Secret(_)
            | Error::Token { .. } => None,
        }
    }

    /// Whether the same call may succeed later, perhaps at another broker. Whether it may be repeated is another
    /// question: see [`Error::is_certain`].
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Broker { code, .. } => code.is_retriable(),
            Error::Connect { .. }
            | Error::Unreachable { .. }
            | Error::Disconnected { .. }
            | Error::Timeout { .. }
            | Error::NoLeader { .. }
            | Error::UnknownBroker { .. } => true,
            Error::Token { passing, .. } => *passing,
            Error::Protocol { .. }
            | Error::UnsupportedVersion { .. }
            | Error::Request { .. }
            | Error::Authentication { .. }
            | Error::Tls { .. }
            | Error::Secret(_)
            | Error::Denied { .. } => false,
        }
    }

    /// Whether it is about who we are or what we may do. It lasts until somebody changes credentials or rights; then the
    /// same call succeeds, because credentials are read anew for each connection.
    pub fn is_about_access(&self) -> bool {
        match self {
            Error::Authentication { .. }
            | Error::Tls { .. }
            | Error::Secret(_)
            | Error::Token { .. }
            | Error::Denied { .. } => true,
            Error::Broker { code, .. } => code.is_about_rights(),
            Error::Unreachable { source, .. } => source.is_about_access(),
            _ => false,
        }
    }

    /// Whether it is certain that the broker did not do what was asked. After a lost answer it is not.
    pub fn is_certain(&self) -> bool {
        // A connection that was lost while it was being made has not carried any request yet.
        if let Error::Disconnected { api, .. } | Error::Timeout { api, .. } = self
            && *api == OPENING
        {
            return true;
        }
        !matches!(
            self,
            Error::Disconnected { .. }
                | Error::Timeout { .. }
                | Error::Protocol { .. }
                | Error::Broker {
                    code: ErrorCode::REQUEST_TIMED_OUT
                        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
                        | ErrorCode::UNKNOWN_SERVER_ERROR,
                    ..
                }
        )
    }
}

/// ` for orders-3` or ` for orders`, or nothing.
struct Place<'a>(&'a Option<Box<str>>, Option<i32>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(topic), Some(partition)) => write!(f, " for {topic}-{partition}"),
            (Some(topic), None) => write!(f, " for {topic}"),
            _ => Ok(()),
        }
    }
}

/// `: message`, or nothing.
struct Message<'a>(&'a Option<Box<str>>);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_broker_api_topic_and_partition() {
        let broker = BrokerName::new(Some(3), &Address::new("kafka-3.local", 9092));
        let error = Error::broker(3, "Fetch", "orders", 7, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        assert_eq!(
            error.to_string(),
            "broker 3 answered Fetch for orders-7 with NOT_LEADER_OR_FOLLOWER (6)"
        );
        let refused = Error::refused(
            broker.clone(),
            "CreateTopics",
            Some("orders"),
            ErrorCode::POLICY_VIOLATION,
            Some("at least 3 replicas"),
        );
        assert_eq!(
            refused.to_string(),
            "broker 3 (kafka-3.local:9092) answered CreateTopics for orders with POLICY_VIOLATION (44): at least 3 replicas"
        );
        let lost = Error::Disconnected {
            broker,
            api: "Produce",
            reason: "connection reset by peer".into(),
        };
        assert!(lost.is_retriable() && !lost.is_certain());
        let lost_at_once = Error::Disconnected {
            broker: BrokerName::default(),
            api: "ApiVersions",
            reason: "connection reset by peer".into(),
        };
        assert!(lost_at_once.is_retriable() && lost_at_once.is_certain());
        assert_eq!(lost.code(), Some(ErrorCode::NETWORK_EXCEPTION));
    }
}
