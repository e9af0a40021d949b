//! ConfigMap, the one of Kubernetes (`v1`).

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::decode::{Decode, Fields, Place};
use crate::node::{Node, Value};

/// The texts of a ConfigMap.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigMapDocument {
    /// By key. `binaryData` is nothing that anything here reads.
    pub data: BTreeMap<String, String>,
}

impl ConfigMapDocument {
    /// Reads a whole ConfigMap; `at` is the document's root.
    pub(crate) fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let keys = [
            "apiVersion",
            "kind",
            "metadata",
            "immutable",
            "data",
            "binaryData",
        ];
        let fields = Fields::open(node, &keys, at);
        let _: Option<bool> = fields.take("immutable", at);
        let texts: Option<BTreeMap<String, Text>> = fields.take("data", at);
        let texts = texts.unwrap_or_default().into_iter();
        ConfigMapDocument {
            data: texts.map(|(key, Text(text))| (key, text)).collect(),
        }
    }
}

/// A text; Kubernetes takes nothing else.
#[derive(Default)]
struct Text(String);

impl Decode for Text {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        match &node.value {
            Value::Text(text) => Text(text.clone()),
            _ => {
                at.problem("expected text: put it in quotes, or behind a |");
                Text::default()
            }
        }
    }

    fn schema() -> Json {
        String::schema()
    }
}
