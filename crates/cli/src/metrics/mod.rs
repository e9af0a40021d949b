//! What a running backup or restore tells those who watch, Prometheus and the operator: `docs/guide/metrics.md` is the definition.
//!
//! Nothing is counted here. The engine tells how things stand, a few times a second; the newest state is kept, and becomes text
//! when somebody asks.

mod behind;
pub(crate) mod exposition;
mod families;
pub(crate) mod server;
mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use armory_engine::{BackupDetails, BackupProgress, PluginProgress, RestoreProgress};
use armory_resources::job::{BackupJob, RestoreJob};
use armory_troubles::Troubles;
use tokio_util::sync::CancellationToken;

use self::behind::Behind;

/// How the jobs of this process stand. Clones share it; without an address it keeps nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    jobs: Option<Arc<Mutex<Jobs>>>,
}

#[derive(Debug, Default)]
struct Jobs {
    backups: BTreeMap<String, Backup>,
    restores: BTreeMap<String, Restore>,
    /// Cancelled when the jobs are told to stop.
    stop: CancellationToken,
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nothing was heard of it yet.
    #[default]
    Starting,
    Running,
    Done,
    Failed,
}

#[derive(Debug, Default)]
struct Backup {
    state: State,
    /// Why it failed, if it did.
    error: String,
    /// When its control loop turned last; never before it began to.
    turned: Option<Instant>,
    troubles: Troubles,
    /// `monitoring.enabled: false`: it has a status, and no metrics.
    is_hidden: bool,
    progress: BackupProgress,
    details: BackupDetails,
    behind: Behind,
    plugins: PluginProgress,
}

#[derive(Debug, Default)]
struct Restore {
    state: State,
    /// Why it failed, if it did.
    error: String,
    /// When its control loop turned last; never before it began to.
    turned: Option<Instant>,
    troubles: Troubles,
    progress: RestoreProgress,
    plugins: PluginProgress,
}

impl Metrics {
    /// Serves the metrics of jobs at an address until the process ends. Without one, nothing is kept.
    pub(crate) async fn serve(
        address: Option<SocketAddr>,
        backups: &[BackupJob],
        restores: &[RestoreJob],
        stop: CancellationToken,
    ) -> anyhow::Result<Metrics> {
        let Some(address) = address else {
            return Ok(Metrics::default());
        };
        let backup = |job: &BackupJob| Backup {
            is_hidden: !job.metrics,
            ..Backup::default()
        };
        let backups = backups.iter().map(|job| (job.name.clone(), backup(job)));
        let restores = restores.iter();
        let restores = restores.map(|job| (job.name.clone(), Restore::default()));
        let jobs = Jobs {
            backups: backups.collect(),
            restores: restores.collect(),
            stop,
        };
        let metrics = Metrics {
            jobs: Some(Arc::new(Mutex::new(jobs))),
        };
        server::start(address, metrics.clone()).await?;
        Ok(metrics)
    }

    /// Whether anybody may ask.
    pub(crate) fn is_kept(&self) -> bool {
        self.jobs.is_some()
    }

    fn with_backup(&self, name: &str, change: impl FnOnce(&mut Backup)) {
        if let Some(mut jobs) = self.lock()
            && let Some(backup) = jobs.backups.get_mut(name)
        {
            change(backup);
        }
    }

    fn with_restore(&self, name: &str, change: impl FnOnce(&mut Restore)) {
        if let Some(mut jobs) = self.lock()
            && let Some(restore) = jobs.restores.get_mut(name)
        {
            change(restore);
        }
    }

    /// Where a backup tells what it tries again.
    pub(crate) fn backup_troubles(&self, name: &str) -> Troubles {
        let mut troubles = Troubles::default();
        self.with_backup(name, |backup| troubles.clone_from(&backup.troubles));
        troubles
    }

    /// Where a restore tells what it tries again.
    pub(crate) fn restore_troubles(&self, name: &str) -> Troubles {
        let mut troubles = Troubles::default();
        self.with_restore(name, |restore| troubles.clone_from(&restore.troubles));
        troubles
    }

    pub(crate) fn backup_turned(&self, name: &str) {
        self.with_backup(name, |backup| backup.turned = Some(Instant::now()));
    }

    pub(crate) fn restore_turned(&self, name: &str) {
        self.with_restore(name, |restore| restore.turned = Some(Instant::now()));
    }

    pub(crate) fn backup_progress(&self, name: &str, progress: &BackupProgress) {
        self.with_backup(name, |backup| {
            backup.state = State::Running;
            backup.progress.clone_from(progress);
        });
    }

    pub(crate) fn backup_details(&self, name: &str, details: &BackupDetails) {
        self.with_backup(name, |backup| {
            backup.behind.note(&details.partitions, Instant::now());
            backup.details.clone_from(details);
        });
    }

    pub(crate) fn backup_plugins(&self, name: &str, plugins: &PluginProgress) {
        self.with_backup(name, |backup| backup.plugins.clone_from(plugins));
    }

    /// It ended, well or with an error.
    pub(crate) fn backup_ended(&self, name: &str, ended: Result<(), String>) {
        self.with_backup(name, |backup| {
            (backup.state, backup.error) = State::ended(ended);
        });
    }

    pub(crate) fn restore_progress(&self, name: &str, progress: &RestoreProgress) {
        self.with_restore(name, |restore| {
            restore.state = State::Running;
            restore.progress.clone_from(progress);
        });
    }

    pub(crate) fn restore_plugins(&self, name: &str, plugins: &PluginProgress) {
        self.with_restore(name, |restore| restore.plugins.clone_from(plugins));
    }

    /// It ended: with so many records in the target, or with an error.
    pub(crate) fn restore_ended(&self, name: &str, ended: Result<u64, String>) {
        self.with_restore(name, |restore| {
            if let Ok(records) = ended {
                // One that finds everything done tells of no progress.
                let progress = &mut restore.progress;
                progress.records = records;
                progress.records_total = progress.records_total.max(records);
            }
            (restore.state, restore.error) = State::ended(ended.map(drop));
        });
    }

    /// The text that Prometheus reads; nothing if every job has its metrics turned off.
    fn text(&self) -> Option<String> {
        let jobs = self.lock()?;
        let is_shown = |backup: &Backup| !backup.is_hidden;
        let any = !jobs.restores.is_empty() || jobs.backups.values().any(is_shown);
        any.then(|| families::text(&jobs))
    }

    /// How the jobs stand, as JSON.
    pub(crate) fn status(&self) -> String {
        self.lock()
            .map_or_else(String::new, |jobs| status::json(&jobs))
    }

    /// What hangs, if anything does.
    fn stuck(&self) -> Option<String> {
        status::stuck(&*self.lock()?, Instant::now())
    }

    /// Why not every job has got to work, if it has not.
    fn unready(&self) -> Option<String> {
        status::unready(&*self.lock()?)
    }

    fn lock(&self) -> Option<MutexGuard<'_, Jobs>> {
        let jobs = self.jobs.as_ref()?;
        Some(jobs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn ended(ended: Result<(), String>) -> (State, String) {
        match ended {
            Ok(()) => (State::Done, String::new()),
            Err(error) => (State::Failed, error),
        }
    }
}
