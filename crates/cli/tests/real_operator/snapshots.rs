//! Snapshots by the CronJob of the guide.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use armory_testkit::guide::blocks;
use armory_testkit::kafka::Codec;
use armory_testkit::kubernetes::programs;
use armory_testkit::{Kafka, unique};
use serde_json::{Value, json};

use crate::installed::{Installed, content, records};

const GUIDE: &str = "../../docs/guide/kubernetes/running.md";

/// The documents of the guide's CronJob.
fn documented() -> Result<String> {
    let guide = fs::read_to_string(GUIDE)?;
    let mut blocks = blocks(&guide).into_iter().map(|block| block.text);
    let found = blocks.find(|text| text.contains("kind: CronJob"));
    found.context("the guide has a CronJob")
}

/// The same with an image that is there: this machine's shell and the cluster's kubectl in an empty one.
fn runnable(documents: &str) -> Result<Vec<Value>> {
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(documents)?;
    let mut jobs = documents.iter_mut().filter(|one| one["kind"] == "CronJob");
    let pod =
        &mut jobs.next().context("a CronJob")?["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let programs = programs()?.display().to_string();
    let folders = ["/bin", "/lib", "/lib64", "/usr", programs.as_str()];
    let named = |make: fn(&str, &str) -> Value| -> Vec<Value> {
        let folders = folders.iter().enumerate();
        folders
            .map(|(number, path)| make(&format!("machine-{number}"), path))
            .collect()
    };
    pod["volumes"] = named(|name, path| json!({"name": name, "hostPath": {"path": path}})).into();
    let container = &mut pod["containers"][0];
    container["volumeMounts"] =
        named(|name, path| json!({"name": name, "mountPath": path, "readOnly": true})).into();
    container["image"] = "armory.test/pause:1".into();
    container["imagePullPolicy"] = "Never".into();
    container["env"] = json!([{"name": "PATH", "value": format!("{programs}:/usr/bin:/bin")}]);
    Ok(documents)
}

#[test]
fn the_cron_job_of_the_guide_leaves_a_whole_storage_behind_each_time() -> Result<()> {
    let kafka = Kafka::shared();
    let installed = Installed::new("snapshots")?;
    let namespace = &installed.namespace;
    let own = format!("namespace: {}", namespace.name());
    let documents = documented()?.replace("namespace: default", &own);
    namespace.try_apply(&documents)?;
    for document in runnable(&documents)? {
        namespace.apply(&document.to_string())?;
    }
    installed.hub_and_disk()?;
    let topic = unique("snapshots");
    kafka.create_topic(&topic, 2, &[])?;
    namespace.apply(&format!(
        "apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: orders}}
spec: {{source: hub, sink: disk, streams: [{{topic: {topic}}}]}}
"
    ))?;
    // Nothing is committed by time or size here: what the pods have read when they are told to end is.
    let mut expected = Vec::new();
    for round in ["first", "second"] {
        kafka.produce(&topic, Codec::None, &records(20))?;
        installed.wait_for("backup/orders", "Streaming", "the worker runs")?;
        let backup = namespace.get("backup/orders")?.context("the Backup")?;
        let sink = backup["spec"]["sink"]
            .as_str()
            .context("a sink")?
            .to_owned();
        expected.push((sink.clone(), content(kafka.dump(&topic)?)));
        installed.wait_for_worker("orders-0", "at the end of its topic", |said| {
            said["state"] == "streaming" && said["lag"]["records"] == 0
        })?;
        namespace.kubectl(&["create", "job", "--from=cronjob/snapshots", round])?;
        namespace.wait_for_condition(&format!("job/{round}"), "Complete")?;
        let changed = namespace.get("backup/orders")?.context("the Backup")?;
        ensure!(changed["spec"]["sink"] != *sink && changed["spec"]["enabled"] == true);
    }
    installed.wait_for("backup/orders", "Streaming", "the worker runs")?;
    for (storage, records) in expected {
        let copy = installed.restored(&storage, &topic, "")?;
        assert_eq!(content(kafka.dump(&copy)?), records, "{storage}");
    }
    Ok(())
}
