//! Whether a target that is there takes what is restored, and keeps it.

use armory_resources::job::RestoreJob;

use super::super::checks::{Checks, Name};
use super::super::plan::{PartitionPlan, Plan, TargetPlan, TopicPlan};
use super::configs::largest_batch;
use super::topics::TargetTopic;
use super::{Ends, now_ms};

/// A target that is there, and what it is held against.
pub(super) struct Existing<'a> {
    pub(super) plan: &'a Plan,
    pub(super) target: &'a TargetPlan,
    pub(super) topic: &'a TargetTopic,
    pub(super) job: &'a RestoreJob,
    /// Whether records that the target would expire do not come to it.
    pub(super) leaves_out_expired: bool,
    /// How many partitions it needs.
    pub(super) minimum: i32,
    /// Whether the user may write to it, where its broker says.
    pub(super) may_write: Option<bool>,
    pub(super) ends: &'a Ends,
}

impl Existing<'_> {
    pub(super) fn check(&self, checks: &mut Checks) {
        let name = &self.target.name;
        checks.pass(Name::Target, name, "it exists");
        self.partitions(checks);
        self.leaders(checks);
        if self.members().any(|topic| topic.mapping.disable_preflight) {
            let remedy = "whether it is empty, and keeps what is restored, is not looked at";
            checks.warn(Name::Target, name, "disablePreflightChecks is set", remedy);
            return;
        }
        self.replicas(checks);
        self.writable(checks);
        self.empty(checks);
        self.retention(checks);
        self.compaction(checks);
        self.timestamps(checks);
        self.batch_size(checks);
    }

    fn members(&self) -> impl Iterator<Item = &TopicPlan> {
        self.plan.members(self.target)
    }

    fn source_partitions(&self) -> impl Iterator<Item = &PartitionPlan> {
        self.members().flat_map(|topic| &topic.partitions)
    }

    /// The oldest and the newest timestamp that is restored, as far as batch headers tell.
    fn times(&self) -> Option<(i64, i64)> {
        let all = self.members().filter_map(TopicPlan::timestamps);
        let (oldest, newest) = all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        let from = self
            .source_partitions()
            .map(|partition| partition.time.from_ms.unwrap_or(i64::MIN))
            .min();
        Some((oldest.max(from.unwrap_or(i64::MIN)), newest))
    }

    fn partitions(&self, checks: &mut Checks) {
        let name = &self.target.name;
        let has = i32::try_from(self.topic.meta.partitions.len()).unwrap_or(i32::MAX);
        let needed = self.minimum;
        let archived = self.members().map(|topic| topic.partition_count).max();
        if has < needed {
            checks.refuse(
                Name::Partitions,
                name,
                format!("the target topic {name} has {has} partitions and needs {needed}"),
                "add partitions, restore into another topic, or use a plugin that says where records go",
            );
        } else if archived.is_some_and(|archived| has > archived) {
            checks.warn(
                Name::Partitions,
                name,
                format!("it has {has} partitions, more than the archive"),
                "records keep their partition, and producers will put the same keys into others from now on",
            );
        } else {
            checks.pass(Name::Partitions, name, format!("it has {has} partitions"));
        }
    }

    fn leaders(&self, checks: &mut Checks) {
        let name = &self.target.name;
        let silent: Vec<String> = self
            .topic
            .meta
            .partitions
            .iter()
            .map(|partition| partition.index)
            .filter(|index| !matches!(self.ends.get(&(name.clone(), *index)), Some(Some(_))))
            .map(|index| index.to_string())
            .collect();
        if silent.is_empty() {
            checks.pass(
                Name::Leaders,
                name,
                "every partition has a leader that answers",
            );
        } else {
            let which = silent.join(", ");
            checks.refuse(
                Name::Leaders,
                name,
                format!("partitions of the target {name} have no leader that answers: {which}"),
                "see to the brokers that hold them",
            );
        }
    }

    fn replicas(&self, checks: &mut Checks) {
        let name = &self.target.name;
        let needed = self.topic.number("min.insync.replicas").unwrap_or(1);
        let needed = usize::try_from(needed).unwrap_or(1);
        let fewest = self.topic.fewest_replicas().unwrap_or(needed);
        let partitions = || self.topic.meta.partitions.iter();
        if fewest < needed {
            checks.refuse(
                Name::Replicas,
                name,
                format!("the target {name} has partitions with {fewest} replicas, and acknowledges a write only when {needed} have it (min.insync.replicas)"),
                format!("lower min.insync.replicas to {fewest}, or add replicas"),
            );
        } else if let Some(partition) = partitions().find(|partition| partition.in_sync < needed) {
            checks.warn(
                Name::Replicas,
                name,
                format!(
                    "partition {} has {} replicas in sync, and a write needs {needed}",
                    partition.index, partition.in_sync
                ),
                "the restore waits for them, and gives up after a while",
            );
        } else {
            checks.pass(
                Name::Replicas,
                name,
                format!("a write needs {needed}, and they are in sync"),
            );
        }
    }

    fn writable(&self, checks: &mut Checks) {
        let name = &self.target.name;
        match self.may_write {
            Some(false) => checks.refuse(
                Name::Writable,
                name,
                format!("you may not write to {name}"),
                "ask for the operation Write on it",
            ),
            Some(true) => checks.pass(Name::Writable, name, "you may write to it"),
            None => checks.pass(
                Name::Writable,
                name,
                "its broker does not say; the first write shows it",
            ),
        }
    }

    fn empty(&self, checks: &mut Checks) {
        let name = &self.target.name;
        if self.job.dead_letters {
            return checks.pass(Name::Empty, name, "dead letters are added to what it holds");
        }
        let mut is_empty = true;
        for ((topic, partition), range) in self.ends {
            if let Some((start, end)) = range
                && topic == name
                && end > start
            {
                is_empty = false;
                checks.refuse(
                    Name::Empty,
                    name,
                    format!("the target {name}-{partition} is not empty (offsets {start} to {end}) and this restore has not written to it"),
                    "restore into an empty topic",
                );
            }
        }
        if is_empty {
            checks.pass(Name::Empty, name, "it is empty");
        }
    }

    /// Refuses what can be allowed, or warns where it was.
    fn unless_allowed(&self, name: Name, reason: String, remedy: &str, checks: &mut Checks) {
        let target = &self.target.name;
        if self.job.allow_expiry {
            checks.warn(
                name,
                target,
                reason,
                "--allow-expiry says that this is wanted",
            );
        } else {
            checks.refuse(
                name,
                target,
                reason,
                format!("{remedy}, or pass --allow-expiry"),
            );
        }
    }

    fn retention(&self, checks: &mut Checks) {
        let name = &self.target.name;
        let limit = |name| self.topic.number(name).filter(|limit| *limit >= 0);
        let mut keeps = true;
        // Otherwise they are left out.
        if !self.leaves_out_expired
            && let (Some(retention), Some((oldest, _))) = (limit("retention.ms"), self.times())
            && oldest < now_ms().saturating_sub(retention)
        {
            keeps = false;
            let reason = format!(
                "the target topic {name} keeps records for {retention} ms (retention.ms), and the archive has records from {}: they would vanish right after the restore",
                time(oldest)
            );
            let remedy = "set retention.ms=-1 for the time of the restore, leave them out with ApplyTargetTopicRetention or the plugin topic-retention";
            self.unless_allowed(Name::Retention, reason, remedy, checks);
        }
        let bytes = self.source_partitions().map(PartitionPlan::raw_bytes).max();
        let bytes = bytes.unwrap_or(0);
        if let Some(retention) = limit("retention.bytes")
            && bytes > retention.unsigned_abs()
        {
            keeps = false;
            let reason = format!(
                "the target topic {name} keeps {retention} bytes a partition (retention.bytes), and the archive has {bytes}"
            );
            let remedy = "set retention.bytes=-1 for the time of the restore";
            self.unless_allowed(Name::Retention, reason, remedy, checks);
        }
        if keeps {
            checks.pass(Name::Retention, name, "it keeps what is restored");
        }
    }

    fn compaction(&self, checks: &mut Checks) {
        let name = &self.target.name;
        let policy = self.topic.values.get("cleanup.policy");
        if policy.is_some_and(|policy| policy.contains("compact")) {
            let reason = format!(
                "the target topic {name} is compacted: older records of a key would be removed, and a record without a key is refused and ends its partition"
            );
            let remedy = "set cleanup.policy=delete for the time of the restore";
            self.unless_allowed(Name::Compaction, reason, remedy, checks);
        } else {
            checks.pass(Name::Compaction, name, "it is not compacted");
        }
    }

    fn timestamps(&self, checks: &mut Checks) {
        let name = &self.target.name;
        let mut takes = true;
        let kind = self.topic.values.get("message.timestamp.type");
        if kind.is_some_and(|kind| kind == "LogAppendTime") {
            takes = false;
            let reason = format!(
                "the target topic {name} has message.timestamp.type=LogAppendTime: its broker would replace every timestamp by the time of the restore"
            );
            self.unless_allowed(Name::Timestamps, reason, "set it to CreateTime", checks);
        } else if let Some((oldest, newest)) = self.times() {
            let now = now_ms();
            let (before, after) = (now.saturating_sub(oldest), newest.saturating_sub(now));
            let limits = [
                ("message.timestamp.before.max.ms", before, oldest),
                ("message.timestamp.after.max.ms", after, newest),
                // Before Kafka 3.6, and until 4.0.
                ("message.timestamp.difference.max.ms", before, oldest),
                ("message.timestamp.difference.max.ms", after, newest),
            ];
            for (limit, beyond, when) in limits {
                if let Some(max) = self.topic.number(limit)
                    && beyond > max
                {
                    takes = false;
                    checks.refuse(
                        Name::Timestamps,
                        name,
                        format!(
                            "the target topic {name} refuses records of {} ({limit}={max})",
                            time(when)
                        ),
                        "raise it for the time of the restore",
                    );
                }
            }
        }
        if takes {
            checks.pass(Name::Timestamps, name, "it takes them as they are");
        }
    }

    fn batch_size(&self, checks: &mut Checks) {
        let name = &self.target.name;
        let max = self.topic.max_message_bytes as u64;
        let largest = largest_batch(self.plan, self.target);
        // Where every batch has one record, the largest batch is the largest record.
        let alone = self
            .source_partitions()
            .filter_map(PartitionPlan::largest_lone_record)
            .max();
        if let Some(alone) = alone
            && alone > max
        {
            checks.refuse(
                Name::BatchSize,
                name,
                format!("the target topic {name} takes batches of at most {max} bytes (max.message.bytes), and the archive has a record that takes {alone}"),
                format!("raise it to {alone}"),
            );
        } else if largest > max {
            checks.warn(
                Name::BatchSize,
                name,
                format!("the target topic {name} takes batches of at most {max} bytes (max.message.bytes), and the archive has one of {largest}"),
                "larger batches are split; a record that is too large alone ends its partition",
            );
        } else {
            checks.pass(
                Name::BatchSize,
                name,
                format!("it takes batches of {max} bytes, and the largest has {largest}"),
            );
        }
    }
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| format!("{ms} ms since the epoch"),
        |time| time.to_string(),
    )
}
