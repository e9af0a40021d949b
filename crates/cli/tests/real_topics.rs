//! Topics as a real cluster has them: transactions that span everything, large batches, quotas, records that are all filtered.
#![cfg(feature = "real")]

mod support;

use std::time::Instant;

use armory_records::{BatchBuilder, BatchOptions};
use armory_testkit::kafka::{Codec, Dataset, Ending, Record};
use armory_testkit::{Kafka, KafkaOptions, guests, unique};
use support::{Store, backup_once, comes_back, files_ending, restore, run};

fn inspect(store: &Store, topic: &str) -> String {
    run(store, &["inspect", &store.url(), topic, "-o", "json"]).stdout
}

/// Transactions that span answers and segments, committed and aborted in turn, and one that hangs and is aborted at last.
#[test]
fn transactions_span_answers_and_segments() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = unique("transactions");
    kafka.create_topic(&topic, 2, &[]).expect("a topic");
    // Answers and segments are smaller than a transaction.
    let small = [
        "--segment-size",
        "4KiB",
        "-X",
        "fetch.message.max.bytes=2000",
        "-X",
        "fetch.max.bytes=4000",
    ];
    let transact = |name: &str, records, ending| {
        let id = format!("{topic}.{name}");
        kafka
            .transaction(&topic, &id, records, ending)
            .expect("a transaction");
    };
    for (index, ending) in [Ending::Commit, Ending::Abort, Ending::Abort, Ending::Commit]
        .into_iter()
        .enumerate()
    {
        transact(&format!("whole{index}"), 3000, ending);
    }
    transact("hanging", 500, Ending::LeaveOpen);
    transact("behind", 500, Ending::Commit);
    let ran = backup_once(kafka, &store, &topic, &small).succeeded();
    assert!(
        ran.stdout.contains("a transaction is open there"),
        "{ran:?}"
    );
    let inspected = inspect(&store, &topic);
    assert!(
        inspected.contains("aborted") && inspected.contains("control"),
        "{inspected}"
    );

    kafka
        .end_transaction(&format!("{topic}.hanging"), Ending::Abort)
        .expect("it ends");
    transact("last", 500, Ending::Commit);
    let ran = backup_once(kafka, &store, &topic, &small).succeeded();
    assert!(!ran.stdout.contains("a transaction is open"), "{ran:?}");
    assert_eq!(comes_back(kafka, &store, &topic), 2 * 3000 + 2 * 500);
}

/// A batch larger than the answers, the memory and the segments of a backup passes alone.
#[test]
fn a_batch_of_fourteen_megabytes() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = unique("large");
    kafka
        .create_topic(&topic, 1, &[("max.message.bytes", "20971520")])
        .expect("a topic");
    for size in [100, 14 << 20, 100, 9 << 20] {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let value: Vec<u8> = (0..size).map(|index: u32| (index % 251) as u8).collect();
        builder.append(0, 1_700_000_000_000, Some(b"k"), Some(&value), []);
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("a batch");
        let answer = kafka.produce_raw(&topic, 0, &bytes).expect("an answer");
        assert_eq!(answer.error_code, 0);
    }
    let small = [
        "--memory",
        "4MiB",
        "--segment-size",
        "1MiB",
        "-X",
        "fetch.max.bytes=100000",
    ];
    backup_once(kafka, &store, &topic, &small).succeeded();
    assert_eq!(comes_back(kafka, &store, &topic), 4);
}

/// Quotas of the cluster make both ways slower; both say so, and nothing is lost or doubled.
#[test]
fn quotas_slow_down_and_are_told() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let (topic, target, client) = (unique("quota"), unique("restored"), unique("client"));
    kafka
        .create_topic(&topic, 2, &[("max.message.bytes", "4000000")])
        .expect("a topic");
    kafka
        .write_dataset(&Dataset::new(&topic).megabytes(2))
        .expect("the data set");
    let add = "consumer_byte_rate=250000,producer_byte_rate=250000";
    let entity = ["--entity-type", "clients", "--entity-name", &client];
    let bootstrap = [
        "--bootstrap-server",
        kafka.bootstrap(),
        "--alter",
        "--add-config",
        add,
    ];
    kafka
        .tool("configs", &[&bootstrap[..], &entity].concat())
        .expect("a quota");
    let name = format!("client.id={client}");
    let started = Instant::now();
    let ran = backup_once(kafka, &store, &topic, &["-X", &name]).succeeded();
    assert!(
        ran.stderr.contains("slows this client down by a quota"),
        "{ran:?}"
    );
    let ran = restore(kafka, &store, &topic, &target, &["-X", &name]).succeeded();
    assert!(
        ran.stderr.contains("slows this client down by a quota"),
        "{ran:?}"
    );
    println!("{:?} with quotas", started.elapsed());
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
}

/// Compaction leaves holes in and between batches, empty batches, and tombstones that wait for their deletion.
#[test]
fn a_topic_is_compacted_between_its_backups() {
    let kafka = Kafka::shared();
    let (early, late) = (Store::folder(), Store::folder());
    let topic = unique("compacted");
    let configs = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("segment.ms", "100"),
        ("delete.retention.ms", "3600000"),
    ];
    kafka.create_topic(&topic, 1, &configs).expect("a topic");
    let produce = |codec, records: &[Record]| {
        kafka.produce(&topic, codec, records).expect("records");
    };
    // Of the first batches nothing stays, of the others every seventh record or a tombstone.
    for (round, codec) in [Codec::None, Codec::Lz4, Codec::Zstd]
        .into_iter()
        .enumerate()
    {
        let records: Vec<Record> = (0..70)
            .map(|index| {
                let key = if round == 0 {
                    "gone".to_owned()
                } else {
                    format!("{round}.{}", index / 7)
                };
                Record::new(Some(&key), Some(&format!("{round}.{index}")))
            })
            .collect();
        produce(codec, &records);
    }
    produce(
        Codec::None,
        &[
            Record::new(Some("gone"), None),
            Record::new(Some("1.3"), None),
        ],
    );
    backup_once(kafka, &early, &topic, &[]).succeeded();

    // The segment that is written to is not compacted: records of later times close it.
    let mut more = 0_i64;
    support::eventually("the topic is compacted", || {
        more += 1;
        let last = Record::new(Some("last"), Some("z"));
        produce(
            Codec::None,
            &[last.timestamp(1_700_000_001_000 + 1000 * more)],
        );
        kafka.dump(&topic).expect("its records").len() < 40
    });
    kafka
        .set_topic_configs(&topic, &[("cleanup.policy", Some("delete"))])
        .expect("compaction ends");
    let left = kafka.dump(&topic).expect("its records");
    assert!(
        left.iter().any(|record| record.value.is_none()),
        "a tombstone is there"
    );

    // A run that begins before the compaction has everything, one that begins behind it what is left.
    backup_once(kafka, &early, &topic, &[]).succeeded();
    backup_once(kafka, &late, &topic, &[]).succeeded();
    assert_eq!(comes_back(kafka, &late, &topic), left.len() as u64);
    run(&early, &["verify", &early.url(), "--deep"]).succeeded();
    let target = unique("restored");
    restore(kafka, &early, &topic, &target, &[]).succeeded();
    let all = kafka.dump(&target).expect("the target");
    let before: Vec<_> = all.iter().take(212).collect();
    assert_eq!(before[211].key.as_deref(), Some(&b"1.3"[..]));
    // What was written between the two runs, and the last of it stays of it at least.
    assert!(
        all.len() > 212 && all.len() <= 212 + more as usize,
        "{}",
        all.len()
    );
}

/// A topic of a thousand partitions, some of them empty.
#[test]
fn own_kafka_has_a_topic_of_a_thousand_partitions() {
    let kafka = Kafka::start(KafkaOptions::default()).expect("a cluster");
    let store = Store::folder();
    let (topic, target) = (unique("wide"), unique("restored"));
    kafka.create_topic(&topic, 1000, &[]).expect("a topic");
    kafka
        .write_dataset(&Dataset::new(&topic).megabytes(2))
        .expect("the data set");
    backup_once(&kafka, &store, &topic, &[]).succeeded();
    run(&store, &["verify", &store.url(), "--deep"]).succeeded();
    restore(&kafka, &store, &topic, &target, &[]).succeeded();
    let records = |topic: &str| {
        let mut records = kafka.dump(topic).expect("its records");
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    };
    let written = records(&topic);
    assert!(written.len() > 100);
    assert!(
        written == records(&target),
        "another partition, order or content"
    );
    assert_eq!(
        kafka.topic(&target).expect("it is there").partitions.len(),
        1000
    );
}

/// Of a topic all of whose records a plugin filters nothing is stored, and yet every run goes on where the one before ended.
#[test]
fn a_topic_that_is_filtered_whole_keeps_its_progress() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = unique("filtered");
    kafka.create_topic(&topic, 1, &[]).expect("a topic");
    let plugin = guests::build_rust("reject-marked").expect("the plugin is built");
    let config = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(config.path(), "header: internal\n").expect("it is written");
    let option = format!("{},config={}", plugin.display(), config.path().display());
    for round in 1..=10 {
        let records: Vec<Record> = (0..20)
            .map(|index| {
                Record::new(Some(&format!("{round}.{index}")), Some("x")).header("internal", None)
            })
            .collect();
        kafka
            .produce(&topic, Codec::None, &records)
            .expect("records");
        let ran = backup_once(kafka, &store, &topic, &["--plugin", &option]).succeeded();
        assert!(
            ran.stdout.contains("20 records of 1 partition read"),
            "round {round}: {ran:?}"
        );
        assert!(
            ran.stdout.contains("0 segments") && ran.stdout.contains("20 filtered"),
            "{ran:?}"
        );
        let manifests = files_ending(&store.files().join("manifests"), ".json");
        assert_eq!(manifests.len(), round, "one manifest a run");
        let newest = std::fs::read_to_string(&manifests[round - 1]).expect("a manifest");
        let newest: serde_json::Value = serde_json::from_str(&newest).expect("JSON");
        let (base, next) = (20 * (round - 1), 20 * round);
        assert_eq!(
            (&newest["base"], &newest["next"]),
            (&base.into(), &next.into())
        );
        assert!(newest["segment"].is_null());
        assert_eq!(
            newest["gaps"],
            serde_json::json!({"filtered": [[0, 20, 1]]})
        );
    }
    assert!(files_ending(&store.files(), ".log").is_empty());
    let kept = Record::new(Some("kept"), Some("y"));
    kafka
        .produce(&topic, Codec::None, &[kept])
        .expect("a record");
    backup_once(kafka, &store, &topic, &["--plugin", &option]).succeeded();
    run(&store, &["verify", &store.url(), "--deep"]).succeeded();
    let target = unique("restored");
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    let landed = kafka.dump(&target).expect("the target");
    assert_eq!(landed.len(), 1);
    assert_eq!(landed[0].key.as_deref(), Some(&b"kept"[..]));
}
