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
    assert!(refused("sasl.kerberos.keytab", "/k").contains("Kerberos is not spoken here"));
    assert!(refused("sasl.mechanism", "GSSAPI").contains("Kerberos is not supported; use PLAIN"));
    assert!(refused("ssl.keystore.location", "/k.p12").contains("openssl pkcs12 -in keystore.p12"));
    assert!(refused("sasl.jaas.config", "x").contains("use sasl.username and sasl.password"));
    assert!(
        refused("security.protocol", "TLS").contains("PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL")
    );
    assert!(refused("acks", "1").contains("all in-sync replicas"));
    assert!(refused("isolation.level", "read_uncommitted").contains("only read_committed"));
    assert!(refused("topic.metadata.refresh.interval.ms", "-1").contains("1 to 3600000"));
    assert!(refused("max.in.flight", "6").contains("1 to 5"));
    assert!(refused("socket.keepalive.enable", "perhaps").contains("true or false"));
    assert!(refused("compression.codec", "brotli").contains("zstd"));
}

/// A sound configuration for a mechanism, with some of it left out or changed.
fn secured(
    protocol: &str,
    properties: &[(&str, &str)],
    without: &[&str],
) -> Result<ClientConfig, PropertyError> {
    let mut all = vec![("security.protocol", protocol)];
    all.extend(
        properties
            .iter()
            .filter(|(name, _)| !without.contains(name)),
    );
    config(&all)
}

const SCRAM: [(&str, &str); 3] = [
    ("sasl.mechanism", "SCRAM-SHA-512"),
    ("sasl.username", "alice"),
    ("sasl.password", "hunter2"),
];
const OAUTH: [(&str, &str); 7] = [
    ("sasl.mechanisms", "OAUTHBEARER"),
    ("sasl.oauthbearer.method", "oidc"),
    ("sasl.oauthbearer.token.endpoint.url", "https://idp/token"),
    ("sasl.oauthbearer.client.id", "armory"),
    ("sasl.oauthbearer.client.secret", "hunter2"),
    ("sasl.oauthbearer.scope", "kafka"),
    (
        "sasl.oauthbearer.extensions",
        "logicalCluster=lkc-1,identityPoolId=pool-1",
    ),
];

#[test]
fn every_protocol_and_mechanism_is_taken() {
    for protocol in ["plaintext", "SSL"] {
        assert!(secured(protocol, &[], &[]).unwrap().sasl.is_none());
    }
    for protocol in ["SASL_PLAINTEXT", "sasl_ssl"] {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let mut properties = SCRAM;
            properties[0].1 = mechanism;
            let config = secured(protocol, &properties, &[]).unwrap();
            assert!(
                format!("{:?}", config.connect).starts_with(if protocol == "sasl_ssl" {
                    "TlsConnect"
                } else {
                    "TcpConnect"
                })
            );
            assert!(config.sasl.is_some());
        }
        assert!(secured(protocol, &OAUTH, &[]).unwrap().sasl.is_some());
    }
    let mutual = [
        ("ssl.ca.location", "/ca.pem"),
        ("ssl.certificate.pem", "c"),
        ("ssl.key.location", "/key.pem"),
        ("ssl.key.password", "hunter2"),
        ("ssl.endpoint.identification.algorithm", "none"),
        ("enable.ssl.certificate.verification", "true"),
    ];
    secured("SSL", &mutual, &[]).unwrap();
}

#[test]
fn what_does_not_go_together_is_refused() {
    #[track_caller]
    fn check(result: Result<ClientConfig, PropertyError>, text: &str) {
        assert_eq!(result.unwrap_err().to_string(), text);
    }
    check(
        config(&SCRAM),
        "Kafka property sasl.mechanism has no meaning while security.protocol is PLAINTEXT; set that to SASL_SSL or SASL_PLAINTEXT, or remove it",
    );
    check(
        secured("SASL_PLAINTEXT", &[("ssl.ca.pem", "x")], &[]),
        "Kafka property ssl.ca.pem has no meaning while security.protocol is SASL_PLAINTEXT; set that to SASL_SSL, or remove it",
    );
    check(
        secured("SASL_SSL", &SCRAM, &["sasl.mechanism"]),
        "Kafka property sasl.mechanism is missing; name PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
    );
    check(
        secured("SASL_SSL", &SCRAM, &["sasl.password"]),
        "Kafka property sasl.password is missing for SCRAM-SHA-512",
    );
    check(
        secured("SASL_SSL", &OAUTH, &["sasl.oauthbearer.client.id"]),
        "Kafka property sasl.oauthbearer.client.id is missing for OAUTHBEARER",
    );
    check(
        secured("SASL_SSL", &OAUTH, &["sasl.oauthbearer.method"]),
        "Kafka property sasl.oauthbearer.method is missing; set it to oidc, so that tokens are got from a token endpoint",
    );
    let both = [&SCRAM[..], &OAUTH[3..4]].concat();
    check(
        secured("SASL_SSL", &both, &[]),
        "Kafka property sasl.oauthbearer.client.id has no meaning for sasl.mechanism SCRAM-SHA-512; remove it",
    );
    check(
        secured("SSL", &[("ssl.key.pem", "k")], &[]),
        "Kafka property ssl.key is there without its certificate; add ssl.certificate.location or ssl.certificate.pem",
    );
    let twice = [("ssl.key.pem", "k"), ("ssl.key.location", "/k")];
    check(
        secured("SSL", &twice, &[]),
        "Kafka property ssl.key.location is there together with ssl.key.pem; keep one",
    );
    check(
        config(&[("bootstrap.servers", "SASL_SSL://a:1")]),
        "Kafka property bootstrap.servers names SASL_SSL:// and security.protocol is PLAINTEXT; set security.protocol=SASL_SSL",
    );
    let reserved = [("sasl.oauthbearer.extensions", "auth=x")];
    assert!(secured("SASL_SSL", &reserved, &[]).is_err());
}

#[test]
fn secrets_come_from_files_and_win_over_properties() {
    let properties = BTreeMap::from(
        [
            ("bootstrap.servers", "kafka:9092"),
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "alice"),
            ("sasl.password", "old"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let file = |name: &str| BTreeMap::from([(name.to_owned(), SecretValue::File("/run/p".into()))]);
    let config =
        ClientConfig::from_properties_and_secrets(&properties, &file("sasl.password")).unwrap();
    assert!(format!("{config:?}").contains("/run/p"));
    let error =
        ClientConfig::from_properties_and_secrets(&properties, &file("client.id")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Kafka property client.id cannot be read from a file; give its value"
    );
    assert!(is_secret("ssl.key.pem") && is_secret("sasl.username") && !is_secret("client.id"));
}

#[test]
fn no_secret_is_shown() {
    assert!(!refused("sasl.password", "hunter2").contains("hunter2"));
    let keys = [
        ("ssl.key.pem", "hunter2"),
        ("ssl.certificate.pem", "c"),
        ("ssl.key.password", "hunter2"),
    ];
    for (protocol, properties) in [
        ("SASL_SSL", &SCRAM[..]),
        ("SASL_SSL", &OAUTH),
        ("SSL", &keys),
    ] {
        let config = secured(protocol, properties, &[]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
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
