//! Restores that something happens to in the middle.

use anyhow::{Context as _, Result};
use armory_testkit::kafka::Codec;
use armory_testkit::{Dataset, Kafka, unique};
use serde_json::Value;

use crate::installed::Installed;
use crate::slow::{SlowHub, landed};

fn name(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str();
    name.unwrap_or_default().to_owned()
}

#[test]
fn a_restore_that_is_stopped_edited_and_killed_in_the_middle_writes_every_record_once() -> Result<()>
{
    let kafka = Kafka::shared();
    let installed = Installed::new("middle")?;
    let namespace = &installed.namespace;
    installed.hub_and_disk()?;
    let slow = SlowHub::new(&installed)?;
    let (topic, copy) = (unique("middle"), unique("middle-copy"));
    kafka.create_topic(&topic, 2, &[])?;
    let dataset = Dataset::new(&topic).megabytes(30).codecs(&[Codec::None]);
    let total = i64::try_from(kafka.write_dataset(&dataset)?.records)?;
    installed.archive(&topic, total)?;
    namespace.apply(&format!(
        "apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: r1}}
spec: {{source: disk, sink: slow, enabled: true, config: {{topics: [{{source: {topic}, target: {copy}}}]}}}}
"
    ))?;
    installed.wait_for("restore/r1", "Restoring", "")?;
    installed.wait_for_condition("restore/r1", "JobCompleted", "False", "JobRunning")?;
    // Records that land after `count` of them have, and not the last ones.
    let more_than = |count: i64| -> Result<i64> {
        let mut now = 0;
        namespace.wait_until("restore/r1", &format!("past {count} records"), |_| {
            now = landed(&copy);
            now > count
        })?;
        assert!(now < total, "{now} of {total}");
        Ok(now)
    };
    more_than(0)?;
    // The operator asks the pod every few seconds.
    namespace.wait_until("restore/r1", "told to have written", |found| {
        found["status"]["progress"]["records"].as_i64() > Some(0)
    })?;

    // Switched off it stops, whatever else is written with it. What decides about the result is fixed from the first
    // record on, also while it is stopped; all else is not.
    installed.patch(
        "restore/r1",
        r#"{"spec": {"enabled": false, "config": {"parallelism": 3}}}"#,
    )?;
    installed.wait_for("restore/r1", "Invalid", "put them back to let it go on")?;
    assert_eq!(installed.pods_at_work("r1")?, [] as [Value; 0]);
    installed.patch(
        "restore/r1",
        r#"{"spec": {"enabled": true, "description": "again"}}"#,
    )?;
    installed.wait_for("restore/r1", "Invalid", "put them back to let it go on")?;
    // A request whose answer was not waited for may have landed since.
    assert_eq!(installed.pods_at_work("r1")?, [] as [Value; 0]);
    let stopped_at = landed(&copy);
    assert!(stopped_at < total, "{stopped_at} of {total}");
    installed.patch(
        "restore/r1",
        r#"{"spec": {"enabled": false, "config": {"parallelism": null}}}"#,
    )?;
    installed.wait_for("restore/r1", "Ready", "stopped; set spec.enabled to true")?;
    installed.patch("restore/r1", r#"{"spec": {"enabled": true}}"#)?;
    installed.wait_for("restore/r1", "Restoring", "")?;
    let resumed_at = more_than(stopped_at)?;

    // Without a word to anybody: its process, and then the pod as a node that is lost would lose it.
    let running = |but: &str| -> Result<Value> {
        let mut pods = Vec::new();
        namespace.wait_until("restore/r1", "with one pod that runs", |_| {
            pods = installed.pods_at_work("r1").unwrap_or_default();
            assert!(pods.len() < 2, "{pods:?}");
            let runs = |pod: &Value| pod["status"]["phase"] == "Running" && name(pod) != but;
            pods.first().is_some_and(runs)
        })?;
        pods.pop().context("a pod")
    };
    let killed = running("")?;
    installed.kill_worker(&killed)?;
    let after_kill = more_than(resumed_at)?;
    let lost = running(&name(&killed))?;
    namespace.kubectl(&["delete", "pod", &name(&lost), "--force", "--grace-period=0"])?;
    more_than(after_kill)?;
    slow.let_go()?;
    let done = installed.wait_for("restore/r1", "Done", "everything is restored")?;
    assert_eq!(i64::try_from(kafka.compare(&topic, &copy)?.records)?, total);
    assert_eq!(landed(&copy), total);
    let progress = &done["status"]["progress"];
    assert_eq!(progress["records"], total, "{progress}");
    assert_eq!(progress["percent"], 100, "{progress}");
    let told = installed.told("Restore", "r1")?;
    for (word, reason) in [
        ("Initializing", "Starting"),
        ("Restoring", "Restoring"),
        ("Ready", "Stopping"),
        ("Ready", "Stopped"),
        ("Invalid", "ChangedAfterStart"),
        ("Done", "Done"),
    ] {
        assert!(
            told.contains(&(word.to_owned(), reason.to_owned())),
            "{word}: {reason} is not among {told:?}, {done}"
        );
    }
    Ok(())
}
