//! An entry of a plugin chain, in a Backup or a Restore.

use serde_json::{Value as Json, json};

use crate::decode::{AnyObject, Decode, Place, enumeration, object};
use crate::kinds::backup::TopicMatcher;
use crate::node::{Node, Value, parse_documents};
use crate::path;
use crate::scalar::{Interval, Name, Size, Whole};

object! {
    /// A plugin that records pass through: `name` or `wasiPluginRef` says which one.
    PluginSpec {
        /// The name of a builtin plugin: `topic-repartitioning`, `topic-retention`, `payload-schema-mapping` or
        /// `key-schema-mapping`, in a Restore only.
        "name" => name: Option<Name>,
        /// A plugin of one's own: a component in a file on a volume claim.
        "wasiPluginRef" => wasi: Option<WasiPluginReference>,
        /// The topics whose records pass through, each of which matches one of these at least. Default: all topics.
        "topicSelectors" => topic_selectors: Option<Vec<TopicMatcher>> {"maxItems": 1000},
        /// Another spelling of `topicSelectors`: a list, or a single one without a list.
        "topicSelector" => topic_selector: Option<OneOrMore>,
        /// The configuration of the plugin, as the plugin defines it.
        "spec" => spec: Option<PluginConfig>,
        /// What happens to a record that the plugin does not give back.
        "errorPolicy" => error_policy: Option<ErrorPolicySpec>,
        /// What the plugin may use.
        "limits" => limits: Option<LimitsSpec>,
    }
    keep_unknown_keys true
    exactly_one ["name", "wasiPluginRef"]
    check check_plugin
}

fn check_plugin(spec: &PluginSpec, at: &mut Place<'_>) {
    if spec.topic_selector.is_some() && spec.topic_selectors.is_some() {
        at.problem_at(
            "topicSelector",
            "is another spelling of topicSelectors, give only one of them",
        );
    }
}

object! {
    /// A component in a file on a volume claim.
    WasiPluginReference {
        /// The version of the plugin contract that the component was built for: `"0.1"`, in quotes.
        "witVersion" => wit_version: WitVersion,
        /// The name of the PersistentVolumeClaim that the file lies on. It is mounted read-only.
        "claimName" => claim: Name,
        /// The path of the file, relative to the root of the volume.
        "path" => path: VolumePath,
    }
}

/// A version of the plugin contract that this Armory hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WitVersion(pub String);

/// The versions of the plugin contract.
pub const WIT_VERSIONS: &[&str] = &["0.1"];

impl Decode for WitVersion {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let text = String::decode(node, at);
        if matches!(node.value, Value::Text(_)) && !WIT_VERSIONS.contains(&text.as_str()) {
            at.problem(format!(
                "version {text:?} of the plugin contract is not known, this Armory hosts {}",
                WIT_VERSIONS.join(", ")
            ));
        }
        WitVersion(text)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": r"^[0-9]+\.[0-9]+$" })
    }
}

/// A path relative to a volume's root, which does not leave it: its names, one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumePath(pub Vec<String>);

impl VolumePath {
    /// Reads a path of `/`-separated names.
    pub fn parse(text: &str) -> Result<VolumePath, &'static str> {
        if text.is_empty() {
            return Err("must not be empty");
        }
        if text.starts_with('/') {
            return Err("must be relative to the volume");
        }
        if text.contains(['\\', '\0']) {
            return Err("must not contain a backslash or a null byte");
        }
        let names: Vec<String> = text
            .split('/')
            .filter(|name| !name.is_empty() && *name != ".")
            .map(str::to_owned)
            .collect();
        if names.iter().any(|name| name == "..") {
            return Err("must not leave the volume, \"..\" is not allowed");
        }
        if names.is_empty() || text.ends_with('/') {
            return Err("must name a file");
        }
        Ok(VolumePath(names))
    }
}

impl Decode for VolumePath {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let text = String::decode(node, at);
        if !matches!(node.value, Value::Text(_)) {
            return VolumePath::default();
        }
        VolumePath::parse(&text).unwrap_or_else(|message| {
            at.problem(message);
            VolumePath::default()
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "pattern": r"^[^/\\]" })
    }
}

/// A list, or the one thing that would be in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OneOrMore(pub Vec<TopicMatcher>);

impl Decode for OneOrMore {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        match node.value {
            Value::Map(_) => OneOrMore(vec![TopicMatcher::decode(node, at)]),
            _ => OneOrMore(Vec::decode(node, at)),
        }
    }

    fn schema() -> Json {
        // Two types in one place have no structural schema.
        json!({ "x-kubernetes-preserve-unknown-fields": true })
    }
}

/// A plugin's own configuration: any object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PluginConfig(pub serde_json::Value);

impl Decode for PluginConfig {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        if !matches!(node.value, Value::Map(_)) {
            at.expected("an object", node);
        }
        PluginConfig(node.to_json())
    }

    fn schema() -> Json {
        AnyObject::schema()
    }
}

/// Reads a plugin's configuration from a file of its own: one YAML document, an object, no key twice.
pub fn parse_config(text: &str) -> Result<serde_json::Value, String> {
    let documents = parse_documents(text).map_err(|error| format!("not YAML: {error}"))?;
    let [document] = documents.as_slice() else {
        let count = documents.len();
        return Err(format!("expected one YAML document, found {count}"));
    };
    if !matches!(document.value, Value::Map(_)) {
        return Err(format!("expected an object, found {}", document.describe()));
    }
    let mut twice = None;
    document.duplicates(&mut Vec::new(), &mut |path| {
        twice.get_or_insert_with(|| path::display(path));
    });
    match twice {
        Some(path) => Err(format!("{path}: the key is there twice")),
        None => Ok(document.to_json()),
    }
}

object! {
    /// What happens to a record, by what went wrong: `fail` stops its topic-partition, `drop` leaves it out, `deadLetter`
    /// puts it aside, and `passThrough` lets it go on as it was.
    ErrorPolicySpec {
        /// The plugin said that it rejects the record. Default: `drop`.
        "rejected" => rejected: Option<ErrorActionName>,
        /// The plugin said that it has an error. Default: `fail`.
        "error" => error: Option<ErrorActionName>,
        /// The plugin broke off: it trapped, took too long or too much memory. Default: `fail`.
        "fault" => fault: Option<ErrorActionName>,
        /// A header of the record has a key that is not UTF-8, so that the plugin cannot be given it. Default: `fail`.
        "headerKeyNotUtf8" => header_key_not_utf8: Option<ErrorActionName>,
        /// How many failures among the last `window` records are borne; one more stops the topic-partition. Goes with
        /// `window`, and is less.
        "maxFailures" => max_failures: Option<Whole<0, 1_000_000>>,
        /// How many records `maxFailures` looks back at.
        "window" => window: Option<Whole<1, { i64::MAX }>>,
    }
    keep_unknown_keys true
    check check_error_policy
    rule "has(self.maxFailures) == has(self.window)" => "maxFailures and window go together, give both or none of them"
    rule "!has(self.maxFailures) || !has(self.window) || self.maxFailures < self.window" => "maxFailures must be less than window"
}

fn check_error_policy(spec: &ErrorPolicySpec, at: &mut Place<'_>) {
    match (&spec.max_failures, &spec.window) {
        (Some(_), None) => at.problem_at("window", "missing, maxFailures counts within it"),
        (None, Some(_)) => at.problem_at("maxFailures", "missing, window is for it"),
        (Some(failures), Some(window)) if failures.0 >= window.0 => at.problem_at(
            "maxFailures",
            format!(
                "{} failures among {} records are never too many, make it less than window",
                failures.0, window.0
            ),
        ),
        _ => {}
    }
}

enumeration! {
    /// A cell of the error policy.
    ErrorActionName {
        /// The topic-partition stops.
        Fail = "fail",
        /// The record is left out.
        Drop = "drop",
        /// The record is put aside.
        DeadLetter = "deadLetter",
        /// The record goes on as it was.
        PassThrough = "passThrough",
    }
}

object! {
    /// What one entry of a plugin chain may use. Sizes are bytes, as a number or like `64 MiB`; times are like `100ms`.
    LimitsSpec {
        /// Memory of one instance. Default: 256 MiB.
        "memory" => memory: Option<Size>,
        /// Time for one record. Default: 1s.
        "recordTimeout" => record_timeout: Option<Interval>,
        /// Time for getting an instance ready. Default: 10s.
        "initTimeout" => init_timeout: Option<Interval>,
        /// Size of a record that is handed back. Default: twice Kafka's default for `max.message.bytes`.
        "returnedRecord" => returned_record: Option<Size>,
        /// Size of the component's file. Default: 64 MiB.
        "component" => component: Option<Size>,
        /// Length of a printed line; what is longer is cut. Default: 1 KiB.
        "logLine" => log_line: Option<Size>,
        /// Printed lines a second; what is more is left out. Default: 100.
        "logLinesPerSecond" => log_lines_per_second: Option<Whole<0, 1_000_000>>,
    }
    keep_unknown_keys true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_one_object() {
        assert_eq!(
            parse_config("header: secret\nn: [1]\n"),
            Ok(serde_json::json!({"header": "secret", "n": [1]}))
        );
        for (text, message) in [
            ("", "expected one YAML document, found 0"),
            ("a: 1\n---\nb: 1", "expected one YAML document, found 2"),
            ("- a", "expected an object, found a list"),
            ("a: {b: 1, b: 2}", "a.b: the key is there twice"),
        ] {
            assert_eq!(parse_config(text), Err(message.to_owned()));
        }
    }

    #[test]
    fn paths_stay_in_the_volume() {
        let names = |text| VolumePath::parse(text).map(|path| path.0.join("/"));
        assert_eq!(names("a.wasm"), Ok("a.wasm".to_owned()));
        assert_eq!(names("./x//a.wasm"), Ok("x/a.wasm".to_owned()));
        assert_eq!(names("..a/b..wasm"), Ok("..a/b..wasm".to_owned()));
        for text in [
            "",
            "/a",
            "../a",
            "a/../../b",
            "a/..",
            "a\\..\\b",
            ".",
            "a/",
            "a\0",
        ] {
            assert!(names(text).is_err(), "{text:?}");
        }
    }
}
