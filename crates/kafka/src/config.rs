//! What a [`crate::Client`] is told once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use armory_records::Compression;

use crate::connect::{Address, Connect, TcpConnect};
use crate::fetch::FetchOptions;
use crate::produce::ProduceOptions;
use crate::security::{Sasl, SecretValue};
use crate::{Backoff, PropertyError};

/// How a cluster is reached, and how patiently. [`ClientConfig::from_properties`] makes it from librdkafka's property names.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Brokers to ask for the others first.
    pub bootstrap: Vec<Address>,
    /// The name by which brokers log, meter and throttle this client.
    pub client_id: String,
    /// Makes the streams to brokers.
    pub connect: Arc<dyn Connect>,
    /// How we authenticate on them, if we do.
    pub sasl: Option<Arc<Sasl>>,
    /// How long making a connection may take, encryption, authentication and version negotiation included.
    pub connect_timeout: Duration,
    /// How long a broker may send nothing while an answer is awaited. An answer that is coming in, however slowly, is
    /// waited for.
    pub request_timeout: Duration,
    /// How long a call that may be repeated goes on trying while no broker can be reached.
    pub call_timeout: Duration,
    /// How long a call goes on asking for partitions whose leader is moving, is unknown or cannot be reached, before it
    /// tells the caller so. Shorter than `call_timeout`, because the other partitions of the call wait for it.
    pub leader_timeout: Duration,
    /// The first delay before something is tried again.
    pub retry_backoff: Duration,
    /// The longest delay before something is tried again.
    pub retry_backoff_max: Duration,
    /// The first delay before a broker that could not be reached is connected to again.
    pub reconnect_backoff: Duration,
    /// The longest delay before a broker that could not be reached is connected to again.
    pub reconnect_backoff_max: Duration,
    /// How often the caller should ask for new topics, partitions and leaders.
    pub metadata_refresh_interval: Duration,
    /// The largest answer that is taken, in bytes. A batch is never cut to fit, so it must not be smaller than the
    /// largest batch of the cluster.
    pub max_response_bytes: usize,
    /// How records are fetched.
    pub fetch: FetchOptions,
    /// How batches are produced.
    pub produce: ProduceOptions,
    /// How many bytes the caller should have fetched and not yet handled, if the user says so.
    pub fetch_queue_bytes: Option<usize>,
    /// How many bytes the caller should have waiting to be produced, if the user says so.
    pub produce_queue_bytes: Option<usize>,
    /// How batches that are encoded anew are to be compressed, if the user says so.
    pub compression: Option<Compression>,
    /// The level for `compression`, if the user says so.
    pub compression_level: Option<i32>,
}

impl ClientConfig {
    /// Everything as by default.
    pub fn new(bootstrap: Vec<Address>) -> ClientConfig {
        ClientConfig {
            bootstrap,
            client_id: "armory".to_owned(),
            connect: Arc::new(TcpConnect::default()),
            sasl: None,
            connect_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            call_timeout: Duration::from_secs(60),
            leader_timeout: Duration::from_secs(5),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            reconnect_backoff: Duration::from_millis(100),
            reconnect_backoff_max: Duration::from_secs(10),
            metadata_refresh_interval: Duration::from_secs(30),
            max_response_bytes: 512 * 1024 * 1024,
            fetch: FetchOptions::default(),
            produce: ProduceOptions::default(),
            fetch_queue_bytes: None,
            produce_queue_bytes: None,
            compression: None,
            compression_level: None,
        }
    }

    /// Reads librdkafka's properties, as an EventHub has them; `bootstrap.servers` has to be among them.
    ///
    /// # Errors
    /// If a property is unknown, not supported here, or has a value that it cannot have.
    pub fn from_properties(
        properties: &BTreeMap<String, String>,
    ) -> Result<ClientConfig, PropertyError> {
        crate::properties::parse(properties, &BTreeMap::new())
    }

    /// As [`ClientConfig::from_properties`], with values that are read when a connection is made. A property that is among
    /// both is taken from `secrets`.
    ///
    /// # Errors
    /// As there, and if the value of a property in `secrets` is needed at once: only those of certificates, keys, names and
    /// passwords are not.
    pub fn from_properties_and_secrets(
        properties: &BTreeMap<String, String>,
        secrets: &BTreeMap<String, SecretValue>,
    ) -> Result<ClientConfig, PropertyError> {
        crate::properties::parse(properties, secrets)
    }

    /// The bootstrap servers as the user would write them.
    pub(crate) fn bootstrap_text(&self) -> String {
        let addresses: Vec<String> = self.bootstrap.iter().map(Address::to_string).collect();
        addresses.join(",")
    }

    pub(crate) fn retry_delays(&self) -> Backoff {
        Backoff::new(self.retry_backoff, self.retry_backoff_max)
    }

    pub(crate) fn reconnect_delays(&self) -> Backoff {
        Backoff::new(self.reconnect_backoff, self.reconnect_backoff_max)
    }
}
