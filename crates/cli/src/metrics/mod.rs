//! What a running backup or restore tells Prometheus: `docs/guide/metrics.md` is the definition.
//!
//! Nothing is counted here. The engine tells how things stand, a few times a second; the newest state is kept, and becomes text
//! when somebody asks.

mod behind;
mod families;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use armory_engine::{BackupDetails, BackupProgress, PluginProgress, RestoreProgress};

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
    progress: BackupProgress,
    details: BackupDetails,
    behind: Behind,
    plugins: PluginProgress,
}

#[derive(Debug, Default)]
struct Restore {
    state: State,
    progress: RestoreProgress,
    plugins: PluginProgress,
}

impl Metrics {
    /// Serves the metrics of jobs at an address until the process ends. Without one, nothing is kept.
    pub(crate) async fn serve(
        address: Option<SocketAddr>,
        backups: impl IntoIterator<Item = &str>,
        restores: impl IntoIterator<Item = &str>,
    ) -> anyhow::Result<Metrics> {
        let Some(address) = address else {
            return Ok(Metrics::default());
        };
        let named = |name: &str| name.to_owned();
        let jobs = Jobs {
            backups: backups
                .into_iter()
                .map(|name| (named(name), Backup::default()))
                .collect(),
            restores: restores
                .into_iter()
                .map(|name| (named(name), Restore::default()))
                .collect(),
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

    pub(crate) fn backup_ended(&self, name: &str, well: bool) {
        self.with_backup(name, |backup| backup.state = State::ended(well));
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

    pub(crate) fn restore_ended(&self, name: &str, well: bool) {
        self.with_restore(name, |restore| restore.state = State::ended(well));
    }

    /// The text that Prometheus reads.
    fn text(&self) -> String {
        self.lock()
            .map_or_else(String::new, |jobs| families::text(&jobs))
    }

    /// Whether every job has got to work. Restores run one after the other: there it is the first one that counts.
    fn is_ready(&self) -> bool {
        self.lock().is_some_and(|jobs| {
            let mut backups = jobs.backups.values();
            backups.all(|backup| backup.state != State::Starting)
                && (jobs.restores.is_empty()
                    || jobs
                        .restores
                        .values()
                        .any(|restore| restore.state != State::Starting))
        })
    }

    fn lock(&self) -> Option<MutexGuard<'_, Jobs>> {
        let jobs = self.jobs.as_ref()?;
        Some(jobs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn ended(well: bool) -> State {
        match well {
            true => State::Done,
            false => State::Failed,
        }
    }
}
