//! Every key of every kind, a line each, read off the schemas.

use serde_json::Value as Json;

/// Every key of every kind, a line each: `Backup spec.streams[].topic* string`. `*` marks a required key, `[]` the
/// items of a list, `{}` the values of a map. Behind the type stand `any` for an object that takes all keys,
/// `enum=a|b`, and `pattern`.
pub fn outline() -> Vec<String> {
    let mut lines = Vec::new();
    for crd in super::crds() {
        let kind = word(&crd["spec"]["names"]["kind"]);
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            if let Some(schema) = schema["properties"].get(part) {
                walk(&format!("{kind} {part}"), schema, &mut lines);
            }
        }
    }
    lines.sort();
    lines
}

fn walk(path: &str, schema: &Json, lines: &mut Vec<String>) {
    let mut line = format!("{path} {}", type_of(schema));
    if is_true(&schema["x-kubernetes-preserve-unknown-fields"]) {
        line += " any";
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<&str> = words.iter().map(word).collect();
        line += &format!(" enum={}", words.join("|"));
    }
    if schema.get("pattern").is_some() {
        line += " pattern";
    }
    lines.push(line.trim_end().to_owned());
    let required = schema["required"].as_array();
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let must = required.is_some_and(|keys| keys.iter().any(|required| required == key));
        let mark = if must { "*" } else { "" };
        walk(&format!("{path}.{key}{mark}"), inner, lines);
    }
    if let Some(inner) = schema.get("additionalProperties") {
        walk(&format!("{path}{{}}"), inner, lines);
    }
    if let Some(inner) = schema.get("items") {
        walk(&format!("{path}[]"), inner, lines);
    }
}

/// The type of a schema; empty where it takes anything.
fn type_of(schema: &Json) -> &str {
    if is_true(&schema["x-kubernetes-int-or-string"]) {
        return "int-or-string";
    }
    word(&schema["type"])
}

fn is_true(value: &Json) -> bool {
    value.as_bool().unwrap_or(false)
}

fn word(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}
