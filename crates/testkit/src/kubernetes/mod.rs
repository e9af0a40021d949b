//! A Kubernetes cluster of one node: real components, of this machine's own making.
//!
//! etcd, the control plane, the kubelet, kube-proxy and kubectl come from the Go module proxy, containerd and runc from
//! Debian: no registry of images is needed. A cluster lives in namespaces of its own, so that several checkouts have theirs
//! side by side; outside, only its API is to be seen, on a port of loopback that its kubeconfig names.
//!
//! ```no_run
//! use armory_testkit::{Kafka, kubernetes::Cluster};
//!
//! # fn main() -> anyhow::Result<()> {
//! let cluster = Cluster::shared();                  // started by whoever asks first, then used by every test
//! let namespace = cluster.namespace("orders")?;     // so that tests never meet; it goes when dropped
//! namespace.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}")?;
//! let bootstrap = Kafka::shared().pod_bootstrap();  // where pods find the test's broker
//! # let _ = bootstrap;
//! # Ok(())
//! # }
//! ```
//!
//! There is no name server: pods use addresses, or the variables of Services. `172.30.0.1` is the node; `172.30.0.2` is the
//! machine that the tests run on, whose servers on loopback pods reach there by their ports ([`forward_in`]).

mod audit;
mod config;
mod forward;
mod namespace;
mod programs;
mod state;
mod volume;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use rustix::process::Pid;

use crate::{cache, image};
pub use audit::Request;
pub use forward::Forward;
pub use namespace::Namespace;
pub use programs::{HELM_VERSION, PACKAGES, VERSION, programs};
use state::Place;
pub use volume::SmallVolume;

/// The address under which pods reach the machine that the tests run on.
pub const MACHINE: &str = "172.30.0.2";

/// The address under which pods reach a server that listens on `port` of the machine's loopback.
///
/// Nothing has to be set up for it: every port of [`MACHINE`] leads to the same port of `127.0.0.1`.
pub fn forward_in(port: u16) -> String {
    format!("{MACHINE}:{port}")
}

/// A part of a cluster, for [`Cluster::restart`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The database.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers of StatefulSets, Jobs and everything else.
    Controllers,
    /// Chooses the pods' node.
    Scheduler,
    /// Runs the pods.
    Kubelet,
    /// Runs containers.
    Containerd,
    /// Makes Services reachable.
    Proxy,
    /// Makes volumes.
    Provisioner,
}

impl Component {
    /// All of them, by the names of their logs.
    pub const ALL: [(&'static str, Component); 8] = [
        ("etcd", Component::Etcd),
        ("apiserver", Component::ApiServer),
        ("controllers", Component::Controllers),
        ("scheduler", Component::Scheduler),
        ("kubelet", Component::Kubelet),
        ("containerd", Component::Containerd),
        ("proxy", Component::Proxy),
        ("provisioner", Component::Provisioner),
    ];

    fn name(self) -> &'static str {
        let found = Component::ALL.iter().find(|(_, one)| *one == self);
        found.expect("all are listed").0
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    place: Place,
    programs: PathBuf,
    first: Pid,
    is_own: bool,
    // Last, so that the cluster is in use until everything else has been dropped.
    _user: File,
}

impl Cluster {
    /// The cluster that all tests of a checkout share, for every test that minds only its own namespaces.
    ///
    /// It is started by the process that asks first, which takes 10 s, and ends with `cargo xtask test`, or a minute
    /// after its last user, however that one ended.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn shared() -> &'static Cluster {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(|| Self::join_shared().expect("the shared cluster starts"))
    }

    /// The shared cluster, for as long as the value is kept.
    pub fn join_shared() -> Result<Cluster> {
        Self::start(Place::shared()?, false)
    }

    /// A cluster of its own, for a test that restarts parts of it. Dropping it ends it.
    ///
    /// Needs 1.3 GB of memory. A test that has one is called `own_cluster…`, so that not too many run at once.
    pub fn own() -> Result<Cluster> {
        Self::start(Place::own()?, true)
    }

    fn start(place: Place, is_own: bool) -> Result<Cluster> {
        programs::check_machine()?;
        let programs = programs()?;
        let user = place.enter()?;
        let first = place.start(&programs)?;
        Ok(Cluster {
            place,
            programs,
            first,
            is_own,
            _user: user,
        })
    }

    /// The file that tells clients how to reach the API as an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.place.kubeconfig()
    }

    /// The folder of the logs of all components. It stays until the cluster is started again, but for one of a test's own.
    pub fn logs(&self) -> PathBuf {
        self.place.logs()
    }

    /// A new namespace, whose name begins with `prefix`. Dropping it deletes it with everything in it.
    pub fn namespace(&self, prefix: &str) -> Result<Namespace<'_>> {
        Namespace::create(self, prefix)
    }

    /// A command that runs one of the cluster's programs, `kubectl` or `helm`, as an administrator.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        let state = self.place.state();
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECACHEDIR", state.join("kubectl"))
            .env("HELM_CACHE_HOME", state.join("helm/cache"))
            .env("HELM_CONFIG_HOME", state.join("helm/config"))
            .env("HELM_DATA_HOME", state.join("helm/data"));
        command
    }

    /// Runs kubectl and returns what it prints; its error output is part of the error.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.told(cache::run(self.command("kubectl").args(args)))
    }

    /// Runs Helm and returns what it prints; its error output is part of the error.
    pub fn helm(&self, args: &[&str]) -> Result<String> {
        self.told(cache::run(self.command("helm").args(args)))
    }

    /// Applies documents by server-side apply, into the namespaces that they name.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        self.apply_with(&[], yaml).map(drop)
    }

    /// Asks the API server whether it would take the documents; nothing is changed. Returns what kubectl prints.
    pub fn try_apply(&self, yaml: &str) -> Result<String> {
        self.apply_with(&["--dry-run=server"], yaml)
    }

    fn apply_with(&self, args: &[&str], yaml: &str) -> Result<String> {
        let mut command = self.command("kubectl");
        command
            .args(["apply", "--server-side", "--filename", "-"])
            .args(args);
        self.told(run_with_input(&mut command, yaml))
    }

    /// Adds to an error where the cluster's logs are.
    fn told<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| format!("the cluster's logs are in {}", self.logs().display()))
    }

    /// Makes an image of an archive known to the node.
    ///
    /// Pods that use it need `imagePullPolicy: IfNotPresent` or `Never`, or a tag other than `latest`.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let archive = fs::canonicalize(archive)?;
        let mut command = self.inside(&["--mount", "--net"], "ctr");
        command
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(&archive);
        self.told(cache::run(&mut command)).map(drop)
    }

    /// Gives an image that the node knows another name.
    pub fn tag_image(&self, name: &str, other: &str) -> Result<()> {
        let mut command = self.inside(&["--mount", "--net"], "ctr");
        command.args(["--namespace", "k8s.io", "images", "tag", name, other]);
        self.told(cache::run(&mut command)).map(drop)
    }

    /// Makes an image of a build of the command, loads it, unless the very same has been loaded already, and returns its name.
    ///
    /// Tests give `env!("CARGO_BIN_EXE_armory")`, or wherever else a binary is.
    pub fn load_armory(&self, binary: &Path) -> Result<String> {
        let content =
            fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
        let digest = blake3::hash(&content).to_hex();
        let name = format!("armory.test/armory:{}", &digest[..16]);
        let marker = self.place.state().join("images").join(&digest[..16]);
        cache::once(&marker, |partial| {
            let folder = tempfile::tempdir()?;
            let archive = folder.path().join("armory.tar");
            let version = env!("CARGO_PKG_VERSION");
            image::armory(&image::repository()?, binary, version, &name)?.write(&archive)?;
            self.load_image(&archive)?;
            Ok(fs::write(partial, &name)?)
        })?;
        Ok(name)
    }

    /// Shows a port of a pod or a Service on the machine's loopback, for as long as the value is kept.
    ///
    /// `target` is an address inside the cluster: `10.244.0.7:9000`. [`Namespace::forward_out`] finds it by name.
    pub fn forward_out(&self, target: &str) -> Result<Forward> {
        Forward::start(&self.programs.join("tool"), self.first, target)
    }

    /// A command that runs in the cluster's network, with the machine's files: it reaches every pod and every Service.
    pub fn exec(&self, program: impl AsRef<OsStr>) -> Command {
        self.inside(&["--net"], program)
    }

    /// What a user has asked of the API since the cluster was started, such as `system:serviceaccount:NAMESPACE:NAME`. Only
    /// pods' accounts are listened to.
    pub fn requests_of(&self, user: &str) -> Result<Vec<Request>> {
        self.told(audit::requests_of(&self.logs().join("audit.log"), user))
    }

    fn inside(&self, namespaces: &[&str], program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.first.as_raw_nonzero()))
            .args(namespaces)
            .arg("--")
            .arg(program)
            .env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Kills a component; it is started again after half a second. Only for a cluster of one's [own](Self::own).
    pub fn restart(&self, component: Component) -> Result<()> {
        let name = component.name();
        let file = self.place.state().join("run").join(name);
        let process = fs::read_to_string(&file)
            .with_context(|| format!("{name} has not been started: no {}", file.display()))?;
        let mut command = self.inside(&["--pid"], "sh");
        command.args(["-c", &format!("kill -9 {}", process.trim())]);
        self.told(cache::run(&mut command)).map(drop)
    }

    /// Lets the cluster run on without users, until [`end_shared`] ends it.
    pub fn keep(&self) -> Result<()> {
        Ok(fs::write(self.place.keep(), "")?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.is_own {
            return;
        }
        let ended = self.place.stop();
        // The logs are all that tells why a test has failed.
        if std::thread::panicking() {
            eprintln!("the cluster's logs are in {}", self.logs().display());
        } else if let Err(error) = ended.and_then(|()| self.place.remove()) {
            eprintln!("{error:#}");
        }
    }
}

/// Whether the shared cluster runs, and its kubeconfig.
pub fn shared_kubeconfig() -> Result<Option<PathBuf>> {
    let place = Place::shared()?;
    Ok(place.first_process().map(|_| place.kubeconfig()))
}

/// Ends the shared cluster, whoever uses it. False when it did not run.
pub fn end_shared() -> Result<bool> {
    let place = Place::shared()?;
    let ran = place.first_process().is_some();
    place.stop()?;
    Ok(ran)
}

/// Keeps the shared cluster alive between the tests of a run, if one of them starts it. Dropping this ends it, unless
/// somebody else uses it or it is to be kept.
#[derive(Debug)]
pub struct Suite {
    place: Place,
    user: Option<File>,
}

impl Suite {
    /// Takes part before the first test runs.
    pub fn begin() -> Result<Suite> {
        let place = Place::shared()?;
        let user = Some(place.enter()?);
        Ok(Suite { place, user })
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        drop(self.user.take());
        let is_done = !self.place.keep().exists() && self.place.is_unused().unwrap_or(false);
        if is_done && let Err(error) = self.place.stop() {
            eprintln!("{error:#}");
        }
    }
}

fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    // What it prints is less than a pipe holds before it has read everything. An error shows in how it ends.
    let mut stdin = child.stdin.take().context("it is a pipe")?;
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({})\n{stdout}{stderr}", output.status);
    }
    Ok(stdout)
}
