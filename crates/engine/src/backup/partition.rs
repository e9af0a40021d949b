//! One partition of a backup: its place in the archive, and how answers of its leader get there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use armory_archive::{ArchiveError, GapCause, PartitionKey, PartitionWriter, SealedSegment};
use armory_kafka::PartitionFetch;
use armory_plugins::Chain;
use armory_records::{Batch, BatchHeader, DecodeBuffer};
use uuid::Uuid;

use super::broker::{Event, Shared};
use super::intake::{Intake, Step};
use super::transform::{TransformError, Transformed, transform_batch};
use crate::EngineError;
use crate::budget::{Budget, Charge};

/// One incarnation of a topic, as the backup follows it.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    /// `None` where the cluster has no topic ids.
    pub(crate) id: Option<Uuid>,
    /// Whether holes are to be expected.
    pub(crate) compacted: bool,
    /// At which size a segment is closed, in bytes of batches.
    pub(crate) rollover_bytes: u64,
}

/// One partition of it.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) topic: Arc<Topic>,
    /// The plugins whose selectors match, if any, as they were loaded when the partition was opened.
    pub(crate) chain: Option<Chain>,
    pub(crate) index: i32,
    /// Where it lies in the archive.
    pub(crate) key: PartitionKey,
    state: Mutex<State>,
}

/// What changes while the backup runs. Locked by whoever handles an answer, flushes or seals; never across an await.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) writer: PartitionWriter,
    /// What the open segment holds in memory.
    charge: Charge,
    pub(crate) phase: Phase,
    /// Where `--once` stops (exclusive); `None` in a continuous backup.
    pub(crate) stop_at: Option<i64>,
    /// The last high watermark heard of.
    pub(crate) high_watermark: i64,
    /// The highest log start heard of: what lies before it is gone at the source. −1 while nobody said.
    pub(crate) log_start: i64,
    /// Whether a hole that nobody explained was already remarked upon.
    pub(crate) warned_of_holes: bool,
    /// Whether an older writer of the same backup still commits. What comes next is committed at once, for the older one gives
    /// way only when it finds a commit of this one where it wants to make its own.
    pub(crate) is_contested: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Streaming,
    /// `--once` has all it came for.
    Done,
    /// Something went wrong. Nothing is taken in or sealed, for it would not follow what there is, until the control loop
    /// has decided whether the partition is opened again or given up.
    Stopped,
    /// Given up, with a remark.
    Failed,
}

/// Buffers of one worker, reused from answer to answer.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    intake: Intake,
    decode: DecodeBuffer,
    encoded: Vec<u8>,
}

/// A segment to commit, with what it holds in memory until then.
pub(crate) type Sealed = (SealedSegment, Charge);

impl Partition {
    pub(crate) fn new(
        topic: Arc<Topic>,
        chain: Option<Chain>,
        key: PartitionKey,
        writer: PartitionWriter,
        budget: &Arc<Budget>,
    ) -> Partition {
        let mut charge = budget.charge();
        // Not nothing where an open segment was recovered.
        charge.set(writer.buffered_bytes());
        let state = State {
            writer,
            charge,
            phase: Phase::Streaming,
            stop_at: None,
            high_watermark: -1,
            log_start: -1,
            warned_of_holes: false,
            is_contested: false,
        };
        Partition {
            topic,
            chain,
            index: key.partition,
            key,
            state: Mutex::new(state),
        }
    }

    /// The same partition with another writer, after the one before was abandoned.
    pub(crate) fn opened_again(
        &self,
        chain: Option<Chain>,
        writer: PartitionWriter,
        budget: &Arc<Budget>,
    ) -> Partition {
        let (topic, key) = (Arc::clone(&self.topic), self.key.clone());
        let again = Partition::new(topic, chain, key, writer, budget);
        let before = self.state();
        let mut state = again.state();
        state.stop_at = before.stop_at;
        state.high_watermark = before.high_watermark;
        state.log_start = before.log_start;
        state.warned_of_holes = before.warned_of_holes;
        drop((before, state));
        again
    }

    /// The state. A panic elsewhere while it was held leaves it readable: what is durable is in the archive, not here.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `topic-3`, as Kafka's tools write it.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.topic.name, self.index)
    }

    /// Takes in one answer without an error. Blocks on the file system and on plugins.
    pub(crate) fn take(
        self: &Arc<Self>,
        fetch: &PartitionFetch,
        workspace: &mut Workspace,
        shared: &Shared,
    ) {
        let mut state = self.state();
        if state.phase != Phase::Streaming {
            return;
        }
        // Until all of it is in nothing may follow, be it that an error or a panic ends this: the fetcher has gone on, and what it
        // skipped would pass for a hole at the source.
        state.phase = Phase::Stopped;
        state.high_watermark = fetch.high_watermark;
        state.log_start = state.log_start.max(fetch.log_start_offset);
        let appended = self.append(&mut state, fetch, workspace, shared);
        let reached_end = state
            .stop_at
            .is_some_and(|stop| state.writer.next_offset() >= stop);
        let taken = appended.and_then(|unexplained| {
            if reached_end || (state.is_contested && state.writer.has_uncommitted()) {
                state.is_contested = false;
                self.send_sealed(&mut state.writer, shared)?;
            }
            Ok(unexplained)
        });
        state.count_memory();
        let unexplained = match taken {
            Ok(unexplained) => unexplained,
            Err(error) => return shared.tell(Event::Failed(Arc::clone(self), error)),
        };
        if let Some((from, until)) = workspace.intake.trimmed
            && from > 0
        {
            shared.tell(Event::Trimmed(Arc::clone(self), from, until));
        }
        if unexplained > 0
            && !self.topic.compacted
            && !std::mem::replace(&mut state.warned_of_holes, true)
        {
            shared.tell(Event::Holes(Arc::clone(self), unexplained));
        }
        state.phase = if reached_end {
            shared.tell(Event::ReachedEnd(Arc::clone(self)));
            Phase::Done
        } else {
            Phase::Streaming
        };
    }

    fn append(
        self: &Arc<Self>,
        state: &mut State,
        fetch: &PartitionFetch,
        workspace: &mut Workspace,
        shared: &Shared,
    ) -> Result<u64, EngineError> {
        let log_start = state.log_start;
        let writer = &mut state.writer;
        let Workspace {
            intake,
            decode,
            encoded,
        } = workspace;
        let position = writer.next_offset();
        if fetch.fetch_offset > position.max(log_start) {
            return Err(ArchiveError::NotContiguous {
                partition: self.key.clone(),
                expected: position,
                found: fetch.fetch_offset,
            }
            .into());
        }
        intake
            .read(&fetch.records, &fetch.aborted, log_start, position, decode)
            .map_err(|damaged| self.damaged(damaged.offset, damaged.source))?;
        for step in &intake.steps {
            match step {
                Step::Gap {
                    until,
                    cause,
                    leader_epoch,
                } => writer.gap(*until, *cause, *leader_epoch)?,
                Step::Keep { bytes, headers } => {
                    let headers = &intake.headers[headers.clone()];
                    let bytes = &fetch.records[bytes.clone()];
                    match &self.chain {
                        None => self.append_run(writer, shared, bytes, headers)?,
                        Some(chain) => self.append_transformed(
                            writer,
                            shared,
                            bytes,
                            headers,
                            i64::MIN,
                            Some(chain),
                            decode,
                            encoded,
                        )?,
                    }
                    shared.counters.took(headers, bytes.len());
                }
                Step::KeepFrom { bytes, header } => {
                    let from = writer.next_offset();
                    let headers = &intake.headers[*header..=*header];
                    let bytes = &fetch.records[bytes.clone()];
                    self.append_transformed(
                        writer,
                        shared,
                        bytes,
                        headers,
                        from,
                        self.chain.as_ref(),
                        decode,
                        encoded,
                    )?;
                    shared.counters.took(headers, bytes.len());
                }
            }
        }
        // Everything was removed by retention, and nothing that can be read follows yet: the gap is known without a batch.
        let readable_end = match fetch.last_stable_offset {
            -1 => fetch.high_watermark,
            last_stable => last_stable,
        };
        if fetch.records.is_empty()
            && fetch.log_start_offset > writer.next_offset()
            && fetch.log_start_offset >= readable_end
        {
            writer.gap(fetch.log_start_offset, GapCause::BeforeLogStart, None)?;
        }
        Ok(intake.unexplained)
    }

    /// Appends a run of batches, closing a segment wherever it reaches its size.
    fn append_run(
        self: &Arc<Self>,
        writer: &mut PartitionWriter,
        shared: &Shared,
        mut bytes: &[u8],
        mut headers: &[BatchHeader],
    ) -> Result<(), EngineError> {
        while !headers.is_empty() {
            let room = self
                .topic
                .rollover_bytes
                .saturating_sub(writer.open_bytes());
            let (mut count, mut size) = (0, 0);
            while count < headers.len() && (count == 0 || (size as u64) < room) {
                size += headers[count].size();
                count += 1;
            }
            writer.append(&bytes[..size], &headers[..count])?;
            bytes = &bytes[size..];
            headers = &headers[count..];
            if writer.is_full() {
                self.send_sealed(writer, shared)?;
            }
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one workspace, borrowed separately"
    )]
    fn append_transformed(
        self: &Arc<Self>,
        writer: &mut PartitionWriter,
        shared: &Shared,
        bytes: &[u8],
        headers: &[BatchHeader],
        from: i64,
        chain: Option<&Chain>,
        decode: &mut DecodeBuffer,
        encoded: &mut Vec<u8>,
    ) -> Result<(), EngineError> {
        let mut lease = match chain {
            Some(chain) => Some(chain.lease().map_err(|source| self.plugin_error(source))?),
            None => None,
        };
        let mut rest = bytes;
        for header in headers {
            let (batch_bytes, tail) = rest.split_at(header.size());
            rest = tail;
            let batch = Batch::parse(batch_bytes)
                .map_err(|source| self.damaged(header.base_offset, source))?;
            let (transformed, left_out) =
                transform_batch(&batch, self.index, from, lease.as_mut(), decode, encoded)
                    .map_err(|error| match error {
                        TransformError::Batch(source) => self.damaged(header.base_offset, source),
                        TransformError::Plugin(source) => self.plugin_error(source),
                    })?;
            shared.counters.left_out(&left_out);
            writer.dead_letters(left_out.dead_letters)?;
            match transformed {
                Transformed::Unchanged => {
                    writer.append(batch_bytes, std::slice::from_ref(header))?
                }
                Transformed::Encoded(header) => {
                    writer.append(encoded, std::slice::from_ref(&header))?
                }
                Transformed::Nothing(gaps) => {
                    let epoch = Some(header.partition_leader_epoch);
                    for (until, cause) in gaps {
                        writer.gap(until, cause, epoch)?;
                    }
                }
            }
            if writer.is_full() {
                self.send_sealed(writer, shared)?;
            }
        }
        Ok(())
    }

    /// Takes what is open out of the writer, to be committed.
    pub(crate) fn seal(self: &Arc<Self>, shared: &Shared) {
        self.with_writer(shared, |writer| self.send_sealed(writer, shared));
    }

    /// Makes durable what is open, where the storage can.
    pub(crate) fn flush(self: &Arc<Self>, shared: &Shared) {
        self.with_writer(shared, |writer| Ok(writer.flush()?));
    }

    /// Uses the writer of a partition that is sound. After an error it no longer is.
    fn with_writer(
        self: &Arc<Self>,
        shared: &Shared,
        work: impl FnOnce(&mut PartitionWriter) -> Result<(), EngineError>,
    ) {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Streaming | Phase::Done) {
            return;
        }
        let worked = work(&mut state.writer);
        state.count_memory();
        if let Err(error) = worked {
            state.phase = Phase::Stopped;
            shared.tell(Event::Failed(Arc::clone(self), error));
        }
    }

    /// Stops for good. What was taken in before the failure is sound and still committed, unless it is the writer that failed.
    /// Returns what the partition was before.
    pub(crate) fn give_up(self: &Arc<Self>, shared: &Shared) -> Phase {
        self.leave(Phase::Failed, shared)
    }

    /// Stops until it is opened again, like [`give_up`](Self::give_up) for now.
    pub(crate) fn pause(self: &Arc<Self>, shared: &Shared) {
        self.leave(Phase::Stopped, shared);
    }

    fn leave(self: &Arc<Self>, phase: Phase, shared: &Shared) -> Phase {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.phase, phase);
        if before != Phase::Failed
            && let Err(error) = self.send_sealed(&mut state.writer, shared)
        {
            tracing::debug!(partition = self.name(), %error, "the rest is not committed");
        }
        state.abandon();
        before
    }

    /// Stops with what is open dropped: it is fetched again, or found again on a folder, when the partition is opened again.
    pub(crate) fn suspend(&self) {
        let mut state = self.state();
        state.phase = Phase::Stopped;
        state.abandon();
    }

    /// Seals, and queues the segment for its commit. The queue is filled under the state's lock, so that it has the order of the
    /// chain: a commit waits for the one before, which must not stand behind it.
    fn send_sealed(
        self: &Arc<Self>,
        writer: &mut PartitionWriter,
        shared: &Shared,
    ) -> Result<(), EngineError> {
        let Some(segment) = writer.seal()? else {
            return Ok(());
        };
        let mut charge = shared.budget.charge();
        charge.set(segment.buffered_bytes());
        shared.tell(Event::Sealed(Arc::clone(self), (segment, charge)));
        Ok(())
    }

    fn damaged(&self, offset: i64, source: armory_records::BatchError) -> EngineError {
        EngineError::Damaged {
            topic: self.topic.name.to_string(),
            partition: self.index,
            offset,
            place: "broker",
            source,
        }
    }

    fn plugin_error(&self, source: armory_plugins::PluginError) -> EngineError {
        EngineError::Plugin {
            topic: self.topic.name.to_string(),
            source,
        }
    }
}

impl State {
    /// To be called whenever the writer was used.
    fn count_memory(&mut self) {
        let bytes = self.writer.buffered_bytes();
        self.charge.set(bytes);
    }

    fn abandon(&mut self) {
        self.writer.abandon();
        self.count_memory();
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
pub(crate) mod tests;
