//! An operator in a namespace of its own, and what tests ask of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use armory_testkit::kafka::Record;
use armory_testkit::kubernetes::{Cluster, Namespace};
use armory_testkit::{Kafka, cache, unique};
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
        let folder = self.claim_folder("plugins")?;
        for (name, file) in files {
            fs::copy(file, folder.join(name))?;
        }
        self.namespace.kubectl(&["delete", "pod/filler"]).map(drop)
    }

    /// Where the files of a claim that is bound lie on this machine.
    pub(crate) fn claim_folder(&self, claim: &str) -> Result<PathBuf> {
        let claim = self.namespace.get(&format!("pvc/{claim}"))?;
        let claim = claim.context("the claim")?;
        let volume = claim["spec"]["volumeName"].as_str().context("a volume")?;
        let volume = self.namespace.get(&format!("pv/{volume}"))?;
        let volume = volume.context("the volume")?;
        let folder = volume["spec"]["hostPath"]["path"].as_str();
        Ok(folder.context("a path")?.into())
    }

    /// Waits until a resource's status has a word and its sentence these words.
    pub(crate) fn wait_for(&self, resource: &str, word: &str, sentence: &str) -> Result<Value> {
        let what = format!("{word} with {sentence:?}");
        self.namespace.wait_until(resource, &what, |found| {
            let message = found["status"]["message"].as_str().unwrap_or_default();
            message.ends_with(&format!(" {word}")) && ready(found).contains(sentence)
        })
    }

    /// Archives a topic of the shared cluster, which has so many records, on `disk`; its Backup is gone afterwards.
    pub(crate) fn archive(&self, topic: &str, records: i64) -> Result<()> {
        let namespace = &self.namespace;
        namespace.apply(&format!(
            "apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: archiving}}
spec:
  source: hub
  sink: disk
  segmentRolloverTriggers: {{timeoutSeconds: 1}}
  streams: [{{topic: {topic}}}]
"
        ))?;
        // The status of the resource would tell it a minute later.
        self.wait_for_worker("archiving-0", "at the last record", |said| {
            said["records"] == records
        })?;
        namespace.kubectl(&["delete", "backup/archiving", "--timeout=60s"])?;
        namespace.wait_until_gone("pod/archiving-0")
    }

    /// Ends the process of a pod's worker as a crash would.
    pub(crate) fn kill_worker(&self, pod: &Value) -> Result<()> {
        let uid = pod["metadata"]["uid"].as_str().context("a uid")?;
        for entry in fs::read_dir("/proc")? {
            let folder = entry?.path();
            // Processes come and go meanwhile.
            let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
            if read("cgroup").contains(uid) && read("cmdline").contains("--job") {
                let id = folder.file_name().context("an id")?;
                return cache::run(Command::new("kill").arg("-KILL").arg(id)).map(drop);
            }
        }
        bail!("no process of pod {} is found", pod["metadata"]["name"])
    }

    /// Every word that a resource's events tell of, with its reason.
    pub(crate) fn told(&self, kind: &str, name: &str) -> Result<BTreeSet<(String, String)>> {
        let selector =
            format!("--field-selector=involvedObject.kind={kind},involvedObject.name={name}");
        let line = "-o=jsonpath={range .items[*]}{.action} {.reason}{\"\\n\"}{end}";
        let events = self
            .namespace
            .kubectl(&["get", "events", &selector, line])?;
        let pairs = events.lines().filter_map(|line| line.split_once(' '));
        let pairs = pairs.map(|(word, reason)| (word.to_owned(), reason.to_owned()));
        Ok(pairs.collect())
    }

    /// The pods of a Restore that are not at their end.
    pub(crate) fn pods_at_work(&self, restore: &str) -> Result<Vec<Value>> {
        let label = format!("--selector=io.kannika/restore={restore}");
        let pods = self
            .namespace
            .kubectl(&["get", "pods", &label, "--output=json"])?;
        let pods: Value = serde_json::from_str(&pods)?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let ended = |pod: &Value| {
            ["Failed", "Succeeded"].contains(&pod["status"]["phase"].as_str().unwrap_or_default())
        };
        Ok(pods.into_iter().filter(|pod| !ended(pod)).collect())
    }

    /// Waits until a condition has this status and this reason.
    pub(crate) fn wait_for_condition(
        &self,
        resource: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> Result<()> {
        let wanted = Some((status.to_owned(), reason.to_owned()));
        let what = format!("{kind} {status} with {reason}");
        let is_so = |found: &Value| condition(found, kind) == wanted;
        self.namespace.wait_until(resource, &what, is_so).map(drop)
    }

    /// The same as [`Installed::wait_for`]; and the reason is this one.
    pub(crate) fn wait_for_reason(
        &self,
        resource: &str,
        word: &str,
        reason: &str,
        sentence: &str,
    ) -> Result<()> {
        let found = self.wait_for(resource, word, sentence)?;
        let ready = condition(&found, "Ready").context("the condition Ready")?;
        assert_eq!(ready.1, reason, "{found}");
        Ok(())
    }

    /// What a worker says of itself, once that is so.
    pub(crate) fn wait_for_worker(
        &self,
        pod: &str,
        what: &str,
        mut is_so: impl FnMut(&Value) -> bool,
    ) -> Result<()> {
        let path = format!(
            "/api/v1/namespaces/{}/pods/{pod}:9000/proxy/status",
            self.namespace.name()
        );
        let waited = self.namespace.wait_until(&format!("pod/{pod}"), what, |_| {
            // It may be about to start.
            let said = self.namespace.kubectl(&["get", "--raw", &path]);
            let said = said.ok().and_then(|said| serde_json::from_str(&said).ok());
            said.is_some_and(|said| is_so(&said))
        });
        waited.map(drop)
    }

    /// Waits until a worker has stored everything that the cluster has.
    pub(crate) fn wait_until_stored(&self, pod: &str) -> Result<()> {
        self.wait_for_worker(pod, "at the end of its topics", |said| {
            said["state"] == "streaming"
                && said["trouble"] == false
                && said["message"] == "everything is stored"
        })
    }

    /// Restores a topic from a Storage, and returns how many records are the same again. `more` is nothing or what else the Restore
    /// says.
    pub(crate) fn comes_back(&self, storage: &str, topic: &str, more: &str) -> Result<u64> {
        let copy = self.restored(storage, topic, more)?;
        Ok(Kafka::shared().compare(topic, &copy)?.records)
    }

    /// Restores a topic from a Storage into a new one, whose name it returns.
    pub(crate) fn restored(&self, storage: &str, topic: &str, more: &str) -> Result<String> {
        let copy = unique("copy");
        self.namespace.apply(&format!(
            "apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: {copy}}}
spec:
  source: {storage}
  sink: hub
  enabled: true
  config: {{topics: [{{source: {topic}, target: {copy}}}]}}
  {more}
"
        ))?;
        let restore = format!("restore/{copy}");
        self.wait_for(&restore, "Done", "everything is restored")?;
        Ok(copy)
    }

    /// How often the container of a pod was started again, and which pod of that name it is.
    pub(crate) fn lives(&self, pod: &str) -> Result<(u64, String)> {
        let found = self.namespace.get(pod)?.context("the pod")?;
        let restarts = found["status"]["containerStatuses"][0]["restartCount"].as_u64();
        let uid = found["metadata"]["uid"].as_str();
        Ok((
            restarts.context("its restarts")?,
            uid.context("its id")?.to_owned(),
        ))
    }

    pub(crate) fn patch(&self, resource: &str, patch: &str) -> Result<()> {
        let args = ["patch", resource, "--type=merge", "--patch", patch];
        self.namespace.kubectl(&args).map(drop)
    }
}

/// A condition of a resource: its status and its reason.
fn condition(found: &Value, kind: &str) -> Option<(String, String)> {
    let conditions = found["status"]["conditions"].as_array()?;
    let one = conditions.iter().find(|one| one["type"] == kind)?;
    let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason")))
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
