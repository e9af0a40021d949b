//! The image, run by a real container runtime in the way that a strict cluster demands.
#![cfg(feature = "real")]

use std::path::Path;

use anyhow::Result;
use armory_testkit::kubernetes::Cluster;

/// How every pod of Armory is run.
const STRICT: &str = "securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, \
     terminationGracePeriodSeconds: 0";

fn container(image: &str, args: &str) -> String {
    format!(
        "{{name: armory, image: '{image}', imagePullPolicy: Never, args: {args}, securityContext: \
         {{readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}"
    )
}

#[test]
fn the_image_runs_without_root_and_without_a_writable_file_system() -> Result<()> {
    let cluster = Cluster::shared();
    let image = cluster.load_armory(Path::new(env!("CARGO_BIN_EXE_armory")))?;
    let namespace = cluster.namespace("image")?;
    let level = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(&["label", "namespace", namespace.name(), level])?;
    // The image names its user by number: by name, Kubernetes could not tell that it is not root.
    let version = namespace.run_pod("version", &container(&image, "[--version]"), STRICT)?;
    assert_eq!(
        version.trim(),
        format!("armory {}", env!("CARGO_PKG_VERSION"))
    );

    // Neither a shell nor anything else that the image does not need.
    let shell = container(&image, "[]").replace("args: []", "command: [/bin/sh, -c, ls]");
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: shell}}, spec: {{restartPolicy: Never, containers: [{shell}], {STRICT}}}}}"
    );
    namespace.apply(&pod)?;
    namespace.wait_until("pod/shell", "refused for want of a shell", |pod| {
        let state = &pod["status"]["containerStatuses"][0]["state"];
        state.to_string().contains("no such file or directory")
    })?;
    Ok(())
}
