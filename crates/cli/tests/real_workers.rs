//! A backup that is shared by several processes.
#![cfg(feature = "real")]

mod support;

use armory_resources::job::WorkGroup;
use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, unique};
use support::{Store, backup_once, files_ending, restore};

const PARTITIONS: i32 = 12;

fn round(number: usize) -> Vec<Record> {
    (0..PARTITIONS)
        .flat_map(|partition| {
            (0..5).map(move |index| {
                Record::new(Some(&format!("{number}.{index}")), Some("value")).partition(partition)
            })
        })
        .collect()
}

/// Which workers (`index/workers`) committed what, by the manifests: for each partition in the order of its chain.
fn writers(store: &Store) -> Vec<Vec<String>> {
    let mut partitions = vec![Vec::new(); PARTITIONS as usize];
    for path in files_ending(&store.files().join("manifests"), ".json") {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let Ok(manifest) = serde_json::from_str::<serde_json::Value>(&text) else {
            continue;
        };
        let partition = manifest["partition"].as_u64().expect("a partition");
        let worker = manifest["writer"]["worker"].as_str().unwrap_or("none");
        partitions[partition as usize].push(worker.to_owned());
    }
    partitions
}

/// With group generations a worker of a group that is over does not begin again, and one of another size is told apart.
#[test]
fn a_worker_of_a_group_that_is_over_is_refused() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = unique("over");
    kafka
        .create_topic(&topic, PARTITIONS, &[])
        .expect("a topic");
    kafka
        .produce(&topic, Codec::None, &round(0))
        .expect("records");
    let once = |share: &str, generation: &str| {
        let more = ["--worker", share, "--group-generation", generation];
        backup_once(kafka, &store, &topic, &more)
    };
    for index in 0..2 {
        once(&format!("{index}/2"), "2").succeeded();
    }
    once("0/3", "1").failed_with(1, &["group generation 1", "is over", "generation 2"]);
    once("0/3", "2").failed_with(1, &["has 2 workers and seed 0", "higher"]);
    let group = WorkGroup {
        workers: 2,
        seed: 0,
    };
    for (partition, chain) in (0..).zip(writers(&store)) {
        let owner = group.owner(&topic, partition);
        assert_eq!(chain, [format!("{owner}/2")], "partition {partition}");
    }
    let target = unique("restored");
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
}
