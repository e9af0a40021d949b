//! One partition of a backup: its place in the archive, and how answers of its leader get there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use armory_archive::{GapCause, PartitionKey, PartitionWriter, SealedSegment};
use armory_kafka::PartitionFetch;
use armory_plugins::Chain;
use armory_records::{Batch, BatchHeader, DecodeBuffer};
use uuid::Uuid;

use super::counters::Counters;
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
    /// The plugins whose selectors match, if any.
    pub(crate) chain: Option<Chain>,
    /// Whether holes are to be expected.
    pub(crate) compacted: bool,
    /// At which size a segment is closed, in bytes of batches.
    pub(crate) rollover_bytes: u64,
}

/// One partition of it.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) topic: Arc<Topic>,
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
    /// Whether a hole that nobody explained was already remarked upon.
    pub(crate) warned_of_holes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Streaming,
    /// `--once` has all it came for.
    Done,
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

/// What handling an answer needs besides the answer.
struct Taking<'a> {
    sealed: &'a mut Vec<Sealed>,
    budget: &'a Arc<Budget>,
    counters: &'a Counters,
}

/// What handling an answer asks of the caller.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Segments to commit, in order.
    pub(crate) sealed: Vec<Sealed>,
    /// `--once` has reached its end here.
    pub(crate) reached_end: bool,
    /// Offsets that were missing without an explanation, the first time this happens.
    pub(crate) holes: Option<u64>,
    /// Offsets `[from, until)` that retention removed before they could be archived.
    pub(crate) trimmed: Option<(i64, i64)>,
}

impl Partition {
    pub(crate) fn new(
        topic: Arc<Topic>,
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
            warned_of_holes: false,
        };
        Partition {
            topic,
            index: key.partition,
            key,
            state: Mutex::new(state),
        }
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
        &self,
        fetch: &PartitionFetch,
        workspace: &mut Workspace,
        counters: &Counters,
        budget: &Arc<Budget>,
    ) -> Result<Taken, EngineError> {
        let mut state = self.state();
        if state.phase != Phase::Streaming {
            return Ok(Taken::default());
        }
        state.high_watermark = fetch.high_watermark;
        let mut sealed = Vec::new();
        let mut taking = Taking {
            sealed: &mut sealed,
            budget,
            counters,
        };
        let result = self.append(&mut state.writer, &mut taking, fetch, workspace);
        state.count_memory();
        let holes = result?;

        let reached_end = state
            .stop_at
            .is_some_and(|stop| state.writer.next_offset() >= stop);
        if reached_end {
            state.phase = Phase::Done;
            sealed.extend(seal(&mut state.writer, budget)?);
            state.count_memory();
        }
        let holes = (holes > 0
            && !self.topic.compacted
            && !std::mem::replace(&mut state.warned_of_holes, true))
        .then_some(holes);
        Ok(Taken {
            sealed,
            reached_end,
            holes,
            trimmed: workspace.intake.trimmed.filter(|(from, _)| *from > 0),
        })
    }

    fn append(
        &self,
        writer: &mut PartitionWriter,
        taking: &mut Taking<'_>,
        fetch: &PartitionFetch,
        workspace: &mut Workspace,
    ) -> Result<u64, EngineError> {
        let Workspace {
            intake,
            decode,
            encoded,
        } = workspace;
        let position = writer.next_offset();
        intake
            .read(
                &fetch.records,
                &fetch.aborted,
                fetch.log_start_offset,
                position,
                decode,
            )
            .map_err(|damaged| self.damaged(damaged.offset, damaged.source))?;
        for step in &intake.steps {
            match step {
                Step::Gap { until, cause } => writer.gap(*until, *cause)?,
                Step::Keep { bytes, headers } => {
                    let headers = &intake.headers[headers.clone()];
                    let bytes = &fetch.records[bytes.clone()];
                    match &self.topic.chain {
                        None => self.append_run(writer, taking, bytes, headers)?,
                        Some(chain) => self.append_transformed(
                            writer,
                            taking,
                            bytes,
                            headers,
                            i64::MIN,
                            Some(chain),
                            decode,
                            encoded,
                        )?,
                    }
                    taking.counters.took(headers, bytes.len());
                }
                Step::KeepFrom { bytes, header } => {
                    let from = writer.next_offset();
                    let headers = &intake.headers[*header..=*header];
                    let bytes = &fetch.records[bytes.clone()];
                    self.append_transformed(
                        writer,
                        taking,
                        bytes,
                        headers,
                        from,
                        self.topic.chain.as_ref(),
                        decode,
                        encoded,
                    )?;
                    taking.counters.took(headers, bytes.len());
                }
            }
        }
        // Everything was removed by retention, and nothing follows yet: the gap is known without a batch.
        if fetch.records.is_empty()
            && fetch.log_start_offset > writer.next_offset()
            && fetch.log_start_offset == fetch.high_watermark
        {
            writer.gap(fetch.log_start_offset, GapCause::BeforeLogStart)?;
        }
        Ok(intake.unexplained)
    }

    /// Appends a run of batches, closing a segment wherever it reaches its size.
    fn append_run(
        &self,
        writer: &mut PartitionWriter,
        taking: &mut Taking<'_>,
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
                taking.sealed.extend(seal(writer, taking.budget)?);
            }
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one workspace, borrowed separately"
    )]
    fn append_transformed(
        &self,
        writer: &mut PartitionWriter,
        taking: &mut Taking<'_>,
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
            let (transformed, filtered) =
                transform_batch(&batch, self.index, from, lease.as_mut(), decode, encoded)
                    .map_err(|error| match error {
                        TransformError::Batch(source) => self.damaged(header.base_offset, source),
                        TransformError::Plugin(source) => self.plugin_error(source),
                    })?;
            taking.counters.filtered(filtered);
            match transformed {
                Transformed::Unchanged => {
                    writer.append(batch_bytes, std::slice::from_ref(header))?
                }
                Transformed::Encoded(header) => {
                    writer.append(encoded, std::slice::from_ref(&header))?
                }
                Transformed::Nothing => writer.gap(header.next_offset(), GapCause::Filtered)?,
            }
            if writer.is_full() {
                taking.sealed.extend(seal(writer, taking.budget)?);
            }
        }
        Ok(())
    }

    /// Takes what is open out of the writer, to be committed.
    pub(crate) fn seal(&self, budget: &Arc<Budget>) -> Result<Option<Sealed>, EngineError> {
        let mut state = self.state();
        let sealed = seal(&mut state.writer, budget)?;
        state.count_memory();
        Ok(sealed)
    }

    /// Makes durable what is open, where the storage can.
    pub(crate) fn flush(&self) -> Result<(), EngineError> {
        let mut state = self.state();
        let flushed = state.writer.flush();
        state.count_memory();
        Ok(flushed?)
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
}

fn seal(writer: &mut PartitionWriter, budget: &Arc<Budget>) -> Result<Option<Sealed>, EngineError> {
    let Some(segment) = writer.seal()? else {
        return Ok(None);
    };
    let mut charge = budget.charge();
    charge.set(segment.buffered_bytes());
    Ok(Some((segment, charge)))
}
