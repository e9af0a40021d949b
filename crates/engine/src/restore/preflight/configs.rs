//! The configuration of targets: what they are created with, what they get at the end, and what it does to old records.

use std::collections::BTreeMap;

use armory_kafka::{Client, ErrorCode, NewTopic};

use super::super::plan::{PartitionPlan, Plan, TargetPlan};
use super::now_ms;
use super::topics::TargetTopic;
use crate::EngineError;

/// What a broker of Kafka takes at the most by default (`message.max.bytes`).
pub(crate) const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// Settings under which nothing of a restore is lost or changed, whatever the age of its records.
const SAFE: [(&str, &str); 4] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("message.timestamp.type", "CreateTime"),
];
const NO_LIMIT: &str = "9223372036854775807";

/// How a broker is told to take records of any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimestampLimits {
    /// Since Kafka 3.6 (KIP-937).
    BeforeAndAfter,
    /// Before, and until 4.0.
    Difference,
}

impl TimestampLimits {
    /// The newest first.
    pub(crate) const ALL: [TimestampLimits; 2] =
        [TimestampLimits::BeforeAndAfter, TimestampLimits::Difference];

    fn names(self) -> &'static [&'static str] {
        match self {
            TimestampLimits::BeforeAndAfter => &[
                "message.timestamp.before.max.ms",
                "message.timestamp.after.max.ms",
            ],
            TimestampLimits::Difference => &["message.timestamp.difference.max.ms"],
        }
    }
}

/// The configuration of a target that this program creates, while it is restored.
pub(crate) fn safe(
    plan: &Plan,
    target: &TargetPlan,
    limits: TimestampLimits,
) -> BTreeMap<String, String> {
    let limits = limits.names().iter().map(|name| (*name, NO_LIMIT));
    let mut configs: BTreeMap<String, String> = SAFE
        .into_iter()
        .chain(limits)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // The archived limit may have been lowered after larger batches were written.
    let archived = plan
        .members(target)
        .filter_map(|topic| topic.configs.get("max.message.bytes")?.parse().ok())
        .max()
        .unwrap_or(0);
    let largest = largest_batch(plan, target).max(archived);
    // A batch that has to be compressed anew may come out a little larger.
    let largest = largest + largest / 8;
    if largest > DEFAULT_MAX_MESSAGE_BYTES as u64 {
        let largest = largest.min(i32::MAX as u64);
        configs.insert("max.message.bytes".to_owned(), largest.to_string());
    }
    configs
}

/// The size of the largest batch that goes into a target, in bytes.
pub(crate) fn largest_batch(plan: &Plan, target: &TargetPlan) -> u64 {
    let partitions = plan.members(target).flat_map(|topic| &topic.partitions);
    partitions
        .map(PartitionPlan::largest_batch)
        .max()
        .unwrap_or(0)
}

/// The changes that give a target what its source had, now that everything is in it: what to set, and which of the settings it was
/// created with, as far as it still has them, to remove. Of several sources the first decides.
pub(crate) fn archived_configs(
    plan: &Plan,
    target: &TargetPlan,
    own: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, Vec<String>) {
    let first = plan.members(target).next();
    let archived = first.map(|topic| topic.configs.clone()).unwrap_or_default();
    let limits = TimestampLimits::ALL.into_iter();
    let delete = SAFE
        .into_iter()
        .map(|(name, _)| name)
        .chain(limits.flat_map(|limits| limits.names().iter().copied()))
        .chain(["max.message.bytes"])
        .filter(|name| own.contains_key(*name) && !archived.contains_key(*name))
        .map(str::to_owned)
        .collect();
    (archived, delete)
}

/// Before which time (ms since the epoch) a target expires records, by what it has now or, if it is created, will have.
pub(crate) async fn expires_before(
    client: &Client,
    plan: &Plan,
    target: &TargetPlan,
    found: Option<&TargetTopic>,
) -> Result<Option<i64>, EngineError> {
    let archived = || plan.members(target).next().map(|topic| &topic.configs);
    let values = match found {
        Some(topic) if !topic.created => topic.values.clone(),
        // What it does not get from the archive, it gets from the cluster.
        _ => {
            let mut values = defaults(client, &target.name, found.is_some()).await?;
            values.extend(archived().cloned().unwrap_or_default());
            values
        }
    };
    let deletes = values
        .get("cleanup.policy")
        .is_none_or(|policy| policy.contains("delete"));
    let retention = values
        .get("retention.ms")
        .and_then(|value| value.parse::<i64>().ok())
        .filter(|retention| *retention >= 0 && deletes);
    Ok(retention.map(|retention| now_ms().saturating_sub(retention)))
}

/// What the cluster configures for a new topic.
async fn defaults(
    client: &Client,
    name: &str,
    exists: bool,
) -> Result<BTreeMap<String, String>, EngineError> {
    let mut name = name.to_owned();
    if exists {
        // Only tried: another name will do.
        name.truncate(200);
        name.push_str(".armory-defaults");
    }
    let topic = NewTopic {
        name,
        partitions: 1,
        replication_factor: None,
        configs: BTreeMap::new(),
    };
    match client.create_topics(&[topic], true).await {
        Ok(mut tried) => Ok(tried.pop().map(|topic| topic.configs).unwrap_or_default()),
        // That it cannot be created is told by another check.
        Err(error)
            if error.code() != Some(ErrorCode::TOPIC_ALREADY_EXISTS) && error.code().is_some() =>
        {
            Ok(BTreeMap::new())
        }
        Err(error) => Err(error.into()),
    }
}
