//! How jobs stand, for programs: what `/status` answers, and what `/healthz` and `/readyz` are decided by.

use std::time::{Duration, Instant};

use armory_troubles::Troubles;
use serde::Serialize;

use super::{Backup, Jobs, Restore, State};
use crate::format::{count, plural};

/// A control loop turns a few times a second; one that has not for so long hangs.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// What has failed for so long is more than a hiccup.
const NOT_READY_AFTER: Duration = Duration::from_secs(10);

/// One job as it stands.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Status {
    Backup(BackupStatus),
    Restore(RestoreStatus),
}

#[derive(Debug, Serialize)]
struct BackupStatus {
    name: String,
    state: &'static str,
    /// Whether `message` is about something that is wrong.
    trouble: bool,
    message: String,
    /// Records in committed segments.
    records: u64,
    /// Bytes of their batches.
    bytes: u64,
    stored_bytes: u64,
    segments: u64,
    filtered: u64,
    dead_lettered: u64,
    passed_through: u64,
    lag: Lag,
    topics: usize,
    partitions: BackupPartitions,
}

#[derive(Debug, Serialize)]
struct Lag {
    records: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct BackupPartitions {
    assigned: usize,
    stopped: usize,
}

#[derive(Debug, Serialize)]
struct RestoreStatus {
    name: String,
    state: &'static str,
    /// Whether `message` is about something that is wrong.
    trouble: bool,
    message: String,
    /// Records that the target has acknowledged, those of earlier runs included.
    records: u64,
    records_total: u64,
    bytes: u64,
    bytes_total: u64,
    percent: f64,
    filtered: u64,
    dead_lettered: u64,
    passed_through: u64,
    partitions: usize,
    partitions_done: usize,
    partitions_failed: usize,
}

/// The status of the job as an object; of several as a list.
pub(super) fn json(jobs: &Jobs) -> String {
    let stopping = jobs.stop.is_cancelled();
    let backups = jobs.backups.iter();
    let backups = backups.map(|(name, backup)| Status::Backup(backup.status(name, stopping)));
    let restores = jobs.restores.iter();
    let restores = restores.map(|(name, restore)| Status::Restore(restore.status(name, stopping)));
    let all: Vec<Status> = backups.chain(restores).collect();
    let text = match all.as_slice() {
        [one] => serde_json::to_string_pretty(one),
        several => serde_json::to_string_pretty(several),
    };
    text.expect("every key is a string") + "\n"
}

/// What hangs, if anything does.
pub(super) fn stuck(jobs: &Jobs, now: Instant) -> Option<String> {
    // Once it is told to stop, a job waits for its storage as long as it is let.
    if jobs.stop.is_cancelled() {
        return None;
    }
    let backups = jobs.backups.iter();
    let backups = backups.map(|(name, job)| ("backup", name, job.state, job.turned));
    let restores = jobs.restores.iter();
    let restores = restores.map(|(name, job)| ("restore", name, job.state, job.turned));
    backups
        .chain(restores)
        .find_map(|(kind, name, state, turned)| {
            let silent = now.saturating_duration_since(turned?);
            let runs = matches!(state, State::Starting | State::Running);
            (runs && silent > STUCK_AFTER).then(|| {
                let seconds = silent.as_secs();
                format!("the control loop of {kind} {name} has not turned for {seconds} s")
            })
        })
}

/// Why not all jobs are at work, if they are not. Restores run one after the other: there one is enough.
pub(super) fn unready(jobs: &Jobs) -> Option<String> {
    if jobs.stop.is_cancelled() {
        return Some("stopping".to_owned());
    }
    let unready = jobs
        .backups
        .iter()
        .find_map(|(name, backup)| Some(format!("backup {name}: {}", backup.unready()?)));
    if unready.is_some() {
        return unready;
    }
    let mut restores = jobs.restores.iter();
    let begun = |restore: &Restore| restore.state != State::Starting;
    let (name, first) = restores.next()?;
    if begun(first) || restores.any(|(_, restore)| begun(restore)) {
        return None;
    }
    Some(format!("restore {name}: {}", first.message()))
}

fn word(state: State, running: &'static str, stopping: bool) -> &'static str {
    match state {
        State::Starting | State::Running if stopping => "stopping",
        State::Starting => "starting",
        State::Running => running,
        State::Done => "done",
        State::Failed => "failed",
    }
}

/// The troubles of the moment in one sentence.
fn in_trouble(troubles: &Troubles) -> Option<String> {
    let current = troubles.current();
    let first = current.first()?;
    Some(match current.len() {
        1 => first.sentence.clone(),
        several => format!("{} (and {} more)", first.sentence, several - 1),
    })
}

impl Backup {
    fn status(&self, name: &str, stopping: bool) -> BackupStatus {
        let now = Instant::now();
        let partitions = &self.details.partitions;
        let seconds = partitions
            .iter()
            .map(|partition| self.behind.seconds(partition, now));
        let progress = &self.progress;
        let entries = self.plugins.entries.iter();
        BackupStatus {
            name: name.to_owned(),
            state: word(self.state, "streaming", stopping),
            trouble: self.trouble().is_some(),
            message: self.message(),
            records: progress.committed_records,
            bytes: progress.committed_bytes,
            stored_bytes: progress.stored_bytes,
            segments: progress.segments,
            filtered: progress.filtered,
            dead_lettered: progress.dead_lettered,
            passed_through: entries.map(|entry| entry.passed_through).sum(),
            lag: Lag {
                records: progress.lag,
                seconds: seconds.fold(0.0, f64::max),
            },
            topics: progress.topics,
            partitions: BackupPartitions {
                assigned: progress.partitions,
                stopped: progress.partitions_failed,
            },
        }
    }

    /// What is wrong, if something is.
    fn trouble(&self) -> Option<String> {
        match self.state {
            State::Failed => Some(self.error.clone()),
            State::Done => None,
            State::Starting => in_trouble(&self.troubles),
            State::Running => {
                let problem = self.progress.problems.first().cloned();
                problem.or_else(|| in_trouble(&self.troubles))
            }
        }
    }

    fn message(&self) -> String {
        let progress = &self.progress;
        self.trouble().unwrap_or_else(|| match self.state {
            State::Failed | State::Done => "done".to_owned(),
            State::Starting => "opening the storage and asking the cluster".to_owned(),
            State::Running => match (progress.partitions, progress.lag) {
                (0, _) => "no topic of the cluster matches yet".to_owned(),
                (_, 0) => "everything is stored".to_owned(),
                (_, lag) => format!("{} behind", plural(lag, "record")),
            },
        })
    }

    fn unready(&self) -> Option<String> {
        let current = self.troubles.current();
        let lasting = |trouble: &armory_troubles::Trouble| trouble.age() > NOT_READY_AFTER;
        match self.state {
            State::Done => None,
            State::Running if !self.progress.is_cut_off && !current.iter().any(lasting) => None,
            _ => Some(self.message()),
        }
    }
}

impl Restore {
    /// How much is done, 0 to 1.
    pub(super) fn done(&self) -> f64 {
        let progress = &self.progress;
        let done = progress.records + progress.filtered + progress.dead_lettered;
        match self.state {
            State::Done => 1.0,
            State::Starting => 0.0,
            _ if progress.records_total == 0 => 1.0,
            _ => (done as f64 / progress.records_total as f64).min(1.0),
        }
    }

    fn status(&self, name: &str, stopping: bool) -> RestoreStatus {
        let progress = &self.progress;
        let entries = self.plugins.entries.iter();
        RestoreStatus {
            name: name.to_owned(),
            state: word(self.state, "restoring", stopping),
            trouble: self.trouble().is_some(),
            message: self.message(),
            records: progress.records,
            records_total: progress.records_total,
            bytes: progress.bytes,
            bytes_total: progress.bytes_total,
            percent: (self.done() * 1000.0).floor() / 10.0,
            filtered: progress.filtered,
            dead_lettered: progress.dead_lettered,
            passed_through: entries.map(|entry| entry.passed_through).sum(),
            partitions: progress.partitions,
            partitions_done: progress.partitions_done,
            partitions_failed: progress.partitions_failed,
        }
    }

    /// What is wrong, if something is.
    fn trouble(&self) -> Option<String> {
        match self.state {
            State::Failed => Some(self.error.clone()),
            State::Done => None,
            State::Starting => in_trouble(&self.troubles),
            State::Running => {
                in_trouble(&self.troubles).or_else(|| self.progress.problems.first().cloned())
            }
        }
    }

    fn message(&self) -> String {
        let progress = &self.progress;
        self.trouble().unwrap_or_else(|| match self.state {
            State::Failed | State::Done => {
                format!("{} restored", plural(progress.records, "record"))
            }
            State::Starting => "looking at the archive and the target".to_owned(),
            State::Running => format!(
                "{} of {} are in the target",
                count(progress.records),
                plural(progress.records_total, "record")
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use armory_troubles::Cause;
    use serde_json::{Value, json};

    use super::*;

    fn backup(state: State) -> (Jobs, Troubles) {
        let troubles = Troubles::default();
        let backup = Backup {
            state,
            turned: Some(Instant::now()),
            troubles: troubles.clone(),
            ..Backup::default()
        };
        let jobs = Jobs {
            backups: [("b".to_owned(), backup)].into(),
            ..Jobs::default()
        };
        (jobs, troubles)
    }

    fn parsed(jobs: &Jobs) -> Value {
        serde_json::from_str(&json(jobs)).expect("JSON")
    }

    #[test]
    fn a_trouble_is_told_and_vanishes() {
        let (jobs, troubles) = backup(State::Starting);
        let hub = troubles.about("EventHub h");
        let trouble = hub.retrying(Cause::Kafka, "connection refused");
        let status = parsed(&jobs);
        assert_eq!(status["kind"], "backup");
        assert_eq!(status["state"], "starting");
        assert_eq!(status["message"], "EventHub h: connection refused");
        assert!(unready(&jobs).expect("a reason").contains("refused"));
        drop(trouble);
        let status = parsed(&jobs);
        assert_eq!(
            status["message"],
            "opening the storage and asking the cluster"
        );
    }

    #[test]
    fn what_is_durable_is_counted_and_nothing_else() {
        let (mut jobs, _) = backup(State::Running);
        let backup = jobs.backups.get_mut("b").expect("it is there");
        backup.progress.records = 100;
        backup.progress.committed_records = 60;
        backup.progress.partitions = 12;
        backup.progress.partitions_failed = 1;
        backup.progress.lag = 40;
        let status = parsed(&jobs);
        assert_eq!(status["records"], 60);
        assert_eq!(status["lag"], json!({"records": 40, "seconds": 0.0}));
        assert_eq!(status["partitions"], json!({"assigned": 12, "stopped": 1}));
        assert_eq!(status["message"], "40 records behind");
        jobs.stop.cancel();
        assert_eq!(parsed(&jobs)["state"], "stopping");
    }

    #[test]
    fn a_loop_that_stands_still_is_named() {
        let (jobs, _) = backup(State::Running);
        let now = Instant::now();
        assert_eq!(stuck(&jobs, now + Duration::from_secs(59)), None);
        let hangs = stuck(&jobs, now + Duration::from_secs(75)).expect("it hangs");
        assert!(hangs.starts_with("the control loop of backup b has not turned for 7"));
        let (jobs, _) = backup(State::Done);
        assert_eq!(stuck(&jobs, now + Duration::from_secs(75)), None);
    }

    #[test]
    fn dead_letters_are_done() {
        let mut restore = Restore {
            state: State::Running,
            ..Restore::default()
        };
        restore.progress.records = 50;
        restore.progress.filtered = 20;
        restore.progress.dead_lettered = 5;
        restore.progress.records_total = 100;
        let status = restore.status("r", false);
        assert_eq!((status.percent, status.state), (75.0, "restoring"));
    }
}
