//! What expires is removed by the backup, left out by restores, and nothing else is touched.
#![cfg(feature = "real")]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, unique};
use support::{Store, backup_once, files_ending, restore, run};

const DAY: i64 = 86_400_000;

/// Five records of so many days ago, numbered from `from`.
fn aged(days: i64, from: usize) -> Vec<Record> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970");
    let time = now.as_millis() as i64 - days * DAY;
    (from..from + 5)
        .map(|number| Record::new(Some("k"), Some(&number.to_string())).timestamp(time))
        .collect()
}

fn values(kafka: &Kafka, topic: &str) -> Vec<String> {
    let records = kafka.dump(topic).expect("the topic can be read");
    let value = |record: Record| String::from_utf8(record.value.expect("a value"));
    records
        .into_iter()
        .map(|record| value(record).expect("text"))
        .collect()
}

fn expires_and_is_pruned(store: &Store) {
    let kafka = Kafka::shared();
    let topic = unique("aged");
    kafka
        .create_topic(&topic, 1, &[("retention.ms", "-1")])
        .expect("a topic");
    for (days, from) in [(60, 0), (40, 5), (1, 10)] {
        kafka
            .produce(&topic, Codec::Lz4, &aged(days, from))
            .expect("records");
        backup_once(kafka, store, &topic, &[]).succeeded();
    }
    let kept: Vec<String> = (10..15).map(|number| number.to_string()).collect();

    // The backup marks what has expired; the files stay for those who read them.
    let with_retention = backup_once(kafka, store, &topic, &["--delete-after", "30d"]).succeeded();
    let told = "retention: 2 segments with 10 records expired";
    assert!(
        with_retention.stderr.contains(told),
        "{}",
        with_retention.stderr
    );
    assert_eq!(files_ending(&store.files(), ".log").len(), 3);
    let target = unique("restored");
    let restored = restore(kafka, store, &topic, &target, &[]).succeeded();
    let told = format!("10 records of {topic} have expired or were pruned");
    assert!(restored.stderr.contains(&told), "{}", restored.stderr);
    assert_eq!(values(kafka, &target), kept);

    let url = store.url();
    run(store, &["prune", &url, &topic, "--grace", "0s", "--yes"]).succeeded();
    assert_eq!(files_ending(&store.files(), ".log").len(), 1);
    run(store, &["verify", &url, "--deep"]).succeeded();
    run(store, &["inspect", &url, &topic]).succeeded();
    let target = unique("restored");
    restore(kafka, store, &topic, &target, &[]).succeeded();
    assert_eq!(values(kafka, &target), kept);

    // What is left is a Kafka log segment as before, and the backup goes on after it.
    let segment = files_ending(&store.files(), ".log").remove(0);
    let dump = kafka
        .tool("dump-log", &["--files", &segment.display().to_string()])
        .expect("the tool reads it");
    assert!(
        dump.contains("baseOffset: 10 ") && dump.contains("isvalid: true"),
        "{dump}"
    );
    kafka
        .produce(&topic, Codec::Lz4, &aged(0, 15))
        .expect("records");
    backup_once(kafka, store, &topic, &[]).succeeded();
    run(store, &["verify", &url, "--deep"]).succeeded();
    let target = unique("restored");
    restore(kafka, store, &topic, &target, &[]).succeeded();
    let all: Vec<String> = (10..20).map(|number| number.to_string()).collect();
    assert_eq!(values(kafka, &target), all);
}

#[test]
fn what_expires_in_a_folder_is_left_out_and_pruned() {
    expires_and_is_pruned(&Store::folder());
}

#[test]
fn what_expires_in_s3_is_left_out_and_pruned() {
    expires_and_is_pruned(&Store::s3());
}
