//! Structural schemas of OpenAPI v3, as CustomResourceDefinitions take them.

use serde_json::{Map, Value as Json, json};

use crate::decode::Decode;

/// The schema of an object in the making.
#[derive(Debug)]
pub(crate) struct ObjectSchema {
    description: String,
    properties: Map<String, Json>,
    required: Vec<&'static str>,
    rules: Vec<Json>,
    keeps_unknown_keys: bool,
}

impl ObjectSchema {
    /// `doc` is a doc comment, line by line.
    pub(crate) fn new(doc: &[&str]) -> Self {
        ObjectSchema {
            description: text(doc),
            properties: Map::new(),
            required: Vec::new(),
            rules: Vec::new(),
            keeps_unknown_keys: false,
        }
    }

    /// Adds a key. `more` is an object whose members come over those of the type's schema.
    pub(crate) fn key<T: Decode>(&mut self, key: &'static str, doc: &[&str], more: Json) {
        let mut schema = T::schema();
        if let Json::Object(members) = &mut schema {
            members.insert("description".to_owned(), text(doc).into());
            if let Json::Object(more) = more {
                members.extend(more);
            }
        }
        if T::REQUIRED {
            self.required.push(key);
        }
        self.properties.insert(key.to_owned(), schema);
    }

    /// Adds a rule in CEL.
    pub(crate) fn rule(&mut self, rule: &str, message: &str) {
        self.rules.push(json!({ "rule": rule, "message": message }));
    }

    /// Adds the rule that exactly one of several keys is there.
    pub(crate) fn exactly_one(&mut self, keys: &[&str]) {
        let there: Vec<String> = keys.iter().map(|key| format!("has(self.{key})")).collect();
        let rule = format!("[{}].exists_one(there, there)", there.join(", "));
        let message = match keys {
            [only] => format!("{only} must be given"),
            keys => format!("exactly one of {} must be given", keys.join(", ")),
        };
        self.rule(&rule, &message);
    }

    /// Whether the API server keeps keys that it does not know.
    pub(crate) fn keep_unknown_keys(&mut self, keep: bool) {
        self.keeps_unknown_keys = keep;
    }

    pub(crate) fn finish(self) -> Json {
        let mut schema = json!({
            "type": "object",
            "description": self.description,
            "properties": self.properties,
        });
        if !self.required.is_empty() {
            schema["required"] = json!(self.required);
        }
        if self.keeps_unknown_keys {
            schema["x-kubernetes-preserve-unknown-fields"] = true.into();
        }
        if !self.rules.is_empty() {
            schema["x-kubernetes-validations"] = json!(self.rules);
        }
        schema
    }
}

/// The text of a doc comment. A paragraph becomes a line.
fn text(doc: &[&str]) -> String {
    let mut text = String::new();
    for line in doc.iter().map(|line| line.trim()) {
        match (line, text.ends_with('\n') || text.is_empty()) {
            ("", true) => {}
            ("", false) => text.push('\n'),
            (line, true) => text.push_str(line),
            (line, false) => {
                text.push(' ');
                text.push_str(line);
            }
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_become_lines() {
        assert_eq!(text(&[" A", " b.", "", " C."]), "A b.\nC.");
        assert_eq!(text(&[]), "");
    }
}
