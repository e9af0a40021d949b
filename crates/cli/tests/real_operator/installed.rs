//! An operator in a namespace of its own, and what tests ask of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use armory_testkit::kafka::Record;
use armory_testkit::kubernetes::{Cluster, Namespace};
use armory_testkit::{Kafka, cache};
use serde_json::Value;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_armory");
pub(crate) const CHART: &str = "../../charts/armory";

/// A namespace with an operator, which has the rights of the chart and no others.
pub(crate) struct Installed<'c> {
    pub(crate) namespace: Namespace<'c>,
}

impl Installed<'static> {
    pub(crate) fn new(prefix: &str) -> Result<Installed<'static>> {
        Installed::in_cluster(Cluster::shared(), prefix)
    }
}

impl<'c> Installed<'c> {
    /// The same in a cluster of the test's own.
    pub(crate) fn in_cluster(cluster: &'c Cluster, prefix: &str) -> Result<Installed<'c>> {
        let image = cluster.load_armory(BINARY.as_ref())?;
        let (repository, tag) = image.rsplit_once(':').context("a tag")?;
        // The definitions are the whole cluster's, and other tests need them, too.
        let definitions = cache::run(Command::new(BINARY).arg("crds"))?;
        cluster.apply(&definitions)?;
        let namespace = cluster.namespace(prefix)?;
        cluster.helm(&[
            "install",
            "armory",
            CHART,
            "--namespace",
            namespace.name(),
            "--set",
            &format!("image.repository={repository},image.tag={tag},crds.install=false"),
            "--wait",
        ])?;
        Ok(Installed { namespace })
    }

    /// The EventHub `hub` of the shared cluster, and the Storage `disk`, a volume.
    pub(crate) fn hub_and_disk(&self) -> Result<()> {
        self.namespace.apply(&format!(
            "{}---\n{}",
            event_hub(&Kafka::shared().pod_bootstrap()),
            DISK
        ))
    }

    /// A claim `plugins` with these files.
    pub(crate) fn plugins(&self, files: &[(&str, &Path)]) -> Result<()> {
        self.namespace.apply(
            "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: plugins}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: filler}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: filler, image: 'armory.test/pause:1', imagePullPolicy: Never, volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: plugins}}]
"
        )?;
        self.namespace.wait_for_condition("pod/filler", "Ready")?;
        let claim = self.namespace.get("pvc/plugins")?.context("the claim")?;
        let volume = claim["spec"]["volumeName"].as_str().context("a volume")?;
        let volume = self
            .namespace
            .get(&format!("pv/{volume}"))?
            .context("the volume")?;
        let folder = volume["spec"]["hostPath"]["path"]
            .as_str()
            .context("a path")?;
        for (name, file) in files {
            fs::copy(file, Path::new(folder).join(name))?;
        }
        self.namespace.kubectl(&["delete", "pod/filler"]).map(drop)
    }

    /// Waits until a resource's status has a word and its sentence these words.
    pub(crate) fn wait_for(&self, resource: &str, word: &str, sentence: &str) -> Result<Value> {
        let what = format!("{word} with {sentence:?}");
        self.namespace.wait_until(resource, &what, |found| {
            let message = found["status"]["message"].as_str().unwrap_or_default();
            message.ends_with(&format!(" {word}")) && ready(found).contains(sentence)
        })
    }

    pub(crate) fn patch(&self, resource: &str, patch: &str) -> Result<()> {
        let args = ["patch", resource, "--type=merge", "--patch", patch];
        self.namespace.kubectl(&args).map(drop)
    }
}

/// The sentence of the condition `Ready`.
pub(crate) fn ready(found: &Value) -> String {
    let conditions = found["status"]["conditions"].as_array();
    let ready = conditions.and_then(|conditions| {
        conditions
            .iter()
            .find(|condition| condition["type"] == "Ready")
    });
    ready.map_or_else(String::new, |ready| {
        ready["message"].as_str().unwrap_or_default().to_owned()
    })
}

pub(crate) fn event_hub(bootstrap: &str) -> String {
    format!(
        "apiVersion: kannika.io/v1alpha
kind: EventHub
metadata: {{name: hub}}
spec: {{kafka: {{properties: {{bootstrap.servers: '{bootstrap}'}}}}}}
"
    )
}

pub(crate) const DISK: &str = "apiVersion: kannika.io/v1alpha
kind: Storage
metadata: {name: disk}
spec: {volume: {capacity: 64 MiB}}
";

pub(crate) fn records(count: i64) -> Vec<Record> {
    let record = |number: i64| {
        Record::new(
            Some(&format!("key-{number}")),
            Some(&format!("value {number}")),
        )
        .partition((number % 2) as i32)
        .timestamp(1_700_000_000_000 + number)
        .header("secret", Some(b"hunter2"))
        .header("trace", Some(number.to_string().as_bytes()))
    };
    (0..count).map(record).collect()
}

/// What records carry, whatever their offsets.
pub(crate) fn content(records: impl IntoIterator<Item = Record>) -> Vec<String> {
    let records = records.into_iter().map(|record| {
        format!(
            "{:?}",
            Record {
                offset: 0,
                ..record
            }
        )
    });
    let mut records: Vec<String> = records.collect();
    records.sort();
    records
}
