//! Doing what a plan says.

use std::time::Duration;

use super::leftovers::Standing;
use super::{PruneAction, PruneKind, PruneOutcome, PrunePlan, PruneReason};
use crate::archive::{Archive, now_ms};
use crate::error::ArchiveError;
use crate::layout;
use crate::manifest::Manifest;
use crate::names::PartitionKey;
use crate::retention::millis;

impl Archive {
    /// Does what a plan says, looking at each file once more before. `grace` is how long marked segments stay. After an error
    /// what was done stands: make a new plan. `progress` is called after each file.
    pub async fn prune(
        &self,
        plan: &PrunePlan,
        grace: Duration,
        mut progress: impl FnMut(&PruneOutcome) + Send,
    ) -> Result<PruneOutcome, ArchiveError> {
        let mut outcome = PruneOutcome::default();
        let mut bases: Option<(PartitionKey, u32, Vec<i64>)> = None;
        for action in &plan.actions {
            match (&action.chain, action.kind) {
                (Some((key, _, lineage, _)), PruneKind::Leftover) => {
                    if bases
                        .as_ref()
                        .is_none_or(|(k, l, _)| k != key || l != lineage)
                    {
                        let listed = self.manifest_bases(key, *lineage).await?;
                        bases = Some((key.clone(), *lineage, listed));
                    }
                    let listed = bases.as_ref().map_or(&[][..], |(_, _, bases)| bases);
                    let name = layout::file_name(&action.place);
                    if self.standing(key, *lineage, listed, name).await? == Standing::Dead {
                        self.delete(action, &mut outcome).await?;
                    }
                }
                (Some((key, _, lineage, base)), kind) => {
                    let manifest = self.read_manifest(key, *lineage, *base).await?;
                    if let Some(manifest) = manifest {
                        self.prune_segment(action, kind, manifest, grace, &mut outcome)
                            .await?;
                    }
                }
                (None, PruneKind::Temporary) => self.delete(action, &mut outcome).await?,
                (None, _) => {}
            }
            progress(&outcome);
        }
        Ok(outcome)
    }

    async fn prune_segment(
        &self,
        action: &PruneAction,
        kind: PruneKind,
        manifest: Manifest,
        grace: Duration,
        outcome: &mut PruneOutcome,
    ) -> Result<(), ArchiveError> {
        let now = now_ms();
        let is_it = |place: Option<String>| place.as_ref() == Some(&action.place);
        let are_letters = |manifest: &Manifest| {
            let letters = manifest.dead_letters.as_ref();
            is_it(letters.map(|letters| letters.place.clone()))
        };
        let marked = match &manifest.pruned {
            Some(_) => manifest,
            None if is_it(manifest.segment_place())
                || (manifest.segment.is_none() && are_letters(&manifest)) =>
            {
                let reason = match kind {
                    PruneKind::Expired => PruneReason::Expired,
                    _ => PruneReason::Requested,
                };
                let Some(marked) = self.mark(&manifest, reason, now).await? else {
                    return Ok(());
                };
                outcome.marked += 1;
                outcome.records += marked.records;
                marked
            }
            None => return Ok(()),
        };
        if !is_it(marked.pruned_place()) && !are_letters(&marked) {
            return Ok(());
        }
        let at = marked.pruned.as_ref().map_or(now, |pruned| pruned.at);
        if at.saturating_add(millis(grace)) <= now {
            self.delete_dead_letters(&marked).await?;
            self.delete(action, outcome).await
        } else {
            outcome.waiting_bytes += action.bytes;
            Ok(())
        }
    }

    async fn delete(
        &self,
        action: &PruneAction,
        outcome: &mut PruneOutcome,
    ) -> Result<(), ArchiveError> {
        self.storage().delete(&action.place).await?;
        outcome.deleted += 1;
        outcome.deleted_bytes += action.bytes;
        Ok(())
    }
}
