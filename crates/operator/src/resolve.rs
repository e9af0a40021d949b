//! From objects of the cluster to the job of a pod, by the same rules as on the command line.

use std::collections::BTreeMap;

use armory_resources::job::JobFile;
use armory_resources::{
    API_VERSION, Bindings, Jobs, Needs, Problems, Resource as Said, ResourceSet,
};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::kinds::{Credentials, Subject};
use crate::reason::Reason;
use crate::status::{Finding, Word};
use crate::world::{World, find};

/// Why there is no job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// What is missing is being made.
    pub(crate) is_passing: bool,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Refusal {
        Refusal {
            reason,
            message: message.into(),
            is_passing: false,
        }
    }

    /// As the status of a kind of which nothing runs.
    pub(crate) fn finding(self) -> Finding {
        Finding::new(Word::Error, false, self.reason, self.message)
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
    fn add<K: Document>(&mut self, namespace: &str, key: &str, name: &str, found: Option<&K>) {
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
                    .get_or_insert_with(|| Refusal::new(Reason::NotFound, message));
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

/// What one object says, references left alone; `pick` takes what is wanted of it.
pub(crate) fn read_one<K: Document, T>(
    object: &K,
    pick: impl Fn(&Said) -> Option<T>,
) -> Result<T, Refusal> {
    let set = read(&[object.document()]);
    set.check()
        .map_err(|problems| refusal(&problems, &title(object)))?;
    let picked = set.resources().find_map(|(_, said)| pick(said));
    picked.ok_or_else(|| Refusal::new(Reason::InvalidSpec, "spec: missing"))
}

/// The job of a Backup or a Restore: `jobs` makes those of a set of documents, `file` the file of one.
pub(crate) fn resolve<K: Document, J>(
    object: &K,
    related: &Related,
    jobs: impl FnOnce(&ResourceSet, &Bindings) -> Result<Jobs<J>, Problems>,
    file: impl FnOnce(J) -> JobFile,
) -> Result<Resolved, Refusal> {
    if let Some(missing) = &related.missing {
        return Err(missing.clone());
    }
    let mut own = object.document();
    // What would run is looked at before it is switched on.
    own["spec"]["enabled"] = json!(true);
    let mut documents = vec![own];
    documents.extend(related.documents.iter().cloned());
    let bindings = Bindings::in_pod();
    let jobs = jobs(&read(&documents), &bindings)
        .map_err(|problems| refusal(&problems, &title(object)))?;
    let notes = jobs.notes.iter();
    let notes = notes.map(|note| format!("{}: {}", note.path, note.message));
    let notes = notes.collect();
    let Some(job) = jobs.jobs.into_iter().next() else {
        return Err(Refusal::new(Reason::InvalidSpec, "there is nothing to run"));
    };
    let file = serde_json::to_string_pretty(&file(job)).map_err(|error| {
        Refusal::new(
            Reason::InvalidSpec,
            format!("its job cannot be written: {error}"),
        )
    })?;
    Ok(Resolved {
        file,
        needs: bindings.needs(),
        notes,
    })
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
    Refusal::new(Reason::InvalidSpec, problems.sentence(title))
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
    /// The keys of the EventHub and of the Storage.
    keys: (&'static str, &'static str),
}

impl References {
    fn of(spec: &Value, keys: (&'static str, &'static str)) -> References {
        let named = ["sourceCredentialsFrom", "sinkCredentialsFrom"].into_iter();
        let credentials = named.filter_map(|key| {
            let name = name_at(spec, &format!("/{key}/credentialsRef/name"));
            (!name.is_empty()).then(|| (key, name.to_owned()))
        });
        References {
            event_hub: name_at(spec, &format!("/{}", keys.0)).to_owned(),
            storage: name_at(spec, &format!("/{}", keys.1)).to_owned(),
            credentials: credentials.collect(),
            keys,
        }
    }

    pub(crate) fn of_backup(spec: &Value) -> References {
        References::of(spec, ("source", "sink"))
    }

    pub(crate) fn of_restore(spec: &Value) -> References {
        References::of(spec, ("sink", "source"))
    }

    /// Collects what is named in the namespace; `spec` is the one that names it.
    pub(crate) fn follow(&self, world: &World, namespace: &str, spec: &Value) -> Related {
        let mut related = Related::default();
        let hub = find(&world.event_hubs, namespace, &self.event_hub);
        related.add(namespace, self.keys.0, &self.event_hub, hub.as_deref());
        let storage = find(&world.storages, namespace, &self.storage);
        related.add(namespace, self.keys.1, &self.storage, storage.as_deref());
        let mut added: Vec<&str> = Vec::new();
        for (key, name) in &self.credentials {
            let elsewhere = name_at(spec, &format!("/{key}/credentialsRef/namespace"));
            // Credentials of another namespace are refused by the rules, found or not.
            if added.contains(&name.as_str()) || (!elsewhere.is_empty() && elsewhere != namespace) {
                continue;
            }
            let key = format!("{key}.credentialsRef");
            let found = find(&world.credentials, namespace, name);
            related.add(namespace, &key, name, found.as_deref());
            added.push(name);
        }
        related
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::EventHub;
    use crate::world::store_of;

    /// What is missing, of an EventHub and a Storage that have one name.
    fn missing(references: &References, spec: &Value, hub: Option<Value>) -> String {
        let world = World {
            event_hubs: store_of::<EventHub>(hub),
            ..World::empty()
        };
        let related = references.follow(&world, "n", spec);
        related.missing.map(|missing| missing.message).unwrap()
    }

    /// A Restore reads what a Backup writes: there the Storage is the source.
    #[test]
    fn a_storage_and_an_event_hub_of_one_name_are_told_by_their_own_keys() {
        let spec = json!({"source": "same", "sink": "same"});
        let hub = json!({"metadata": {"name": "same", "namespace": "n"}, "spec": {}});
        for (references, of_hub, of_storage) in [
            (References::of_backup(&spec), "source", "sink"),
            (References::of_restore(&spec), "sink", "source"),
        ] {
            assert_eq!(
                missing(&references, &spec, None),
                format!(
                    "EventHub same does not exist in namespace n; create it, or change spec.{of_hub}"
                )
            );
            assert_eq!(
                missing(&references, &spec, Some(hub.clone())),
                format!(
                    "Storage same does not exist in namespace n; create it, or change spec.{of_storage}"
                )
            );
        }
    }
}
