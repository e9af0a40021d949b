//! The Kubernetes cluster that tests are given: what an operator and its pods need of it.
#![cfg(feature = "real")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use armory_testkit::kubernetes::{Cluster, Component, MACHINE};
use armory_testkit::{Kafka, kafka, unique};

/// The one image that every node has. Its program can hold still, and carry connections on.
const IMAGE: &str = "image: armory.test/pause:1, imagePullPolicy: Never";

#[test]
fn pods_reach_servers_of_the_machine_and_the_machine_reaches_pods_and_services() -> Result<()> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port();
    std::thread::spawn(move || {
        for client in server.incoming() {
            let _ = client.and_then(|mut client| client.write_all(b"from the machine"));
        }
    });
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("reach")?;
    namespace.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: relay, labels: {{app: relay}}}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {{runAsNonRoot: true, runAsUser: 65532}}
  containers:
  - name: relay
    {image}
    command: [/tool, forward, -listen, '0.0.0.0:9000', -dial, '{MACHINE}:{port}']
    readinessProbe: {{tcpSocket: {{port: 9000}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: relay}}
spec: {{selector: {{app: relay}}, ports: [{{port: 80, targetPort: 9000}}]}}
",
        image = IMAGE.replace(", ", "\n    "),
    ))?;
    namespace.wait_for_condition("pod/relay", "Ready")?;
    let read = |address: &str| -> Result<String> {
        let mut text = String::new();
        TcpStream::connect(address)?.read_to_string(&mut text)?;
        Ok(text)
    };
    let pod = namespace.forward_out("pod/relay", 9000)?;
    assert_eq!(read(pod.address())?, "from the machine");
    // The rules that lead to a Service's pods are written a moment after the pod is ready.
    let service = namespace.forward_out("service/relay", 80)?;
    namespace.wait_until("service/relay", "leading to the pod", |_| {
        read(service.address()).is_ok_and(|text| text == "from the machine")
    })?;
    Ok(())
}

#[test]
fn a_client_in_the_cluster_uses_the_shared_broker() -> Result<()> {
    let broker = Kafka::shared();
    let topic = unique("orders");
    broker.create_topic(&topic, 1, &[])?;
    let bootstrap = broker.pod_bootstrap();
    let tool = kafka::tool_command("topics", &["--bootstrap-server", &bootstrap, "--list"])?;
    let mut inside = Cluster::shared().exec(tool.get_program());
    // A tool asks the first broker for all others: it would not get far if they named the machine's addresses.
    let output = inside.args(tool.get_args()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().any(|line| line == topic), "{output:?}");
    Ok(())
}

#[test]
fn a_claim_gets_a_folder_which_goes_with_it() -> Result<()> {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("claims")?;
    namespace.apply(&format!(
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: holder}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: holder
    {image}
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
",
        image = IMAGE.replace(", ", "\n    "),
    ))?;
    namespace.wait_for_condition("pod/holder", "Ready")?;
    let claim = namespace.get("pvc/data")?.context("the claim")?;
    let volume = claim["spec"]["volumeName"].as_str().context("a volume")?;
    let volume = format!("pv/{volume}");
    let found = namespace.get(&volume)?.context("the volume")?;
    let folder = found["spec"]["hostPath"]["path"]
        .as_str()
        .context("a path")?;
    assert!(std::path::Path::new(folder).is_dir());

    namespace.kubectl(&["delete", "pod/holder", "pvc/data"])?;
    namespace.wait_until_gone(&volume)?;
    assert!(!std::path::Path::new(folder).exists());
    Ok(())
}

#[test]
fn a_wait_that_is_over_names_the_logs_and_a_dry_run_changes_nothing() -> Result<()> {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("errors")?;
    let map = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: one, namespace: {}}}}}",
        namespace.name()
    );
    cluster.try_apply(&map)?;
    assert!(namespace.get("configmap/one")?.is_none());
    let error = cluster.try_apply(&map.replace("ConfigMap", "NoSuchKind"));
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("NoSuchKind"), "{error}");
    assert!(
        error.contains(&*cluster.logs().to_string_lossy()),
        "{error}"
    );
    assert!(cluster.logs().join("kubelet.log").exists());
    Ok(())
}

#[test]
fn own_cluster_goes_on_when_its_components_are_killed_and_leaves_nothing_behind() -> Result<()> {
    let cluster = Cluster::own()?;
    let logs = cluster.logs();
    {
        let namespace = cluster.namespace("killed")?;
        for component in [
            Component::Controllers,
            Component::Kubelet,
            Component::Etcd,
            Component::ApiServer,
        ] {
            cluster.restart(component)?;
        }
        let job = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: after}}, spec: {{terminationGracePeriodSeconds: 0, \
             containers: [{{name: one, {IMAGE}}}]}}}}"
        );
        // Until the API server is back.
        namespace.wait_until("configmap/kube-root-ca.crt", "there", |_| {
            namespace.apply(&job).is_ok()
        })?;
        namespace.wait_for_condition("pod/after", "Ready")?;
    }
    drop(cluster);
    assert!(!logs.exists());
    Ok(())
}
