//! An entry of a plugin chain, in a Backup or a Restore.

use crate::decode::{Decode, Place, enumeration, object};
use crate::kinds::backup::TopicMatcher;
use crate::kinds::exactly_one;
use crate::node::{Node, Value, parse_documents};
use crate::path;
use crate::scalar::{Interval, Name, Size, Whole};

object! {
    /// One entry.
    PluginSpec {
        /// A builtin plugin.
        "name" => name: Option<Name>,
        /// A component in a file.
        "wasiPluginRef" => wasi: Option<WasiPluginReference>,
        /// On which topics; none is all.
        "topicSelectors" => topic_selectors: Option<Vec<TopicMatcher>>,
        /// Another spelling of `topicSelectors`, also for a single one.
        "topicSelector" => topic_selector: Option<OneOrMore>,
        /// What `init` is given.
        "spec" => spec: Option<PluginConfig>,
        /// What happens to a record that cannot be passed on. Armory's own.
        "errorPolicy" => error_policy: Option<ErrorPolicySpec>,
        /// What it may use. Armory's own.
        "limits" => limits: Option<LimitsSpec>,
    }
    check check_plugin
}

fn check_plugin(spec: &PluginSpec, at: &mut Place<'_>) {
    let keys = [
        ("name", spec.name.is_some()),
        ("wasiPluginRef", spec.wasi.is_some()),
    ];
    exactly_one(&keys, at);
    if spec.topic_selector.is_some() && spec.topic_selectors.is_some() {
        at.problem_at(
            "topicSelector",
            "is another spelling of topicSelectors, give only one of them",
        );
    }
}

object! {
    /// `wasiPluginRef`.
    WasiPluginReference {
        /// Version of the plugin contract.
        "witVersion" => wit_version: WitVersion,
        /// The volume claim that the file lies on.
        "claimName" => claim: Name,
        /// The file, below the claim's root.
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

    fn outline(path: &str, out: &mut Vec<String>) {
        out.push(format!("{path} string"));
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

    fn outline(path: &str, out: &mut Vec<String>) {
        out.push(format!("{path} string"));
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

    fn outline(path: &str, out: &mut Vec<String>) {
        <Vec<TopicMatcher>>::outline(path, out);
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

    fn outline(path: &str, out: &mut Vec<String>) {
        out.push(format!("{path} object any"));
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
    /// `errorPolicy`: what happens to a record, by what went wrong.
    ErrorPolicySpec {
        /// The plugin said `rejected`; `drop` where it is not given.
        "rejected" => rejected: Option<ErrorActionName>,
        /// The plugin said `error`; `fail` where it is not given.
        "error" => error: Option<ErrorActionName>,
        /// The plugin broke off; `fail` where it is not given.
        "fault" => fault: Option<ErrorActionName>,
        /// A header key that the contract cannot carry; `fail` where it is not given.
        "headerKeyNotUtf8" => header_key_not_utf8: Option<ErrorActionName>,
        /// How many failures among the last `window` records are borne.
        "maxFailures" => max_failures: Option<Whole<0, 1_000_000>>,
        /// How many records `maxFailures` looks back at.
        "window" => window: Option<Whole<1, { i64::MAX }>>,
    }
    check check_error_policy
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
    /// `limits`: what an entry may use.
    LimitsSpec {
        /// Memory of one instance; 256 MiB where it is not given.
        "memory" => memory: Option<Size>,
        /// Time for one record; 1s where it is not given.
        "recordTimeout" => record_timeout: Option<Interval>,
        /// Time for one `init`; 10s where it is not given.
        "initTimeout" => init_timeout: Option<Interval>,
        /// What a record that is handed back may have; twice Kafka's default for `max.message.bytes` where it is not given.
        "returnedRecord" => returned_record: Option<Size>,
        /// What the component's file may have; 64 MiB where it is not given.
        "component" => component: Option<Size>,
        /// What a printed line may have; 1 KiB where it is not given.
        "logLine" => log_line: Option<Size>,
        /// Printed lines a second; 100 where it is not given.
        "logLinesPerSecond" => log_lines_per_second: Option<Whole<0, 1_000_000>>,
    }
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
