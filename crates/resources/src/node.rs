//! YAML documents as a tree that remembers its lines.
//!
//! Everything is read into this tree first and decoded from it afterwards, because a serde type stops at its first
//! error, and a user wants to hear of all of them.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Options, Spanned};

use crate::path::Segment;

/// A value and the line it stands on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// Counted from 1; 0 where it is unknown.
    pub(crate) line: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map. A key that was written twice is there twice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: u64,
    pub(crate) node: Node,
}

/// Reads all documents of a YAML text; empty ones are left out.
pub(crate) fn parse_documents(text: &str) -> Result<Vec<Node>, String> {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.with_snippet = false;
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| error.to_string())
}

impl Node {
    /// The line of what a path leads to, or of the deepest thing on the way there.
    pub(crate) fn line_of(&self, path: &[Segment]) -> u64 {
        let mut node = self;
        let mut line = self.line;
        for segment in path {
            let next = match (segment, &node.value) {
                (Segment::Key(key), Value::Map(entries)) => entries
                    .iter()
                    .find(|entry| entry.key == *key)
                    .map(|entry| (entry.line, &entry.node)),
                (Segment::Index(index), Value::List(items)) => {
                    items.get(*index).map(|item| (item.line, item))
                }
                _ => None,
            };
            let Some((found, inner)) = next else { break };
            line = found;
            node = inner;
        }
        line
    }

    /// The first value of a key, where this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.node),
            _ => None,
        }
    }

    /// What this is, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(value) if value.len() <= 40 => format!("the text {value:?}"),
            Value::Text(_) => "text".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "an object".to_owned(),
        }
    }

    /// The same as JSON. Of a key that is there twice the last one stays; [`Node::duplicates`] tells of them.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Integer(value) => match i64::try_from(*value) {
                Ok(value) => Json::from(value),
                Err(_) => Json::from(*value as f64),
            },
            Value::Float(value) => Json::from(*value),
            Value::Text(value) => Json::String(value.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.node.to_json()))
                    .collect(),
            ),
        }
    }

    /// Calls `report` with the path of every key that stands twice in one map, anywhere below.
    pub(crate) fn duplicates(&self, path: &mut Vec<Segment>, report: &mut dyn FnMut(&[Segment])) {
        match &self.value {
            Value::Map(entries) => {
                for (position, entry) in entries.iter().enumerate() {
                    path.push(Segment::Key(entry.key.clone()));
                    if entries[..position].iter().any(|e| e.key == entry.key) {
                        report(path);
                    }
                    entry.node.duplicates(path, report);
                    path.pop();
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(Segment::Index(index));
                    item.duplicates(path, report);
                    path.pop();
                }
            }
            _ => {}
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(from)?;
        Ok(Node {
            line: spanned.referenced.line(),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = access.next_entry::<Spanned<String>, Node>()? {
            entries.push(Entry {
                key: key.value,
                line: key.referenced.line(),
                node,
            });
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_remembered() {
        let documents =
            parse_documents("---\n# nothing\n---\na:\n  b:\n    - 1\n    - x\n").unwrap();
        let [document] = documents.as_slice() else {
            panic!("{documents:?}")
        };
        let key = |key: &str| Segment::Key(key.to_owned());
        assert_eq!(
            document.line_of(&[key("a"), key("b"), Segment::Index(1)]),
            7
        );
        assert_eq!(document.line_of(&[key("a"), key("absent")]), 4);
    }

    #[test]
    fn duplicates_are_found_at_every_depth() {
        let documents = parse_documents("a: 1\na: 2\nb: [{c: 1, c: 2}]\n").unwrap();
        let mut found = Vec::new();
        documents[0].duplicates(&mut Vec::new(), &mut |path| {
            found.push(crate::path::display(path));
        });
        assert_eq!(found, ["a", "b[0].c"]);
    }

    #[test]
    fn anchors_and_merges_are_followed() {
        let documents = parse_documents("x: &a {k: 1, l: 1}\ny: {<<: *a, k: 2}\n").unwrap();
        assert_eq!(
            documents[0].to_json(),
            serde_json::json!({"x": {"k": 1, "l": 1}, "y": {"k": 2, "l": 1}})
        );
    }

    #[test]
    fn a_text_that_is_not_yaml_names_the_place() {
        let error = parse_documents("a: [1\nb: 2").unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }
}
