//! `inspect`, `cat` and `verify` on an archive in a folder.

mod common;

use std::fs;

use common::{NEW_YEAR, done, files, run, write_archive};
use serde_json::{Value, json};
use tempfile::TempDir;

fn archive() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write_archive(folder.path());
    folder
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(parsed).collect()
}

#[test]
fn inspect_shows_topics() {
    let folder = archive();
    let text = done(folder.path(), &["inspect", "archive"]);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[2][0], "TOPIC", "{text}");
    assert_eq!(rows[3][..4], ["orders", "v1", "2", "6"], "{text}");
    assert_eq!(rows[4][..4], ["plain", "v1", "1", "2"], "{text}");
}

#[test]
fn inspect_shows_partitions_offsets_times_sizes_and_gaps() {
    let folder = archive();
    let text = done(folder.path(), &["inspect", "archive", "orders"]);
    for expected in [
        "orders v1",
        "AAAAAAAAAAAAAAAAAAAAAQ",
        "test-cluster",
        "retention.ms=86400000",
        "0..47",
        "2025-12-31T23:59:59.998Z",
        "2026-01-01T00:00:01Z",
        "partition 0 lineage 0: 40 before-log-start",
        "partition 0 lineage 0: 2 filtered",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let text = done(folder.path(), &["inspect", "archive", "orders", "--gaps"]);
    assert!(
        text.contains("partition 0 lineage 0: 0..40 before-log-start\n"),
        "{text}"
    );
    assert!(
        text.contains("partition 0 lineage 0: 43..45 filtered\n"),
        "{text}"
    );
}

#[test]
fn inspect_for_programs() {
    let folder = archive();
    let json_text = done(
        folder.path(),
        &["inspect", "archive", "orders", "--gaps", "-o", "json"],
    );
    let view = parsed(&json_text);
    let snapshot = &view["topics"][0]["snapshots"][0];
    assert_eq!(snapshot["version"], "v1");
    assert_eq!(snapshot["totals"]["records"], 6);
    let lineage = &snapshot["partitions"][0]["lineages"][0];
    assert_eq!(lineage["firstOffset"], 0);
    assert_eq!(lineage["nextOffset"], 47);
    assert_eq!(lineage["backup"], "test");
    assert_eq!(lineage["totals"]["timestamps"]["max"], NEW_YEAR + 1000);
    assert_eq!(
        lineage["gaps"],
        json!([
            {"firstOffset": 0, "endOffset": 40, "cause": "before-log-start"},
            {"firstOffset": 43, "endOffset": 45, "cause": "filtered"},
        ])
    );
    let without = parsed(&done(folder.path(), &["inspect", "archive", "-o", "json"]));
    assert_eq!(without["topics"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        without["topics"][0]["snapshots"][0]["partitions"][0]["lineages"][0]["gaps"],
        Value::Null
    );
    let yaml = done(
        folder.path(),
        &["inspect", "archive", "orders", "-o", "yaml"],
    );
    assert!(yaml.contains("nextOffset: 47"), "{yaml}");
}

#[test]
fn what_is_not_there_is_named() {
    let folder = archive();
    for (arguments, code, expected) in [
        (&["inspect", "nowhere"][..], 1, "nowhere/ is not an archive"),
        (
            &["inspect", "archive", "order"],
            1,
            "there is no topic order in the archive, it has orders, plain",
        ),
        (
            &["verify", "archive", "order"],
            1,
            "there is no topic order in the archive",
        ),
        (
            &["cat", "archive", "orders", "--partition", "7"],
            1,
            "there is no partition 7 of orders in the archive, it has 0, 1",
        ),
        (
            &["cat", "archive", "orders", "--snapshot", "v2"],
            1,
            "there is no v2 of orders, there is v1",
        ),
    ] {
        let ran = run(folder.path(), arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert!(ran.err.starts_with("error: "), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(expected), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn cat_prints_a_record_a_line() {
    let folder = archive();
    let records = lines(&done(folder.path(), &["cat", "archive", "orders"]));
    let place = |record: &Value| (record["partition"].as_i64(), record["offset"].as_i64());
    let places: Vec<_> = records.iter().map(place).collect();
    let expected = [(0, 40), (0, 41), (0, 42), (0, 45), (0, 46), (1, 0)];
    assert_eq!(
        places,
        expected.map(|(partition, offset)| (Some(partition), Some(offset)))
    );
    assert_eq!(records[1]["key"], Value::Null);
    assert_eq!(records[1]["value"], Value::Null);
    assert_eq!(records[3]["key"], "");
    assert_eq!(records[3]["timestampType"], "logAppendTime");
    assert_eq!(records[4]["value"], "grüße");
    assert_eq!(records[4]["timestamp"], NEW_YEAR + 1000);
}

#[test]
fn the_record_of_the_guide_is_a_record() {
    let folder = archive();
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/records.md");
    let guide = fs::read_to_string(guide).expect("the guide is there");
    let example = guide
        .lines()
        .find(|line| line.starts_with("{\"topic\""))
        .expect("it has an example");
    let printed = done(
        folder.path(),
        &[
            "cat",
            "archive",
            "orders",
            "--partition",
            "0",
            "--offset",
            "42",
        ],
    );
    assert_eq!(printed, format!("{example}\n"));
}

#[test]
fn cat_keeps_to_ranges_and_limits() {
    let folder = archive();
    let offsets = |arguments: &[&str]| -> Vec<i64> {
        let arguments = [&["cat", "archive", "orders", "--partition", "0"], arguments].concat();
        let records = lines(&done(folder.path(), &arguments));
        records
            .iter()
            .filter_map(|record| record["offset"].as_i64())
            .collect()
    };
    assert_eq!(offsets(&["--offset", "41..46"]), [41, 42, 45]);
    assert_eq!(offsets(&["--offset", "..41"]), [40]);
    assert_eq!(offsets(&["--offset", "46.."]), [46]);
    assert_eq!(offsets(&["--offset", "43..45"]), [0_i64; 0]);
    assert_eq!(offsets(&["-n", "4"]), [40, 41, 42, 45]);
    assert_eq!(offsets(&["-n", "0"]), [0_i64; 0]);
}

#[test]
fn cat_raw_is_the_log() {
    let folder = archive();
    let ran = common::armory()
        .current_dir(folder.path())
        .args(["cat", "archive", "orders", "--partition", "0", "-o", "raw"])
        .output()
        .expect("the command can be run");
    let segments = files(&folder.path().join("archive/topics/orders"), ".log");
    let stored: Vec<u8> = segments
        .iter()
        .flat_map(|file| fs::read(file).expect("readable"))
        .collect();
    assert_eq!(segments.len(), 2);
    assert!(
        ran.stdout == stored,
        "{} and {} bytes",
        ran.stdout.len(),
        stored.len()
    );
}

#[test]
fn verify_finds_nothing_in_a_sound_archive() {
    let folder = archive();
    let text = done(folder.path(), &["verify", "archive"]);
    assert!(
        text.starts_with("sound: 3 partitions, 4 manifests"),
        "{text}"
    );
    let text = done(folder.path(), &["verify", "archive", "--deep"]);
    assert!(text.contains("8 records"), "{text}");
    let report = parsed(&done(
        folder.path(),
        &["verify", "archive", "orders", "--deep", "-o", "json"],
    ));
    assert_eq!(report["sound"], true);
    assert_eq!(report["checked"]["records"], 6);
    assert_eq!(report["findings"], json!([]));
}

#[test]
fn verify_names_a_flipped_bit() {
    let folder = archive();
    let segment = files(&folder.path().join("archive/topics/orders"), ".log").remove(0);
    let mut bytes = fs::read(&segment).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&segment, bytes).expect("writable");
    assert_eq!(
        run(folder.path(), &["verify", "archive"]).code,
        0,
        "the size is right"
    );
    let ran = run(folder.path(), &["verify", "archive", "--deep"]);
    assert_eq!(ran.code, 3, "{}", ran.out);
    let name = segment
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert!(ran.out.contains(&name), "{}", ran.out);
    assert!(ran.out.contains("damage: "), "{}", ran.out);
    let ran = run(
        folder.path(),
        &["verify", "archive", "--deep", "-o", "json"],
    );
    assert_eq!(ran.code, 3);
    let report = parsed(&ran.out);
    assert_eq!(report["sound"], false);
    assert_eq!(report["findings"][0]["offset"], 40, "{report}");
    let ran = run(folder.path(), &["cat", "archive", "orders"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let sound = run(folder.path(), &["verify", "archive", "plain", "--deep"]);
    assert_eq!(sound.code, 0, "another topic is sound: {}", sound.out);
}

#[test]
fn verify_names_a_missing_segment() {
    let folder = archive();
    let segment = files(&folder.path().join("archive/topics/orders"), ".log").remove(1);
    fs::remove_file(&segment).expect("it can be removed");
    let ran = run(folder.path(), &["verify", "archive", "-o", "json"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert_eq!(parsed(&ran.out)["findings"][0]["kind"], "missing-segment");
}

#[test]
fn nobody_reads_the_output() {
    let folder = archive();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_armory"))
        .current_dir(folder.path())
        .args(["cat", "archive", "orders"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the command can be run");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
