//! Backup and restore of real topics, compared by Kafka's own clients and tools.
#![cfg(feature = "real")]

mod support;

use armory_testkit::kafka::{Codec, Dataset, Ending, Record, TimestampType};
use armory_testkit::{Kafka, guests, unique};
use support::{Store, armory, backup_once, files_ending, restore, run};

/// Megabytes of the mixed data set; the full gigabyte is a run of its own: `ARMORY_DATASET_MB=1000`.
fn megabytes() -> u64 {
    std::env::var("ARMORY_DATASET_MB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(30)
}

/// A topic with every kind of record that Kafka takes.
fn mixed_topic(kafka: &Kafka, name: &str) {
    kafka
        .create_topic(
            name,
            12,
            &[
                ("message.timestamp.after.max.ms", "9223372036854775807"),
                // Otherwise the broker rolls a segment whenever a timestamp of the far future meets an ordinary one.
                ("segment.ms", "9223372036854775807"),
                ("max.message.bytes", "4000000"),
            ],
        )
        .expect("a topic");
    kafka
        .write_dataset(
            &Dataset::new(name)
                .megabytes(megabytes())
                .extreme_timestamps(),
        )
        .expect("the data set");
}

fn round_trip(store: &Store, compression: &[&str]) {
    let kafka = Kafka::shared();
    let topic = unique("mixed");
    mixed_topic(kafka, &topic);
    backup_once(kafka, store, &topic, compression).succeeded();
    run(store, &["verify", &store.url(), "--deep"]).succeeded();
    let target = unique("restored");
    restore(kafka, store, &topic, &target, &[]).succeeded();
    let equal = kafka
        .compare(&topic, &target)
        .expect("every record is equal in every field");
    assert!(equal.records > 1000);
    assert_eq!(equal.second_timestamp_types, [TimestampType::CreateTime]);
}

#[test]
fn a_folder_gives_back_every_record() {
    round_trip(&Store::folder(), &[]);
}

#[test]
fn s3_gives_back_every_record() {
    round_trip(&Store::s3(), &[]);
}

#[test]
fn outer_compression_gives_back_every_record() {
    round_trip(&Store::folder(), &["--compression", "zstd"]);
    round_trip(&Store::s3(), &["--compression", "gzip"]);
}

/// Kafka's dump-log tool reads the segments, and counts what the topic holds.
#[test]
fn kafkas_own_tool_reads_the_segments() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = unique("dump");
    kafka
        .create_topic(&topic, 3, &[("max.message.bytes", "4000000")])
        .expect("a topic");
    let written = kafka
        .write_dataset(&Dataset::new(&topic).megabytes(5))
        .expect("the data set");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let mut records = 0;
    for segment in files_ending(&store.files(), ".log") {
        let dump = kafka
            .tool("dump-log", &["--files", &segment.display().to_string()])
            .expect("the tool reads it");
        for line in dump.lines().filter(|line| line.starts_with("baseOffset:")) {
            assert!(line.contains("isvalid: true"), "{line}");
            let count = line
                .split("count: ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next())
                .expect("a count");
            records += count.parse::<u64>().expect("a number");
        }
    }
    assert_eq!(records, written.records);
}

#[test]
fn log_append_time_survives_as_a_value() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let (topic, target) = (unique("append-time"), unique("restored"));
    kafka
        .create_topic(&topic, 2, &[("message.timestamp.type", "LogAppendTime")])
        .expect("a topic");
    kafka
        .write_dataset(&Dataset::new(&topic).megabytes(2))
        .expect("the data set");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    // The archived configuration comes last, so the records keep the times they had.
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    let equal = kafka
        .compare(&topic, &target)
        .expect("every record is equal in every field");
    assert_eq!(equal.first_timestamp_types, [TimestampType::LogAppendTime]);
    assert_eq!(equal.second_timestamp_types, [TimestampType::CreateTime]);
    let configs = kafka.topic(&target).expect("the target").configs;
    assert_eq!(
        configs.get("message.timestamp.type").map(String::as_str),
        Some("LogAppendTime")
    );
}

#[test]
fn aborted_transactions_are_gaps_and_open_ones_wait() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let (topic, target) = (unique("transactions"), unique("restored"));
    kafka.create_topic(&topic, 1, &[]).expect("a topic");
    let id = |name: &str| format!("{topic}-{name}");
    kafka
        .transaction(&topic, &id("one"), 3, Ending::Commit)
        .expect("a transaction");
    kafka
        .transaction(&topic, &id("two"), 3, Ending::Abort)
        .expect("a transaction");
    kafka
        .transaction(&topic, &id("three"), 3, Ending::Commit)
        .expect("a transaction");
    kafka
        .transaction(&topic, &id("open"), 3, Ending::LeaveOpen)
        .expect("a transaction");
    let ran = backup_once(kafka, &store, &topic, &[]).succeeded();
    assert!(
        ran.stdout.contains("a transaction is open there"),
        "{ran:?}"
    );
    let gaps = run(&store, &["inspect", &store.url(), &topic, "-o", "json"])
        .succeeded()
        .stdout;
    assert!(
        gaps.contains("aborted") && gaps.contains("control"),
        "{gaps}"
    );
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    let values: Vec<_> = kafka
        .dump_uncommitted(&target)
        .expect("the target")
        .into_iter()
        .filter_map(|record| record.value)
        .collect();
    assert_eq!(values.len(), 6, "{values:?}");
    kafka
        .end_transaction(&id("open"), Ending::Commit)
        .expect("it ends");
}

/// A plugin that drops a header changes exactly that; every other topic stays byte for byte.
#[test]
fn a_plugin_changes_what_it_is_there_for() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let (topic, target) = (unique("secret"), unique("restored"));
    kafka
        .create_topic(&topic, 3, &[("max.message.bytes", "4000000")])
        .expect("a topic");
    let records: Vec<Record> = (0..3000)
        .map(|index| {
            let record = Record::new(
                Some(&format!("key-{index}")),
                (index % 7 != 0).then_some("value"),
            )
            .partition(index % 3)
            .header("kept", Some(b"1"));
            if index % 2 == 0 {
                record
                    .header("secret", Some(b"hunter2"))
                    .header("kept", None)
            } else {
                record
            }
        })
        .collect();
    kafka
        .produce(&topic, Codec::Zstd, &records)
        .expect("records");
    let plugin = guests::build_rust("drop-header").expect("the plugin is built");
    let config = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(config.path(), "header: secret\n").expect("it is written");
    let option = format!("{},config={}", plugin.display(), config.path().display());
    backup_once(kafka, &store, &topic, &["--plugin", &option]).succeeded();
    run(&store, &["verify", &store.url(), "--deep"]).succeeded();
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    armory_testkit::kafka::Comparison::new((kafka, &topic), (kafka, &target))
        .ignore_header("secret")
        .run()
        .expect("all else is equal");
    assert!(
        kafka
            .dump(&target)
            .expect("the target")
            .iter()
            .all(|record| record.headers.iter().all(|(name, _)| name != "secret"))
    );
    let inspected = run(&store, &["inspect", &store.url(), &topic, "-o", "json"])
        .succeeded()
        .stdout;
    assert!(inspected.contains(&topic));
}

/// The same manifests as on Kubernetes, run by the command line.
#[test]
fn the_yaml_of_the_operator_runs_here() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let (topic, target) = (unique("yaml"), unique("restored"));
    kafka.create_topic(&topic, 2, &[]).expect("a topic");
    kafka
        .write_dataset(&Dataset::new(&topic).megabytes(1))
        .expect("the data set");
    let plugin = guests::build_rust("drop-header").expect("the plugin is built");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(&plugin, folder.path().join("drop-header.wasm")).expect("a copy");
    let yaml = folder.path().join("job.yaml");
    std::fs::write(
        &yaml,
        format!(
            r#"apiVersion: kannika.io/v1alpha
kind: EventHub
metadata: {{name: hub}}
spec: {{kafka: {{properties: {{bootstrap.servers: "{}"}}}}}}
---
apiVersion: kannika.io/v1alpha
kind: Storage
metadata: {{name: store}}
spec: {{volume: {{capacity: 1Gi}}}}
---
apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: b1}}
spec:
  source: hub
  sink: store
  compression: {{algorithm: zstd, quality: 3}}
  streams: [{{topic: {topic}}}]
  plugins:
    - wasiPluginRef: {{witVersion: "0.1", claimName: plugins, path: drop-header.wasm}}
      spec: {{header: no-such-header}}
---
apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: r1}}
spec:
  source: store
  sink: hub
  enabled: true
  config:
    topics: [{{source: {topic}, target: {target}}}]
"#,
            kafka.bootstrap()
        ),
    )
    .expect("it is written");
    let store_claim = format!("store={}", store.url());
    let plugin_claim = format!("plugins={}", folder.path().display());
    let yaml = yaml.display().to_string();
    let claims = ["--claim", &store_claim, "--claim", &plugin_claim];
    let ran: support::Ran = armory(&store, &["backup", "-f", &yaml, "--once"])
        .args(claims)
        .output()
        .expect("it runs")
        .into();
    ran.succeeded();
    let ran: support::Ran = armory(&store, &["restore", "-f", &yaml])
        .args(claims)
        .output()
        .expect("it runs")
        .into();
    ran.succeeded();
    kafka
        .compare(&topic, &target)
        .expect("every record is equal");
}
