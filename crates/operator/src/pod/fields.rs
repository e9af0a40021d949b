//! The fields of a resource that shape its pods, over the operator's defaults.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, LocalObjectReference, ResourceRequirements, Toleration,
};
use serde::Deserialize;
use serde_json::Value;

/// What a Backup or a Restore says about its pods, or the defaults file about all of them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodFields {
    /// Where it may run.
    pub affinity: Option<Affinity>,
    /// Where it may run.
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Where it may run.
    pub tolerations: Option<Vec<Toleration>>,
    /// Requests and limits.
    pub resources: Option<ResourceRequirements>,
    /// For a private registry.
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
    /// For the identities of clouds.
    pub service_account_name: Option<String>,
    /// Further arguments of `armory`.
    pub extra_args: Vec<String>,
    /// Further environment.
    pub extra_env_vars: Vec<EnvVar>,
    /// On the pods, and for labels on all else that is made.
    pub labels: BTreeMap<String, String>,
    /// On the pods.
    pub annotations: BTreeMap<String, String>,
}

impl PodFields {
    /// Reads them out of a `spec`. What does not fit is told with its path.
    pub(crate) fn of_spec(spec: &Value) -> Result<PodFields, String> {
        PodFields::read(spec).map_err(|error| format!("spec.{error}"))
    }

    /// Reads an object; keys that are something else's are left alone.
    fn read(object: &Value) -> Result<PodFields, String> {
        serde_path_to_error::deserialize(object)
            .map_err(|error| format!("{}: {}", error.path(), error.inner()))
    }

    /// Reads the defaults for all pods. Only these keys may be there.
    pub fn parse_defaults(object: &Value) -> Result<PodFields, String> {
        const KEYS: &[&str] = &[
            "affinity",
            "nodeSelector",
            "tolerations",
            "resources",
            "imagePullSecrets",
            "serviceAccountName",
            "extraArgs",
            "extraEnvVars",
            "labels",
            "annotations",
        ];
        let keys = object.as_object().ok_or("expected an object")?;
        if let Some(key) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!(
                "{key}: unknown key, expected one of {}",
                KEYS.join(", ")
            ));
        }
        PodFields::read(object)
    }

    /// These, with `defaults` wherever nothing is said. Labels, annotations, arguments and environment are added up.
    pub(crate) fn over(self, defaults: &PodFields) -> PodFields {
        let defaults = defaults.clone();
        let mut labels = defaults.labels;
        labels.extend(self.labels);
        let mut annotations = defaults.annotations;
        annotations.extend(self.annotations);
        PodFields {
            affinity: self.affinity.or(defaults.affinity),
            node_selector: self.node_selector.or(defaults.node_selector),
            tolerations: self.tolerations.or(defaults.tolerations),
            resources: self.resources.or(defaults.resources),
            image_pull_secrets: self.image_pull_secrets.or(defaults.image_pull_secrets),
            service_account_name: self.service_account_name.or(defaults.service_account_name),
            extra_args: [defaults.extra_args, self.extra_args].concat(),
            extra_env_vars: [defaults.extra_env_vars, self.extra_env_vars].concat(),
            labels,
            annotations,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_named() {
        let error = PodFields::of_spec(&json!({"tolerations": [{"key": 1}]})).unwrap_err();
        assert!(error.starts_with("spec.tolerations[0].key: "), "{error}");
        let error = PodFields::parse_defaults(&json!({"image": "x"})).unwrap_err();
        assert!(error.starts_with("image: unknown key"), "{error}");
    }

    #[test]
    fn a_resource_wins_over_the_defaults() {
        let read = |value| PodFields::of_spec(&value).unwrap();
        let defaults = read(json!({
            "labels": {"team": "a", "tier": "x"},
            "nodeSelector": {"pool": "backup"},
            "serviceAccountName": "default-account",
        }));
        let own = read(json!({"labels": {"team": "b"}, "serviceAccountName": "mine"}));
        let both = own.over(&defaults);
        assert_eq!(both.labels["team"], "b");
        assert_eq!(both.labels["tier"], "x");
        assert_eq!(both.node_selector.unwrap()["pool"], "backup");
        assert_eq!(both.service_account_name.as_deref(), Some("mine"));
    }
}
