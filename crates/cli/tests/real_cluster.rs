//! What happens to the brokers of a cluster of three while a backup or a restore runs: leaders move, brokers die, hang and
//! restart, replicas fall behind and lead all the same.
#![cfg(feature = "real")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use armory_testkit::kafka::{Codec, Dataset, Record};
use armory_testkit::{Kafka, KafkaOptions, unique};
use support::{Background, Store, armory, backup_once, eventually, restore, run};

/// The cluster of this process. Its tests take turns, for each of them stops what the others need.
fn cluster() -> MutexGuard<'static, Kafka> {
    static CLUSTER: OnceLock<Mutex<Kafka>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| {
        Mutex::new(Kafka::start(KafkaOptions::three_nodes()).expect("three nodes start"))
    });
    let mut kafka = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    // What a test that failed left stopped.
    kafka.start_again().expect("all nodes run");
    kafka
}

/// Timeouts short enough to see a broker that hangs.
const IMPATIENT: [&str; 8] = [
    "-X",
    "socket.timeout.ms=3000",
    "-X",
    "request.timeout.ms=2000",
    "-X",
    "fetch.wait.max.ms=200",
    "-X",
    "topic.metadata.refresh.interval.ms=2000",
];

fn records(partitions: i32, text: &str, count: usize) -> Vec<Record> {
    let partitions = 0..partitions;
    partitions
        .flat_map(|partition| {
            (0..count).map(move |index| {
                Record::new(Some(&format!("k{index}")), Some(text)).partition(partition)
            })
        })
        .collect()
}

/// Ends what a test runs beside it, also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes to all partitions of a topic for as long as `disturb` lasts.
fn while_it_is_written<T>(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    disturb: impl FnOnce() -> T,
) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let kafka = Kafka::at(bootstrap);
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                kafka
                    .produce(
                        topic,
                        Codec::None,
                        &records(partitions, &format!("r{rounds}"), 10),
                    )
                    .expect("a producer that waits for its leaders");
                rounds += 1;
            }
            rounds
        });
        let writing = StopOnDrop(&stop);
        let result = disturb();
        drop(writing);
        let rounds = writer.join().expect("the writer ends");
        println!("{topic}: {rounds} rounds were written meanwhile");
        result
    })
}

/// Leaders move, one is killed, one hangs, and then all restart one after the other, under a running backup; and again under a
/// running restore.
#[test]
fn own_kafka_brokers_come_and_go_under_a_backup_and_a_restore() {
    let mut kafka = cluster();
    let store = Store::folder();
    let topic = unique("moving");
    kafka
        .create_topic(&topic, 6, &[("max.message.bytes", "4000000")])
        .expect("a topic");
    kafka
        .write_dataset(&Dataset::new(&topic).megabytes(3))
        .expect("the data set");
    let url = store.url();
    let bootstrap = kafka.bootstrap().to_owned();
    let mut command = armory(
        &store,
        &[
            "backup",
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            &topic,
        ],
    );
    command
        .args(["--storage", &url, "--segment-time", "1s"])
        .args(IMPATIENT);
    let mut backup = Background::start(command);
    backup.wait_for(&topic);

    while_it_is_written(&bootstrap, &topic, 6, || {
        kafka.move_leaders(&topic).expect("leaders move");
        kafka.node(0).kill().expect("a node is killed");
        std::thread::sleep(Duration::from_secs(2));
        kafka.node(0).start_again().expect("it is back");
        // Longer than the session of a broker, so that its partitions get other leaders.
        kafka.node(1).pause().expect("a node hangs");
        std::thread::sleep(Duration::from_secs(9));
        kafka.node(1).resume().expect("it goes on");
        for index in 0..3 {
            kafka.node(index).stop().expect("a node stops");
            kafka.node(index).start_again().expect("it is back");
        }
    });
    assert_eq!(backup.stop(), Some(0), "{}", backup.log());
    let log = backup.log();
    assert!(
        !log.contains("unclean"),
        "acknowledged records are not lost: {log}"
    );
    backup_once(&kafka, &store, &topic, &[]).succeeded();
    run(&store, &["verify", &url, "--deep"]).succeeded();

    let target = unique("restored");
    let mapping = format!("{topic}={target}");
    let mut command = armory(
        &store,
        &[
            "restore",
            "--storage",
            &url,
            "--bootstrap-server",
            &bootstrap,
        ],
    );
    command
        .args(["--topic", &mapping, "--create-topics"])
        // Slow enough that the restart finds it at work.
        .args([
            "-X",
            "batch.size=16384",
            "-X",
            "queue.buffering.max.kbytes=64",
        ]);
    let mut running = Background::start(command);
    eventually("the target is there", || kafka.topic(&target).is_ok());
    for index in 0..3 {
        kafka.node(index).stop().expect("a node stops");
        kafka.node(index).start_again().expect("it is back");
    }
    let code = running.ended_within(Duration::from_secs(90));
    assert_eq!(code, Some(Some(0)), "{}", running.log());
    let equal = kafka
        .compare(&topic, &target)
        .expect("source and target are equal");
    assert!(equal.records > 0);
}

/// A target that wants more replicas than are in sync takes nothing; the restore waits, says so, and goes on when they are back.
#[test]
fn own_kafka_a_restore_waits_for_replicas() {
    let mut kafka = cluster();
    let store = Store::folder();
    let (topic, target) = (unique("source"), unique("replicas"));
    kafka.create_topic(&topic, 3, &[]).expect("a topic");
    kafka
        .produce(&topic, Codec::None, &records(3, "value", 100))
        .expect("records");
    backup_once(&kafka, &store, &topic, &[]).succeeded();
    kafka
        .create_topic(&target, 3, &[("min.insync.replicas", "3")])
        .expect("a topic that wants all replicas");
    kafka.node(2).kill().expect("a replica is lost");
    // Until the cluster knows, a producer waits for the replica instead of being refused.
    eventually("the replica is out of sync", || {
        let args = [
            "--bootstrap-server",
            kafka.bootstrap(),
            "--describe",
            "--topic",
            &target,
        ];
        let described = kafka.tool(
            "topics",
            &[&args[..], &["--under-min-isr-partitions"]].concat(),
        );
        described.is_ok_and(|text| text.matches("Partition:").count() == 3)
    });
    let (url, mapping) = (store.url(), format!("{topic}={target}"));
    let mut running = Background::start(armory(
        &store,
        &[
            "restore",
            "--storage",
            &url,
            "--bootstrap-server",
            kafka.bootstrap(),
            "--topic",
            &mapping,
        ],
    ));
    running.wait_for("NOT_ENOUGH_REPLICAS");
    kafka.node(2).start_again().expect("the replica is back");
    let code = running.ended_within(Duration::from_secs(90));
    assert_eq!(code, Some(Some(0)), "{}", running.log());
    kafka
        .compare(&topic, &target)
        .expect("all of it is there, once");
}

/// A topic whose one partition lies on the brokers 1 and 2, and may be led by one that lacks records. The third keeps the
/// majority of the controllers.
fn unsafe_topic(kafka: &Kafka) -> String {
    let topic = unique("unclean");
    let args = [
        "--bootstrap-server",
        kafka.bootstrap(),
        "--create",
        "--topic",
        &topic,
        "--replica-assignment",
        "1:2",
        "--config",
        "min.insync.replicas=1",
        "--config",
        "unclean.leader.election.enable=true",
    ];
    kafka.tool("topics", &args).expect("a topic");
    leader_becomes(kafka, &topic, 1);
    topic
}

fn leader_becomes(kafka: &Kafka, topic: &str, leader: i32) {
    eventually("the leader is elected", || {
        let topic = kafka.topic(topic);
        topic.is_ok_and(|topic| topic.partitions[0].leader == leader)
    });
}

fn append(kafka: &Kafka, topic: &str, count: i32, text: &str) {
    let records: Vec<Record> = (0..count)
        .map(|index| Record::new(Some(&format!("k{index}")), Some(text)))
        .collect();
    kafka
        .produce(topic, Codec::None, &records)
        .expect("records");
}

/// The newest history is what Kafka's own consumer reads of the source, and what a restore brings back.
fn is_archived(kafka: &Kafka, store: &Store, topic: &str) {
    run(store, &["verify", &store.url(), "--deep"]).succeeded();
    let target = unique("restored");
    restore(kafka, store, topic, &target, &[]).succeeded();
    kafka.compare(topic, &target).expect("the newest history");
}

#[test]
fn own_kafka_an_unclean_election_begins_a_lineage() {
    let mut kafka = cluster();
    let store = Store::folder();
    let topic = unsafe_topic(&kafka);
    append(&kafka, &topic, 10, "both have it");
    kafka.node(1).kill().expect("the follower is killed");
    append(&kafka, &topic, 5, "only the leader has it");
    backup_once(&kafka, &store, &topic, &[]).succeeded();
    kafka.node(0).kill().expect("the leader is killed");
    kafka.node(1).start_again().expect("the follower is back");
    leader_becomes(&kafka, &topic, 2);
    append(&kafka, &topic, 7, "another history");
    kafka.node(0).start_again().expect("the old leader is back");
    let ran = backup_once(&kafka, &store, &topic, &[]).succeeded();
    assert!(
        ran.stderr
            .contains("departs at offset 10, and goes on as lineage 1"),
        "{ran:?}"
    );
    is_archived(&kafka, &store, &topic);
}

/// The archive has an epoch that the new leader never saw, while its log of the epoch before is longer than the archive's: the
/// histories part where the archive's epoch began, not where the broker's log of the one before ends.
#[test]
fn own_kafka_histories_part_where_the_unknown_epoch_began() {
    let mut kafka = cluster();
    let store = Store::folder();
    let topic = unsafe_topic(&kafka);
    append(&kafka, &topic, 10, "both have it");
    kafka.node(1).kill().expect("the follower is killed");
    append(&kafka, &topic, 9, "only the first leader has it");
    kafka.node(0).kill().expect("the leader is killed");
    kafka.node(1).start_again().expect("the follower is back");
    leader_becomes(&kafka, &topic, 2);
    append(&kafka, &topic, 3, "only the second leader has it");
    backup_once(&kafka, &store, &topic, &[]).succeeded();
    kafka.node(1).kill().expect("the second leader is killed");
    kafka
        .node(0)
        .start_again()
        .expect("the first leader is back");
    leader_becomes(&kafka, &topic, 1);
    let ran = backup_once(&kafka, &store, &topic, &[]).succeeded();
    assert!(
        ran.stderr
            .contains("departs at offset 10, and goes on as lineage 1"),
        "{ran:?}"
    );
    kafka
        .node(1)
        .start_again()
        .expect("the second leader is back");
    is_archived(&kafka, &store, &topic);
}
