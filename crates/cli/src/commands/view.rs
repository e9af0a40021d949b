//! What an archive holds, gathered for showing: topics, incarnations, partitions, lineages.

use std::collections::BTreeMap;

use armory_archive::{
    Archive, ArchiveError, Finding, Gap, IncarnationSurvey, Manifest, PartitionKey, Timestamps,
};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::findings::FindingView;

/// How many partitions are looked at at a time.
const AT_A_TIME: usize = 16;

/// An archive.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ArchiveView {
    pub(super) location: String,
    pub(super) id: String,
    pub(super) topics: Vec<TopicView>,
    /// What is damaged; what can be read stands above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) damage: Vec<FindingView>,
}

/// A topic with its incarnations, oldest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopicView {
    pub(super) topic: String,
    pub(super) snapshots: Vec<IncarnationView>,
}

/// An incarnation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IncarnationView {
    pub(super) version: String,
    pub(super) topic_id: String,
    pub(super) cluster_id: Option<String>,
    /// In ms since 1970; `null` where it cannot be read.
    pub(super) first_seen: Option<i64>,
    /// As of the newest snapshot of the topic's configuration, else as first seen.
    pub(super) source_partitions: Option<i32>,
    /// As `source_partitions`.
    pub(super) configs: BTreeMap<String, String>,
    pub(super) totals: Totals,
    /// Whether something of it cannot be read, or is not there.
    #[serde(skip_serializing_if = "is_sound")]
    pub(super) damaged: bool,
    pub(super) partitions: Vec<PartitionView>,
}

/// A partition with its lineages, oldest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartitionView {
    pub(super) partition: i32,
    pub(super) lineages: Vec<LineageView>,
}

/// A lineage of a partition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LineageView {
    pub(super) lineage: u32,
    /// Whether something of it cannot be read, or is not there.
    #[serde(skip_serializing_if = "is_sound")]
    pub(super) damaged: bool,
    /// First offset, inclusive, archived or in a gap: 0, or where the lineage parted from the one before.
    pub(super) first_offset: i64,
    /// The offset after the last one.
    pub(super) next_offset: i64,
    pub(super) totals: Totals,
    /// When the newest manifest was written, in ms since 1970; `null` where nothing is committed.
    pub(super) committed_at: Option<i64>,
    /// The backup that wrote last.
    pub(super) backup: Option<String>,
    /// Digests of the plugins that records went through, of all manifests.
    pub(super) plugins: Vec<String>,
    /// Every gap; only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gaps: Option<Vec<GapView>>,
}

/// Numbers that add up.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Totals {
    pub(super) segments: u64,
    /// Segments of a folder that are still appended to; they are among `segments`.
    pub(super) open_segments: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    /// Bytes of batches, as the brokers sent them.
    pub(super) raw_bytes: u64,
    /// Bytes of segments, as stored.
    pub(super) stored_bytes: u64,
    pub(super) timestamps: Option<TimestampsView>,
    /// Records that a plugin failed on and that were put aside.
    pub(super) dead_letters: u64,
    /// Missing offsets, by cause.
    pub(super) missing_offsets: BTreeMap<String, u64>,
}

/// The range of record timestamps in ms since 1970, both inclusive.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TimestampsView {
    pub(super) min: i64,
    pub(super) max: i64,
    /// Whether no record is older than `min`: headers of batches do not always tell.
    pub(super) min_exact: bool,
}

/// A gap.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GapView {
    /// Inclusive.
    pub(super) first_offset: i64,
    /// Exclusive.
    pub(super) end_offset: i64,
    pub(super) cause: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_sound(damaged: &bool) -> bool {
    !damaged
}

impl Totals {
    fn of_manifest(manifest: &Manifest) -> Self {
        let missing = manifest.missing_offsets().into_iter();
        let segment = manifest.segment.as_ref();
        let missing_offsets = missing
            .map(|(cause, n)| (cause.name().to_owned(), n))
            .collect();
        if manifest.pruned.is_some() {
            // Its counts are of what was there.
            return Totals {
                missing_offsets,
                ..Totals::default()
            };
        }
        Totals {
            segments: segment.is_some().into(),
            open_segments: (segment.is_some() && manifest.open).into(),
            batches: manifest.batches,
            records: manifest.records,
            raw_bytes: segment.map_or(0, |segment| segment.raw_bytes),
            stored_bytes: segment.map_or(0, |segment| segment.stored_bytes),
            timestamps: manifest.timestamps.map(TimestampsView::from),
            dead_letters: manifest
                .dead_letters
                .as_ref()
                .map_or(0, |letters| letters.records),
            missing_offsets,
        }
    }

    fn sum<'t>(all: impl IntoIterator<Item = &'t Totals>) -> Self {
        all.into_iter().fold(Totals::default(), |mut sum, one| {
            sum.segments += one.segments;
            sum.open_segments += one.open_segments;
            sum.batches += one.batches;
            sum.records += one.records;
            sum.raw_bytes += one.raw_bytes;
            sum.stored_bytes += one.stored_bytes;
            sum.dead_letters += one.dead_letters;
            sum.timestamps = match (sum.timestamps, one.timestamps) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            for (cause, offsets) in &one.missing_offsets {
                *sum.missing_offsets.entry(cause.clone()).or_default() += offsets;
            }
            sum
        })
    }
}

impl From<Timestamps> for TimestampsView {
    fn from(timestamps: Timestamps) -> Self {
        TimestampsView {
            min: timestamps.min,
            max: timestamps.max,
            min_exact: timestamps.min_exact,
        }
    }
}

impl TimestampsView {
    fn union(self, other: Self) -> Self {
        // An inexact part may reach below the other's minimum, wherever its own lies.
        TimestampsView {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            min_exact: self.min_exact && other.min_exact,
        }
    }
}

impl IncarnationView {
    /// All lineages of all partitions.
    pub(super) fn lineages(&self) -> impl Iterator<Item = (&PartitionView, &LineageView)> {
        self.partitions.iter().flat_map(|partition| {
            partition
                .lineages
                .iter()
                .map(move |lineage| (partition, lineage))
        })
    }
}

/// Looks at some topics of an archive, as far as they can be read. `found` is what is known to be damaged already.
pub(super) async fn gather(
    archive: &Archive,
    surveys: Vec<IncarnationSurvey>,
    found: Option<Finding>,
    with_gaps: bool,
) -> anyhow::Result<ArchiveView> {
    let mut topics: Vec<TopicView> = Vec::new();
    let mut damage: Vec<Finding> = found.into_iter().collect();
    for survey in surveys {
        let name = survey.key.topic.clone();
        let view = incarnation_view(archive, survey, with_gaps, &mut damage).await?;
        match topics.last_mut() {
            Some(topic) if topic.topic == name => topic.snapshots.push(view),
            _ => topics.push(TopicView {
                topic: name,
                snapshots: vec![view],
            }),
        }
    }
    Ok(ArchiveView {
        location: archive.display(),
        id: archive.id().to_string(),
        topics,
        damage: damage.iter().map(FindingView::from).collect(),
    })
}

async fn incarnation_view(
    archive: &Archive,
    survey: IncarnationSurvey,
    with_gaps: bool,
    damage: &mut Vec<Finding>,
) -> anyhow::Result<IncarnationView> {
    let IncarnationSurvey {
        key,
        incarnation,
        genesis,
        findings,
    } = survey;
    let before = damage.len();
    damage.extend(findings);
    let numbers = archive.partitions(&key).await?;
    let looked: Vec<(PartitionView, Vec<Finding>)> = futures::stream::iter(numbers)
        .map(|partition| {
            let key = key.partition(partition);
            async move { partition_view(archive, &key, with_gaps).await }
        })
        .buffered(AT_A_TIME)
        .try_collect()
        .await?;
    let mut partitions = Vec::with_capacity(looked.len());
    for (view, findings) in looked {
        partitions.push(view);
        damage.extend(findings);
    }
    // A snapshot that cannot be read is verify's business; what was first seen stands in.
    let snapshot = match archive.latest_snapshot(&key, i64::MAX).await {
        Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => None,
        snapshot => snapshot?,
    };
    let (source_partitions, configs) = match (snapshot, &genesis) {
        (Some(snapshot), _) => (Some(snapshot.partitions), snapshot.configs),
        (None, Some(genesis)) => (Some(genesis.partitions), genesis.configs.clone()),
        (None, None) => (None, BTreeMap::new()),
    };
    let lineages = partitions.iter().flat_map(|partition| &partition.lineages);
    Ok(IncarnationView {
        version: match incarnation {
            0 => "unknown".to_owned(),
            number => format!("v{number}"),
        },
        topic_id: key.topic_id.to_string(),
        first_seen: genesis.as_ref().map(|genesis| genesis.created_at),
        cluster_id: genesis.and_then(|genesis| genesis.cluster_id),
        source_partitions,
        configs,
        totals: Totals::sum(lineages.map(|lineage| &lineage.totals)),
        damaged: damage.len() > before,
        partitions,
    })
}

async fn partition_view(
    archive: &Archive,
    key: &PartitionKey,
    with_gaps: bool,
) -> anyhow::Result<(PartitionView, Vec<Finding>)> {
    let mut lineages = Vec::new();
    let mut damage = Vec::new();
    for lineage in archive.lineage_numbers(key).await? {
        let chain = archive.survey_chain(key, lineage).await?;
        let first = chain.manifests.first().map(|manifest| manifest.base);
        let start = chain.start.or(first).unwrap_or(0);
        let mut view = lineage_view(lineage, start, &chain.manifests, with_gaps);
        view.damaged = !chain.findings.is_empty();
        lineages.push(view);
        damage.extend(chain.findings);
    }
    let view = PartitionView {
        partition: key.partition,
        lineages,
    };
    Ok((view, damage))
}

fn lineage_view(
    lineage: u32,
    first_offset: i64,
    manifests: &[Manifest],
    with_gaps: bool,
) -> LineageView {
    let totals: Vec<Totals> = manifests.iter().map(Totals::of_manifest).collect();
    let newest = manifests.last();
    let mut plugins: Vec<String> = manifests
        .iter()
        .flat_map(|manifest| manifest.plugins.clone())
        .collect();
    plugins.sort();
    plugins.dedup();
    LineageView {
        lineage,
        damaged: false,
        first_offset,
        next_offset: newest.map_or(first_offset, |manifest| manifest.next),
        totals: Totals::sum(&totals),
        committed_at: manifests
            .iter()
            .rfind(|manifest| !manifest.open)
            .map(|manifest| manifest.committed_at),
        backup: newest.map(|manifest| manifest.writer.backup_id.clone()),
        plugins,
        gaps: with_gaps.then(|| gaps(manifests)),
    }
}

/// The gaps of a chain; those that touch across manifests are one.
fn gaps(manifests: &[Manifest]) -> Vec<GapView> {
    let mut all: Vec<Gap> = Vec::new();
    for gap in manifests
        .iter()
        .flat_map(|manifest| manifest.gaps.iter(manifest.base))
    {
        match all.last_mut() {
            Some(last) if last.end == gap.start && last.cause == gap.cause => last.end = gap.end,
            _ => all.push(gap),
        }
    }
    let view = |gap: Gap| GapView {
        first_offset: gap.start,
        end_offset: gap.end,
        cause: gap.cause.name().to_owned(),
    };
    all.into_iter().map(view).collect()
}
