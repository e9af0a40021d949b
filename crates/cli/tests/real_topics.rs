//! Topics as a real cluster has them: transactions that span everything, records that are all filtered.
#![cfg(feature = "real")]

mod support;

use armory_testkit::kafka::{Codec, Ending, Record};
use armory_testkit::{Kafka, guests, unique};
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
