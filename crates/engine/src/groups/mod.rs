//! Consumer groups: what they had committed on the source, kept in an archive, and carried over to what a restore made.
//!
//! A committed offset is the offset of the next record to read. A restore counts offsets anew and may leave records out, so each is
//! translated by the restore's report: to the place of the first restored record at or after it (`translate.rs`).

mod apply;
mod translate;

use std::collections::{BTreeMap, BTreeSet};

use armory_archive::{Archive, GroupOffset, GroupOffsets, GroupsSnapshot, TopicKey};
use armory_kafka::TopicFilter;
use armory_resources::job::{KafkaEndpoint, NameMatcher, StorageLocation};
use armory_troubles::Troubles;
use futures::{StreamExt, TryStreamExt, stream};

use crate::EngineError;
use crate::storage::location;

pub use apply::{AppliedGroup, apply};
pub use translate::{GroupPlan, PlanOptions, SkippedOffset, SourceOffset, TargetOffset, plan};

/// Groups whose offsets are asked for at once.
const ASKED_AT_ONCE: usize = 8;

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// Where it lies in the archive.
    pub place: String,
    /// When it was begun, in ms since the epoch.
    pub taken_at: i64,
    /// Each group, with the number of its offsets.
    pub groups: Vec<(String, usize)>,
}

/// Keeps the committed offsets of groups in the archive: of those that a pattern in `include` matches, or all where there is none.
/// Groups without offsets are left out.
///
/// # Errors
/// Where the cluster cannot be asked or the archive cannot be written.
pub async fn snapshot(
    source: &KafkaEndpoint,
    storage: &StorageLocation,
    include: &[NameMatcher],
) -> Result<SnapshotSummary, EngineError> {
    let client = crate::cluster::client(source, &Troubles::default())?;
    let archive = Archive::create_or_open(location(storage)?).await?;
    let taken_at = jiff::Timestamp::now().as_millisecond();
    let mut listings = client.list_groups().await?;
    listings.retain(|listing| {
        include.is_empty()
            || include
                .iter()
                .any(|pattern| pattern.matches(&listing.group))
    });
    let client = &client;
    let reads = listings.into_iter().map(async |listing| {
        let committed = client.committed_offsets(&listing.group).await?;
        Ok::<_, EngineError>((listing, committed))
    });
    let reads: Vec<_> = stream::iter(reads)
        .buffered(ASKED_AT_ONCE)
        .try_collect()
        .await?;
    // Offsets that are committed for a topic of that name may be older than the topic; nobody can tell.
    let names: BTreeSet<String> = reads
        .iter()
        .flat_map(|(_, committed)| committed.keys().map(|(topic, _)| topic.clone()))
        .collect();
    let names: Vec<String> = names.into_iter().collect();
    let metadata = client.metadata(TopicFilter::Names(&names)).await?;
    let ids: BTreeMap<&str, TopicKey> = metadata
        .topics
        .iter()
        .filter(|topic| topic.error.is_none())
        .map(|topic| (topic.name.as_str(), crate::storage::topic_key(topic)))
        .collect();
    let groups: Vec<GroupOffsets> = reads
        .into_iter()
        .filter(|(_, committed)| !committed.is_empty())
        .map(|(listing, committed)| {
            let offsets = committed
                .into_iter()
                .map(|((topic, partition), committed)| GroupOffset {
                    topic_id: ids.get(topic.as_str()).map(|key| key.topic_id),
                    topic,
                    partition,
                    offset: committed.offset,
                    leader_epoch: committed.leader_epoch,
                    metadata: committed.metadata,
                });
            GroupOffsets {
                group: listing.group,
                protocol_type: listing.protocol_type,
                offsets: offsets.collect(),
            }
        })
        .collect();
    let counts = groups
        .iter()
        .map(|group| (group.group.clone(), group.offsets.len()))
        .collect();
    let snapshot = GroupsSnapshot::new(taken_at, metadata.cluster_id.clone(), groups);
    Ok(SnapshotSummary {
        place: archive.snapshot_groups(&snapshot).await?,
        taken_at,
        groups: counts,
    })
}
