//! Resolved jobs: what the engine is given.
//!
//! A job is the result of reading resources: every reference followed, every default filled in, every
//! rule checked. It is plain data and serialises to JSON, so that the operator can hand the same binary a job
//! that it resolved. Secrets appear in it as *places to read from*; a secret that came inline with a
//! file refuses to be serialised (see [`Secret`]).

mod backup;
mod builtin;
mod file;
mod plugin;
mod restore;
mod storage;
mod work_group;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use backup::{BackupJob, CompressionAlgorithm, CompressionSpec, Rollover, TopicSelection};
pub use builtin::{BuiltinPlugin, HashAlgorithm, Repartitioning};
pub use file::{Envelope, JobFile, JobFileError};
pub use plugin::{
    PluginEntry, PluginErrorAction, PluginErrorPolicy, PluginLimits, PluginSource, PluginStopRule,
};
pub use restore::{Incarnation, PartitionRange, RestoreJob, TimeRange, TopicMapping};
pub(crate) use storage::azure_account;
pub use storage::{S3Credentials, Secret, StorageLocation, StorageUrlError};
pub use work_group::{WorkGroup, Worker};

pub use crate::matcher::{NameMatcher, NamePattern, PatternError};

/// Memory a job may use for data in flight when nothing else is said, in bytes.
pub const DEFAULT_MEMORY_BUDGET: u64 = 256 * 1024 * 1024;

/// A Kafka cluster and how to talk to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaEndpoint {
    /// The EventHub's name, or the bootstrap servers where there is none: for people.
    pub name: String,
    /// Client properties by librdkafka's names: those of the EventHub with the Backup's or Restore's own
    /// additional ones laid over them. `bootstrap.servers` is always there.
    pub properties: BTreeMap<String, String>,
    /// Client properties that are read when a connection is made, by librdkafka's names. They come before those of the same
    /// name in `properties`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
}

impl fmt::Debug for KafkaEndpoint {
    /// Without the values of properties that may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_secret = |name: &str| {
            ["password", "passphrase", "secret", "key.pem"]
                .iter()
                .any(|ending| name.ends_with(ending))
        };
        let properties: BTreeMap<&String, &str> = self
            .properties
            .iter()
            .map(|(name, value)| {
                (
                    name,
                    if is_secret(name) {
                        "…"
                    } else {
                        value.as_str()
                    },
                )
            })
            .collect();
        f.debug_struct("KafkaEndpoint")
            .field("name", &self.name)
            .field("properties", &properties)
            .field("secrets", &self.secrets)
            .finish()
    }
}

impl KafkaEndpoint {
    /// An endpoint of nothing but bootstrap servers (`host:port,host:port`).
    pub fn from_bootstrap(servers: impl Into<String>) -> Self {
        let servers = servers.into();
        KafkaEndpoint {
            name: servers.clone(),
            properties: BTreeMap::from([("bootstrap.servers".to_owned(), servers)]),
            secrets: BTreeMap::new(),
        }
    }

    /// The bootstrap servers as they were written.
    pub fn bootstrap_servers(&self) -> &str {
        self.properties
            .get("bootstrap.servers")
            .map_or("", String::as_str)
    }
}

/// A [`std::time::Duration`] as a whole number of milliseconds.
mod duration_ms {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// As [`duration_ms`], or nothing.
mod optional_duration_ms {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let millis = value.map(|value| u64::try_from(value.as_millis()).unwrap_or(u64::MAX));
        millis.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}
