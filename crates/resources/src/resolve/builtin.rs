//! Builtin plugins: their `spec`, and where their parts come from.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Resolver;
use crate::decode::Place;
use crate::job::{
    BuiltinPlugin, HashAlgorithm, PluginEntry, PluginErrorPolicy, PluginLimits, PluginSource,
    Repartitioning,
};
use crate::kinds::plugin::parse_config;
use crate::kinds::restore::SchemaMappingSource;
use crate::problem::suggestion;
use crate::set::{Document, Resource};

/// Reads the `spec` of a builtin plugin that is known by its name; `at` is its entry. Reports what is wrong with it.
pub(super) fn builtin(
    name: &str,
    spec: Option<&Value>,
    at: &mut Place<'_>,
) -> Option<BuiltinPlugin> {
    let empty = Map::new();
    let object = match spec {
        None => &empty,
        // Anything else was reported when it was read.
        Some(spec) => spec.as_object()?,
    };
    at.within("spec", |at| match name {
        "topic-repartitioning" => {
            repartitioning(object, at).map(BuiltinPlugin::TopicRepartitioning)
        }
        "topic-retention" => only(object, &[], at).then_some(BuiltinPlugin::TopicRetention),
        "payload-schema-mapping" => mapping_of(object, at).map(BuiltinPlugin::PayloadSchemaMapping),
        "key-schema-mapping" => mapping_of(object, at).map(BuiltinPlugin::KeySchemaMapping),
        _ => None,
    })
}

const SCHEMES: &[&str] = &["automatic", "keyHash", "headerHash", "random", "roundRobin"];

const ALGORITHMS: &[(&str, HashAlgorithm)] = &[
    ("murmur2", HashAlgorithm::Murmur2),
    ("fnv1a", HashAlgorithm::Fnv1a),
    ("crc32", HashAlgorithm::Crc32),
];

fn repartitioning(spec: &Map<String, Value>, at: &mut Place<'_>) -> Option<Repartitioning> {
    let scheme = match spec.get("scheme") {
        None | Some(Value::Null) => {
            at.problem_at(
                "scheme",
                format!("missing, expected one of {}", SCHEMES.join(", ")),
            );
            return None;
        }
        Some(Value::String(scheme)) if SCHEMES.contains(&scheme.as_str()) => scheme.as_str(),
        Some(other) => {
            unknown("scheme", other, SCHEMES, at);
            return None;
        }
    };
    let keys: &[&str] = match scheme {
        "automatic" => &["scheme"],
        "keyHash" => &["scheme", "algorithm", "partitions"],
        "headerHash" => &["scheme", "name", "algorithm", "partitions"],
        _ => &["scheme", "partitions"],
    };
    let mut sound = only(spec, keys, at);
    let algorithm = match spec.get("algorithm") {
        None | Some(Value::Null) => HashAlgorithm::default(),
        Some(found) => {
            let known = ALGORITHMS.iter().find(|(word, _)| found == word);
            if known.is_none() {
                let words: Vec<&str> = ALGORITHMS.iter().map(|(word, _)| *word).collect();
                unknown("algorithm", found, &words, at);
                sound = false;
            }
            known.map_or(HashAlgorithm::default(), |(_, algorithm)| *algorithm)
        }
    };
    let partitions = match spec.get("partitions") {
        None | Some(Value::Null) => None,
        Some(found) => {
            let count = found.as_i64().and_then(|count| i32::try_from(count).ok());
            let count = count.filter(|count| *count >= 1);
            if count.is_none() {
                let message = format!(
                    "expected a number of partitions, 1 to {}, found {found}",
                    i32::MAX
                );
                at.problem_at("partitions", message);
                sound = false;
            }
            count
        }
    };
    let name = match spec.get("name") {
        Some(Value::String(name)) if !name.is_empty() => name.clone(),
        None | Some(Value::Null) if scheme == "headerHash" => {
            at.problem_at("name", "missing, the name of the header");
            return None;
        }
        Some(found) if scheme == "headerHash" => {
            at.problem_at(
                "name",
                format!("expected the name of a header, found {found}"),
            );
            return None;
        }
        _ => String::new(),
    };
    sound.then_some(match scheme {
        "automatic" => Repartitioning::Automatic,
        "keyHash" => Repartitioning::KeyHash {
            algorithm,
            partitions,
        },
        "headerHash" => Repartitioning::HeaderHash {
            name,
            algorithm,
            partitions,
        },
        "random" => Repartitioning::Random { partitions },
        _ => Repartitioning::RoundRobin { partitions },
    })
}

fn mapping_of(spec: &Map<String, Value>, at: &mut Place<'_>) -> Option<BTreeMap<u32, u32>> {
    let sound = only(spec, &["mapping"], at);
    let Some(Value::Object(mapping)) = spec.get("mapping") else {
        let message = "missing, expected an object of schema ids: the source's id and the target's, as in {7: 42}";
        at.problem_at("mapping", message);
        return None;
    };
    let ids = at.within("mapping", |at| schema_ids(mapping, at))?;
    sound.then_some(ids)
}

/// Reads `{<source id>: <target id>}`.
fn schema_ids(mapping: &Map<String, Value>, at: &mut Place<'_>) -> Option<BTreeMap<u32, u32>> {
    let mut ids = BTreeMap::new();
    let mut sound = true;
    for (source, target) in mapping {
        let number = |value: &Value| match value {
            Value::String(text) => text.parse().ok(),
            value => value.as_u64().and_then(|id| u32::try_from(id).ok()),
        };
        match (source.parse(), number(target)) {
            (Ok(source), Some(target)) => _ = ids.insert(source, target),
            (Err(_), _) => {
                sound = false;
                at.problem_at(source.as_str(), "is not a schema id, a number of 32 bits");
            }
            (_, None) => {
                sound = false;
                let message = format!("expected a schema id, a number of 32 bits, found {target}");
                at.problem_at(source.as_str(), message);
            }
        }
    }
    sound.then_some(ids)
}

/// Reports keys that are not known.
fn only(spec: &Map<String, Value>, keys: &[&str], at: &mut Place<'_>) -> bool {
    let mut sound = true;
    for key in spec.keys().filter(|key| !keys.contains(&key.as_str())) {
        sound = false;
        let message = match keys {
            [] => "unknown key, this plugin is not configured".to_owned(),
            keys => format!("unknown key{}", suggestion(key, keys)),
        };
        at.problem_at(key.as_str(), message);
    }
    sound
}

fn unknown(key: &str, found: &Value, words: &[&str], at: &mut Place<'_>) {
    let near = found.as_str().unwrap_or_default();
    at.problem_at(
        key,
        format!("unknown value {found}{}", suggestion(near, words)),
    );
}

impl Resolver<'_> {
    /// The plugins that `schemaMappingFrom` stands for: one for values, one for keys.
    pub(super) fn schema_mapping(
        &mut self,
        document: &Document,
        source: &SchemaMappingSource,
    ) -> Vec<PluginEntry> {
        let path = ["spec", "config", "schemaMappingFrom", "configMapKeyRef"];
        let Some(reference) = &source.config_map else {
            self.problem(
                document,
                &path,
                "missing, the ConfigMap that the mapping is in",
            );
            return Vec::new();
        };
        let (name, key) = (&reference.name.0, &reference.key.0);
        if name.is_empty() || key.is_empty() {
            return Vec::new();
        }
        let found = self.set.documents.iter().find_map(|other| {
            let same = other.metadata.name.0 == *name
                && other.metadata.namespace == document.metadata.namespace;
            match &other.resource {
                Resource::ConfigMap(map) if same => Some((other, map)),
                _ => None,
            }
        });
        let Some((other, text)) =
            found.and_then(|(other, map)| map.data.get(key).map(|text| (other, text)))
        else {
            if reference.optional != Some(true) {
                let message = match found {
                    Some(_) => format!("the ConfigMap {name} has no key {key}"),
                    None => format!("there is no ConfigMap {name} among the documents, add it"),
                };
                self.problem(document, &path, message);
            }
            return Vec::new();
        };
        let ids = match parse_config(text) {
            Ok(Value::Object(mapping)) => other
                .place(&mut self.problems)
                .within_keys(&["data", key], |at| schema_ids(&mapping, at)),
            Ok(_) => None,
            Err(message) => {
                self.problem(other, &["data", key], message);
                None
            }
        };
        let Some(ids) = ids else { return Vec::new() };
        [
            BuiltinPlugin::PayloadSchemaMapping(ids.clone()),
            BuiltinPlugin::KeySchemaMapping(ids),
        ]
        .map(|builtin| PluginEntry {
            label: builtin.name().to_owned(),
            source: PluginSource::Builtin(builtin),
            spec: None,
            selectors: Vec::new(),
            error_policy: PluginErrorPolicy::default(),
            limits: PluginLimits::default(),
        })
        .into()
    }
}
