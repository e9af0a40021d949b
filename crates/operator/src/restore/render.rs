//! What a Restore's Job looks like.

use std::collections::BTreeMap;

use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::backup::own_labels;
use crate::claims::Claims;
use crate::kinds::Restore;
use crate::names::{RESTORE_LABEL, RUN, child, label_value, short_hash};
use crate::pod::{Image, JOB_FILE, PORT, PodFields, REPORTS, Template};
use crate::resolve::Resolved;

/// Pods that may fail before the Job does. What cannot be mended by trying again ends it at once, by its exit code.
const MOST_FAILURES: i32 = 1_000_000;
/// Exit codes after which another try is of no use (docs/guide/exit-codes.md).
const FINAL_EXIT_CODES: [i32; 4] = [2, 3, 4, 5];

/// The name of the Job and of its ConfigMap: another job is another name.
pub(crate) fn job_name(restore: &Restore, file: &str) -> String {
    child(
        &restore.name_any(),
        &format!("-{}", short_hash(file.as_bytes())),
    )
}

/// Everything that the children are made of.
#[derive(Debug)]
pub(crate) struct Workload<'a> {
    pub(crate) restore: &'a Restore,
    pub(crate) namespace: &'a str,
    pub(crate) fields: &'a PodFields,
    pub(crate) resolved: &'a Resolved,
    pub(crate) claims: &'a Claims,
    /// The claim for the report.
    pub(crate) report: Option<&'a str>,
    pub(crate) run: &'a str,
    pub(crate) image: &'a Image,
}

impl Workload<'_> {
    pub(crate) fn job_name(&self) -> String {
        job_name(self.restore, &self.resolved.file)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = own_labels("restore");
        labels.insert(
            RESTORE_LABEL.to_owned(),
            label_value(&self.restore.name_any()),
        );
        labels
    }

    fn metadata(&self) -> Value {
        let mut labels = self.fields.labels.clone();
        labels.extend(self.labels());
        json!({
            "name": self.job_name(),
            "namespace": self.namespace,
            "labels": labels,
            "ownerReferences": [self.restore.controller_owner_ref(&())],
        })
    }

    pub(crate) fn config_map(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.metadata(),
            "immutable": true,
            "data": {"job.json": self.resolved.file},
        })
    }

    pub(crate) fn job(&self) -> Value {
        let mut args = [
            "restore",
            "--job",
            JOB_FILE,
            "--metrics-address",
            &format!("0.0.0.0:{PORT}"),
        ]
        .map(str::to_owned)
        .to_vec();
        if self.report.is_some() {
            args.extend(["--report-fallback".to_owned(), REPORTS.to_owned()]);
        }
        let job = self.job_name();
        let template = Template {
            image: self.image,
            fields: self.fields,
            labels: self.labels(),
            annotations: BTreeMap::new(),
            args,
            job: &job,
            needs: &self.resolved.needs,
            storage: self.claims.storage.as_deref(),
            report: self.report,
            single_node: &self.claims.single_node,
            restart: "Never",
        };
        let mut metadata = self.metadata();
        metadata["annotations"] = json!({RUN: self.run});
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {
                "completions": 1,
                "parallelism": 1,
                "backoffLimit": MOST_FAILURES,
                // Never two pods at a time: the next one begins when the last one has ended.
                "podReplacementPolicy": "Failed",
                "podFailurePolicy": {"rules": [
                    {"action": "FailJob", "onExitCodes": {
                        "containerName": "armory", "operator": "In", "values": FINAL_EXIT_CODES}},
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]},
                "template": template.render(),
            },
        })
    }
}
