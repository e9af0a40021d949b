//! Topic configurations: the names that Apache Kafka 4.3 knows, their defaults and bounds (Kafka class `LogConfig`).
//!
//! All of them can be set and described, because a restore re-applies what a backup recorded. Those that
//! [`TopicSettings`] lists change how produce requests are judged; the rest (retention, compaction, segment sizes …) have no effect here.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;

use crate::refusal::Refusal;

/// What values a configuration takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Boolean,
    /// Inclusive bounds; 32 bits on the wire's type code, 64 in the comparison.
    Int(i64, i64),
    Long(i64, i64),
    /// Inclusive bounds.
    Double(f64, f64),
    /// A comma-separated list of these words, or of anything when there are none.
    List(&'static [&'static str]),
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// The type's number in a DescribeConfigs response (KIP-569).
    pub(crate) fn wire_type(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::Choice(_) => 2,
            Kind::Int(..) => 3,
            Kind::Long(..) => 5,
            Kind::Double(..) => 6,
            Kind::List(_) => 7,
        }
    }

    /// A value as Kafka shows it, which is what it parsed; `None` where it does not parse.
    fn parse(self, value: &str) -> Option<String> {
        let value = value.trim();
        match self {
            Kind::Boolean => {
                let lower = value.to_ascii_lowercase();
                matches!(lower.as_str(), "true" | "false").then_some(lower)
            }
            Kind::Int(low, high) | Kind::Long(low, high) => {
                let number: i64 = value.parse().ok()?;
                (low..=high).contains(&number).then(|| number.to_string())
            }
            Kind::Double(low, high) => {
                let number: f64 = value.parse().ok()?;
                // Java shows a whole number with ".0" too.
                (low..=high)
                    .contains(&number)
                    .then(|| format!("{number:?}"))
            }
            Kind::List(_) if value.is_empty() => Some(String::new()),
            Kind::List(words) => {
                let items: Vec<&str> = value.split(',').map(str::trim).collect();
                (words.is_empty() || items.iter().all(|item| words.contains(item)))
                    .then(|| items.join(","))
            }
            Kind::Choice(words) => words.contains(&value).then(|| value.to_owned()),
        }
    }
}

/// One configuration that a topic can have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConfigDefinition {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
}

const fn config(name: &'static str, kind: Kind, default: &'static str) -> ConfigDefinition {
    ConfigDefinition {
        name,
        kind,
        default,
    }
}

const INT_MAX: i64 = i32::MAX as i64;

/// Every topic configuration, by name. `retention.ms` is unlimited by default because nothing is ever expired here.
pub(crate) const DEFINITIONS: &[ConfigDefinition] = &[
    config(
        "cleanup.policy",
        Kind::List(&["compact", "delete"]),
        "delete",
    ),
    config("compression.gzip.level", Kind::Int(-1, 9), "-1"),
    config("compression.lz4.level", Kind::Int(1, 17), "9"),
    config(
        "compression.type",
        Kind::Choice(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "producer",
    ),
    config("compression.zstd.level", Kind::Int(-131_072, 22), "3"),
    config("delete.retention.ms", Kind::Long(0, i64::MAX), "86400000"),
    config("file.delete.delay.ms", Kind::Long(0, i64::MAX), "60000"),
    config(
        "flush.messages",
        Kind::Long(1, i64::MAX),
        "9223372036854775807",
    ),
    config("flush.ms", Kind::Long(0, i64::MAX), "9223372036854775807"),
    config(
        "follower.replication.throttled.replicas",
        Kind::List(&[]),
        "",
    ),
    config("index.interval.bytes", Kind::Int(0, INT_MAX), "4096"),
    config("leader.replication.throttled.replicas", Kind::List(&[]), ""),
    config("local.retention.bytes", Kind::Long(-2, i64::MAX), "-2"),
    config("local.retention.ms", Kind::Long(-2, i64::MAX), "-2"),
    config(
        "max.compaction.lag.ms",
        Kind::Long(1, i64::MAX),
        "9223372036854775807",
    ),
    config("max.message.bytes", Kind::Int(0, INT_MAX), "1048588"),
    config(
        "message.timestamp.after.max.ms",
        Kind::Long(0, i64::MAX),
        "3600000",
    ),
    config(
        "message.timestamp.before.max.ms",
        Kind::Long(0, i64::MAX),
        "9223372036854775807",
    ),
    config(
        "message.timestamp.type",
        Kind::Choice(&["CreateTime", "LogAppendTime"]),
        "CreateTime",
    ),
    config("min.cleanable.dirty.ratio", Kind::Double(0.0, 1.0), "0.5"),
    config("min.compaction.lag.ms", Kind::Long(0, i64::MAX), "0"),
    config("min.insync.replicas", Kind::Int(1, INT_MAX), "1"),
    config("preallocate", Kind::Boolean, "false"),
    config("remote.log.copy.disable", Kind::Boolean, "false"),
    config("remote.log.delete.on.disable", Kind::Boolean, "false"),
    config("remote.storage.enable", Kind::Boolean, "false"),
    config("retention.bytes", Kind::Long(-1, i64::MAX), "-1"),
    config("retention.ms", Kind::Long(-1, i64::MAX), "-1"),
    config("segment.bytes", Kind::Int(1_048_576, INT_MAX), "1073741824"),
    config("segment.index.bytes", Kind::Int(4, INT_MAX), "10485760"),
    config("segment.jitter.ms", Kind::Long(0, i64::MAX), "0"),
    config("segment.ms", Kind::Long(1, i64::MAX), "604800000"),
    config("unclean.leader.election.enable", Kind::Boolean, "false"),
];

/// One change of IncrementalAlterConfigs (KIP-339).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alteration {
    Set,
    Delete,
    /// Adds the items to a list.
    Append,
    /// Takes the items out of a list.
    Subtract,
}

impl Alteration {
    pub(crate) fn from_wire(operation: i8) -> Option<Self> {
        match operation {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// What of a topic's configuration decides how produce requests are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    /// Largest batch in bytes, header included.
    pub(crate) max_message_bytes: usize,
    /// Whether the broker's clock replaces the producer's timestamps.
    pub(crate) log_append_time: bool,
    /// How far a record's timestamp may lie behind the broker's clock, in ms.
    pub(crate) timestamp_before_max_ms: i64,
    /// How far it may lie ahead, in ms.
    pub(crate) timestamp_after_max_ms: i64,
    /// Whether every record needs a key.
    pub(crate) compacted: bool,
    /// Whether records may be deleted from the start of the log.
    pub(crate) deletable: bool,
}

/// What was set on one topic, on top of the defaults.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicConfigs {
    set: BTreeMap<&'static str, String>,
}

impl TopicConfigs {
    /// The value in force, and whether it was set on the topic.
    pub(crate) fn get(&self, definition: &ConfigDefinition) -> (String, bool) {
        match self.set.get(definition.name) {
            Some(value) => (value.clone(), true),
            None => (definition.default.to_owned(), false),
        }
    }

    /// Applies one change; `value` is ignored when deleting.
    pub(crate) fn alter(
        &mut self,
        name: &str,
        alteration: Alteration,
        value: Option<&str>,
    ) -> Result<(), Refusal> {
        let Some(definition) = DEFINITIONS
            .iter()
            .find(|definition| definition.name == name)
        else {
            return Err(invalid(format!("Unknown topic config name: {name}")));
        };
        if alteration == Alteration::Delete {
            self.set.remove(definition.name);
            return Ok(());
        }
        let Some(value) = value else {
            return Err(invalid(format!(
                "Null value not supported for topic configs: {name}"
            )));
        };
        let is_list = matches!(definition.kind, Kind::List(_));
        let changed = match alteration {
            Alteration::Set | Alteration::Delete => value.to_owned(),
            Alteration::Append | Alteration::Subtract if !is_list => {
                return Err(invalid(format!(
                    "Can't {alteration:?} to key {name} because its type is not LIST."
                )));
            }
            Alteration::Append => {
                let (current, _) = self.get(definition);
                let mut items: Vec<&str> = list_items(&current).collect();
                for item in list_items(value) {
                    if !items.contains(&item) {
                        items.push(item);
                    }
                }
                items.join(",")
            }
            Alteration::Subtract => {
                let (current, _) = self.get(definition);
                let taken: Vec<&str> = list_items(value).collect();
                list_items(&current)
                    .filter(|item| !taken.contains(item))
                    .collect::<Vec<_>>()
                    .join(",")
            }
        };
        let parsed = definition
            .kind
            .parse(&changed)
            .ok_or_else(|| invalid(format!("Invalid value {changed} for configuration {name}")))?;
        if definition.name == "remote.storage.enable" && parsed == "true" {
            return Err(invalid(
                "a topic cannot use tiered storage where the broker has none".to_owned(),
            ));
        }
        self.set.insert(definition.name, parsed);
        Ok(())
    }

    pub(crate) fn settings(&self) -> TopicSettings {
        let policy = self.value("cleanup.policy");
        TopicSettings {
            max_message_bytes: self
                .number("max.message.bytes")
                .try_into()
                .unwrap_or(usize::MAX),
            log_append_time: self.value("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: self.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: self.number("message.timestamp.after.max.ms"),
            compacted: list_items(&policy).any(|item| item == "compact"),
            deletable: list_items(&policy).any(|item| item == "delete"),
        }
    }

    fn value(&self, name: &str) -> String {
        let definition = DEFINITIONS
            .iter()
            .find(|definition| definition.name == name);
        definition
            .map(|definition| self.get(definition).0)
            .unwrap_or_default()
    }

    /// A numeric value; what is stored was checked when it was set.
    fn number(&self, name: &str) -> i64 {
        self.value(name).parse().unwrap_or_default()
    }
}

fn list_items(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn invalid(message: String) -> Refusal {
    Refusal::new(ResponseError::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_values_that_could_be_set() {
        for definition in DEFINITIONS {
            assert_eq!(
                definition.kind.parse(definition.default).as_deref(),
                Some(definition.default),
                "{}",
                definition.name
            );
        }
        assert!(DEFINITIONS.is_sorted_by_key(|definition| definition.name));
    }

    #[test]
    fn values_are_parsed_and_lists_grow_and_shrink() {
        let mut configs = TopicConfigs::default();
        configs
            .alter("cleanup.policy", Alteration::Append, Some("compact"))
            .unwrap();
        assert!(configs.settings().compacted && configs.settings().deletable);
        configs
            .alter("cleanup.policy", Alteration::Subtract, Some("delete"))
            .unwrap();
        assert!(configs.settings().compacted && !configs.settings().deletable);
        configs
            .alter("cleanup.policy", Alteration::Delete, None)
            .unwrap();
        assert!(!configs.settings().compacted);

        for (name, value, shown) in [
            ("preallocate", "TRUE", "true"),
            ("segment.ms", " +0077 ", "77"),
            ("min.cleanable.dirty.ratio", "1", "1.0"),
            ("cleanup.policy", "compact , delete", "compact,delete"),
        ] {
            configs.alter(name, Alteration::Set, Some(value)).unwrap();
            assert_eq!(configs.value(name), shown);
        }

        for (name, value) in [
            ("no.such.config", "1"),
            ("max.message.bytes", "-1"),
            ("max.message.bytes", "many"),
            ("cleanup.policy", "shred"),
            ("cleanup.policy", "compact,,delete"),
            ("message.timestamp.type", "logappendtime"),
            ("remote.storage.enable", "true"),
        ] {
            let refusal = configs
                .alter(name, Alteration::Set, Some(value))
                .unwrap_err();
            assert_eq!(refusal.code, ResponseError::InvalidConfig, "{name}={value}");
        }
    }
}
