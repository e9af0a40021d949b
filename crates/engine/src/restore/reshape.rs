//! Batches ready to produce, made of records that are decoded: because plugins may change, filter or move them.
//!
//! Source partitions are read and transformed side by side; one sequencer for the target topic then decides, chunk by chunk, which records
//! follow which in each target partition, and writes that down as intents *before* anything is sent. A resumed restore repeats the intents
//! that have not landed whole, in their order, and stops if a plugin makes something else of the same records.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use armory_archive::{DeadLetterStore, DeadLetters};
use armory_failpoints::{Point, reach};
use armory_records::Batches;
use bytes::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};

use super::feed::{Fed, Feed, Prepared, Producer, Source, sequence};
use super::report::{Entry, Intent, IntentReader, Report, Share};
use super::shape::{Shape, Shaped};
use crate::{EngineError, Outlook};

/// Records on their way into one target topic, through the plugins.
pub(crate) struct Reshape {
    /// The target topic.
    pub(crate) target: String,
    pub(crate) sources: Vec<ShapedSource>,
    /// For each target partition: its producer, and how many records of this restore its log holds.
    pub(crate) targets: Vec<(Producer, u64)>,
    /// The target's `max.message.bytes`.
    pub(crate) max_batch_bytes: usize,
    /// What earlier runs were going to send.
    pub(crate) intents: IntentReader,
    pub(crate) report: Arc<Mutex<Report>>,
    pub(crate) restore_id: String,
    pub(crate) filtered: Arc<std::sync::atomic::AtomicU64>,
    pub(crate) stopped: Arc<StoppedSources>,
    pub(crate) dead_letters: DeadLetterStore,
    pub(crate) dead_lettered: Arc<std::sync::atomic::AtomicU64>,
}

/// Source partitions that could not be read to their end; the others go on without them.
#[derive(Debug, Default)]
pub(crate) struct StoppedSources(std::sync::Mutex<Vec<Stopped>>);

/// Why one of them stopped.
#[derive(Debug, Clone)]
pub(crate) struct Stopped {
    /// Partition, and why.
    pub(crate) text: String,
    /// What can be done about it.
    pub(crate) outlook: Outlook,
}

impl StoppedSources {
    fn add(&self, source: &Source, error: &EngineError) {
        let key = &source.key;
        let name = format!("{}-{}", key.topic.topic, key.partition);
        self.list().push(Stopped {
            text: format!("{name}: {}", crate::error::sentence(error)),
            outlook: error.outlook(),
        });
    }

    /// Those so far, in the order in which they stopped.
    pub(crate) fn so_far(&self) -> Vec<Stopped> {
        self.list().clone()
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Stopped>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A source partition and what is done to its records.
#[derive(Clone)]
pub(crate) struct ShapedSource {
    /// Index of its topic in the plan.
    pub(crate) topic: usize,
    pub(crate) source: Source,
    pub(crate) shape: Arc<Shape>,
}

/// A chunk of one source partition, transformed.
struct Chunk {
    topic: usize,
    source_partition: i32,
    from: i64,
    next: i64,
    shaped: Shaped,
    credit: Arc<OwnedSemaphorePermit>,
}

type Sender = mpsc::Sender<Result<Fed, EngineError>>;

impl Reshape {
    /// Starts. One feed for each target partition.
    pub(crate) fn start(self) -> Vec<Feed> {
        // Memory is bounded by the credit that every chunk holds, so the feeds need no bound of their own.
        let (senders, feeds): (Vec<Sender>, Vec<Feed>) =
            self.targets.iter().map(|_| mpsc::channel(1 << 20)).unzip();
        tokio::spawn(async move {
            let mut sequencer = Sequencer {
                senders,
                next: vec![0; self.targets.len()],
                stopped: HashSet::new(),
                reshape: self,
            };
            let ended = sequencer.run().await;
            let text = match &ended {
                Err(error) => crate::error::sentence(error),
                Ok(()) => String::new(),
            };
            let mut first = ended.err();
            let failed = first.is_some();
            for (sender, records) in sequencer.senders.iter().zip(&sequencer.next) {
                let last = match failed {
                    false => Ok(Fed::End(*records)),
                    true => Err(first
                        .take()
                        .unwrap_or_else(|| EngineError::Task(text.clone()))),
                };
                // A target that failed has hung up; the others go on.
                let _ = sender.send(last).await;
            }
        });
        feeds
    }
}

struct Sequencer {
    reshape: Reshape,
    senders: Vec<Sender>,
    /// The ordinal that the next record of each target partition gets.
    next: Vec<u64>,
    /// Sources whose dead letters could not be stored: topic in the plan, and partition.
    stopped: HashSet<(usize, i32)>,
}

impl Sequencer {
    async fn run(&mut self) -> Result<(), EngineError> {
        let positions = self.replay().await?;
        let (sender, mut chunks) = mpsc::channel::<Chunk>(self.reshape.sources.len().max(1));
        let mut readers = tokio::task::JoinSet::new();
        for shaped in &self.reshape.sources {
            let key = (shaped.topic, shaped.source.key.partition);
            let from = positions.get(&key).copied();
            let from = from.unwrap_or(shaped.source.plan.from);
            let stopped = Arc::clone(&self.reshape.stopped);
            readers.spawn(read(shaped.clone(), from, sender.clone(), stopped));
        }
        drop(sender);
        let mut ready = Vec::new();
        while chunks.recv_many(&mut ready, 64).await > 0 {
            self.send(std::mem::take(&mut ready)).await?;
        }
        while let Some(ended) = readers.join_next().await {
            ended?;
        }
        Ok(())
    }

    /// Enters the chunks in the report, then hands their batches out.
    async fn send(&mut self, chunks: Vec<Chunk>) -> Result<(), EngineError> {
        let (chunks, named) = self.put_aside(chunks).await?;
        let mut intents = Vec::with_capacity(chunks.len());
        for (chunk, dead_letters) in chunks.iter().zip(named) {
            let targets = self.allocate(&chunk.shaped);
            intents.push(Intent {
                topic: chunk.topic,
                partition: chunk.source_partition,
                from: chunk.from,
                next: chunk.next,
                targets,
                dead_letters,
            });
        }
        let entry = Entry::Intents {
            intents: intents.clone(),
        };
        self.reshape.report.lock().await.append(entry).await?;
        reach(Point::IntentsEntered);
        for (chunk, intent) in chunks.into_iter().zip(&intents) {
            self.hand_out(chunk, intent).await?;
        }
        Ok(())
    }

    /// Stores the dead letters of chunks, which the report then names. A source whose dead letters cannot be stored stops, and
    /// its chunks are left out.
    async fn put_aside(
        &mut self,
        chunks: Vec<Chunk>,
    ) -> Result<(Vec<Chunk>, Vec<Option<DeadLetters>>), EngineError> {
        let (mut kept, mut named) = (Vec::with_capacity(chunks.len()), Vec::new());
        for chunk in chunks {
            let place = (chunk.topic, chunk.source_partition);
            if self.stopped.contains(&place) {
                continue;
            }
            let letters = &chunk.shaped.dead_letters;
            if letters.is_empty() {
                named.push(None);
                kept.push(chunk);
                continue;
            }
            let source = self.source_of(place)?.source.clone();
            let (store, id) = (&self.reshape.dead_letters, &self.reshape.restore_id);
            match store.store(id, &source.key, chunk.from, letters).await {
                Ok(stored) => {
                    reach(Point::DeadLettersStored);
                    self.reshape
                        .dead_lettered
                        .fetch_add(stored.records, std::sync::atomic::Ordering::Relaxed);
                    named.push(Some(stored));
                    kept.push(chunk);
                }
                Err(error) => {
                    self.reshape.stopped.add(&source, &error.into());
                    self.stopped.insert(place);
                }
            }
        }
        Ok((kept, named))
    }

    fn allocate(&mut self, shaped: &Shaped) -> Vec<Share> {
        shaped
            .targets
            .iter()
            .map(|(partition, share)| {
                let next = &mut self.next
                    [usize::try_from(*partition).expect("a partition is not negative")];
                let first = *next;
                *next += share.count;
                Share {
                    partition: *partition,
                    first,
                    count: share.count,
                    runs: share.runs.clone(),
                }
            })
            .collect()
    }

    async fn hand_out(&self, chunk: Chunk, intent: &Intent) -> Result<(), EngineError> {
        let shares: HashMap<i32, u64> = intent
            .targets
            .iter()
            .map(|share| (share.partition, share.first))
            .collect();
        self.reshape
            .filtered
            .fetch_add(chunk.shaped.filtered, std::sync::atomic::Ordering::Relaxed);
        for (partition, share) in chunk.shaped.targets {
            let slot = usize::try_from(partition).expect("a partition is not negative");
            let (producer, landed) = self.reshape.targets[slot];
            let mut first = shares[&partition];
            let mut batches = Vec::with_capacity(share.batches.len());
            for mut batch in share.batches {
                armory_records::rewrite_for_produce(
                    &mut batch.bytes,
                    producer.id,
                    producer.epoch,
                    sequence(first),
                );
                let prepared = Prepared {
                    records: Bytes::from(batch.bytes),
                    first,
                    count: batch.count,
                    source: batch.source,
                    _credit: Arc::clone(&chunk.credit),
                };
                first += batch.count;
                if prepared.next() <= landed {
                    continue;
                }
                if prepared.first < landed {
                    let max = self.reshape.max_batch_bytes;
                    let rest = prepared.without_landed(landed, producer, max);
                    let source = self.source(intent)?;
                    batches.extend(
                        rest.map_err(|error| source.source.encode_error(batch.source, error))?,
                    );
                } else {
                    batches.push(prepared);
                }
            }
            if !batches.is_empty() {
                // A target that failed has hung up; the others go on.
                let _ = self.senders[slot].send(Ok(Fed::Batches(batches))).await;
            }
        }
        Ok(())
    }

    /// Repeats what earlier runs had entered and what did not land whole. Returns where each source partition goes on.
    async fn replay(&mut self) -> Result<BTreeMap<(usize, i32), i64>, EngineError> {
        let mut positions = BTreeMap::new();
        while let Some(intents) = self.reshape.intents.next().await? {
            for intent in intents {
                positions.insert((intent.topic, intent.partition), intent.next);
                self.replay_one(&intent).await?;
            }
        }
        for (slot, (_, landed)) in self.reshape.targets.iter().enumerate() {
            if self.next[slot] < *landed {
                return Err(EngineError::Report {
                    id: self.reshape.restore_id.clone(),
                    what: format!(
                        "target partition {slot} holds {landed} records, and the report knows of {} only",
                        self.next[slot]
                    ),
                });
            }
        }
        Ok(positions)
    }

    async fn replay_one(&mut self, intent: &Intent) -> Result<(), EngineError> {
        let slot = |share: &Share| usize::try_from(share.partition).unwrap_or(usize::MAX);
        for share in &intent.targets {
            self.next[slot(share)] = share.first + share.count;
        }
        let landed =
            |share: &Share| share.first + share.count <= self.reshape.targets[slot(share)].1;
        if intent.targets.iter().all(landed) {
            return Ok(());
        }
        let chunk = self.repeat(intent).await?;
        let again = &chunk.shaped.targets;
        let same = again.len() == intent.targets.len()
            && intent.targets.iter().all(|share| {
                again
                    .get(&share.partition)
                    .is_some_and(|again| (again.count, &again.runs) == (share.count, &share.runs))
            });
        if !same {
            return Err(EngineError::Report {
                id: self.reshape.restore_id.clone(),
                what: format!(
                    "target {}, source partition {}, offsets {} to {}: the plugins made other records of them than in the earlier run; \
                     restore into a new topic with plugins whose result depends on the record alone",
                    self.reshape.target, intent.partition, intent.from, intent.next
                ),
            });
        }
        self.hand_out(chunk, intent).await
    }

    /// The source that an intent is about.
    fn source(&self, intent: &Intent) -> Result<&ShapedSource, EngineError> {
        self.source_of((intent.topic, intent.partition))
    }

    /// The source that is this partition of the topic of that number.
    fn source_of(&self, (topic, partition): (usize, i32)) -> Result<&ShapedSource, EngineError> {
        let mut sources = self.reshape.sources.iter();
        sources
            .find(|shaped| (shaped.topic, shaped.source.key.partition) == (topic, partition))
            .ok_or_else(|| EngineError::Report {
                id: self.reshape.restore_id.clone(),
                what: format!(
                    "it names partition {} of the topic number {}, which does not go into {}",
                    partition, topic, self.reshape.target
                ),
            })
    }

    async fn repeat(&self, intent: &Intent) -> Result<Chunk, EngineError> {
        let ShapedSource { source, shape, .. } = self.source(intent)?.clone();
        let credit = source.credit().await;
        let mut bytes = Vec::new();
        for part in source
            .plan
            .segments()
            .filter(|part| part.until > intent.from && part.manifest.base < intent.next)
        {
            let mut reader = source.open(&part.manifest).await?;
            reader.seek(intent.from);
            while let Some(chunk) = reader.next_chunk().await? {
                let past = select(&chunk, intent.from, intent.next, &mut bytes);
                if past {
                    break;
                }
            }
        }
        transform(
            &source,
            &shape,
            intent.topic,
            bytes.into(),
            intent.from..intent.next,
            credit,
        )
        .await
    }
}

/// Makes of a chunk what the plugins make of it. Its memory is given back for that of what was made.
async fn transform(
    source: &Source,
    shape: &Arc<Shape>,
    topic: usize,
    bytes: Bytes,
    range: Range<i64>,
    credit: Arc<OwnedSemaphorePermit>,
) -> Result<Chunk, EngineError> {
    let (shape, owner) = (Arc::clone(shape), source.clone());
    let (from, next) = (range.start, range.end);
    let shaped = tokio::task::spawn_blocking(move || shape.apply(&bytes, &owner, range)).await??;
    drop(credit);
    let shares = shaped.targets.values().flat_map(|share| &share.batches);
    let made = shares.map(|batch| batch.bytes.len() as u64).sum();
    Ok(Chunk {
        topic,
        source_partition: source.key.partition,
        from,
        next,
        shaped,
        credit: Arc::new(source.memory.made(made).await),
    })
}

/// Adds the batches with offsets from `from` to `next` (exclusive); true when the chunk reaches beyond.
fn select(chunk: &[u8], from: i64, next: i64, out: &mut Vec<u8>) -> bool {
    let mut past = false;
    for batch in Batches::new(chunk).filter_map(Result::ok) {
        let header = batch.header();
        past = header.next_offset() >= next;
        if header.last_offset() >= from && header.base_offset < next {
            out.extend_from_slice(batch.bytes());
        }
        if past {
            break;
        }
    }
    past
}

/// Reads and transforms one source partition from offset `from` on. What keeps it from its end is no reason to stop the others.
async fn read(
    shaped: ShapedSource,
    from: i64,
    sender: mpsc::Sender<Chunk>,
    stopped: Arc<StoppedSources>,
) {
    if let Err(error) = read_all(&shaped, from, &sender).await {
        stopped.add(&shaped.source, &error);
    }
}

async fn read_all(
    ShapedSource {
        topic,
        source,
        shape,
    }: &ShapedSource,
    from: i64,
    sender: &mpsc::Sender<Chunk>,
) -> Result<(), EngineError> {
    let _ahead = source.memory.read_ahead().await;
    let mut position = from;
    for part in source.plan.segments().filter(|part| part.until > from) {
        let mut reader = source.open_part(part).await?;
        if position > part.manifest.base {
            reader.seek(position);
        }
        loop {
            let credit = source.credit().await;
            let Some(bytes) = reader.next_chunk().await? else {
                break;
            };
            let Some(next) = Batches::new(&bytes)
                .filter_map(Result::ok)
                .last()
                .map(|batch| batch.header().next_offset())
            else {
                continue;
            };
            // Where a later lineage parted from this one, the rest of the segment is not this partition's history.
            let next = next.min(part.until);
            if next <= position {
                continue;
            }
            let range = position..next;
            let chunk = transform(source, shape, *topic, bytes, range, credit).await?;
            position = next;
            if sender.send(chunk).await.is_err() || position >= source.plan.until {
                return Ok(());
            }
        }
    }
    Ok(())
}
