//! What a restore takes of an archive, where it goes, and what it tells before it writes.
#![cfg(feature = "real")]

mod support;

use std::path::Path;

use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, unique};
use support::{Ran, Store, armory, backup_once, files_ending, restore, run};

/// Milliseconds of 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600_000;

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970");
    i64::try_from(now.as_millis()).expect("it fits")
}

/// Runs `armory restore -f` with this `spec.config`.
fn restore_config(kafka: &Kafka, store: &Store, config: &str, more: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("restore.yaml");
    let text = format!(
        "apiVersion: kannika.io/v1alpha\nkind: Restore\nmetadata: {{name: some}}\nspec:\n  source: disk\n  sink: hub\n  config: {config}\n---\n\
         apiVersion: kannika.io/v1alpha\nkind: EventHub\nmetadata: {{name: hub}}\nspec: {{kafka: {{properties: {{bootstrap.servers: \"{}\"}}}}}}\n---\n\
         apiVersion: kannika.io/v1alpha\nkind: Storage\nmetadata: {{name: disk}}\nspec: {{volume: {{capacity: 1Gi}}}}\n",
        kafka.bootstrap()
    );
    std::fs::write(&file, text).expect("it can be written");
    let (file, claim) = (file.display().to_string(), format!("disk={}", store.url()));
    let mut command = armory(store, &["restore", "-f", &file, "--claim", &claim]);
    command.args(more).output().expect("the binary runs").into()
}

fn values(records: &[Record]) -> Vec<String> {
    let value = |record: &Record| record.value.clone().unwrap_or_default();
    records
        .iter()
        .map(|record| String::from_utf8(value(record)).expect("text"))
        .collect()
}

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// Verdict and name of the checks that are not fine.
fn findings(report: &serde_json::Value) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let checks = report[0]["checks"].as_array().expect("checks").iter();
    checks
        .map(|check| (text(&check["verdict"]), text(&check["check"])))
        .filter(|(verdict, _)| verdict != "ok")
        .collect()
}

/// A topic with `records` numbered records in each partition, ten a batch, a minute apart from the new year on.
fn numbered(kafka: &Kafka, name: &str, partitions: i32, records: i64) {
    kafka
        .create_topic(name, partitions, &[("retention.ms", "-1")])
        .expect("a topic");
    let all: Vec<i64> = (0..records).collect();
    for chunk in all.chunks(10) {
        let batch: Vec<Record> = (0..partitions)
            .flat_map(|partition| {
                chunk.iter().map(move |index| {
                    Record::new(Some("k"), Some(&format!("{partition}-{index}")))
                        .partition(partition)
                        // Out of order inside of a batch.
                        .timestamp(NEW_YEAR + (index ^ 3) * 60_000)
                })
            })
            .collect();
        kafka.produce(name, Codec::Lz4, &batch).expect("records");
    }
}

#[test]
fn a_dry_run_tells_everything_and_writes_nothing() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let (topic, target) = (unique("dry"), unique("target"));
    numbered(kafka, &topic, 2, 30);
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let before = files_ending(&store.files(), "");

    let ran = restore(kafka, &store, &topic, &target, &["--dry-run", "-o", "json"]).succeeded();
    let report = json(&ran);
    assert_eq!(report[0]["topics"][0]["records"], 60);
    // As headers tell, wherever the producer began a batch.
    let oldest = report[0]["topics"][0]["oldestMs"].as_i64();
    assert!(oldest.is_some_and(|oldest| (NEW_YEAR..=NEW_YEAR + 3 * 60_000).contains(&oldest)));
    assert_eq!(report[0]["starts"], true);
    assert_eq!(findings(&report), []);
    assert!(kafka.topic(&target).is_err(), "it was not created");

    let mapping = format!("{topic}={target}");
    let (url, bootstrap) = (store.url(), kafka.bootstrap());
    let args = [
        "restore",
        "--storage",
        &url,
        "--bootstrap-server",
        bootstrap,
        "--topic",
        &mapping,
    ];
    let missing = run(&store, &[&args[..], &["--dry-run", "-o", "json"]].concat());
    assert_eq!(
        findings(&json(&missing)),
        [("refused".to_owned(), "target".to_owned())]
    );
    run(&store, &[&args[..], &["--dry-run"]].concat()).failed_with(
        4,
        &[
            "refused",
            "does not exist",
            "--create-topics",
            "would be refused",
        ],
    );

    kafka
        .create_topic(
            &target,
            1,
            &[("retention.ms", "1000"), ("min.insync.replicas", "2")],
        )
        .expect("a topic");
    let ran = restore(kafka, &store, &topic, &target, &["--dry-run", "-o", "json"]);
    assert_eq!(ran.code, Some(4));
    let names: Vec<String> = findings(&json(&ran))
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(
        names,
        ["partitions", "replicas", "retention"],
        "all at once"
    );
    // What a dry run refuses, a run refuses.
    restore(kafka, &store, &topic, &target, &[]).failed_with(
        4,
        &["has 1 partitions", "min.insync.replicas", "retention.ms"],
    );
    assert_eq!(
        files_ending(&store.files(), ""),
        before,
        "nothing was written to the archive"
    );
    assert_eq!(
        kafka.topic(&target).expect("the target").partitions[0].end,
        0
    );

    let other = unique("target");
    restore(kafka, &store, &topic, &other, &[]).succeeded();
    let ran = restore(kafka, &store, &topic, &other, &["--dry-run", "-o", "json"]).succeeded();
    assert_eq!(json(&ran)[0]["standing"], "done");
}

#[test]
fn offsets_and_times_are_exact_for_every_record() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let topic = unique("ranges");
    numbered(kafka, &topic, 2, 100);
    backup_once(kafka, &store, &topic, &["--segment-size", "1KiB"]).succeeded();
    let all = kafka.dump(&topic).expect("the topic");
    let minute = |minutes: i64| {
        let hours = minutes / 60;
        format!("2026-01-01T{hours:02}:{:02}:00Z", minutes % 60)
    };
    let cases = [
        ((Some(13), Some(57)), (None, None)),
        ((Some(13), None), (None, Some(44))),
        ((None, Some(57)), (Some(22), None)),
        ((Some(5), Some(95)), (Some(22), Some(77))),
        ((Some(40), Some(40)), (None, None)),
    ];
    for ((from, until), (since, before)) in cases {
        let target = unique("target");
        let offset = |key: &str, value: Option<i64>| {
            value.map_or(String::new(), |value| format!(", {key}: {value}"))
        };
        let time = |key: &str, value: Option<i64>| {
            value.map_or(String::new(), |value| {
                format!("{key}: \"{}\", ", minute(value))
            })
        };
        let config = format!(
            "{{topics: [{{source: {topic}, target: {target}, partitions: [{{number: 1{}{}}}]}}], filters: {{time: {{absolute: {{{}{}}}}}}}}}",
            offset("restoreFromOffset", from),
            offset("restoreUntilOffset", until),
            time("fromDateTime", since),
            time("toDateTime", before),
        );
        restore_config(kafka, &store, &config, &[]).succeeded();
        let at = |minutes: i64| NEW_YEAR + minutes * 60_000;
        let wanted: Vec<Record> = all
            .iter()
            .filter(|record| record.partition == 1)
            .filter(|record| from.is_none_or(|from| record.offset >= from))
            .filter(|record| until.is_none_or(|until| record.offset <= until))
            .filter(|record| since.is_none_or(|since| record.timestamp >= at(since)))
            .filter(|record| before.is_none_or(|before| record.timestamp < at(before)))
            .cloned()
            .collect();
        let found = kafka.dump(&target).expect("the target");
        assert_eq!(values(&found), values(&wanted), "{config}");
        let times = |records: &[Record]| -> Vec<i64> {
            records.iter().map(|record| record.timestamp).collect()
        };
        assert_eq!(times(&found), times(&wanted));
        assert!(found.iter().all(|record| record.partition == 1));
        let again = restore_config(kafka, &store, &config, &[]).succeeded();
        assert!(again.stdout.contains("restored before"), "{again:?}");
    }
}

#[test]
fn empty_and_trimmed_ranges_end_and_say_so() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let topic = unique("trimmed");
    numbered(kafka, &topic, 1, 30);
    kafka
        .delete_records(&topic, 0, 10)
        .expect("the head is gone");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let cases = [
        (
            "restoreFromOffset: 2, restoreUntilOffset: 14",
            5,
            "begins at offset 10",
        ),
        (
            "restoreFromOffset: 25, restoreUntilOffset: 900",
            5,
            "ends before offset 30",
        ),
        ("restoreFromOffset: 500", 0, "nothing in that range"),
        ("restoreUntilOffset: 3", 0, "nothing in that range"),
    ];
    for (range, records, words) in cases {
        let target = unique("target");
        let config = format!(
            "{{topics: [{{source: {topic}, target: {target}, partitions: [{{number: 0, {range}}}]}}]}}"
        );
        let dry = restore_config(kafka, &store, &config, &["--dry-run"]).succeeded();
        assert!(
            dry.stdout.contains(words) && dry.stdout.contains("warning"),
            "{dry:?}"
        );
        let ran = restore_config(kafka, &store, &config, &[]).succeeded();
        assert!(ran.stderr.contains(words), "{ran:?}");
        assert_eq!(
            kafka.dump(&target).expect("the target").len(),
            records,
            "{range}"
        );
    }
    let target = unique("target");
    let config = format!(
        "{{topics: [{{source: {topic}, target: {target}}}], filters: {{time: {{absolute: {{fromDateTime: \"2030-01-01T00:00:00Z\"}}}}}}}}"
    );
    let ran = restore_config(kafka, &store, &config, &[]).succeeded();
    assert!(ran.stderr.contains("no record of that time"), "{ran:?}");
    let config = format!(
        "{{topics: [{{source: {topic}, target: {target}-x, partitions: [{{number: 7}}]}}]}}"
    );
    restore_config(kafka, &store, &config, &[])
        .failed_with(4, &["no partition 7", "name some of those it has: [0]"]);
}

#[test]
fn a_topic_that_was_created_again_has_two_lives() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let topic = unique("lives");
    for life in ["first", "second"] {
        kafka
            .create_topic(&topic, 1, &[("retention.ms", "-1")])
            .expect("a topic");
        kafka
            .produce(&topic, Codec::None, &[Record::new(Some("k"), Some(life))])
            .expect("a record");
        backup_once(kafka, &store, &topic, &[]).succeeded();
        kafka.delete_topic(&topic).expect("it is deleted");
    }
    let into = |version: &str| {
        let target = unique("target");
        let config = format!(
            "{{topics: [{{source: {topic}, target: {target}, snapshot: {{version: {version}}}}}]}}"
        );
        (restore_config(kafka, &store, &config, &[]), target)
    };
    for (version, life) in [("v1", "first"), ("latest", "second"), ("2", "second")] {
        let (ran, target) = into(version);
        ran.succeeded();
        assert_eq!(values(&kafka.dump(&target).expect("the target")), [life]);
    }
    into("v3").0.failed_with(4, &["has no v3", "v1, v2"]);
    // Both lives in one topic, one after the other.
    let target = unique("target");
    let one = |version: &str| {
        format!("{{source: {topic}, target: {target}, snapshot: {{version: {version}}}}}")
    };
    let config = format!("{{topics: [{}, {}]}}", one("v2"), one("v1"));
    restore_config(kafka, &store, &config, &[]).succeeded();
    assert_eq!(
        values(&kafka.dump(&target).expect("the target")),
        ["second", "first"]
    );
    let config = format!("{{topics: [{}, {}]}}", one("v2"), one("latest"));
    restore_config(kafka, &store, &config, &[]).failed_with(4, &["twice", "list it once"]);
}

#[test]
fn several_topics_go_into_one() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let prefix = unique("merge");
    let (few, many, target) = (
        format!("{prefix}-few"),
        format!("{prefix}-many"),
        unique("one"),
    );
    numbered(kafka, &few, 1, 25);
    numbered(kafka, &many, 3, 15);
    backup_once(kafka, &store, &format!("{prefix}-*"), &[]).succeeded();
    let (url, first, second) = (
        store.url(),
        format!("{many}={target}"),
        format!("{few}={target}"),
    );
    let args = [
        "restore",
        "--storage",
        &url,
        "--bootstrap-server",
        kafka.bootstrap(),
        "--topic",
        &first,
        "--topic",
        &second,
        "--create-topics",
    ];
    run(&store, &args).succeeded();
    let numbers = |partition: i32, records: i64| -> Vec<String> {
        (0..records)
            .map(|index| format!("{partition}-{index}"))
            .collect()
    };
    let found = kafka.dump(&target).expect("the target");
    let of = |partition: i32| -> Vec<String> {
        let records = found
            .iter()
            .filter(|record| record.partition == partition)
            .cloned();
        values(&records.collect::<Vec<_>>())
    };
    assert_eq!(
        of(0),
        [numbers(0, 15), numbers(0, 25)].concat(),
        "in the order of the mappings"
    );
    assert_eq!((of(1), of(2)), (numbers(1, 15), numbers(2, 15)));
    let again = run(&store, &args).succeeded();
    assert!(again.stdout.contains("restored before"), "{again:?}");
}

/// A topic of one partition with batches of `sizes`, each a list of record sizes.
fn sized(kafka: &Kafka, name: &str, batches: &[Vec<usize>]) {
    kafka
        .create_topic(
            name,
            1,
            &[("max.message.bytes", "8000000"), ("retention.ms", "-1")],
        )
        .expect("a topic");
    for (number, sizes) in batches.iter().enumerate() {
        let records: Vec<Record> = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| {
                // Not compressible to nothing.
                let value: String = (0..*size)
                    .map(|at| char::from(b'a' + ((at * at + at * 7 + index + number) % 23) as u8))
                    .collect();
                Record::new(Some("k"), Some(&value))
            })
            .collect();
        kafka.produce(name, Codec::None, &records).expect("records");
    }
}

/// Killed in the middle, over and over, with and without a plugin: no hole, no duplicate, each source in its order.
#[test]
fn a_killed_restore_of_several_topics_into_one_goes_on() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let prefix = unique("killed");
    let names = [format!("{prefix}-a"), format!("{prefix}-b")];
    for (name, records) in names.iter().zip([700, 500]) {
        let value =
            |batch: usize, index: usize| format!("{name} {batch} {index} {}", "x".repeat(600));
        kafka
            .create_topic(name, 1, &[("retention.ms", "-1")])
            .expect("a topic");
        for batch in 0..4 {
            let records: Vec<Record> = (0..records / 4)
                .map(|index| Record::new(Some("k"), Some(&value(batch, index))))
                .collect();
            kafka.produce(name, Codec::None, &records).expect("records");
        }
    }
    backup_once(kafka, &store, &format!("{prefix}-*"), &[]).succeeded();
    let [a, b] = names
        .each_ref()
        .map(|name| values(&kafka.dump(name).expect("a source")));
    let plugin =
        armory_testkit::guests::build_rust("identity-restore").expect("the plugin is built");
    let plugin = plugin.display().to_string();
    for more in [&[][..], &["--plugin", plugin.as_str()][..]] {
        let target = unique("one");
        // Small batches, so that there are many of them.
        kafka
            .create_topic(
                &target,
                1,
                &[("max.message.bytes", "20000"), ("retention.ms", "-1")],
            )
            .expect("a topic");
        let url = store.url();
        let mappings = names.each_ref().map(|name| format!("{name}={target}"));
        let into = |point: Option<&str>| -> Ran {
            let mut command = armory(&store, &["restore", "--storage", &url]);
            command.args(["--bootstrap-server", kafka.bootstrap()]);
            command
                .args(["--topic", &mappings[0], "--topic", &mappings[1]])
                .args(more);
            if let Some(point) = point {
                command.env(armory_failpoints::VARIABLE, point);
            }
            command.output().expect("it runs").into()
        };
        for point in [
            "batches-sent:3",
            "batches-acknowledged:2",
            "batches-acknowledged:9",
            "batches-sent:7",
            "done-due:1",
        ] {
            let ran = into(Some(point));
            assert_eq!(ran.code, None, "{point} was not reached: {ran:?}");
        }
        into(None).succeeded();
        let found = values(&kafka.dump(&target).expect("the target"));
        if more.is_empty() {
            assert!(
                found == [a.clone(), b.clone()].concat(),
                "one after the other"
            );
        } else {
            let of = |name: &str| -> Vec<String> {
                let start = format!("{name} ");
                found
                    .iter()
                    .filter(|value| value.starts_with(&start))
                    .cloned()
                    .collect()
            };
            assert!(
                of(&names[0]) == a && of(&names[1]) == b,
                "each in its order"
            );
            assert_eq!(found.len(), a.len() + b.len());
        }
        assert!(into(None).succeeded().stdout.contains("restored before"));
    }
}

#[test]
fn batches_are_split_for_a_target_that_takes_smaller_ones() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let (topic, target) = (unique("large"), unique("small"));
    sized(
        kafka,
        &topic,
        &[vec![700; 900], vec![10; 3], vec![2_500; 12]],
    );
    backup_once(kafka, &store, &topic, &[]).succeeded();
    kafka
        .create_topic(
            &target,
            1,
            &[("max.message.bytes", "3000"), ("retention.ms", "-1")],
        )
        .expect("a topic");
    let dry = restore(kafka, &store, &topic, &target, &["--dry-run"]).succeeded();
    assert!(dry.stdout.contains("larger batches are split"), "{dry:?}");
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    kafka
        .compare(&topic, &target)
        .expect("every record is equal");
}

#[test]
fn a_record_that_is_too_large_is_named() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let topic = unique("large");
    sized(kafka, &topic, &[vec![10; 5], vec![10, 50_000, 10]]);
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let small = |target: &str| {
        kafka
            .create_topic(
                target,
                1,
                &[("max.message.bytes", "20000"), ("retention.ms", "-1")],
            )
            .expect("a topic");
    };
    let target = unique("small");
    small(&target);
    restore(kafka, &store, &topic, &target, &[])
        .failed_with(4, &[&topic, "partition 0", "offset 6", "max.message.bytes"]);
    // Raised, the same restore goes on.
    kafka
        .set_topic_configs(&target, &[("max.message.bytes", Some("100000"))])
        .expect("it is raised");
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    kafka
        .compare(&topic, &target)
        .expect("every record is equal");

    // Where every batch holds one record it is known before.
    let topic = unique("large");
    sized(kafka, &topic, &[vec![10], vec![50_000]]);
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let target = unique("small");
    small(&target);
    restore(kafka, &store, &topic, &target, &[]).failed_with(
        4,
        &[
            "before anything was written",
            "a record that takes",
            "raise it to",
        ],
    );
}

#[test]
fn targets_that_change_records_are_refused_unless_that_is_wanted() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let topic = unique("nullkeys");
    kafka
        .create_topic(&topic, 1, &[("retention.ms", "-1")])
        .expect("a topic");
    let record = |key: Option<&str>| Record::new(key, Some("x"));
    kafka
        .produce(&topic, Codec::None, &[record(Some("a")), record(Some("b"))])
        .expect("records");
    kafka
        .produce(&topic, Codec::Gzip, &[record(None)])
        .expect("a record");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let compacted = unique("compacted");
    kafka
        .create_topic(&compacted, 1, &[("cleanup.policy", "compact")])
        .expect("a topic");
    restore(kafka, &store, &topic, &compacted, &[])
        .failed_with(4, &["is compacted", "without a key"]);
    restore(kafka, &store, &topic, &compacted, &["--allow-expiry"])
        .failed_with(4, &["source offset 2", "INVALID_RECORD"]);
    let stamped = unique("stamped");
    let configs = [
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "-1"),
    ];
    kafka.create_topic(&stamped, 1, &configs).expect("a topic");
    restore(kafka, &store, &topic, &stamped, &[]).failed_with(4, &["LogAppendTime"]);
    restore(kafka, &store, &topic, &stamped, &["--allow-expiry"]).succeeded();
    assert_eq!(kafka.dump(&stamped).expect("the target").len(), 3);
    let limited = unique("limited");
    let configs = [
        ("message.timestamp.before.max.ms", "1000"),
        ("retention.ms", "-1"),
    ];
    kafka.create_topic(&limited, 1, &configs).expect("a topic");
    restore(kafka, &store, &topic, &limited, &["--allow-expiry"])
        .failed_with(4, &["message.timestamp.before.max.ms=1000", "raise it"]);
}

#[test]
fn what_the_target_would_expire_is_left_out_where_that_is_asked_for() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let topic = unique("aged");
    kafka
        .create_topic(&topic, 1, &[("retention.ms", "-1")])
        .expect("a topic");
    let day = 24 * 3_600_000;
    let records: Vec<Record> = (0..20)
        .map(|index| {
            let age = if index % 3 == 0 { 40 * day } else { day };
            Record::new(Some("k"), Some(&index.to_string())).timestamp(now_ms() - age)
        })
        .collect();
    kafka
        .produce(&topic, Codec::Zstd, &records)
        .expect("records");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let young: Vec<String> = (0..20)
        .filter(|index| index % 3 != 0)
        .map(|index| index.to_string())
        .collect();
    // By the configuration of the target, or by what it gets from the archive.
    let week = unique("week");
    kafka
        .create_topic(&week, 1, &[("retention.ms", "604800000")])
        .expect("a topic");
    let config = |target: &str| {
        format!(
            "{{topics: [{{source: {topic}, target: {target}}}], filters: {{time: {{retention: {{policies: [ApplyTargetTopicRetention]}}}}}}}}"
        )
    };
    restore_config(kafka, &store, &config(&week), &[]).succeeded();
    assert_eq!(values(&kafka.dump(&week).expect("the target")), young);
    let again = restore_config(kafka, &store, &config(&week), &[]).succeeded();
    assert!(again.stdout.contains("restored before"), "{again:?}");
    let kept = unique("kept");
    restore_config(kafka, &store, &config(&kept), &[]).succeeded();
    assert_eq!(
        kafka.dump(&kept).expect("the target").len(),
        20,
        "the archived topic keeps all"
    );
}

#[test]
fn every_record_can_carry_its_offset() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let prefix = unique("carry");
    let names: Vec<String> = (0..3).map(|index| format!("{prefix}-{index}")).collect();
    for name in &names {
        numbered(kafka, name, 2, 25);
    }
    backup_once(kafka, &store, &format!("{prefix}-*"), &[]).succeeded();
    let targets: Vec<String> = names.iter().map(|_| unique("target")).collect();
    let topics: Vec<String> = names
        .iter()
        .zip(&targets)
        .map(|(name, target)| format!("{{source: {name}, target: {target}}}"))
        .collect();
    for (parallelism, producers) in [(1, 1), (2, 0)] {
        let suffix = format!("-{parallelism}{producers}");
        let topics = topics.join(", ");
        let mut topics = topics;
        for target in &targets {
            topics = topics.replace(target.as_str(), &format!("{target}{suffix}"));
        }
        let config = format!(
            "{{topics: [{topics}], legacyOffsetHeader: __offset, parallelism: {parallelism}, maxProducers: {producers}}}"
        );
        restore_config(kafka, &store, &config, &[]).succeeded();
        for (name, target) in names.iter().zip(&targets) {
            let source = kafka.dump(name).expect("the source");
            let found = kafka
                .dump(&format!("{target}{suffix}"))
                .expect("the target");
            assert_eq!(values(&found), values(&source));
            for (record, original) in found.iter().zip(&source) {
                let offset = Some(original.offset.to_string().into_bytes());
                assert_eq!(record.headers, [("__offset".to_owned(), offset)]);
            }
        }
    }
}

#[test]
fn a_report_can_be_kept_elsewhere() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let (topic, target) = (unique("elsewhere"), unique("target"));
    numbered(kafka, &topic, 1, 10);
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let before = files_ending(&store.files(), "");
    let reports = tempfile::tempdir().expect("a folder");
    let place = reports.path().join("reports").display().to_string();
    let report = ["--report", place.as_str()];
    restore(kafka, &store, &topic, &target, &report).succeeded();
    assert_eq!(
        files_ending(&store.files(), ""),
        before,
        "the archive is as it was"
    );
    assert!(!files_ending(Path::new(&place), ".entry").is_empty());
    let again = restore(kafka, &store, &topic, &target, &report).succeeded();
    assert!(again.stdout.contains("restored before"), "{again:?}");
    // Without it, nobody knows that it was this restore.
    restore(kafka, &store, &topic, &target, &[]).failed_with(4, &["not empty"]);
}

#[test]
fn a_setting_that_would_close_the_target_is_left_out_and_told() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let (topic, target) = (unique("insync"), unique("target"));
    numbered(kafka, &topic, 1, 10);
    let configs = [
        ("min.insync.replicas", Some("2")),
        ("segment.ms", Some("123456789")),
    ];
    kafka
        .set_topic_configs(&topic, &configs)
        .expect("it is set");
    backup_once(kafka, &store, &topic, &[]).succeeded();
    let ran = restore(kafka, &store, &topic, &target, &[]).succeeded();
    assert!(ran.stderr.contains("min.insync.replicas=2"), "{ran:?}");
    let configs = kafka.topic(&target).expect("the target").configs;
    assert_eq!(
        configs.get("segment.ms").map(String::as_str),
        Some("123456789")
    );
    assert_eq!(configs.get("retention.ms").map(String::as_str), Some("-1"));
    assert_eq!(
        configs.len(),
        2,
        "and none of those it was created with: {configs:?}"
    );
}
