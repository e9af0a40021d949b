//! Plugins of four languages in one backup and one restore on Apache Kafka, each on the topics that it is selected for.
#![cfg(feature = "real")]

mod support;

use std::fs;
use std::path::Path;

use armory_testkit::guests::{self, Language, World};
use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, unique};
use support::{Ran, Store, armory, run};

/// Records of each partition, of which there are two in every source topic.
const RECORDS: i64 = 40;

/// A record with something in it for every plugin. Compact JSON, so that masking leaves the rest of it as it is.
fn record(partition: i32, number: i64) -> Record {
    let value =
        format!(r#"{{"id":"{partition}/{number}","iban":"NL{number}","email":"a@b.example"}}"#);
    Record::new(
        (number % 3 != 0)
            .then(|| format!("key-{number}"))
            .as_deref(),
        (number % 10 != 9).then_some(value.as_str()),
    )
    .partition(partition)
    .timestamp(1_700_000_000_000 + number)
    .header("secret", Some(b"hunter2"))
    .header("trace", Some(format!("{partition}/{number}").as_bytes()))
    .header("internal", None)
    .header("secret", None)
}

fn without_header(mut record: Record, name: &str) -> Record {
    record.headers.retain(|header| header.0 != name);
    record
}

fn masked(mut record: Record, field: &str) -> Record {
    let Some(value) = record.value.as_deref() else {
        return record;
    };
    let text = std::str::from_utf8(value).expect("JSON is text");
    let start = text.find(&format!("\"{field}\":\"")).expect("the field") + field.len() + 4;
    let end = start + text[start..].find('"').expect("its end");
    record.value = Some(format!("{}***{}", &text[..start], &text[end..]).into_bytes());
    record
}

fn spread(mut record: Record, partitions: i64) -> Record {
    record.partition = ((i64::from(record.partition) + record.offset) % partitions) as i32;
    record
}

/// What two topics are compared by; offsets differ where partitions do.
fn content(records: impl IntoIterator<Item = Record>) -> Vec<Record> {
    let mut records: Vec<Record> = records
        .into_iter()
        .map(|record| Record {
            offset: 0,
            ..record
        })
        .collect();
    records.sort_by_key(|record| format!("{:?} {:?}", record.partition, record.headers));
    records
}

fn armory_with_claims(store: &Store, args: &[&str], plugins: &Path) -> Ran {
    let store_claim = format!("store={}", store.url());
    let plugin_claim = format!("plugins={}", plugins.display());
    armory(store, args)
        .args(["--claim", &store_claim, "--claim", &plugin_claim])
        .output()
        .expect("the binary runs")
        .into()
}

#[test]
fn every_language_changes_what_it_is_there_for_and_nothing_else() {
    let kafka = Kafka::shared();
    let store = Store::folder();
    let folder = tempfile::tempdir().expect("a folder");
    let component = |name: &str, built: anyhow::Result<std::path::PathBuf>| {
        let built = built.expect("the plugin is built");
        fs::copy(built, folder.path().join(name)).expect("a copy");
    };
    component("rust-backup.wasm", guests::build_rust("drop-header"));
    component("rust-restore.wasm", guests::build_rust("spread"));
    for language in [Language::Python, Language::Go, Language::Javascript] {
        let name = language.to_string().to_lowercase();
        component(
            &format!("{name}-backup.wasm"),
            guests::build(language, World::Backup),
        );
        component(
            &format!("{name}-restore.wasm"),
            guests::build(language, World::Restore),
        );
    }

    // `plain` is for Go alone, `one` for Rust by its name, `all.eu` for every selector.
    let base = unique("languages");
    let topic = |name: &str| format!("{base}.{name}");
    let source = ["plain", "one", "all.eu"].map(topic);
    let target = ["plain", "one", "all.eu"].map(|name| topic(&format!("copy.{name}")));
    for topic in &source {
        kafka.create_topic(topic, 2, &[]).expect("a topic");
        let records: Vec<Record> = (0..2)
            .flat_map(|partition| (0..RECORDS).map(move |number| record(partition, number)))
            .collect();
        kafka.produce(topic, Codec::Lz4, &records).expect("records");
    }

    let wasi = |file: &str| {
        format!("wasiPluginRef: {{witVersion: \"0.1\", claimName: plugins, path: {file}.wasm}}")
    };
    let yaml = folder.path().join("job.yaml");
    let text = format!(
        r#"apiVersion: kannika.io/v1alpha
kind: EventHub
metadata: {{name: hub}}
spec: {{kafka: {{properties: {{bootstrap.servers: "{bootstrap}"}}}}}}
---
apiVersion: kannika.io/v1alpha
kind: Storage
metadata: {{name: store}}
spec: {{volume: {{capacity: 1Gi}}}}
---
apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: b1}}
spec:
  source: hub
  sink: store
  topicSelectors: {{matchers: [{{name: {{glob: "{base}.*"}}}}]}}
  plugins:
    - {rust_backup}
      topicSelectors: [{{name: {{literal: {one}}}}}, {{name: {{literal: {all}}}}}]
      spec: {{header: secret}}
    - {python_backup}
      topicSelectors: [{{name: {{glob: "{base}.a*"}}}}]
      spec: {{header: internal}}
    - {javascript_backup}
      topicSelectors: [{{name: {{regex: '\.eu$'}}}}]
      spec: {{fields: [iban]}}
    - {go_backup}
---
apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: r1}}
spec:
  source: store
  sink: hub
  enabled: true
  config:
    topics:
      - {{source: {plain}, target: {plain_copy}}}
      - {{source: {one}, target: {one_copy}}}
      - {{source: {all}, target: {all_copy}}}
    plugins:
      - {go_restore}
      - {rust_restore}
        topicSelectors: [{{name: {{literal: {one_copy}}}}}]
        spec: {{no_partition: 5}}
      - {javascript_restore}
        topicSelectors: [{{name: {{regex: 'copy\.all'}}}}]
        spec: {{fields: [email]}}
      - {python_restore}
        topicSelectors: [{{name: {{glob: "*.copy.all.*"}}}}]
        spec: {{no_partition: 3}}
"#,
        bootstrap = kafka.bootstrap(),
        rust_backup = wasi("rust-backup"),
        python_backup = wasi("python-backup"),
        javascript_backup = wasi("javascript-backup"),
        go_backup = wasi("go-backup"),
        rust_restore = wasi("rust-restore"),
        python_restore = wasi("python-restore"),
        javascript_restore = wasi("javascript-restore"),
        go_restore = wasi("go-restore"),
        plain = source[0],
        one = source[1],
        all = source[2],
        plain_copy = target[0],
        one_copy = target[1],
        all_copy = target[2],
    );
    fs::write(&yaml, text).expect("it is written");
    let yaml = yaml.display().to_string();
    armory_with_claims(&store, &["backup", "-f", &yaml, "--once"], folder.path()).succeeded();
    run(&store, &["verify", &store.url(), "--deep"]).succeeded();
    armory_with_claims(&store, &["restore", "-f", &yaml], folder.path()).succeeded();

    let written = |topic: &str| kafka.dump(topic).expect("the topic");
    let restored = |topic: &str| content(written(topic));
    assert_eq!(content(written(&source[0])).len() as i64, 2 * RECORDS);
    assert_eq!(restored(&target[0]), content(written(&source[0])));

    let expected = written(&source[1])
        .into_iter()
        .map(|record| spread(without_header(record, "secret"), 5));
    assert_eq!(restored(&target[1]), content(expected));

    let expected = written(&source[2]).into_iter().map(|record| {
        let record = without_header(without_header(record, "secret"), "internal");
        spread(masked(masked(record, "iban"), "email"), 3)
    });
    assert_eq!(restored(&target[2]), content(expected));
    let partitions = |topic: &str| kafka.topic(topic).expect("the topic").partitions.len();
    assert_eq!(target.each_ref().map(|topic| partitions(topic)), [2, 5, 3]);
}
