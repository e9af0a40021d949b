//! The plugins that apply to one topic, in order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use crate::counters::{Counts, EntryCounters, count};
use crate::host::instance::Instance;
use crate::lease::Lease;
use crate::pool::SlotId;
use crate::stop_rule::Failures;
use crate::{
    ErrorPolicy, FailureClass, Host, Limits, Phase, Plugin, PluginError, RecordRef, World,
};

/// A plugin as it is configured.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What is called.
    pub plugin: Plugin,
    /// What the entry is called in errors, logs and reports; unique within a job.
    pub label: String,
    /// The entry's `spec` as text, from [`crate::config_text()`]; `None` when it has none.
    pub config: Option<String>,
    /// What happens to records that the plugin does not accept.
    pub policy: ErrorPolicy,
    /// What the plugin may use.
    pub limits: Limits,
}

/// What a chain works for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Context {
    /// A topic on its way into the archive.
    Backup {
        /// The topic that is backed up.
        topic: String,
    },
    /// An archived topic on its way into a topic.
    Restore {
        /// The topic that was backed up.
        source_topic: String,
        /// The topic that is written to.
        target_topic: String,
    },
}

impl Context {
    fn world(&self) -> World {
        match self {
            Self::Backup { .. } => World::Backup,
            Self::Restore { .. } => World::Restore,
        }
    }
}

impl Context {
    /// The topic that plugins are selected by, and counted for: the one that is backed up, or that is written to.
    fn topic(&self) -> &str {
        match self {
            Self::Backup { topic } => topic,
            Self::Restore { target_topic, .. } => target_topic,
        }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backup { topic } => f.write_str(topic),
            Self::Restore {
                source_topic,
                target_topic,
            } => write!(f, "{source_topic} -> {target_topic}"),
        }
    }
}

/// The plugins that apply to one topic, in the order in which they are listed. Clones share it.
#[derive(Debug, Clone)]
pub struct Chain {
    pub(crate) shared: Arc<ChainState>,
}

#[derive(Debug)]
pub(crate) struct ChainState {
    pub(crate) host: Host,
    pub(crate) context: Context,
    pub(crate) slots: Vec<Slot>,
    /// Partitions of the target topic; 0 while they are not known.
    target_partitions: AtomicI32,
}

/// One entry of a chain: what there is once for it, whatever the number of its instances.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: SlotId,
    pub(crate) entry: Arc<Entry>,
    pub(crate) counts: Arc<Counts>,
    /// What the stop rule counts, if there is one.
    pub(crate) failures: Option<Failures>,
    /// Bytes of the largest instance that was started or came back from a lease: what a fresh one is expected to need.
    pub(crate) largest_bytes: AtomicU64,
    warned_of_ignored_edits: AtomicBool,
}

impl Chain {
    /// A chain of the entries that apply to a topic. Selecting them is the caller's business.
    ///
    /// # Panics
    /// When a plugin was loaded for the other world than the context is of.
    pub fn new(host: &Host, entries: Vec<Arc<Entry>>, context: Context) -> Self {
        for entry in &entries {
            assert_eq!(
                entry.plugin.world(),
                context.world(),
                "plugin {} was loaded for another world",
                entry.label
            );
        }
        let slots = entries
            .into_iter()
            .map(|entry| Slot::new(host, entry, &context))
            .collect();
        let host = host.clone();
        Self {
            shared: Arc::new(ChainState {
                host,
                context,
                slots,
                target_partitions: AtomicI32::new(0),
            }),
        }
    }

    /// Whether no plugin applies, so that records need not be decoded at all.
    pub fn is_empty(&self) -> bool {
        self.shared.slots.is_empty()
    }

    /// Tells a restore's chain how many partitions the target topic has. From then on a plugin that sends a record to a
    /// partition that is not there has failed on the record.
    pub fn set_target_partitions(&self, partitions: i32) {
        self.shared
            .target_partitions
            .store(partitions, Ordering::Relaxed);
    }

    /// Asks every plugin in turn what the target topic needs, beginning with the number of partitions that was archived.
    /// The answer is between 1 and 2³¹−1. A backup's chain returns what it was given.
    ///
    /// Instances are started for it where none rest; do not call it while the same thread holds a lease.
    pub fn requirements(&self, partitions: u64) -> Result<u64, PluginError> {
        self.lease()?.requirements(partitions)
    }

    /// Takes the chain into the hands of this thread: an instance of every entry, for one batch of one partition.
    ///
    /// Waits while the host's budget of memory has no room; a thread that holds a lease already must therefore not ask for
    /// another. Instances that are missing are started, so this may take as long as their `init` may.
    pub fn lease(&self) -> Result<Lease, PluginError> {
        Lease::take(Arc::clone(&self.shared))
    }

    /// Gives up the instances that rest, so that what comes next meets fresh ones.
    pub fn renew(&self) {
        self.shared.forget_instances();
    }

    /// What every entry has done so far, in order.
    pub fn counters(&self) -> Vec<EntryCounters> {
        let topic = self.shared.context.topic();
        let slots = self.shared.slots.iter();
        slots
            .map(|slot| slot.counts.read(&slot.entry.label, topic))
            .collect()
    }
}

impl Drop for ChainState {
    fn drop(&mut self) {
        self.forget_instances();
    }
}

impl ChainState {
    fn forget_instances(&self) {
        let slots: Vec<_> = self.slots.iter().map(|slot| slot.id).collect();
        self.host.shared().pool.forget(&slots);
    }

    pub(crate) fn error(
        &self,
        slot: &Slot,
        phase: Phase,
        class: FailureClass,
        record: Option<(i32, i64)>,
        message: String,
    ) -> PluginError {
        let plugin = slot.entry.label.clone();
        PluginError {
            plugin,
            topic: self.context.to_string(),
            phase,
            class,
            record,
            too_many: false,
            message,
        }
    }

    /// Why a record may not go to a partition of the target, if it may not.
    pub(crate) fn partition_objection(&self, partition: i32) -> Option<String> {
        let count = self.target_partitions.load(Ordering::Relaxed);
        if count == 0 || (0..count).contains(&partition) {
            return None;
        }
        Some(format!(
            "it sends the record to partition {partition}, and the target topic has {count} partitions"
        ))
    }
}

impl Slot {
    fn new(host: &Host, entry: Arc<Entry>, context: &Context) -> Self {
        let registry = &host.shared().registry;
        Self {
            id: SlotId::next(),
            counts: registry.counts(&entry.label, context.topic()),
            failures: entry.policy.stop_rule.map(Failures::new),
            largest_bytes: AtomicU64::new(entry.plugin.initial_bytes()),
            warned_of_ignored_edits: AtomicBool::new(false),
            entry,
        }
    }

    /// Tells the stop rule of a record that the entry accepted.
    pub(crate) fn note_success(&self, record: &RecordRef<'_>) {
        if let Some(failures) = &self.failures {
            failures.note_success(record.partition, record.offset);
        }
    }

    /// Tells the stop rule of a record that the entry did not accept. Why the partition has to stop, if it has to.
    pub(crate) fn note_failure(
        &self,
        record: &RecordRef<'_>,
        class: FailureClass,
    ) -> Option<String> {
        let failures = self.failures.as_ref()?;
        if !self.entry.policy.is_failure(class) {
            failures.note_success(record.partition, record.offset);
            return None;
        }
        failures.note_failure(record.partition, record.offset)
    }

    /// Notes how much memory an instance has taken.
    pub(crate) fn note_size(&self, instance: &Instance) {
        self.largest_bytes
            .fetch_max(instance.bytes(), Ordering::Relaxed);
        self.counts.note_instance(instance.bytes());
    }

    /// Counts an edit of a record's coordinates on a backup, and warns of the first.
    pub(crate) fn note_ignored_edit(&self, topic: &Context) {
        count(&self.counts.ignored_edits);
        if !self.warned_of_ignored_edits.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                plugin = %self.entry.label,
                topic = %topic,
                "plugin changes the partition or offset of records, which a backup ignores"
            );
        }
    }
}
