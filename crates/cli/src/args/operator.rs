//! `armory operator`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Run backups and restores on Kubernetes, as their resources say
///
/// Watches the resources of kannika.io/v1alpha, makes a StatefulSet of every Backup and a Job of every Restore, and writes
/// into their status how they are. Usually it runs in the cluster, installed by the chart; outside it takes the cluster
/// that KUBECONFIG names.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  In a pod, for its own namespace:
    armory operator --image registry.example/armory:0.1.0

  For two namespaces, from a desk:
    KUBECONFIG=~/.kube/config armory operator --namespace kafka --namespace billing --image registry.example/armory:0.1.0")]
pub(crate) struct OperatorArguments {
    /// A namespace to work in; may be given several times [default: the pod's own]
    #[arg(
        long = "namespace",
        env = "ARMORY_NAMESPACE",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        conflicts_with = "all_namespaces"
    )]
    pub(crate) namespaces: Vec<String>,

    /// Work in every namespace
    #[arg(long, env = "ARMORY_ALL_NAMESPACES")]
    pub(crate) all_namespaces: bool,

    /// The image of the pods that back up and restore
    #[arg(long, env = "ARMORY_IMAGE", value_name = "IMAGE")]
    pub(crate) image: String,

    /// When that image is pulled [default: as Kubernetes does]
    #[arg(long, env = "ARMORY_IMAGE_PULL_POLICY", value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub(crate) image_pull_policy: Option<String>,

    /// A Secret for that image's registry; may be given several times
    #[arg(
        long = "image-pull-secret",
        env = "ARMORY_IMAGE_PULL_SECRET",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) image_pull_secrets: Vec<String>,

    /// The class of a Storage's volume that names none [default: the cluster's]
    #[arg(long, env = "ARMORY_STORAGE_CLASS", value_name = "NAME")]
    pub(crate) storage_class: Option<String>,

    /// A YAML file with what all pods have where their Backup or Restore says nothing: affinity, nodeSelector, tolerations,
    /// resources, imagePullSecrets, serviceAccountName, extraArgs, extraEnvVars, labels, annotations
    #[arg(long, env = "ARMORY_POD_DEFAULTS", value_name = "FILE")]
    pub(crate) pod_defaults: Option<PathBuf>,

    /// Where /metrics, /healthz and /readyz are
    #[arg(
        long,
        env = "ARMORY_HTTP_ADDRESS",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:9000"
    )]
    pub(crate) http_address: SocketAddr,

    /// The Lease that decides which of several operators works
    #[arg(
        long,
        env = "ARMORY_LEASE",
        value_name = "NAME",
        default_value = "armory-operator"
    )]
    pub(crate) lease: String,

    /// The namespace of the Lease [default: the pod's own, else the first that is worked in]
    #[arg(long, env = "ARMORY_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub(crate) lease_namespace: Option<String>,

    /// Reconcile nothing; what runs goes on
    #[arg(long, env = "ARMORY_MAINTENANCE")]
    pub(crate) maintenance: bool,
}
