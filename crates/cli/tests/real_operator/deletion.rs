//! Deleting ends within seconds, whatever the state, and takes nothing out of the storage.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use armory_testkit::kafka::Codec;
use armory_testkit::{Dataset, Kafka, unique};

use crate::installed::{Installed, content, event_hub, records};
use crate::slow::{SlowHub, landed};

/// Files with records, and those that say which they are, with their sizes.
fn files(folder: &Path) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            // What a restore or another writer says of itself is no part of it.
            let other = path.ends_with("restores") || path.ends_with("heads");
            if path.is_dir() && !other {
                folders.push(path);
            } else if path.is_file() {
                found.insert(path.display().to_string(), path.metadata()?.len());
            }
        }
    }
    Ok(found)
}

fn backup(name: &str, source: &str, topic: &str, more: &str) -> String {
    format!(
        "---
apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: {name}}}
spec: {{source: {source}, sink: disk, streams: [{{topic: {topic}}}]{more}}}
"
    )
}

fn restore(name: &str, sink: &str, topic: &str, more: &str) -> String {
    format!(
        "---
apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: {name}}}
spec: {{source: disk, sink: {sink}, enabled: true, config: {{topics: [{{source: {topic}, target: {topic}-{name}}}]}}{more}}}
"
    )
}

/// Waits until nothing is left that an operator makes for Backups and Restores.
fn nothing_is_left(installed: &Installed<'_>) -> Result<()> {
    let namespace = &installed.namespace;
    namespace.wait_until("storage/disk", "alone", |_| {
        let kinds = "pods,jobs,statefulsets,services,configmaps";
        let label = "--selector=app.kubernetes.io/managed-by=armory-operator";
        let left = namespace.kubectl(&["get", kinds, label, "--output=name"]);
        left.is_ok_and(|left| left.trim().is_empty())
    })?;
    Ok(())
}

#[test]
fn a_backup_or_a_restore_is_deleted_within_seconds_in_every_state_and_the_archive_stays()
-> Result<()> {
    let kafka = Kafka::shared();
    let installed = Installed::new("deletion")?;
    let namespace = &installed.namespace;
    installed.hub_and_disk()?;
    let _slow = SlowHub::new(&installed)?;
    namespace.apply(&event_hub("172.30.0.2:1").replace("name: hub", "name: nowhere"))?;
    let topic = unique("deletion");
    kafka.create_topic(&topic, 2, &[])?;
    let dataset = Dataset::new(&topic).megabytes(10).codecs(&[Codec::None]);
    let total = i64::try_from(kafka.write_dataset(&dataset)?.records)?;
    // Its Backup is deleted while it streams.
    installed.archive(&topic, total)?;
    let folder = installed.claim_folder("disk")?;
    let before = files(&folder)?;
    let full = format!("{topic}-failed");
    kafka.create_topic(&full, 2, &[])?;
    kafka.produce(&full, Codec::None, &records(2))?;
    let off = ", enabled: false";
    let no_node = ", nodeSelector: {armory.test/there-is: none}";
    let documents = [
        backup("draft", "hub", &topic, "").replace(&format!("{{topic: {topic}}}"), ""),
        backup("paused", "hub", &topic, off),
        backup("homeless", "hub", &topic, no_node),
        backup("unreachable", "nowhere", &topic, ""),
        backup("refused", "absent", &topic, ""),
        restore("draft", "hub", &topic, "")
            .replace(&format!("{{source: {topic}, target: {topic}-draft}}"), ""),
        restore("ready", "hub", &topic, "").replace("enabled: true", "enabled: false"),
        restore("invalid", "absent", &topic, ""),
        restore("unreachable", "nowhere", &topic, ""),
        restore("homeless", "hub", &topic, no_node),
        restore("failed", "hub", &topic, ""),
        restore("stopped", "slow", &topic, ""),
        restore("restoring", "slow", &topic, ""),
        restore("done", "hub", &topic, ""),
    ];
    namespace.apply(&documents.concat())?;
    installed.wait_for("restore/stopped", "Restoring", "")?;
    installed.patch("restore/stopped", r#"{"spec": {"enabled": false}}"#)?;
    for (resource, word, sentence) in [
        ("backup/draft", "Draft", "add a stream"),
        ("backup/paused", "Paused", "spec.enabled is false"),
        ("backup/homeless", "Error", "finds no node"),
        ("backup/unreachable", "Error", "172.30.0.2:1 can be reached"),
        ("backup/refused", "Error", "EventHub absent does not exist"),
        ("restore/draft", "Draft", "nothing to restore"),
        (
            "restore/ready",
            "Ready",
            "set spec.enabled to true to begin",
        ),
        (
            "restore/invalid",
            "Invalid",
            "EventHub absent does not exist",
        ),
        ("restore/unreachable", "Initializing", "172.30.0.2:1"),
        ("restore/homeless", "Failed", "finds no node"),
        ("restore/failed", "Failed", "is not empty"),
        ("restore/stopped", "Ready", "go on where it was"),
        ("restore/done", "Done", "everything is restored"),
        ("restore/restoring", "Restoring", ""),
    ] {
        installed.wait_for(resource, word, sentence)?;
    }
    let kinds = "backups,restores";
    namespace.kubectl(&["delete", kinds, "--all", "--wait", "--timeout=60s"])?;
    nothing_is_left(&installed)?;
    assert_eq!(files(&folder)?, before);
    // What was restored so far stays where it is, too.
    let written = landed(&format!("{topic}-restoring"));
    assert!(0 < written && written < total, "{written} of {total}");
    Ok(())
}

#[test]
fn without_an_operator_all_but_a_volume_goes_and_a_volume_in_use_stays() -> Result<()> {
    let kafka = Kafka::shared();
    let installed = Installed::new("orphans")?;
    let namespace = &installed.namespace;
    installed.hub_and_disk()?;
    let topic = unique("orphans");
    kafka.create_topic(&topic, 2, &[])?;
    kafka.produce(&topic, Codec::None, &records(40))?;
    installed.archive(&topic, 40)?;
    let claim = || namespace.get("pvc/disk")?.context("the claim stays");
    let first = claim()?;
    let mut documents = backup("archiving", "hub", &topic, "");
    documents += &restore(
        "r1",
        "hub",
        &topic,
        ", nodeSelector: {armory.test/there-is: none}",
    );
    namespace.apply(&documents)?;
    installed.wait_for("backup/archiving", "Streaming", "")?;
    installed.wait_for("restore/r1", "Failed", "finds no node")?;

    // A Storage that is named waits, and keeps its volume.
    namespace.kubectl(&["delete", "storage/disk", "--wait=false"])?;
    installed.wait_for(
        "storage/disk",
        "Error",
        "used, by Backup archiving, Restore r1",
    )?;
    let scale = |count: u8| {
        let count = format!("--replicas={count}");
        namespace.kubectl(&["scale", "deployment/armory", &count])
    };
    scale(0)?;
    let operator = "--selector=app.kubernetes.io/instance=armory";
    namespace.kubectl(&["wait", "pod", operator, "--for=delete", "--timeout=60s"])?;
    namespace.kubectl(&[
        "delete",
        "backup/archiving",
        "restore/r1",
        "--wait",
        "--timeout=60s",
    ])?;
    nothing_is_left(&installed)?;
    assert!(claim()?["metadata"]["deletionTimestamp"].is_null());
    // Let go by hand it goes, and the volume with the archive is still there, and is taken up by a Storage of the name.
    installed.patch("storage/disk", r#"{"metadata": {"finalizers": null}}"#)?;
    namespace.wait_until_gone("storage/disk")?;
    scale(1)?;
    namespace.apply(crate::installed::DISK)?;
    installed.wait_for("storage/disk", "Ready", "is bound")?;
    assert_eq!(claim()?["metadata"]["uid"], first["metadata"]["uid"]);
    namespace.apply(&restore("r2", "hub", &topic, ""))?;
    installed.wait_for("restore/r2", "Done", "everything is restored")?;
    let copy = kafka.dump(&format!("{topic}-r2"))?;
    assert_eq!(content(copy), content(kafka.dump(&topic)?));

    // With an operator, it goes with the last one that names it.
    namespace.kubectl(&["delete", "storage/disk", "--wait=false"])?;
    installed.wait_for_reason("storage/disk", "Error", "InUse", "used, by Restore r2")?;
    assert!(claim()?["metadata"]["deletionTimestamp"].is_null());
    namespace.kubectl(&["delete", "restore/r2", "--wait", "--timeout=60s"])?;
    namespace.wait_until_gone("storage/disk")?;
    namespace.wait_until_gone("pvc/disk")
}
