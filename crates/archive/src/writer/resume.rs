//! Finding the end of a partition's newest chain: from a head hint by probing forward; without one by a
//! listing.

use crate::archive::Archive;
use crate::chain::{ChainState, refusal};
use crate::error::ArchiveError;
use crate::layout;
use crate::lineage::Fork;
use crate::manifest::Manifest;
use crate::names::{PartitionKey, WriterIdentity};
use crate::writer::WriterOptions;

/// Where a partition's newest chain ends.
#[derive(Debug)]
pub(super) struct ChainStart {
    pub(super) lineage: u32,
    pub(super) state: ChainState,
    /// Who wrote what is newest.
    pub(super) writer: Option<WriterIdentity>,
}

impl ChainStart {
    fn empty() -> Self {
        Self {
            lineage: 0,
            state: ChainState::default(),
            writer: None,
        }
    }

    fn after_fork(fork: Fork) -> Self {
        Self {
            lineage: fork.lineage,
            state: ChainState {
                next: fork.base,
                previous: Some(fork.checksum),
                last_leader_epoch: fork.leader_epoch,
                ..ChainState::default()
            },
            writer: Some(fork.writer),
        }
    }

    fn after(manifest: Manifest) -> Self {
        Self {
            lineage: manifest.lineage,
            state: ChainState {
                base: Some(manifest.base),
                next: manifest.next,
                previous: Some(manifest.checksum),
                last_leader_epoch: manifest.last_leader_epoch,
                failed: None,
            },
            writer: Some(manifest.writer),
        }
    }
}

/// Finds where the newest chain of a partition ends.
pub(super) async fn find_end(
    archive: &Archive,
    key: &PartitionKey,
) -> Result<ChainStart, ArchiveError> {
    let mut end = match hinted(archive, key).await? {
        Some(end) => end,
        None => listed(archive, key).await?,
    };
    loop {
        let next = end.state.next;
        if let Some(manifest) = archive.read_manifest(key, end.lineage, next).await? {
            manifest.check_follows(next, end.state.previous.as_deref())?;
            end = ChainStart::after(manifest);
        } else if let Some(fork) = archive.read_fork(key, end.lineage + 1).await? {
            end = ChainStart::after_fork(fork);
        } else {
            return Ok(end);
        }
    }
}

/// The manifest that a head hint points to, if it is there and sound.
async fn hinted(archive: &Archive, key: &PartitionKey) -> Result<Option<ChainStart>, ArchiveError> {
    let Some(hint) = archive.hint(key).await? else {
        return Ok(None);
    };
    match archive.read_manifest(key, hint.lineage, hint.base).await {
        Ok(Some(manifest)) => Ok(Some(ChainStart::after(manifest))),
        Ok(None) => {
            tracing::warn!(
                partition = %key, lineage = hint.lineage, base = hint.base,
                "a head hint points to a manifest that is not there"
            );
            Ok(None)
        }
        // Older ones do not matter to a writer; whether the newest is sound the listing will tell.
        Err(ArchiveError::Damaged(damage)) => {
            tracing::warn!(%damage, "a head hint points to a damaged manifest");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn listed(archive: &Archive, key: &PartitionKey) -> Result<ChainStart, ArchiveError> {
    let partition = archive
        .storage()
        .list(&layout::manifests_of_partition(key))
        .await?;
    let newest = partition
        .directories
        .iter()
        .filter_map(|name| name.parse::<u32>().ok())
        .max();
    let Some(lineage) = newest else {
        return Ok(ChainStart::empty());
    };
    let bases = archive.manifest_bases(key, lineage).await?;
    if let Some(base) = bases.last() {
        let manifest = archive.read_manifest(key, lineage, *base).await?;
        let manifest = manifest.ok_or_else(|| {
            ArchiveError::damaged(layout::manifest(key, lineage, *base), "it vanished")
        })?;
        return Ok(ChainStart::after(manifest));
    }
    match archive.read_fork(key, lineage).await? {
        Some(fork) => Ok(ChainStart::after_fork(fork)),
        None if lineage == 0 => Ok(ChainStart::empty()),
        None => Err(ArchiveError::damaged(
            layout::fork(key, lineage),
            "a lineage without its fork",
        )),
    }
}

/// Whether this writer may continue after `newest`.
pub(super) fn check_owner(
    key: &PartitionKey,
    options: &WriterOptions,
    newest: Option<WriterIdentity>,
) -> Result<(), ArchiveError> {
    let Some(newest) = newest else {
        return Ok(());
    };
    match refusal(key, &options.identity, newest, 0) {
        ArchiveError::Overtaken { .. } => Ok(()),
        ArchiveError::OwnedByOther { .. } if options.take_over => Ok(()),
        refused => Err(refused),
    }
}
