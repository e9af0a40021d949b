//! Builtin plugins on the way of a restore, against the broker in memory.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::cluster::{Cluster, back_up, documents, records};
use common::{Ran, run};
use serde_json::Value;

/// Restores a topic into another, by documents; `config` is what its `config` has besides.
fn restore(cluster: &Cluster, folder: &Path, mapping: (&str, &str), config: &str) -> Ran {
    let (source, target) = mapping;
    let spec = format!(
        "apiVersion: kannika.io/v1alpha\nkind: Restore\nmetadata: {{name: r}}\nspec:\n  source: disk\n  sink: hub\n  config:\n    \
         topics: [{{source: {source}, target: {target}}}]\n{config}"
    );
    fs::write(folder.join("restore.yaml"), documents(cluster, &spec)).expect("it can be written");
    let arguments = [
        "restore",
        "-f",
        "restore.yaml",
        "--claim",
        "disk=./archive",
        "-o",
        "json",
    ];
    run(folder, &arguments)
}

/// The values that a topic holds, partition by partition.
fn values(cluster: &Cluster, folder: &Path, topic: &str) -> BTreeMap<i64, Vec<Value>> {
    let mut values: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
    for record in records(cluster, folder, topic, "check") {
        let partition = record["partition"].as_i64().expect("a partition");
        values
            .entry(partition)
            .or_default()
            .push(record["value"].clone());
    }
    values
}

#[track_caller]
fn summary(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.err);
    let summary: Value = serde_json::from_str(&ran.out).expect("JSON");
    summary[0].clone()
}

#[test]
fn a_topic_gets_other_partitions() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    cluster.topic("orders", 1, 9);
    back_up(&cluster, folder, "orders", "archive");
    let config = "    plugins:\n      - {name: topic-repartitioning, topicSelectors: [{name: {literal: spread}}], \
                  spec: {scheme: roundRobin, partitions: 3}}";
    let ran = restore(&cluster, folder, ("orders", "spread"), config);
    assert_eq!(summary(&ran)["records"], 9);
    let values = values(&cluster, folder, "spread");
    for (partition, offsets) in [(0, [0, 3, 6]), (1, [1, 4, 7]), (2, [2, 5, 8])] {
        let expected = offsets.map(|offset| Value::from(format!("orders 0 {offset}")));
        assert_eq!(values[&partition], expected, "{values:?}");
    }
}

#[test]
fn what_the_target_would_expire_does_not_come_to_it() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    cluster.topic("orders", 1, 9);
    back_up(&cluster, folder, "orders", "archive");
    // The records are from long ago.
    cluster.create("short", 1, &[("retention.ms", "86400000")]);
    cluster.create("long", 1, &[("retention.ms", "-1")]);
    let ran = restore(&cluster, folder, ("orders", "short"), "");
    assert_eq!(ran.code, 4);
    assert!(
        ran.err.contains("the plugin topic-retention"),
        "{}",
        ran.err
    );

    let config = "    plugins: [{name: topic-retention}]";
    let short = summary(&restore(&cluster, folder, ("orders", "short"), config));
    assert_eq!(
        (&short["records"], &short["filtered"]),
        (&0.into(), &9.into())
    );
    let long = summary(&restore(&cluster, folder, ("orders", "long"), config));
    assert_eq!(
        (&long["records"], &long["filtered"]),
        (&9.into(), &0.into())
    );
}

#[test]
fn schema_ids_are_mapped_from_a_config_map() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    cluster.create("orders", 1, &[]);
    let framed = [&b"\0\0\0\0\x07a"[..], b"\0\0\0\0\x08b", b"plain"].map(<[u8]>::to_vec);
    let produced = cluster.produce_values("orders", 0, &framed);
    cluster.runtime.block_on(produced);
    back_up(&cluster, folder, "orders", "archive");
    let config = "    schemaMappingFrom: {configMapKeyRef: {name: ids, key: map}}\n---\n\
                  apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ids}\ndata: {map: \"7: 300\"}";
    summary(&restore(&cluster, folder, ("orders", "mapped"), config));
    let mapped = ["\0\0\0\x01,a", "\0\0\0\0\x08b", "plain"].map(Value::from);
    assert_eq!(values(&cluster, folder, "mapped")[&0], mapped);
}
