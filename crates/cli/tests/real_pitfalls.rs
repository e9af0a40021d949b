//! Topics without records, or that have lost some: at them tools of this kind are known to lose partitions, or to run for ever.
#![cfg(feature = "real")]

mod support;

use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, unique};
use support::{Store, backup_once, restore, run};

fn records(partition: i32, keys: std::ops::Range<u32>) -> Vec<Record> {
    keys.map(|key| Record::new(Some("key"), Some(&format!("{key}"))).partition(partition))
        .collect()
}

fn round_trip(kafka: &Kafka, store: &Store, topic: &str) -> String {
    backup_once(kafka, store, topic, &[]).succeeded();
    run(store, &["verify", &store.url(), "--deep"]).succeeded();
    let target = unique("restored");
    restore(kafka, store, topic, &target, &[]).succeeded();
    kafka.compare(topic, &target).expect("the same records");
    target
}

#[test]
fn empty_topics_and_partitions_come_back() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let (empty, sparse) = (unique("empty"), unique("sparse"));
    kafka.create_topic(&empty, 3, &[]).expect("a topic");
    kafka.create_topic(&sparse, 4, &[]).expect("a topic");
    kafka
        .produce(&sparse, Codec::None, &records(2, 0..5))
        .expect("records in one partition");
    for (topic, partitions) in [(&empty, 3), (&sparse, 4)] {
        let target = round_trip(kafka, &store, topic);
        let target = kafka.topic(&target).expect("it was created");
        assert_eq!(target.partitions.len(), partitions);
    }
}

/// Of a log whose records are all gone, and of one that has lost its head, what is left is backed up, and the run ends.
#[test]
fn trimmed_topics_come_to_their_end() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = unique("trimmed");
    kafka.create_topic(&topic, 2, &[]).expect("a topic");
    for partition in 0..2 {
        // In two batches: the one that the log begins in is archived whole.
        for keys in [0..20, 20..50] {
            kafka
                .produce(&topic, Codec::None, &records(partition, keys))
                .expect("records");
        }
    }
    kafka
        .delete_records(&topic, 0, 50)
        .expect("all are deleted");
    kafka
        .delete_records(&topic, 1, 20)
        .expect("some are deleted");
    round_trip(kafka, &store, &topic);
    // A second run has nothing to do, and ends, too.
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let shown = run(&store, &["inspect", &store.url(), &topic, "-o", "json"]).succeeded();
    assert!(shown.stdout.contains("before-log-start"), "{shown:?}");
}
