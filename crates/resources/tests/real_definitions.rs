//! The CustomResourceDefinitions on a real API server: it takes them and the guide's examples, fills defaults in, and says
//! what is wrong with the rest.
#![cfg(feature = "real")]

use std::fs;

use anyhow::{Context as _, Result};
use armory_testkit::kubernetes::{Cluster, Namespace};
use serde_json::{Value, json};

/// The cluster that knows our kinds.
fn cluster() -> Result<&'static Cluster> {
    let cluster = Cluster::shared();
    let crds = armory_resources::crds();
    let documents: Vec<String> = crds.iter().map(Value::to_string).collect();
    cluster.apply(&documents.join("\n---\n"))?;
    for crd in &crds {
        let name = format!(
            "crd/{}",
            crd["metadata"]["name"].as_str().unwrap_or_default()
        );
        cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            &name,
            "--timeout=120s",
        ])?;
    }
    Ok(cluster)
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: kannika.io/v1alpha\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

fn get(namespace: &Namespace<'_>, resource: &str) -> Result<Value> {
    let found = namespace.get(resource)?;
    found.with_context(|| format!("{resource} is there"))
}

#[test]
fn examples_are_taken_listed_and_explained() -> Result<()> {
    let cluster = cluster()?;
    let namespace = cluster.namespace("examples")?;
    for entry in fs::read_dir("../../docs/guide/kubernetes/examples")? {
        namespace.apply(&fs::read_to_string(entry?.path())?)?;
    }
    let schemas = get(&namespace, "schemaregistryrestore/schemas")?;
    assert_eq!(schemas["spec"]["enabled"], false, "defaults are filled in");
    let schemas = get(&namespace, "schemaregistrybackup/schemas")?;
    assert_eq!(schemas["spec"]["backupIntervalSecs"], 3600);

    assert!(
        namespace
            .kubectl(&["get", "creds"])?
            .contains("kafka-password")
    );
    assert!(
        namespace
            .kubectl(&["get", "all"])?
            .contains("backup.kannika.io/orders")
    );
    let explained = cluster.kubectl(&["explain", "backup.spec.workGroup.workers"])?;
    assert!(explained.contains("How many pods, 1 to 16."), "{explained}");
    Ok(())
}

#[test]
fn a_status_is_kept_as_the_operator_writes_it() -> Result<()> {
    let cluster = cluster()?;
    let namespace = cluster.namespace("status")?;
    namespace.apply(&document("Restore", "r", "{source: a, sink: b}"))?;
    let status = json!({
        "message": "🚀 Restoring",
        "observedGeneration": 1,
        "startTime": "2026-01-01T00:00:00Z",
        "run": "one",
        "conditions": [{
            "type": "Ready",
            "status": "True",
            "reason": "JobRunning",
            "message": "it runs",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }],
        "progress": {
            "records": 1,
            "bytes": 2,
            "recordsTotal": 4,
            "percent": 25,
            "observed": "2026-01-01T00:00:01Z",
        },
    });
    let patch = json!({ "status": status, "spec": { "source": "other" } }).to_string();
    namespace.kubectl(&[
        "patch",
        "restore",
        "r",
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ])?;
    let found = get(&namespace, "restore/r")?;
    assert_eq!(found["status"], status);
    assert_eq!(
        found["spec"],
        json!({ "source": "a", "sink": "b", "enabled": false })
    );
    let listed = namespace.kubectl(&["get", "restores"])?;
    assert!(listed.contains("🚀 Restoring"), "{listed}");
    Ok(())
}

#[test]
fn what_is_wrong_is_refused_with_a_remedy() -> Result<()> {
    let cluster = cluster()?;
    let namespace = cluster.namespace("refused")?;
    let cases = [
        (
            "Backup",
            "{source: a, sink: b, topicSelectors: {matchers: [{name: {literal: a, glob: b}}]}}",
            "exactly one of literal, regex, glob must be given",
        ),
        (
            "Backup",
            "{source: a, sink: b, plugins: [{name: a, errorPolicy: {maxFailures: 5, window: 5}}]}",
            "maxFailures must be less than window",
        ),
        (
            "Backup",
            "{source: a, sink: b, compresion: {}}",
            "compresion",
        ),
        (
            "Backup",
            "{source: a, sink: b, workGroup: {workers: 17}}",
            "workers",
        ),
        (
            "Restore",
            "{source: a, sink: b, config: {topics: [], mapping: {}}}",
            "mapping cannot be given beside topics, give only one of them",
        ),
        (
            "Restore",
            "{source: a, sink: b, plugins: [], config: {plugins: []}}",
            "plugins is another place for config.plugins, give only one of them",
        ),
        (
            "Restore",
            "{source: a, sink: b, config: {filters: {time: {absolute: \
             {fromDateTime: '2026-01-01T01:00:00+01:00', toDateTime: '2026-01-01T00:00:00Z'}}}}}",
            "toDateTime must be after fromDateTime",
        ),
        (
            "Storage",
            "{s3: {bucket: abc}, gcsBucket: {bucket: abc}}",
            "exactly one of volume, s3, gcsBucket, azureContainer must be given",
        ),
        (
            "EventHub",
            "{kafka: {properties: {acks: all}}}",
            "must have bootstrap.servers, or metadata.broker.list instead",
        ),
        (
            "Credentials",
            "{aws: {accessKeyIdFrom: {}, secretAccessKeyFrom: {}}}",
            "secretKeyRef must be given",
        ),
        ("SchemaRegistry", "{}", "confluent must be given"),
    ];
    for (kind, spec, expected) in cases {
        let refusal = namespace.apply(&document(kind, "x", spec));
        let message = format!(
            "{:#}",
            refusal
                .err()
                .with_context(|| format!("{kind} {spec} is refused"))?
        );
        assert!(message.contains(expected), "{kind} {spec}: {message}");
    }

    // A class can be set once, by whoever chooses one.
    namespace.apply(&document("Storage", "disk", "{volume: {capacity: 1Gi}}"))?;
    namespace.apply(&document(
        "Storage",
        "disk",
        "{volume: {capacity: 1Gi, storageClass: fast}}",
    ))?;
    let changed = document(
        "Storage",
        "disk",
        "{volume: {capacity: 2Gi, storageClass: slow}}",
    );
    let message = format!(
        "{:#}",
        namespace.apply(&changed).err().context("a class stays")?
    );
    assert!(
        message.contains("storageClass cannot be changed once it is set"),
        "{message}"
    );

    // What nobody knows in a plugin's entry gets to the operator, which refuses it with its path.
    let plugins = "[{name: topic-retention, errorPolcy: {error: drop}, limits: {memry: 1}}]";
    let spec = format!("{{source: a, sink: b, config: {{plugins: {plugins}}}}}");
    namespace.apply(&document("Restore", "slip", &spec))?;
    let plugin = &get(&namespace, "restore/slip")?["spec"]["config"]["plugins"][0];
    assert_eq!(plugin["errorPolcy"], json!({ "error": "drop" }));
    assert_eq!(plugin["limits"]["memry"], 1);
    Ok(())
}
