//! Networks and brokers that lose, cut, delay and repeat: through the test kit's proxy, in front of the real broker.
//!
//! Every test prints its seed; `ARMORY_SEED=…` makes the same choices again.
#![cfg(feature = "real")]

mod support;

use std::time::Duration;

use armory_testkit::kafka::proxy::{Api, Fault, Proxy};
use armory_testkit::{Dataset, Kafka, KafkaOptions, unique};
use support::{
    Background, Dice, Store, armory, backup_once, comes_back, eventually, restore, run, signal,
    topic,
};

/// A broker that is silent for so long is given up.
const IMPATIENT: [&str; 2] = ["-X", "socket.timeout.ms=1500"];

/// A restore of a topic into another one that is created, through the proxy.
fn restore_command(
    proxy: &str,
    store: &Store,
    source: &str,
    target: &str,
) -> std::process::Command {
    let mut command = armory(store, &["restore", "--storage", &store.url()]);
    command.args(["--bootstrap-server", proxy, "--create-topics"]);
    command.args(["--topic", &format!("{source}={target}")]);
    command.args(IMPATIENT);
    command
}

/// A backup that goes on, through the proxy, with small segments.
fn backup_command(proxy: &str, store: &Store, topic: &str) -> std::process::Command {
    let mut command = armory(store, &["backup", "--storage", &store.url()]);
    command.args(["--bootstrap-server", proxy, "--topic", topic]);
    command.args(["--segment-size", "200KiB"]).args(IMPATIENT);
    command
}

/// Restores through a proxy that does this, and compares.
fn restore_through(test: &str, more: &[&str], faults: impl FnOnce(&Proxy, &mut Dice)) {
    let kafka = Kafka::shared();
    let mut dice = Dice::new(test);
    let store = Store::folder();
    let topic = topic(kafka, 10);
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let proxy = Proxy::start(kafka).expect("a proxy");
    faults(&proxy, &mut dice);
    let target = unique("restored");
    let through = Kafka::at(&proxy.bootstrap());
    let more = [&IMPATIENT[..], more].concat();
    restore(&through, &store, &topic, &target, &more).succeeded();
    println!("{test}: {:?}", proxy.counts());
    assert!(!proxy.counts().is_empty(), "nothing went wrong");
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
}

/// Backs up through a proxy that does this, and compares.
fn backup_through(test: &str, faults: impl FnOnce(&Proxy, &mut Dice)) {
    let kafka = Kafka::shared();
    let mut dice = Dice::new(test);
    let store = Store::folder();
    let topic = topic(kafka, 10);
    let proxy = Proxy::start(kafka).expect("a proxy");
    faults(&proxy, &mut dice);
    let through = Kafka::at(&proxy.bootstrap());
    backup_once(&through, &store, &topic, &IMPATIENT).succeeded();
    println!("{test}: {:?}", proxy.counts());
    assert!(!proxy.counts().is_empty(), "nothing went wrong");
    comes_back(kafka, &store, &topic);
}

fn swallowed_answers(proxy: &Proxy, dice: &mut Dice) {
    for _ in 0..3 {
        let skip = dice.up_to(5) as usize;
        proxy.inject(Fault::SwallowAnswer, Api::Produce, skip, 2);
    }
    proxy.inject(Fault::SwallowAnswerSilently, Api::Produce, 4, 1);
}

#[test]
fn answers_of_produce_are_swallowed() {
    restore_through("swallowed answers", &[], swallowed_answers);
}

#[test]
fn answers_of_produce_are_swallowed_with_a_plugin() {
    let plugin =
        armory_testkit::guests::build_rust("identity-restore").expect("the plugin is built");
    let plugin = plugin.display().to_string();
    let more = ["--plugin", &plugin];
    restore_through("swallowed answers with a plugin", &more, swallowed_answers);
}

/// What a restore has to have done before and after its records lands once, too, when nobody hears of it.
#[test]
fn answers_about_topics_and_producers_are_swallowed() {
    const API_VERSIONS: Api = Api::Other(18);
    const CREATE_TOPICS: Api = Api::Other(19);
    const INIT_PRODUCER_ID: Api = Api::Other(22);
    const INCREMENTAL_ALTER_CONFIGS: Api = Api::Other(44);
    restore_through("swallowed administration", &[], |proxy, dice| {
        for api in [CREATE_TOPICS, INIT_PRODUCER_ID, INCREMENTAL_ALTER_CONFIGS] {
            proxy.inject(Fault::SwallowAnswer, api, 0, 1);
        }
        let skip = dice.up_to(4) as usize;
        proxy.inject(Fault::CutAnswer, API_VERSIONS, skip, 3);
    });
}

#[test]
fn requests_of_a_restore_are_cut_in_the_middle() {
    restore_through("cut requests", &[], |proxy, dice| {
        for api in [Api::Produce, Api::ListOffsets, Api::Metadata, Api::Fetch] {
            proxy.inject(Fault::CutRequest, api, dice.up_to(3) as usize, 2);
        }
        proxy.inject(Fault::Drop, Api::Produce, 3, 2);
        proxy.inject(Fault::BlackHole, Api::Produce, 6, 1);
    });
}

#[test]
fn answers_to_a_backup_are_cut_in_the_middle() {
    backup_through("cut answers", |proxy, dice| {
        proxy.inject(Fault::CutAnswer, Api::Fetch, 0, 1);
        for _ in 0..3 {
            let skip = 1 + dice.up_to(3) as usize;
            proxy.inject(Fault::CutAnswer, Api::Fetch, skip, 1);
        }
        proxy.inject(Fault::CutAnswer, Api::Metadata, 1, 1);
    });
}

#[test]
fn requests_of_a_backup_are_cut_in_the_middle() {
    backup_through("cut requests", |proxy, dice| {
        proxy.inject(Fault::CutRequest, Api::Fetch, 0, 1);
        proxy.inject(Fault::BlackHole, Api::Fetch, 1, 1);
        for api in [Api::ListOffsets, Api::Metadata] {
            proxy.inject(Fault::CutRequest, api, dice.up_to(2) as usize, 1);
        }
    });
}

/// An answer that comes slowly is waited for, however long all of it takes.
#[test]
fn a_slow_broker_is_waited_for() {
    let slow = |proxy: &Proxy, _: &mut Dice| {
        proxy.limit_bandwidth(Some(1_000_000));
        let delay = Fault::Delay(Duration::from_millis(500));
        proxy.inject(delay, Api::Fetch, 0, 2);
        proxy.inject(delay, Api::Produce, 0, 2);
    };
    backup_through("slow backup", slow);
    restore_through("slow restore", &[], slow);
}

/// A restore is killed while one connection's batches are under way, and started again. They reach the broker when `when` says.
fn late_batches(test: &str, more: &[&str], when: Late) {
    let kafka = Kafka::shared();
    let mut dice = Dice::new(test);
    let store = Store::folder();
    let topic = topic(kafka, 10);
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let proxy = Proxy::start(kafka).expect("a proxy");
    let target = unique("restored");
    let skip = 2 + dice.up_to(4) as usize;
    proxy.inject(Fault::HoldSilently, Api::Produce, skip, 1);
    let command = || {
        let mut command = restore_command(&proxy.bootstrap(), &store, &topic, &target);
        command.args(more);
        command
    };
    let mut running = Background::start(command());
    eventually("batches are under way", || {
        proxy.counts().contains_key(Fault::HoldSilently.name())
    });
    running.kill();
    eventually("they are held", || proxy.held() > 0);
    match when {
        Late::BeforeTheLogIsRead => {
            let answers = proxy.deliver_held().expect("the broker takes them");
            assert!(!answers.is_empty());
        }
        Late::BetweenReadingAndSending => {
            proxy.inject(Fault::DeliverHeldFirst, Api::Produce, 0, 1);
        }
        Late::InTheMiddle => {
            proxy.inject(Fault::DeliverHeldFirst, Api::Produce, 6, 1);
        }
        Late::AfterTheEnd => {}
    }
    let mut running = Background::start(command());
    let ended = running.ended_within(Duration::from_secs(120));
    assert_eq!(ended, Some(Some(0)), "{}", running.log());
    if let Late::AfterTheEnd = when {
        let answers = proxy.deliver_held().expect("the broker takes them");
        assert!(!answers.is_empty());
    }
    println!("{test}: {:?}", proxy.counts());
    assert!(proxy.counts().contains_key("late request"));
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
}

enum Late {
    BeforeTheLogIsRead,
    BetweenReadingAndSending,
    InTheMiddle,
    AfterTheEnd,
}

#[test]
fn a_produce_is_delivered_late_before_the_restart() {
    late_batches("late before the restart", &[], Late::BeforeTheLogIsRead);
}

#[test]
fn a_produce_is_delivered_late_after_the_log_was_read() {
    let when = Late::BetweenReadingAndSending;
    late_batches("late between reading and sending", &[], when);
}

#[test]
fn a_produce_of_changed_records_is_delivered_late() {
    let plugin =
        armory_testkit::guests::build_rust("identity-restore").expect("the plugin is built");
    let plugin = plugin.display().to_string();
    let when = Late::BetweenReadingAndSending;
    late_batches("late with a plugin", &["--plugin", &plugin], when);
}

#[test]
fn a_produce_is_delivered_late_in_the_middle_of_the_second_run() {
    late_batches("late in the middle", &[], Late::InTheMiddle);
}

#[test]
fn a_produce_is_delivered_late_after_the_end() {
    late_batches("late after the end", &[], Late::AfterTheEnd);
}

/// What the broker remembered of the producer is gone, and what it answered last was lost: only the log tells what landed.
#[test]
fn own_kafka_forgets_the_producer_while_answers_are_lost() {
    let mut kafka = Kafka::start(KafkaOptions::default()).expect("a broker");
    let mut dice = Dice::new("forgotten producer and lost answers");
    let store = Store::folder();
    // The data set begins in 2020: producers of records older than a day are forgotten by a broker that starts.
    let topic = topic(&kafka, 20);
    backup_once(&kafka, &store, &topic, &[]).succeeded();
    let proxy = Proxy::start(&kafka).expect("a proxy");
    let target = unique("restored");
    let mut running =
        Background::start(restore_command(&proxy.bootstrap(), &store, &topic, &target));
    for round in 0..3 {
        let skip = dice.up_to(4) as usize;
        let fault = if round == 1 {
            Fault::SwallowAnswerSilently
        } else {
            Fault::SwallowAnswer
        };
        let before = proxy.counts().get(fault.name()).copied().unwrap_or(0);
        proxy.inject(fault, Api::Produce, skip, 2);
        eventually("answers are lost, or the end has come", || {
            proxy.counts().get(fault.name()).copied().unwrap_or(0) > before
                || running.ended_within(Duration::ZERO).is_some()
        });
        kafka.kill().expect("the broker is killed");
        kafka.start_again().expect("the broker starts again");
    }
    let ended = running.ended_within(Duration::from_secs(120));
    assert_eq!(ended, Some(Some(0)), "{}", running.log());
    println!("{:?}", proxy.counts());
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
}

/// The one thing that no client can prevent: a broker that has forgotten the producer takes a late batch once more. The restore must not end well then.
#[test]
fn own_kafka_that_forgot_takes_a_late_batch_and_the_restore_says_so() {
    let mut kafka = Kafka::start(KafkaOptions::default()).expect("a broker");
    let store = Store::folder();
    let topic = topic(&kafka, 60);
    backup_once(&kafka, &store, &topic, &[]).succeeded();
    let proxy = Proxy::start(&kafka).expect("a proxy");
    let target = unique("restored");
    let command = || restore_command(&proxy.bootstrap(), &store, &topic, &target);
    proxy.inject(Fault::HoldSilently, Api::Produce, 2, 1);
    let mut running = Background::start(command());
    eventually("batches are under way", || {
        proxy.counts().contains_key(Fault::HoldSilently.name())
    });
    running.kill();
    eventually("they are held", || proxy.held() > 0);

    let before = end_of(&kafka, &target);
    let all = end_of(&kafka, &topic);
    proxy.delay_answers(Duration::from_millis(150));
    let mut running = Background::start(command());
    eventually("most has landed", || {
        end_of(&kafka, &target) > before + (all - before) / 2
    });
    signal(&running, "-STOP");
    kafka.kill().expect("the broker is killed");
    kafka.start_again().expect("the broker starts again");
    let answers = proxy.deliver_held().expect("the broker takes them");
    let taken = answers.iter().any(|answer| answer.error_code == 0);
    assert!(
        taken,
        "a broker without memory takes any sequence: {answers:?}"
    );
    signal(&running, "-CONT");
    let ended = running.ended_within(Duration::from_secs(180));
    assert_eq!(ended, Some(Some(4)), "{}", running.log());
    let log = running.log();
    assert!(log.contains("somebody else writes to it"), "{log}");
}

fn end_of(kafka: &Kafka, topic: &str) -> i64 {
    let topic = kafka.topic(topic).expect("the topic");
    topic.partitions.iter().map(|partition| partition.end).sum()
}

#[test]
fn own_kafka_is_paused_under_a_backup_and_a_restore() {
    let mut kafka = Kafka::start(KafkaOptions::default()).expect("a broker");
    let store = Store::folder();
    let topic = topic(&kafka, 40);
    let proxy = Proxy::start(&kafka).expect("a proxy");
    proxy.limit_bandwidth(Some(4_000_000));
    let longer_than_the_socket_timeout = Duration::from_secs(3);
    let pause_in_the_middle = |kafka: &mut Kafka, api: Api, running: &mut Background| {
        let before = proxy.requests(api);
        eventually("it is at work", || proxy.requests(api) > before + 2);
        kafka.pause().expect("paused");
        let ended = running.ended_within(longer_than_the_socket_timeout);
        kafka.resume().expect("resumed");
        assert_eq!(ended, None, "{}", running.log());
    };

    let mut running = Background::start(backup_command(&proxy.bootstrap(), &store, &topic));
    pause_in_the_middle(&mut kafka, Api::Fetch, &mut running);
    proxy.limit_bandwidth(None);
    assert_eq!(running.stop(), Some(0), "{}", running.log());
    backup_once(&kafka, &store, &topic, &[]).succeeded();
    run(&store, &["verify", &store.url(), "--deep"]).succeeded();

    let target = unique("restored");
    let delay = Fault::Delay(Duration::from_millis(200));
    proxy.inject(delay, Api::Produce, 0, 20);
    let mut running =
        Background::start(restore_command(&proxy.bootstrap(), &store, &topic, &target));
    pause_in_the_middle(&mut kafka, Api::Produce, &mut running);
    let ended = running.ended_within(Duration::from_secs(120));
    assert_eq!(ended, Some(Some(0)), "{}", running.log());
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
}

/// Brokers are given other addresses while a backup and a restore run: they are found again through the bootstrap servers.
#[test]
fn brokers_whose_addresses_change_are_found_again() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let topic = topic(kafka, 4);
    let proxy = Proxy::start(kafka).expect("a proxy");
    let bootstrap = proxy.stable_bootstrap().expect("a name that stays");
    let mut running = Background::start(backup_command(&bootstrap, &store, &topic));
    for seed in 0..3 {
        let before = proxy.requests(Api::Fetch);
        eventually("it fetches", || proxy.requests(Api::Fetch) > before + 1);
        proxy.move_elsewhere().expect("other ports");
        let more = Dataset::new(&topic).seed(seed);
        kafka.write_dataset(&more).expect("more records");
    }
    let before = proxy.requests(Api::Fetch);
    eventually("it fetches", || proxy.requests(Api::Fetch) > before + 2);
    assert_eq!(running.stop(), Some(0), "{}", running.log());
    backup_once(kafka, &store, &topic, &[]).succeeded();
    comes_back(kafka, &store, &topic);

    let target = unique("restored");
    let delay = Fault::Delay(Duration::from_millis(100));
    proxy.inject(delay, Api::Produce, 0, 1000);
    let mut running = Background::start(restore_command(&bootstrap, &store, &topic, &target));
    let before = proxy.requests(Api::Produce);
    eventually("it produces", || proxy.requests(Api::Produce) > before + 1);
    proxy.move_elsewhere().expect("other ports");
    let ended = running.ended_within(Duration::from_secs(120));
    assert_eq!(ended, Some(Some(0)), "{}", running.log());
    kafka
        .compare(&topic, &target)
        .expect("no hole, no duplicate");
}
