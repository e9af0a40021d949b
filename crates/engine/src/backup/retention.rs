//! The retention of a backup: what has expired of what it archived is pruned as it runs.
//!
//! It runs beside everything else, one request at a time, and whatever fails is tried again in the next round: it never ends a
//! backup. It may be cut off anywhere (`docs/decisions/0009`).

use std::sync::Arc;
use std::time::Duration;

use armory_archive::{Archive, Expired, TopicKey};
use armory_resources::job::BackupJob;
use tokio::task::JoinHandle;

use crate::error::sentence;
use crate::{EngineError, Level, Observer, Remark};

/// How long a segment that was marked as pruned stays, for restores that planned to read it.
const GRACE: Duration = Duration::from_secs(3600);
/// How many segments of a partition are marked and deleted before the next one has its turn.
const AT_ONCE: usize = 100;
/// The pause between two rounds is a tenth of the retention, within these bounds.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// After so many failures in a row a round ends: the storage is not there.
const FAILURES: u32 = 3;

/// Prunes what a backup wrote and what has expired.
#[derive(Clone)]
pub(crate) struct Pruner {
    archive: Archive,
    backup_id: String,
    after: Duration,
    observer: Arc<dyn Observer>,
}

/// Rounds that end when this is dropped.
pub(crate) struct Rounds(JoinHandle<()>);

impl Drop for Rounds {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pruner {
    /// Nothing if the backup keeps everything, or if another of its workers prunes: the first one does, for all.
    pub(crate) fn new(
        archive: &Archive,
        job: &BackupJob,
        observer: &Arc<dyn Observer>,
    ) -> Option<Pruner> {
        if job.worker.as_ref().is_some_and(|worker| worker.index > 0) {
            return None;
        }
        Some(Pruner {
            archive: archive.clone(),
            backup_id: job.name.clone(),
            after: job.delete_after?,
            observer: Arc::clone(observer),
        })
    }

    /// Begins with a round, and goes on with one after every pause.
    pub(crate) fn start(self) -> Rounds {
        let pause = (self.after / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        Rounds(tokio::spawn(async move {
            loop {
                self.round().await;
                tokio::time::sleep(pause).await;
            }
        }))
    }

    /// Looks at every partition of the archive once, and again at those with much to do.
    pub(crate) async fn round(&self) {
        let mut done = Expired::default();
        let mut failures = 0;
        let mut keys: Vec<TopicKey> = match self.archive.topic_keys().await {
            Ok(keys) => keys,
            Err(error) => return self.failed(&error.into()),
        };
        while !keys.is_empty() && failures < FAILURES {
            let mut unfinished = Vec::new();
            for key in keys {
                match self.topic(&key, &mut done).await {
                    Ok(false) => failures = 0,
                    Ok(true) => unfinished.push(key),
                    Err(error) => {
                        self.failed(&error);
                        failures += 1;
                        if failures >= FAILURES {
                            break;
                        }
                    }
                }
            }
            keys = unfinished;
        }
        if done.marked > 0 || done.deleted > 0 {
            self.remark(
                Level::Info,
                format!(
                    "retention: {} segments with {} records expired, {} that expired before were deleted ({} bytes)",
                    done.marked, done.records, done.deleted, done.deleted_bytes
                ),
            );
        }
        if done.damaged > 0 {
            self.remark(
                Level::Warning,
                format!(
                    "retention: {} manifests cannot be understood and what they name is kept; run armory verify",
                    done.damaged
                ),
            );
        }
    }

    /// Looks at the partitions of one topic; whether there is more to do.
    async fn topic(&self, key: &TopicKey, done: &mut Expired) -> Result<bool, EngineError> {
        let mut more = false;
        for partition in self.archive.partitions(key).await? {
            let key = key.partition(partition);
            let look = self
                .archive
                .expire(&key, &self.backup_id, self.after, GRACE, AT_ONCE)
                .await?;
            done.marked += look.marked;
            done.records += look.records;
            done.deleted += look.deleted;
            done.deleted_bytes += look.deleted_bytes;
            done.damaged += look.damaged;
            more |= look.more;
        }
        Ok(more)
    }

    fn failed(&self, error: &EngineError) {
        let text = format!(
            "what has expired could not be removed, trying again later: {}",
            sentence(error)
        );
        self.remark(Level::Warning, text);
    }

    fn remark(&self, level: Level, text: String) {
        self.observer.remark(&Remark { level, text });
    }
}
