//! The manifests of the documentation, with their plugins.

use anyhow::Result;
use armory_testkit::guests::{self, Language, World};
use armory_testkit::kafka::Codec;
use armory_testkit::{Kafka, unique};

use crate::installed::{DISK, Installed, content, records};

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

    // A snapshot on schedule: from now on it goes elsewhere, and what there was stays as it is.
    namespace.apply(&DISK.replace("disk", "disk-2"))?;
    installed.patch(
        "backup/orders",
        r#"{"spec": {"sink": "disk-2", "enabled": true}}"#,
    )?;
    installed.wait_for("backup/orders", "Streaming", "the worker runs")?;
    installed.patch("backup/orders", r#"{"spec": {"enabled": false}}"#)?;

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
