//! What was looked at before a restore writes anything, and what was found: the report of a preflight.

use std::fmt;

use crate::Outlook;

/// What a restore would do, and whether it would start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreflightReport {
    /// The restore's id, where all its targets are there already; otherwise it is known only once they are created.
    pub id: Option<String>,
    /// Whether it has run before.
    pub standing: Standing,
    /// What is read, topic by topic.
    pub topics: Vec<TopicAmount>,
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl PreflightReport {
    /// Whether the restore would be refused.
    pub fn is_refused(&self) -> bool {
        self.checks
            .iter()
            .any(|check| check.verdict == Verdict::Refused)
    }

    /// What can be done about those that refuse it.
    pub fn outlook(&self) -> Outlook {
        outlook(&self.checks)
    }
}

/// Whether a restore has run before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It begins.
    New,
    /// It was interrupted, and goes on.
    Begun,
    /// Everything has landed.
    Done,
}

/// What the archive has of a topic, as its manifests tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicAmount {
    /// The topic in the archive.
    pub source: String,
    /// Its incarnation, the N of `vN`.
    pub incarnation: u32,
    /// The topic to write.
    pub target: String,
    /// Partitions that are read.
    pub partitions: usize,
    /// Records in the segments that are read.
    pub records: u64,
    /// Bytes of their batches.
    pub batch_bytes: u64,
    /// Bytes of the segments as stored.
    pub stored_bytes: u64,
    /// Whether some of these records are not restored, because a range or a time leaves them out.
    pub at_most: bool,
    /// The oldest timestamp that batch headers show, in ms since the epoch; records inside a batch may be older.
    pub oldest_ms: Option<i64>,
    /// The newest timestamp, in ms since the epoch.
    pub newest_ms: Option<i64>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: Name,
    /// The target topic that it is about, if it is about one.
    pub target: Option<String>,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub reason: String,
    /// What to do about it, or what follows from it.
    pub remedy: Option<String>,
    /// Whether the archive is damaged.
    damage: bool,
}

impl Check {
    /// Reason and remedy in one sentence.
    pub fn sentence(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.reason),
            None => self.reason.clone(),
        }
    }
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing to say.
    Ok,
    /// The restore would run, and somebody should know this.
    Warning,
    /// The restore would not start.
    Refused,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Refused => "refused",
        })
    }
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// The cluster answers.
    Reachable,
    /// The topic and its incarnation are in the archive.
    Source,
    /// What the archive says that it has is there, and sound as far as can be told without reading all of it.
    Archive,
    /// Partitions, offsets and times that were asked for are in the archive.
    Range,
    /// Where records go is well defined.
    Mapping,
    /// The target is there, or can be created.
    Target,
    /// It has enough partitions.
    Partitions,
    /// All of them have a leader.
    Leaders,
    /// They have as many replicas as an acknowledged write needs.
    Replicas,
    /// The user may write to it.
    Writable,
    /// Nothing is in it.
    Empty,
    /// It keeps what is restored.
    Retention,
    /// It keeps all records of a key, and takes records without one.
    Compaction,
    /// It takes their timestamps, and leaves them as they are.
    Timestamps,
    /// It takes batches of their size.
    BatchSize,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Name::Reachable => "reachable",
            Name::Source => "source",
            Name::Archive => "archive",
            Name::Range => "range",
            Name::Mapping => "mapping",
            Name::Target => "target",
            Name::Partitions => "partitions",
            Name::Leaders => "leaders",
            Name::Replicas => "replicas",
            Name::Writable => "writable",
            Name::Empty => "empty",
            Name::Retention => "retention",
            Name::Compaction => "compaction",
            Name::Timestamps => "timestamps",
            Name::BatchSize => "batch-size",
        })
    }
}

fn outlook(checks: &[Check]) -> Outlook {
    let refused = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Refused);
    let outlooks = refused.map(|check| match check.name {
        _ if check.damage => Outlook::Damage,
        // Brokers come back.
        Name::Reachable | Name::Leaders | Name::Replicas => Outlook::Passing,
        _ => Outlook::Refused,
    });
    outlooks.max().unwrap_or_default()
}

/// Checks as they are made.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<Check>);

impl Checks {
    pub(crate) fn pass(&mut self, name: Name, target: &str, found: impl Into<String>) {
        self.add(name, target, Verdict::Ok, found.into(), None);
    }

    pub(crate) fn warn(
        &mut self,
        name: Name,
        target: &str,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(
            name,
            target,
            Verdict::Warning,
            reason.into(),
            Some(remedy.into()),
        );
    }

    pub(crate) fn refuse(
        &mut self,
        name: Name,
        target: &str,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(
            name,
            target,
            Verdict::Refused,
            reason.into(),
            Some(remedy.into()),
        );
    }

    /// Refuses because the archive is damaged.
    pub(crate) fn refuse_damage(&mut self, target: &str, reason: impl Into<String>) {
        let remedy = "run `armory verify` for the whole extent";
        self.refuse(Name::Archive, target, reason, remedy);
        if let Some(check) = self.0.last_mut() {
            check.damage = true;
        }
    }

    /// What is about no target alone has an empty one.
    fn add(
        &mut self,
        name: Name,
        target: &str,
        verdict: Verdict,
        reason: String,
        remedy: Option<String>,
    ) {
        self.0.push(Check {
            name,
            target: (!target.is_empty()).then(|| target.to_owned()),
            verdict,
            reason,
            remedy,
            damage: false,
        });
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.refused().next().is_some()
    }

    pub(crate) fn refused(&self) -> impl Iterator<Item = &Check> {
        self.0
            .iter()
            .filter(|check| check.verdict == Verdict::Refused)
    }

    pub(crate) fn warnings(&self) -> impl Iterator<Item = &Check> {
        self.0
            .iter()
            .filter(|check| check.verdict == Verdict::Warning)
    }

    pub(crate) fn outlook(&self) -> Outlook {
        outlook(&self.0)
    }

    pub(crate) fn into_vec(self) -> Vec<Check> {
        self.0
    }
}
