//! Where leader epochs of an archived partition end, to be held against what its brokers say of them.
//!
//! After an unclean election a leader may not know the epoch that was archived last, and answers with the end of a lower one.
//! The histories then part where the archive's records of that lower epoch end, or the leader's, whichever comes first; see
//! `getOffsetTruncationState` of Kafka's replica fetcher, which does the same with its own epoch cache (KIP-101, KIP-279).

use crate::chain::Chain;
use crate::error::ArchiveError;
use crate::layout;
use crate::manifest::{EpochStart, Manifest};

/// Where an epoch ends in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivedEpochEnd {
    /// The epoch that was asked for or, if the archive has nothing of it, the largest one before it; nothing if there is none.
    pub epoch: Option<i32>,
    /// The first offset of a later epoch; the end of the chain (exclusive) if there is no later one.
    pub end: i64,
}

/// What one lineage tells of the epochs around the one that is asked for.
#[derive(Debug, Default)]
struct Around {
    /// The largest epoch that is not above it.
    floor: Option<i32>,
    /// The first offset of an epoch above it.
    higher: Option<i64>,
}

impl Chain {
    /// Finds where leader epoch `epoch` ends in what is committed. Manifests of versions that did not write down the epochs
    /// of batches that were not kept may make the end lower than it was, never higher.
    ///
    /// Reads a few manifests of the lineage, however long it is.
    pub async fn end_of_epoch(&self, epoch: i32) -> Result<ArchivedEpochEnd, ArchiveError> {
        let mut limit = self.committed_next();
        let mut end = limit;
        let mut lineage = self.lineage();
        loop {
            let around = self.around(lineage, epoch, limit).await?;
            end = around.higher.unwrap_or(end);
            if around.floor.is_some() || lineage == 0 {
                return Ok(ArchivedEpochEnd {
                    epoch: around.floor,
                    end,
                });
            }
            // What the lineage has says nothing of it: its parent's part of the history comes before.
            let fork = self.archive().read_fork(self.partition(), lineage).await?;
            let place = layout::fork(self.partition(), lineage);
            let fork = fork.ok_or_else(|| ArchiveError::damaged(place, "it vanished"))?;
            limit = limit.min(fork.base);
            lineage -= 1;
        }
    }

    /// Looks at the manifests of one lineage below `limit` (exclusive).
    async fn around(&self, lineage: u32, epoch: i32, limit: i64) -> Result<Around, ArchiveError> {
        let mut bases = self
            .archive()
            .manifest_bases(self.partition(), lineage)
            .await?;
        bases.retain(|base| *base < limit);
        let mut around = Around::default();
        // The last one may reach beyond the limit; what its starts below the limit say comes first.
        if let Some(last) = bases.last().copied() {
            let manifest = self.manifest_at(lineage, last).await?;
            if manifest.next > limit {
                bases.pop();
                around = split(&manifest, epoch, limit);
                if around.floor.is_some() {
                    return Ok(around);
                }
            }
        }
        // The last epochs of manifests ascend: the first one beyond `epoch` is where a higher one begins.
        let (mut low, mut high) = (0, bases.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let manifest = self.manifest_at(lineage, bases[middle]).await?;
            if manifest.last_leader_epoch > Some(epoch) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        if let Some(base) = bases.get(low) {
            let manifest = self.manifest_at(lineage, *base).await?;
            around = split(&manifest, epoch, limit);
            // An epoch that was not written down began anywhere in it.
            around.higher.get_or_insert(manifest.base);
        }
        if around.floor.is_none() && low > 0 {
            around.floor = self
                .manifest_at(lineage, bases[low - 1])
                .await?
                .last_leader_epoch;
        }
        Ok(around)
    }

    async fn manifest_at(&self, lineage: u32, base: i64) -> Result<Manifest, ArchiveError> {
        let manifest = self
            .archive()
            .read_manifest(self.partition(), lineage, base);
        manifest.await?.ok_or_else(|| {
            let place = layout::manifest(self.partition(), lineage, base);
            ArchiveError::damaged(place, "it vanished")
        })
    }
}

fn split(manifest: &Manifest, epoch: i32, limit: i64) -> Around {
    let starts = || {
        manifest
            .epoch_starts()
            .iter()
            .filter(|start| start.offset < limit)
    };
    let is_higher = |start: &&EpochStart| start.epoch > epoch;
    Around {
        floor: starts()
            .take_while(|start| !is_higher(start))
            .last()
            .map(|start| start.epoch),
        higher: starts().find(is_higher).map(|start| start.offset),
    }
}
