//! Batches ready to produce, made of records that are decoded: because plugins may change, filter or move them, or because only
//! some of them are wanted.
//!
//! Source partitions are read and transformed side by side; one sequencer for the topic then decides, chunk by chunk, which records
//! follow which in each target partition, and writes that down as intents *before* anything is sent. A resumed restore repeats the intents
//! that have not landed whole, in their order, and stops if a plugin makes something else of the same records.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use armory_failpoints::{Point, reach};
use armory_records::Batches;
use bytes::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};

use super::feed::{Fed, Feed, Prepared, Producer, Source, sequence};
use super::report::{Entry, Intent, Report, Share};
use super::shape::{Shape, Shaped};
use crate::EngineError;

/// One topic's records on their way through its plugins.
pub(crate) struct Reshape {
    pub(crate) topic_index: usize,
    pub(crate) topic: String,
    pub(crate) sources: Vec<Source>,
    pub(crate) shape: Arc<Shape>,
    /// For each target partition: its producer, and how many records of this restore its log holds.
    pub(crate) targets: Vec<(Producer, u64)>,
    /// What earlier runs were going to send, in order.
    pub(crate) intents: Vec<Intent>,
    pub(crate) report: Arc<Mutex<Report>>,
    pub(crate) restore_id: String,
    pub(crate) filtered: Arc<std::sync::atomic::AtomicU64>,
}

/// A chunk of one source partition, transformed.
struct Chunk {
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
}

impl Sequencer {
    async fn run(&mut self) -> Result<(), EngineError> {
        let positions = self.replay().await?;
        let (sender, mut chunks) =
            mpsc::channel::<Result<Chunk, EngineError>>(self.reshape.sources.len().max(1));
        let mut readers = tokio::task::JoinSet::new();
        for source in &self.reshape.sources {
            let from = positions
                .get(&source.key.partition)
                .copied()
                .unwrap_or(source.plan.from);
            readers.spawn(read(
                source.clone(),
                Arc::clone(&self.reshape.shape),
                from,
                sender.clone(),
            ));
        }
        drop(sender);
        let mut ready = Vec::new();
        while chunks.recv_many(&mut ready, 64).await > 0 {
            let batch: Vec<Chunk> = ready.drain(..).collect::<Result<_, _>>()?;
            self.send(batch).await?;
        }
        while let Some(ended) = readers.join_next().await {
            ended?;
        }
        Ok(())
    }

    /// Enters the chunks in the report, then hands their batches out.
    async fn send(&mut self, chunks: Vec<Chunk>) -> Result<(), EngineError> {
        let mut intents = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            let targets = self.allocate(&chunk.shaped);
            intents.push(Intent {
                topic: self.reshape.topic_index,
                partition: chunk.source_partition,
                from: chunk.from,
                next: chunk.next,
                targets,
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
                batches.push(if prepared.first < landed {
                    prepared
                        .without_landed(landed, producer)
                        .map_err(|source| EngineError::Damaged {
                            topic: self.reshape.topic.clone(),
                            partition: chunk.source_partition,
                            offset: batch.source,
                            place: "archive",
                            source,
                        })?
                } else {
                    prepared
                });
            }
            if !batches.is_empty() {
                // A target that failed has hung up; the others go on.
                let _ = self.senders[slot].send(Ok(Fed::Batches(batches))).await;
            }
        }
        Ok(())
    }

    /// Repeats what earlier runs had entered and what did not land whole. Returns where each source partition goes on.
    async fn replay(&mut self) -> Result<BTreeMap<i32, i64>, EngineError> {
        let mut positions = BTreeMap::new();
        for intent in std::mem::take(&mut self.reshape.intents) {
            positions.insert(intent.partition, intent.next);
            for share in &intent.targets {
                let slot = usize::try_from(share.partition).expect("a partition is not negative");
                self.next[slot] = share.first + share.count;
            }
            let landed = |share: &Share| {
                let slot = usize::try_from(share.partition).expect("a partition is not negative");
                share.first + share.count <= self.reshape.targets[slot].1
            };
            if intent.targets.iter().all(landed) {
                continue;
            }
            let chunk = self.repeat(&intent).await?;
            let same = chunk.shaped.targets.len() == intent.targets.len()
                && intent.targets.iter().all(|share| {
                    chunk
                        .shaped
                        .targets
                        .get(&share.partition)
                        .is_some_and(|again| again.count == share.count)
                });
            if !same {
                return Err(EngineError::Report {
                    id: self.reshape.restore_id.clone(),
                    what: format!(
                        "topic {}, partition {}, offsets {} to {}: the plugins made other records of them than in the earlier run; \
                         restore into a new topic with plugins whose result depends on the record alone",
                        self.reshape.topic, intent.partition, intent.from, intent.next
                    ),
                });
            }
            self.hand_out(chunk, &intent).await?;
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

    async fn repeat(&self, intent: &Intent) -> Result<Chunk, EngineError> {
        let source = self
            .reshape
            .sources
            .iter()
            .find(|source| source.key.partition == intent.partition);
        let source = source.ok_or_else(|| EngineError::Report {
            id: self.reshape.restore_id.clone(),
            what: format!(
                "it names partition {} of topic {}, which is not restored",
                intent.partition, self.reshape.topic
            ),
        })?;
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
        let shape = Arc::clone(&self.reshape.shape);
        let source_for_task = source.clone();
        let (partition, from) = (intent.partition, intent.from);
        let next = intent.next;
        let shaped =
            tokio::task::spawn_blocking(move || shape.apply(&bytes, &source_for_task, from..next))
                .await??;
        Ok(Chunk {
            source_partition: partition,
            from: intent.from,
            next: intent.next,
            shaped,
            credit,
        })
    }
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

/// Reads and transforms one source partition from offset `from` on.
async fn read(
    source: Source,
    shape: Arc<Shape>,
    from: i64,
    sender: mpsc::Sender<Result<Chunk, EngineError>>,
) {
    if let Err(error) = read_all(&source, &shape, from, &sender).await {
        let _ = sender.send(Err(error)).await;
    }
}

async fn read_all(
    source: &Source,
    shape: &Arc<Shape>,
    from: i64,
    sender: &mpsc::Sender<Result<Chunk, EngineError>>,
) -> Result<(), EngineError> {
    let _ahead = source.memory.read_ahead().await;
    let mut position = from;
    for part in source.plan.segments().filter(|part| part.until > from) {
        let mut reader = source.open(&part.manifest).await?;
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
            let (shape, range) = (Arc::clone(shape), position..next);
            let owner = source.clone();
            let shaped =
                tokio::task::spawn_blocking(move || shape.apply(&bytes, &owner, range)).await??;
            let chunk = Chunk {
                source_partition: source.key.partition,
                from: position,
                next,
                shaped,
                credit,
            };
            position = next;
            if sender.send(Ok(chunk)).await.is_err() || position >= source.plan.until {
                return Ok(());
            }
        }
    }
    Ok(())
}
