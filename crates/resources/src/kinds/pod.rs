//! What the pods of a Backup, a Restore, or their counterparts for schema registries are like.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::decode::{AnyObject, Decode, Kept, Place, object};
use crate::kinds::LocalReference;
use crate::node::{Node, Value};
use crate::scalar::Name;

object! {
    /// The keys that several kinds have for their pods. A single process reads and checks them, and they change nothing.
    PodFields {
        /// What this is for, for people.
        "description" => description: Option<String>,
        /// On which nodes pods may run, by the nodes' labels and by what else runs there.
        "affinity" => affinity: Option<Kept<AffinitySpec>>,
        /// Annotations of everything that is made for this resource.
        "annotations" => annotations: BTreeMap<String, String>,
        /// Arguments that are added to the command of the pod.
        "extraArgs" => extra_args: Vec<String>,
        /// Environment variables of the pod, for example `RUST_LOG`.
        "extraEnvVars" => extra_env_vars: Option<Kept<Vec<EnvVarSpec>>>,
        /// Secrets with which the image is pulled from a private registry.
        "imagePullSecrets" => image_pull_secrets: Vec<LocalReference>,
        /// Labels of everything that is made for this resource.
        "labels" => labels: BTreeMap<String, String>,
        /// Labels that a node must have for a pod to run there.
        "nodeSelector" => node_selector: BTreeMap<String, String>,
        /// CPU and memory that the pod asks for, and may use. Advice: a memory limit equal to the request, and no CPU
        /// limit.
        "resources" => resources: Option<Kept<ResourcesSpec>>,
        /// The service account that the pod runs as: the way to credentials of a cloud by workload identity. The pod gets no
        /// token for the API server.
        "serviceAccountName" => service_account_name: Option<String>,
        /// Taints of nodes that pods tolerate.
        "tolerations" => tolerations: Option<Kept<Vec<TolerationSpec>>>,
    }
}

object! {
    /// Affinity, as in a pod.
    AffinitySpec {
        /// By labels of nodes.
        "nodeAffinity" => node: Option<AnyObject>,
        /// Near to other pods.
        "podAffinity" => pod: Option<AnyObject>,
        /// Away from other pods.
        "podAntiAffinity" => pod_anti: Option<AnyObject>,
    }
}

object! {
    /// An environment variable, as in a container.
    EnvVarSpec {
        /// The name of the variable.
        "name" => name: Name,
        /// Its value; `$(NAME)` stands for other variables.
        "value" => value: Option<String>,
        /// Where its value comes from: `configMapKeyRef`, `secretKeyRef`, `fieldRef` or `resourceFieldRef`.
        "valueFrom" => value_from: Option<AnyObject>,
    }
}

object! {
    /// Resources, as in a container.
    ResourcesSpec {
        /// The most that may be used, for example `memory: 1Gi`.
        "limits" => limits: BTreeMap<String, Quantity>,
        /// What is reserved, for example `cpu: 500m`.
        "requests" => requests: BTreeMap<String, Quantity>,
        /// Claims of dynamic resource allocation.
        "claims" => claims: Vec<AnyObject>,
    }
}

object! {
    /// A toleration, as in a pod.
    TolerationSpec {
        /// The key of the taint; without it all keys.
        "key" => key: Option<String>,
        /// How key and value are compared: `Exists` or `Equal`. `Equal` where it is not given.
        "operator" => operator: Option<String>,
        /// The value of the taint.
        "value" => value: Option<String>,
        /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; without it all effects.
        "effect" => effect: Option<String>,
        /// For how many seconds a taint with the effect `NoExecute` is tolerated.
        "tolerationSeconds" => seconds: Option<WholeNumber>,
    }
}

/// Any whole number.
pub type WholeNumber = crate::scalar::Whole<{ i64::MIN }, { i64::MAX }>;

/// A quantity of Kubernetes, not looked at further: `500m`, `1Gi`, `2`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Quantity(pub String);

impl Decode for Quantity {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        match &node.value {
            Value::Integer(number) => Quantity(number.to_string()),
            _ => Quantity(String::decode(node, at)),
        }
    }

    fn schema() -> Json {
        json!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
        })
    }
}
