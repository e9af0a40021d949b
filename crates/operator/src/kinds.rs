//! Objects of the cluster, as much of each as the operator looks at.
//!
//! Watches keep every object in memory, so the foreign ones have the few fields here that are read. What is written is
//! made elsewhere, whole.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::status::Status;

/// Something the operator watches.
pub(crate) trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Objects that are not ours are watched by their label only.
    const OURS_ONLY: bool;
}

/// One of our kinds that has a status.
pub(crate) trait Subject: Watched {
    fn status(&self) -> Option<&Status>;
    fn spec(&self) -> &Value;
}

macro_rules! kind {
    (
        $(#[$meta:meta])*
        $name:ident, $group:literal, $version:literal, $plural:literal, ours only: $ours:literal
        { $( $(#[$field_meta:meta])* $field:ident : $type:ty, )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct $name {
            #[serde(default)]
            pub(crate) metadata: ObjectMeta,
            $( $(#[$field_meta])* #[serde(default)] pub(crate) $field: $type, )*
        }

        impl Resource for $name {
            type DynamicType = ();
            type Scope = k8s_openapi::NamespaceResourceScope;

            fn kind(_: &()) -> Cow<'_, str> {
                stringify!($name).into()
            }
            fn group(_: &()) -> Cow<'_, str> {
                $group.into()
            }
            fn version(_: &()) -> Cow<'_, str> {
                $version.into()
            }
            fn plural(_: &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }

        impl Watched for $name {
            const OURS_ONLY: bool = $ours;
        }
    };
}

macro_rules! subject {
    ($($name:ident $plural:literal $doc:literal),* $(,)?) => {
        $(
            kind! {
                #[doc = $doc]
                $name, "kannika.io", "v1alpha", $plural, ours only: false
                {
                    spec: Value,
                    status: Option<Status>,
                }
            }

            impl Subject for $name {
                fn status(&self) -> Option<&Status> {
                    self.status.as_ref()
                }
                fn spec(&self) -> &Value {
                    &self.spec
                }
            }
        )*
    };
}

subject! {
    Backup "backups" "A Backup.",
    Restore "restores" "A Restore.",
    Storage "storages" "A Storage.",
    EventHub "eventhubs" "An EventHub.",
    SchemaRegistryBackup "schemaregistrybackups" "A SchemaRegistryBackup.",
    SchemaRegistryRestore "schemaregistryrestores" "A SchemaRegistryRestore.",
}

kind! {
    /// Credentials.
    Credentials, "kannika.io", "v1alpha", "credentials", ours only: false
    { spec: Value, }
}

kind! {
    /// The pods of a Backup.
    StatefulSet, "apps", "v1", "statefulsets", ours only: true
    {
        spec: StatefulSetSpec,
        status: StatefulSetStatus,
    }
}

impl StatefulSet {
    /// Whether its pods are what it asks for now.
    pub(crate) fn is_current(&self) -> bool {
        self.status.observed_generation == self.metadata.generation
            && self.status.updated_replicas == self.status.replicas
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct StatefulSetSpec {
    #[serde(default)]
    pub(crate) replicas: Option<i32>,
    #[serde(default)]
    pub(crate) template: TemplateView,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct TemplateView {
    #[serde(default)]
    pub(crate) metadata: MetadataView,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct MetadataView {
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatefulSetStatus {
    #[serde(default)]
    pub(crate) observed_generation: Option<i64>,
    #[serde(default)]
    pub(crate) replicas: i32,
    #[serde(default)]
    pub(crate) updated_replicas: i32,
}

kind! {
    /// The run of a Restore.
    Job, "batch", "v1", "jobs", ours only: true
    {
        spec: JobSpec,
        status: JobStatus,
    }
}

impl Job {
    /// Its condition of this kind, if that is true.
    pub(crate) fn is(&self, kind: &str) -> Option<&ConditionView> {
        let mut conditions = self.status.conditions.iter();
        conditions.find(|condition| condition.kind == kind && condition.status == "True")
    }

    /// Whether it has pods, or is about to.
    pub(crate) fn is_active(&self) -> bool {
        self.is("Failed").is_none() && self.spec.suspend != Some(true)
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct JobSpec {
    #[serde(default)]
    pub(crate) suspend: Option<bool>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobStatus {
    #[serde(default)]
    pub(crate) conditions: Vec<ConditionView>,
    #[serde(default)]
    pub(crate) start_time: Option<Time>,
    #[serde(default)]
    pub(crate) completion_time: Option<Time>,
}

/// A condition of a Job or a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConditionView {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) message: String,
}

kind! {
    /// A worker.
    Pod, "", "v1", "pods", ours only: true
    { status: PodStatus, }
}

impl Pod {
    /// Whether its container is ready.
    pub(crate) fn is_ready(&self) -> bool {
        let container = self.status.container_statuses.first();
        container.is_some_and(|container| container.ready)
    }

    /// Whether it has ended, in whatever way.
    pub(crate) fn is_at_end(&self) -> bool {
        matches!(self.status.phase.as_str(), "Failed" | "Succeeded")
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodStatus {
    #[serde(default)]
    pub(crate) phase: String,
    #[serde(default, rename = "podIP")]
    pub(crate) pod_ip: Option<String>,
    #[serde(default)]
    pub(crate) conditions: Vec<ConditionView>,
    #[serde(default)]
    pub(crate) container_statuses: Vec<ContainerStatus>,
    /// Why a pod was evicted or refused by its node.
    #[serde(default)]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    #[serde(default)]
    pub(crate) ready: bool,
    #[serde(default)]
    pub(crate) state: ContainerState,
    #[serde(default)]
    pub(crate) last_state: ContainerState,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ContainerState {
    #[serde(default)]
    pub(crate) waiting: Option<Waiting>,
    #[serde(default)]
    pub(crate) terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Waiting {
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) message: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Terminated {
    #[serde(default)]
    pub(crate) exit_code: i32,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) message: String,
}

kind! {
    /// A job that a pod reads.
    ConfigMap, "", "v1", "configmaps", ours only: true
    {}
}

kind! {
    /// Where the metrics of a Backup's pods are.
    Service, "", "v1", "services", ours only: true
    {}
}

kind! {
    /// A volume claim, anybody's: plugins lie on those of users.
    PersistentVolumeClaim, "", "v1", "persistentvolumeclaims", ours only: false
    {
        spec: ClaimSpec,
        status: ClaimStatus,
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClaimSpec {
    #[serde(default)]
    pub(crate) access_modes: Vec<String>,
    #[serde(default)]
    pub(crate) storage_class_name: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClaimStatus {
    #[serde(default)]
    pub(crate) phase: String,
}

impl PersistentVolumeClaim {
    /// Whether pods on several nodes may use it at once.
    pub(crate) fn is_shared(&self) -> bool {
        let modes = &self.spec.access_modes;
        modes
            .iter()
            .any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany")
    }
}
