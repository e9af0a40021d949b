//! The rights of the chart are enough, and not more.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use armory_testkit::{Kafka, unique};
use serde_json::Value;

use crate::installed::Installed;

/// Rights without a request of their own: the API server asks for them while it answers another, and refuses that one where they
/// are missing. As group, resource and verb.
const ASKED_FOR_WITH_OTHERS: [[&str; 3]; 8] = [
    // Server-side apply of what is not there is a `patch` that has to be allowed to `create`.
    ["", "configmaps", "create"],
    ["", "persistentvolumeclaims", "create"],
    ["", "services", "create"],
    ["apps", "statefulsets", "create"],
    ["batch", "jobs", "create"],
    // OwnerReferencesPermissionEnforcement, an admission plugin that is on in tests: whoever makes an object that its owner has to
    // wait for holds the owner back.
    ["kannika.io", "backups/finalizers", "update"],
    ["kannika.io", "restores/finalizers", "update"],
    ["kannika.io", "storages/finalizers", "update"],
];

/// What the operator may and what it did, as group, resource and verb.
type Rights = BTreeSet<[String; 3]>;

#[test]
fn the_rights_of_the_chart_are_enough_and_each_of_them_is_used() -> Result<()> {
    let kafka = Kafka::shared();
    let installed = Installed::new("rights")?;
    let namespace = &installed.namespace;
    installed.hub_and_disk()?;
    let topic = unique("rights");
    kafka.create_topic(&topic, 1, &[])?;
    let restore = |name: &str, enabled: bool, more: &str| {
        format!(
            "---
apiVersion: kannika.io/v1alpha
kind: Restore
metadata: {{name: {name}}}
spec:
  source: disk
  sink: hub
  enabled: {enabled}
  {more}
  config:
    schemaMappingFrom: {{configMapKeyRef: {{name: mapping, key: ids}}}}
    topics: [{{source: {topic}, target: {topic}-{name}}}]
"
        )
    };
    namespace.apply(&format!(
        "apiVersion: kannika.io/v1alpha
kind: Backup
metadata: {{name: b1}}
spec: {{source: hub, sink: disk, streams: [{{topic: {topic}}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: mapping}}
data: {{ids: '{{1: 2}}'}}
---
apiVersion: kannika.io/v1alpha
kind: SchemaRegistryBackup
metadata: {{name: s1}}
spec: {{registry: x, storage: disk, enabled: true}}
---
apiVersion: kannika.io/v1alpha
kind: SchemaRegistryRestore
metadata: {{name: s2}}
spec: {{registry: x, storage: disk, enabled: true}}
{}{}",
        restore("r1", false, ""),
        restore("hindered", true, "serviceAccountName: nobody"),
    ))?;
    installed.wait_for("backup/b1", "Streaming", "the worker runs")?;
    // Of the pods that failed, the last three are kept.
    let pods: String = (0..4)
        .map(|number| {
            format!(
                "---
apiVersion: v1
kind: Pod
metadata: {{name: failed-{number}, labels: {{io.kannika/restore: r1, app.kubernetes.io/managed-by: armory-operator}}}}
spec:
  restartPolicy: Never
  containers: [{{name: failed, image: 'armory.test/pause:1', imagePullPolicy: Never, command: [/absent]}}]
"
            )
        })
        .collect();
    namespace.apply(&pods)?;
    let failed = ["-l", "io.kannika/restore=r1", "-o", "name"];
    namespace.wait_until("pods", "but three of the failed ones gone", |_| {
        let left = namespace.kubectl(&[&["get", "pods"][..], &failed].concat());
        left.is_ok_and(|left| left.lines().count() == 3)
    })?;
    namespace.kubectl(&["delete", "pods", "-l", "io.kannika/restore=r1"])?;
    // The pods of a Job cannot be changed, so another one takes its place.
    installed.wait_for("restore/hindered", "Failed", "nobody")?;
    installed.patch(
        "restore/hindered",
        r#"{"spec": {"serviceAccountName": null}}"#,
    )?;
    installed.wait_for("restore/hindered", "Done", "everything is restored")?;
    installed.patch("restore/r1", r#"{"spec": {"enabled": true}}"#)?;
    installed.wait_for("restore/r1", "Done", "everything is restored")?;
    namespace.kubectl(&["delete", "backups,restores,storages", "--all"])?;
    namespace.wait_until_gone("pvc/disk")?;

    let allowed = allowed(&namespace.get("roles")?.context("the roles")?);
    let user = format!("system:serviceaccount:{}:armory", namespace.name());
    let requests = namespace.cluster().requests_of(&user)?;
    let refused: Vec<_> = requests.iter().filter(|one| one.status == 403).collect();
    assert!(refused.is_empty(), "it may not: {refused:#?}");
    let used: Rights = requests
        .into_iter()
        .map(|request| [request.group, request.resource, request.verb])
        .chain(ASKED_FOR_WITH_OTHERS.map(|right| right.map(str::to_owned)))
        .collect();
    let unused: Vec<_> = allowed.difference(&used).collect();
    assert!(unused.is_empty(), "it need not: {unused:#?}");
    Ok(())
}

/// What rules allow.
fn allowed(roles: &Value) -> Rights {
    let texts = |value: &Value| -> Vec<String> {
        let values = value.as_array().into_iter().flatten();
        values
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let mut rights = Rights::new();
    let roles = roles["items"].as_array().into_iter().flatten();
    for rule in roles.flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    rights.insert([group.clone(), resource.clone(), verb]);
                }
            }
        }
    }
    rights
}
