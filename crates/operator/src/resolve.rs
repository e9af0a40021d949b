//! From objects of the cluster to the job of a pod, by the same rules as on the command line.

use std::collections::BTreeMap;

use armory_resources::job::JobFile;
use armory_resources::{API_VERSION, Bindings, Needs, Problems, ResourceSet};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::kinds::{Credentials, EventHub, Storage, Subject};

/// Why there is no job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// What is missing is being made.
    pub(crate) is_passing: bool,
}

impl Refusal {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            reason,
            message: message.into(),
            is_passing: false,
        }
    }
}

/// A job, and what its pod needs.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// What the pod reads; see `armory_resources::job::JobFile`.
    pub(crate) file: String,
    pub(crate) needs: Needs,
    /// Deprecated keys and the like.
    pub(crate) notes: Vec<String>,
}

/// Everything that a Backup or a Restore refers to, as far as it is there.
#[derive(Debug, Default)]
pub(crate) struct Related {
    documents: Vec<Value>,
    missing: Option<Refusal>,
}

impl Related {
    /// Adds what is referred to at `spec.<key>`, or remembers that it is missing.
    pub(crate) fn add<K: Document>(
        &mut self,
        namespace: &str,
        key: &str,
        name: &str,
        found: Option<&K>,
    ) {
        match found {
            Some(found) => self.documents.push(found.document()),
            // The rules between documents say what is wrong with no name at all.
            None if name.is_empty() => {}
            None => {
                let kind = K::kind(&());
                let message = format!(
                    "{kind} {name} does not exist in namespace {namespace}; create it, or change spec.{key}"
                );
                self.missing
                    .get_or_insert_with(|| Refusal::new("NotFound", message));
            }
        }
    }

    /// Adds a ConfigMap that a Restore takes its mapping of schemas from.
    pub(crate) fn add_config_map(
        &mut self,
        name: &str,
        namespace: &str,
        data: &BTreeMap<String, String>,
    ) {
        self.documents.push(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": data,
        }));
    }
}

/// An object that can be read like a file's document.
pub(crate) trait Document: Resource<DynamicType = ()> {
    fn spec(&self) -> &Value;

    fn document(&self) -> Value {
        let meta = self.meta();
        let mut metadata = json!({"name": meta.name, "namespace": meta.namespace});
        for (key, map) in [("labels", &meta.labels), ("annotations", &meta.annotations)] {
            if let Some(map) = map {
                metadata[key] = json!(map);
            }
        }
        json!({
            "apiVersion": API_VERSION,
            "kind": Self::kind(&()),
            "metadata": metadata,
            "spec": self.spec(),
        })
    }
}

impl<S: Subject> Document for S {
    fn spec(&self) -> &Value {
        Subject::spec(self)
    }
}

impl Document for Credentials {
    fn spec(&self) -> &Value {
        &self.spec
    }
}

/// One object alone: what is wrong with its shape.
pub(crate) fn read_one<K: Document>(object: &K) -> (ResourceSet, Option<Refusal>) {
    let set = read(&[object.document()]);
    let problems = set.check().err();
    let refusal = problems.map(|problems| refusal(&problems, &title(object)));
    (set, refusal)
}

/// The job of a Backup or a Restore; `resolve` makes it of the documents.
pub(crate) fn resolve<K: Document>(
    object: &K,
    related: &Related,
    resolve: impl FnOnce(&ResourceSet, &Bindings) -> Result<Option<(JobFile, Vec<String>)>, Problems>,
) -> Result<Resolved, Refusal> {
    if let Some(missing) = &related.missing {
        return Err(missing.clone());
    }
    let mut own = object.document();
    // What would run is looked at before it is switched on.
    own["spec"]["enabled"] = json!(true);
    let mut documents = vec![own];
    documents.extend(related.documents.iter().cloned());
    let set = read(&documents);
    let bindings = Bindings::in_pod();
    match resolve(&set, &bindings) {
        Ok(Some((job, notes))) => match serde_json::to_string_pretty(&job) {
            Ok(file) => Ok(Resolved {
                file,
                needs: bindings.needs(),
                notes,
            }),
            Err(error) => Err(Refusal::new(
                "InvalidSpec",
                format!("its job cannot be written: {error}"),
            )),
        },
        Ok(None) => Err(Refusal::new("InvalidSpec", "there is nothing to run")),
        Err(problems) => Err(refusal(&problems, &title(object))),
    }
}

fn read(documents: &[Value]) -> ResourceSet {
    // JSON is YAML.
    let texts: Vec<String> = documents.iter().map(Value::to_string).collect();
    ResourceSet::read([("", texts.join("\n---\n").as_str())])
}

fn title<K: Document>(object: &K) -> String {
    format!("{} {}", K::kind(&()), object.name_any())
}

fn refusal(problems: &Problems, title: &str) -> Refusal {
    Refusal::new("InvalidSpec", problems.sentence(title))
}

/// What is referred to by name at a path of a `spec`.
pub(crate) fn name_at<'a>(spec: &'a Value, path: &str) -> &'a str {
    spec.pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Where a Backup or a Restore names others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct References {
    pub(crate) event_hub: String,
    pub(crate) storage: String,
    /// Both kinds of Credentials, with the key that names them.
    pub(crate) credentials: Vec<(&'static str, String)>,
}

impl References {
    /// `hub` and `storage` are the keys of those.
    fn of(spec: &Value, hub: &str, storage: &str) -> References {
        let keys = ["sourceCredentialsFrom", "sinkCredentialsFrom"];
        let credentials = keys.into_iter().filter_map(|key| {
            let name = name_at(spec, &format!("/{key}/credentialsRef/name"));
            (!name.is_empty()).then(|| (key, name.to_owned()))
        });
        References {
            event_hub: name_at(spec, &format!("/{hub}")).to_owned(),
            storage: name_at(spec, &format!("/{storage}")).to_owned(),
            credentials: credentials.collect(),
        }
    }

    pub(crate) fn of_backup(spec: &Value) -> References {
        References::of(spec, "source", "sink")
    }

    pub(crate) fn of_restore(spec: &Value) -> References {
        References::of(spec, "sink", "source")
    }

    /// Collects what is named; the closures find it.
    pub(crate) fn follow(
        &self,
        namespace: &str,
        spec: &Value,
        hub: Option<&EventHub>,
        storage: Option<&Storage>,
        credentials: impl Fn(&str) -> Option<std::sync::Arc<Credentials>>,
    ) -> Related {
        let mut related = Related::default();
        let (hub_key, storage_key) = match name_at(spec, "/source") == self.event_hub {
            true => ("source", "sink"),
            false => ("sink", "source"),
        };
        related.add(namespace, hub_key, &self.event_hub, hub);
        related.add(namespace, storage_key, &self.storage, storage);
        let mut added: Vec<&str> = Vec::new();
        for (key, name) in &self.credentials {
            let elsewhere = name_at(spec, &format!("/{key}/credentialsRef/namespace"));
            // Credentials of another namespace are refused by the rules, found or not.
            if added.contains(&name.as_str()) || (!elsewhere.is_empty() && elsewhere != namespace) {
                continue;
            }
            let key = format!("{key}.credentialsRef");
            related.add(namespace, &key, name, credentials(name).as_deref());
            added.push(name);
        }
        related
    }
}
