//! The builtin plugins of a job, with their configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A builtin plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuiltinPlugin {
    /// Chooses partitions anew.
    TopicRepartitioning(Repartitioning),
    /// Rejects what the target would expire by its `retention.ms`.
    TopicRetention,
    /// Replaces the schema ids of values: source's id to target's id.
    PayloadSchemaMapping(BTreeMap<u32, u32>),
    /// Replaces the schema ids of keys.
    KeySchemaMapping(BTreeMap<u32, u32>),
}

impl BuiltinPlugin {
    /// The names of all of them.
    pub const NAMES: &'static [&'static str] = &[
        "topic-repartitioning",
        "topic-retention",
        "payload-schema-mapping",
        "key-schema-mapping",
    ];

    /// The name that its entry has.
    pub fn name(&self) -> &'static str {
        match self {
            BuiltinPlugin::TopicRepartitioning(_) => "topic-repartitioning",
            BuiltinPlugin::TopicRetention => "topic-retention",
            BuiltinPlugin::PayloadSchemaMapping(_) => "payload-schema-mapping",
            BuiltinPlugin::KeySchemaMapping(_) => "key-schema-mapping",
        }
    }
}

/// How `topic-repartitioning` chooses. `partitions` is how many, at least 1, which the target is asked to have; `None` is as
/// many as it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "scheme",
    deny_unknown_fields
)]
pub enum Repartitioning {
    /// The default partitioner does.
    Automatic,
    /// By a hash of the key.
    KeyHash {
        /// Which.
        algorithm: HashAlgorithm,
        /// Over how many partitions.
        partitions: Option<i32>,
    },
    /// By a hash of a header's value.
    HeaderHash {
        /// The header.
        name: String,
        /// Which hash.
        algorithm: HashAlgorithm,
        /// Over how many partitions.
        partitions: Option<i32>,
    },
    /// By chance.
    Random {
        /// Over how many partitions.
        partitions: Option<i32>,
    },
    /// In turn.
    RoundRobin {
        /// Over how many partitions.
        partitions: Option<i32>,
    },
}

/// A hash for partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HashAlgorithm {
    /// Kafka's.
    #[default]
    Murmur2,
    /// FNV-1a, 32 bits.
    Fnv1a,
    /// CRC-32.
    Crc32,
}
