//! The pod that runs `armory`: what is mounted where, and how little it may do.

use std::collections::BTreeMap;

use armory_resources::{Needs, pod};
use k8s_openapi::api::core::v1::Affinity;
use serde_json::{Value, json};

use super::PodFields;
use crate::names::short_hash;

/// The port of a worker's HTTP.
pub(crate) const PORT: u16 = 9000;
/// The file with the resolved job.
pub(crate) const JOB_FILE: &str = "/etc/armory/job/job.json";
/// Where the claim of a Restore's report is mounted.
pub(crate) const REPORTS: &str = "/var/lib/armory/reports";
/// User and group of the image.
const USER: i64 = 65_532;
/// How long a worker may take to commit what it has read, in seconds. A node that is drained waits as long.
const GRACE_SECONDS: i64 = 120;

/// Everything that makes a pod.
#[derive(Debug)]
pub(crate) struct Template<'a> {
    pub(crate) image: &'a Image,
    pub(crate) fields: &'a PodFields,
    /// On top of those of `fields`, and not to be overruled by them.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) args: Vec<String>,
    /// The ConfigMap with the job.
    pub(crate) job: &'a str,
    pub(crate) needs: &'a Needs,
    /// The claim of the Storage, if that is a volume.
    pub(crate) storage: Option<&'a str>,
    /// The claim of a Restore's report.
    pub(crate) report: Option<&'a str>,
    /// Claims that pods of one node only can use at a time.
    pub(crate) single_node: &'a [String],
    /// `Always` in a StatefulSet, `Never` in a Job.
    pub(crate) restart: &'static str,
}

/// The image of workers.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name, with tag or digest.
    pub name: String,
    /// `Always`, `IfNotPresent` or `Never`; `None` is what Kubernetes does.
    pub pull_policy: Option<String>,
    /// Names of Secrets for its registry.
    pub pull_secrets: Vec<String>,
}

impl Template<'_> {
    /// The `template` of a StatefulSet or a Job.
    pub(crate) fn render(&self) -> Value {
        let mut labels: BTreeMap<String, String> = self.fields.labels.clone();
        labels.extend(self.labels.clone());
        labels.extend(
            self.single_node
                .iter()
                .map(|claim| (claim_label(claim), "used".to_owned())),
        );
        let mut annotations = self.fields.annotations.clone();
        annotations.extend(self.annotations.clone());
        let (volumes, mounts) = self.volumes();
        let mut spec = json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": self.restart,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [self.container(mounts)],
            "volumes": volumes,
        });
        let fields = self.fields;
        let own_secrets = fields.image_pull_secrets.as_ref().map(|secrets| {
            let names = secrets.iter().map(|secret| json!({"name": secret.name}));
            names.collect::<Vec<_>>()
        });
        let secrets = own_secrets.unwrap_or_else(|| {
            let names = self.image.pull_secrets.iter();
            names.map(|name| json!({"name": name})).collect()
        });
        let affinity = self.affinity();
        let optional = [
            ("affinity", affinity.map(|affinity| json!(affinity))),
            (
                "nodeSelector",
                fields.node_selector.as_ref().map(|map| json!(map)),
            ),
            (
                "tolerations",
                fields.tolerations.as_ref().map(|list| json!(list)),
            ),
            (
                "serviceAccountName",
                fields.service_account_name.as_ref().map(|name| json!(name)),
            ),
            (
                "imagePullSecrets",
                (!secrets.is_empty()).then(|| json!(secrets)),
            ),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                spec[key] = value;
            }
        }
        json!({
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": spec,
        })
    }

    fn container(&self, mounts: Vec<Value>) -> Value {
        let mut env = vec![
            json!({"name": "ARMORY_ORDINAL", "valueFrom": {
                "fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}}),
            json!({"name": "ARMORY_TERMINATION_LOG", "value": "/dev/termination-log"}),
            // The only place that can be written; compiled plugins are kept there.
            json!({"name": "HOME", "value": "/tmp"}),
            json!({"name": "TMPDIR", "value": "/tmp"}),
            json!({"name": "XDG_CACHE_HOME", "value": "/tmp/cache"}),
        ];
        if self.restart == "Never" {
            // Pods of a Job have no number.
            env.remove(0);
        }
        env.extend(
            self.fields
                .extra_env_vars
                .iter()
                .map(|variable| json!(variable)),
        );
        let args = [self.args.clone(), self.fields.extra_args.clone()].concat();
        let mut container = json!({
            "name": "armory",
            "image": self.image.name,
            "args": args,
            "env": env,
            "ports": [{"name": "metrics", "containerPort": PORT, "protocol": "TCP"}],
            "volumeMounts": mounts,
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "livenessProbe": {
                "httpGet": {"path": "/healthz", "port": "metrics"},
                "initialDelaySeconds": 10,
                "periodSeconds": 10,
                "timeoutSeconds": 5,
                "failureThreshold": 6,
            },
            "readinessProbe": {
                "httpGet": {"path": "/readyz", "port": "metrics"},
                "periodSeconds": 5,
                "timeoutSeconds": 5,
                "failureThreshold": 1,
            },
        });
        if let Some(policy) = &self.image.pull_policy {
            container["imagePullPolicy"] = json!(policy);
        }
        if let Some(resources) = &self.fields.resources {
            container["resources"] = json!(resources);
        }
        container
    }

    /// Volumes and their mounts.
    fn volumes(&self) -> (Vec<Value>, Vec<Value>) {
        let mut volumes = vec![
            json!({"name": "job", "configMap": {"name": self.job}}),
            json!({"name": "tmp", "emptyDir": {}}),
        ];
        let mut mounts = vec![
            json!({"name": "job", "mountPath": "/etc/armory/job", "readOnly": true}),
            json!({"name": "tmp", "mountPath": "/tmp"}),
        ];
        for (number, (secret, keys)) in self.needs.secrets.iter().enumerate() {
            let name = format!("secret-{number}");
            let items = keys.iter().map(|key| json!({"key": key, "path": key}));
            // Optional: what is missing is then told by the worker, by name, and found when it is there.
            volumes.push(json!({"name": name, "secret": {
                "secretName": secret, "optional": true, "defaultMode": 0o440,
                "items": items.collect::<Vec<_>>()}}));
            // The folder as a whole: a mounted single file would never be renewed.
            mounts.push(json!({"name": name, "mountPath": format!("{}/{secret}", pod::SECRETS), "readOnly": true}));
        }
        for (number, claim) in self.needs.claims.iter().enumerate() {
            let name = format!("plugins-{number}");
            volumes.push(json!({"name": name, "persistentVolumeClaim": {"claimName": claim}}));
            mounts.push(json!({"name": name, "mountPath": format!("{}/{claim}", pod::CLAIMS), "readOnly": true}));
        }
        let written = [
            ("storage", self.storage, pod::STORAGE),
            ("reports", self.report, REPORTS),
        ];
        for (name, claim, path) in written {
            if let Some(claim) = claim {
                volumes.push(json!({"name": name, "persistentVolumeClaim": {"claimName": claim}}));
                mounts.push(json!({"name": name, "mountPath": path}));
            }
        }
        (volumes, mounts)
    }

    /// What the resource says, and for claims of one node that all pods which use them meet there.
    fn affinity(&self) -> Option<Affinity> {
        let own = self.fields.affinity.clone();
        if self.single_node.is_empty() {
            return own;
        }
        let mut affinity = own.unwrap_or_default();
        let terms = affinity
            .pod_affinity
            .get_or_insert_default()
            .required_during_scheduling_ignored_during_execution
            .get_or_insert_default();
        for claim in self.single_node {
            let term = json!({
                "labelSelector": {"matchLabels": {claim_label(claim): "used"}},
                "topologyKey": "kubernetes.io/hostname",
            });
            // It is of that type, as written here.
            terms.extend(serde_json::from_value::<
                k8s_openapi::api::core::v1::PodAffinityTerm,
            >(term));
        }
        Some(affinity)
    }
}

/// The label of pods that use a claim. A hash, because a claim's name may be longer than a label's.
fn claim_label(claim: &str) -> String {
    format!("claim.io.kannika/{}", short_hash(claim.as_bytes()))
}
