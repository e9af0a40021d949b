//! Workers that lose their lives, and volumes that lose their room.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use armory_testkit::kafka::{Codec, Dataset, Record};
use armory_testkit::{Kafka, unique};
use serde_json::Value;

use crate::installed::{DISK, Installed, event_hub};

fn backup(topic: &str) -> String {
    format!(
        "---
apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: b1}}
spec:
  source: hub
  sink: disk
  segmentRolloverTriggers: {{size: 200 KiB, timeoutSeconds: 2}}
  streams: [{{topic: {topic}}}]
"
    )
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["ready"] == true
}

#[test]
fn a_worker_that_is_killed_loses_nothing_and_writes_nothing_twice() -> Result<()> {
    let kafka = Kafka::shared();
    let installed = Installed::new("killed")?;
    let namespace = &installed.namespace;
    let topic = unique("killed");
    kafka.create_topic(&topic, 4, &[])?;
    installed.hub_and_disk()?;
    namespace.apply(&backup(&topic))?;
    installed.wait_for("backup/b1", "Streaming", "the worker runs")?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        // Records come all the time.
        let producer = scope.spawn(|| -> Result<i64> {
            let mut next = 0;
            while !is_over.load(Ordering::Relaxed) {
                let record = |number: i64| {
                    Record::new(Some(&number.to_string()), Some(&"x".repeat(100)))
                        .partition((number % 4) as i32)
                };
                let records: Vec<Record> = (next..next + 40).map(record).collect();
                kafka.produce(&topic, Codec::None, &records)?;
                next += 40;
            }
            Ok(next)
        });
        let killed = kill_again_and_again(&installed);
        is_over.store(true, Ordering::Relaxed);
        let produced = producer.join().expect("it produces")?;
        killed?;
        installed.wait_for("backup/b1", "Streaming", "the worker runs")?;
        installed.wait_until_stored("b1-0")?;
        assert_eq!(installed.comes_back("disk", &topic, "")?, produced as u64);
        Ok(())
    })
}

/// As the kernel does it, as an impatient person does it, and once more.
fn kill_again_and_again(installed: &Installed<'_>) -> Result<()> {
    let namespace = &installed.namespace;
    let pod = "pod/b1-0";
    let kill = || -> Result<()> {
        let (restarts, uid) = installed.lives(pod)?;
        installed.kill_worker(&namespace.get(pod)?.context("the pod")?)?;
        namespace.wait_until(pod, "started again", |found| {
            let again = found["status"]["containerStatuses"][0]["restartCount"].as_u64();
            found["metadata"]["uid"] == *uid && again > Some(restarts) && is_ready(found)
        })?;
        Ok(())
    };
    kill()?;
    let (_, uid) = installed.lives(pod)?;
    namespace.kubectl(&["delete", pod, "--grace-period=0", "--force"])?;
    namespace.wait_until(pod, "another one", |found| {
        found["metadata"]["uid"] != *uid && is_ready(found)
    })?;
    kill()
}

#[test]
fn a_full_volume_is_named_and_used_again_when_there_is_room() -> Result<()> {
    let kafka = Kafka::shared();
    let installed = Installed::new("full")?;
    let namespace = &installed.namespace;
    let topic = unique("full");
    kafka.create_topic(&topic, 2, &[])?;
    // There is room for an archive's first file, and no more.
    let volume = namespace.small_volume("disk", 4)?;
    let documents = [event_hub(&kafka.pod_bootstrap()), format!("---\n{DISK}")];
    namespace.apply(&(documents.concat() + &backup(&topic)))?;
    let full = "on PersistentVolumeClaim disk (the volume is full; enlarge it";
    installed.wait_for("backup/b1", "Error", full)?;
    // What could not be finished does not take the room that is left.
    let unfinished = || -> Result<Vec<String>> {
        let files = volume.files()?.into_iter();
        Ok(files.filter(|file| file.ends_with(".tmp")).collect())
    };
    assert_eq!(unfinished()?, [""; 0]);
    volume.resize(1024)?;
    installed.wait_for("backup/b1", "Streaming", "the worker runs")?;
    let written = kafka.write_dataset(&Dataset::new(&topic).megabytes(4))?;
    installed.wait_for("backup/b1", "Error", full)?;
    volume.resize(64 * 1024)?;
    installed.wait_for("backup/b1", "Streaming", "the worker runs")?;
    installed.wait_until_stored("b1-0")?;
    assert_eq!(installed.lives("pod/b1-0")?.0, 0);
    assert_eq!(unfinished()?, [""; 0]);
    assert_eq!(installed.comes_back("disk", &topic, "")?, written.records);
    Ok(())
}
