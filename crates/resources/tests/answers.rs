//! What the operator asks of the kinds beside jobs.

use armory_resources::{Bindings, Resource, ResourceSet};

/// The only resource of a text, which is sound but for references.
fn read(kind: &str, spec: &str) -> Resource {
    let text = format!(
        "apiVersion: kannika.io/v1alpha\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"
    );
    let set = ResourceSet::read([("x", text.as_str())]);
    let found = set.resources().next().map(|(_, resource)| resource.clone());
    found.expect("there is a document")
}

#[track_caller]
fn check_location(spec: &str, expected: &str) {
    let Resource::Storage(storage) = read("Storage", spec) else {
        panic!("a Storage")
    };
    assert_eq!(storage.location("claim-of-x"), expected);
}

#[test]
fn storages_say_where_they_are() {
    check_location("{volume: {capacity: 1Gi}}", "pvc://claim-of-x");
    check_location("{s3: {bucket: abc}}", "s3://abc");
    check_location("{s3: {bucket: abc, prefix: /a/b/}}", "s3://abc/a/b");
    check_location("{gcsBucket: {bucket: abc, prefix: a}}", "gs://abc/a");
    check_location(
        "{azureContainer: {container: abc, location: 'https://x.blob.core.windows.net/', directory: a/}}",
        "https://x.blob.core.windows.net/abc/a",
    );
    check_location("{}", "");
}

#[test]
fn event_hubs_say_where_clients_begin() {
    for key in ["bootstrap.servers", "metadata.broker.list"] {
        let spec = format!("{{kafka: {{properties: {{{key}: 'a:1,b:2'}}}}}}");
        let Resource::EventHub(hub) = read("EventHub", &spec) else {
            panic!("an EventHub")
        };
        assert_eq!(hub.bootstrap_servers(), "a:1,b:2");
    }
}

#[test]
fn backups_say_whether_and_how_they_run() {
    let backup = |spec: &str| match read("Backup", spec) {
        Resource::Backup(backup) => backup,
        other => panic!("{other:?}"),
    };
    let plain = backup("{source: a, sink: b}");
    assert!(plain.is_enabled() && !plain.has_streams() && plain.has_metrics());
    assert_eq!(plain.workers(), 1);
    let off = backup("{source: a, sink: b, enabled: false, streams: [{topic: a, enabled: false}]}");
    assert!(!off.is_enabled() && !off.has_streams());
    assert!(backup("{source: a, sink: b, streams: [{topic: a}]}").has_streams());
    let full = backup(
        "{source: a, sink: b, topicSelectors: {matchers: [{name: {glob: '*'}}]}, workGroup: {workers: 3}, \
         monitoring: {enabled: false}, sinkCredentialsFrom: {credentialsRef: {name: c}}, \
         tolerations: [{key: a}], resources: {limits: {cpu: 2}}}",
    );
    assert!(full.has_streams() && !full.has_metrics());
    assert_eq!(full.workers(), 3);
    assert_eq!(
        full.sink_credentials.as_ref().and_then(|c| c.name()),
        Some("c")
    );
    let pod = &full.pod;
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(
        pod.tolerations.as_ref().map(|kept| &kept.json),
        Some(&json(r#"[{"key": "a"}]"#))
    );
    assert_eq!(
        pod.resources.as_ref().map(|kept| &kept.json),
        Some(&json(r#"{"limits": {"cpu": 2}}"#))
    );
}

#[test]
fn restores_say_whether_and_how_they_run() {
    let restore = |spec: &str| match read("Restore", spec) {
        Resource::Restore(restore) => restore,
        other => panic!("{other:?}"),
    };
    let plain = restore("{source: a, sink: b}");
    assert!(!plain.is_enabled() && !plain.has_mappings() && plain.schema_mapping().is_none());
    assert!(!restore("{source: a, sink: b, config: {topics: []}}").has_mappings());
    let old = restore("{source: a, sink: b, enabled: true, config: {mapping: {a: {target: b}}}}");
    assert!(old.is_enabled() && old.has_mappings());
    let full = restore(
        "{source: a, sink: b, config: {topics: [{source: a, target: b}], \
         schemaMappingFrom: {configMapKeyRef: {name: ids, key: k}}}}",
    );
    let mapping = full.schema_mapping().expect("there is a mapping");
    assert_eq!(
        (mapping.name.0.as_str(), mapping.key.0.as_str()),
        ("ids", "k")
    );
    assert!(full.has_mappings());
}

/// The claim of a Restore's report stands in its annotations; problems of one resource are one sentence.
#[test]
fn annotations_and_sentences() {
    let text = "apiVersion: kannika.io/v1alpha\nkind: Restore\nmetadata: {name: r, annotations: \
                {io.kannika/report-pvc-name: reports}}\nspec: {source: a, sink: b, plugins: [{name: topic-retention, errorPolcy: {}}]}\n";
    let set = ResourceSet::read([("x", text)]);
    let (metadata, _) = set.resources().next().expect("a document");
    assert_eq!(metadata.report_claim(), Some("reports"));
    let problems = set
        .restore_jobs(&Bindings::default())
        .expect_err("it is wrong");
    assert_eq!(
        problems.sentence("Restore r"),
        "spec.plugins[0].errorPolcy: unknown key, did you mean errorPolicy; \
         spec.source: there is no Storage a among the documents; spec.sink: there is no EventHub b among the documents; \
         spec.config.topics: nothing to restore, it needs a source and a target"
    );
}
