//! What happens to a cluster while a backup runs, and two backups at once.
#![cfg(feature = "real")]

mod support;

use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, unique};
use support::{Background, Store, armory, eventually, restore, run};

fn records(count: i32, partition: i32) -> Vec<Record> {
    (0..count)
        .map(|index| Record::new(Some(&format!("k{index}")), Some("value")).partition(partition))
        .collect()
}

fn inspect(store: &Store, topic: &str) -> String {
    run(store, &["inspect", &store.url(), topic, "-o", "json"]).stdout
}

fn follow(kafka: &Kafka, store: &Store, pattern: &str, more: &[&str]) -> Background {
    let url = store.url();
    let mut command = armory(
        store,
        &[
            "backup",
            "--bootstrap-server",
            kafka.bootstrap(),
            "--topic",
            pattern,
            "--storage",
            &url,
        ],
    );
    command.args(more);
    Background::start(command)
}

/// A topic appears, grows, is deleted and created again, and loses its head: each is followed and can be seen.
#[test]
fn a_backup_follows_its_topics() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let prefix = unique("follow");
    let (first, second) = (format!("{prefix}.a"), format!("{prefix}.b"));
    kafka.create_topic(&first, 1, &[]).expect("a topic");
    kafka
        .produce(&first, Codec::None, &records(10, 0))
        .expect("records");
    let mut backup = follow(kafka, &store, &format!("{prefix}.*"), &[]);
    backup.wait_for(&first);

    kafka
        .create_topic(&second, 1, &[])
        .expect("a topic that appears later");
    kafka
        .produce(&second, Codec::None, &records(10, 0))
        .expect("records");
    backup.wait_for(&second);

    kafka
        .add_partitions(&first, 2)
        .expect("a partition is added");
    kafka
        .produce(&first, Codec::None, &records(7, 1))
        .expect("records in the new partition");
    eventually("the new partition is archived", || {
        inspect(&store, &first).contains("\"partition\": 1")
            || inspect(&store, &first).contains("\"partition\":1")
    });

    kafka.delete_topic(&second).expect("it is deleted");
    kafka
        .create_topic(&second, 1, &[])
        .expect("it is created again");
    kafka
        .produce(&second, Codec::None, &records(3, 0))
        .expect("records of the new incarnation");
    backup.wait_for(&format!("{second} (v2"));

    eventually("what was written is durable", || {
        inspect(&store, &second).contains("v2")
    });
    assert_eq!(backup.stop(), Some(0), "{}", backup.log());
    run(&store, &["verify", &store.url(), "--deep"]).succeeded();

    // The head goes while no backup runs: a recorded gap.
    kafka
        .produce(&first, Codec::None, &records(20, 0))
        .expect("records");
    kafka
        .delete_records(&first, 0, 30)
        .expect("the head is trimmed");
    kafka
        .produce(&first, Codec::None, &records(5, 0))
        .expect("records");
    let mut backup = follow(kafka, &store, &format!("{prefix}.*"), &["--once"]);
    backup.wait_for("removed at the source");
    assert_eq!(
        backup.ended_within(std::time::Duration::from_secs(60)),
        Some(Some(0)),
        "{}",
        backup.log()
    );
    assert!(
        inspect(&store, &first).contains("before-log-start"),
        "{}",
        inspect(&store, &first)
    );
    run(&store, &["verify", &store.url(), "--deep"]).succeeded();

    let target = unique("restored");
    restore(kafka, &store, &second, &target, &[]).succeeded();
    assert_eq!(
        kafka.dump(&target).expect("the target").len(),
        3,
        "the newest incarnation is restored"
    );
}

/// A topic that goes is told, and the others are followed as before.
#[test]
fn a_topic_that_is_deleted_leaves_the_others_alone() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let prefix = unique("goes");
    let (stays, goes) = (format!("{prefix}.stays"), format!("{prefix}.goes"));
    for topic in [&stays, &goes] {
        kafka.create_topic(topic, 1, &[]).expect("a topic");
        kafka
            .produce(topic, Codec::None, &records(10, 0))
            .expect("records");
    }
    let mut backup = follow(
        kafka,
        &store,
        &format!("{prefix}.*"),
        &["--segment-time", "1s"],
    );
    let durable =
        |topic: &str, end: i64| inspect(&store, topic).contains(&format!("\"nextOffset\": {end}"));
    eventually("both are archived", || {
        durable(&stays, 10) && durable(&goes, 10)
    });
    kafka.delete_topic(&goes).expect("it is deleted");
    backup.wait_for(&format!("topic {goes} is gone from the cluster"));
    kafka
        .produce(&stays, Codec::None, &records(10, 0))
        .expect("records");
    eventually("the other one goes on", || durable(&stays, 20));
    assert_eq!(backup.stop(), Some(0), "{}", backup.log());
    run(&store, &["verify", &store.url(), "--deep"]).succeeded();
    let target = unique("restored");
    restore(kafka, &store, &goes, &target, &[]).succeeded();
    assert_eq!(kafka.dump(&target).expect("the target").len(), 10);
}

/// The log loses its head ahead of a backup that is behind: OFFSET_OUT_OF_RANGE is a recorded gap, not an end.
#[test]
fn records_that_go_ahead_of_a_running_backup_are_a_gap() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = unique("behind");
    kafka.create_topic(&topic, 1, &[]).expect("a topic");
    let produce = |count| {
        kafka
            .produce(&topic, Codec::None, &records(count, 0))
            .expect("records");
    };
    produce(10);
    let mut backup = follow(kafka, &store, &topic, &["--segment-time", "1s"]);
    let durable = |end: i64| inspect(&store, &topic).contains(&format!("\"nextOffset\": {end}"));
    eventually("the first are archived", || durable(10));
    support::signal(&backup, "-STOP");
    // A request that waits at the broker is answered with the first of these; for those behind them nobody has asked yet.
    for _ in 0..4 {
        produce(10);
    }
    kafka.delete_records(&topic, 0, 40).expect("the head goes");
    support::signal(&backup, "-CONT");
    eventually("the rest is archived", || durable(50));
    backup.wait_for("removed at the source");
    assert_eq!(backup.stop(), Some(0), "{}", backup.log());
    let inspected = run(&store, &["inspect", &store.url(), &topic, "--gaps"]).stdout;
    assert!(inspected.contains("before-log-start"), "{inspected}");
    run(&store, &["verify", &store.url(), "--deep"]).succeeded();
}

/// Two backups onto the same topics and storage: within seconds each partition has one writer, or an error names the other.
fn one_writer_is_left(store: &Store) {
    let kafka = Kafka::shared();
    let topic = unique("shared");
    kafka.create_topic(&topic, 4, &[]).expect("a topic");
    for partition in 0..4 {
        kafka
            .produce(&topic, Codec::None, &records(100, partition))
            .expect("records");
    }
    let yaml = |name: &str| {
        let file = tempfile::Builder::new()
            .suffix(".yaml")
            .tempfile()
            .expect("a file");
        let storage = match store {
            Store::Folder(_) => "volume: {capacity: 1Gi}".to_owned(),
            Store::S3(server, prefix) => {
                format!(
                    "s3: {{bucket: {}, prefix: {prefix}, region: {}, endpoint: \"{}\", forcePathStyle: true}}",
                    server.bucket(),
                    server.region(),
                    server.endpoint()
                )
            }
        };
        let text = format!(
            "apiVersion: kannika.io/v1alpha\nkind: EventHub\nmetadata: {{name: hub}}\nspec: {{kafka: {{properties: {{bootstrap.servers: \"{}\"}}}}}}\n---\n\
             apiVersion: kannika.io/v1alpha\nkind: Storage\nmetadata: {{name: store}}\nspec: {{{storage}}}\n---\n\
             apiVersion: kannika.io/v1alpha\nkind: Backup\nmetadata: {{name: {name}}}\nspec:\n  source: hub\n  sink: store\n  streams: [{{topic: {topic}}}]\n  segmentRolloverTriggers: {{size: 4KiB, timeoutSeconds: 1}}\n",
            kafka.bootstrap()
        );
        std::fs::write(file.path(), text).expect("it is written");
        file
    };
    let (one, other) = (yaml("one"), yaml("other"));
    let claim = format!("store={}", store.url());
    let start = |file: &tempfile::NamedTempFile| {
        let mut command = armory(store, &["backup", "-f", &file.path().display().to_string()]);
        if matches!(store, Store::Folder(_)) {
            command.args(["--claim", &claim]);
        }
        Background::start(command)
    };
    let mut first = start(&one);
    first.wait_for(&topic);
    let mut second = start(&other);
    for _ in 0..20 {
        for partition in 0..4 {
            kafka
                .produce(&topic, Codec::None, &records(20, partition))
                .expect("records");
        }
    }
    // Who loses a partition says whose it is. Each may win some of them.
    let lost = |log: &str, partition: i32| {
        let name = format!("{topic}-{partition} (");
        log.lines().any(|line| {
            line.contains(&name)
                && (line.contains("by another writer: backup") || line.contains("locked"))
        })
    };
    eventually("every partition is given up by one of them", || {
        let logs = (first.log(), second.log());
        (0..4).all(|partition| lost(&logs.0, partition) || lost(&logs.1, partition))
    });
    // The loser of all partitions has ended by itself.
    let ended = std::time::Duration::from_secs(1);
    let codes = [&mut first, &mut second].map(|backup| {
        let code = backup.ended_within(ended);
        code.unwrap_or_else(|| backup.stop())
    });
    let logs = (first.log(), second.log());
    for partition in 0..4 {
        assert!(
            lost(&logs.0, partition) != lost(&logs.1, partition),
            "partition {partition} has one writer: {logs:#?}"
        );
    }
    run(store, &["verify", &store.url(), "--deep"]).succeeded();
    // Whoever won, the archive can be continued by it and restored.
    let target = unique("restored");
    let (winner, take_over) = match codes {
        [Some(0), _] => (&one, None),
        [_, Some(0)] => (&other, None),
        _ => (&one, Some("--take-over")),
    };
    let winner = winner.path().display().to_string();
    let mut command = armory(store, &["backup", "-f", &winner, "--once"]);
    command.args(take_over);
    if matches!(store, Store::Folder(_)) {
        command.args(["--claim", &claim]);
    }
    support::Ran::from(command.output().expect("it runs")).succeeded();
    restore(kafka, store, &topic, &target, &[]).succeeded();
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
}

#[test]
fn two_backups_into_a_folder() {
    one_writer_is_left(&Store::folder());
}

#[test]
fn two_backups_into_s3() {
    one_writer_is_left(&Store::s3());
}
