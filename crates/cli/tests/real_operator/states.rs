//! Words and reasons that no other file is about, side by side: each is told, and heals by itself.

use anyhow::{Context as _, Result};
use armory_testkit::kafka::Codec;
use armory_testkit::{Kafka, unique};

use crate::installed::{Installed, content, event_hub, records};

fn backup(name: &str, sink: &str, topic: &str, more: &str) -> String {
    format!(
        "---
apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: {name}}}
spec: {{source: hub, sink: {sink}, streams: [{{topic: {topic}}}]{more}}}
"
    )
}

fn restore(name: &str, sink: &str, topic: &str, more: &str) -> String {
    format!(
        "---
apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: {name}}}
spec: {{source: disk, sink: {sink}, enabled: true, config: {{topics: [{{source: {topic}, target: {topic}-{name}}}]{more}}}}}
"
    )
}

fn storage(name: &str, capacity: &str) -> String {
    format!(
        "---
apiVersion: kannika.io/v1alpha
kind: Storage
metadata: {{name: {name}}}
spec: {{volume: {{capacity: {capacity}}}}}
"
    )
}

#[test]
fn a_volume_that_is_not_as_it_should_be_is_told_by_its_storage() -> Result<()> {
    let installed = Installed::new("volumes")?;
    let namespace = &installed.namespace;
    installed.hub_and_disk()?;
    let topic = unique("volumes");
    Kafka::shared().create_topic(&topic, 1, &[])?;
    namespace.apply(&format!(
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: taken}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 64Mi}}}}}}
{}{}{}{}",
        storage("taken", "64 MiB"),
        storage("small", "64 MiB"),
        backup("b1", "taken", &topic, ""),
        backup("b2", "disk", &topic, ", workGroup: {workers: 1}"),
    ))?;
    // Somebody else's claim, until its owner says that it may be used.
    installed.wait_for_reason(
        "storage/taken",
        "Error",
        "ClaimTaken",
        "io.kannika/storage: taken",
    )?;
    installed.wait_for_reason(
        "backup/b1",
        "Initializing",
        "StorageNotReady",
        "the volume of Storage taken",
    )?;
    installed.wait_for_condition(
        "backup/b1",
        "DeploymentReady",
        "Unknown",
        "DeploymentStateUnknown",
    )?;
    namespace.kubectl(&["label", "pvc/taken", "io.kannika/storage=taken"])?;
    installed.wait_for_reason(
        "storage/taken",
        "Ready",
        "Ready",
        "PersistentVolumeClaim taken",
    )?;
    installed.wait_for_reason("backup/b1", "Streaming", "Streaming", "the worker runs")?;

    // A claim does not shrink.
    installed.wait_for("storage/small", "Ready", "PersistentVolumeClaim small")?;
    namespace.apply(&storage("small", "32 MiB"))?;
    installed.wait_for_reason(
        "storage/small",
        "Error",
        "ClaimRefused",
        "PersistentVolumeClaim small cannot be made so",
    )?;
    namespace.apply(&storage("small", "64 MiB"))?;
    installed.wait_for("storage/small", "Ready", "PersistentVolumeClaim small")?;

    // Deleted by somebody, a claim stays for the pods that use it; the next one is another, and empty.
    namespace.kubectl(&["delete", "pvc/taken", "--wait=false"])?;
    installed.wait_for_reason("storage/taken", "Error", "ClaimDeleted", "is being deleted")?;
    namespace.kubectl(&["delete", "backup/b1"])?;
    installed.wait_for(
        "storage/taken",
        "Ready",
        "PersistentVolumeClaim taken is made",
    )?;

    installed.wait_for("backup/b2", "Streaming", "the worker runs")?;
    let claim = namespace.get("pvc/disk")?.context("the claim")?;
    let volume = claim["spec"]["volumeName"].as_str().context("a volume")?;
    let volume = format!("pv/{volume}");
    namespace.kubectl(&["delete", &volume, "--wait=false"])?;
    let no_finalizers = r#"{"metadata": {"finalizers": null}}"#;
    installed.patch(&volume, no_finalizers)?;
    installed.wait_for_reason("storage/disk", "Error", "ClaimLost", "has lost its volume")
}

#[test]
fn what_keeps_pods_from_being_made_is_told_and_nothing_of_others_is_taken_over() -> Result<()> {
    let kafka = Kafka::shared();
    let installed = Installed::new("states")?;
    let namespace = &installed.namespace;
    installed.hub_and_disk()?;
    let topic = unique("states");
    kafka.create_topic(&topic, 2, &[])?;
    kafka.produce(&topic, Codec::None, &records(10))?;
    installed.archive(&topic, 10)?;
    // Of one topic there is one Backup in a storage.
    let of = |name: &str| format!("{topic}-of-{name}");
    for name in ["set", "service", "keyless", "nobody"] {
        kafka.create_topic(&of(name), 1, &[])?;
    }
    namespace.apply(&format!(
        "{}---
apiVersion: kannika.io/v1alpha
kind: EventHub
metadata: {{name: broken}}
spec: {{kafka: {{properties: {{bootstrap.servers: ' '}}}}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: set}}
spec:
  replicas: 0
  serviceName: set
  selector: {{matchLabels: {{app: set}}}}
  template:
    metadata: {{labels: {{app: set}}}}
    spec: {{containers: [{{name: one, image: 'armory.test/pause:1'}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: service}}
spec: {{selector: {{app: mine}}, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: ids}}
data: {{good: '{{7: 42}}', bad: 'seven is 42'}}
---
apiVersion: kannika.io/v1alpha
kind: SchemaRegistryBackup
metadata: {{name: disabled}}
spec: {{registry: x, storage: disk}}
---
apiVersion: kannika.io/v1alpha
kind: SchemaRegistryBackup
metadata: {{name: enabled}}
spec: {{registry: x, storage: disk, enabled: true}}
---
apiVersion: kannika.io/v1alpha
kind: SchemaRegistryRestore
metadata: {{name: disabled}}
spec: {{registry: x, storage: disk}}
---
apiVersion: kannika.io/v1alpha
kind: SchemaRegistryRestore
metadata: {{name: enabled}}
spec: {{registry: x, storage: disk, enabled: true}}
{}{}{}{}{}{}{}{}",
        event_hub("172.30.0.2:1").replace("name: hub", "name: moved"),
        backup("set", "disk", &of("set"), ""),
        backup("service", "disk", &of("service"), ""),
        backup(
            "keyless",
            "disk",
            &of("keyless"),
            ", extraEnvVars: [{name: X, valueFrom: {secretKeyRef: {name: x, key: x}}}]"
        ),
        backup(
            "nobody",
            "disk",
            &of("nobody"),
            ", serviceAccountName: nobody, monitoring: {extraArgs: [-x]}"
        ),
        restore("nobody", "hub", &topic, "")
            .replace("enabled: true", "enabled: true, serviceAccountName: nobody"),
        restore("moved", "moved", &topic, ""),
        restore(
            "good",
            "hub",
            &topic,
            ", schemaMappingFrom: {configMapKeyRef: {name: ids, key: good}}"
        ),
        restore(
            "bad",
            "hub",
            &topic,
            ", schemaMappingFrom: {configMapKeyRef: {name: ids, key: bad}}"
        ),
    ))?;
    // It gives up after a minute, to be tried again.
    installed.wait_for_reason(
        "restore/moved",
        "Initializing",
        "WorkerInTrouble",
        "172.30.0.2:1",
    )?;
    installed.wait_for_condition("restore/moved", "JobCompleted", "False", "JobInitializing")?;
    installed.wait_for_reason(
        "eventhub/hub",
        "Ready",
        "Ready",
        "it is described completely",
    )?;
    installed.wait_for_reason(
        "eventhub/broken",
        "Error",
        "InvalidSpec",
        "must not be empty",
    )?;
    let not_run = "is not run by this version";
    let (backups, restores) = ("schemaregistrybackup", "schemaregistryrestore");
    let (on, off) = (format!("{backups}/enabled"), format!("{backups}/disabled"));
    installed.wait_for_reason(&off, "Paused", "NotEnabled", not_run)?;
    installed.wait_for_condition(&off, "DeploymentReady", "False", "DeploymentDeleted")?;
    installed.wait_for_reason(&on, "Error", "NotSupported", not_run)?;
    installed.wait_for_condition(&on, "DeploymentReady", "False", "DeploymentError")?;
    let (on, off) = (
        format!("{restores}/enabled"),
        format!("{restores}/disabled"),
    );
    installed.wait_for_reason(&off, "Ready", "NotEnabled", not_run)?;
    installed.wait_for_condition(&off, "JobCompleted", "False", "JobInitializing")?;
    installed.wait_for_reason(&on, "Error", "NotSupported", not_run)?;
    installed.wait_for_condition(&on, "JobCompleted", "False", "JobFailed")?;

    // What belongs to somebody else stays as it is.
    for (kind, name) in [("StatefulSet", "set"), ("Service", "service")] {
        let sentence = format!("{kind} {name} does not belong to this Backup");
        installed.wait_for_reason(&format!("backup/{name}"), "Error", "NameTaken", &sentence)?;
        let theirs = namespace
            .get(&format!("{kind}/{name}"))?
            .context("theirs")?;
        assert!(theirs["metadata"]["labels"].is_null(), "{theirs}");
        assert!(theirs["metadata"]["ownerReferences"].is_null(), "{theirs}");
    }
    installed.wait_for_reason(
        "backup/keyless",
        "Error",
        "PodError",
        "secret \"x\" not found",
    )?;
    installed.wait_for_reason(
        "backup/nobody",
        "Error",
        "PodsNotCreated",
        "serviceaccount \"nobody\" not found",
    )?;
    installed.wait_for_condition("backup/nobody", "Notes", "True", "WorthKnowing")?;
    installed.wait_for_reason(
        "restore/nobody",
        "Failed",
        "PodsNotCreated",
        "serviceaccount \"nobody\" not found",
    )?;
    installed.wait_for_reason("restore/bad", "Invalid", "InvalidSpec", "ids")?;
    installed.wait_for_condition("restore/bad", "SchemaMappingValidated", "False", "Invalid")?;

    // Mended, all of it.
    namespace.kubectl(&["delete", "statefulset/set", "service/service"])?;
    namespace.kubectl(&["create", "serviceaccount", "nobody"])?;
    namespace.kubectl(&["create", "secret", "generic", "x", "--from-literal=x=y"])?;
    installed.patch("configmap/ids", r#"{"data": {"bad": "{8: 43}"}}"#)?;
    namespace.apply(&event_hub(&kafka.pod_bootstrap()).replace("name: hub", "name: moved"))?;
    let expected = content(kafka.dump(&topic)?);
    for name in ["nobody", "moved", "good", "bad"] {
        let resource = format!("restore/{name}");
        installed.wait_for_reason(&resource, "Done", "Done", "everything is restored")?;
        installed.wait_for_condition(&resource, "JobCompleted", "True", "JobCompleted")?;
        assert_eq!(
            content(kafka.dump(&format!("{topic}-{name}"))?),
            expected,
            "{name}"
        );
    }
    for name in ["good", "bad"] {
        let resource = format!("restore/{name}");
        installed.wait_for_condition(&resource, "SchemaMappingValidated", "True", "Valid")?;
    }
    for name in ["set", "service", "keyless", "nobody"] {
        let resource = format!("backup/{name}");
        installed.wait_for_reason(&resource, "Streaming", "Streaming", "the worker runs")?;
        installed.wait_for_condition(&resource, "DeploymentReady", "True", "DeploymentReady")?;
    }
    let told = installed.told("Restore", "moved")?;
    for (word, reason) in [("Initializing", "Starting"), ("Initializing", "Replacing")] {
        let pair = (word.to_owned(), reason.to_owned());
        assert!(told.contains(&pair), "{pair:?}: {told:?}");
    }
    Ok(())
}
