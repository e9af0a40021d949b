//! The job of a Restore.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{DEFAULT_MEMORY_BUDGET, KafkaEndpoint, PluginEntry, StorageLocation};

/// Everything a restore needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreJob {
    /// The Restore's name, for people.
    pub name: String,
    /// Where the archive lies.
    pub storage: StorageLocation,
    /// The cluster that is written.
    pub sink: KafkaEndpoint,
    /// Which topic goes where. No source topic and snapshot goes twice to one target.
    pub mappings: Vec<TopicMapping>,
    /// Which records, by timestamp.
    pub time: TimeRange,
    /// Leave out the records that the target topic would expire by its `retention.ms`.
    pub apply_target_retention: bool,
    /// The name of a header, added to every record, that carries its offset in the source as decimal text.
    pub legacy_offset_header: Option<String>,
    /// How many target topics are written at a time, at least 1; `None` is all of them.
    pub parallelism: Option<u32>,
    /// How many connections write to each broker; 0 is one for every partition under way, `None` what the engine finds best.
    pub max_producers: Option<u32>,
    /// Put back what plugins of backups failed on and what was put aside, and not the records of the topics.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dead_letters: bool,
    /// The plugin chain, in order.
    pub plugins: Vec<PluginEntry>,
    /// Make target topics that are not there. Never for a mapping without preflight checks.
    pub create_topics: bool,
    /// Go on where the target topic's configuration would expire, compact away or change restored records.
    pub allow_expiry: bool,
    /// Where the report is kept, if not in the archive.
    pub report: Option<StorageLocation>,
    /// Where the report is kept if the archive cannot be written, and no other place is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_fallback: Option<StorageLocation>,
    /// Bound of the memory for data in flight, in bytes.
    pub memory_budget: u64,
}

impl RestoreJob {
    /// A job with every default, for these things.
    pub fn new(
        name: impl Into<String>,
        storage: StorageLocation,
        sink: KafkaEndpoint,
        mappings: Vec<TopicMapping>,
    ) -> Self {
        RestoreJob {
            name: name.into(),
            storage,
            sink,
            mappings,
            time: TimeRange::default(),
            apply_target_retention: false,
            legacy_offset_header: None,
            parallelism: None,
            max_producers: None,
            dead_letters: false,
            plugins: Vec::new(),
            create_topics: false,
            allow_expiry: false,
            report: None,
            report_fallback: None,
            memory_budget: DEFAULT_MEMORY_BUDGET,
        }
    }
}

/// One source topic and where it goes. Several may go to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicMapping {
    /// Topic in the archive.
    pub source: String,
    /// Topic to write.
    pub target: String,
    /// Skip the preflight checks of this topic.
    pub disable_preflight: bool,
    /// Which incarnation of the source topic.
    pub incarnation: Incarnation,
    /// Only these partitions, each number at most once; `None` is all of them, whole.
    pub partitions: Option<Vec<PartitionRange>>,
}

impl TopicMapping {
    /// All of a topic's latest incarnation, into `target`.
    pub fn new(source: impl Into<String>, target: impl Into<String>) -> Self {
        TopicMapping {
            source: source.into(),
            target: target.into(),
            disable_preflight: false,
            incarnation: Incarnation::Latest,
            partitions: None,
        }
    }
}

/// Which incarnation of a topic (Kannika's *snapshot*): a topic that was deleted and created again has several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Incarnation {
    /// The newest one.
    #[default]
    Latest,
    /// The one with this number, counted from 1 (`v1`).
    Version(u32),
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Incarnation::Latest => f.write_str("latest"),
            Incarnation::Version(number) => write!(f, "v{number}"),
        }
    }
}

/// A range of one partition's offsets. **Both ends are inclusive**: `restoreUntilOffset: 99` restores the record
/// with offset 99, as Kannika does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionRange {
    /// The source partition.
    pub number: i32,
    /// First offset, inclusive; `None` is the first archived one. At least 0.
    pub from: Option<i64>,
    /// Last offset, **inclusive**; `None` is the last archived one. At least `from`.
    pub until: Option<i64>,
}

impl PartitionRange {
    /// The range as Rust's half-open one: first offset inclusive, end exclusive.
    pub fn offsets(&self) -> Range<i64> {
        self.from.unwrap_or(0)..self.until.map_or(i64::MAX, |last| last.saturating_add(1))
    }
}

/// A range of record timestamps, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRange {
    /// First timestamp, inclusive.
    pub from_ms: Option<i64>,
    /// End, exclusive.
    pub to_ms: Option<i64>,
}

impl TimeRange {
    /// Neither end is set: every record is inside, also one without a timestamp.
    pub fn is_unbounded(&self) -> bool {
        self.from_ms.is_none() && self.to_ms.is_none()
    }

    /// Is a record with that timestamp inside?
    pub fn contains(&self, timestamp_ms: i64) -> bool {
        self.from_ms.is_none_or(|from| timestamp_ms >= from)
            && self.to_ms.is_none_or(|to| timestamp_ms < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_inclusive_at_both_ends() {
        let range = PartitionRange {
            number: 0,
            from: Some(10),
            until: Some(99),
        };
        assert_eq!(range.offsets(), 10..100);
        let all = PartitionRange {
            number: 0,
            from: None,
            until: None,
        };
        assert_eq!(all.offsets(), 0..i64::MAX);
    }

    #[test]
    fn times_are_half_open() {
        let range = TimeRange {
            from_ms: Some(5),
            to_ms: Some(7),
        };
        assert_eq!(
            [4, 5, 6, 7].map(|time| range.contains(time)),
            [false, true, true, false]
        );
        assert!(TimeRange::default().contains(-1));
    }
}
