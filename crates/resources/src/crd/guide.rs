//! The reference of all kinds as Markdown, made of their schemas.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use super::{KINDS, Kind, status};
use crate::decode::{Decode, Keys};
use crate::kinds::CredentialsSource;
use crate::kinds::backup::TopicMatcher;
use crate::kinds::credentials::{TlsSpec, ValueSource};
use crate::kinds::metadata::{
    REPORT_CLAIM_ANNOTATION, RETENTION_AFTER_LABEL, RETENTION_LABEL, SNAPSHOTS_ANNOTATION,
};
use crate::kinds::plugin::PluginSpec;
use crate::kinds::pod::{AffinitySpec, EnvVarSpec, PodFields, ResourcesSpec, TolerationSpec};
use crate::set::API_VERSION;

/// What stands in several kinds, and is told once.
const SHARED: &[(&str, fn() -> Json)] = &[
    ("Plugin", PluginSpec::schema),
    ("Topic matcher", TopicMatcher::schema),
    ("Credentials source", CredentialsSource::schema),
    ("Value source", ValueSource::schema),
    ("TLS", TlsSpec::schema),
    ("Affinity", AffinitySpec::schema),
    ("Environment variable", EnvVarSpec::schema),
    ("Resources", ResourcesSpec::schema),
    ("Toleration", TolerationSpec::schema),
    ("Condition", status::condition),
];

/// The title of the section about [`PodFields`].
const POD_FIELDS: &str = "Fields for pods";

/// Every kind with every field, its type, default and meaning, as Markdown.
pub fn reference() -> String {
    let mut text = format!(
        "# Reference of the Kubernetes resources\n\n\
         Made by `armory crds -o markdown` of the CustomResourceDefinitions; a test compares the two.\n\n\
         All kinds are of `apiVersion: {API_VERSION}`. References are by name, within one namespace. The same documents are\n\
         taken by [`-f` on the command line](../yaml.md). [Examples](examples) of every kind can be copied.\n\n\
         A *size* is a number of bytes, or a text like `10 MiB` or `1Gi` (binary), `25MB` (decimal). A *duration* is like `15s`,\n\
         `1m30s` or `30d`. A *time* is RFC 3339: `2026-01-01T00:00:00Z`. A star marks fields that are required.\n"
    );
    for kind in KINDS {
        describe_kind(&mut text, kind);
    }
    let _ = writeln!(
        text,
        "\n## {POD_FIELDS}\n\n{}\n",
        about(&PodFields::schema())
    );
    table(&mut text, &PodFields::schema(), &[]);
    for (title, schema) in SHARED {
        let schema = schema();
        let _ = writeln!(text, "\n## {title}\n\n{}\n", about(&schema));
        table(&mut text, &schema, &[]);
    }
    describe_metadata(&mut text);
    text
}

/// Labels and annotations are no part of a schema.
fn describe_metadata(text: &mut String) {
    text.push_str("\n## Labels and annotations\n\n| key | on | meaning |\n|---|---|---|\n");
    let rows = [
        (
            RETENTION_LABEL,
            "label of a Backup",
            "`Keep`, or `Delete` for deleting what it archived. Default: `Keep`.",
        ),
        (
            RETENTION_AFTER_LABEL,
            "label of a Backup",
            "With `Delete`: how old the newest record of a segment is when the segment is deleted, a duration like `30d`.",
        ),
        (
            SNAPSHOTS_ANNOTATION,
            "annotation of a Backup",
            "Taken, and without effect: topics that had a name one after another are always told apart.",
        ),
        (
            REPORT_CLAIM_ANNOTATION,
            "annotation of a Restore",
            "The name of the volume claim that its report is kept on, where its storage cannot be written.",
        ),
    ];
    for (key, on, meaning) in rows {
        let _ = writeln!(text, "| `{key}` | {on} | {meaning} |");
    }
}

fn describe_kind(text: &mut String, kind: &Kind) {
    let schema = (kind.spec)();
    let _ = writeln!(text, "\n## {}\n\n{}", kind.name, about(&schema));
    let mut names = vec![format!("`kubectl get {}`", kind.plural)];
    names.extend(
        kind.short_names
            .iter()
            .map(|name| format!("`kubectl get {name}`")),
    );
    names.extend(
        kind.categories
            .iter()
            .map(|name| format!("`kubectl get {name}`")),
    );
    let columns: Vec<&str> = kind.columns.iter().map(|(name, ..)| *name).collect();
    let _ = writeln!(
        text,
        "Listed by {}, with the columns Name, {}.\n",
        names.join(", "),
        columns.join(", ")
    );
    let pod_keys = PodFields::keys();
    let has_pods = pod_keys
        .iter()
        .all(|key| schema["properties"].get(key).is_some());
    table(&mut *text, &schema, if has_pods { &pod_keys } else { &[] });
    if has_pods {
        let _ = writeln!(
            text,
            "\nAnd the [{}](#{}).",
            lower(POD_FIELDS),
            anchor(POD_FIELDS)
        );
    }
    if let Some(status) = kind.status {
        let _ = writeln!(text, "\nIts `status`, written by the operator:\n");
        table(text, &status(), &[]);
    }
}

/// The fields of an object and of everything inside, then the rules between them.
fn table(text: &mut String, schema: &Json, without: &[&str]) {
    text.push_str("| field | type | meaning |\n|---|---|---|\n");
    let mut rules = Vec::new();
    rows(text, "", schema, without, &mut rules);
    if !rules.is_empty() {
        let _ = writeln!(text, "\nRules:\n");
        for rule in rules {
            let _ = writeln!(text, "- {rule}");
        }
    }
}

fn rows(text: &mut String, path: &str, schema: &Json, without: &[&str], rules: &mut Vec<String>) {
    for rule in list(&schema["x-kubernetes-validations"]) {
        let message = word(&rule["message"]);
        rules.push(match path {
            "" => message.to_owned(),
            path => format!("`{path}`: {message}"),
        });
    }
    let required = list(&schema["required"]);
    for (key, inner) in sorted(&schema["properties"]) {
        if without.contains(&key.as_str()) {
            continue;
        }
        let star = if required.iter().any(|required| required == key) {
            "*"
        } else {
            ""
        };
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        let _ = writeln!(
            text,
            "| `{path}`{star} | {} | {} |",
            type_of(inner),
            meaning(inner)
        );
        below(text, &path, inner, rules);
    }
}

/// The rows of what is inside a field, unless it is told elsewhere.
fn below(text: &mut String, path: &str, schema: &Json, rules: &mut Vec<String>) {
    if shared(schema).is_some() {
        return;
    }
    if let Some(items) = schema.get("items") {
        return below(text, &format!("{path}[]"), items, rules);
    }
    if let Some(values) = schema.get("additionalProperties") {
        let own_rules = schema.get("x-kubernetes-validations");
        for rule in own_rules.into_iter().flat_map(list) {
            rules.push(format!("`{path}`: {}", word(&rule["message"])));
        }
        return below(text, &format!("{path}.*"), values, rules);
    }
    rows(text, path, schema, &[], rules);
}

fn type_of(schema: &Json) -> String {
    if let Some(title) = shared(schema) {
        return format!("[{}](#{})", lower(title), anchor(title));
    }
    if let Some(items) = schema.get("items") {
        let most = schema["maxItems"].as_u64();
        let most = most.map_or_else(String::new, |most| format!(" (at most {most})"));
        return format!("list{most}: {}", type_of(items));
    }
    if let Some(values) = schema.get("additionalProperties") {
        return format!("map: {}", type_of(values));
    }
    let words: Vec<String> = list(&schema["enum"])
        .iter()
        .map(|choice| format!("`{}`", word(choice)))
        .collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "number or text".to_owned();
    }
    match (word(&schema["type"]), word(&schema["format"])) {
        ("string", "date-time") => "time".to_owned(),
        ("string", _) => "text".to_owned(),
        ("integer", _) => range(schema),
        ("boolean", _) => "`true`, `false`".to_owned(),
        ("object", _) if schema.get("properties").is_none() => "any object".to_owned(),
        ("object", _) => "object".to_owned(),
        _ => "anything".to_owned(),
    }
}

fn range(schema: &Json) -> String {
    // Bounds that are those of the type say nothing.
    let bound = |key: &str| schema[key].as_i64().filter(|n| n.unsigned_abs() < 1 << 31);
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("number, {least} to {most}"),
        (Some(least), None) => format!("number, at least {least}"),
        _ => "number".to_owned(),
    }
}

fn meaning(schema: &Json) -> String {
    let mut meaning = about(schema);
    if let Some(default) = schema.get("default") {
        let _ = write!(meaning, " Default: {default}.");
    }
    // A bar would end the cell.
    meaning.replace('|', "\\|").replace('\n', " ")
}

/// The title of the shared section that this is told in.
fn shared(schema: &Json) -> Option<&'static str> {
    SHARED
        .iter()
        .find(|(_, shared)| bare(&shared()) == bare(schema))
        .map(|(title, _)| *title)
}

/// A schema without its own description.
fn bare(schema: &Json) -> Map<String, Json> {
    let mut members = schema.as_object().cloned().unwrap_or_default();
    members.remove("description");
    members
}

fn about(schema: &Json) -> String {
    word(&schema["description"]).to_owned()
}

fn sorted(object: &Json) -> Vec<(&String, &Json)> {
    let mut members: Vec<_> = object.as_object().into_iter().flatten().collect();
    members.sort_by_key(|(key, _)| *key);
    members
}

fn list(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

/// A title inside a sentence: `TLS` stays as it is.
fn lower(title: &str) -> String {
    match title {
        "TLS" => title.to_owned(),
        title => title.to_lowercase(),
    }
}

fn anchor(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}
