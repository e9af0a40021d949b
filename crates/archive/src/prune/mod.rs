//! Taking segments away that are no longer wanted, so that nobody takes it for damage, and damage for it.
//!
//! A manifest is *marked* first: replaced, at its place, by one that says that its segment was pruned. It names the checksum
//! of what it replaces, so the chain stays whole, and has the requirement `pruned`, so a version that does not know of it
//! refuses instead of missing a segment. The segment itself is deleted a grace later, for whoever is reading it by the manifest
//! of before. Both steps can be repeated, by anybody and at the same time: a crash between them leaves a segment that its
//! marked manifest names, and that the next round deletes.
//!
//! Marked manifests stay for ever. Their names are what refuses an obsolete writer that comes late.

mod act;
mod expire;
mod leftovers;
mod look;
mod plan;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use expire::Expired;
pub use plan::{Kept, PruneAction, PruneKind, PruneOutcome, PrunePlan, PruneRequest};

use crate::archive::Archive;
use crate::codec::Codec;
use crate::error::ArchiveError;
use crate::gaps::{Gap, GapCause, Gaps};
use crate::layout;
use crate::manifest::Manifest;
use crate::sealed::PRUNED;

/// Why a segment was pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PruneReason {
    /// By the retention of its backup.
    Expired,
    /// Somebody asked for it.
    Requested,
}

impl fmt::Display for PruneReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "expired",
            Self::Requested => "requested",
        })
    }
}

/// What became of a manifest's segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// When it was marked, in ms since 1970. The file is deleted a grace later.
    pub at: i64,
    /// Why.
    pub reason: PruneReason,
    /// The checksum of the manifest that named the segment: the next one's `previous`.
    pub checksum: String,
    /// The name of the file.
    pub segment: String,
    /// The size that the file had, in bytes.
    pub stored_bytes: u64,
}

impl Manifest {
    /// The manifest that takes this one's place; nothing if it has no segment.
    pub(crate) fn marked(&self, reason: PruneReason, now: i64) -> Option<Self> {
        if self.open {
            return None;
        }
        // What has dead letters alone has no segment; its name is then that of one that might have been.
        let (segment, stored_bytes) = match &self.segment {
            Some(segment) => (segment.name.clone(), segment.stored_bytes),
            None => {
                self.dead_letters.as_ref()?;
                let base = layout::digits(self.base);
                let name = format!("{base}.{}{}", self.nonce, Codec::None.extension());
                (name, 0)
            }
        };
        let mut gaps = Gaps::default();
        gaps.push(
            self.base,
            Gap {
                start: self.base,
                end: self.next,
                cause: GapCause::Pruned,
            },
        );
        Some(Self {
            requires: std::iter::once(PRUNED.to_owned())
                .chain(self.requires.iter().cloned())
                .collect(),
            segment: None,
            leader_epochs: Vec::new(),
            gaps,
            pruned: Some(Pruned {
                at: now,
                reason,
                checksum: self.checksum.clone(),
                segment,
                stored_bytes,
            }),
            ..self.clone()
        })
    }

    /// Checks that what it says of pruning agrees.
    pub(crate) fn check_pruned(&self) -> Result<(), &'static str> {
        let required = self
            .requires
            .iter()
            .any(|requirement| requirement == PRUNED);
        let Some(pruned) = &self.pruned else {
            return match required || self.gaps.offsets(GapCause::Pruned) > 0 {
                true => Err("it does not say what was pruned"),
                false => Ok(()),
            };
        };
        let whole = self.gaps.offsets(GapCause::Pruned) == self.next.abs_diff(self.base);
        // The file of that name is going to be deleted: it must be this manifest's.
        let own = layout::segment_name(&pruned.segment) == Some((self.base, &self.nonce));
        let hash = pruned.checksum.len() == 64;
        match required && whole && own && hash && self.segment.is_none() {
            true => Ok(()),
            false => Err("what it says of its pruned segment does not agree"),
        }
    }

    /// The path of the segment that was pruned; it may still be there.
    pub(crate) fn pruned_place(&self) -> Option<String> {
        let pruned = self.pruned.as_ref()?;
        Some(layout::segment(
            &self.partition_key(),
            self.lineage,
            &pruned.segment,
        ))
    }

    /// That its segment was pruned, if it was.
    pub fn pruned_error(&self) -> Option<ArchiveError> {
        let pruned = self.pruned.as_ref()?;
        Some(ArchiveError::Pruned {
            partition: self.partition_key(),
            base: self.base,
            next: self.next,
            at: pruned.at,
            reason: pruned.reason,
        })
    }
}

impl Archive {
    /// Marks a manifest: from now on nobody plans to read its segment. Gives what took its place.
    async fn mark(
        &self,
        manifest: &Manifest,
        reason: PruneReason,
        now: i64,
    ) -> Result<Option<Manifest>, ArchiveError> {
        let Some(marked) = manifest.marked(reason, now) else {
            return Ok(None);
        };
        let (text, _) = marked.seal();
        // Nobody else changes a manifest but to mark it, too.
        self.storage()
            .replace(&manifest.place(), text.into())
            .await?;
        Ok(Some(marked))
    }

    /// Deletes the segment of a marked manifest, which may be gone already.
    async fn delete_marked(&self, marked: &Manifest) -> Result<(), ArchiveError> {
        // First, because what is listed to find it again is the segment.
        self.delete_dead_letters(marked).await?;
        match marked.pruned_place() {
            Some(place) => self.storage().delete(&place).await,
            None => Ok(()),
        }
    }

    /// Deletes the dead letters of a marked manifest, if it had any.
    async fn delete_dead_letters(&self, marked: &Manifest) -> Result<(), ArchiveError> {
        match marked
            .dead_letters
            .as_ref()
            .filter(|_| marked.pruned.is_some())
        {
            Some(letters) => self.storage().delete(&letters.place).await,
            None => Ok(()),
        }
    }

    /// The manifest as it is there now, if its segment was pruned since it was read.
    async fn pruned_since(&self, manifest: &Manifest) -> Result<Option<Manifest>, ArchiveError> {
        let key = manifest.partition_key();
        let now = self
            .read_manifest(&key, manifest.lineage, manifest.base)
            .await?;
        Ok(now.filter(|now| now.pruned.is_some() && now.nonce == manifest.nonce))
    }

    /// Whether the segment was pruned since the manifest was read.
    pub(crate) async fn was_pruned(&self, manifest: &Manifest) -> Result<bool, ArchiveError> {
        match self.pruned_since(manifest).await {
            Ok(pruned) => Ok(pruned.is_some()),
            // Not marked: it is damage of its own, told by whoever reads the chain.
            Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What damage to a segment means: that it was pruned since its manifest was read, or what it says.
    pub(crate) async fn unless_pruned(
        &self,
        manifest: &Manifest,
        error: ArchiveError,
    ) -> ArchiveError {
        if !matches!(error, ArchiveError::Damaged(_)) {
            return error;
        }
        match self.pruned_since(manifest).await {
            Ok(Some(marked)) => marked.pruned_error().unwrap_or(error),
            _ => error,
        }
    }
}
