//! Clusters that ask who one is, from the command line: every way in, the least rights, and a password that is changed.
#![cfg(feature = "real")]

mod support;

use std::path::{Path, PathBuf};

use armory_testkit::kafka::Dataset;
use armory_testkit::kafka::secure_cluster::{with, without};
use armory_testkit::{Kafka, Listener, SecureKafka, unique};
use support::{Background, Ran, Store, armory, eventually, run};

/// The options for properties; a name that ends in `@` is read from a file.
fn options(properties: &[(&str, String)]) -> Vec<String> {
    properties
        .iter()
        .flat_map(|(name, value)| match name.strip_suffix('@') {
            Some(name) => ["--property-file".to_owned(), format!("{name}={value}")],
            None => ["-X".to_owned(), format!("{name}={value}")],
        })
        .collect()
}

fn backup_with(bootstrap: &str, options: &[String], store: &Store, topic: &str) -> Ran {
    let url = store.url();
    let mut args = vec!["backup", "--bootstrap-server", bootstrap, "--topic", topic];
    args.extend(["--storage", &url, "--once"]);
    args.extend(options.iter().map(String::as_str));
    run(store, &args)
}

fn restore_with(
    bootstrap: &str,
    options: &[String],
    store: &Store,
    topic: &str,
    target: &str,
) -> Ran {
    let (url, mapping) = (store.url(), format!("{topic}={target}"));
    let mut args = vec![
        "restore",
        "--bootstrap-server",
        bootstrap,
        "--topic",
        &mapping,
    ];
    args.extend(["--storage", &url, "--create-topics"]);
    args.extend(options.iter().map(String::as_str));
    run(store, &args)
}

fn filled_topic(kafka: &Kafka, name: &str) {
    kafka.create_topic(name, 2, &[]).expect("a topic");
    let data = Dataset::new(name).megabytes(1);
    kafka.write_dataset(&data).expect("records");
}

#[test]
fn own_kafka_every_way_in_gives_back_every_record() {
    let cluster = SecureKafka::shared();
    let kafka = &cluster.kafka;
    let topic = unique("open-in");
    filled_topic(kafka, &topic);
    let pem = |name: &str| std::fs::read_to_string(cluster.path(name)).expect("it is there");
    let ways = [
        (Listener::Ssl, cluster.certificate()),
        (
            Listener::Ssl,
            vec![
                ("security.protocol", "SSL".to_owned()),
                ("ssl.ca.pem", pem("ca.pem")),
                ("ssl.certificate.pem", cluster.carol.certificate.clone()),
                ("ssl.key.pem@", cluster.path("carol-plain.key")),
            ],
        ),
        (
            Listener::SaslSsl,
            with(
                without(
                    cluster.password(Listener::SaslSsl, "PLAIN", "alice"),
                    &["sasl.password"],
                ),
                "sasl.password@",
                &cluster.path("password"),
            ),
        ),
        (
            Listener::SaslSsl,
            cluster.password(Listener::SaslSsl, "SCRAM-SHA-512", "alice"),
        ),
        (
            Listener::SaslPlaintext,
            cluster.password(Listener::SaslPlaintext, "SCRAM-SHA-256", "alice"),
        ),
        (Listener::SaslSsl, cluster.token("s3cret")),
        (
            Listener::OtherHost,
            with(
                cluster.password(Listener::OtherHost, "PLAIN", "alice"),
                "ssl.endpoint.identification.algorithm",
                "none",
            ),
        ),
        (
            Listener::Expired,
            with(
                cluster.password(Listener::Expired, "PLAIN", "alice"),
                "enable.ssl.certificate.verification",
                "false",
            ),
        ),
    ];
    for (listener, properties) in ways {
        let bootstrap = kafka.secure_bootstrap(listener);
        let options = options(&properties);
        let store = Store::folder();
        backup_with(&bootstrap, &options, &store, &topic).succeeded();
        let target = unique("open-out");
        restore_with(&bootstrap, &options, &store, &topic, &target).succeeded();
        let equal = kafka.compare(&topic, &target);
        assert!(equal.expect("equal").records > 10, "{listener:?}");
    }
}

#[test]
fn own_kafka_credentials_of_documents_let_in() {
    let cluster = SecureKafka::shared();
    let topic = unique("open-documents");
    filled_topic(&cluster.kafka, &topic);
    for (listener, credentials) in [
        (
            Listener::SaslSsl,
            "sasl:
    mechanism: SCRAM-SHA-512
    usernameFrom: {secretKeyRef: {name: kafka, key: user}}
    passwordFrom: {secretKeyRef: {name: kafka, key: password}}
    sslConf: {caCertificatePemFrom: {secretKeyRef: {name: kafka, key: ca}}}",
        ),
        (
            Listener::Ssl,
            "mTls:
    certificatePemFrom: {secretKeyRef: {name: kafka, key: certificate}}
    privateKeyPemFrom: {secretKeyRef: {name: kafka, key: key}}
    privateKeyPasswordFrom: {secretKeyRef: {name: kafka, key: hush}}
    caCertificatePemFrom: {secretKeyRef: {name: kafka, key: ca}}",
        ),
    ] {
        let documents = format!(
            "apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: b}}
spec:
  source: hub
  sink: disk
  streams: [{{topic: {topic}}}]
  sourceCredentialsFrom: {{credentialsRef: {{name: kafka}}}}
---
apiVersion: kannika.io/v1alpha
kind: EventHub
metadata: {{name: hub}}
spec: {{kafka: {{properties: {{bootstrap.servers: \"{}\"}}}}}}
---
apiVersion: kannika.io/v1alpha
kind: Storage
metadata: {{name: disk}}
spec: {{volume: {{capacity: 1Gi}}}}
---
apiVersion: kannika.io/v1alpha
kind: Credentials
metadata: {{name: kafka}}
spec:
  {credentials}
",
            cluster.kafka.secure_bootstrap(listener)
        );
        let store = Store::folder();
        let file = PathBuf::from(cluster.path(&unique("documents")));
        std::fs::write(&file, documents).expect("a file");
        let claim = format!("disk={}", store.url());
        let mut args = vec![
            "backup".to_owned(),
            "-f".to_owned(),
            file.display().to_string(),
        ];
        args.extend(["--claim".to_owned(), claim, "--once".to_owned()]);
        for (key, name) in [
            ("user", "user"),
            ("password", "password"),
            ("ca", "ca.pem"),
            ("certificate", "carol.pem"),
            ("key", "carol.key"),
            ("hush", "hush"),
        ] {
            args.push("--secret".to_owned());
            args.push(format!("kafka/{key}={}", cluster.path(name)));
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ran = run(&store, &args).succeeded();
        assert!(!ran.stderr.contains("alice-secret"), "{}", ran.stderr);
    }
}

/// What a user may do is added right by right; before each, the missing one is named. The rights are those of the guide
/// (docs/guide/security.md).
#[test]
fn own_kafka_least_rights_suffice_and_each_missing_one_is_named() {
    let cluster = SecureKafka::shared();
    let kafka = &cluster.kafka;
    let bootstrap = kafka.secure_bootstrap(Listener::SaslPlaintext);
    let topic = unique("private");
    filled_topic(kafka, &topic);
    let target = unique("private-target");
    let allow = |user: &str, topic: &str, operation: &str| {
        let principal = format!("User:{user}");
        let mut args = vec!["--add", "--allow-principal", &principal];
        args.extend(["--operation", operation, "--topic", topic]);
        kafka.acls(&args).expect("an ACL");
    };
    let store = Store::folder();
    let options = |user| options(&cluster.password(Listener::SaslPlaintext, "SCRAM-SHA-512", user));

    let backup = || backup_with(&bootstrap, &options("backup"), &store, &topic);
    backup().failed_with(1, &["no topic of the cluster matches", "may describe"]);
    allow("backup", &topic, "Describe");
    for operation in ["DescribeConfigs", "Read"] {
        let words = format!("User:backup lacks the right {operation} on topic {topic}");
        let remedy =
            format!("--allow-principal 'User:backup' --operation {operation} --topic {topic}");
        backup().failed_with(1, &[&words, &remedy]);
        allow("backup", &topic, operation);
    }
    backup().succeeded();

    let restore = || restore_with(&bootstrap, &options("restore"), &store, &topic, &target);
    // Write implies Describe.
    for (operation, given) in [
        ("Describe", "Write"),
        ("Create", "Create"),
        ("DescribeConfigs", "DescribeConfigs"),
        ("Read", "Read"),
        ("AlterConfigs", "AlterConfigs"),
    ] {
        let words = format!("User:restore lacks the right {operation} on topic {target}");
        let ran = restore();
        // What the preflight refuses is told apart from what stops it.
        let code = if ran.code == Some(4) { 4 } else { 1 };
        ran.failed_with(code, &[&words, "kafka-acls.sh"]);
        allow("restore", &target, given);
    }
    restore().succeeded();
    kafka
        .compare(&topic, &target)
        .expect("every record is equal");
}

fn manifests(store: &Store) -> usize {
    let files: Vec<PathBuf> = support::files_ending(&store.files().join("manifests"), ".json");
    files.iter().filter(|file| Path::is_file(file)).count()
}

/// The password is changed in the cluster, and some time later in the file: the backup says that it is locked out, and goes on.
#[test]
fn own_kafka_a_running_backup_outlives_a_change_of_password() {
    let cluster = SecureKafka::shared();
    let kafka = &cluster.kafka;
    let topic = unique("open-rotation");
    filled_topic(kafka, &topic);
    let file = cluster.path(&unique("password"));
    std::fs::write(&file, "renewed-secret").expect("a file");
    let properties = with(
        without(
            cluster.password(Listener::SaslPlaintext, "SCRAM-SHA-256", "renewed"),
            &["sasl.password"],
        ),
        "sasl.password@",
        &file,
    );
    let bootstrap = kafka.secure_bootstrap(Listener::SaslPlaintext);
    let store = Store::folder();
    let url = store.url();
    let mut args = vec![
        "backup",
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        &topic,
    ];
    args.extend(["--storage", &url, "--segment-time", "1s"]);
    args.extend(["-X", "topic.metadata.refresh.interval.ms=1000"]);
    let options = options(&properties);
    args.extend(options.iter().map(String::as_str));
    let mut backup = Background::start(armory(&store, &args));
    eventually("something is archived", || manifests(&store) > 0);

    kafka
        .set_scram_password("renewed", "other-secret")
        .expect("another password");
    backup.wait_for("does not let the backup in");
    let before = manifests(&store);
    kafka
        .write_dataset(&Dataset::new(&topic).megabytes(1))
        .expect("records");
    std::fs::write(&file, "other-secret").expect("a file");
    eventually("it goes on", || manifests(&store) > before);
    assert_eq!(backup.stop(), Some(0), "{}", backup.log());
    for secret in ["renewed-secret", "other-secret"] {
        assert!(!backup.log().contains(secret), "{}", backup.log());
    }

    backup_with(&bootstrap, &options, &store, &topic).succeeded();
    let target = unique("open-rotated");
    restore_with(&bootstrap, &options, &store, &topic, &target).succeeded();
    kafka
        .compare(&topic, &target)
        .expect("every record is equal");
}
