//! What a cluster's programs are told: certificates, kubeconfigs, and their own configuration files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;

use super::programs::PAUSE_IMAGE;
use crate::certificates::{Authority, Issued};

/// Names and addresses of the API server, inside and outside.
const API_HOSTS: [&str; 8] = [
    "127.0.0.1",
    "172.30.0.1",
    "10.96.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Writes everything below the folder `state` of the cluster `name`, whose API listens on `port`.
pub(super) fn write(state: &Path, name: &str, port: u16) -> Result<()> {
    let pki = state.join("pki");
    let conf = state.join("conf");
    fs::create_dir_all(&pki)?;
    fs::create_dir_all(conf.join("cni"))?;

    let authority = Authority::new(name)?;
    fs::write(pki.join("ca.crt"), authority.pem())?;
    let save = |file: &str, issued: &Issued| -> Result<()> {
        fs::write(pki.join(format!("{file}.crt")), &issued.certificate)?;
        secret(&pki.join(format!("{file}.key")), &issued.key)
    };
    let admin = authority.issue_member("kubernetes-admin", "system:masters", &[])?;
    save("admin", &admin)?;
    save("apiserver", &authority.issue("kube-apiserver", &API_HOSTS)?)?;
    let node = ["127.0.0.1", "172.30.0.1", "node1"];
    let kubelet = authority.issue_member("system:node:node1", "system:nodes", &node)?;
    save("kubelet", &kubelet)?;
    let accounts = KeyPair::generate()?;
    secret(&pki.join("accounts.key"), &accounts.serialize_pem())?;
    fs::write(pki.join("accounts.pub"), accounts.public_key_pem())?;

    let kubeconfig = |user: &Issued| kubeconfig(name, port, authority.pem(), user);
    secret(&state.join("kubeconfig"), &kubeconfig(&admin))?;
    secret(&conf.join("kubelet.kubeconfig"), &kubeconfig(&kubelet))?;
    for (file, user) in [
        ("controllers", "system:kube-controller-manager"),
        ("scheduler", "system:kube-scheduler"),
    ] {
        let user = authority.issue_member(user, user, &[])?;
        secret(&conf.join(format!("{file}.kubeconfig")), &kubeconfig(&user))?;
    }
    let proxy = authority.issue_member("system:kube-proxy", "system:node-proxier", &[])?;
    secret(&conf.join("proxy.kubeconfig"), &kubeconfig(&proxy))?;

    // Pods find no name server: there is none in the cluster.
    fs::write(conf.join("resolv.conf"), "")?;
    let state = state.display().to_string();
    let fill = |text: &str| {
        text.replace("STATE", &state)
            .replace("NAME", name)
            .replace("PAUSE", PAUSE_IMAGE)
    };
    for (file, text) in [
        ("audit.yaml", AUDIT),
        ("containerd.toml", CONTAINERD),
        ("kubelet.yaml", KUBELET),
        ("proxy.yaml", PROXY),
        ("storage-class.yaml", STORAGE_CLASS),
        ("cni/pods.conflist", NETWORK),
    ] {
        fs::write(conf.join(file), fill(text))?;
    }
    Ok(())
}

/// Only its owner may read it: kubectl warns otherwise.
fn secret(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o600),
    )?)
}

fn kubeconfig(name: &str, port: u16, authority: &str, user: &Issued) -> String {
    let encode = |text: &str| STANDARD.encode(text);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority-data: {}}}
users:
- name: user
  user: {{client-certificate-data: {}, client-key-data: {}}}
contexts:
- name: {name}
  context: {{cluster: {name}, user: user}}
current-context: {name}
",
        encode(authority),
        encode(&user.certificate),
        encode(&user.key),
    )
}

/// What pods ask of the API, for [`super::Cluster::requests_of`]; not what the control plane asks of itself.
const AUDIT: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, userGroups: ['system:serviceaccounts:kube-system']}
- {level: Metadata, userGroups: ['system:serviceaccounts']}
- {level: None}
";

/// Lowering a process's score for the killer of memory hogs takes a capability that a container may lack; then runc ends with
/// "can't get final child's PID from pipe: EOF" unless it is told not to.
const CONTAINERD: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "PAUSE"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "STATE/conf/cni"
"#;

/// Images are never collected: one that was imported could not be pulled again. Pods are looked after every ten seconds instead of
/// every minute, so that their volumes have a changed Secret soon.
const KUBELET: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: STATE/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: STATE/pki/kubelet.crt
tlsPrivateKeyFile: STATE/pki/kubelet.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /NAME
failSwapOn: false
resolvConf: STATE/conf/resolv.conf
clusterDomain: cluster.local
serializeImagePulls: false
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
nodeStatusUpdateFrequency: 5s
configMapAndSecretChangeDetectionStrategy: Watch
syncFrequency: 10s
";

/// Limits of the machine's connection tracking are left alone.
const PROXY: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: STATE/conf/proxy.kubeconfig}
hostnameOverride: node1
clusterCIDR: 10.244.0.0/24
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
";

const STORAGE_CLASS: &str = "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: folder, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}
provisioner: armory.test/folder
reclaimPolicy: Delete
volumeBindingMode: WaitForFirstConsumer
";

const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "pods", "plugins": [{
  "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
}]}
"#;
