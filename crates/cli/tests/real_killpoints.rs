//! Backups and restores that are killed between any two of their steps: see `armory_failpoints::Point`.
#![cfg(feature = "real")]

#[path = "../../plugins/tests/support/mod.rs"]
mod guests;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use armory_failpoints::{CLOCK, Point, VARIABLE};
use armory_testkit::{Dataset, Kafka, unique};
use support::{Background, Dice, Ran, Store, armory, backup_once, comes_back, restore, topic};

const BACKUP: [Point; 10] = [
    Point::GenerationClaimed,
    Point::AnswerReceived,
    Point::TemporaryWritten,
    Point::SidecarWritten,
    Point::BatchesSynced,
    Point::SegmentLinked,
    Point::SegmentStored,
    Point::ManifestCreated,
    Point::OpenFileRemoved,
    Point::HeadDue,
];

/// Those of them that an object store has.
const BACKUP_TO_S3: [Point; 5] = [
    Point::GenerationClaimed,
    Point::AnswerReceived,
    Point::SegmentStored,
    Point::ManifestCreated,
    Point::HeadDue,
];

/// Runs a command that is to die at a point when it comes there for the given time.
#[track_caller]
fn dies_at(
    point: Point,
    times: u64,
    mut command: std::process::Command,
    mut while_it_lives: impl FnMut(),
) {
    command.env(VARIABLE, format!("{}:{times}", point.name()));
    let mut running = Background::start(command);
    let mut ended = None;
    for _ in 0..24 {
        ended = running.ended_within(Duration::from_secs(5));
        if ended.is_some() {
            break;
        }
        while_it_lives();
    }
    // An abort is a signal, so there is no exit code.
    assert_eq!(
        ended,
        Some(None),
        "{}:{times} was not reached\n{}",
        point.name(),
        running.log()
    );
}

fn backup_survives(store: &Store, points: &[Point]) {
    let kafka = Kafka::shared();
    let mut dice = Dice::new("kill points of a backup");
    let topic = topic(kafka, 12);
    let url = store.url();
    for point in points {
        let mut command = armory(store, &["backup", "--storage", &url, "--topic", &topic]);
        command.args(["--bootstrap-server", kafka.bootstrap()]);
        command.args(["--segment-size", "100KiB"]);
        let times = match point {
            Point::GenerationClaimed => 1,
            Point::HeadDue => {
                command.arg("--once");
                1
            }
            _ => 1 + dice.up_to(4),
        };
        // A backup comes to its points as records come, by their number and by the time.
        let more = || {
            kafka
                .write_dataset(&Dataset::new(&topic).seed(times))
                .expect("more records");
        };
        dies_at(*point, times, command, more);
        // Whatever was torn apart, there is always something left to do.
        more();
    }
    backup_once(kafka, store, &topic, &[]).succeeded();
    comes_back(kafka, store, &topic);
}

#[test]
fn a_backup_to_a_folder_is_killed_at_every_point() {
    backup_survives(&Store::folder(), &BACKUP);
}

#[test]
fn a_backup_to_s3_is_killed_at_every_point() {
    backup_survives(&Store::s3(), &BACKUP_TO_S3);
}

fn restore_survives(store: &Store, more: &[&str], points: &[Point]) {
    let kafka = Kafka::shared();
    let mut dice = Dice::new("kill points of a restore");
    let topic = topic(kafka, 8);
    backup_once(kafka, store, &topic, &[]).succeeded();
    let url = store.url();
    for point in points {
        let target = unique("restored");
        let mapping = format!("{topic}={target}");
        let into = || {
            let mut command = armory(store, &["restore", "--storage", &url]);
            command.args(["--bootstrap-server", kafka.bootstrap(), "--topic", &mapping]);
            command.args(["--create-topics"]).args(more);
            command
        };
        let times = match point {
            Point::BatchesSent | Point::BatchesAcknowledged => 1 + dice.up_to(6),
            _ => 1,
        };
        dies_at(*point, times, into(), || ());
        Ran::from(into().output().expect("it runs")).succeeded();
        kafka
            .compare(&topic, &target)
            .unwrap_or_else(|error| panic!("killed at {}:{times}: {error}", point.name()));
        let again = Ran::from(into().output().expect("it runs")).succeeded();
        assert!(again.stdout.contains("restored before"), "{again:?}");
    }
}

const RESTORE: [Point; 10] = [
    Point::TargetsReady,
    Point::ProducersGranted,
    Point::RestoreBegun,
    Point::LogsRead,
    Point::BatchesSent,
    Point::BatchesAcknowledged,
    Point::RecordsLanded,
    Point::ConfigsGiven,
    Point::DoneDue,
    Point::DoneEntered,
];

#[test]
fn a_restore_is_killed_at_every_point() {
    restore_survives(&Store::folder(), &[], &RESTORE);
}

#[test]
fn a_restore_from_s3_is_killed_at_every_point() {
    restore_survives(&Store::s3(), &[], &RESTORE);
}

#[test]
fn a_restore_with_a_plugin_is_killed_at_every_point() {
    let plugin =
        armory_testkit::guests::build_rust("identity-restore").expect("the plugin is built");
    let plugin = plugin.display().to_string();
    let points = [
        Point::RestoreBegun,
        Point::IntentsEntered,
        Point::BatchesSent,
        Point::BatchesAcknowledged,
        Point::RecordsLanded,
    ];
    restore_survives(&Store::folder(), &["--plugin", &plugin], &points);
}

/// Runs a command that is to panic at a point, and to end with an error for that reason.
#[track_caller]
fn ends_with_a_panic_at(point: Point, mut command: std::process::Command) {
    let folder = tempfile::tempdir().expect("a folder");
    let last_word = folder.path().join("last-word");
    command
        .env(VARIABLE, format!("{}:panic", point.name()))
        .env("ARMORY_TERMINATION_LOG", &last_word);
    let mut running = Background::start(command);
    let ended = running.ended_within(Duration::from_secs(60));
    let log = running.log();
    assert!(
        log.contains("was armed to panic"),
        "{}: {log}",
        point.name()
    );
    // 101 is what Rust ends with when the first thread panics.
    assert!(
        matches!(ended, Some(Some(1 | 101))),
        "{}: {ended:?} {log}",
        point.name()
    );
    let told = std::fs::read_to_string(last_word).expect("a last word");
    assert!(told.contains("panic"), "{}: {told}", point.name());
}

/// A mistake in the program that shows at any of its steps ends a backup with an error, not with silence or a run that hangs, and costs nothing.
#[test]
fn a_backup_that_panics_is_told_and_goes_on() {
    let kafka = Kafka::shared();
    for (store, points) in [(Store::folder(), &BACKUP[..]), (Store::s3(), &BACKUP_TO_S3)] {
        let topic = topic(kafka, 4);
        for &point in points {
            let url = store.url();
            let mut command = armory(&store, &["backup", "--storage", &url, "--topic", &topic]);
            command.args(["--bootstrap-server", kafka.bootstrap()]);
            command.args(["--segment-size", "100KiB"]);
            if point == Point::HeadDue {
                command.arg("--once");
            }
            ends_with_a_panic_at(point, command);
            kafka
                .write_dataset(&Dataset::new(&topic).seed(point as u64))
                .expect("more records");
        }
        backup_once(kafka, &store, &topic, &[]).succeeded();
        comes_back(kafka, &store, &topic);
    }
}

/// The same of a restore.
#[test]
fn a_restore_that_panics_is_told_and_goes_on() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = topic(kafka, 4);
    backup_once(kafka, &store, &topic, &[]).succeeded();
    for point in RESTORE {
        let target = unique("restored");
        let command = support::restore_command(kafka, &store, &topic, &target, &[]);
        ends_with_a_panic_at(point, command);
        restore(kafka, &store, &topic, &target, &[]).succeeded();
        kafka
            .compare(&topic, &target)
            .unwrap_or_else(|error| panic!("panicked at {}: {error}", point.name()));
    }
}

/// Retention of the target takes records while the restore that wrote them is down: what landed is told by where the log ends.
#[test]
fn a_target_that_retention_emptied_is_filled_up_to_the_end() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = topic(kafka, 8);
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let (target, whole) = (unique("restored"), unique("whole"));
    restore(kafka, &store, &topic, &whole, &[]).succeeded();
    let ends = |topic: &str| -> Vec<i64> {
        let mut ends = vec![0; 4];
        for record in kafka.dump(topic).expect("its records") {
            let end = &mut ends[record.partition as usize];
            *end = record.offset + 1;
        }
        ends
    };
    let all = ends(&whole);
    let command = support::restore_command(kafka, &store, &topic, &target, &[]);
    dies_at(Point::BatchesAcknowledged, 4, command, || ());
    let landed = ends(&target);
    assert!(landed.iter().any(|end| *end > 0), "{landed:?}");
    for (partition, end) in landed.iter().enumerate() {
        kafka
            .delete_records(&target, partition as i32, *end)
            .expect("they are deleted");
    }
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    let records = kafka.dump(&target).expect("its records");
    assert!(
        records
            .iter()
            .all(|record| record.offset >= landed[record.partition as usize])
    );
    let left: u64 = (0..4)
        .map(|index| (all[index] - landed[index]) as u64)
        .sum();
    assert_eq!(records.len() as u64, left);
    let rest = |topic: &str| {
        let mut records = kafka.dump(topic).expect("its records");
        records.retain(|record| record.offset >= landed[record.partition as usize]);
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    };
    assert_eq!(rest(&target), rest(&whole));
}

/// Every seventh offset is a record that the plugin fails on.
const PICKY: &str =
    "(if (i64.eqz (i64.rem_u (local.get 8) (i64.const 7))) (then (return (call $error))))";

/// Documents that put aside what the plugin in this folder fails on.
fn picky_documents(kafka: &Kafka, folder: &Path, kind: &str, spec: &str) -> String {
    let world = match kind {
        "Backup" => guests::GuestText::backup(),
        _ => guests::GuestText::restore(),
    };
    std::fs::write(folder.join("picky.wasm"), world.every(PICKY).component()).expect("written");
    let file = folder.join("documents.yaml");
    let plugins = "plugins: [{wasiPluginRef: {witVersion: '0.1', claimName: here, path: picky.wasm}, errorPolicy: {error: deadLetter}}]";
    let spec = spec.replace("PLUGINS", plugins);
    let text = format!(
        "apiVersion: kannika.io/v1alpha\nkind: {kind}\nmetadata: {{name: b}}\nspec: {spec}\n---\napiVersion: kannika.io/v1alpha\nkind: \
         EventHub\nmetadata: {{name: hub}}\nspec: {{kafka: {{properties: {{bootstrap.servers: \"{}\"}}}}}}\n---\napiVersion: \
         kannika.io/v1alpha\nkind: Storage\nmetadata: {{name: disk}}\nspec: {{volume: {{capacity: 1Gi}}}}\n",
        kafka.bootstrap()
    );
    std::fs::write(&file, text).expect("written");
    file.display().to_string()
}

/// The records that `armory cat` prints, each with how often it is there; without what a restore changes.
fn printed(store: &Store, args: &[&str]) -> BTreeMap<String, usize> {
    let ran = support::run(store, &[&["cat"][..], args].concat()).succeeded();
    let mut found = BTreeMap::new();
    for line in ran.stdout.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let fields = ["partition", "timestamp", "key", "value", "headers"];
        let text = serde_json::to_string(&fields.map(|name| &line[name])).expect("JSON");
        *found.entry(text).or_default() += 1;
    }
    found
}

/// Both together are what a backup without a plugin has.
#[track_caller]
fn assert_each_is_there_once(
    kafka: &Kafka,
    topic: &str,
    kept: BTreeMap<String, usize>,
    put_aside: BTreeMap<String, usize>,
) {
    let plain = Store::folder();
    backup_once(kafka, &plain, topic, &[]).succeeded();
    let mut all = kept;
    assert!(!put_aside.is_empty());
    for (record, times) in put_aside {
        *all.entry(record).or_default() += times;
    }
    assert_eq!(all, printed(&plain, &[&plain.url(), topic]));
}

#[test]
fn a_backup_that_puts_records_aside_is_killed_at_every_point() {
    let kafka = Kafka::shared();
    let mut dice = Dice::new("kill points of a backup with dead letters");
    let (topic, store) = (topic(kafka, 2), Store::folder());
    let folder = tempfile::tempdir().expect("a folder");
    let spec = format!(
        "{{source: hub, sink: disk, segmentRolloverTriggers: {{size: 50Ki}}, streams: [{{topic: {topic}}}], PLUGINS}}"
    );
    let documents = picky_documents(kafka, folder.path(), "Backup", &spec);
    let claims = [
        format!("disk={}", store.files().display()),
        format!("here={}", folder.path().display()),
    ];
    let backup = |once: bool| {
        let mut command = armory(&store, &["backup", "-f", &documents]);
        command.args(["--claim", &claims[0], "--claim", &claims[1]]);
        command.args(once.then_some("--once"));
        command
    };
    for point in [
        Point::DeadLettersStored,
        Point::SidecarWritten,
        Point::BatchesSynced,
        Point::SegmentStored,
        Point::ManifestCreated,
        Point::OpenFileRemoved,
    ] {
        let times = 1 + dice.up_to(4);
        let more = || {
            let more = Dataset::new(&topic).seed(times);
            kafka.write_dataset(&more).expect("more records");
        };
        dies_at(point, times, backup(false), more);
        more();
    }
    Ran::from(backup(true).output().expect("it runs")).succeeded();
    let url = store.url();
    support::run(&store, &["verify", &url, "--deep"]).succeeded();
    let put_aside = printed(&store, &[&url, &topic, "--dead-letters"]);
    assert_each_is_there_once(kafka, &topic, printed(&store, &[&url, &topic]), put_aside);
}

#[test]
fn a_restore_that_puts_records_aside_is_killed_at_every_point() {
    let kafka = Kafka::shared();
    let (topic, store) = (topic(kafka, 2), Store::folder());
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let folder = tempfile::tempdir().expect("a folder");
    for point in [
        Point::DeadLettersStored,
        Point::IntentsEntered,
        Point::BatchesSent,
    ] {
        let target = unique("restored");
        let spec = format!(
            "{{source: disk, sink: hub, config: {{topics: [{{source: {topic}, target: {target}}}], PLUGINS}}}}"
        );
        let documents = picky_documents(kafka, folder.path(), "Restore", &spec);
        let restore = || {
            let mut command = armory(&store, &["restore", "-f", &documents, "-o", "json"]);
            let disk = format!("disk={}", store.files().display());
            let here = format!("here={}", folder.path().display());
            command.args(["--claim", &disk, "--claim", &here]);
            command
        };
        dies_at(point, 2, restore(), || ());
        let ran = Ran::from(restore().output().expect("it runs")).succeeded();
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let letters = format!(
            "--dead-letters={}",
            report[0]["id"].as_str().expect("an id")
        );
        let landed = Store::folder();
        backup_once(kafka, &landed, &target, &[]).succeeded();
        let kept = printed(&landed, &[&landed.url(), &target]);
        let put_aside = printed(&store, &[&store.url(), &topic, &letters]);
        assert_each_is_there_once(kafka, &topic, kept, put_aside);
    }
}

/// Every point is in one of the tests here, so that none is forgotten when one is added.
#[test]
fn every_point_is_tested() {
    for point in Point::ALL {
        let tested = BACKUP.contains(point)
            || RESTORE.contains(point)
            || [Point::IntentsEntered, Point::DeadLettersStored].contains(point);
        assert!(tested, "{point:?}");
    }
}

/// A segment that was opened by a clock that ran ahead is closed by age all the same.
#[test]
fn a_clock_that_is_set_back_does_not_keep_a_segment_open() {
    const YEAR_MS: &str = "31536000000";
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = topic(kafka, 1);
    let url = store.url();
    let backup = || {
        let mut command = armory(&store, &["backup", "--storage", &url, "--topic", &topic]);
        command.args(["--bootstrap-server", kafka.bootstrap()]);
        command
    };
    let mut ahead = backup();
    ahead.env(CLOCK, YEAR_MS);
    let mut running = Background::start(ahead);
    support::eventually("open segments are durable", || {
        support::files_ending(&store.files(), ".mark").len() == 4
    });
    running.kill();
    let manifests = || {
        let mut found = support::files_ending(&store.files().join("manifests"), ".json");
        found.retain(|path| !path.ends_with("fork.json"));
        found.len()
    };
    assert_eq!(manifests(), 0, "nothing is closed by age yet");
    let mut running = Background::start(backup());
    support::eventually("segments from the future are closed", || manifests() >= 4);
    assert_eq!(running.stop(), Some(0), "{}", running.log());
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let target = unique("restored");
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    kafka.compare(&topic, &target).expect("the same records");
}
