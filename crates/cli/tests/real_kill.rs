//! Processes that are killed at random points and started again: no hole, no duplicate, on either side.
//!
//! Every test prints its seed; `ARMORY_SEED=…` plays the same delays again.
#![cfg(feature = "real")]

#[path = "../../plugins/tests/support/mod.rs"]
mod guests;
mod support;

use std::time::{Duration, Instant};

use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, KafkaOptions, unique};
use guests::{ACCEPT, GuestText};
use support::{Background, Dice, Ran, Store, armory, backup_once, comes_back, run, topic};

const KILLS: usize = 20;

/// Starts a run until it was killed as often as it shall be, or comes to its end by itself. How often it was killed.
fn kill_until_it_ends(
    dice: &mut Dice,
    longest: u64,
    most: usize,
    mut start: impl FnMut() -> Background,
) -> usize {
    for kills in 0..most {
        let mut running = start();
        if let Some(code) = running.ended_within(Duration::from_millis(dice.up_to(longest))) {
            // What was done before it could be killed must have been done well.
            assert_eq!(code, Some(0), "{}", running.log());
            return kills;
        }
        running.kill();
    }
    most
}

fn backup_survives(store: &Store, test: &str) {
    let kafka = Kafka::shared();
    let mut dice = Dice::new(test);
    let topic = topic(kafka, 12);
    let url = store.url();
    let args = [
        "backup",
        "--bootstrap-server",
        kafka.bootstrap(),
        "--topic",
        &topic,
        "--storage",
        &url,
    ];
    // A continuous backup, so that every run lasts until it is killed; small segments, so that commits are hit, too.
    let kills = kill_until_it_ends(&mut dice, 1500, KILLS, || {
        let mut command = armory(store, &args);
        command.args(["--segment-size", "300KiB"]);
        Background::start(command)
    });
    assert_eq!(kills, KILLS);
    backup_once(kafka, store, &topic, &[]).succeeded();
    comes_back(kafka, store, &topic);
}

#[test]
fn a_killed_backup_to_a_folder_goes_on() {
    backup_survives(&Store::folder(), "backup to a folder");
}

#[test]
fn a_killed_backup_to_s3_goes_on() {
    backup_survives(&Store::s3(), "backup to S3");
}

fn restore_survives(kafka: &Kafka, more: &[&str], test: &str) {
    let mut dice = Dice::new(test);
    let store = Store::folder();
    let topic = topic(kafka, 40);
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let url = store.url();
    let into = |target: &str| {
        let mapping = format!("{topic}={target}");
        let mut command = armory(&store, &["restore", "--storage", &url]);
        command.args(["--bootstrap-server", kafka.bootstrap(), "--topic", &mapping]);
        command.args(["--create-topics"]).args(more);
        command
    };
    // How long it takes undisturbed, so that it can be killed anywhere.
    let started = Instant::now();
    Ran::from(into(&unique("restored")).output().expect("it runs")).succeeded();
    let longest = u64::try_from(started.elapsed().as_millis()).expect("it is short");

    let (mut kills, mut targets) = (0, 0);
    while kills < KILLS {
        let target = unique("restored");
        kills += kill_until_it_ends(&mut dice, longest, KILLS, || {
            Background::start(into(&target))
        });
        Ran::from(into(&target).output().expect("it runs")).succeeded();
        kafka
            .compare(&topic, &target)
            .expect("no hole, no duplicate");
        let again = Ran::from(into(&target).output().expect("it runs")).succeeded();
        assert!(
            again.stdout.contains("restored before"),
            "a finished restore writes nothing: {again:?}"
        );
        kafka.compare(&topic, &target).expect("still no duplicate");
        targets += 1;
        assert!(targets < 10 * KILLS, "it is killed now and then");
    }
    println!("{test}: killed {kills} times on the way into {targets} targets");
}

#[test]
fn a_killed_restore_goes_on() {
    restore_survives(Kafka::shared(), &[], "restore");
}

#[test]
fn a_killed_restore_with_a_plugin_goes_on() {
    let plugin =
        armory_testkit::guests::build_rust("identity-restore").expect("the plugin is built");
    let plugin = plugin.display().to_string();
    restore_survives(
        Kafka::shared(),
        &["--plugin", &plugin],
        "restore with a plugin",
    );
}

/// A plugin whose answers depend on how often it was called, and so on which run asks. What a killed restore had sent cannot be made
/// again: either it did not have to be, and everything is there once, or the restore says why it cannot go on.
#[test]
fn a_killed_restore_with_a_plugin_that_changes_its_mind_stays_right_or_says_why() {
    let kafka = Kafka::shared();
    let test = "restore with a moody plugin";
    let mut dice = Dice::new(test);
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("moody.wasm");
    let moody = GuestText::restore()
        .items("(global $calls (mut i32) (i32.const 0))")
        .every(&format!(
            "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
             (if (i32.eqz (i32.rem_u (global.get $calls) (i32.const 7)))
               (then (drop {ACCEPT}) (i32.store8 (i32.const 2048) (i32.const 1)) (return (i32.const 2048))))"
        ));
    std::fs::write(&plugin, moody.component()).expect("written");
    let (store, topic) = (Store::folder(), unique("moody"));
    kafka.create_topic(&topic, 1, &[]).expect("a topic");
    // So much that it is read in many chunks: the first begins with the first call in any run.
    let padding = "x".repeat(500);
    for thousand in 0..20 {
        let records: Vec<Record> = (0..1000)
            .map(|number| Record::new(None, Some(&format!("{thousand} {number} {padding}"))))
            .collect();
        kafka
            .produce(&topic, Codec::None, &records)
            .expect("records");
    }
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let url = store.url();
    let into = |target: &str| {
        let mapping = format!("{topic}={target}");
        let mut command = armory(&store, &["restore", "--storage", &url]);
        command.args(["--bootstrap-server", kafka.bootstrap(), "--topic", &mapping]);
        command.args(["--create-topics", "--plugin"]).arg(&plugin);
        command
    };
    let started = Instant::now();
    Ran::from(into(&unique("restored")).output().expect("it runs")).succeeded();
    let longest = u64::try_from(started.elapsed().as_millis()).expect("it is short");

    let (mut refused, mut targets) = (0, 0);
    while refused == 0 || targets < 5 {
        let target = unique("restored");
        let mut running = Background::start(into(&target));
        if running
            .ended_within(Duration::from_millis(dice.up_to(longest)))
            .is_none()
        {
            running.kill();
        }
        let end = || {
            kafka
                .topic(&target)
                .map_or(0, |topic| topic.partitions[0].end)
        };
        let ran = Ran::from(into(&target).output().expect("it runs"));
        if ran.code != Some(0) {
            ran.failed_with(
                4,
                &[
                    "the plugins made other records of them",
                    "restore into a new topic",
                ],
            );
            let before = end();
            let again = Ran::from(into(&target).output().expect("it runs"));
            again.failed_with(4, &["the plugins made other records of them"]);
            assert_eq!(end(), before, "a refusal writes nothing");
            refused += 1;
        }
        // Whatever is there is there once, in its order.
        let other = Store::folder();
        backup_once(kafka, &other, &target, &[]).succeeded();
        let text = run(&other, &["cat", &other.url(), &target])
            .succeeded()
            .stdout;
        let values: Vec<(u32, u32)> = text
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let value = line["value"].as_str().expect("text").to_owned();
                let mut words = value.split(' ').map(|word| word.parse().expect("a number"));
                (words.next().expect("one"), words.next().expect("another"))
            })
            .collect();
        assert!(values.is_sorted_by(|a, b| a < b), "twice, or out of order");
        targets += 1;
        assert!(targets < 40, "it is killed in the middle now and then");
    }
    println!("{test}: refused {refused} of {targets} times");
}

/// The broker forgets producers whose records are older than a day when it starts again; a resumed restore must not depend on its memory.
#[test]
fn a_restore_goes_on_after_the_broker_forgot_its_producer() {
    let mut kafka = Kafka::start(KafkaOptions::default()).expect("a broker");
    let store = Store::folder();
    // The data set begins in 2020, so every producer is forgotten.
    let topic = topic(&kafka, 60);
    backup_once(&kafka, &store, &topic, &[]).succeeded();
    let target = unique("restored");
    kafka
        .create_topic(
            &target,
            4,
            &[("max.message.bytes", "4000000"), ("retention.ms", "-1")],
        )
        .expect("a topic");
    let (url, mapping) = (store.url(), format!("{topic}={target}"));
    let bootstrap = kafka.bootstrap().to_owned();
    let args = [
        "restore",
        "--storage",
        &url,
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        &mapping,
    ];
    let mut dice = Dice::new("restore over broker restarts");
    let mut in_the_middle = 0;
    for _ in 0..6 {
        let mut running = Background::start(armory(&store, &args));
        let ended = running.ended_within(Duration::from_millis(300 + dice.up_to(700)));
        running.kill();
        if ended.is_some() {
            break;
        }
        kafka.kill().expect("the broker is killed");
        kafka.start_again().expect("the broker starts again");
        let end: i64 = kafka
            .topic(&target)
            .expect("the target")
            .partitions
            .iter()
            .map(|partition| partition.end)
            .sum();
        in_the_middle += usize::from(end > 0);
    }
    println!("{in_the_middle} restarts in the middle");
    run(&store, &args).succeeded();
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
}

/// The broker goes away and comes back while the restore runs; the restore waits for it and goes on by itself.
#[test]
fn a_restore_lives_through_a_restart_of_the_broker() {
    let mut kafka = Kafka::start(KafkaOptions::default()).expect("a broker");
    let store = Store::folder();
    let topic = topic(&kafka, 60);
    backup_once(&kafka, &store, &topic, &[]).succeeded();
    let target = unique("restored");
    kafka
        .create_topic(
            &target,
            4,
            &[("max.message.bytes", "4000000"), ("retention.ms", "-1")],
        )
        .expect("a topic");
    let (url, mapping) = (store.url(), format!("{topic}={target}"));
    let bootstrap = kafka.bootstrap().to_owned();
    let args = [
        "restore",
        "--storage",
        &url,
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        &mapping,
    ];
    let mut running = Background::start(armory(&store, &args));
    support::eventually("something lands", || {
        kafka
            .topic(&target)
            .is_ok_and(|topic| topic.partitions.iter().any(|partition| partition.end > 0))
    });
    kafka.kill().expect("the broker is killed");
    kafka.start_again().expect("the broker starts again");
    assert_eq!(
        running.ended_within(Duration::from_secs(120)),
        Some(Some(0)),
        "{}",
        running.log()
    );
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
}
