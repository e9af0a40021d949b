//! Clusters that ask who one is: every refusal says what to do, and sessions and tokens are renewed.
#![cfg(feature = "real")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use armory_kafka::{
    Client, ClientConfig, FetchAssignment, FetchOptions, Fetcher, OffsetSpec, PendingProduce,
    ProduceBatch, ProduceConnection, ProduceOptions, TopicFilter,
};
use armory_records::{BatchBuilder, BatchOptions};
use armory_testkit::kafka::secure_cluster::{Properties, SESSION, with, without};
use armory_testkit::{Authority, Listener, SecureKafka, TokenEndpoint, unique};
use bytes::Bytes;

fn client(bootstrap: &str, properties: &[(&str, String)]) -> Client {
    let mut plain = BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap.to_owned())]);
    let mut secrets = BTreeMap::new();
    for (name, value) in properties {
        match name.strip_suffix('@') {
            Some(name) => {
                let file = armory_kafka::SecretValue::File(value.into());
                secrets.insert(name.to_owned(), file);
            }
            None => drop(plain.insert((*name).to_owned(), value.clone())),
        }
    }
    let config = ClientConfig::from_properties_and_secrets(&plain, &secrets).expect("properties");
    Client::new(config).expect("nothing is connected yet")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

#[test]
fn own_kafka_refusals_name_what_is_wrong_and_what_to_do() {
    let cluster = SecureKafka::shared();
    let sasl = |listener| cluster.password(listener, "SCRAM-SHA-512", "alice");
    let plaintext = cluster.kafka.bootstrap().to_owned();
    let at = |listener| cluster.kafka.secure_bootstrap(listener);
    let cases: Vec<(String, Properties, &[&str])> = vec![
        (
            at(Listener::SaslSsl),
            with(sasl(Listener::SaslSsl), "sasl.password", "wrong"),
            &["does not let User:alice in", "check the credentials"],
        ),
        (
            at(Listener::SaslSsl),
            with(
                cluster.password(Listener::SaslSsl, "PLAIN", "alice"),
                "sasl.password",
                "wrong",
            ),
            &["does not let User:alice in", "check the credentials"],
        ),
        (
            at(Listener::Expired),
            sasl(Listener::Expired),
            &["its certificate has expired", "clock"],
        ),
        (
            at(Listener::Expired),
            with(
                sasl(Listener::Expired),
                "enable.ssl.certificate.verification",
                "false",
            ),
            &["it does not offer SCRAM-SHA-512; set sasl.mechanism to one that it does: PLAIN"],
        ),
        (
            at(Listener::OtherHost),
            sasl(Listener::OtherHost),
            &[
                "its certificate is for",
                "elsewhere.example",
                "not for 127.0.0.1",
            ],
        ),
        (
            at(Listener::SaslSsl),
            with(
                sasl(Listener::SaslSsl),
                "ssl.ca.location",
                &cluster.path("carol.pem"),
            ),
            &["an authority that is not trusted here", "ssl.ca.location"],
        ),
        (
            at(Listener::SaslPlaintext),
            sasl(Listener::SaslSsl),
            &["broke off the TLS handshake", "security.protocol"],
        ),
        (
            at(Listener::SaslSsl),
            sasl(Listener::SaslPlaintext),
            &["it wants an encrypted connection; set security.protocol"],
        ),
        (
            plaintext,
            sasl(Listener::SaslPlaintext),
            &["nobody authenticates by SASL on this port"],
        ),
        (
            at(Listener::Ssl),
            without(
                cluster.certificate(),
                &[
                    "ssl.certificate.location",
                    "ssl.key.location",
                    "ssl.key.password@",
                ],
            ),
            &["it wants a client certificate", "ssl.certificate.location"],
        ),
        (
            at(Listener::Ssl),
            with(
                with(
                    without(cluster.certificate(), &["ssl.key.password@"]),
                    "ssl.certificate.location",
                    &cluster.path("mallory.pem"),
                ),
                "ssl.key.location",
                &cluster.path("mallory.pem"),
            ),
            &["it does not accept the client certificate CN=mallory"],
        ),
        (
            at(Listener::Ssl),
            with(
                cluster.certificate(),
                "ssl.key.password@",
                &cluster.path("password"),
            ),
            &["ssl.key", "ssl.key.password does not open it"],
        ),
        (
            at(Listener::Ssl),
            with(
                cluster.certificate(),
                "ssl.key.password@",
                &cluster.path("nowhere"),
            ),
            &["ssl.key.password", "nowhere", "No such file"],
        ),
        (
            at(Listener::SaslSsl),
            cluster.token("wrong"),
            &[
                "no token from https://localhost",
                "invalid_client: the secret is another one",
                "client.secret",
            ],
        ),
        (
            at(Listener::SaslSsl),
            with(
                cluster.token("s3cret"),
                "https.ca.location",
                &cluster.path("carol.pem"),
            ),
            &["no token from https://localhost", "https.ca.location"],
        ),
    ];
    for (bootstrap, properties, words) in cases {
        // Shorter than a minute, for those that may pass.
        let client = client(
            &bootstrap,
            &with(properties, "socket.connection.setup.timeout.ms", "8000"),
        );
        let error = block_on(async {
            tokio::time::timeout(Duration::from_secs(90), client.metadata(TopicFilter::All)).await
        });
        let error = error
            .expect("it ends")
            .expect_err("it is refused")
            .to_string();
        let missing: Vec<_> = words
            .iter()
            .filter(|word| !error.contains(**word))
            .collect();
        assert!(missing.is_empty(), "{missing:?} is not in {error}");
        for secret in ["alice-secret", "s3cret", "hush"] {
            assert!(!error.contains(secret), "{error}");
        }
    }
}

/// A batch of ten records that nobody's idempotence watches over.
fn batch() -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for number in 0..10 {
        builder.append(number, 1_700_000_000_000, None, Some(b"value"), []);
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("a small batch");
    bytes.into()
}

/// Three times as long as a broker believes a session, batches and fetches are under way on the same connections.
#[test]
fn own_kafka_sessions_are_renewed_under_requests_in_flight() {
    let cluster = SecureKafka::shared();
    let topic = unique("open-session");
    cluster.kafka.create_topic(&topic, 1, &[]).expect("a topic");
    let properties = cluster.password(Listener::SaslPlaintext, "SCRAM-SHA-256", "alice");
    let client = client(
        &cluster.kafka.secure_bootstrap(Listener::SaslPlaintext),
        &properties,
    );
    block_on(async {
        let metadata = client.metadata(TopicFilter::Names(std::slice::from_ref(&topic)));
        let metadata = metadata.await.expect("metadata");
        let leader = metadata.topics[0].partitions[0].leader.expect("a leader");
        let id = metadata.topics[0].id;
        let options = ProduceOptions::default();
        let producer = ProduceConnection::connect(&client, leader, options);
        let producer = producer.await.expect("a connection");
        let fetcher = Fetcher::connect(&client, leader, FetchOptions::default());
        let mut fetcher = fetcher.await.expect("a connection");
        fetcher.assign(FetchAssignment {
            topic: topic.clone(),
            topic_id: id,
            partition: 0,
            offset: 0,
            leader_epoch: -1,
        });
        let until = tokio::time::Instant::now() + 3 * SESSION;
        let producing = async {
            let mut sent = 0_u64;
            let mut pending = VecDeque::new();
            while tokio::time::Instant::now() < until || !pending.is_empty() {
                if tokio::time::Instant::now() < until && pending.len() < 5 {
                    let batch = ProduceBatch {
                        topic: topic.as_str().into(),
                        topic_id: id,
                        partition: 0,
                        records: batch(),
                    };
                    pending.push_back(producer.send(vec![batch]).await.expect("sent"));
                    sent += 10;
                    continue;
                }
                let oldest: PendingProduce = pending.pop_front().expect("one");
                let acks = oldest.await.expect("an answer");
                assert_eq!(acks[0].error, None);
                // Not as many as the machine can, which others share.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            sent
        };
        let fetching = async {
            let mut next = 0;
            while tokio::time::Instant::now() < until {
                let response = fetcher.receive().await.expect("an answer");
                fetcher.send().await.expect("sent");
                for fetch in response.partitions {
                    assert_eq!(fetch.error, None);
                    next = fetch.next_offset;
                }
            }
            next
        };
        let (sent, fetched) = tokio::join!(producing, fetching);
        assert!(fetched > 0);
        let partition = [(topic.clone(), 0)];
        let ends = client.list_offsets(&partition, OffsetSpec::Latest).await;
        let end = ends.expect("an answer")[&partition[0]].expect("an offset");
        assert_eq!(
            u64::try_from(end.offset),
            Ok(sent),
            "each batch landed once"
        );
    });
}

#[test]
fn own_kafka_tokens_are_renewed_before_they_run_out() {
    let cluster = SecureKafka::shared();
    let ca = std::fs::read_to_string(cluster.path("ca.pem")).expect("the authority");
    // An authority of its own would do as well; the endpoint only has to be trusted.
    let authority = Authority::new("tokens").expect("an authority");
    let issued = authority
        .issue("tokens", &["localhost"])
        .expect("a certificate");
    let endpoint = TokenEndpoint::start(&issued, "armory", "s3cret", "olga", 4).expect("it starts");
    let trusted = format!("{ca}{}", authority.pem());
    let properties = with(
        with(
            without(cluster.token("s3cret"), &["https.ca.location"]),
            "https.ca.pem",
            &trusted,
        ),
        "sasl.oauthbearer.token.endpoint.url",
        &endpoint.url(),
    );
    let client = client(
        &cluster.kafka.secure_bootstrap(Listener::SaslSsl),
        &properties,
    );
    block_on(async {
        while endpoint.given() < 4 {
            client.cluster_id().await.expect("it is let in");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(&*client.principal(), "User:olga");
        // A secret that is wrong from now on: told when the token has run out, and final.
        endpoint.change_secret("another");
        let error = loop {
            match client.cluster_id().await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("invalid_client"), "{error}");
        assert!(error.is_about_access() && !error.is_retriable());
    });
}
