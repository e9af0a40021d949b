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
    pub(crate) children: Children<'a, Restore>,
    /// The claim for the report.
    pub(crate) report: Option<&'a str>,
    pub(crate) run: &'a str,
}

impl Workload<'_> {
    pub(crate) fn job_name(&self) -> String {
        let Children {
            owner, prepared, ..
        } = self.children;
        job_name(owner, &prepared.resolved.file)
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
            args,
            report: self.report,
            ..self.children.template(&job, "Never")
        };
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
                "template": template.render(),
            },
        })
    }
}
