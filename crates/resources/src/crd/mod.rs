//! The CustomResourceDefinitions of all kinds, made of the types that decode their documents.

mod guide;
mod outline;
mod status;

use serde_json::{Map, Value as Json, json};

use crate::decode::Decode;
use crate::kinds::backup::BackupSpec;
use crate::kinds::credentials::CredentialsSpec;
use crate::kinds::event_hub::EventHubSpec;
use crate::kinds::restore::RestoreSpec;
use crate::kinds::schema_registry::{
    SchemaRegistryBackupSpec, SchemaRegistryRestoreSpec, SchemaRegistrySpec,
};
use crate::kinds::storage::StorageSpec;
use crate::set::API_VERSION;

pub use guide::reference;
pub use outline::outline;

/// A kind as Kubernetes knows it.
struct Kind {
    name: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    spec: fn() -> Json,
    status: Option<fn() -> Json>,
    columns: &'static [Column],
}

/// A column of `kubectl get`: its title, type and path.
type Column = (&'static str, &'static str, &'static str);

const STATUS: Column = ("Status", "string", ".status.message");
const AGE: Column = ("Age", "date", ".metadata.creationTimestamp");
const LOCATION: Column = ("Location", "string", ".status.location");
const TYPE: Column = ("Type", "string", ".status.type");

const KINDS: &[Kind] = &[
    Kind {
        name: "Backup",
        plural: "backups",
        short_names: &[],
        categories: &["all"],
        spec: BackupSpec::schema,
        status: Some(status::backup),
        columns: &[STATUS, AGE],
    },
    Kind {
        name: "Credentials",
        plural: "credentials",
        short_names: &["creds"],
        categories: &[],
        spec: CredentialsSpec::schema,
        status: None,
        columns: &[AGE],
    },
    Kind {
        name: "EventHub",
        plural: "eventhubs",
        short_names: &[],
        categories: &[],
        spec: EventHubSpec::schema,
        status: Some(status::event_hub),
        columns: &[TYPE, STATUS, AGE, LOCATION],
    },
    Kind {
        name: "Restore",
        plural: "restores",
        short_names: &[],
        categories: &[],
        spec: RestoreSpec::schema,
        status: Some(status::restore),
        columns: &[STATUS, AGE],
    },
    Kind {
        name: "SchemaRegistry",
        plural: "schemaregistries",
        short_names: &[],
        categories: &[],
        spec: SchemaRegistrySpec::schema,
        status: None,
        columns: &[AGE],
    },
    Kind {
        name: "SchemaRegistryBackup",
        plural: "schemaregistrybackups",
        short_names: &[],
        categories: &[],
        spec: SchemaRegistryBackupSpec::schema,
        status: Some(status::schema_registry_backup),
        columns: &[STATUS, AGE],
    },
    Kind {
        name: "SchemaRegistryRestore",
        plural: "schemaregistryrestores",
        short_names: &[],
        categories: &[],
        spec: SchemaRegistryRestoreSpec::schema,
        status: Some(status::schema_registry_restore),
        columns: &[STATUS, AGE],
    },
    Kind {
        name: "Storage",
        plural: "storages",
        short_names: &[],
        categories: &[],
        spec: StorageSpec::schema,
        status: Some(status::storage),
        columns: &[STATUS, AGE, LOCATION],
    },
];

/// The kinds that there are CustomResourceDefinitions of, in alphabetical order.
pub const CRD_KINDS: [&str; KINDS.len()] = {
    let mut names = [""; KINDS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = KINDS[index].name;
        index += 1;
    }
    names
};

/// The CustomResourceDefinitions (`apiextensions.k8s.io/v1`) of all eight kinds, in alphabetical order, keys sorted.
pub fn crds() -> Vec<Json> {
    KINDS.iter().map(|kind| sorted(definition(kind))).collect()
}

fn definition(kind: &Kind) -> Json {
    let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
    let mut spec = (kind.spec)();
    let about = spec["description"].clone();
    spec["description"] = "What is wanted.".into();
    let mut properties = json!({
        "apiVersion": {
            "type": "string",
            "description": format!("The version of this interface: `{API_VERSION}`."),
        },
        "kind": {
            "type": "string",
            "description": format!("`{}`.", kind.name),
        },
        "metadata": { "type": "object" },
        "spec": spec,
    });
    let mut subresources = Map::new();
    if let Some(status) = kind.status {
        properties["status"] = status();
        subresources.insert("status".to_owned(), json!({}));
    }
    let columns: Vec<Json> = kind
        .columns
        .iter()
        .map(|(name, kind, path)| json!({ "name": name, "type": kind, "jsonPath": path }))
        .collect();
    let mut names = json!({
        "kind": kind.name,
        "listKind": format!("{}List", kind.name),
        "plural": kind.plural,
        "singular": kind.name.to_lowercase(),
    });
    for (key, words) in [
        ("shortNames", kind.short_names),
        ("categories", kind.categories),
    ] {
        if !words.is_empty() {
            names[key] = json!(words);
        }
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{group}", kind.plural),
            // Helm leaves them, and with them the users' resources, where they are when a release is uninstalled.
            "annotations": { "helm.sh/resource-policy": "keep" },
        },
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced",
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "description": about,
                    "required": ["spec"],
                    "properties": properties,
                } },
                "subresources": subresources,
                "additionalPrinterColumns": columns,
            }],
        },
    })
}

/// The same with the keys of all objects in order, so that what is printed does not hang on features of other crates.
fn sorted(value: Json) -> Json {
    match value {
        Json::Object(members) => {
            let mut members: Vec<(String, Json)> = members.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            let members = members.into_iter().map(|(key, value)| (key, sorted(value)));
            Json::Object(members.collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
