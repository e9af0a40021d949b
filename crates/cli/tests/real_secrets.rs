//! Credentials of a storage that change under a running command, and an archive that may only be read.
#![cfg(feature = "real")]

mod support;

use std::fs;
use std::path::Path;

use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, SeaweedFs, unique};
use support::{
    Background, Ran, Store, armory, comes_back, eventually, metrics_address, run, status,
};

fn produce(kafka: &Kafka, topic: &str, count: usize) {
    let records: Vec<Record> = (0..count)
        .map(|number| Record::new(None, Some(&format!("v{number}"))))
        .collect();
    kafka
        .produce(topic, Codec::None, &records)
        .expect("records");
}

/// Another access key, as a Secret's volume shows it.
fn publish(folder: &Path, id: &str, key: &str) {
    fs::write(folder.join("id"), id).expect("written");
    fs::write(folder.join("key"), key).expect("written");
}

#[test]
fn a_renewed_secret_of_a_storage_is_taken_up() {
    let kafka = Kafka::shared();
    let store = Store::s3();
    let Store::S3(server, prefix) = &store else {
        panic!("it is S3")
    };
    let topic = unique("renewed");
    kafka.create_topic(&topic, 1, &[]).expect("a topic");
    produce(kafka, &topic, 10);
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    publish(folder, server.access_key(), server.secret_key());
    let head = "apiVersion: kannika.io/v1alpha";
    let documents = [
        format!(
            "kind: EventHub\nmetadata: {{name: hub}}\nspec: {{kafka: {{properties: {{bootstrap.servers: \"{}\"}}}}}}",
            kafka.bootstrap()
        ),
        format!(
            "kind: Storage\nmetadata: {{name: bucket}}\nspec: {{s3: {{bucket: {}, prefix: {prefix}, region: {}, endpoint: \"{}\", forcePathStyle: true}}}}",
            server.bucket(),
            server.region(),
            server.endpoint()
        ),
        "kind: Credentials\nmetadata: {name: aws}\nspec: {aws: {accessKeyIdFrom: {secretKeyRef: {name: keys, key: id}}, \
         secretAccessKeyFrom: {secretKeyRef: {name: keys, key: key}}}}"
            .to_owned(),
        format!(
            "kind: Backup\nmetadata: {{name: b}}\nspec: {{source: hub, sink: bucket, streams: [{{topic: {topic}}}], \
             sinkCredentialsFrom: {{credentialsRef: {{name: aws}}}}, segmentRolloverTriggers: {{timeoutSeconds: 1}}}}"
        ),
    ];
    let documents = documents.map(|document| format!("{head}\n{document}\n"));
    fs::write(folder.join("all.yaml"), documents.join("---\n")).expect("written");
    let mut command = armory(&store, &["backup", "-f", "all.yaml"]);
    command
        .current_dir(folder)
        .args(["--secret", "keys/id=./id", "--secret", "keys/key=./key"])
        .args(["--metrics-address", "127.0.0.1:0"])
        // The documents alone say who may write.
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let mut backup = Background::start(command);
    let address = metrics_address(&mut backup);
    let message = || status(&address)["message"].to_string();
    let records = || status(&address)["records"].as_u64();
    eventually("the first records are stored", || records() == Some(10));

    publish(folder, server.access_key(), "revoked");
    // It looks when it has to ask for something.
    produce(kafka, &topic, 5);
    backup.wait_for("were renewed");
    eventually("it is refused, and says so", || {
        message().contains("the credentials do not allow it")
    });
    // In the middle of the next renewal.
    fs::remove_file(folder.join("key")).expect("removed");
    backup.wait_for("going on with the last ones");
    publish(folder, server.access_key(), server.secret_key());
    eventually("the rest is stored", || records() == Some(15));
    eventually("the trouble is forgotten", || {
        message() == "\"everything is stored\""
    });
    assert_eq!(backup.stop(), Some(0), "{}", backup.log());
    assert_eq!(comes_back(kafka, &store, &topic), 15);
}

#[test]
fn an_archive_that_may_only_be_read_is_restored_with_its_report_elsewhere() {
    let kafka = Kafka::shared();
    let server = SeaweedFs::start().expect("the server starts");
    let (topic, target) = (unique("read-only"), unique("copy"));
    kafka.create_topic(&topic, 2, &[]).expect("a topic");
    produce(kafka, &topic, 10);
    let store = Store::folder();
    let url = format!("s3://{}/archive", server.bucket());
    let run_as = |who: &str, arguments: &[&str]| -> Ran {
        armory(&store, arguments)
            .args(["--storage", &url, "--bootstrap-server", kafka.bootstrap()])
            .env("AWS_ACCESS_KEY_ID", who)
            .env("AWS_SECRET_ACCESS_KEY", server.secret_key())
            .env("AWS_REGION", server.region())
            .env("AWS_ENDPOINT_URL", server.endpoint())
            .output()
            .expect("the binary runs")
            .into()
    };
    run_as(
        server.writer_key(),
        &["backup", "--topic", &topic, "--once"],
    )
    .succeeded();
    let mapping = format!("{topic}={target}");
    let restore = ["restore", "--topic", &mapping, "--create-topics"];
    run_as(server.reader_key(), &restore).failed_with(
        4,
        &[
            "does not take the restore's report",
            "--report",
            "io.kannika/report-pvc-name",
        ],
    );
    assert!(kafka.topic(&target).is_err(), "nothing was created");
    let reports = store.url();
    let restore = [&restore[..], &["--report-fallback", &reports]].concat();
    let ran = run_as(server.reader_key(), &restore).succeeded();
    assert!(ran.stdout.contains("10 records restored"), "{ran:?}");
    // The report is found where it is, whoever asks.
    for who in [server.reader_key(), server.writer_key()] {
        let again = run_as(who, &restore).succeeded();
        assert!(again.stdout.contains("restored before"), "{again:?}");
    }
    let found = kafka.compare(&topic, &target).expect("the same");
    assert_eq!(found.records, 10);
    run(&store, &["inspect", &reports]).failed_with(1, &["is not an archive"]);
}
