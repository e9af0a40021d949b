//! Processes that are frozen while another one goes on in their place, and disks that are full.
#![cfg(feature = "real")]

mod support;

use std::process::Command;
use std::time::Duration;

use armory_testkit::kafka::proxy::{Api, Fault, Proxy};
use armory_testkit::{Dataset, Kafka, unique};
use support::{
    Background, Ran, Store, armory, backup_once, comes_back, eventually, files_ending, signal,
    topic,
};

#[test]
fn a_restore_wakes_up_after_another_one_has_finished_it() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = topic(kafka, 20);
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let target = unique("restored");
    let (url, mapping) = (store.url(), format!("{topic}={target}"));
    let into = |bootstrap: &str| {
        let mut command = armory(&store, &["restore", "--storage", &url]);
        command.args(["--bootstrap-server", bootstrap, "--topic", &mapping]);
        command.arg("--create-topics");
        command
    };
    let proxy = Proxy::start(kafka).expect("a proxy");
    let slow = Fault::Delay(Duration::from_millis(300));
    proxy.inject(slow, Api::Produce, 0, 1000);
    let mut frozen = Background::start(into(&proxy.bootstrap()));
    eventually("it produces", || proxy.requests(Api::Produce) > 3);
    signal(&frozen, "-STOP");
    Ran::from(into(kafka.bootstrap()).output().expect("it runs")).succeeded();
    signal(&frozen, "-CONT");
    let ended = frozen.ended_within(Duration::from_secs(120));
    assert_eq!(ended, Some(Some(1)), "{}", frozen.log());
    let log = frozen.log();
    assert!(log.contains("another process has gone on"), "{log}");
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
}

#[test]
fn a_backup_wakes_up_after_another_one_has_gone_on() {
    let kafka = Kafka::shared();
    let store = Store::s3();
    let topic = topic(kafka, 4);
    let url = store.url();
    let mut command = armory(&store, &["backup", "--storage", &url, "--topic", &topic]);
    command.args(["--bootstrap-server", kafka.bootstrap()]);
    command.args(["--segment-size", "200KiB", "--segment-time", "1s"]);
    let mut frozen = Background::start(command);
    let manifests = || files_ending(&store.files().join("manifests"), ".json").len();
    eventually("it commits", || manifests() > 0);
    signal(&frozen, "-STOP");
    // What it had on the way is fetched and committed by the other one.
    let more = Dataset::new(&topic).seed(2);
    kafka.write_dataset(&more).expect("more records");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let more = Dataset::new(&topic).seed(3);
    kafka.write_dataset(&more).expect("more records");
    signal(&frozen, "-CONT");
    // It learns of the other one when it commits next, and gives up what is no longer its own.
    let ended = frozen.ended_within(Duration::from_secs(120));
    assert_eq!(ended, Some(Some(1)), "{}", frozen.log());
    backup_once(kafka, &store, &topic, &[]).succeeded();
    comes_back(kafka, &store, &topic);
}

/// No file may grow beyond 200 KB: as a disk that is full, in the middle of batches.
#[test]
fn a_disk_that_is_full_stops_a_backup_and_costs_nothing() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = topic(kafka, 4);
    let url = store.url();
    let inner = armory(&store, &["backup", "--once", "--storage", &url]);
    let mut command = Command::new("sh");
    // Without a handler the kernel ends a process that writes too far.
    command.args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\""]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.args(["--topic", &topic, "--bootstrap-server", kafka.bootstrap()]);
    let output = command.output().expect("sh runs");
    Ran::from(output).failed_with(1, &["File too large"]);
    // What was durable still is, and the rest follows.
    backup_once(kafka, &store, &topic, &[]).succeeded();
    comes_back(kafka, &store, &topic);
}
