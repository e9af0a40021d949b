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
    let guide = fs::read_to_string("../../docs/guide/records.md").expect("the guide is there");
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

#[test]
fn prune_says_what_would_go_and_does_it_when_told() {
    let folder = archive();
    let before = files(folder.path(), "");
    // Every record is older: but the last ones of a topic are spared.
    let plan = done(folder.path(), &["prune", "archive", "--older-than", "1d"]);
    for expected in ["stays", "--force", "nothing would go"] {
        assert!(plan.contains(expected), "{expected}: {plan}");
    }
    let forced = ["prune", "archive", "plain", "--older-than", "1d", "--force"];
    let plan = done(folder.path(), &forced);
    assert!(
        plan.contains("1 file (") && plan.contains("--yes does it"),
        "{plan}"
    );
    assert_eq!(
        files(folder.path(), ""),
        before,
        "a dry run changes nothing"
    );

    let mut apply = forced.to_vec();
    apply.extend(["--yes", "-o", "json"]);
    let view = parsed(&done(folder.path(), &apply));
    assert_eq!(view["applied"], true);
    assert_eq!(view["goes"][0]["why"], "old");
    assert_eq!(view["goes"][0]["topic"], "plain");
    assert_eq!(view["done"]["markedRecords"], 2);
    assert_eq!(view["done"]["deletedFiles"], 0, "the grace is not over");
    let text = done(
        folder.path(),
        &["prune", "archive", "--grace", "0s", "--yes"],
    );
    assert!(
        text.contains("1 file (") && text.contains("deleted"),
        "{text}"
    );
    let text = done(folder.path(), &["prune", "archive", "--yes"]);
    assert!(text.contains("0 files"), "{text}");

    done(folder.path(), &["verify", "archive", "--deep"]);
    let shown = done(folder.path(), &["inspect", "archive", "plain"]);
    assert!(shown.contains("partition 0 lineage 0: 2 pruned"), "{shown}");
    assert_eq!(done(folder.path(), &["cat", "archive", "plain"]), "");
    let records = done(folder.path(), &["cat", "archive", "orders"]);
    assert_eq!(records.lines().count(), 6, "the others are untouched");
}

#[test]
fn prune_refuses_what_it_cannot_mean() {
    let folder = archive();
    for (arguments, expected) in [
        (
            &["prune", "archive", "nothing"][..],
            "the archive has no topic nothing",
        ),
        (&["prune", "archive", "--force"], "TOPIC"),
        (&["prune", "archive", "*", "--force"], "without patterns"),
        (
            &[
                "prune",
                "archive",
                "--leftovers",
                "--leftovers-older-than",
                "1m",
            ],
            "at least 1h",
        ),
        (
            &["prune", "archive", "--keep-incarnations", "0"],
            "0 is not in 1..",
        ),
    ] {
        let ran = run(folder.path(), arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(expected), "{arguments:?}: {}", ran.err);
    }
}

/// Puts an archive's file out of order, looks, and puts it right again.
fn with_damage(path: &std::path::Path, content: Option<&[u8]>, look: impl FnOnce()) {
    let sound = fs::read(path).expect("it is there");
    fs::remove_file(path).expect("it can be removed");
    if let Some(content) = content {
        fs::write(path, content).expect("it can be written");
    }
    look();
    fs::write(path, sound).expect("it can be written");
}

/// A document that needs something that no version knows, with the right checksum.
fn needing_more(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(text.to_vec()).expect("text");
    let body = text[..text.len() - 80].replacen("\"requires\":[]", "\"requires\":[\"more\"]", 1);
    assert!(body.contains("more"));
    let hash = blake3::hash(body.as_bytes()).to_hex();
    format!("{body},\"checksum\":\"{hash}\"}}\n").into_bytes()
}

#[test]
fn inspect_and_cat_show_what_can_be_read_of_a_damaged_archive() {
    let folder = archive();
    let here = folder.path();
    let root = here.join("archive");
    let one = |ending: &str, part: &str| {
        let mut found = files(&root, ending);
        found.retain(|path| path.to_string_lossy().contains(part));
        assert!(!found.is_empty(), "{part}{ending}");
        found.remove(0)
    };
    let places = [
        (root.join("armory.json"), 6),
        (one("genesis.json", "topics/orders"), 6),
        (one("v1.json", "topics/orders"), 6),
        (one(".json", "manifests/orders"), 3),
        (one(".log", "topics/orders"), 3),
    ];
    for (path, most) in &places {
        let sound = fs::read(path).expect("it is there");
        let name = path
            .strip_prefix(&root)
            .expect("it lies there")
            .display()
            .to_string();
        let mut flipped = sound.clone();
        let at = sound.len() / 2;
        flipped[at] ^= 1;
        let mut kinds: Vec<Option<Vec<u8>>> = vec![Some(flipped), Some(sound[..at].to_vec()), None];
        if name.ends_with(".json") && name != "armory.json" && !name.ends_with("v1.json") {
            kinds.push(Some(needing_more(&sound)));
        }
        for (number, content) in kinds.into_iter().enumerate() {
            // A claim that is not there is missed by nobody but the next writer of a new incarnation.
            let unseen = name.ends_with("v1.json") && content.is_none();
            // A flipped bit in a segment shows to who reads it.
            let unread = name.ends_with(".log") && number == 0;
            with_damage(path, content.as_deref(), || {
                let case = format!("{name} {number}");
                let ran = run(here, &["inspect", "archive"]);
                let code = if unseen || unread { 0 } else { 3 };
                assert_eq!(ran.code, code, "{case}: {}{}", ran.out, ran.err);
                assert!(
                    ran.out.contains("plain") && ran.out.contains("orders"),
                    "{case}: {}",
                    ran.out
                );
                if code == 3 {
                    assert!(ran.out.contains(&name), "{case}: {}", ran.out);
                }
                let detail = run(here, &["inspect", "archive", "orders", "-o", "json"]);
                assert_eq!(detail.code, code, "{case}: {}", detail.err);
                let damage = parsed(&detail.out)["damage"].as_array().map_or(0, Vec::len);
                assert_eq!(damage > 0, code == 3, "{case}: {}", detail.out);

                let strict = run(here, &["cat", "archive", "orders"]);
                let skipping = run(here, &["cat", "archive", "orders", "--skip-damaged"]);
                let code = if unseen { 0 } else { 3 };
                assert_eq!(
                    (strict.code, skipping.code),
                    (code, code),
                    "{case}: {}",
                    strict.err
                );
                let count = skipping.out.lines().count();
                assert!(count >= *most, "{case}: {count} records: {}", skipping.err);
                if code == 3 {
                    assert!(
                        strict.err.contains("--skip-damaged"),
                        "{case}: {}",
                        strict.err
                    );
                    assert!(strict.err.contains(&name), "{case}: {}", strict.err);
                    assert!(skipping.err.contains(&name), "{case}: {}", skipping.err);
                    assert!(strict.out.lines().count() <= count, "{case}");
                }
                assert_eq!(
                    run(here, &["cat", "archive", "plain"]).code == 0,
                    name != "armory.json",
                    "{case}"
                );
            });
        }
    }
    assert_eq!(
        run(here, &["inspect", "archive"]).code,
        0,
        "everything is right again"
    );
}

#[test]
fn verify_goes_on_where_it_was() {
    let folder = archive();
    let here = folder.path();
    let whole = parsed(&done(here, &["verify", "archive", "--deep", "-o", "json"]));
    let state = [
        "verify",
        "archive",
        "--deep",
        "-o",
        "json",
        "--state",
        "state.json",
    ];
    assert_eq!(parsed(&done(here, &state)), whole);
    // A finished one begins anew, and so sees what was damaged since; one since the last does not read it again.
    let log = files(&here.join("archive"), ".log").remove(0);
    let mut flipped = fs::read(&log).expect("it is there");
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    with_damage(&log, Some(&flipped), || {
        let since = [&state[..], &["--since-last", "--rate", "1GiB"]].concat();
        assert_eq!(parsed(&done(here, &since)), whole);
        let anew = run(here, &state);
        assert_eq!(anew.code, 3, "{}", anew.err);
        // And what was found is found again.
        let again = run(here, &since);
        assert_eq!((again.code, again.out), (3, anew.out));
    });
    // One that was cut off goes on: what it read is not read again.
    let mut kept = parsed(&fs::read_to_string(here.join("state.json")).expect("it is there"));
    let ran = run(here, &state);
    assert_eq!(ran.code, 0, "{}", ran.err);
    kept["finished"] = json!(false);
    fs::write(here.join("state.json"), kept.to_string()).expect("it can be written");
    let resumed = run(here, &state);
    assert_eq!(
        resumed.code, 3,
        "it tells what the first part found: {}",
        resumed.err
    );
    fs::write(here.join("state.json"), "{}").expect("it can be written");
    assert_eq!(run(here, &state).code, 2);
}
/// Everything below a folder, with when it was changed.
fn state(folder: &std::path::Path) -> Vec<(std::path::PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("it can be listed") {
        let path = entry.expect("an entry").path();
        let metadata = fs::metadata(&path).expect("it can be looked at");
        let changed = metadata.modified().expect("a time");
        found.push((path.clone(), metadata.len(), changed));
        if metadata.is_dir() {
            found.extend(state(&path));
        }
    }
    found.sort();
    found
}

/// Reading needs no more than to read: a volume may be mounted read-only.
#[test]
fn a_read_only_folder_is_read() {
    let folder = archive();
    let root = folder.path().join("archive");
    let allow = |writing: bool| {
        for (path, ..) in state(&root).into_iter().chain([(root.clone(), 0, NEVER)]) {
            let mut permissions = fs::metadata(&path).expect("it is there").permissions();
            let mode = std::os::unix::fs::PermissionsExt::mode(&permissions);
            let mode = if writing { mode | 0o200 } else { mode & !0o222 };
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, mode);
            fs::set_permissions(&path, permissions).expect("it is ours");
        }
    };
    let before = state(&root);
    allow(false);
    for arguments in [
        &["inspect", "archive", "orders"][..],
        &["cat", "archive", "orders"],
        &["verify", "archive", "--deep"],
    ] {
        done(folder.path(), arguments);
    }
    allow(true);
    // Who is root may write all the same: nothing has.
    assert_eq!(state(&root), before);
}

const NEVER: std::time::SystemTime = std::time::UNIX_EPOCH;
