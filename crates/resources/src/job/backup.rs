//! The job of a Backup.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    DEFAULT_MEMORY_BUDGET, KafkaEndpoint, NameMatcher, PluginEntry, StorageLocation, WorkGroup,
    Worker,
};

/// Everything a backup needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupJob {
    /// The Backup's name. It is also the identity under which the archive knows this writer: two
    /// backups with one name fence each other by generation, two with different names refuse each other.
    pub name: String,
    /// The cluster that is read.
    pub source: KafkaEndpoint,
    /// Where the archive lies.
    pub storage: StorageLocation,
    /// Which topics.
    pub topics: TopicSelection,
    /// The plugin chain, in order.
    pub plugins: Vec<PluginEntry>,
    /// Outer compression of closed segments; `None` stores batches as the broker sent them.
    pub compression: Option<CompressionSpec>,
    /// When a segment is closed.
    pub rollover: Rollover,
    /// Bytes gathered per partition before they are written to a file. Folders only.
    pub write_buffer: u64,
    /// After how long archived segments are deleted, counted from their newest record; `None` keeps them.
    #[serde(
        rename = "delete_after_ms",
        with = "super::optional_duration_ms",
        default
    )]
    pub delete_after: Option<Duration>,
    /// Go on with chains whose newest manifest is another backup's.
    pub take_over: bool,
    /// Bound of the memory for data in flight, in bytes.
    pub memory_budget: u64,
    /// Whether its metrics are served, where an address is given for them.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub metrics: bool,
    /// The workers that share the backup, if several are to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_group: Option<WorkGroup>,
    /// Which of the workers this process is; `None`: it reads everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Worker>,
}

impl BackupJob {
    /// `spec.writeBufferSize` where none is given, in bytes.
    pub const DEFAULT_WRITE_BUFFER: u64 = 8 * 1024;

    /// A job with every default, for these three things.
    pub fn new(
        name: impl Into<String>,
        source: KafkaEndpoint,
        storage: StorageLocation,
        topics: TopicSelection,
    ) -> Self {
        BackupJob {
            name: name.into(),
            source,
            storage,
            topics,
            plugins: Vec::new(),
            compression: None,
            rollover: Rollover::default(),
            write_buffer: Self::DEFAULT_WRITE_BUFFER,
            delete_after: None,
            take_over: false,
            memory_budget: DEFAULT_MEMORY_BUDGET,
            metrics: true,
            work_group: None,
            worker: None,
        }
    }
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// Which topics a backup reads.
///
/// A topic is taken when it is one of `streams`, or when a matcher of `include` takes it and none of `exclude`
/// does. Topics may appear later; the selection is asked again whenever the cluster's topics are looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSelection {
    /// Topics named one by one and enabled.
    pub streams: Vec<String>,
    /// Matchers of further topics.
    pub include: Vec<NameMatcher>,
    /// Matchers that win over `include`. A stream that is switched off stands here as a literal, so that no
    /// matcher brings it back.
    pub exclude: Vec<NameMatcher>,
}

impl TopicSelection {
    /// Is the topic to be backed up?
    pub fn matches(&self, topic: &str) -> bool {
        self.names(topic)
            || (self.include.iter().any(|matcher| matcher.matches(topic))
                && !self.exclude.iter().any(|matcher| matcher.matches(topic)))
    }

    /// Is the topic named as a stream? Kafka's internal topics (`__consumer_offsets`) are taken only so, never
    /// by a matcher: `*` does not mean them.
    pub fn names(&self, topic: &str) -> bool {
        self.streams.iter().any(|stream| stream == topic)
    }

    /// Nothing is selected, and nothing ever will be.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.include.is_empty()
    }
}

/// The selection as a user would write it, for messages.
impl fmt::Display for TopicSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken: Vec<String> = self
            .streams
            .iter()
            .cloned()
            .chain(self.include.iter().map(NameMatcher::to_string))
            .collect();
        f.write_str(&taken.join(", "))?;
        if !self.exclude.is_empty() {
            let left_out: Vec<String> = self.exclude.iter().map(NameMatcher::to_string).collect();
            write!(f, " (without {})", left_out.join(", "))?;
        }
        Ok(())
    }
}

/// Outer compression of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompressionSpec {
    /// The algorithm.
    pub algorithm: CompressionAlgorithm,
    /// The algorithm's level; `None` is its own default.
    pub quality: Option<i32>,
}

/// The algorithms of `spec.compression.algorithm`, without `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say all there is to say")]
pub enum CompressionAlgorithm {
    Zstd,
    Gzip,
    Bzip2,
    Xz,
    Deflate,
    Brotli,
    Lzma,
    Zlib,
}

/// When an open segment is closed: at a size or at an age, whichever comes first. On an object store data is
/// committed only when its segment closes, so `timeout` is what a crash can cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollover {
    /// Raw bytes in the segment.
    pub size: u64,
    /// Time since the segment's first byte (or gap).
    #[serde(rename = "timeout_ms", with = "super::duration_ms")]
    pub timeout: Duration,
}

impl Rollover {
    /// Size where none is given: 128 MiB.
    pub const DEFAULT_SIZE: u64 = 128 * 1024 * 1024;
    /// Age where none is given: ten minutes.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
}

impl Default for Rollover {
    fn default() -> Self {
        Rollover {
            size: Self::DEFAULT_SIZE,
            timeout: Self::DEFAULT_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclude_wins_over_include_and_streams_stand_alone() {
        let selection = TopicSelection {
            streams: vec!["orders.tmp".into(), "__consumer_offsets".into()],
            include: vec![NameMatcher::glob("orders.*").unwrap()],
            exclude: vec![NameMatcher::glob("*.tmp").unwrap()],
        };
        assert!(selection.matches("orders.eu"));
        assert!(!selection.matches("orders.eu.tmp"));
        assert!(!selection.matches("flights"));
        assert!(selection.matches("orders.tmp"), "named as a stream");
        assert!(selection.names("__consumer_offsets"));
        assert!(!selection.names("orders.eu"));
        assert!(TopicSelection::default().is_empty());
        assert_eq!(
            selection.to_string(),
            "orders.tmp, __consumer_offsets, glob orders.* (without glob *.tmp)"
        );
    }
}
