//! Where to fetch a partition from: the archive's end, held against what the broker has.
//!
//! The archive's end can lie before the log start (retention was faster: a gap), inside the log (go on), or in a history
//! that the topic no longer has (an unclean election cut it off and it grew again: a new lineage). The last is told by asking
//! for the end of the last archived leader epoch (OffsetForLeaderEpoch, KIP-320).

use std::collections::HashMap;
use std::sync::Arc;

use armory_archive::GapCause;
use armory_kafka::{Client, EpochQuery, OffsetSpec};

use super::partition::Partition;
use crate::EngineError;

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
    /// The offset at which the topic's history departs from the archived one.
    pub(crate) diverged_at: Option<i64>,
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
    let earliest = client.list_offsets(&names, OffsetSpec::Earliest).await?;
    let stable = client.list_offsets(&names, OffsetSpec::LastStable).await?;
    let latest = client.list_offsets(&names, OffsetSpec::Latest).await?;
    let ends = epoch_ends(client, &partitions).await?;

    let mut positions = Positions::default();
    for ((partition, _), name) in partitions.into_iter().zip(names) {
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
        let diverged_at = ends.get(&name).copied().filter(|end| *end < archived);
        let archived = diverged_at.unwrap_or(archived);
        let lost = (archived < log_start).then_some((archived, log_start));
        positions.found.push(Position {
            partition,
            offset: archived.max(log_start),
            last_stable,
            high_watermark,
            lost,
            diverged_at,
        });
    }
    Ok(positions)
}

/// The end (exclusive) of the last archived epoch, by what the leaders know of it now.
async fn epoch_ends(
    client: &Client,
    partitions: &[(Arc<Partition>, i32)],
) -> Result<HashMap<(String, i32), i64>, EngineError> {
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
    let answers = client.offset_for_leader_epoch(&queries).await?;
    // −1 says that the broker no longer knows the epoch: retention took its records, which is no divergence.
    Ok(answers
        .into_iter()
        .filter_map(|(name, answer)| answer.ok().map(|end| (name, end.end_offset)))
        .filter(|(_, end)| *end >= 0)
        .collect())
}

impl Position {
    /// Puts the partition's writer where the position says. A head that retention took from a log which is empty now is recorded at
    /// once; otherwise the first batch tells how far the gap reaches, because it may begin before the log start.
    pub(crate) async fn settle(&self) -> Result<(), EngineError> {
        if let Some(at) = self.diverged_at {
            let partition = Arc::clone(&self.partition);
            let runtime = tokio::runtime::Handle::current();
            // On a blocking thread, because the state's lock is held meanwhile; the partition is on no broker, so nobody waits for it.
            tokio::task::spawn_blocking(move || {
                let writer = &mut partition.state().writer;
                let epoch = writer.last_leader_epoch();
                runtime.block_on(writer.start_lineage(at, epoch))
            })
            .await??;
        }
        let mut state = self.partition.state();
        state.high_watermark = self.high_watermark;
        if let Some((_, log_start)) = self.lost
            && log_start == self.high_watermark
        {
            state.writer.gap(log_start, GapCause::BeforeLogStart)?;
        }
        Ok(())
    }
}
