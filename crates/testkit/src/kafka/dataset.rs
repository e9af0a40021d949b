//! Records of every shape that Kafka allows, written through Kafka's own producer.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Kafka;

/// A codec that producers compress batches with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Not compressed.
    None,
    /// gzip.
    Gzip,
    /// Snappy in the framing of the Java client.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// All codecs.
    pub const ALL: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];
}

/// A mixed data set: null, empty, tiny and large keys and values, none to fifty headers with duplicates and empty
/// names, equal, falling, zero and absent (-1) timestamps, batches of several sizes in turning codecs, with and without a
/// producer id. What is written is a function of the seed, the size and the partitions.
#[derive(Debug, Clone)]
pub struct Dataset {
    topic: String,
    bytes: u64,
    seed: u64,
    codecs: Vec<Codec>,
    extremes: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct DatasetSummary {
    /// How many records.
    pub records: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

impl Dataset {
    /// 1 MB in all codecs for a topic that exists.
    pub fn new(topic: &str) -> Dataset {
        Dataset {
            topic: topic.to_owned(),
            bytes: 1_000_000,
            seed: 1,
            codecs: Codec::ALL.to_vec(),
            extremes: false,
        }
    }

    /// How much to write: million bytes of keys and values, before compression.
    #[must_use]
    pub fn megabytes(mut self, megabytes: u64) -> Dataset {
        self.bytes = megabytes * 1_000_000;
        self
    }

    /// Another seed gives other records.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Dataset {
        self.seed = seed;
        self
    }

    /// The codecs that take turns.
    #[must_use]
    pub fn codecs(mut self, codecs: &[Codec]) -> Dataset {
        self.codecs = codecs.to_vec();
        self
    }

    /// Also timestamps at the end of the 64-bit range. The topic must allow them:
    /// `message.timestamp.after.max.ms=9223372036854775807`.
    #[must_use]
    pub fn extreme_timestamps(mut self) -> Dataset {
        self.extremes = true;
        self
    }
}

impl Kafka {
    /// Writes a data set, spread over the partitions of its topic.
    pub fn write_dataset(&self, dataset: &Dataset) -> Result<DatasetSummary> {
        let Dataset {
            topic,
            bytes,
            seed,
            codecs,
            extremes,
        } = dataset;
        self.ask(
            "dataset",
            json!({
                "topic": topic, "bytes": bytes, "seed": seed, "codecs": codecs, "extremes": extremes,
            }),
        )
    }
}
