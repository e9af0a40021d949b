//! One partition of a target: what was sent to it, and what its log says has landed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use armory_kafka::{Client, EpochQuery, ErrorCode, OffsetSpec};
use armory_records::{BatchHeader, Batches};
use armory_troubles::{Cause, Retrying, Troubles};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::encode::EncodeError;
use super::feed::{Fed, Feed, Prepared, Producer, sequence};
use crate::EngineError;

/// How long a partition may go without progress before it is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// For how long that is before it is remarked upon.
const REMARK: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: Option<Uuid>,
    pub(crate) partition: i32,
    pub(crate) producer: Producer,
    /// The offset of its first record.
    pub(crate) start: i64,
    max_batch_bytes: usize,
    /// Which of the restore's targets it belongs to.
    pub(crate) group: usize,
    /// Records in the log, as far as they came from the feed.
    pub(crate) landed: u64,
    /// Records that the log held when it was last read: more than `landed` where an earlier run's last requests came late.
    in_log: u64,
    /// Records from the feed that were found in the log, and that nobody was told of yet.
    pub(crate) found: u64,
    pub(crate) feed: Feed,
    /// Whether the feed has come to its end.
    pub(crate) ended: bool,
    /// Batches to send, in order.
    pub(crate) staged: VecDeque<Prepared>,
    /// Batches that were sent and whose answer is awaited, in order.
    pub(crate) sent: VecDeque<Prepared>,
    /// Requests under way that hold a batch of it.
    pub(crate) flying: usize,
    /// Whether the next batch flies alone: a broker without memory of the producer would take a later one first.
    pub(crate) alone: bool,
    /// Why its log has to be read before anything else is sent.
    pub(crate) doubt: Option<String>,
    /// Why it cannot go on; it leaves the lane when nothing of it flies any more.
    pub(crate) failure: Option<EngineError>,
    /// Since when nothing has landed although it was tried.
    failing_since: Option<Instant>,
    /// Whether that was remarked upon.
    is_remarked: bool,
    /// What those see who watch, for as long as it fails.
    trouble: Option<Retrying>,
    troubles: Troubles,
}

/// What a partition of a target is.
#[derive(Debug, Clone)]
pub(crate) struct TargetId {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: Option<Uuid>,
    pub(crate) partition: i32,
    pub(crate) producer: Producer,
    pub(crate) start: i64,
    /// The target's `max.message.bytes`.
    pub(crate) max_batch_bytes: usize,
}

impl Target {
    pub(crate) fn new(
        id: TargetId,
        group: usize,
        landed: u64,
        feed: Feed,
        troubles: &Troubles,
    ) -> Target {
        let TargetId {
            topic,
            topic_id,
            partition,
            producer,
            start,
            max_batch_bytes,
        } = id;
        Target {
            topic,
            topic_id,
            partition,
            producer,
            start,
            max_batch_bytes,
            group,
            landed,
            in_log: landed,
            found: 0,
            feed,
            ended: false,
            staged: VecDeque::new(),
            sent: VecDeque::new(),
            flying: 0,
            alone: true,
            doubt: None,
            failure: None,
            failing_since: None,
            is_remarked: false,
            trouble: None,
            troubles: troubles.clone(),
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }

    /// Whether everything has landed.
    pub(crate) fn is_done(&self) -> bool {
        self.ended
            && self.doubt.is_none()
            && self.staged.is_empty()
            && self.sent.is_empty()
            && self.flying == 0
    }

    /// Whether it has no more business on its lane.
    pub(crate) fn can_leave(&self) -> bool {
        self.is_done() || (self.failure.is_some() && self.flying == 0)
    }

    pub(crate) fn may_send(&self) -> bool {
        self.doubt.is_none() && !self.staged.is_empty() && !(self.alone && self.flying > 0)
    }

    /// Its log says, or a broker acknowledged, that the oldest batch sent is at `offset`.
    pub(crate) fn on_acknowledged(&mut self, offset: i64) -> Result<u64, EngineError> {
        let batch = self
            .sent
            .pop_front()
            .expect("an acknowledgement follows a batch");
        let expected = self.offset_of(batch.first);
        if offset != expected {
            return Err(self.foreign(format!("a batch was appended at offset {offset} where {expected} was expected, so somebody else writes to it")));
        }
        self.alone = false;
        self.nothing_fails();
        self.is_remarked = false;
        self.landed = batch.next();
        Ok(batch.count)
    }

    fn offset_of(&self, ordinal: u64) -> i64 {
        self.start + i64::try_from(ordinal).unwrap_or(i64::MAX)
    }

    /// An answer was lost, or refused in a way that leaves open what landed.
    pub(crate) fn on_doubt(&mut self, why: String) -> Result<(), EngineError> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() > PATIENCE {
            return Err(EngineError::Stuck {
                topic: self.topic.to_string(),
                partition: self.partition,
                seconds: PATIENCE.as_secs(),
                why,
            });
        }
        let text = format!("nothing lands in {}: {why}", self.name());
        match &self.trouble {
            Some(trouble) => trouble.again(&text),
            None => self.trouble = Some(self.troubles.retrying(Cause::Kafka, &text)),
        }
        self.doubt = Some(why);
        Ok(())
    }

    fn nothing_fails(&mut self) {
        self.failing_since = None;
        self.trouble = None;
    }

    /// A sentence for a target that has taken nothing for a while; once, until it takes something again.
    pub(crate) fn overdue_remark(&mut self) -> Option<String> {
        let why = self.doubt.as_ref()?;
        let since = self.failing_since?.elapsed();
        if since < REMARK || std::mem::replace(&mut self.is_remarked, true) {
            return None;
        }
        Some(format!(
            "{}: nothing has landed for {} s ({why}); it is tried until {} s have passed",
            self.name(),
            since.as_secs(),
            PATIENCE.as_secs()
        ))
    }

    /// Ends a doubt: reads the log, takes off what landed, and queues the rest again. Call it when nothing is flying.
    pub(crate) async fn resolve(&mut self, client: &Client) -> Result<(), ResolveError> {
        debug_assert_eq!(self.flying, 0);
        let in_log = landed(client, &self.id()).await?;
        if in_log < self.landed {
            return Err(self
                .foreign(format!("{} records were acknowledged and only {in_log} are still there: the cluster lost acknowledged records", self.landed))
                .into());
        }
        while let Some(batch) = self.sent.pop_back() {
            self.staged.push_front(batch);
        }
        if in_log > self.landed {
            self.nothing_fails();
        }
        self.in_log = in_log;
        self.take_off_landed()?;
        if self.staged.is_empty() {
            // Nothing was tried: it waits for its turn to be read.
            self.nothing_fails();
        }
        self.doubt = None;
        self.alone = true;
        Ok(())
    }

    /// Takes from the feed what is there, one chunk at a time.
    pub(crate) fn take_in(&mut self) {
        while self.staged.is_empty() && !self.ended && self.failure.is_none() {
            match self.feed.try_recv() {
                Ok(fed) => self.stage(Some(fed)),
                Err(mpsc::error::TryRecvError::Empty) => return,
                Err(mpsc::error::TryRecvError::Disconnected) => self.stage(None),
            }
        }
    }

    /// Waits for the feed if there is nothing to send; ready when that changed.
    pub(crate) fn poll_feed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.staged.is_empty() || self.ended || self.failure.is_some() {
            return Poll::Pending;
        }
        self.feed.poll_recv(context).map(|fed| self.stage(fed))
    }

    fn stage(&mut self, fed: Option<Result<Fed, EngineError>>) {
        let staged = match fed {
            Some(Ok(Fed::Batches(batches))) => {
                self.staged.extend(batches);
                self.take_off_landed()
            }
            Some(Ok(Fed::End(records))) => {
                self.ended = true;
                self.check_end(records)
            }
            Some(Err(error)) => Err(error),
            None => Err(EngineError::Task(format!(
                "what reads the archive for {} broke off",
                self.name()
            ))),
        };
        if let Err(error) = staged {
            self.failure = Some(error);
        }
    }

    /// The feed has given `records` in all, those that had landed before included.
    fn check_end(&self, records: u64) -> Result<(), EngineError> {
        let next = self.sent.back().map_or(self.landed, Prepared::next);
        let held = next.max(self.in_log);
        if held == records {
            return Ok(());
        }
        Err(self.foreign(format!(
            "its log holds {held} records under this restore's producer id, and there are {records}"
        )))
    }

    /// Takes off the staged batches what the log holds already.
    fn take_off_landed(&mut self) -> Result<(), EngineError> {
        while let Some(batch) = self.staged.front()
            && batch.first < self.in_log
        {
            let batch = self.staged.pop_front().expect("it was looked at");
            let landed = self.in_log.min(batch.next());
            self.found += landed - batch.first;
            self.landed = landed;
            if landed < batch.next() {
                let rest = batch
                    .without_landed(landed, self.producer, self.max_batch_bytes)
                    .map_err(|error| self.encode_error(&batch, error))?;
                for part in rest.into_iter().rev() {
                    self.staged.push_front(part);
                }
            }
        }
        Ok(())
    }

    fn encode_error(&self, batch: &Prepared, error: EncodeError) -> EngineError {
        let (topic, partition, offset) = (self.topic.to_string(), self.partition, batch.source);
        match error {
            EncodeError::Batch(source) => EngineError::Damaged {
                topic,
                partition,
                offset,
                place: "archive",
                source,
            },
            EncodeError::TooLarge { bytes, .. } => EngineError::TooLarge {
                topic,
                partition,
                offset,
                bytes,
            },
        }
    }

    fn id(&self) -> TargetId {
        TargetId {
            topic: Arc::clone(&self.topic),
            topic_id: self.topic_id,
            partition: self.partition,
            producer: self.producer,
            start: self.start,
            max_batch_bytes: self.max_batch_bytes,
        }
    }

    fn foreign(&self, what: String) -> EngineError {
        EngineError::ForeignTarget {
            topic: self.topic.to_string(),
            partition: self.partition,
            what,
        }
    }
}

/// Why a log could not be read, or does not hold what it should.
#[derive(Debug)]
pub(crate) enum ResolveError {
    /// Ask again, perhaps another broker.
    Again(String),
    Final(EngineError),
}

impl From<EngineError> for ResolveError {
    fn from(error: EngineError) -> ResolveError {
        ResolveError::Final(error)
    }
}

impl From<armory_kafka::Error> for ResolveError {
    fn from(error: armory_kafka::Error) -> ResolveError {
        let error = EngineError::from(error);
        // Credentials that are changed while a restore runs pass; its patience is the same as with a broker that is away.
        if error.is_transient() || error.is_lockout() {
            ResolveError::Again(crate::error::sentence(&error))
        } else {
            ResolveError::Final(error)
        }
    }
}

/// How many records of this restore a target partition's log holds.
///
/// The log itself is the truth: its end, and the producer id, epoch and last sequence in the header of its last batch. A
/// broker's memory of producers only confirms it, because it is aged by the timestamps of the records; but where it remembers
/// more than the log shows, records wait for their replicas, and the question is asked again.
pub(crate) async fn landed(client: &Client, id: &TargetId) -> Result<u64, ResolveError> {
    let foreign = |what: String| EngineError::ForeignTarget {
        topic: id.topic.to_string(),
        partition: id.partition,
        what,
    };
    let name = (id.topic.to_string(), id.partition);
    let ends = client
        .list_offsets(std::slice::from_ref(&name), OffsetSpec::Latest)
        .await?;
    let end = match ends.get(&name) {
        Some(Ok(end)) => *end,
        Some(Err(code)) => {
            return Err(ResolveError::Again(format!(
                "ListOffsets of {}-{}: {code}",
                id.topic, id.partition
            )));
        }
        None => {
            return Err(ResolveError::Again(format!(
                "no leader answers for {}-{}",
                id.topic, id.partition
            )));
        }
    };
    let Ok(landed) = u64::try_from(end.offset - id.start) else {
        return Err(foreign(format!(
            "its log ends at offset {}, before {}, where this restore began",
            end.offset, id.start
        ))
        .into());
    };
    if let Some(epoch) = end.leader_epoch {
        // The high watermark is not the log's end: behind it may wait what is not replicated yet.
        let query = EpochQuery {
            topic: id.topic.to_string(),
            partition: id.partition,
            current_leader_epoch: -1,
            leader_epoch: epoch,
        };
        let ends = client.offset_for_leader_epoch(&[query]).await?;
        match ends.get(&name) {
            Some(Ok(log_end)) if log_end.end_offset <= end.offset => {}
            _ => {
                return Err(ResolveError::Again(format!(
                    "{}-{} waits for its replicas",
                    id.topic, id.partition
                )));
            }
        }
    }
    let end = end.offset;
    if landed > 0
        && let Some(last) = last_batch(client, id, end).await?
    {
        let last_sequence = sequence(
            u64::try_from(i64::from(last.base_sequence) + i64::from(last.last_offset_delta))
                .unwrap_or(0),
        );
        if (last.producer_id, last.producer_epoch) != (id.producer.id, id.producer.epoch) {
            return Err(foreign(format!(
                "its last batch (offset {}) was written by producer id {}, not by this restore's {}; somebody else writes to it",
                last.base_offset, last.producer_id, id.producer.id
            ))
            .into());
        }
        if last_sequence != sequence(landed - 1) {
            return Err(foreign(format!(
                "its log grew by {landed} records and its last one has sequence {last_sequence} where {} was expected; somebody else writes to it",
                sequence(landed - 1)
            ))
            .into());
        }
    }
    let remembered = match client.describe_producers(&id.topic, id.partition).await {
        // Kafka before 2.8.
        Err(error) if error.code() == Some(ErrorCode::UNSUPPORTED_VERSION) => Vec::new(),
        remembered => remembered?,
    };
    if let Some(state) = remembered
        .iter()
        .find(|state| state.producer_id == id.producer.id)
        && state.last_sequence >= 0
        && (landed == 0 || state.last_sequence != sequence(landed - 1))
    {
        return Err(ResolveError::Again(format!(
            "{}-{} waits for its replicas",
            id.topic, id.partition
        )));
    }
    Ok(landed)
}

/// The header of the last batch of a log that ends at `end` (exclusive). Nothing if retention has taken it: then only the end
/// itself and the broker's memory tell what landed.
async fn last_batch(
    client: &Client,
    id: &TargetId,
    end: i64,
) -> Result<Option<BatchHeader>, ResolveError> {
    let unread = || {
        ResolveError::Again(format!(
            "the last batch of {}-{} could not be read",
            id.topic, id.partition
        ))
    };
    let fetched = client
        .fetch_at(&id.topic, id.topic_id, id.partition, end - 1, 1024 * 1024)
        .await;
    let fetched = match fetched {
        Err(error) if error.code() == Some(ErrorCode::OFFSET_OUT_OF_RANGE) => {
            let name = (id.topic.to_string(), id.partition);
            let starts = client
                .list_offsets(std::slice::from_ref(&name), OffsetSpec::Earliest)
                .await?;
            return match starts.get(&name) {
                Some(Ok(start)) if start.offset >= end => Ok(None),
                _ => Err(unread()),
            };
        }
        fetched => fetched?,
    };
    Batches::new(&fetched.records)
        .filter_map(Result::ok)
        .map(|batch| *batch.header())
        .find(|header| header.last_offset() == end - 1)
        .map(Some)
        .ok_or_else(unread)
}

#[cfg(test)]
mod tests {
    use armory_records::{BatchBuilder, BatchOptions};
    use bytes::Bytes;
    use tokio::sync::Semaphore;

    use super::super::prepare::{Making, Preparer};
    use super::*;

    const PRODUCER: Producer = Producer { id: 7, epoch: 0 };

    /// A target whose log holds `in_log` records, and whose feed has two batches of ten and then ends.
    fn target(in_log: u64) -> Target {
        let mut bytes = Vec::new();
        for base_offset in [0, 10] {
            let mut builder = BatchBuilder::new(BatchOptions {
                base_offset,
                ..BatchOptions::default()
            });
            for offset in base_offset..base_offset + 10 {
                builder.append(offset, 1000, None, Some(b"value"), std::iter::empty());
            }
            builder.finish(&mut bytes).expect("a small batch");
        }
        let permit = Arc::new(Semaphore::new(1))
            .try_acquire_owned()
            .expect("it is free");
        let making = Making {
            producer: PRODUCER,
            from: 0,
            // Too small a limit to merge them.
            max_batch_bytes: 250,
            offset_header: None,
        };
        let batches = Preparer::new(making).prepare(Bytes::from(bytes), &permit.into());
        let (sender, feed) = mpsc::channel(2);
        for fed in [Fed::Batches(batches.expect("they are sound")), Fed::End(20)] {
            sender.try_send(Ok(fed)).expect("there is room");
        }
        let id = TargetId {
            topic: Arc::from("orders"),
            topic_id: None,
            partition: 0,
            producer: PRODUCER,
            start: 100,
            max_batch_bytes: 250,
        };
        let mut target = Target::new(id, 0, 0, feed, &Troubles::default());
        target.in_log = in_log;
        target
    }

    #[tokio::test]
    async fn what_an_earlier_run_sent_late_is_not_sent_again() {
        let mut target = target(15);
        target.take_in();
        let staged: Vec<(u64, u64)> = target
            .staged
            .iter()
            .map(|batch| (batch.first, batch.count))
            .collect();
        assert_eq!(staged, [(15, 5)]);
        assert_eq!((target.found, target.landed), (15, 15));
        assert!(target.failure.is_none());
    }

    #[tokio::test]
    async fn all_of_it_may_have_come_late() {
        let mut target = target(20);
        target.take_in();
        assert!(target.is_done());
        assert_eq!(target.landed, 20);
    }

    /// The task that reads the archive panicked: that must not pass for the end.
    #[tokio::test]
    async fn a_feed_that_breaks_off_is_a_failure() {
        let mut target = target(0);
        let (sender, feed) = mpsc::channel(1);
        drop(sender);
        target.feed = feed;
        target.take_in();
        assert!(!target.is_done());
        assert!(matches!(target.failure, Some(EngineError::Task(_))));
    }

    #[tokio::test]
    async fn more_than_there_is_was_written_by_somebody_else() {
        let mut target = target(25);
        target.take_in();
        assert!(matches!(
            target.failure,
            Some(EngineError::ForeignTarget { .. })
        ));
    }
}
