//! What a restore refuses, and what a verification names.
#![cfg(feature = "real")]

mod support;

use std::path::Path;

use armory_testkit::kafka::{Codec, Dataset, Record};
use armory_testkit::{Kafka, unique};
use support::{Store, backup_once, files_ending, restore, run};

/// An archive of several segments a partition.
fn archive(kafka: &Kafka) -> (Store, String) {
    let store = Store::folder();
    let topic = unique("damaged");
    kafka
        .create_topic(&topic, 1, &[("max.message.bytes", "4000000")])
        .expect("a topic");
    kafka
        .write_dataset(&Dataset::new(&topic).megabytes(3))
        .expect("the data set");
    backup_once(kafka, &store, &topic, &["--segment-size", "100KiB"]).succeeded();
    assert!(
        files_ending(&store.files(), ".log").len() >= 3,
        "several segments are needed"
    );
    (store, topic)
}

/// Damages an archive, and expects that it is named by `verify --deep` and refused by `restore`, with nothing wrong produced.
fn refused(damage: impl Fn(&Path), words: &[&str]) {
    let kafka = Kafka::shared();
    let (store, topic) = archive(kafka);
    damage(&store.files());
    run(&store, &["verify", &store.url(), "--deep"]).failed_with(3, words);
    let target = unique("refused");
    let ran = restore(kafka, &store, &topic, &target, &[]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    // What landed before the damage was met is a true beginning of the topic.
    if let Ok(landed) = kafka.dump(&target) {
        let original = kafka.dump(&topic).expect("the topic");
        for (landed, original) in landed.iter().zip(&original) {
            assert_eq!(
                (&landed.key, &landed.value, &landed.headers),
                (&original.key, &original.value, &original.headers)
            );
        }
    }
}

fn flip(path: &Path, position: usize) {
    let mut bytes = std::fs::read(path).expect("the file");
    let position = position.min(bytes.len() - 1);
    bytes[position] ^= 0x10;
    std::fs::write(path, bytes).expect("it is written");
}

#[test]
fn a_flipped_bit_in_a_record() {
    refused(
        |files| flip(&files_ending(files, ".log")[1], 5000),
        &["segment"],
    );
}

#[test]
fn a_flipped_bit_in_a_batch_header_that_no_checksum_covers() {
    refused(
        |files| flip(&files_ending(files, ".log")[1], 6),
        &["segment"],
    );
}

#[test]
fn a_truncated_segment() {
    refused(
        |files| {
            let path = &files_ending(files, ".log")[1];
            let length = std::fs::metadata(path).expect("the file").len();
            std::fs::File::options()
                .write(true)
                .open(path)
                .and_then(|file| file.set_len(length / 2))
                .expect("it is cut");
        },
        &["segment"],
    );
}

#[test]
fn a_missing_segment_in_the_middle() {
    refused(
        |files| std::fs::remove_file(&files_ending(files, ".log")[1]).expect("it is removed"),
        &["segment"],
    );
}

#[test]
fn a_manifest_that_was_changed() {
    refused(
        |files| {
            let path = &files_ending(&files.join("manifests"), ".json")[1];
            let text = std::fs::read_to_string(path).expect("the file").replacen(
                "\"records\":",
                "\"records\": ",
                1,
            );
            let text = if text.contains("\"records\": 1") {
                text.replacen("\"records\": 1", "\"records\": 2", 1)
            } else {
                text.replacen("\"records\": ", "\"records\": 1", 1)
            };
            std::fs::write(path, text).expect("it is written");
        },
        &["manifest"],
    );
}

#[test]
fn a_missing_manifest_in_the_middle() {
    refused(
        |files| {
            std::fs::remove_file(&files_ending(&files.join("manifests"), ".json")[1])
                .expect("it is removed")
        },
        &["manifest"],
    );
}

/// A chain that ends early cannot be told from a younger one but by the hint: a warning, not damage.
#[test]
fn a_missing_end_is_a_warning() {
    let kafka = Kafka::shared();
    let (store, _topic) = archive(kafka);
    let manifests = files_ending(&store.files().join("manifests"), ".json");
    std::fs::remove_file(manifests.last().expect("manifests")).expect("it is removed");
    let ran = run(&store, &["verify", &store.url(), "--deep"]);
    assert!(
        ran.stdout.contains("warning") || ran.stderr.contains("warning"),
        "{ran:?}"
    );
}

const TWO_YEARS_MS: i64 = 2 * 365 * 24 * 3600 * 1000;

fn old_records() -> Vec<Record> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970");
    let now = i64::try_from(now.as_millis()).expect("it fits");
    (0..100)
        .map(|index| Record::new(Some("k"), Some("old")).timestamp(now - TWO_YEARS_MS + index))
        .collect()
}

#[test]
fn old_records_are_not_restored_into_short_retention_silently() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let (topic, target) = (unique("old"), unique("week"));
    kafka
        .create_topic(&topic, 1, &[("retention.ms", "-1")])
        .expect("a topic");
    kafka
        .produce(&topic, Codec::None, &old_records())
        .expect("records");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    kafka
        .create_topic(&target, 1, &[("retention.ms", "604800000")])
        .expect("a topic that keeps a week");
    restore(kafka, &store, &topic, &target, &[])
        .failed_with(4, &["retention.ms", "--allow-expiry", &target]);
    assert_eq!(
        kafka.topic(&target).expect("the target").partitions[0].end,
        0,
        "nothing was written"
    );
    restore(kafka, &store, &topic, &target, &["--allow-expiry"]).succeeded();
}

#[test]
fn a_created_target_keeps_old_records_until_all_have_landed() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let (topic, target) = (unique("old"), unique("created"));
    kafka
        .create_topic(&topic, 1, &[("retention.ms", "-1")])
        .expect("a topic");
    kafka
        .produce(&topic, Codec::None, &old_records())
        .expect("records");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    kafka.compare(&topic, &target).expect("all are there");
    assert_eq!(
        kafka
            .topic(&target)
            .expect("the target")
            .configs
            .get("retention.ms")
            .map(String::as_str),
        Some("-1")
    );
    // Now its records would expire. That is no business of a restore that is done: it says so, and nothing else.
    let entity = ["--entity-type", "topics", "--entity-name", &target];
    let change = ["--alter", "--add-config", "retention.ms=604800000"];
    let bootstrap = ["--bootstrap-server", kafka.bootstrap()];
    kafka
        .tool("configs", &[&bootstrap[..], &entity, &change].concat())
        .expect("the configuration is changed");
    let again = restore(kafka, &store, &topic, &target, &[]).succeeded();
    assert!(again.stdout.contains("restored before"), "{again:?}");
}

#[test]
fn a_target_that_holds_something_is_refused() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let (topic, target) = (unique("some"), unique("full"));
    for name in [&topic, &target] {
        kafka
            .create_topic(name, 2, &[("retention.ms", "-1")])
            .expect("a topic");
        kafka
            .produce(name, Codec::None, &[Record::new(None, Some("x"))])
            .expect("a record");
    }
    backup_once(kafka, &store, &topic, &[]).succeeded();
    restore(kafka, &store, &topic, &target, &[]).failed_with(4, &[&target, "not empty"]);
    let url = store.url();
    let missing = format!("{topic}=absent-{target}");
    run(
        &store,
        &[
            "restore",
            "--storage",
            &url,
            "--bootstrap-server",
            kafka.bootstrap(),
            "--topic",
            &missing,
        ],
    )
    .failed_with(4, &["does not exist", "--create-topics"]);
    restore(kafka, &store, "no-such-topic", &target, &[])
        .failed_with(4, &["no-such-topic", "not in the archive", &topic]);
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let store = Store::folder();
    let url = store.url();
    run(
        &store,
        &[
            "backup",
            "--bootstrap-server",
            "127.0.0.1:1",
            "--topic",
            "x",
            "--storage",
            &url,
            "--once",
        ],
    )
    .failed_with(1, &["127.0.0.1:1", "trying again"]);
}
