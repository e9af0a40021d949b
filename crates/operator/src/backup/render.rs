//! What a Backup's children look like.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::children::Children;
use crate::kinds::{Backup, StatefulSet};
use crate::names::{WORK_GROUP, child, short_hash};
use crate::pod::{JOB_FILE, PORT, Template};

/// Annotation of a pod: the ConfigMap with its job. Another job is another name, and rolls the pods.
pub(crate) const JOB_NAME: &str = "io.kannika/job";

/// How the partitions are dealt out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkGroup {
    pub(crate) workers: u32,
    pub(crate) seed: u32,
    /// Grows whenever the partitions are dealt out anew, also for a Backup that was deleted and made again: seconds since 1970.
    pub(crate) generation: i64,
    /// It is not the one that runs.
    pub(crate) is_new: bool,
}

impl WorkGroup {
    /// The group to run: that of the StatefulSet if it is still the one that is asked for.
    pub(crate) fn next(
        workers: u32,
        seed: u32,
        live: Option<&StatefulSet>,
        now: Timestamp,
    ) -> WorkGroup {
        let running = live.and_then(|live| WorkGroup::parse(live.annotations().get(WORK_GROUP)?));
        match running {
            Some(running) if (running.workers, running.seed) == (workers, seed) => running,
            running => WorkGroup {
                workers,
                seed,
                generation: now
                    .as_second()
                    .max(running.map_or(0, |running| running.generation + 1)),
                is_new: true,
            },
        }
    }

    fn parse(text: &str) -> Option<WorkGroup> {
        let mut parts = text.split('/');
        Some(WorkGroup {
            workers: parts.next()?.parse().ok()?,
            seed: parts.next()?.parse().ok()?,
            generation: parts.next()?.parse().ok()?,
            is_new: false,
        })
    }

    fn text(&self) -> String {
        format!("{}/{}/{}", self.workers, self.seed, self.generation)
    }
}

/// Everything that the children are made of.
#[derive(Debug)]
pub(crate) struct Workload<'a> {
    /// Of the StatefulSet and its Service.
    pub(crate) name: &'a str,
    pub(crate) children: Children<'a, Backup>,
    pub(crate) group: &'a WorkGroup,
}

impl Workload<'_> {
    /// The name of the ConfigMap: it says what is in it.
    pub(crate) fn job_name(&self) -> String {
        let hash = short_hash(self.children.prepared.resolved.file.as_bytes());
        child(&self.children.owner.name_any(), &format!("-job-{hash}"))
    }

    /// Headless: each worker has its own metrics.
    pub(crate) fn service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.children.metadata(self.name),
            "spec": {
                "clusterIP": "None",
                "selector": self.children.selector(),
                "publishNotReadyAddresses": true,
                "ports": [{"name": "metrics", "port": PORT, "targetPort": "metrics", "protocol": "TCP"}],
            },
        })
    }

    pub(crate) fn stateful_set(&self) -> Value {
        let mut metadata = self.children.metadata(self.name);
        metadata["annotations"] = json!({WORK_GROUP: self.group.text()});
        let job = self.job_name();
        let workers = self.group.workers;
        let args = [
            "backup".to_owned(),
            "--job".to_owned(),
            JOB_FILE.to_owned(),
            "--worker".to_owned(),
            // Kubernetes puts the pod's number in.
            format!("$(ARMORY_ORDINAL)/{workers}"),
            "--group-generation".to_owned(),
            self.group.generation.to_string(),
            "--metrics-address".to_owned(),
            format!("0.0.0.0:{PORT}"),
        ];
        let template = Template {
            annotations: BTreeMap::from([(JOB_NAME.to_owned(), job.clone())]),
            args: args.to_vec(),
            ..self.children.template(&job, "Always")
        };
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": metadata,
            "spec": {
                "serviceName": self.name,
                "podManagementPolicy": "Parallel",
                "replicas": workers,
                "revisionHistoryLimit": 2,
                "selector": {"matchLabels": self.children.selector()},
                "template": template.render(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use armory_resources::Needs;
    use k8s_openapi::api::apps::v1::StatefulSet as Typed;

    use super::*;
    use crate::children::Prepared;
    use crate::claims::Claims;
    use crate::names::BACKUP_LABEL;
    use crate::pod::{Image, PodFields};
    use crate::resolve::Resolved;

    fn rendered(name: &str, spec: Value, claims: &Claims) -> Value {
        let backup: Backup = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "kafka", "uid": "1-2-3"}, "spec": spec,
        }))
        .unwrap();
        let resolved = Resolved {
            file: "{}".to_owned(),
            needs: Needs {
                claims: ["plugins".to_owned()].into(),
                storage: Some("disk".to_owned()),
                secrets: [("keys".to_owned(), ["id".to_owned()].into())].into(),
            },
            notes: Vec::new(),
        };
        let prepared = Prepared {
            fields: PodFields::of_spec(&spec).unwrap(),
            resolved,
            claims: claims.clone(),
        };
        let group = WorkGroup::next(3, 7, None, Timestamp::from_second(1_700_000_000).unwrap());
        let image = Image {
            name: "armory:1".to_owned(),
            pull_policy: None,
            pull_secrets: vec!["registry".to_owned()],
        };
        let workload = Workload {
            name: &child(name, ""),
            children: Children {
                owner: &backup,
                label: BACKUP_LABEL,
                component: "backup",
                prepared: &prepared,
                image: &image,
            },
            group: &group,
        };
        workload.stateful_set()
    }

    #[test]
    fn a_pod_may_do_as_little_as_possible() {
        let set = rendered("orders", json!({}), &Claims::default());
        let typed: Typed = serde_json::from_value(set.clone()).unwrap();
        let pod = typed.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.automount_service_account_token, Some(false));
        let security = pod.security_context.unwrap();
        assert_eq!(security.run_as_non_root, Some(true));
        assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
        let container = &pod.containers[0];
        let security = container.security_context.clone().unwrap();
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(
            security.capabilities.unwrap().drop,
            Some(vec!["ALL".to_owned()])
        );
        let mounts = container.volume_mounts.clone().unwrap();
        let read_only = |path: &str| {
            let mount = mounts
                .iter()
                .find(|mount| mount.mount_path == path)
                .unwrap();
            mount.read_only == Some(true)
        };
        assert!(read_only("/var/lib/armory/claims/plugins"));
        assert!(read_only("/etc/armory/secrets/keys"));
        let volumes = pod.volumes.unwrap();
        let secret = volumes
            .iter()
            .find_map(|volume| volume.secret.clone())
            .unwrap();
        assert_eq!(
            (secret.optional, secret.default_mode),
            (Some(true), Some(0o440))
        );
        let args = container.args.clone().unwrap().join(" ");
        assert!(
            args.contains("--worker $(ARMORY_ORDINAL)/3 --group-generation 1700000000"),
            "{args}"
        );
    }

    #[test]
    fn claims_of_one_node_bring_their_pods_together() {
        let claims = Claims {
            storage: Some("disk".to_owned()),
            single_node: vec!["disk".to_owned()],
        };
        let own = json!({"affinity": {"nodeAffinity": {}}, "labels": {"io.kannika/backup": "stolen", "team": "a"}});
        let set = rendered("orders", own, &claims);
        let pod = &set["spec"]["template"];
        let term = &pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            [0];
        let wanted = term["labelSelector"]["matchLabels"].as_object().unwrap();
        for (key, value) in wanted {
            assert_eq!(
                &pod["metadata"]["labels"][key], value,
                "the pod has what it looks for"
            );
        }
        assert_eq!(term["topologyKey"], "kubernetes.io/hostname");
        assert!(pod["spec"]["affinity"]["nodeAffinity"].is_object());
        assert_eq!(pod["metadata"]["labels"]["team"], "a");
        assert_eq!(pod["metadata"]["labels"]["io.kannika/backup"], "orders");
    }

    #[test]
    fn long_names_make_short_children() {
        for length in [51, 52, 53, 63, 64, 253] {
            let set = rendered(&"x".repeat(length), json!({}), &Claims::default());
            let name = set["metadata"]["name"].as_str().unwrap();
            assert!(name.len() <= 52, "{name}");
            let label = set["spec"]["selector"]["matchLabels"][BACKUP_LABEL]
                .as_str()
                .unwrap();
            assert!(label.len() <= 63, "{label}");
            let volumes = set["spec"]["template"]["spec"]["volumes"]
                .as_array()
                .unwrap();
            let job = volumes[0]["configMap"]["name"].as_str().unwrap();
            assert!(job.len() <= 52, "{job}");
        }
    }

    #[test]
    fn the_generation_of_a_group_grows_with_every_other_group() {
        let live: StatefulSet = serde_json::from_value(json!({
            "metadata": {"annotations": {WORK_GROUP: "3/7/1700000000"}}, "spec": {}, "status": {},
        }))
        .unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let same = WorkGroup::next(3, 7, Some(&live), at(1_800_000_000));
        assert_eq!((same.generation, same.is_new), (1_700_000_000, false));
        let other = WorkGroup::next(2, 7, Some(&live), at(1_800_000_000));
        assert_eq!((other.generation, other.is_new), (1_800_000_000, true));
        // A clock that was set back.
        let later = WorkGroup::next(2, 7, Some(&live), at(1_000_000_000));
        assert_eq!(later.generation, 1_700_000_001);
    }
}
