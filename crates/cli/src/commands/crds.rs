//! `armory crds`

use std::io::{self, Write as _};

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::{Value, json};

use crate::args::{CrdsArguments, CrdsFormat};
use crate::exit::Exit;

pub(super) fn run(arguments: CrdsArguments) -> anyhow::Result<Exit> {
    let mut crds = armory_resources::crds();
    if let Some(kind) = &arguments.kind {
        crds.retain(|crd| crd["spec"]["names"]["kind"] == kind.as_str());
    }
    let text = match (arguments.output, crds.as_slice()) {
        (CrdsFormat::Markdown, _) => armory_resources::reference(),
        (CrdsFormat::Yaml, crds) => yaml(crds)?,
        (CrdsFormat::Json, [crd]) => serde_json::to_string_pretty(crd)? + "\n",
        (CrdsFormat::Json, crds) => {
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": crds });
            serde_json::to_string_pretty(&list)? + "\n"
        }
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

fn yaml(crds: &[Value]) -> anyhow::Result<String> {
    let mut text = String::new();
    for crd in crds {
        text += "---\n";
        text += serde_saphyr::to_string(&Plain(crd))?.trim_end();
        text.push('\n');
    }
    Ok(text)
}

/// JSON whose numbers are numbers: those of arbitrary precision serialise themselves as an object, which only
/// `serde_json` understands.
struct Plain<'a>(&'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => {
                let mut map = to.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, &Plain(value))?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = to.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Plain(item))?;
                }
                list.end()
            }
            Value::Number(number) => match number.as_i64() {
                Some(number) => to.serialize_i64(number),
                None => number.serialize(to),
            },
            other => other.serialize(to),
        }
    }
}
