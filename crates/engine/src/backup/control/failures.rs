//! What becomes of a partition that cannot go on: opened again after a while where that may help, given up where it cannot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use armory_archive::{ArchiveError, PartitionKey, PartitionWriter, TopicKey};
use armory_kafka::Backoff;
use armory_troubles::Cause;

use super::super::partition::{Partition, Phase, Topic};
use super::Control;
use super::follow::with_plugins;
use crate::backup::Until;
use crate::error::sentence;
use crate::plugins::PluginSet;
use crate::{EngineError, Level};

/// The first and the longest pause before a partition is opened again.
const OPEN_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The pause before it is asked again whether another writer has left a partition.
const ASK_OWNER_AGAIN: Duration = Duration::from_secs(15);
/// How often `--once` opens a partition again without committing anything in between: it is to end.
const OPENINGS_ONCE: u32 = 5;

/// What failures are told of: a topic, or one partition of it.
pub(super) type Subject = (TopicKey, Option<i32>);

fn subject(key: &PartitionKey) -> Subject {
    (key.topic.clone(), Some(key.partition))
}

/// A partition without a writer, to be opened when its time comes.
#[derive(Debug)]
pub(super) struct Closed {
    topic: Arc<Topic>,
    /// As it was followed before, if it was.
    before: Option<Arc<Partition>>,
    due: Instant,
    is_opening: bool,
    why: String,
    /// Whether an older writer still commits: this one is to be first with the next commit, so that the older one learns of it.
    is_contested: bool,
    /// Whether a plugin stopped it: then its plugins are loaded anew first.
    reloads: bool,
}

/// What a closed partition goes on with.
#[derive(Debug)]
pub(super) struct Opened {
    writer: PartitionWriter,
    plugins: PluginSet,
}

impl Closed {
    pub(super) fn is_of(&self, topic: &Arc<Topic>) -> bool {
        Arc::ptr_eq(&self.topic, topic)
    }
}

/// How long to wait for a partition that keeps failing. Forgotten when something of it was committed.
#[derive(Debug)]
pub(super) struct Patience {
    backoff: Backoff,
    openings: u32,
}

/// The cluster lets us in no more: credentials or certificates were changed, or ran out.
#[derive(Debug)]
pub(super) struct LockedOut {
    backoff: Backoff,
    attempts: u32,
    why: String,
}

/// Whether a partition is somebody else's, while the rest of the archive may be ours.
fn is_taken(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::Archive(
            ArchiveError::OwnedByOther { .. }
                | ArchiveError::Fenced { .. }
                | ArchiveError::Locked { .. }
        )
    )
}

/// Whether a partition may go on once it was opened again.
fn may_pass(error: &EngineError, until: Until) -> bool {
    match error {
        // A right that was taken may be given again; who waits for an end is told at once.
        EngineError::Kafka(error) => error.is_about_access() && until == Until::Stopped,
        // A plugin's next version may be better, or its next try; who waits for an end is told at once.
        EngineError::Plugin { .. } | EngineError::PluginLoad(_) => until == Until::Stopped,
        EngineError::Archive(error) => {
            // An answer that does not follow is fetched again from the archive's end.
            error.is_retriable() || matches!(error, ArchiveError::NotContiguous { .. })
        }
        _ => false,
    }
}

/// One sentence for each cause: whom it stops, and that the others go on.
fn together<'a>(
    stopped: impl Iterator<Item = (String, &'a str)>,
    of: usize,
    verb: &str,
) -> Vec<String> {
    let mut by_cause: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, why) in stopped {
        // A cause that begins with the name of its partition would have it twice.
        let why = why
            .strip_prefix(name.as_str())
            .and_then(|rest| rest.strip_prefix(": "))
            .unwrap_or(why);
        by_cause.entry(why).or_default().push(name);
    }
    let sentences = by_cause.into_iter().map(|(why, names)| {
        let mut text = names[0].clone();
        if names.len() > 1 {
            text.push_str(&format!(" and {} more", names.len() - 1));
        }
        text.push_str(&format!(" {verb}: {why}"));
        let others = of.saturating_sub(names.len());
        if others > 0 {
            text.push_str(&format!("; {others} other partitions go on"));
        }
        text
    });
    sentences.collect()
}

impl Control {
    /// Decides what becomes of the run when the cluster cannot be asked for its topics. After how long it is asked again, if not
    /// as usual.
    ///
    /// # Errors
    /// The error, if there is no hope. At the start of a run nobody asks: what is wrong with credentials is told at once.
    pub(super) fn on_not_refreshed(
        &mut self,
        error: EngineError,
    ) -> Result<Option<Duration>, EngineError> {
        let why = sentence(&error);
        if error.is_transient() {
            let text =
                format!("the cluster could not be asked for its topics, trying again: {why}");
            self.remark(Level::Warning, text);
            self.unasked = Some(why);
            return Ok(None);
        }
        if !error.is_about_access() {
            return Err(error);
        }
        let locked_out = self.locked_out.get_or_insert_with(|| LockedOut {
            backoff: Backoff::new(OPEN_AGAIN.0, OPEN_AGAIN.1),
            attempts: 0,
            why: String::new(),
        });
        locked_out.attempts += 1;
        if self.until == Until::CaughtUp && locked_out.attempts > OPENINGS_ONCE {
            return Err(error);
        }
        let pause = locked_out.backoff.next_delay();
        if locked_out.why != why {
            locked_out.why.clone_from(&why);
            self.remark(
                Level::Warning,
                format!("the cluster does not let the backup in any more; it is tried again with the credentials as they are then: {why}"),
            );
        }
        Ok(Some(pause))
    }

    /// The cluster was asked, and answered.
    pub(super) fn on_refreshed(&mut self) {
        self.unasked = None;
        if self.locked_out.take().is_some() {
            self.remark(
                Level::Info,
                "the cluster lets the backup in again".to_owned(),
            );
        }
    }

    /// Whether this is the partition as it is followed now: not of an incarnation that is gone, nor one that was opened again since.
    pub(super) fn is_current(&self, partition: &Arc<Partition>) -> bool {
        self.topics
            .get(&*partition.topic.name)
            .and_then(|followed| followed.partitions.get(&partition.index))
            .is_some_and(|known| Arc::ptr_eq(known, partition))
    }

    /// Decides what becomes of a partition after an error. Later errors of the same failure change nothing.
    pub(super) fn on_failure(&mut self, partition: &Arc<Partition>, error: &EngineError) {
        let name = partition.name();
        let why = sentence(error);
        if !self.is_current(partition) {
            let is_followed = self
                .topics
                .get(&*partition.topic.name)
                .is_some_and(|followed| followed.topic.id == partition.topic.id);
            if !is_followed && partition.give_up(&self.shared) != Phase::Failed {
                self.record(subject(&partition.key), format!("{name}: {why}"));
            }
            return;
        }
        if self.closed.contains_key(&partition.key) || partition.state().phase == Phase::Failed {
            return;
        }
        self.outlook = self.outlook.max(error.outlook());
        if self.is_finishing || !may_pass(error, self.until) || !self.has_patience(&partition.key) {
            self.fail(partition, format!("{name}: {why}"));
            return;
        }
        let reloads = matches!(error, EngineError::Plugin { .. });
        if reloads {
            // What came before the record is sound, and was made by the plugins as they are now.
            partition.pause(&self.shared);
        } else {
            partition.suspend();
        }
        self.unassign(partition);
        self.unplaced.remove(&partition.key);
        self.ended.remove(&partition.key);
        let topic = Arc::clone(&partition.topic);
        let before = Some(Arc::clone(partition));
        let is_contested = matches!(error, EngineError::Archive(ArchiveError::Overtaken { .. }));
        let closed = Closed {
            topic,
            before,
            due: Instant::now(),
            is_opening: false,
            why,
            is_contested,
            reloads,
        };
        self.open_later(partition.key.clone(), closed);
    }

    fn has_patience(&self, key: &PartitionKey) -> bool {
        self.until == Until::Stopped
            || self
                .patience
                .get(key)
                .is_none_or(|patience| patience.openings < OPENINGS_ONCE)
    }

    fn open_later(&mut self, key: PartitionKey, mut closed: Closed) {
        let patience = self
            .patience
            .entry(key.clone())
            .or_insert_with(|| Patience {
                backoff: Backoff::new(OPEN_AGAIN.0, OPEN_AGAIN.1),
                openings: 0,
            });
        patience.openings += 1;
        self.shared.troubles.count(Cause::Partition);
        let is_first = patience.openings == 1;
        if !closed.is_contested {
            closed.due += patience.backoff.next_delay();
        }
        if is_first {
            let name = format!("{}-{}", closed.topic.name, key.partition);
            self.remark(
                Level::Warning,
                format!("{name} pauses and is opened again: {}", closed.why),
            );
        }
        self.closed.insert(key, closed);
    }

    /// What became of an opening that failed: of a new partition, or of one that was opened again.
    pub(super) fn on_not_opened(
        &mut self,
        key: PartitionKey,
        topic: Arc<Topic>,
        before: Option<Arc<Partition>>,
        error: EngineError,
    ) {
        let is_new_and_taken = before.is_none() && is_taken(&error);
        self.outlook = self.outlook.max(error.outlook());
        let why = sentence(&error);
        let closed = |why| Closed {
            topic: Arc::clone(&topic),
            before: before.clone(),
            due: Instant::now(),
            is_opening: false,
            why,
            is_contested: false,
            reloads: matches!(error, EngineError::PluginLoad(_)),
        };
        // In a continuous backup somebody else's partition may become free when its writer ends.
        if is_new_and_taken && self.until == Until::Stopped {
            self.record(subject(&key), why.clone());
            let mut closed = closed(why);
            closed.due += ASK_OWNER_AGAIN;
            self.closed.insert(key, closed);
        } else if may_pass(&error, self.until) && !is_new_and_taken && self.has_patience(&key) {
            let closed = closed(why);
            self.open_later(key, closed);
        } else {
            let why = format!("{}-{}: {why}", topic.name, key.partition);
            match before {
                Some(partition) => self.fail(&partition, why),
                None => self.record(subject(&key), why),
            }
        }
    }

    /// Begins to open what is closed and due.
    pub(super) fn open_what_is_due(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for (key, closed) in &mut self.closed {
            // Segments on their way would be found missing, or locked.
            if closed.is_opening || closed.due > now || self.commits.holds(key) {
                continue;
            }
            closed.is_opening = true;
            due.push((key.clone(), Arc::clone(&closed.topic), closed.reloads));
        }
        for (key, topic, reloads) in due {
            let (plugins, options) = (self.plugins.clone(), self.writer_options.clone());
            let archive = self.archive.clone();
            self.openings.spawn(async move {
                let opening = async {
                    let plugins = match reloads {
                        true => plugins.reload(&key.topic).await?,
                        false => plugins,
                    };
                    let options = with_plugins(&options, &plugins, &topic);
                    let writer = PartitionWriter::open(&archive, key.clone(), options).await?;
                    Ok(Opened { writer, plugins })
                };
                let opened = opening.await;
                (key, opened)
            });
        }
    }

    pub(super) fn on_opened(&mut self, key: PartitionKey, opened: Result<Opened, EngineError>) {
        // Given up, or of an incarnation that is gone, meanwhile.
        let Some(closed) = self.closed.remove(&key) else {
            return;
        };
        let Closed {
            topic,
            before,
            is_contested,
            ..
        } = closed;
        match opened {
            Ok(Opened { writer, plugins }) => {
                let at = writer.next_offset();
                let chain = plugins.backup_chain(&key.topic);
                let budget = &self.shared.budget;
                let partition = match &before {
                    Some(before) => before.opened_again(chain, writer, budget),
                    None => Partition::new(topic, chain, key.clone(), writer, budget),
                };
                // What is opened from now on takes the newer ones, too; what is open goes on with those it has.
                if !plugins.is(&self.plugins) {
                    self.plugins = plugins;
                }
                partition.state().is_contested = is_contested;
                let partition = Arc::new(partition);
                self.failures.remove(&subject(&key));
                self.remark(
                    Level::Info,
                    format!("{} goes on at offset {at}", partition.name()),
                );
                self.insert(&partition);
                self.want_placed(partition, "it was opened again".to_owned());
                self.is_urgent = true;
            }
            Err(error) => self.on_not_opened(key, topic, before, error),
        }
    }

    /// Follows an opened partition of a followed topic.
    pub(super) fn insert(&mut self, partition: &Arc<Partition>) {
        if let Some(followed) = self.topics.get_mut(&*partition.topic.name) {
            let partitions = &mut followed.partitions;
            partitions.insert(partition.index, Arc::clone(partition));
        }
    }

    /// Gives a followed partition up, with a remark.
    pub(super) fn fail(&mut self, partition: &Arc<Partition>, why: String) {
        if partition.give_up(&self.shared) == Phase::Failed {
            return;
        }
        self.forget(partition);
        self.ended.insert(partition.key.clone());
        self.remark(Level::Warning, format!("given up: {why}"));
        self.failures.insert(subject(&partition.key), why);
    }

    /// Has nothing more done for a partition.
    pub(super) fn forget(&mut self, partition: &Partition) {
        self.unassign(partition);
        self.unplaced.remove(&partition.key);
        self.closed.remove(&partition.key);
        self.patience.remove(&partition.key);
        self.ended.remove(&partition.key);
    }

    /// Keeps a failure for the end of the run, and remarks upon it unless that has been said.
    pub(super) fn record(&mut self, subject: Subject, why: String) {
        let before = self.failures.insert(subject, why.clone());
        if before.as_ref() != Some(&why) {
            self.remark(Level::Warning, why);
        }
    }

    /// What is closed when the run ends has not come to its end.
    pub(super) fn record_closed(&mut self) {
        for (key, closed) in std::mem::take(&mut self.closed) {
            let why = format!("{}-{}: {}", closed.topic.name, key.partition, closed.why);
            self.failures.entry(subject(&key)).or_insert(why);
        }
    }

    /// What is wrong now, the worst first. Partitions with one cause are told together.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(locked_out) = &self.locked_out {
            let why = &locked_out.why;
            problems.push(format!(
                "the cluster does not let the backup in any more; it is tried again: {why}"
            ));
        } else if let Some(why) = &self.unasked {
            problems.push(format!(
                "the cluster cannot be asked for its topics; it is tried again: {why}"
            ));
        }
        let others = self.known.len();
        let stopped = self
            .failures
            .iter()
            .map(|((topic, index), why)| match index {
                // What fails names itself.
                Some(index) => (format!("{}-{index}", topic.topic), why.as_str()),
                None => (format!("topic {}", topic.topic), why.as_str()),
            });
        problems.extend(together(stopped, others, "stopped"));
        let closed = self.closed.iter().map(|(key, closed)| {
            let name = format!("{}-{}", key.topic.topic, key.partition);
            (name, closed.why.as_str())
        });
        problems.extend(together(closed, others, "stopped, and opened again soon"));
        problems.extend(together(
            self.waiting_for_leader(),
            others,
            "cannot be fetched",
        ));
        problems
    }

    pub(super) fn failed_partitions(&self) -> usize {
        let failures = self.failures.keys();
        failures.filter(|(_, index)| index.is_some()).count()
    }
}
