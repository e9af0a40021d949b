//! An object store that fails under the running binary: answers that get lost, an outage, a rule that deletes.
//!
//! The first test prints its seed; `ARMORY_SEED=…` draws the same faults again.
#![cfg(feature = "real")]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use armory_testkit::kafka::Dataset;
use armory_testkit::{Kafka, S3, StoreFault, StoreProxy, StoreRule, unique};
use support::{
    Background, Ran, Store, armory, backup_once, eventually, files_ending, metrics_address,
    restore, run, status,
};

fn seed() -> u64 {
    let given = std::env::var("ARMORY_SEED").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        u64::from(now.expect("the clock is past 1970").subsec_nanos())
    })
}

fn topic(kafka: &Kafka, megabytes: u64) -> String {
    let topic = unique("faults");
    kafka
        .create_topic(&topic, 4, &[("max.message.bytes", "4000000")])
        .expect("a topic");
    kafka
        .write_dataset(&Dataset::new(&topic).megabytes(megabytes))
        .expect("the data set");
    topic
}

fn server(store: &Store) -> &S3 {
    match store {
        Store::S3(server, _) => server,
        Store::Folder(_) => unreachable!("the tests use S3"),
    }
}

/// Every manifest is stored, and its writer not told; other requests fail in all ways. No duplicate, no hole.
#[test]
fn answers_that_get_lost_cost_nothing() {
    let kafka = Kafka::shared();
    let (store, topic, seed) = (Store::s3(), topic(kafka, 8), seed());
    println!("seed {seed} (ARMORY_SEED={seed} draws the same faults again)");
    let proxy = StoreProxy::start(&server(&store).endpoint(), seed).expect("the proxy");
    proxy.add(StoreRule::new("PUT", "/manifests/", StoreFault::AnswerLost).times(40));
    proxy.add(StoreRule::new("PUT", "/topics/", StoreFault::AnswerLost).chance(0.1));
    proxy.add(StoreRule::new("PUT", "", StoreFault::StatusAfter(500)).chance(0.05));
    proxy.add(StoreRule::new("", "", StoreFault::Status(503)).chance(0.05));
    proxy.add(StoreRule::new("", "", StoreFault::Dropped).chance(0.03));
    proxy.add(StoreRule::new("GET", "", StoreFault::Truncated).chance(0.05));
    let through = |args: &[&str]| {
        let mut command = armory(&store, args);
        command.env("AWS_ENDPOINT_URL", proxy.endpoint());
        Ran::from(command.output().expect("the binary runs"))
    };
    let (url, bootstrap) = (store.url(), kafka.bootstrap());
    let args = [
        "backup",
        "--once",
        "--bootstrap-server",
        bootstrap,
        "--storage",
        &url,
    ];
    through(&[&args[..], &["--topic", &topic, "--segment-size", "300KiB"]].concat()).succeeded();
    assert!(
        proxy.injected(StoreFault::AnswerLost) >= 10,
        "{:?}",
        proxy.all_injected()
    );
    run(&store, &["verify", &url, "--deep"]).succeeded();

    let target = unique("restored");
    let mapping = format!("{topic}={target}");
    let args = [
        "restore",
        "--create-topics",
        "--bootstrap-server",
        bootstrap,
    ];
    through(&[&args[..], &["--storage", &url, "--topic", &mapping]].concat()).succeeded();
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
    println!("{:?}", proxy.all_injected());
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a size") * 1024
}

/// The store is gone while all budgets are full and the source's retention goes on: memory stays as it is, what happens
/// is said, the backup goes on by itself, and what retention took meanwhile is a recorded gap.
#[test]
fn an_outage_is_waited_for() {
    let kafka = Kafka::shared();
    let (store, topic) = (Store::s3(), topic(kafka, 4));
    let proxy = StoreProxy::start(&server(&store).endpoint(), 1).expect("the proxy");
    let (url, bootstrap) = (store.url(), kafka.bootstrap());
    let args = ["backup", "--bootstrap-server", bootstrap, "--storage", &url];
    let mut command = armory(&store, &args);
    command
        .args(["--topic", &topic, "--memory", "16MiB"])
        .args(["--segment-size", "1MiB", "--segment-time", "1s"])
        .args(["--metrics-address", "127.0.0.1:0"])
        .env("AWS_ENDPOINT_URL", proxy.endpoint())
        .env("ARMORY_LOG", "info");
    let mut backup = Background::start(command);
    let address = metrics_address(&mut backup);
    let archived = || run(&store, &["inspect", &url, &topic, "--gaps", "-o", "json"]).stdout;
    eventually("manifests are written", || {
        proxy.requests("PUT", "/manifests/") >= 4
    });

    proxy.set_outage(Some(StoreFault::Dropped));
    let before = resident(backup.pid());
    kafka
        .write_dataset(&Dataset::new(&topic).megabytes(80))
        .expect("more than memory holds");
    backup.wait_for("trying again");
    let refused = proxy.injected(StoreFault::Dropped);
    eventually("it tries again and again", || {
        let now = resident(backup.pid());
        assert!(now < before + (96 << 20), "{before} grew to {now} bytes");
        proxy.injected(StoreFault::Dropped) >= refused + 20
    });
    let message = status(&address)["message"].to_string();
    assert!(message.contains(&format!("{url}/")), "{message}");
    let end = kafka.topic(&topic).expect("the topic").partitions[0].end;
    kafka
        .delete_records(&topic, 0, end - 2)
        .expect("retention takes all but the last");

    proxy.set_outage(None);
    backup.wait_for("at last");
    eventually("the gap is recorded", || {
        archived().contains("before-log-start")
    });
    eventually("the status has forgotten it", || {
        !status(&address)["message"].to_string().contains(&url)
    });
    assert_eq!(backup.stop(), Some(0), "{}", backup.log());
    run(&store, &["verify", &url, "--deep"]).succeeded();
    // What is left is archived to the end.
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let shown = run(&store, &["inspect", &url, &topic, "--gaps", "-o", "json"]).succeeded();
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let partitions = &shown["topics"][0]["snapshots"][0]["partitions"];
    for (number, source) in kafka
        .topic(&topic)
        .expect("the topic")
        .partitions
        .iter()
        .enumerate()
    {
        let lineage = &partitions[number]["lineages"][0];
        assert_eq!(lineage["nextOffset"], source.end, "{lineage}");
        let gaps = lineage["gaps"].as_array().expect("a list");
        assert_eq!(gaps.is_empty(), number > 0, "{lineage}");
        // A broker sends the batch in which its log starts as a whole.
        assert!(
            gaps.iter()
                .all(|gap| gap["endOffset"].as_i64() <= Some(source.start)),
            "{lineage}"
        );
    }
}

/// A rule of the bucket deletes what is old: the verification names the segment, and a restore sends nothing of it.
#[test]
fn a_segment_that_a_lifecycle_rule_deleted() {
    let kafka = Kafka::shared();
    let (store, topic) = (Store::s3(), topic(kafka, 2));
    backup_once(kafka, &store, &topic, &["--segment-size", "100KiB"]).succeeded();
    let segments = files_ending(&store.files(), ".log");
    let old = &segments[segments.len() / 2];
    std::fs::remove_file(old).expect("it is deleted");
    let name = old.file_name().expect("a name").to_string_lossy();
    run(&store, &["verify", &store.url()]).failed_with(3, &[&name]);
    let target = unique("refused");
    restore(kafka, &store, &topic, &target, &[]).failed_with(3, &[&name]);
    assert!(kafka.topic(&target).is_err(), "the target was made");
}
