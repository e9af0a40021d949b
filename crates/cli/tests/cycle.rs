//! Backup and restore through the command, against the broker in memory: documents, options, signals, exit codes.
//!
//! What the two do with records is tested against Apache Kafka (`real_*.rs`); here it is the command around them.

mod common;
#[path = "../../plugins/tests/support/mod.rs"]
mod guests;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::cluster::{self, Cluster, documents};
use common::{armory, done, run};
use serde_json::{Value, json};

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("it can be written");
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Backs up a topic and prints its records, without what a restore changes.
fn records(
    cluster: &Cluster,
    folder: &Path,
    topic: &str,
    archive: &str,
) -> Vec<(i64, Value, Value)> {
    cluster::records(cluster, folder, topic, archive)
        .into_iter()
        .map(|line| {
            let partition = line["partition"].as_i64().expect("a partition");
            (partition, line["timestamp"].clone(), line["value"].clone())
        })
        .collect()
}

#[test]
fn documents_there_and_back() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    cluster.topic("orders", 2, 10);
    cluster.topic("customers", 1, 5);
    cluster.topic("other", 1, 1);
    let backup = "apiVersion: kannika.io/v1alpha\nkind: Backup\nmetadata: {name: b}\nspec:\n  source: hub\n  sink: disk\n  \
                  compression: {algorithm: zstd}\n  streams: [{topic: orders}]\n  topicSelectors: {matchers: [{name: {glob: 'cust*'}}]}";
    write(folder, "backup.yaml", &documents(&cluster, backup));
    let arguments = [
        "backup",
        "-f",
        "backup.yaml",
        "--claim",
        "disk=./archive",
        "--once",
        "-o",
        "json",
    ];
    let report = parsed(&done(folder, &arguments));
    assert_eq!(report[0]["name"], "b");
    assert_eq!(report[0]["topics"], 2);
    assert_eq!(report[0]["partitions"], 3);
    assert_eq!(report[0]["records"], 25);
    let again = parsed(&done(folder, &arguments));
    assert_eq!(again[0]["records"], 0, "it goes on where the archive ends");

    let restore = "apiVersion: kannika.io/v1alpha\nkind: Restore\nmetadata: {name: r}\nspec:\n  source: disk\n  sink: hub\n  config:\n    topics:\n      \
                   - {source: customers, target: customers-copy}\n      - {source: orders, target: orders-copy, partitions: [{number: \
                   1, restoreFromOffset: 2, restoreUntilOffset: 4}]}";
    write(folder, "restore.yaml", &documents(&cluster, restore));
    let arguments = [
        "restore",
        "-f",
        "restore.yaml",
        "--claim",
        "disk=./archive",
        "-o",
        "json",
    ];
    let report = parsed(&done(folder, &arguments));
    assert_eq!(report[0]["records"], 8);
    assert_eq!(report[0]["wasComplete"], false);
    assert_eq!(report[0]["topics"][0]["target"], "customers-copy");
    assert_eq!(report[0]["topics"][0]["created"], true);
    let again = parsed(&done(folder, &arguments));
    assert_eq!(again[0]["wasComplete"], true);

    let values = |restored: &[(i64, Value, Value)]| -> Vec<Value> {
        restored.iter().map(|(_, _, value)| value.clone()).collect()
    };
    let copy = records(&cluster, folder, "orders-copy", "check");
    assert_eq!(
        values(&copy),
        [
            json!("orders 1 2"),
            json!("orders 1 3"),
            json!("orders 1 4")
        ],
        "both ends are inclusive"
    );
    assert!(copy.iter().all(|(partition, _, _)| *partition == 1));
    assert_eq!(
        values(&records(&cluster, folder, "customers-copy", "check")),
        values(&records(&cluster, folder, "customers", "check"))
    );
}

#[test]
fn options_there_and_back() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    cluster.topic("flights.eu", 2, 10);
    cluster.topic("flights.tmp", 1, 5);
    let bootstrap = cluster.bootstrap();
    let backup = [
        "backup",
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        "flights.*",
        "--exclude",
        "*.tmp",
        "--storage",
        "archive",
        "--once",
    ];
    let text = done(folder, &backup);
    assert!(
        text.starts_with("armory: 20 records of 2 partitions read"),
        "{text}"
    );
    let text = done(folder, &["inspect", "archive"]);
    assert!(text.contains("flights.eu"), "{text}");
    assert!(!text.contains("flights.tmp"), "{text}");

    let restore = [
        "restore",
        "--storage",
        "archive",
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        "flights.eu=copy",
    ];
    let ran = run(folder, &restore);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.err.contains("--create-topics"), "{}", ran.err);
    assert_eq!(ran.out, "");
    let text = done(folder, &[&restore[..], &["--create-topics"]].concat());
    assert!(
        text.starts_with("armory: 20 records restored, 20 of them by this run (restore "),
        "{text}"
    );
    assert!(
        text.contains("flights.eu (v1) into copy, created: 20 records in the archive"),
        "{text}"
    );
    assert_eq!(
        records(&cluster, folder, "copy", "check"),
        records(&cluster, folder, "flights.eu", "check")
    );
}

/// A plugin fails on every fourth record: it is put aside, told with its failure, and put back behind the others.
#[test]
fn dead_letters_there_and_back() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    cluster.topic("orders", 1, 10);
    let guest = guests::GuestText::backup().every(
        "(if (i64.eqz (i64.rem_u (local.get 8) (i64.const 4))) (then (return (call $error))))",
    );
    fs::write(folder.join("picky.wasm"), guest.component()).expect("written");
    let backup = "apiVersion: kannika.io/v1alpha\nkind: Backup\nmetadata: {name: b}\nspec:\n  source: hub\n  sink: disk\n  \
                  streams: [{topic: orders}]\n  plugins:\n    - wasiPluginRef: {witVersion: '0.1', claimName: here, path: picky.wasm}\n      \
                  errorPolicy: {error: deadLetter}";
    write(folder, "backup.yaml", &documents(&cluster, backup));
    let claims = ["--claim", "disk=./archive", "--claim", "here=."];
    let arguments = [&["backup", "-f", "backup.yaml", "--once"][..], &claims].concat();
    let text = done(folder, &arguments);
    assert!(text.contains("3 put aside as dead letters"), "{text}");

    let text = done(folder, &["cat", "archive", "orders", "--dead-letters"]);
    let letters: Vec<Value> = text.lines().map(parsed).collect();
    let offsets: Vec<&Value> = letters.iter().map(|line| &line["offset"]).collect();
    assert_eq!(offsets, [&json!(0), &json!(4), &json!(8)]);
    assert_eq!(letters[1]["value"], "orders 0 4");
    let failure = &letters[1]["failure"];
    assert_eq!(failure["plugin"], "picky.wasm");
    assert_eq!(failure["class"], "error");
    assert_eq!(failure["message"], "it does not please me");
    let range = [
        "cat",
        "archive",
        "orders",
        "--dead-letters",
        "--offset",
        "1..8",
    ];
    assert_eq!(done(folder, &range).lines().count(), 1);
    let detail = parsed(&done(
        folder,
        &["inspect", "archive", "orders", "-o", "json"],
    ));
    let totals = &detail["topics"][0]["snapshots"][0]["partitions"][0]["lineages"][0]["totals"];
    assert_eq!(
        (&totals["records"], &totals["deadLetters"]),
        (&json!(7), &json!(3))
    );
    let text = done(folder, &["inspect", "archive", "orders"]);
    assert!(text.contains("3 dead letters"), "{text}");
    let text = done(folder, &["verify", "archive", "--deep"]);
    assert!(text.contains("3 dead letters"), "{text}");

    let bootstrap = cluster.bootstrap();
    let restore = [
        "restore",
        "--storage",
        "archive",
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        "orders=copy",
        "--create-topics",
    ];
    done(folder, &restore);
    let put_back = [&restore[..], &["--dead-letters"]].concat();
    let text = done(folder, &put_back);
    assert!(
        text.contains("3 records restored, 3 of them by this run"),
        "{text}"
    );
    done(folder, &put_back);
    let copy = records(&cluster, folder, "copy", "check");
    let values: Vec<_> = copy.iter().map(|(_, _, value)| value.clone()).collect();
    let expected = [1, 2, 3, 5, 6, 7, 9, 0, 4, 8].map(|at| json!(format!("orders 0 {at}")));
    assert_eq!(values, expected);
}

#[test]
fn a_wrong_property_is_a_mistake_of_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = [
        "backup",
        "--bootstrap-server",
        "127.0.0.1:1",
        "--topic",
        "a",
        "--storage",
        "archive",
        "-X",
        "acsk=all",
    ];
    let ran = run(folder.path(), &arguments);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("did you mean acks?"), "{}", ran.err);
}

/// The continuous backup of a topic, as a process of its own.
fn start_backup(cluster: &Cluster, folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_armory"))
        .current_dir(folder)
        .args([
            "backup",
            "--bootstrap-server",
            &cluster.bootstrap(),
            "--topic",
            "orders",
            "--storage",
            "archive",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command can be run")
}

/// Waits until the archive has that many records.
fn wait_for_records(folder: &Path, expected: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let ran = run(folder, &["inspect", "archive", "-o", "json"]);
        let view: Value = serde_json::from_str(&ran.out).unwrap_or_default();
        let records = &view["topics"][0]["snapshots"][0]["totals"]["records"];
        if records.as_u64() == Some(expected) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{records} of {expected} records: {}",
            ran.err
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_signal_stops_a_backup_gracefully() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    cluster.topic("orders", 1, 10);
    let child = start_backup(&cluster, folder);
    wait_for_records(folder, 10);
    cluster.runtime.block_on(cluster.produce("orders", 0, 7));
    wait_for_records(folder, 17);
    let pid = child.id().to_string();
    let killed = Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .expect("kill runs");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("stopping: "), "{err}");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        out.starts_with("armory: 17 records of 1 partition read"),
        "{out}"
    );
    let text = done(folder, &["verify", "archive", "--deep"]);
    assert!(text.contains("17 records"), "{text}");
}

#[test]
fn the_quick_start_shows_the_cycle() {
    let folder = tempfile::tempdir().expect("a folder");
    let first_look = folder.path().join("first-look");
    let output = armory()
        .args(["quickstart", "--folder"])
        .arg(&first_look)
        .output()
        .expect("the command can be run");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(out.contains("A record that the plugin changed"), "{out}");
    let sound = done(&first_look, &["verify", "archive", "--deep"]);
    assert!(sound.starts_with("sound: "), "{sound}");
}
