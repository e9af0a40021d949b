//! A plugin's entry in a job.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BuiltinPlugin, NameMatcher};

/// Kafka's default for `max.message.bytes`.
const DEFAULT_MAX_MESSAGE_BYTES: u64 = 1_048_588;

/// One entry of a plugin chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginEntry {
    /// What to call it in messages, counters and dead letters: the builtin's name, or the file's.
    pub label: String,
    /// Where its code is.
    pub source: PluginSource,
    /// The `spec` object as it was written; it becomes YAML text only when `init` is called. `None` where the
    /// entry has none, and for builtin plugins.
    pub spec: Option<serde_json::Value>,
    /// Any of them has to match: the source topic of a backup, the target topic of a restore. None at all
    /// means every topic.
    pub selectors: Vec<NameMatcher>,
    /// What happens to a record that could not be passed on.
    pub error_policy: PluginErrorPolicy,
    /// Bounds of what it may use.
    pub limits: PluginLimits,
}

impl PluginEntry {
    /// Does the plugin run on that topic?
    pub fn selects(&self, topic: &str) -> bool {
        self.selectors.is_empty() || self.selectors.iter().any(|matcher| matcher.matches(topic))
    }
}

/// Where a plugin's code is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PluginSource {
    /// A component in a file.
    Wasi {
        /// The file, with the claim's folder in front of it.
        file: PathBuf,
        /// Version of the contract that it was built for: `0.1`.
        wit_version: String,
    },
    /// One that Armory brings along, with its configuration.
    Builtin(BuiltinPlugin),
}

/// What happens to a record that could not be passed on, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginErrorPolicy {
    /// The plugin said `rejected`.
    pub rejected: PluginErrorAction,
    /// The plugin said `error`.
    pub error: PluginErrorAction,
    /// The plugin trapped, took too long, wanted too much memory; twice, the second time on a fresh instance.
    pub fault: PluginErrorAction,
    /// The record has a header key that WIT 0.1 cannot carry.
    pub header_key_not_utf8: PluginErrorAction,
    /// When too many failures stop the topic-partition, whatever the actions say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_rule: Option<PluginStopRule>,
}

/// More than `max_failures` among the last `window` records of a topic-partition stop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginStopRule {
    /// How many failures are borne.
    pub max_failures: u64,
    /// How many records are looked back at, the failing one included.
    pub window: u64,
}

impl Default for PluginErrorPolicy {
    fn default() -> Self {
        PluginErrorPolicy {
            rejected: PluginErrorAction::Drop,
            error: PluginErrorAction::Fail,
            fault: PluginErrorAction::Fail,
            header_key_not_utf8: PluginErrorAction::Fail,
            stop_rule: None,
        }
    }
}

/// One cell of the error policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PluginErrorAction {
    /// The topic-partition stops.
    Fail,
    /// The record is left out and counted.
    Drop,
    /// The record is put aside, with what happened to it.
    DeadLetter,
    /// The record goes on as it was given to the plugin.
    PassThrough,
}

/// Bounds of one plugin entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginLimits {
    /// Memory of one instance, in bytes.
    pub memory: u64,
    /// Time for one record.
    #[serde(rename = "record_timeout_ms", with = "super::duration_ms")]
    pub record_timeout: Duration,
    /// Time for one `init`.
    #[serde(rename = "init_timeout_ms", with = "super::duration_ms")]
    pub init_timeout: Duration,
    /// What a record that is handed back may have, in bytes; one twice the size of what went in is always taken.
    pub returned_record: u64,
    /// What the component's file may have, in bytes.
    pub component: u64,
    /// What a line that the plugin prints may have, in bytes; the rest of it is cut.
    pub log_line: u64,
    /// How many lines a second the plugin may print; more are dropped, and counted.
    pub log_lines_per_second: u64,
}

impl Default for PluginLimits {
    fn default() -> Self {
        PluginLimits {
            memory: 256 * 1024 * 1024,
            record_timeout: Duration::from_secs(1),
            init_timeout: Duration::from_secs(10),
            returned_record: 2 * DEFAULT_MAX_MESSAGE_BYTES,
            component: 64 * 1024 * 1024,
            log_line: 1024,
            log_lines_per_second: 100,
        }
    }
}
