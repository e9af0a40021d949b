//! Secret, the one of Kubernetes (`v1`).

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use crate::decode::{Decode, Fields, Place};
use crate::node::{Node, Value};

/// The values of a Secret; they do not appear in debug output.
#[derive(Clone, Default, PartialEq)]
pub struct SecretDocument {
    values: BTreeMap<String, String>,
}

impl SecretDocument {
    /// Reads a whole Secret; `at` is the document's root. `stringData` wins over `data`, as in Kubernetes.
    pub(crate) fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let keys = [
            "apiVersion",
            "kind",
            "metadata",
            "type",
            "immutable",
            "data",
            "stringData",
        ];
        let fields = Fields::open(node, &keys, at);
        let _: Option<String> = fields.take("type", at);
        let _: Option<bool> = fields.take("immutable", at);
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        let encoded: BTreeMap<String, SecretText> = fields.take("data", at);
        for (key, SecretText(text)) in encoded {
            let compact: String = text.split_ascii_whitespace().collect();
            let decoded = STANDARD.decode(compact).map_err(|_| "is not base64");
            match decoded.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not text")) {
                Ok(value) => _ = values.insert(key, value),
                Err(message) => at.within_keys(&["data", &key], |at| at.problem(message)),
            }
        }
        let plain: BTreeMap<String, SecretText> = fields.take("stringData", at);
        values.extend(plain.into_iter().map(|(key, SecretText(text))| (key, text)));
        SecretDocument { values }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }
}

impl fmt::Debug for SecretDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// A text that no message may show.
#[derive(Default)]
struct SecretText(String);

impl Decode for SecretText {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        match &node.value {
            Value::Text(text) => SecretText(text.clone()),
            _ => {
                at.problem("expected text: put it in quotes");
                SecretText::default()
            }
        }
    }

    fn schema() -> Json {
        String::schema()
    }
}
