//! Where to fetch a partition from: the archive's end, held against what the broker has.
//!
//! The archive's end can lie before the log start (retention was faster: a gap), inside the log (go on), or in a history
//! that the topic no longer has (an unclean election cut it off and it grew again: a new lineage). The last is told by asking
//! for the end of the last archived leader epoch (OffsetForLeaderEpoch, KIP-320).

use std::collections::HashMap;
use std::sync::Arc;

use armory_archive::GapCause;
use armory_kafka::{Client, EpochEnd, EpochQuery, Error, ErrorCode, OffsetSpec, TopicFilter};

use super::partition::Partition;
use crate::EngineError;
use crate::error::sentence;

/// Where a partition goes on.
#[derive(Debug)]
pub(crate) struct Position {
    pub(crate) partition: Arc<Partition>,
    /// The next offset to fetch.
    pub(crate) offset: i64,
    /// The first offset that was stable-and-readable's end when asked: nothing at or after it is fetched by a read-committed reader.
    pub(crate) last_stable: i64,
    /// The high watermark when asked.
    pub(crate) high_watermark: i64,
    /// Offsets `[from, until)` that were archived by nobody and are gone at the source.
    pub(crate) lost: Option<(i64, i64)>,
    /// Where the topic's history departs from the archived one, and the epoch of the last record that both have.
    pub(crate) diverged_at: Option<EpochEnd>,
    /// Whether it departs, and everything has to be committed before it can be told where.
    pub(crate) must_commit: bool,
}

/// What became of the question.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    pub(crate) found: Vec<Position>,
    /// Partitions to ask for again, with the reason.
    pub(crate) unknown: Vec<(Arc<Partition>, String)>,
}

/// Asks the leaders of `partitions`, each with the leader epoch of the metadata at hand.
pub(crate) async fn find(
    client: &Client,
    partitions: Vec<(Arc<Partition>, i32)>,
) -> Result<Positions, EngineError> {
    let names: Vec<(String, i32)> = partitions
        .iter()
        .map(|(partition, _)| (partition.topic.name.to_string(), partition.index))
        .collect();
    // At once, because one silent broker holds up each of them.
    let (earliest, stable, latest, mut ends) = tokio::try_join!(
        client.list_offsets(&names, OffsetSpec::Earliest),
        client.list_offsets(&names, OffsetSpec::LastStable),
        client.list_offsets(&names, OffsetSpec::Latest),
        epoch_ends(client, &partitions),
    )?;

    let mut positions = Positions::default();
    for ((partition, epoch), name) in partitions.into_iter().zip(names) {
        let (log_start, last_stable, high_watermark) =
            match (earliest.get(&name), stable.get(&name), latest.get(&name)) {
                (Some(Ok(earliest)), Some(Ok(stable)), Some(Ok(latest))) => {
                    (earliest.offset, stable.offset, latest.offset)
                }
                (earliest, stable, latest) => {
                    let code = [earliest, stable, latest]
                        .into_iter()
                        .flatten()
                        .find_map(|answer| answer.as_ref().err());
                    let why = code.map_or_else(
                        || "its leader did not answer".to_owned(),
                        ToString::to_string,
                    );
                    positions.unknown.push((partition, why));
                    continue;
                }
            };
        let archived = partition.state().writer.next_offset();
        let end = match ends.remove(&name).transpose() {
            Ok(end) => end,
            Err(code) => {
                positions.unknown.push((partition, code.to_string()));
                continue;
            }
        };
        let parting = match end {
            None => Parting::Nowhere,
            Some(end) => match parting(client, &partition, epoch, end).await {
                Ok(parting) => parting,
                Err(why) => {
                    positions.unknown.push((partition, why));
                    continue;
                }
            },
        };
        let must_commit = parting == Parting::Uncommitted;
        let diverged_at = match parting {
            Parting::At(end) => Some(end),
            Parting::Nowhere | Parting::Uncommitted => None,
        };
        if parting != Parting::Nowhere
            && let Err(why) = prove_topic_id(client, &partition, high_watermark).await
        {
            positions.unknown.push((partition, why));
            continue;
        }
        let archived = diverged_at.map_or(archived, |end| end.end_offset);
        let lost = (archived < log_start).then_some((archived, log_start));
        positions.found.push(Position {
            partition,
            offset: archived.max(log_start),
            last_stable,
            high_watermark,
            lost,
            diverged_at,
            must_commit,
        });
    }
    Ok(positions)
}

/// The ends of the last archived epochs, by what the leaders know of them now.
async fn epoch_ends(
    client: &Client,
    partitions: &[(Arc<Partition>, i32)],
) -> Result<HashMap<(String, i32), Result<EpochEnd, ErrorCode>>, Error> {
    let queries: Vec<EpochQuery> = partitions
        .iter()
        .filter_map(|(partition, current_epoch)| {
            let epoch = partition.state().writer.last_leader_epoch()?;
            Some(EpochQuery {
                topic: partition.topic.name.to_string(),
                partition: partition.index,
                current_leader_epoch: *current_epoch,
                leader_epoch: epoch,
            })
        })
        .collect();
    if queries.is_empty() {
        return Ok(HashMap::new());
    }
    client.offset_for_leader_epoch(&queries).await
}

/// Where the topic's history parts from the archived one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    /// The one continues the other.
    Nowhere,
    /// At the end of the last epoch that both have, as far as they have it.
    At(EpochEnd),
    /// Somewhere, which can be told once everything is committed.
    Uncommitted,
}

/// Finds where the topic's history parts from the archived one; `end` is what its leader answered about the last
/// archived epoch.
///
/// A leader that does not know that epoch answers with the end of a lower one. The histories are then the same up to where
/// the archive's records of that lower epoch end, or the leader's; where the archive has nothing of it, the question is asked
/// again with the largest epoch before it (KIP-279; `getOffsetTruncationState` of Kafka's replica fetcher).
async fn parting(
    client: &Client,
    partition: &Partition,
    current_epoch: i32,
    end: EpochEnd,
) -> Result<Parting, String> {
    let (chain, archived, last_epoch, is_committed) = {
        let writer = &partition.state().writer;
        (
            writer.chain(),
            writer.next_offset(),
            writer.last_leader_epoch(),
            !writer.has_uncommitted(),
        )
    };
    let mut asked = last_epoch;
    let (mut end, mut bound) = (end, archived);
    loop {
        // −1 says that the broker no longer knows the epoch: retention took its records, which is no divergence.
        if end.end_offset < 0 {
            return Ok(Parting::Nowhere);
        }
        bound = bound.min(end.end_offset);
        if Some(end.leader_epoch) == asked {
            break;
        }
        if !is_committed {
            return Ok(Parting::Uncommitted);
        }
        let known = chain.end_of_epoch(end.leader_epoch).await;
        let known = known.map_err(|error| sentence(&error))?;
        bound = bound.min(known.end);
        match known.epoch {
            Some(epoch) if epoch != end.leader_epoch => asked = Some(epoch),
            epoch => {
                end.leader_epoch = epoch.unwrap_or(-1);
                break;
            }
        }
        let name = (partition.topic.name.to_string(), partition.index);
        let query = EpochQuery {
            topic: name.0.clone(),
            partition: name.1,
            current_leader_epoch: current_epoch,
            leader_epoch: asked.unwrap_or(-1),
        };
        let answers = client.offset_for_leader_epoch(&[query]).await;
        end = match answers.map_err(|error| sentence(&error))?.remove(&name) {
            Some(Ok(answer)) => answer,
            Some(Err(code)) => return Err(code.to_string()),
            None => return Err("its leader did not answer".to_owned()),
        };
    }
    if bound >= archived {
        return Ok(Parting::Nowhere);
    }
    Ok(Parting::At(EpochEnd {
        leader_epoch: end.leader_epoch,
        end_offset: bound,
    }))
}

/// Makes sure that it was this incarnation of the topic that answered: the questions go by name, and of a topic created
/// again the log is as short as one that lost its end. A Fetch goes by id; ids never come back, so one that is there now was there then.
async fn prove_topic_id(
    client: &Client,
    partition: &Partition,
    high_watermark: i64,
) -> Result<(), String> {
    let name = &*partition.topic.name;
    let Some(id) = partition.topic.id else {
        return Ok(());
    };
    let names = [name.to_owned()];
    let metadata = client.metadata(TopicFilter::Names(&names));
    let metadata = metadata.await.map_err(|error| error.to_string())?;
    if metadata.topics.iter().all(|topic| topic.id != Some(id)) {
        return Err("the topic was deleted or created again".to_owned());
    }
    let fetched = client.fetch_at(name, Some(id), partition.index, high_watermark, 1);
    match fetched.await {
        Err(error) if error.code() != Some(ErrorCode::OFFSET_OUT_OF_RANGE) => {
            Err(error.to_string())
        }
        _ => Ok(()),
    }
}

impl Position {
    /// The gap that can be recorded at once: retention took the head, and there is nothing to read behind it. Otherwise the first batch
    /// tells how far the gap reaches, because it may begin before the log start.
    pub(crate) fn empty_head(&self) -> Option<(i64, i64)> {
        self.lost
            .filter(|(_, log_start)| *log_start >= self.last_stable)
    }

    /// Puts the partition's writer where the position says.
    pub(crate) async fn settle(&self) -> Result<(), EngineError> {
        if let Some(end) = self.diverged_at {
            let partition = Arc::clone(&self.partition);
            let runtime = tokio::runtime::Handle::current();
            // On a blocking thread, because the state's lock is held meanwhile; the partition is on no broker, so nobody waits for it.
            tokio::task::spawn_blocking(move || {
                let writer = &mut partition.state().writer;
                let epoch = (end.leader_epoch >= 0).then_some(end.leader_epoch);
                runtime.block_on(writer.start_lineage(end.end_offset, epoch))
            })
            .await??;
        }
        let mut state = self.partition.state();
        state.high_watermark = self.high_watermark;
        if let Some((_, log_start)) = self.lost {
            state.log_start = log_start;
        }
        if let Some((_, log_start)) = self.empty_head() {
            state
                .writer
                .gap(log_start, GapCause::BeforeLogStart, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "position_tests.rs"]
mod tests;
