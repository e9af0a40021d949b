//! Restores of archives as they come to be over years: histories that part, settings that no broker knows any more.
#![cfg(feature = "real")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use armory_archive::{
    Archive, GenesisInfo, Location, PartitionWriter, TopicId, TopicKey, WriterIdentity,
    WriterOptions,
};
use armory_failpoints::{Point, VARIABLE};
use armory_records::{BatchBuilder, BatchOptions};
use armory_testkit::{Kafka, unique};
use support::{Background, Store, restore, restore_command};

fn key(topic: &str) -> TopicKey {
    let id = "AAAAAAAAAAAAAAAAAAAABw".parse::<TopicId>().expect("an id");
    TopicKey::new(topic, id)
}

async fn genesis(store: &Store, topic: &str, configs: &[(&str, &str)]) -> Archive {
    let location = Location::Folder(store.files());
    let archive = Archive::create_or_open(location).await.expect("an archive");
    let configs: BTreeMap<String, String> = configs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let info = GenesisInfo {
        cluster_id: None,
        partitions: 1,
        configs,
    };
    archive.genesis(&key(topic), info).await.expect("a genesis");
    archive
}

/// Writes segments of ten records each up to `until`, exclusive, from where the archive ends or from where histories part.
async fn write(archive: &Archive, topic: &str, parts_at: Option<i64>, until: i64, text: &str) {
    let options = WriterOptions::new(WriterIdentity::new("nightly", 1));
    let writer = PartitionWriter::open(archive, key(topic).partition(0), options).await;
    let mut writer = writer.expect("a writer");
    if let Some(base) = parts_at {
        let parted = writer.start_lineage(base, Some(0)).await;
        parted.expect("another lineage");
    }
    while writer.next_offset() < until {
        let base_offset = writer.next_offset();
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset,
            ..BatchOptions::default()
        });
        for offset in base_offset..base_offset + 10 {
            let value = format!("{text}-{offset}");
            builder.append(offset, 1_767_225_600_000, None, Some(value.as_bytes()), []);
        }
        let mut bytes = Vec::new();
        let header = builder.finish(&mut bytes).expect("a batch");
        writer.append(&bytes, &[header]).expect("it follows");
        let sealed = writer.seal().expect("sealed").expect("a segment");
        writer.chain().commit(sealed).await.expect("committed");
    }
}

fn values(kafka: &Kafka, topic: &str) -> Vec<String> {
    let records = kafka.dump(topic).expect("its records");
    let text = |value: Option<Vec<u8>>| String::from_utf8(value.expect("a value")).expect("text");
    records
        .into_iter()
        .map(|record| text(record.value))
        .collect()
}

/// A restore that goes on restores the history that it began with, although the archive knows a newer one by now.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_goes_on_stays_with_its_lineage() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let (topic, target, later) = (unique("parted"), unique("restored"), unique("later"));
    let archive = genesis(&store, &topic, &[]).await;
    write(&archive, &topic, None, 30, "old").await;
    let mut command = restore_command(kafka, &store, &topic, &target, &[]);
    command.env(VARIABLE, Point::RestoreBegun.name());
    let mut running = Background::start(command);
    let ended = running.ended_within(Duration::from_secs(60));
    assert_eq!(ended, Some(None), "{}", running.log());

    write(&archive, &topic, Some(10), 50, "new").await;
    restore(kafka, &store, &topic, &target, &[]).succeeded();
    let old: Vec<String> = (0..30).map(|offset| format!("old-{offset}")).collect();
    assert_eq!(values(kafka, &target), old);

    restore(kafka, &store, &topic, &later, &[]).succeeded();
    let new = (10..50).map(|offset| format!("new-{offset}"));
    let new: Vec<String> = old[..10].iter().cloned().chain(new).collect();
    assert_eq!(values(kafka, &later), new);
}

/// What is damaged of one topic is told when that topic is wanted, and keeps no other from coming back.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_topic_does_not_keep_the_others_from_coming_back() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let (sound, damaged) = (unique("sound"), unique("damaged"));
    for topic in [&sound, &damaged] {
        let archive = genesis(&store, topic, &[]).await;
        write(&archive, topic, None, 10, "value").await;
    }
    let folder = store.files().join("topics").join(&damaged);
    let documents = support::files_ending(&folder, "genesis.json");
    std::fs::write(&documents[0], "{}").expect("it can be damaged");
    let target = unique("restored");
    restore(kafka, &store, &sound, &target, &[]).succeeded();
    assert_eq!(values(kafka, &target).len(), 10);
    let refused = restore(kafka, &store, &damaged, &unique("restored"), &[]);
    refused.failed_with(3, &["genesis.json", "armory verify"]);
}

/// A setting that the target's brokers do not take is told, and the target gets the others.
#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_refused_are_left_out_one_by_one() {
    let (kafka, store) = (Kafka::shared(), Store::folder());
    let (topic, target) = (unique("settings"), unique("restored"));
    let configs = [
        ("compression.type", "lz4"),
        ("from.another.century", "1"),
        ("retention.ms", "-1"),
    ];
    let archive = genesis(&store, &topic, &configs).await;
    write(&archive, &topic, None, 10, "value").await;
    let ran = restore(kafka, &store, &topic, &target, &[]).succeeded();
    let refused = "does not get the configuration from.another.century";
    assert!(ran.stderr.contains(refused), "{ran:?}");
    assert!(
        !ran.stderr.contains("the configuration retention.ms"),
        "{ran:?}"
    );
    let given = kafka.topic(&target).expect("the target").configs;
    assert_eq!(
        given.get("compression.type").map(String::as_str),
        Some("lz4")
    );
    assert!(!given.contains_key("from.another.century"));
    assert_eq!(values(kafka, &target).len(), 10);
}
