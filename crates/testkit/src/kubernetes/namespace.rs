//! A namespace of a test: what it makes there, and waiting for what becomes of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Cluster, Forward, SmallVolume, run_with_input};
use crate::{cache, unique};

/// How long anything may take that a test waits for. Machines are slow when much else runs on them.
const DEADLINE: Duration = Duration::from_secs(180);
/// A look costs a tenth of a second of a core.
const POLL: Duration = Duration::from_millis(400);

/// A namespace that is deleted when dropped. Resources are named as kubectl does it: `pod/one`, `backup/orders`.
#[derive(Debug)]
pub struct Namespace<'cluster> {
    cluster: &'cluster Cluster,
    name: String,
}

impl<'cluster> Namespace<'cluster> {
    pub(super) fn create(cluster: &'cluster Cluster, prefix: &str) -> Result<Self> {
        let name = unique(prefix);
        cluster.kubectl(&["create", "namespace", &name])?;
        let namespace = Namespace { cluster, name };
        // Pods are refused before it is there.
        namespace.wait_until("serviceaccount/default", "is there", |_| true)?;
        Ok(namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> &'cluster Cluster {
        self.cluster
    }

    /// Runs kubectl in this namespace and returns what it prints.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.cluster
            .kubectl(&[&["--namespace", &self.name], args].concat())
    }

    /// Applies documents by server-side apply; those that name no namespace, in this one.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let mut command = self.cluster.command("kubectl");
        command.args(["--namespace", &self.name]);
        command.args(["apply", "--server-side", "--filename", "-"]);
        self.cluster
            .told(run_with_input(&mut command, yaml))
            .map(drop)
    }

    /// Asks the API server whether it would take the documents in this namespace; nothing is changed. Returns what kubectl prints.
    pub fn try_apply(&self, yaml: &str) -> Result<String> {
        let options = ["--namespace", &self.name, "--dry-run=server"];
        self.cluster.apply_with(&options, yaml)
    }

    /// Writes the status of resources, as a controller does.
    pub fn apply_status(&self, yaml: &str) -> Result<()> {
        let mut command = self.cluster.command("kubectl");
        command.args(["--namespace", &self.name]);
        command.args([
            "apply",
            "--server-side",
            "--subresource=status",
            "--force-conflicts",
            "--filename",
            "-",
        ]);
        self.cluster
            .told(run_with_input(&mut command, yaml))
            .map(drop)
    }

    /// A resource as the API shows it, or a list of them (`pods`); none when it does not exist.
    pub fn get(&self, resource: &str) -> Result<Option<Value>> {
        let text = self.kubectl(&["get", resource, "--ignore-not-found", "--output", "json"])?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text)?))
    }

    /// Waits until a resource exists and `is_so` of it, and returns it as it is then.
    ///
    /// `what` says it in words for the error, which tells, too, what was there instead, and what pods and events say.
    pub fn wait_until(
        &self,
        resource: &str,
        what: &str,
        mut is_so: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let started = Instant::now();
        let mut last;
        loop {
            // The API server may be away for a moment: a test may have restarted it.
            last = self.get(resource);
            if let Ok(Some(found)) = &last
                && is_so(found)
            {
                return Ok(found.clone());
            }
            if started.elapsed() > DEADLINE {
                break;
            }
            std::thread::sleep(POLL);
        }
        let last = match last {
            Ok(Some(found)) => serde_json::to_string_pretty(&found)?,
            Ok(None) => "it does not exist".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        bail!(
            "{resource}: not {what} within {DEADLINE:?}\n{last}\n{}\nthe cluster's logs are in {}",
            self.describe(),
            self.cluster.logs().display()
        )
    }

    /// Waits until a resource exists and a condition of it (`Ready`, `Complete`, `Available`) is true.
    pub fn wait_for_condition(&self, resource: &str, condition: &str) -> Result<Value> {
        self.wait_until(resource, &format!("in condition {condition}"), |found| {
            let conditions = found["status"]["conditions"].as_array();
            conditions.is_some_and(|conditions| {
                let is_true = |one: &Value| one["type"] == condition && one["status"] == "True";
                conditions.iter().any(is_true)
            })
        })
    }

    /// Waits until a resource does not exist any more.
    pub fn wait_until_gone(&self, resource: &str) -> Result<()> {
        let started = Instant::now();
        while !matches!(self.get(resource), Ok(None)) {
            if started.elapsed() > DEADLINE {
                bail!(
                    "{resource} is still there after {DEADLINE:?}\n{}",
                    self.describe()
                );
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// A volume of that size for a claim that is to be made, by name: a volume that can be full.
    pub fn small_volume(&self, claim: &str, kibibytes: u32) -> Result<SmallVolume<'cluster>> {
        SmallVolume::create(self, claim, kibibytes)
    }

    /// What a pod's containers have printed.
    pub fn logs(&self, pod: &str) -> Result<String> {
        self.kubectl(&["logs", pod, "--all-containers"])
    }

    /// Runs a pod with one container to its end and returns what it printed. It is an error when it fails.
    ///
    /// `spec` is the rest of the pod's specification, as YAML or JSON in flow style, and may be empty.
    pub fn run_pod(&self, name: &str, container: &str, spec: &str) -> Result<String> {
        let comma = if spec.is_empty() { "" } else { "," };
        self.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, \
             spec: {{restartPolicy: Never, containers: [{container}]{comma} {spec}}}}}"
        ))?;
        let pod = format!("pod/{name}");
        let ended = self.wait_until(&pod, "at its end", |pod| {
            pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
        })?;
        let output = self.logs(name)?;
        if ended["status"]["phase"] != "Succeeded" {
            bail!("{pod} failed: {}\n{output}", ended["status"]);
        }
        Ok(output)
    }

    /// Shows a port of a pod (`pod/one`) or of a Service (`service/one`) on the machine's loopback, for as long as the
    /// value is kept.
    pub fn forward_out(&self, resource: &str, port: u16) -> Result<Forward> {
        let found = self
            .get(resource)?
            .with_context(|| format!("there is no {resource} in {}", self.name))?;
        let address = [&found["status"]["podIP"], &found["spec"]["clusterIP"]]
            .into_iter()
            .find_map(Value::as_str)
            .with_context(|| format!("{resource} has no address yet"))?;
        self.cluster.forward_out(&format!("{address}:{port}"))
    }

    /// Pods, events, and the last lines of every pod's log: what tells why something did not come about.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let mut add = |args: &[&str]| {
            let mut command = self.cluster.command("kubectl");
            command.args(["--namespace", &self.name]).args(args);
            let output = cache::run(&mut command).unwrap_or_else(|error| format!("{error:#}"));
            text.push_str(&output);
            output
        };
        add(&["get", "all,pvc,configmap", "--output", "wide"]);
        add(&["get", "events", "--sort-by=.lastTimestamp"]);
        let pods = self.kubectl(&["get", "pods", "--output", "name"]);
        for pod in pods.unwrap_or_default().lines() {
            add(&["logs", pod, "--all-containers", "--prefix", "--tail=40"]);
        }
        text
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.describe());
            eprintln!(
                "the cluster's logs are in {}",
                self.cluster.logs().display()
            );
        }
        let deleted = self
            .cluster
            .kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
        if let Err(error) = deleted {
            eprintln!("{error:#}");
        }
    }
}
