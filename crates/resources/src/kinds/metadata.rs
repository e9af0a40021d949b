//! `metadata`: names, and the labels and annotations that act as configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decode::{AnyObject, Place, object};
use crate::problem::{near_miss, suggestion};
use crate::scalar::{ObjectName, Offset, parse_duration};

/// Label of a Backup: `Keep` or `Delete`.
pub const RETENTION_LABEL: &str = "io.kannika/data-retention-policy";
/// Label of a Backup: after how long, a duration like `30d`.
pub const RETENTION_AFTER_LABEL: &str = "io.kannika/data-retention-policy-delete-after";
/// Annotation of a Backup. Snapshots are always on with Armory, so it changes nothing.
pub const SNAPSHOTS_ANNOTATION: &str = "io.kannika/experimental-snapshots";
/// Annotation of a Restore: the claim that its report lies on. It means something to the operator only.
pub const REPORT_CLAIM_ANNOTATION: &str = "io.kannika/report-pvc-name";

object! {
    /// What every resource has. Keys that the API server writes are taken, so that the output of `kubectl get -o yaml`
    /// can be read.
    Metadata {
        /// The name.
        "name" => name: ObjectName,
        /// The namespace.
        "namespace" => namespace: Option<String>,
        /// Labels.
        "labels" => labels: BTreeMap<String, String>,
        /// Annotations.
        "annotations" => annotations: BTreeMap<String, String>,
        /// Written by the API server.
        "creationTimestamp" => creation_timestamp: Option<String>,
        /// Written by the API server.
        "deletionTimestamp" => deletion_timestamp: Option<String>,
        /// Written by the API server.
        "deletionGracePeriodSeconds" => deletion_grace_period_seconds: Option<Offset>,
        /// Written by controllers.
        "finalizers" => finalizers: Vec<String>,
        /// A prefix for a name.
        "generateName" => generate_name: Option<String>,
        /// Written by the API server.
        "generation" => generation: Option<Offset>,
        /// Written by the API server.
        "managedFields" => managed_fields: Vec<AnyObject>,
        /// Written by controllers.
        "ownerReferences" => owner_references: Vec<AnyObject>,
        /// Written by the API server.
        "resourceVersion" => resource_version: Option<String>,
        /// Written by old API servers.
        "selfLink" => self_link: Option<String>,
        /// Written by the API server.
        "uid" => uid: Option<String>,
    }
}

impl Metadata {
    /// The labels and annotations of a Backup that act as configuration. `at` is the document's root.
    pub(crate) fn check_backup(&self, at: &mut Place<'_>) {
        self.check_keys(
            "labels",
            &self.labels,
            &[RETENTION_LABEL, RETENTION_AFTER_LABEL],
            at,
        );
        self.check_keys(
            "annotations",
            &self.annotations,
            &[SNAPSHOTS_ANNOTATION],
            at,
        );
        let after = self.labels.get(RETENTION_AFTER_LABEL);
        match after.map(|after| parse_duration(after)) {
            Some(Err(message)) => at_label(RETENTION_AFTER_LABEL, message, at),
            Some(Ok(Duration::ZERO)) => {
                at_label(RETENTION_AFTER_LABEL, "must be longer than nothing", at);
            }
            _ => {}
        }
        match self.labels.get(RETENTION_LABEL).map(String::as_str) {
            None | Some("Keep") if after.is_some() => {
                let message = format!("has no effect without the label {RETENTION_LABEL}: Delete");
                at_label(RETENTION_AFTER_LABEL, message, at);
            }
            None | Some("Keep") => {}
            Some("Delete") if after.is_none() => {
                let message =
                    format!("needs the label {RETENTION_AFTER_LABEL} with a duration like 30d");
                at_label(RETENTION_LABEL, message, at);
            }
            Some("Delete") => {}
            Some(other) => {
                let hint = suggestion(other, &["Keep", "Delete"]);
                at_label(
                    RETENTION_LABEL,
                    format!("unknown value {other:?}{hint}"),
                    at,
                );
            }
        }
    }

    /// After how long a Backup deletes what it archived, if it does.
    pub(crate) fn delete_after(&self) -> Option<Duration> {
        let delete = self
            .labels
            .get(RETENTION_LABEL)
            .is_some_and(|policy| policy == "Delete");
        let after = self.labels.get(RETENTION_AFTER_LABEL).filter(|_| delete)?;
        parse_duration(after).ok()
    }

    /// The claim that a Restore keeps its report on, where its storage cannot be written.
    pub fn report_claim(&self) -> Option<&str> {
        self.annotations
            .get(REPORT_CLAIM_ANNOTATION)
            .map(String::as_str)
    }

    /// The annotations of a Restore that act as configuration. `at` is the document's root.
    pub(crate) fn check_restore(&self, at: &mut Place<'_>) {
        self.check_keys(
            "annotations",
            &self.annotations,
            &[REPORT_CLAIM_ANNOTATION],
            at,
        );
    }

    /// Labels and annotations are anybody's; but one that is nearly a configuring one is a slip of the pen.
    fn check_keys(
        &self,
        field: &str,
        keys: &BTreeMap<String, String>,
        known: &[&str],
        at: &mut Place<'_>,
    ) {
        for key in keys.keys().filter(|key| key.starts_with("io.kannika/")) {
            if !known.contains(&key.as_str())
                && let Some(meant) = near_miss(key, known)
            {
                at.within_keys(&["metadata", field, key], |at| {
                    at.problem(format!("unknown key, did you mean {meant}"));
                });
            }
        }
    }
}

fn at_label(label: &str, message: impl Into<String>, at: &mut Place<'_>) {
    at.within_keys(&["metadata", "labels", label], |at| at.problem(message));
}
