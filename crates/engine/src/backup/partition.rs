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
use crate::budget::Budget;

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

/// What handling an answer asks of the caller.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Segments to commit, in order, each with the bytes it holds in memory.
    pub(crate) sealed: Vec<(SealedSegment, usize)>,
    /// `--once` has reached its end here.
    pub(crate) reached_end: bool,
    /// Offsets that were missing without an explanation, the first time this happens.
    pub(crate) holes: Option<u64>,
    /// Offsets `[from, until)` that retention removed before they could be archived.
    pub(crate) trimmed: Option<(i64, i64)>,
}

impl Partition {
    pub(crate) fn new(topic: Arc<Topic>, key: PartitionKey, writer: PartitionWriter) -> Partition {
        let state = State {
            writer,
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
        budget: &Budget,
    ) -> Result<Taken, EngineError> {
        let mut state = self.state();
        if state.phase != Phase::Streaming {
            return Ok(Taken::default());
        }
        state.high_watermark = fetch.high_watermark;
        let before = state.writer.buffered_bytes();
        let mut sealed = Vec::new();
        let result = self.append(&mut state.writer, &mut sealed, fetch, workspace, counters);
        let now: usize = sealed.iter().map(|(_, buffered)| buffered).sum();
        budget.add_buffered((now + state.writer.buffered_bytes()).saturating_sub(before));
        let holes = result?;

        let reached_end = state
            .stop_at
            .is_some_and(|stop| state.writer.next_offset() >= stop);
        if reached_end {
            state.phase = Phase::Done;
            seal_into(&mut state.writer, &mut sealed)?;
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
        sealed: &mut Vec<(SealedSegment, usize)>,
        fetch: &PartitionFetch,
        workspace: &mut Workspace,
        counters: &Counters,
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
                        None => self.append_run(writer, sealed, bytes, headers)?,
                        Some(chain) => self.append_transformed(
                            writer,
                            sealed,
                            bytes,
                            headers,
                            i64::MIN,
                            Some(chain),
                            decode,
                            encoded,
                            counters,
                        )?,
                    }
                    counters.took(headers, bytes.len());
                }
                Step::KeepFrom { bytes, header } => {
                    let from = writer.next_offset();
                    let headers = &intake.headers[*header..=*header];
                    let bytes = &fetch.records[bytes.clone()];
                    self.append_transformed(
                        writer,
                        sealed,
                        bytes,
                        headers,
                        from,
                        self.topic.chain.as_ref(),
                        decode,
                        encoded,
                        counters,
                    )?;
                    counters.took(headers, bytes.len());
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
        sealed: &mut Vec<(SealedSegment, usize)>,
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
                seal_into(writer, sealed)?;
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
        sealed: &mut Vec<(SealedSegment, usize)>,
        bytes: &[u8],
        headers: &[BatchHeader],
        from: i64,
        chain: Option<&Chain>,
        decode: &mut DecodeBuffer,
        encoded: &mut Vec<u8>,
        counters: &Counters,
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
            counters.filtered(filtered);
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
                seal_into(writer, sealed)?;
            }
        }
        Ok(())
    }

    /// Takes what is open out of the writer, to be committed. Returns it with the bytes it holds in memory.
    pub(crate) fn seal(&self) -> Result<Option<(SealedSegment, usize)>, EngineError> {
        let mut state = self.state();
        let buffered = state.writer.buffered_bytes();
        Ok(state.writer.seal()?.map(|sealed| (sealed, buffered)))
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

/// Takes what is open out of the writer, with the bytes it holds in memory.
fn seal_into(
    writer: &mut PartitionWriter,
    sealed: &mut Vec<(SealedSegment, usize)>,
) -> Result<(), EngineError> {
    let buffered = writer.buffered_bytes();
    sealed.extend(writer.seal()?.map(|segment| (segment, buffered)));
    Ok(())
}
