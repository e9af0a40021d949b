//! An operator that has nothing to do does nothing.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use armory_testkit::kubernetes::Cluster;
use serde_json::Value;

use crate::installed::Installed;

/// Paused Backups, and finished Restores.
const EACH: usize = 500;
/// Bytes of memory that the operator may hold.
const MEMORY: u64 = 64 << 20;

#[test]
fn own_cluster_an_operator_that_has_settled_only_watches_and_renews_its_lease() -> Result<()> {
    let cluster = &Cluster::own()?;
    let installed = Installed::in_cluster(cluster, "quiet")?;
    let namespace = &installed.namespace;
    let (mut resources, mut done) = (String::new(), String::new());
    for number in 0..EACH {
        write!(
            resources,
            "---
apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: b{number}}}
spec: {{source: hub, sink: disk, enabled: false, streams: [{{topic: t{number}}}]}}
---
apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: r{number}}}
spec: {{source: disk, sink: hub, enabled: false, config: {{topics: [{{source: t{number}, target: u{number}}}]}}}}
"
        )?;
        write!(
            done,
            "---
apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: r{number}}}
status: {{conditions: [{{type: JobCompleted, status: 'True', reason: JobCompleted, message: done, lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}
"
        )?;
    }
    namespace.apply(&resources)?;
    namespace.apply_status(&done)?;
    let words = |resource: &str, word: &str| {
        namespace.wait_until(resource, &format!("all {word}"), |found| {
            let items = found["items"].as_array();
            items.is_some_and(|items| {
                let is = |item: &Value| {
                    let message = item["status"]["message"].as_str();
                    message.is_some_and(|message| message.ends_with(word))
                };
                items.len() == EACH && items.iter().all(is)
            })
        })
    };
    words("backups", " Paused")?;
    words("restores", " Done")?;

    // Between two looks of which the operator renews its lease several times, nobody asked for anything of ours.
    let before = requests(cluster)?;
    let renewed = |since: &Value| since["spec"]["renewTime"].clone();
    let lease = namespace.get("lease/armory")?.context("the lease")?;
    let mut renewals = std::collections::BTreeSet::from([renewed(&lease).to_string()]);
    namespace.wait_until("lease/armory", "renewed five times", |lease| {
        renewals.insert(renewed(lease).to_string());
        renewals.len() > 5
    })?;
    assert_eq!(requests(cluster)?, before);
    let summary = cluster.kubectl(&["get", "--raw", "/api/v1/nodes/node1/proxy/stats/summary"])?;
    let summary: Value = serde_json::from_str(&summary)?;
    let pods = summary["pods"].as_array().context("pods")?;
    let pod = pods
        .iter()
        .find(|pod| pod["podRef"]["namespace"] == namespace.name());
    let memory = pod.context("the operator's pod")?["containers"][0]["memory"]["rssBytes"].as_u64();
    let memory = memory.context("its memory")?;
    assert!(memory < MEMORY, "{memory} bytes");
    Ok(())
}

/// Requests for our kinds that are no watches, by verb and kind, since the API server started.
fn requests(cluster: &Cluster) -> Result<Vec<String>> {
    let metrics = cluster.kubectl(&["get", "--raw", "/metrics"])?;
    let ours = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("group=\"kannika.io\"")
            && !line.contains("verb=\"WATCH\"")
    };
    let mut lines: Vec<String> = metrics.lines().filter(ours).map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}
