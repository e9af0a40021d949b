//! The operator on a real cluster, installed by the chart, with Apache Kafka beside it.
#![cfg(feature = "real")]

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use armory_testkit::guests::{self, Language, World};
use armory_testkit::kafka::{Codec, Record};
use armory_testkit::kubernetes::{Cluster, Namespace};
use armory_testkit::{Kafka, cache, unique};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_armory");
const CHART: &str = "../../charts/armory";

/// A namespace with an operator, which has the rights of the chart and no others.
struct Installed {
    namespace: Namespace<'static>,
}

impl Installed {
    fn new(prefix: &str) -> Result<Installed> {
        let cluster = Cluster::shared();
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
    fn hub_and_disk(&self) -> Result<()> {
        self.namespace.apply(&format!(
            "{}---\n{}",
            event_hub(&Kafka::shared().pod_bootstrap()),
            DISK
        ))
    }

    /// A claim `plugins` with these files.
    fn plugins(&self, files: &[(&str, &Path)]) -> Result<()> {
        self.namespace.apply(&format!(
            "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: plugins}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 64Mi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: filler}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: filler, image: 'armory.test/pause:1', imagePullPolicy: Never, volumeMounts: [{{name: data, mountPath: /data}}]}}
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: plugins}}}}]
"
        ))?;
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
    fn wait_for(&self, resource: &str, word: &str, sentence: &str) -> Result<Value> {
        let what = format!("{word} with {sentence:?}");
        self.namespace.wait_until(resource, &what, |found| {
            let message = found["status"]["message"].as_str().unwrap_or_default();
            message.ends_with(&format!(" {word}")) && ready(found).contains(sentence)
        })
    }

    fn patch(&self, resource: &str, patch: &str) -> Result<()> {
        let args = ["patch", resource, "--type=merge", "--patch", patch];
        self.namespace.kubectl(&args).map(drop)
    }
}

/// The sentence of the condition `Ready`.
fn ready(found: &Value) -> String {
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

fn event_hub(bootstrap: &str) -> String {
    format!(
        "apiVersion: kannika.io/v1alpha
kind: EventHub
metadata: {{name: hub}}
spec: {{kafka: {{properties: {{bootstrap.servers: '{bootstrap}'}}}}}}
"
    )
}

const DISK: &str = "apiVersion: kannika.io/v1alpha
kind: Storage
metadata: {name: disk}
spec: {volume: {capacity: 64 MiB}}
";

fn records(count: i64) -> Vec<Record> {
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
fn content(records: impl IntoIterator<Item = Record>) -> Vec<String> {
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

#[test]
fn the_manifests_of_the_documentation_run_with_their_plugins_and_a_restore_that_is_done_stays_done()
-> Result<()> {
    let kafka = Kafka::shared();
    let installed = Installed::new("documented")?;
    let namespace = &installed.namespace;
    installed.hub_and_disk()?;
    let python = guests::build(Language::Python, World::Backup)?;
    let rust = guests::build_rust("spread")?;
    installed.plugins(&[("remove-header.wasm", &python), ("spread.wasm", &rust)])?;
    let (topic, copy) = (unique("orders"), unique("orders-copy"));
    kafka.create_topic(&topic, 2, &[])?;
    kafka.produce(&topic, Codec::None, &records(40))?;
    namespace.apply(&format!(
        "apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: orders}}
spec:
  source: hub
  sink: disk
  enabled: true
  segmentRolloverTriggers: {{timeoutSeconds: 1}}
  streams: [{{topic: {topic}}}]
  plugins:
  - wasiPluginRef: {{witVersion: '0.1', claimName: plugins, path: remove-header.wasm}}
    spec: {{header: secret}}
    topicSelectors: [{{name: {{glob: 'orders*'}}}}]
"
    ))?;
    installed.wait_for("backup/orders", "Streaming", "")?;
    namespace.wait_until("backup/orders", "at 40 records", |found| {
        found["status"]["progress"]["records"] == 40
    })?;
    // Flushes, and makes room for nothing: the data stays.
    installed.patch("backup/orders", r#"{"spec": {"enabled": false}}"#)?;
    installed.wait_for(
        "backup/orders",
        "Paused",
        "everything that was read is committed",
    )?;

    // `plugins` beside `config`, as some manifests have it.
    namespace.apply(&format!(
        "apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: orders}}
spec:
  source: disk
  sink: hub
  enabled: false
  config: {{topics: [{{source: {topic}, target: {copy}}}]}}
  plugins:
  - wasiPluginRef: {{witVersion: '0.1', claimName: plugins, path: spread.wasm}}
    spec: {{no_partition: 5}}
"
    ))?;
    installed.wait_for("restore/orders", "Ready", "set spec.enabled to true")?;
    installed.patch("restore/orders", r#"{"spec": {"enabled": true}}"#)?;
    let done = installed.wait_for("restore/orders", "Done", "everything is restored")?;
    assert!(done["status"]["completionTime"].is_string(), "{done}");
    namespace.wait_for_condition("restore/orders", "Ready")?;
    let expected = kafka.dump(&topic)?.into_iter().map(|mut record| {
        record.headers.retain(|header| header.0 != "secret");
        record.partition = ((i64::from(record.partition) + record.offset) % 5) as i32;
        record
    });
    let expected = content(expected);
    assert_eq!(expected.len(), 40);
    assert_eq!(content(kafka.dump(&copy)?), expected);

    // Whatever happens now, it never runs again.
    installed.patch("restore/orders", r#"{"spec": {"description": "read me"}}"#)?;
    namespace.kubectl(&["delete", "job", "--all"])?;
    namespace.kubectl(&["delete", "pod", "-l", "app.kubernetes.io/instance=armory"])?;
    installed.patch(
        "restore/orders",
        r#"{"spec": {"config": {"parallelism": 3}}}"#,
    )?;
    namespace.wait_until("restore/orders", "told that it was changed", |found| {
        found["status"]["conditions"]
            .to_string()
            .contains("it does not run again")
    })?;
    assert_eq!(namespace.kubectl(&["get", "jobs", "-o", "name"])?, "");
    assert_eq!(content(kafka.dump(&copy)?), expected);

    // Deleting ends within seconds, and the data stays as long as the Storage.
    namespace.kubectl(&[
        "delete",
        "restore/orders",
        "backup/orders",
        "--wait",
        "--timeout=60s",
    ])?;
    namespace.wait_until_gone("statefulset/orders")?;
    assert!(namespace.get("pvc/disk")?.is_some());
    namespace.kubectl(&["delete", "storage/disk", "--wait", "--timeout=60s"])?;
    namespace.wait_until_gone("pvc/disk")
}

#[test]
fn what_is_wrong_is_said_and_heals_by_itself_when_it_is_mended() -> Result<()> {
    let kafka = Kafka::shared();
    let installed = Installed::new("troubles")?;
    let namespace = &installed.namespace;
    let topic = unique("troubles");
    kafka.create_topic(&topic, 1, &[])?;
    let backup = |plugins: &str| {
        namespace.apply(&format!(
            "apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: b1}}
spec: {{source: hub, sink: disk, streams: [{{topic: {topic}}}], plugins: {plugins}}}
"
        ))
    };
    backup("[]")?;
    installed.wait_for(
        "backup/b1",
        "Error",
        "EventHub hub does not exist in namespace",
    )?;
    // A port that nothing listens on.
    namespace.apply(&event_hub("172.30.0.2:1"))?;
    installed.wait_for(
        "backup/b1",
        "Error",
        "Storage disk does not exist in namespace",
    )?;
    namespace.apply(DISK)?;
    installed.wait_for("storage/disk", "Ready", "PersistentVolumeClaim disk")?;
    installed.wait_for("backup/b1", "Error", "172.30.0.2:1 can be reached")?;
    namespace.apply(&event_hub(&kafka.pod_bootstrap()))?;
    installed.wait_for("backup/b1", "Streaming", "the worker runs")?;
    let entry = |claim: &str, path: &str, more: &str| {
        format!(
            "[{{wasiPluginRef: {{witVersion: '0.1', claimName: {claim}, path: {path}}}{more}}}]"
        )
    };
    // What runs goes on with the last specification that was valid.
    backup(&entry(
        "plugins",
        "spread.wasm",
        ", errorPolcy: {error: drop}",
    ))?;
    installed.wait_for(
        "backup/b1",
        "Error",
        "spec.plugins[0].errorPolcy: unknown key, did you mean errorPolicy",
    )?;
    assert!(namespace.get("pod/b1-0")?.is_some());
    backup(&entry("plugins", "absent.wasm", ""))?;
    installed.wait_for(
        "backup/b1",
        "Error",
        "PersistentVolumeClaim plugins does not exist",
    )?;
    let spread = guests::build_rust("spread")?;
    let drop_header = guests::build_rust("drop-header")?;
    installed.plugins(&[("spread.wasm", &spread), ("drop-header.wasm", &drop_header)])?;
    installed.wait_for("backup/b1", "Error", "absent.wasm")?;
    backup(&entry("plugins", "spread.wasm", ""))?;
    installed.wait_for("backup/b1", "Error", "restore")?;
    backup(&entry(
        "plugins",
        "drop-header.wasm",
        ", spec: {header: secret}",
    ))?;
    installed.wait_for("backup/b1", "Streaming", "the worker runs")?;
    // An event tells each of these, too.
    let events = namespace.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"])?;
    assert!(events.contains("EventHub hub does not exist"), "{events}");

    namespace.apply(
        "apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {name: r1}
spec: {source: disk, sink: hub}
",
    )?;
    installed.wait_for("restore/r1", "Draft", "nothing to restore")?;
    installed.patch("restore/r1", r#"{"spec": {"config": {"topics": [{"source": "nowhere", "target": "x"}]}, "enabled": true}}"#)?;
    installed.wait_for("restore/r1", "Failed", "nowhere")?;
    namespace.apply(
        "apiVersion: kannika.io/v1alpha
kind: SchemaRegistryBackup
metadata: {name: s1}
spec: {registry: x, storage: disk, enabled: true}
",
    )?;
    installed
        .wait_for(
            "schemaregistrybackup/s1",
            "Error",
            "not run by this version",
        )
        .map(drop)
}

#[test]
fn workers_are_dealt_out_anew_and_a_changed_job_rolls_the_pods_once() -> Result<()> {
    let kafka = Kafka::shared();
    let installed = Installed::new("workers")?;
    let namespace = &installed.namespace;
    installed.hub_and_disk()?;
    let topic = unique("workers");
    kafka.create_topic(&topic, 6, &[])?;
    let produce = |round: i64| {
        let record = |partition: i32| {
            Record::new(None, Some(&format!("{round}")))
                .partition(partition)
                .timestamp(1_700_000_000_000 + round)
        };
        let records: Vec<Record> = (0..6).map(record).collect();
        kafka.produce(&topic, Codec::None, &records)
    };
    namespace.apply(&format!(
        "apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: b1}}
spec:
  source: hub
  sink: disk
  segmentRolloverTriggers: {{timeoutSeconds: 1}}
  streams: [{{topic: {topic}}}]
  workGroup: {{workers: 3}}
"
    ))?;
    for (round, workers) in [3, 2, 4].into_iter().enumerate() {
        installed.patch(
            "backup/b1",
            &format!(r#"{{"spec": {{"workGroup": {{"workers": {workers}}}}}}}"#),
        )?;
        produce(round as i64)?;
        installed.wait_for("backup/b1", "Streaming", &format!("{workers} workers run"))?;
    }
    let revision = |set: &Value| set["status"]["updateRevision"].as_str().map(str::to_owned);
    let before = namespace
        .get("statefulset/b1")?
        .context("the StatefulSet")?;
    installed.patch("backup/b1", r#"{"spec": {"description": "the same job"}}"#)?;
    installed.patch("backup/b1", r#"{"spec": {"writeBufferSize": "64 KiB"}}"#)?;
    let after = namespace.wait_until("statefulset/b1", "rolled", |set| {
        revision(set) != revision(&before)
            && set["status"]["updatedReplicas"] == 4
            && set["status"]["readyReplicas"] == 4
    })?;
    let generations = |set: &Value| set["metadata"]["generation"].as_i64();
    assert_eq!(
        generations(&after),
        generations(&before).map(|generation| generation + 1)
    );
    installed.patch("backup/b1", r#"{"spec": {"enabled": false}}"#)?;
    installed.wait_for("backup/b1", "Paused", "committed")?;
    let copy = unique("workers-copy");
    namespace.apply(&format!(
        "apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: r1}}
spec: {{source: disk, sink: hub, enabled: true, config: {{topics: [{{source: {topic}, target: {copy}}}]}}}}
"
    ))?;
    installed.wait_for("restore/r1", "Done", "everything is restored")?;
    assert_eq!(content(kafka.dump(&copy)?), content(kafka.dump(&topic)?));
    Ok(())
}
