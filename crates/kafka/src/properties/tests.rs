use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use armory_records::Compression;

fn config(properties: &[(&str, &str)]) -> Result<ClientConfig, PropertyError> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    all.insert("bootstrap.servers".to_owned(), "kafka:9092".to_owned());
    all.extend(
        properties
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    ClientConfig::from_properties(&all)
}

#[track_caller]
fn refused(name: &str, value: &str) -> String {
    config(&[(name, value)]).unwrap_err().to_string()
}

#[test]
fn what_is_known_and_used_is_used() {
    let config = config(&[
        ("client.id", "nightly"),
        ("socket.timeout.ms", "5000"),
        ("request.timeout.ms", "7000"),
        ("fetch.wait.max.ms", "250"),
        ("fetch.min.bytes", "1024"),
        ("fetch.max.bytes", "8388608"),
        ("max.partition.fetch.bytes", "2097152"),
        ("retry.backoff.ms", "50"),
        ("retry.backoff.max.ms", "500"),
        ("topic.metadata.refresh.interval.ms", "10000"),
        ("group.id", "ignored"),
        ("acks", "all"),
        ("max.in.flight", "3"),
        ("queued.max.messages.kbytes", "1024"),
        ("queue.buffering.max.kbytes", "2048"),
        ("compression.codec", "zstd"),
        ("compression.level", "3"),
        ("security.protocol", "PLAINTEXT"),
    ])
    .unwrap();
    assert_eq!(config.client_id, "nightly");
    assert_eq!(config.request_timeout, Duration::from_secs(5));
    assert_eq!(config.produce.timeout, Duration::from_secs(7));
    assert_eq!(config.produce.max_in_flight, 3);
    assert_eq!(config.fetch.max_wait, Duration::from_millis(250));
    assert_eq!(config.fetch.min_bytes, 1024);
    assert_eq!(config.fetch.max_bytes, 8 * 1024 * 1024);
    assert_eq!(config.fetch.partition_max_bytes, 2 * 1024 * 1024);
    assert_eq!(config.retry_backoff, Duration::from_millis(50));
    assert_eq!(config.retry_backoff_max, Duration::from_millis(500));
    assert_eq!(config.metadata_refresh_interval, Duration::from_secs(10));
    assert_eq!(config.fetch_queue_bytes, Some(1024 * 1024));
    assert_eq!(config.produce_queue_bytes, Some(2 * 1024 * 1024));
    assert_eq!(config.compression, Some(Compression::Zstd));
    assert_eq!(config.compression_level, Some(3));
}

#[test]
fn bootstrap_servers_are_read_as_librdkafka_reads_them() {
    let config = config(&[(
        "bootstrap.servers",
        "a:1, b ,PLAINTEXT://c:3,[::1]:4,fe80::1,",
    )])
    .unwrap();
    let expected = [
        Address::new("a", 1),
        Address::new("b", 9092),
        Address::new("c", 3),
        Address::new("::1", 4),
        Address::new("fe80::1", 9092),
    ];
    assert_eq!(config.bootstrap, expected);
    for wrong in ["a:b", "a:0", "a:99999", ":9092", "[::1", "http://a"] {
        assert!(
            refused("bootstrap.servers", wrong).contains("bootstrap.servers"),
            "{wrong}"
        );
    }
}

#[test]
fn the_old_name_of_bootstrap_servers_does_as_well() {
    let only_old = BTreeMap::from([("metadata.broker.list".to_owned(), "a:1".to_owned())]);
    let config = ClientConfig::from_properties(&only_old).unwrap();
    assert_eq!(config.bootstrap, [Address::new("a", 1)]);
    assert_eq!(
        refused("metadata.broker.list", "other:9092"),
        "Kafka properties bootstrap.servers and metadata.broker.list are the same setting with different values; keep one"
    );
    assert_eq!(
        ClientConfig::from_properties(&BTreeMap::new()).unwrap_err(),
        PropertyError::NoBootstrap
    );
}

#[test]
fn an_unknown_property_is_refused_with_near_misses() {
    assert_eq!(
        refused("fetch.mx.bytes", "1"),
        "unknown Kafka property fetch.mx.bytes; did you mean fetch.max.bytes or fetch.min.bytes?"
    );
    assert!(refused("Group.ID", "x").contains("did you mean group.id"));
    assert!(refused("fetch.max.wait.ms", "1").contains("fetch.wait.max.ms"));
    assert_eq!(
        refused("colour", "blue"),
        "unknown Kafka property colour; see librdkafka's list of properties"
    );
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    assert_eq!(
        refused("sasl.username", "alice"),
        "Kafka property sasl.username is not supported: authentication is not supported yet"
    );
    assert_eq!(
        refused("security.protocol", "SASL_SSL"),
        "Kafka property security.protocol cannot be \"SASL_SSL\": encryption and authentication are not supported yet; only plaintext is supported"
    );
    assert!(refused("acks", "1").contains("all in-sync replicas"));
    assert!(refused("isolation.level", "read_uncommitted").contains("only read_committed"));
    assert!(refused("topic.metadata.refresh.interval.ms", "-1").contains("1 to 3600000"));
    assert!(refused("max.in.flight", "6").contains("1 to 5"));
    assert!(refused("socket.keepalive.enable", "perhaps").contains("true or false"));
    assert!(refused("compression.codec", "brotli").contains("zstd"));
}

#[test]
fn no_secret_is_repeated_in_an_error() {
    assert!(!refused("sasl.password", "hunter2").contains("hunter2"));
}

#[test]
fn every_property_is_listed_once_and_aliases_point_at_real_names() {
    let mut names = BTreeSet::new();
    for property in table::PROPERTIES {
        assert!(
            names.insert(property.name),
            "{} is there twice",
            property.name
        );
    }
    for property in table::PROPERTIES {
        if let Some(target) = property.alias_of {
            assert!(names.contains(target), "{} points nowhere", property.name);
        }
    }
}
