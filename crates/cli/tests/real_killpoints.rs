//! Backups and restores that are killed between any two of their steps: see `armory_failpoints::Point`.
#![cfg(feature = "real")]

mod support;

use std::time::Duration;

use armory_failpoints::{CLOCK, Point, VARIABLE};
use armory_testkit::{Dataset, Kafka, unique};
use support::{Background, Dice, Ran, Store, armory, backup_once, comes_back, restore, topic};

const BACKUP: [Point; 9] = [
    Point::GenerationClaimed,
    Point::TemporaryWritten,
    Point::SidecarWritten,
    Point::BatchesSynced,
    Point::SegmentLinked,
    Point::SegmentStored,
    Point::ManifestCreated,
    Point::OpenFileRemoved,
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
    let points = [
        Point::GenerationClaimed,
        Point::SegmentStored,
        Point::ManifestCreated,
        Point::HeadDue,
    ];
    backup_survives(&Store::s3(), &points);
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

/// Every point is in one of the tests here, so that none is forgotten when one is added.
#[test]
fn every_point_is_tested() {
    for point in Point::ALL {
        let tested =
            BACKUP.contains(point) || RESTORE.contains(point) || *point == Point::IntentsEntered;
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
