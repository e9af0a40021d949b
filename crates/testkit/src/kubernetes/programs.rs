//! The programs of a cluster: Kubernetes, etcd and Helm from the Go module proxy, the rest from Debian's packages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cache, image};

/// The version of Kubernetes that tests run against; `kubernetes/box/go.mod` names the same.
///
/// The kubelet of a later one refuses control groups of version 1, which machines without systemd often have.
pub const VERSION: &str = "v1.34.4";

/// The version of Helm, of `kubernetes/helm/go.mod`.
pub const HELM_VERSION: &str = "v4.0.5";

/// What Debian calls the packages that a node needs.
pub const PACKAGES: [&str; 8] = [
    "busybox-static",
    "containerd",
    "runc",
    "containernetworking-plugins",
    "nftables",
    "conntrack",
    "iproute2",
    "util-linux",
];

/// What those packages bring, as far as it is needed here.
const INSTALLED: [&str; 11] = [
    image::BUSYBOX,
    "/usr/bin/containerd",
    "/usr/bin/ctr",
    "/usr/sbin/runc",
    "/usr/lib/cni/bridge",
    "/usr/sbin/nft",
    "/usr/sbin/conntrack",
    "/usr/bin/flock",
    "/usr/bin/nsenter",
    "/usr/bin/setsid",
    "/usr/bin/unshare",
];

/// The names that the box is called by.
const APPLETS: [&str; 8] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "provisioner",
];

/// A Go module of ours: its folder, and its files.
type Module = (&'static str, &'static [(&'static str, &'static str)]);

macro_rules! module {
    ($folder:literal: $($file:literal),+) => {
        ($folder, &[$(($file, include_str!(concat!("../../kubernetes/", $folder, "/", $file)))),+])
    };
}

const BOX: Module = module!("box": "go.mod", "go.sum", "main.go", "provisioner.go");
const HELM: Module = module!("helm": "go.mod", "go.sum");
const TOOL: Module =
    module!("tool": "go.mod", "main.go", "setns_linux_amd64.go", "setns_linux_arm64.go");

/// The scripts that run a cluster: see them for what they do.
pub(super) const SCRIPTS: [(&str, &str); 2] = [
    ("cluster.sh", include_str!("../../kubernetes/cluster.sh")),
    ("node.sh", include_str!("../../kubernetes/node.sh")),
];

/// The name of the image that every pod's first container is made of.
pub(super) const PAUSE_IMAGE: &str = "armory.test/pause:1";

/// Builds the programs, or finds them in the cache: the folder that holds them, by the names that they are called by.
///
/// The first build of a machine takes six minutes on 2 cores and leaves 4 GB in the cache; one with the same modules takes
/// half a minute. The Go caches lie in the test kit's cache, too.
pub fn programs() -> Result<PathBuf> {
    let folder = cache::root()?
        .join("kubernetes")
        .join(format!("{VERSION}-{}", digest()));
    cache::once(&folder, |partial| {
        fs::create_dir_all(partial)?;
        let mut flags = String::from("-s -w");
        let minor = VERSION.split('.').nth(1).context("a version has a minor")?;
        for package in ["k8s.io/component-base", "k8s.io/client-go/pkg"] {
            for (name, value) in [
                ("gitVersion", VERSION),
                ("gitMajor", "1"),
                ("gitMinor", minor),
                ("gitTreeState", "clean"),
                ("gitCommit", "unknown"),
                ("buildDate", "2026-01-01T00:00:00Z"),
            ] {
                flags.push_str(&format!(" -X {package}/version.{name}={value}"));
            }
        }
        let tags = "selinux,notest,grpcnotrace";
        build(
            BOX,
            &["-tags", tags, "-ldflags", &flags, "."],
            &partial.join("box"),
        )?;
        for applet in APPLETS {
            symlink("box", partial.join(applet))?;
        }
        let helm = "helm.sh/helm/v4/cmd/helm";
        build(HELM, &["-ldflags", "-s -w", helm], &partial.join("helm"))?;
        build(TOOL, &["-ldflags", "-s -w", "."], &partial.join("tool"))?;
        pause_image(partial)
    })
    .context("cannot build the programs of a Kubernetes cluster")
}

fn build((folder, files): Module, args: &[&str], output: &Path) -> Result<()> {
    let sources = tempfile::tempdir()?;
    for (name, text) in files {
        fs::write(sources.path().join(name), text)?;
    }
    let caches = cache::root()?.join("go");
    let mut command = Command::new("go");
    command
        .current_dir(&sources)
        .args(["build", "-mod=readonly", "-trimpath", "-o"])
        .arg(output)
        .args(args)
        .env("GOCACHE", caches.join("build"))
        .env("GOMODCACHE", caches.join("modules"))
        // So that whoever removes the cache can remove the modules, too.
        .env("GOFLAGS", "-modcacherw -buildvcs=false")
        .env("CGO_ENABLED", "0");
    cache::run(&mut command)
        .map(drop)
        .with_context(|| format!("cannot build the Go module {folder}"))
}

fn pause_image(programs: &Path) -> Result<()> {
    let root = tempfile::tempdir()?;
    fs::copy(programs.join("tool"), root.path().join("tool"))?;
    let image = image::Image {
        name: PAUSE_IMAGE.to_owned(),
        entrypoint: vec!["/tool".to_owned(), "pause".to_owned()],
        layers: vec![image::layer(root.path(), |_| true)?],
        ..image::Image::default()
    };
    image.write(&programs.join("pause.tar"))
}

/// Of everything that the programs are made of, and of the scripts that start them.
pub(super) fn digest() -> String {
    let mut hasher = blake3::Hasher::new();
    let modules = [BOX, HELM, TOOL].into_iter().flat_map(|(_, files)| files);
    for (name, text) in modules.chain(&SCRIPTS) {
        hasher.update(name.as_bytes()).update(text.as_bytes());
    }
    hasher.finalize().to_hex()[..12].to_owned()
}

/// It is an error when a node could not run on this machine.
pub(super) fn check_machine() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("a Kubernetes cluster needs root, for its namespaces: run this test as root");
    }
    if let Some(missing) = INSTALLED.iter().find(|path| !Path::new(path).exists()) {
        bail!(
            "{missing} is missing: `cargo xtask setup` installs what a Kubernetes cluster needs, or\n  \
             apt-get install --no-install-recommends {}",
            PACKAGES.join(" ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_name_the_versions_that_are_promised() {
        let text = |module: Module| module.1[0].1;
        assert!(text(BOX).contains(&format!("k8s.io/kubernetes {VERSION}\n")));
        assert!(text(HELM).contains(&format!("helm.sh/helm/v4 {HELM_VERSION} ")));
        // Of one version, or everything would be compiled twice.
        let library = VERSION.replacen("v1.", "v0.", 1);
        assert!(text(HELM).contains(&format!("=> k8s.io/client-go {library}\n")));
    }
}
