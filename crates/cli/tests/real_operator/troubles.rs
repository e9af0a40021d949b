//! What is wrong is said, and heals by itself.

use anyhow::Result;
use armory_testkit::guests;
use armory_testkit::{Kafka, unique};

use crate::installed::{DISK, Installed, event_hub};

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
    installed.wait_for_reason(
        "backup/b1",
        "Error",
        "NotFound",
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
    let credentials = |reference: &str| {
        let patch = format!(r#"{{"spec": {{"sourceCredentialsFrom": {reference}}}}}"#);
        installed.patch("backup/b1", &patch)
    };
    credentials(r#"{"credentialsRef": {"name": "c", "namespace": "elsewhere"}}"#)?;
    installed.wait_for("backup/b1", "Error", "namespace only, not from elsewhere")?;
    credentials(r#"{"credentialsRef": {"name": "c", "namespace": null}}"#)?;
    installed.wait_for(
        "backup/b1",
        "Error",
        "Credentials c does not exist in namespace",
    )?;
    namespace.apply(
        "apiVersion: kannika.io/v1alpha
kind: Credentials
metadata: {name: c}
spec:
  sasl:
    mechanism: PLAIN
    usernameFrom: {secretKeyRef: {name: absent-secret, key: user}}
    passwordFrom: {secretKeyRef: {name: absent-secret, key: password}}
",
    )?;
    installed.wait_for("backup/b1", "Error", "absent-secret")?;
    credentials("null")?;
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
    installed.wait_for_reason(
        "backup/b1",
        "Error",
        "ClaimNotFound",
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
    installed.wait_for_reason("restore/r1", "Draft", "NoMapping", "nothing to restore")?;
    namespace.apply(
        "apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {name: empty}
spec: {source: hub, sink: disk}
---
apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {name: lost}
spec: {source: disk, sink: nowhere, config: {topics: [{source: a, target: b}]}}
",
    )?;
    installed.wait_for_reason("backup/empty", "Draft", "NoStreams", "nothing to back up")?;
    installed.wait_for("restore/lost", "Invalid", "EventHub nowhere does not exist")?;
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
