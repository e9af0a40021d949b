//! What a Restore's Job looks like.

use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::children::Children;
use crate::kinds::Restore;
use crate::names::{RUN, child, short_hash};
use crate::pod::{JOB_FILE, PORT, REPORTS, Template};

/// Pods that may fail before the Job does. What cannot be mended by trying again ends it at once, by its exit code.
const MOST_FAILURES: i32 = 1_000_000;
/// Exit codes after which another try is of no use (docs/guide/exit-codes.md).
const FINAL_EXIT_CODES: [i32; 4] = [2, 3, 4, 5];

/// Everything that the children are made of.
#[derive(Debug)]
pub(crate) struct Workload<'a> {
    pub(crate) children: Children<'a, Restore>,
    /// The claim for the report.
    pub(crate) report: Option<&'a str>,
    pub(crate) run: &'a str,
}

impl Workload<'_> {
    /// The name of the Job and of its ConfigMap. Another job, or pods that are made otherwise, have another name, because the pods of a
    /// Job cannot be changed.
    pub(crate) fn job_name(&self) -> String {
        let Children {
            owner, prepared, ..
        } = self.children;
        let template = self.template("").to_string();
        let content = [prepared.resolved.file.as_bytes(), template.as_bytes()].concat();
        child(&owner.name_any(), &format!("-{}", short_hash(&content)))
    }

    /// The pod that runs a job.
    fn template(&self, job: &str) -> Value {
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
        Template {
            args,
            report: self.report,
            ..self.children.template(job, "Never")
        }
        .render()
    }

    pub(crate) fn job(&self) -> Value {
        let job = self.job_name();
        let mut metadata = self.children.metadata(&job);
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
                "template": self.template(&job),
            },
        })
    }
}
