//! A backup that is shared by several processes, and dealt out anew while all of them run.
#![cfg(feature = "real")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use armory_resources::job::WorkGroup;
use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, unique};
use support::{
    Background, Store, armory, backup_once, comes_back, eventually, files_ending, restore,
};

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

fn worker(kafka: &Kafka, store: &Store, topic: &str, worker: &str, more: &[&str]) -> Background {
    let url = store.url();
    let mut command = armory(
        store,
        &[
            "backup",
            "--bootstrap-server",
            kafka.bootstrap(),
            "--topic",
            topic,
        ],
    );
    command.args([
        "--storage",
        &url,
        "--segment-time",
        "1s",
        "--worker",
        worker,
    ]);
    command.args(more);
    Background::start(command)
}

/// A seed with which every worker of these groups has a partition.
fn seed(topic: &str, groups: &[u32]) -> u32 {
    let is_fair = |seed: &u32| {
        groups.iter().all(|&workers| {
            let group = WorkGroup {
                workers,
                seed: *seed,
            };
            (0..workers).all(|index| {
                (0..PARTITIONS).any(|partition| group.owner(topic, partition) == index)
            })
        })
    };
    (0..).find(is_fair).expect("there are seeds enough")
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

/// Ends what a test runs beside it, also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Three workers, then two beside them, then four: the newer ones take every partition over, and nothing is lost or doubled.
#[test]
fn work_is_dealt_out_anew_among_running_workers() {
    let kafka = Kafka::shared();
    let store = Store::s3();
    let topic = unique("shared");
    kafka
        .create_topic(&topic, PARTITIONS, &[])
        .expect("a topic");
    let seed = seed(&topic, &[3, 2, 4]).to_string();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                kafka
                    .produce(&topic, Codec::None, &round(rounds))
                    .expect("records");
                rounds += 1;
            }
            rounds
        });
        let producing = StopOnDrop(&stop);
        let mut running: Vec<Vec<Background>> = Vec::new();
        for workers in [3, 2, 4] {
            let group = (0..workers).map(|index| {
                let mut worker = worker(
                    kafka,
                    &store,
                    &topic,
                    &format!("{index}/{workers}"),
                    &["--seed", &seed],
                );
                worker.wait_for("following topic");
                worker
            });
            running.push(group.collect());
            // All of them write, and in the end the newest ones alone do.
            let of_group = format!("/{workers}");
            eventually("the newest group has every partition", || {
                writers(&store).iter().all(|chain| {
                    chain
                        .last()
                        .is_some_and(|writer| writer.ends_with(&of_group))
                })
            });
        }
        drop(producing);
        let rounds = producer.join().expect("the producer ends");
        println!("{rounds} rounds");
        let newest = running.pop().expect("a group");
        for mut old in running.into_iter().flatten() {
            // It has nothing left, ends by itself, and says who has its partitions.
            let code = old.ended_within(Duration::from_secs(60));
            assert_eq!(code, Some(Some(1)), "{}", old.log());
            assert!(
                old.log().contains("was taken over by a newer writer"),
                "{}",
                old.log()
            );
        }
        for mut worker in newest {
            assert_eq!(worker.stop(), Some(0), "{}", worker.log());
        }
    });
    // Once a newer group had a partition, no older one had it again, and it had one worker of each group.
    for chain in writers(&store) {
        let mut owners = chain.clone();
        owners.dedup();
        let groups: Vec<&str> = owners
            .iter()
            .filter_map(|owner| owner.split('/').nth(1))
            .collect();
        assert!(
            ["3", "2", "4"]
                .iter()
                .copied()
                .filter(|group| groups.contains(group))
                .eq(groups.iter().copied()),
            "{chain:?}"
        );
    }
    backup_once(kafka, &store, &topic, &[]).succeeded();
    comes_back(kafka, &store, &topic);
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
