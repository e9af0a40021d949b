//! Starting, finding and ending a cluster: what of it is on the machine, and who may touch it when.
//!
//! A cluster has a name, and under that name in the cache: `NAME/`, its state; `NAME.lock`, held by whoever starts or ends
//! it; `NAME.users`, on which every user holds a shared lock. Locks are the kernel's and go with their process, so a
//! cluster whose last user was killed knows it, and ends (`kubernetes/node.sh`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{config, programs};
use crate::{cache, image, ports};

/// How long a start may take; about 10 s are usual.
const READY_WITHIN: Duration = Duration::from_secs(300);
const ENDED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
const ATTEMPTS: usize = 4;

/// After how many seconds without a user a cluster ends. Tests that run one after another have to find the shared one alive.
pub(super) const SHARED_IDLE: u32 = 60;
pub(super) const OWN_IDLE: u32 = 3;

/// Where a cluster's files are, whether it runs or not.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) name: String,
    folder: PathBuf,
    idle: u32,
}

impl Place {
    /// The one cluster that everything in this checkout shares. Another checkout has another, as has another version of the
    /// cluster's programs.
    pub(super) fn shared() -> Result<Place> {
        let mut hasher = blake3::Hasher::new();
        for folder in [image::repository()?, cache::root()?] {
            let folder = fs::canonicalize(folder)?;
            hasher.update(folder.as_os_str().as_encoded_bytes());
            hasher.update(&[0]);
        }
        hasher.update(programs::digest().as_bytes());
        let name = format!("armory-{}", &hasher.finalize().to_hex()[..8]);
        Place::at(name, SHARED_IDLE)
    }

    /// One that nobody else knows.
    pub(super) fn own() -> Result<Place> {
        let shared = Place::shared()?.name;
        Place::at(crate::unique(&shared), OWN_IDLE)
    }

    fn at(name: String, idle: u32) -> Result<Place> {
        let folder = cache::root()?.join("clusters");
        fs::create_dir_all(&folder)?;
        Ok(Place { name, folder, idle })
    }

    pub(super) fn state(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.state().join("log")
    }

    pub(super) fn keep(&self) -> PathBuf {
        self.state().join("keep")
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.state().join("kubeconfig")
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}.{suffix}", self.name))
    }

    /// Makes this process a user, until the file is dropped.
    pub(super) fn enter(&self) -> Result<File> {
        let path = self.file("users");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        file.lock_shared()?;
        Ok(file)
    }

    /// Whether nobody uses the cluster. Whoever asks must not be a user.
    pub(super) fn is_unused(&self) -> Result<bool> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(self.file("users"))?;
        Ok(file.try_lock().is_ok())
    }

    /// The first process in the cluster's namespaces, if it lives.
    pub(super) fn first_process(&self) -> Option<Pid> {
        living(&self.state().join("run/first"))
    }

    /// Starts the cluster if it does not run, and waits until its node is ready. Whoever calls has [entered](Self::enter).
    pub(super) fn start(&self, programs: &Path) -> Result<Pid> {
        let _turn = cache::lock(&self.file("lock"))?;
        let mut attempt = 1;
        loop {
            match self.try_start(programs) {
                Err(error)
                    if attempt < ATTEMPTS
                        && format!("{error:#}").contains("address already in use") =>
                {
                    attempt += 1;
                    self.end()?;
                }
                Err(error) => {
                    let logs = self.logs();
                    return Err(error.context(format!(
                        "cannot start a Kubernetes cluster; its logs are in {}",
                        logs.display()
                    )));
                }
                started => return started,
            }
        }
    }

    fn try_start(&self, programs: &Path) -> Result<Pid> {
        let ready = self.state().join("run/ready");
        if let Some(first) = self.first_process()
            && ready.exists()
        {
            return Ok(first);
        }
        self.end()?;
        let state = self.state();
        cache::remove(&state)?;
        fs::create_dir_all(state.join("log"))?;
        let port = ports::free(1)?[0];
        config::write(&state, &self.name, port)?;
        for (file, text) in programs::SCRIPTS {
            fs::write(state.join("conf").join(file), text)?;
        }
        let log = File::create(state.join("log/cluster.log"))?;
        // A session of its own, so that nothing which ends a test's process group ends the cluster that others use.
        let mut supervisor = Command::new("setsid");
        supervisor
            .args(["--fork", "bash"])
            .arg(state.join("conf/cluster.sh"))
            .current_dir("/")
            .env("STATE", &state)
            .env("PROGRAMS", programs)
            .env("NAME", &self.name)
            .env("PORT", port.to_string())
            .env("USERS", self.file("users"))
            .env("IDLE", self.idle.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        ensure!(supervisor.status()?.success(), "setsid failed");

        let started = Instant::now();
        let mut seen = false;
        loop {
            let alive = self.supervisor().is_some();
            seen |= alive;
            let forward = fs::read_to_string(state.join("log/api-forward.log"));
            if let Ok(text) = forward
                && text.contains("address already in use")
            {
                bail!("{text}");
            }
            if seen && !alive {
                let log = fs::read_to_string(state.join("log/node.log")).unwrap_or_default();
                bail!("it ended before it was ready\n{log}");
            }
            if let Some(first) = self.first_process()
                && self.is_ready(programs)
            {
                fs::write(&ready, "")?;
                return Ok(first);
            }
            ensure!(
                started.elapsed() < READY_WITHIN,
                "it was not ready within {READY_WITHIN:?}"
            );
            std::thread::sleep(POLL);
        }
    }

    /// The node takes pods, and what every pod needs is there.
    fn is_ready(&self, programs: &Path) -> bool {
        let needed = [
            "node/node1",
            "serviceaccount/default",
            "configmap/kube-root-ca.crt",
            "storageclass/folder",
        ];
        let output = Command::new(programs.join("kubectl"))
            .args(["get", "--namespace", "default", "--output", "json"])
            .args(needed)
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECACHEDIR", self.state().join("kubectl"))
            .output();
        let Some(output) = output.ok().filter(|output| output.status.success()) else {
            return false;
        };
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let conditions = list["items"][0]["status"]["conditions"].as_array();
        conditions.is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        })
    }

    fn supervisor(&self) -> Option<Pid> {
        living(&self.state().join("run/supervisor"))
    }

    /// Ends the cluster, if it runs, and waits until nothing is left of it but its logs.
    pub(super) fn stop(&self) -> Result<()> {
        let _turn = cache::lock(&self.file("lock"))?;
        self.end()
    }

    fn end(&self) -> Result<()> {
        if let Some(first) = self.first_process() {
            // It may have ended just now.
            let _ = kill_process(first, Signal::KILL);
        }
        let asked = Instant::now();
        while self.first_process().is_some() || self.supervisor().is_some() {
            ensure!(
                asked.elapsed() < ENDED_WITHIN,
                "the cluster {} does not end within {ENDED_WITHIN:?}",
                self.name
            );
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Removes the files of a cluster that was nobody else's.
    pub(super) fn remove(&self) -> Result<()> {
        cache::remove(&self.state())?;
        cache::remove(&self.file("users"))?;
        cache::remove(&self.file("lock"))
    }
}

/// The process that a file names by its id and its time of start, if that very process lives.
fn living(file: &Path) -> Option<Pid> {
    let text = fs::read_to_string(file).ok()?;
    let (id, start) = text.trim().split_once(' ')?;
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is a name in parentheses, which may contain blanks.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let is_same = fields.get(19) == Some(&start) && fields.first() != Some(&"Z");
    is_same.then(|| Pid::from_raw(id.parse().ok()?)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_id_that_another_has_got_since_is_not_taken_for_ours() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("first");
        let id = std::process::id();
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        let start = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .nth(19)
            .unwrap();
        fs::write(&file, format!("{id} {start}\n"))?;
        assert_eq!(living(&file), Pid::from_raw(id as i32));
        fs::write(&file, format!("{id} 1\n"))?;
        assert_eq!(living(&file), None);
        fs::write(&file, " \n")?;
        assert_eq!(living(&file), None);
        Ok(())
    }

    #[test]
    fn a_place_is_in_use_as_long_as_somebody_is_there() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let place = Place {
            name: "test".to_owned(),
            folder: folder.path().to_owned(),
            idle: 1,
        };
        assert!(place.is_unused()?);
        let user = place.enter()?;
        assert!(!place.is_unused()?);
        drop(user);
        assert!(place.is_unused()?);
        Ok(())
    }
}
