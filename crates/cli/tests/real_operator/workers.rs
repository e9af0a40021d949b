//! Work groups, and pods that are rolled.

use anyhow::{Context as _, Result};
use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, unique};
use serde_json::Value;

use crate::installed::{Installed, content};

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
    let told = installed.told("Backup", "b1")?;
    for (word, reason) in [
        ("Initializing", "Starting"),
        ("Initializing", "WorkGroupChanges"),
        ("Streaming", "Streaming"),
    ] {
        let pair = (word.to_owned(), reason.to_owned());
        assert!(told.contains(&pair), "{pair:?}: {told:?}");
    }
    // Whoever leads next finds everything as it should be, and changes nothing.
    let versions = || -> Result<String> {
        // The generation of a StatefulSet does not count its status, which its controller writes.
        let generation = "jsonpath={.items[*].metadata.generation}";
        let version = "jsonpath={.items[*].metadata.resourceVersion}";
        let sets = namespace.kubectl(&["get", "statefulsets", "-o", generation])?;
        let others = namespace.kubectl(&["get", "configmaps,services", "-o", version])?;
        Ok(format!("{sets} {others}"))
    };
    let holder = |lease: &Value| {
        lease["spec"]["holderIdentity"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let untouched = versions()?;
    for _ in 0..20 {
        let before = holder(&namespace.get("lease/armory")?.context("the lease")?);
        namespace.kubectl(&["delete", "pod", "-l", "app.kubernetes.io/instance=armory"])?;
        let taken = namespace.wait_until("lease/armory", "another's", |lease| {
            !["", before.as_str()].contains(&holder(lease).as_str())
        })?;
        namespace.wait_until("lease/armory", "renewed", |lease| {
            lease["spec"]["renewTime"] != taken["spec"]["renewTime"]
        })?;
        assert_eq!(versions()?, untouched);
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
    let told = installed.told("Backup", "b1")?;
    let pausing = ("Paused".to_owned(), "Pausing".to_owned());
    assert!(told.contains(&pausing), "{told:?}");
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
