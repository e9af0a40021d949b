//! What a running backup does: prune what has expired of its own, a bounded number of segments at a time.

use std::time::Duration;

use super::PruneReason;
use crate::archive::{Archive, now_ms};
use crate::error::ArchiveError;
use crate::layout;
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
        let mut expired = Expired::default();
        for lineage in self.lineages_there(key).await? {
            self.expire_lineage(key, lineage, backup_id, after, grace, most, &mut expired)
                .await?;
        }
        Ok(expired)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "those of `expire`, for one lineage"
    )]
    async fn expire_lineage(
        &self,
        key: &PartitionKey,
        lineage: u32,
        backup_id: &str,
        after: Duration,
        grace: Duration,
        most: usize,
        expired: &mut Expired,
    ) -> Result<(), ArchiveError> {
        let now = now_ms();
        let listing = self
            .storage()
            .list(&layout::segment_dir(key, lineage))
            .await?;
        for (name, _) in listing.files {
            let Some((base, _)) = layout::segment_name(&name) else {
                continue;
            };
            if expired.marked + expired.deleted >= most as u64 {
                expired.more = true;
                return Ok(());
            }
            let manifest = match self.read_manifest(key, lineage, base).await {
                Ok(Some(manifest)) => manifest,
                // Being committed, or left behind.
                Ok(None) => continue,
                Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => {
                    expired.damaged += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(pruned) = &manifest.pruned {
                if pruned.segment == name && pruned.at.saturating_add(millis(grace)) <= now {
                    self.delete_marked(&manifest).await?;
                    expired.deleted += 1;
                    expired.deleted_bytes += pruned.stored_bytes;
                }
                continue;
            }
            let names_it = manifest
                .segment
                .as_ref()
                .is_some_and(|segment| segment.name == name);
            if !names_it || manifest.writer.backup_id != backup_id {
                continue;
            }
            if expiry(&manifest, after) <= now {
                self.mark(&manifest, PruneReason::Expired, now).await?;
                expired.marked += 1;
                expired.records += manifest.records;
            } else if manifest.committed_at.saturating_add(millis(after)) > now {
                break;
            }
        }
        self.expire_letters(key, lineage, backup_id, after, grace, most, expired)
            .await
    }

    /// Dead letters go with the segment of their manifest; here are those whose manifest has none, and those of which a crash left
    /// the file.
    #[expect(clippy::too_many_arguments, reason = "as above")]
    async fn expire_letters(
        &self,
        key: &PartitionKey,
        lineage: u32,
        backup_id: &str,
        after: Duration,
        grace: Duration,
        most: usize,
        expired: &mut Expired,
    ) -> Result<(), ArchiveError> {
        let now = now_ms();
        let directory = layout::dead_letters_dir(key, lineage);
        for (name, bytes) in self.storage().list(&directory).await?.files {
            let Some((base, _)) = layout::dead_letters_name(&name) else {
                continue;
            };
            if expired.marked + expired.deleted >= most as u64 {
                expired.more = true;
                return Ok(());
            }
            let manifest = match self.read_manifest(key, lineage, base).await {
                Ok(Some(manifest)) => manifest,
                Ok(None) | Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let place = format!("{directory}/{name}");
            let Some(letters) = manifest
                .dead_letters
                .as_ref()
                .filter(|it| it.place == place)
            else {
                continue;
            };
            if let Some(pruned) = &manifest.pruned {
                if pruned.at.saturating_add(millis(grace)) <= now {
                    self.delete_marked(&manifest).await?;
                    expired.deleted += 1;
                    expired.deleted_bytes += bytes;
                }
            } else if manifest.segment.is_none()
                && manifest.writer.backup_id == backup_id
                && expiry(&manifest, after) <= now
            {
                self.mark(&manifest, PruneReason::Expired, now).await?;
                expired.marked += 1;
                expired.records += letters.records;
            }
        }
        Ok(())
    }
}
