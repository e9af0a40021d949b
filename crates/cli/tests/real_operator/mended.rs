//! Restores that fail, and go on where they were once somebody has mended what was wrong.

use std::fs;

use anyhow::Result;
use armory_testkit::guests;
use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, unique};

use crate::installed::{Installed, content};

/// A record that a topic with a low `max.message.bytes` does not take.
fn large(number: i64) -> Record {
    Record::new(Some("large"), Some(&"x".repeat(20_000)))
        .partition(1)
        .timestamp(1_700_000_000_000 + number)
}

#[test]
fn a_failed_restore_that_is_mended_goes_on_where_it_was() -> Result<()> {
    let kafka = Kafka::shared();
    let installed = Installed::new("mended")?;
    let namespace = &installed.namespace;
    installed.hub_and_disk()?;
    let topic = unique("mended");
    let target = |name: &str| format!("{topic}-{name}");
    kafka.create_topic(&topic, 2, &[])?;
    let mut records = crate::installed::records(40);
    records.push(large(40));
    kafka.produce(&topic, Codec::None, &records)?;
    let expected = content(kafka.dump(&topic)?);
    installed.archive(&topic, 41)?;
    installed.plugins(&[])?;
    let restore = |name: &str, mapping: &str, plugins: &str| {
        namespace.apply(&format!(
            "apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: {name}}}
spec:
  source: disk
  sink: hub
  enabled: true
  config:
    topics: [{{source: {topic}, target: {}{mapping}}}]
    plugins: {plugins}
",
            target(name)
        ))
    };
    let plugin = |path: &str| {
        format!(
            "[{{wasiPluginRef: {{witVersion: '0.1', claimName: plugins, path: {path}}}, spec: {{no_partition: 2}}}}]"
        )
    };

    // All at once: a target that may not be made; one that does not take the last record; files that are missing or
    // are no plugins of restores.
    kafka.create_topic(&target("large"), 2, &[("max.message.bytes", "10000")])?;
    let folder = installed.claim_folder("plugins")?;
    fs::copy(
        guests::build_rust("drop-header")?,
        folder.join("world.wasm"),
    )?;
    restore("absent", ", disablePreflightChecks: true", "[]")?;
    restore("large", ", disablePreflightChecks: true", "[]")?;
    restore("late", "", &plugin("late.wasm"))?;
    restore("world", "", &plugin("world.wasm"))?;
    installed.wait_for("restore/absent", "Failed", &target("absent"))?;
    installed.wait_for("restore/large", "Failed", "max.message.bytes")?;
    installed.wait_for("restore/late", "Failed", "late.wasm")?;
    installed.wait_for(
        "restore/world",
        "Failed",
        "set spec.enabled to false and to true again",
    )?;
    // What the target takes is there, and nothing was tried in vain.
    let partial = kafka.dump(&target("large"))?.len();
    assert!((20..=40).contains(&partial), "{partial}");

    let spread = guests::build_rust("spread")?;
    for file in ["late.wasm", "world.wasm"] {
        // Whoever reads meanwhile sees a whole file.
        fs::copy(&spread, folder.join("new"))?;
        fs::rename(folder.join("new"), folder.join(file))?;
    }
    kafka.create_topic(&target("absent"), 2, &[])?;
    kafka.set_topic_configs(&target("large"), &[("max.message.bytes", None)])?;
    // What is worth trying again heals by itself; of the others one waits for its owner, in either way.
    for name in ["absent", "world"] {
        let resource = format!("restore/{name}");
        // As long as there is no record it may be edited.
        let patch = r#"{"spec": {"enabled": false, "config": {"parallelism": 2}}}"#;
        installed.patch(&resource, patch)?;
        installed.wait_for(&resource, "Ready", "go on where it was")?;
        installed.patch(&resource, r#"{"spec": {"enabled": true}}"#)?;
    }
    namespace.kubectl(&["delete", "job", "--selector=io.kannika/restore=large"])?;
    for name in ["absent", "large", "late", "world"] {
        let resource = format!("restore/{name}");
        installed.wait_for(&resource, "Done", "everything is restored")?;
        let mut restored = kafka.dump(&target(name))?;
        if ["late", "world"].contains(&name) {
            // The plugin says where they go.
            let spread = |record: &mut Record| record.partition = 0;
            restored.iter_mut().for_each(spread);
            let mut all = kafka.dump(&topic)?;
            all.iter_mut().for_each(spread);
            assert_eq!(content(restored), content(all), "{name}");
        } else {
            assert_eq!(content(restored), expected, "{name}");
        }
    }
    for (name, reason) in [
        ("absent", "PreflightRefused"),
        ("large", "PreflightRefused"),
        ("late", "WorkerFailed"),
        ("world", "PluginRefused"),
    ] {
        let told = installed.told("Restore", name)?;
        let pair = ("Failed".to_owned(), reason.to_owned());
        assert!(told.contains(&pair), "{name}: {told:?}");
    }
    Ok(())
}
