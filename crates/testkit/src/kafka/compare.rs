//! Whether two topics hold the same records, judged by Kafka's own consumer.

use anyhow::Result;
use serde::Deserialize;
use serde_json::json;

use super::Kafka;
use super::records::TimestampType;
use crate::java;

/// A comparison of two topics: partition by partition in order, every record's key, value, headers in order, and
/// timestamp. Offsets may differ. Aborted records are left out on both sides.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    first: (&'a Kafka, &'a str),
    second: (&'a Kafka, &'a str),
    ignored_header: Option<&'a str>,
    from: Option<i64>,
    until: Option<i64>,
}

/// What two equal topics have in common.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Equal {
    /// How many records were compared.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Who set the timestamps in the first topic.
    pub first_timestamp_types: Vec<TimestampType>,
    /// Who set the timestamps in the second topic.
    pub second_timestamp_types: Vec<TimestampType>,
}

impl<'a> Comparison<'a> {
    /// Compares a topic of one cluster with a topic of the same or another one.
    pub fn new(first: (&'a Kafka, &'a str), second: (&'a Kafka, &'a str)) -> Comparison<'a> {
        Comparison {
            first,
            second,
            ignored_header: None,
            from: None,
            until: None,
        }
    }

    /// Leaves out the headers of this name in the first topic.
    #[must_use]
    pub fn ignore_header(mut self, name: &'a str) -> Comparison<'a> {
        self.ignored_header = Some(name);
        self
    }

    /// Leaves out the records of the first topic whose timestamps (ms) are before `from` or not before `until`.
    #[must_use]
    pub fn between(mut self, from: Option<i64>, until: Option<i64>) -> Comparison<'a> {
        self.from = from;
        self.until = until;
        self
    }

    /// Reads both topics to their ends; the first difference is an error that shows both records.
    pub fn run(&self) -> Result<Equal> {
        let side = |(kafka, topic): (&Kafka, &str)| json!({"bootstrap": kafka.bootstrap(), "topic": topic});
        java::ask(&json!({
            "tool": "compare",
            "first": side(self.first),
            "second": side(self.second),
            "ignore_header": self.ignored_header,
            "from": self.from,
            "until": self.until,
        }))
    }
}

impl Kafka {
    /// Compares two topics of this cluster; see [`Comparison`] for more.
    pub fn compare(&self, first: &str, second: &str) -> Result<Equal> {
        Comparison::new((self, first), (self, second)).run()
    }
}
