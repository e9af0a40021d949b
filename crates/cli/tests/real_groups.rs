//! Consumer groups are carried over by the report of a restore, to exactly the record that comes next.
#![cfg(feature = "real")]

mod support;

use armory_testkit::kafka::{Codec, Ending, Record};
use armory_testkit::{Kafka, guests, unique};
use support::{Ran, Store, backup_once, restore, run};

/// Commits an offset for a group without members, with Kafka's own tool.
fn commit(kafka: &Kafka, group: &str, topic: &str, partition: i32, offset: i64) {
    let (topic, offset) = (format!("{topic}:{partition}"), offset.to_string());
    kafka
        .tool(
            "groups",
            &[
                "--bootstrap-server",
                kafka.bootstrap(),
                "--group",
                group,
                "--topic",
                &topic,
                "--reset-offsets",
                "--to-offset",
                &offset,
                "--execute",
            ],
        )
        .expect("it is committed");
}

/// What Kafka's own consumer reads first as a member of the group.
fn next_values(kafka: &Kafka, group: &str, topic: &str, records: usize) -> Vec<String> {
    let most = records.to_string();
    let out = kafka
        .tool(
            "console-consumer",
            &[
                "--bootstrap-server",
                kafka.bootstrap(),
                "--group",
                group,
                "--topic",
                topic,
                "--max-messages",
                &most,
                "--timeout-ms",
                "60000",
            ],
        )
        .expect("it consumes");
    out.lines().map(str::to_owned).collect()
}

fn snapshot(kafka: &Kafka, store: &Store, pattern: &str) {
    let url = store.url();
    run(
        store,
        &[
            "groups",
            "snapshot",
            "--bootstrap-server",
            kafka.bootstrap(),
            "--storage",
            &url,
            "--group",
            pattern,
        ],
    )
    .succeeded();
}

fn plan(store: &Store, more: &[&str]) -> Ran {
    let url = store.url();
    run(
        store,
        &[&["groups", "plan", "--storage", &url, "-o", "json"], more].concat(),
    )
}

fn apply(kafka: &Kafka, store: &Store, more: &[&str]) -> Ran {
    let url = store.url();
    let args = [
        "groups",
        "apply",
        "--storage",
        &url,
        "--bootstrap-server",
        kafka.bootstrap(),
    ];
    run(store, &[&args[..], more].concat())
}

/// The only row of a plan for that group: partition, offset, note of its first source.
fn row(plan: &Ran, group: &str) -> (i64, i64, Option<String>) {
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("JSON");
    let rows = plan["offsets"].as_array().expect("rows");
    let rows: Vec<_> = rows.iter().filter(|row| row["group"] == group).collect();
    assert_eq!(rows.len(), 1, "{plan}");
    let note = rows[0]["sources"][0]["note"].as_str().map(str::to_owned);
    let number = |key: &str| rows[0][key].as_i64().expect("a number");
    (number("partition"), number("offset"), note)
}

/// Transactions leave markers and aborted records behind: offsets of the target are others than those of the source.
#[test]
fn a_group_goes_on_behind_transactions() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let (topic, target) = (unique("txn"), unique("target"));
    kafka
        .create_topic(&topic, 1, &[("retention.ms", "-1")])
        .expect("a topic");
    // Offsets 0-9, marker 10; 11-15 aborted, marker 16; 17-26, marker 27; 28-37, marker 38.
    let id = |number: i32| format!("{topic}-t{number}");
    kafka
        .transaction(&topic, &id(1), 10, Ending::Commit)
        .expect("records");
    kafka
        .transaction(&topic, &id(2), 5, Ending::Abort)
        .expect("records");
    kafka
        .transaction(&topic, &id(3), 10, Ending::Commit)
        .expect("records");
    kafka
        .transaction(&topic, &id(4), 10, Ending::Commit)
        .expect("records");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let groups = unique("group");
    let group = |name: &str| format!("{groups}-{name}");
    // Inside, on a marker, among the aborted, at the end.
    for (name, offset) in [("inside", 20), ("marker", 10), ("aborted", 13), ("end", 39)] {
        commit(kafka, &group(name), &topic, 0, offset);
    }
    snapshot(kafka, &store, &format!("{groups}-*"));
    restore(kafka, &store, &topic, &target, &[]).succeeded();

    let planned = plan(&store, &[]).succeeded();
    assert_eq!(row(&planned, &group("inside")), (0, 13, None));
    let (partition, offset, note) = row(&planned, &group("marker"));
    assert_eq!((partition, offset), (0, 10));
    assert!(note.is_some_and(|note| note.contains("next restored one")));
    assert_eq!(row(&planned, &group("aborted")).1, 10);
    let (_, offset, note) = row(&planned, &group("end"));
    assert_eq!(offset, 30);
    assert!(note.is_some_and(|note| note.contains("the end")));

    let dry = apply(kafka, &store, &["--dry-run"]).succeeded();
    assert!(dry.stdout.contains("would be committed"), "{dry:?}");
    apply(kafka, &store, &[]).succeeded();
    let third = id(3);
    assert_eq!(
        next_values(kafka, &group("inside"), &target, 2),
        [format!("{third}-3"), format!("{third}-4")]
    );
    assert_eq!(
        next_values(kafka, &group("aborted"), &target, 1),
        [format!("{third}-0")]
    );
}

/// A plugin spreads the records of a partition over several: the report tells where they went.
#[test]
fn a_group_goes_on_behind_a_plugin() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let (topic, target) = (unique("plugged"), unique("target"));
    kafka
        .create_topic(&topic, 2, &[("retention.ms", "-1")])
        .expect("a topic");
    let records: Vec<Record> = (0..40)
        .map(|index| Record::new(Some("k"), Some(&format!("v{index:02}"))).partition(1))
        .collect();
    kafka
        .produce(&topic, Codec::Lz4, &records)
        .expect("records");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let group = unique("group");
    commit(kafka, &group, &topic, 1, 21);
    snapshot(kafka, &store, &group);
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("spread.yaml");
    std::fs::write(&config, "no_partition: 3\n").expect("it is written");
    let plugin = guests::build_rust("spread").expect("the plugin is built");
    let plugin = format!("{},config={}", plugin.display(), config.display());
    restore(kafka, &store, &topic, &target, &["--plugin", &plugin]).succeeded();
    let planned = plan(&store, &["--group", &group]).succeeded();
    let planned: serde_json::Value = serde_json::from_str(&planned.stdout).expect("JSON");
    let rows = planned["offsets"].as_array().expect("rows");
    let offsets: Vec<i64> = rows
        .iter()
        .map(|row| row["offset"].as_i64().expect("a number"))
        .collect();
    assert_eq!(offsets, [7, 7, 7], "a third of 21 each");
    assert!(rows.iter().all(|row| row["exact"] == true), "{planned}");
    apply(kafka, &store, &[]).succeeded();
    let mut found = next_values(kafka, &group, &target, 19);
    found.sort();
    let wanted: Vec<String> = (21..40).map(|index| format!("v{index}")).collect();
    assert_eq!(found, wanted);
}

/// Records that a plugin filters on the way back are no part of the target: offsets behind them are lower by their number.
#[test]
fn a_group_goes_on_behind_a_plugin_that_filters() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let (topic, target) = (unique("filtered"), unique("target"));
    kafka
        .create_topic(&topic, 1, &[("retention.ms", "-1")])
        .expect("a topic");
    let records: Vec<Record> = (0..40)
        .map(|index| {
            let key = (index % 3 != 0).then_some("k");
            Record::new(key, Some(&format!("v{index:02}")))
        })
        .collect();
    kafka
        .produce(&topic, Codec::Lz4, &records)
        .expect("records");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let groups = unique("group");
    let (kept, filtered) = (format!("{groups}-kept"), format!("{groups}-filtered"));
    commit(kafka, &kept, &topic, 0, 22);
    commit(kafka, &filtered, &topic, 0, 21);
    snapshot(kafka, &store, &format!("{groups}-*"));
    let plugin = guests::build_rust("reject-keyless").expect("the plugin is built");
    let plugin = plugin.display().to_string();
    restore(kafka, &store, &topic, &target, &["--plugin", &plugin]).succeeded();
    // Of the 22 records before it 8 are filtered: 0, 3, …, 21.
    let planned = plan(&store, &[]).succeeded();
    assert_eq!(row(&planned, &kept).1, 14);
    let (_, offset, note) = row(&planned, &filtered);
    assert_eq!(offset, 14);
    assert!(note.is_some_and(|note| note.contains("next restored one")));
    apply(kafka, &store, &[]).succeeded();
    assert_eq!(next_values(kafka, &kept, &target, 2), ["v22", "v23"]);
}

#[test]
fn groups_in_use_are_refused_and_their_members_named() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let (topic, target) = (unique("used"), unique("target"));
    kafka
        .create_topic(&topic, 1, &[("retention.ms", "-1")])
        .expect("a topic");
    let records: Vec<Record> = (0..10)
        .map(|index| Record::new(None, Some(&format!("v{index}"))))
        .collect();
    kafka
        .produce(&topic, Codec::None, &records)
        .expect("records");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let group = unique("group");
    commit(kafka, &group, &topic, 0, 4);
    commit(kafka, &format!("{group}-other"), &topic, 0, 4);
    plan(&store, &[]).failed_with(4, &["no snapshot of groups", "armory groups snapshot"]);
    snapshot(kafka, &store, &group);
    plan(&store, &[]).failed_with(4, &["no report of a restore"]);
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    assert_eq!(row(&plan(&store, &[]).succeeded(), &group), (0, 4, None));

    let mut consumer = armory_testkit::kafka::tool_command(
        "console-consumer",
        &[
            "--bootstrap-server",
            kafka.bootstrap(),
            "--group",
            &group,
            "--topic",
            &target,
            "--command-property",
            "client.id=somebody",
        ],
    )
    .expect("a command")
    .stdout(std::process::Stdio::null())
    .stderr(std::process::Stdio::null())
    .spawn()
    .expect("it starts");
    let mut refused = None;
    support::eventually("the consumer has joined", || {
        let ran = apply(kafka, &store, &["--dry-run"]);
        let is_refused = ran.code == Some(4);
        refused = Some(ran);
        is_refused
    });
    let _ = consumer.kill();
    let _ = consumer.wait();
    refused.expect("it ran").failed_with(
        4,
        &[
            &group,
            "is in use",
            "somebody",
            "stop its members",
            "nothing was committed",
        ],
    );
}
