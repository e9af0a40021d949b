//! As much of structural schemas as these ones use: what the API server does, in small. Rules in CEL are not run.

use regex::Regex;
use serde_json::Value;

/// A schema, or a part of one.
#[derive(Debug, Clone)]
pub(crate) struct Schema(Value);

/// Every member that a schema here may have.
const MEMBERS: &[&str] = &[
    "additionalProperties",
    "anyOf",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

impl Schema {
    /// That of a CustomResourceDefinition.
    pub(crate) fn of(crd: &Value) -> Schema {
        Schema(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
    }

    pub(crate) fn of_kind(kind: &Value) -> Schema {
        let crds = armory_resources::crds();
        let crd = crds
            .iter()
            .find(|crd| crd["spec"]["names"]["kind"] == *kind);
        Schema::of(crd.unwrap_or_else(|| panic!("there is no kind {kind}")))
    }

    fn is(&self, flag: &str) -> bool {
        self.0[flag] == true
    }

    fn inner(&self, key: &str) -> Option<Schema> {
        self.0.get(key).cloned().map(Schema)
    }

    /// The rules of structural schemas; and every key says what it means.
    pub(crate) fn check_itself(&self, path: &str) {
        let schema = self.0.as_object().expect("a schema is an object");
        for member in schema.keys() {
            assert!(MEMBERS.contains(&member.as_str()), "{path}: {member}");
        }
        let untyped = self.is("x-kubernetes-int-or-string")
            || self.is("x-kubernetes-preserve-unknown-fields");
        assert_eq!(
            schema.contains_key("type"),
            !(self.is("x-kubernetes-int-or-string") || untyped && self.0.get("type").is_none()),
            "{path}: every part has a type"
        );
        assert!(
            !(schema.contains_key("properties") && schema.contains_key("additionalProperties")),
            "{path}: an object or a map"
        );
        if let Some(pattern) = self.0["pattern"].as_str() {
            Regex::new(pattern).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        for rule in self.0["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            assert!(
                rule["message"].is_string() && rule["rule"].is_string(),
                "{path}"
            );
        }
        let described = |inner: &Value| {
            let text = inner["description"].as_str().unwrap_or_default();
            text.ends_with(['.', ':'])
        };
        for (key, inner) in self.0["properties"].as_object().into_iter().flatten() {
            assert!(
                key == "metadata" || described(inner),
                "{path}.{key}: {}",
                inner["description"]
            );
            Schema(inner.clone()).check_itself(&format!("{path}.{key}"));
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = self.inner(key) {
                inner.check_itself(&format!("{path}.{key}"));
            }
        }
    }

    /// Everything that is wrong with a value: a JSON pointer and a word each.
    pub(crate) fn check(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.find(value, "", &mut found);
        found
    }

    fn find(&self, value: &Value, path: &str, found: &mut Vec<String>) {
        if !self.has_type(value) {
            found.push(format!("{path}: type"));
            return;
        }
        if self.0["enum"]
            .as_array()
            .is_some_and(|words| !words.contains(value))
        {
            found.push(format!("{path}: enum"));
        }
        match value {
            Value::String(text) => self.find_in_text(text, path, found),
            Value::Number(number) => {
                let number = number.as_i64().expect("whole numbers alone are used");
                let beyond = |bound: &str, wrong: fn(i64, i64) -> bool| {
                    self.0[bound]
                        .as_i64()
                        .is_some_and(|bound| wrong(number, bound))
                };
                if beyond("minimum", |n, bound| n < bound)
                    || beyond("maximum", |n, bound| n > bound)
                {
                    found.push(format!("{path}: range"));
                }
            }
            Value::Array(items) => {
                if let Some(inner) = self.inner("items") {
                    for (index, item) in items.iter().enumerate() {
                        inner.find(item, &format!("{path}/{index}"), found);
                    }
                }
            }
            Value::Object(members) => {
                for key in self.0["required"].as_array().into_iter().flatten() {
                    let key = key.as_str().unwrap_or_default();
                    if !members.contains_key(key) {
                        found.push(format!("{path}/{key}: missing"));
                    }
                }
                for (key, inner) in members {
                    let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                    match self.below(key) {
                        Some(schema) => schema.find(inner, &path, found),
                        None if self.is("x-kubernetes-preserve-unknown-fields") => {}
                        None if self.0["type"] == "object"
                            && self.0.get("properties").is_none() => {}
                        None => found.push(format!("{path}: unknown")),
                    }
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn find_in_text(&self, text: &str, path: &str, found: &mut Vec<String>) {
        if let Some(pattern) = self.0["pattern"].as_str()
            && !Regex::new(pattern).expect("a pattern").is_match(text)
        {
            found.push(format!("{path}: pattern"));
        }
        let length = text.chars().count() as u64;
        if self.0["maxLength"]
            .as_u64()
            .is_some_and(|most| length > most)
            || self.0["minLength"]
                .as_u64()
                .is_some_and(|least| length < least)
        {
            found.push(format!("{path}: length"));
        }
    }

    fn has_type(&self, value: &Value) -> bool {
        if self.is("x-kubernetes-int-or-string") {
            return value.is_i64() || value.is_string();
        }
        match self.0["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64(),
            Some("boolean") => value.is_boolean(),
            _ => true,
        }
    }

    /// What a key of an object has to be.
    fn below(&self, key: &str) -> Option<Schema> {
        let property = self.0["properties"].get(key).cloned().map(Schema);
        property.or_else(|| self.inner("additionalProperties"))
    }

    /// The part that a JSON pointer leads to; the last one that says anything, where it leads further.
    fn at(&self, path: &str) -> Schema {
        let mut schema = self.clone();
        for key in path.split('/').skip(1) {
            let key = key.replace("~1", "/").replace("~0", "~");
            let next = match schema.inner("items") {
                Some(items) => Some(items),
                None => schema.below(&key),
            };
            match next {
                Some(next) => schema = next,
                None => break,
            }
        }
        schema
    }

    /// Does the schema hand unknown keys on?
    pub(crate) fn keeps_unknown_keys(&self, path: &str) -> bool {
        self.at(path).is("x-kubernetes-preserve-unknown-fields")
    }

    /// Is every key taken, because the object is a map?
    pub(crate) fn is_map(&self, path: &str) -> bool {
        self.at(path).0.get("additionalProperties").is_some()
    }

    /// Are there rules between the keys?
    pub(crate) fn has_rules(&self, path: &str) -> bool {
        self.at(path).0.get("x-kubernetes-validations").is_some()
    }
}
