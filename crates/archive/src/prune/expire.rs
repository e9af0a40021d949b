//! What a running backup does: prune what has expired of its own, a bounded number of segments at a time.

use std::time::Duration;

use super::{PruneReason, Pruned};
use crate::archive::{Archive, now_ms};
use crate::error::ArchiveError;
use crate::layout;
use crate::manifest::Manifest;
use crate::names::PartitionKey;
use crate::retention::{expiry, millis};

/// What a look at a partition did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Segments that were marked as pruned.
    pub marked: u64,
    /// Records in them.
    pub records: u64,
    /// Segments that were deleted.
    pub deleted: u64,
    /// Bytes of these.
    pub deleted_bytes: u64,
    /// Manifests that could not be understood; nothing was done about them.
    pub damaged: u64,
    /// Whether the most was done that one look may do: there is more.
    pub more: bool,
}

impl Archive {
    /// Prunes what has expired in a partition of the segments that `backup_id` wrote: those whose newest record is older than
    /// `after` are marked, and those marked more than `grace` ago deleted; at most `most` of both together.
    ///
    /// Files that are no segments, and segments that no manifest names, are left alone. The cost is a listing of the segments
    /// that are there, and a read for each that was committed longer than `after` ago and one more: what is out of the order
    /// of time expires at the latest when it was archived so long ago. It may run beside writers, readers, and itself.
    pub async fn expire(
        &self,
        key: &PartitionKey,
        backup_id: &str,
        after: Duration,
        grace: Duration,
        most: usize,
    ) -> Result<Expired, ArchiveError> {
        key.check()?;
        let mut round = Round {
            archive: self,
            key,
            backup_id,
            after,
            grace,
            most: most as u64,
            now: now_ms(),
            expired: Expired::default(),
        };
        for lineage in self.lineages_there(key).await? {
            round.at_segments(lineage).await?;
            round.at_letters(lineage).await?;
        }
        Ok(round.expired)
    }
}

/// One look at a partition.
struct Round<'a> {
    archive: &'a Archive,
    key: &'a PartitionKey,
    backup_id: &'a str,
    after: Duration,
    grace: Duration,
    most: u64,
    now: i64,
    expired: Expired,
}

impl Round<'_> {
    /// Whether the most was done that one look may do.
    fn is_over(&mut self) -> bool {
        self.expired.more |= self.expired.marked + self.expired.deleted >= self.most;
        self.expired.more
    }

    fn is_due(&self, pruned: &Pruned) -> bool {
        pruned.at.saturating_add(millis(self.grace)) <= self.now
    }

    /// Whether so little time has passed since its commit that nothing later can have expired either.
    fn is_recent(&self, manifest: &Manifest) -> bool {
        manifest.committed_at.saturating_add(millis(self.after)) > self.now
    }

    /// Deletes what a marked manifest names; `bytes` is what that was.
    async fn delete(&mut self, marked: &Manifest, bytes: u64) -> Result<(), ArchiveError> {
        self.archive.delete_marked(marked).await?;
        self.expired.deleted += 1;
        self.expired.deleted_bytes += bytes;
        Ok(())
    }

    /// Marks a manifest that has expired; `records` is what is lost by it.
    async fn mark(&mut self, manifest: &Manifest, records: u64) -> Result<(), ArchiveError> {
        let reason = PruneReason::Expired;
        self.archive.mark(manifest, reason, self.now).await?;
        self.expired.marked += 1;
        self.expired.records += records;
        Ok(())
    }

    async fn at_segments(&mut self, lineage: u32) -> Result<(), ArchiveError> {
        let directory = layout::segment_dir(self.key, lineage);
        for (name, _) in self.archive.storage().list(&directory).await?.files {
            let Some((base, _)) = layout::segment_name(&name) else {
                continue;
            };
            if self.is_over() {
                return Ok(());
            }
            let manifest = match self.archive.read_manifest(self.key, lineage, base).await {
                Ok(Some(manifest)) => manifest,
                // Being committed, or left behind.
                Ok(None) => continue,
                Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => {
                    self.expired.damaged += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(pruned) = &manifest.pruned {
                if pruned.segment == name && self.is_due(pruned) {
                    self.delete(&manifest, pruned.stored_bytes).await?;
                }
                continue;
            }
            let names_it = manifest
                .segment
                .as_ref()
                .is_some_and(|segment| segment.name == name);
            if !names_it || manifest.writer.backup_id != self.backup_id {
                continue;
            }
            if expiry(&manifest, self.after) <= self.now {
                self.mark(&manifest, manifest.records).await?;
            } else if self.is_recent(&manifest) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Dead letters go with the segment of their manifest; here are those whose manifest has none, and those of which a crash left
    /// the file.
    async fn at_letters(&mut self, lineage: u32) -> Result<(), ArchiveError> {
        let directory = layout::dead_letters_dir(self.key, lineage);
        for (name, bytes) in self.archive.storage().list(&directory).await?.files {
            let Some((base, _)) = layout::dead_letters_name(&name) else {
                continue;
            };
            if self.is_over() {
                return Ok(());
            }
            let manifest = match self.archive.read_manifest(self.key, lineage, base).await {
                Ok(Some(manifest)) => manifest,
                // Damage is counted with the segments.
                Ok(None) | Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let place = format!("{directory}/{name}");
            let letters = manifest.dead_letters.as_ref();
            let Some(letters) = letters.filter(|letters| letters.place == place) else {
                continue;
            };
            if let Some(pruned) = &manifest.pruned {
                if self.is_due(pruned) {
                    self.delete(&manifest, bytes).await?;
                }
                continue;
            }
            if manifest.writer.backup_id != self.backup_id {
                continue;
            }
            if manifest.segment.is_none() && expiry(&manifest, self.after) <= self.now {
                self.mark(&manifest, letters.records).await?;
            } else if self.is_recent(&manifest) {
                return Ok(());
            }
        }
        Ok(())
    }
}
