//! Secrets that come late, change, or may be missing: a bucket's keys.

use anyhow::{Context as _, Result};
use armory_testkit::kafka::{Codec, Record};
use armory_testkit::{Kafka, S3, SeaweedFs, unique};

use crate::installed::{Installed, event_hub};

/// A Storage of that name in its own part of a bucket.
fn bucket(name: &str, bucket: &str, endpoint: &str) -> String {
    format!(
        "---
apiVersion: kannika.io/v1alpha
kind: Storage
metadata: {{name: {name}}}
spec: {{s3: {{bucket: {bucket}, prefix: {name}, region: us-east-1, endpoint: '{endpoint}', forcePathStyle: true}}}}
"
    )
}

/// Credentials of that name from a Secret of that name.
fn aws(name: &str, optional: bool) -> String {
    let of =
        |key: &str| format!("{{secretKeyRef: {{name: {name}, key: {key}, optional: {optional}}}}}");
    format!(
        "---
apiVersion: kannika.io/v1alpha
kind: Credentials
metadata: {{name: {name}}}
spec: {{aws: {{accessKeyIdFrom: {}, secretAccessKeyFrom: {}}}}}
",
        of("key-id"),
        of("key")
    )
}

fn backup(name: &str, topic: &str, sink: &str, credentials: &str, more: &str) -> String {
    format!(
        "---
apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: {name}}}
spec:
  source: hub
  sink: {sink}
  sinkCredentialsFrom: {{credentialsRef: {{name: {credentials}}}}}
  segmentRolloverTriggers: {{timeoutSeconds: 1}}
  streams: [{{topic: {topic}}}]
  {more}
"
    )
}

fn secret(name: &str, values: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: {name}}}, stringData: {{{values}}}}}"
    )
}

fn produce(topic: &str, count: usize) -> Result<()> {
    let record = |number| Record::new(None, Some(&format!("value {number}")));
    let records: Vec<Record> = (0..count).map(record).collect();
    Kafka::shared()
        .produce(topic, Codec::None, &records)
        .map(drop)
}

#[test]
fn the_keys_of_a_bucket_are_waited_for_and_taken_up_when_they_change() -> Result<()> {
    let kafka = Kafka::shared();
    let s3 = S3::start()?;
    s3.let_in(&[("first", "secret-1")])?;
    let installed = Installed::new("secrets")?;
    let namespace = &installed.namespace;
    let topic = unique("secrets");
    kafka.create_topic(&topic, 2, &[])?;
    produce(&topic, 10)?;
    let endpoint = s3.pod_endpoint();
    let own_keys = format!(
        "extraEnvVars: [{{name: AWS_ACCESS_KEY_ID, value: {}}}, {{name: AWS_SECRET_ACCESS_KEY, value: {}}}]",
        s3.access_key(),
        s3.secret_key()
    );
    namespace.apply(
        &[
            event_hub(&kafka.pod_bootstrap()),
            bucket("one", s3.bucket(), &endpoint),
            bucket("two", s3.bucket(), &endpoint),
            aws("keys", false),
            aws("absent", true),
            backup("waits", &topic, "one", "keys", ""),
            // What is optional and missing is as if it were not asked for: then the environment counts.
            backup("optional", &topic, "two", "absent", &own_keys),
        ]
        .concat(),
    )?;
    installed.wait_for("backup/waits", "Error", "key key-id of Secret keys")?;
    let before = installed.lives("pod/waits-0")?;
    installed.wait_for("backup/optional", "Streaming", "the worker runs")?;
    installed.wait_until_stored("optional-0")?;
    namespace.apply(&secret("keys", "key-id: first"))?;
    installed.wait_for("backup/waits", "Error", "key key of Secret keys")?;
    namespace.apply(&secret("keys", "key-id: first, key: secret-1"))?;
    installed.wait_for("backup/waits", "Streaming", "the worker runs")?;
    installed.wait_until_stored("waits-0")?;

    s3.let_in(&[("second", "secret-2")])?;
    produce(&topic, 5)?;
    let refused = installed.wait_for("backup/waits", "Error", "the credentials do not allow it")?;
    let place = format!("s3://{}/one", s3.bucket());
    assert!(refused["status"].to_string().contains(&place), "{refused}");
    namespace.apply(&secret("keys", "key-id: second, key: secret-2"))?;
    installed.wait_for("backup/waits", "Streaming", "the worker runs")?;
    installed.wait_until_stored("waits-0")?;
    // All that in one and the same process.
    assert_eq!(installed.lives("pod/waits-0")?, before);
    assert_eq!(before.0, 0);

    let credentials = "sourceCredentialsFrom: {credentialsRef: {name: keys}}";
    assert_eq!(installed.comes_back("one", &topic, credentials)?, 15);
    installed.wait_until_stored("optional-0")?;
    let credentials = own_keys.replace(
        "extraEnvVars",
        "sourceCredentialsFrom: {credentialsRef: {name: absent}}\n  extraEnvVars",
    );
    assert_eq!(installed.comes_back("two", &topic, &credentials)?, 15);
    // Nothing secret lies anywhere else than in Secrets.
    let jobs = namespace.get("configmaps")?.context("a list")?.to_string();
    assert!(jobs.contains("/etc/armory/secrets/keys/key-id"), "{jobs}");
    assert!(!jobs.contains("secret-1") && !jobs.contains("secret-2"));
    Ok(())
}

#[test]
fn a_bucket_that_may_only_be_read_is_named_and_used_once_it_may_be_written() -> Result<()> {
    let kafka = Kafka::shared();
    let store = SeaweedFs::start()?;
    let installed = Installed::new("read-only")?;
    let namespace = &installed.namespace;
    let topic = unique("read-only");
    kafka.create_topic(&topic, 2, &[])?;
    produce(&topic, 10)?;
    let key = |id: &str| {
        secret(
            "keys",
            &format!("key-id: {id}, key: {}", store.secret_key()),
        )
    };
    namespace.apply(&key(store.reader_key()))?;
    namespace.apply(
        &[
            event_hub(&kafka.pod_bootstrap()),
            bucket("one", store.bucket(), &store.pod_endpoint()),
            aws("keys", false),
            backup("b1", &topic, "one", "keys", ""),
        ]
        .concat(),
    )?;
    let refused = |installed: &Installed<'_>| -> Result<()> {
        let sentence = "a backup needs to read, list, write and delete";
        let found = installed.wait_for("backup/b1", "Error", sentence)?;
        let place = format!("s3://{}/one", store.bucket());
        assert!(found["status"].to_string().contains(&place), "{found}");
        Ok(())
    };
    refused(&installed)?;
    namespace.apply(&key(store.writer_key()))?;
    installed.wait_for("backup/b1", "Streaming", "the worker runs")?;
    installed.wait_until_stored("b1-0")?;

    namespace.apply(&key(store.reader_key()))?;
    // One record after the other, until a commit meets the other key.
    let mut count = 10;
    installed.wait_for_worker("b1-0", "refused", |said| {
        if said["trouble"] == false {
            produce(&topic, 1).expect("a record");
            count += 1;
        }
        said["trouble"] == true
    })?;
    refused(&installed)?;
    namespace.apply(&key(store.writer_key()))?;
    installed.wait_for("backup/b1", "Streaming", "the worker runs")?;
    installed.wait_until_stored("b1-0")?;
    assert_eq!(installed.lives("pod/b1-0")?.0, 0);
    let credentials = "sourceCredentialsFrom: {credentialsRef: {name: keys}}";
    assert_eq!(installed.comes_back("one", &topic, credentials)?, count);
    Ok(())
}
