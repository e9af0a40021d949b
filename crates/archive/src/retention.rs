//! How long what a backup wrote is kept: recorded in the archive, so that a restore knows what has expired while the backup
//! is stopped and nothing is removed.
//!
//! One document a backup says what its job says now. Expiry is not written into manifests: a job that restarts with another
//! duration changes what has not been pruned yet.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::archive::{Archive, now_ms};
use crate::error::ArchiveError;
use crate::layout;
use crate::manifest::Manifest;
use crate::names::check_name;
use crate::sealed::{self, FORMAT};

/// `retention/<backup id>.json`.
#[derive(Debug, Serialize, Deserialize)]
struct RetentionDocument {
    format: u32,
    requires: Vec<String>,
    backup_id: String,
    /// Nothing: kept for ever.
    delete_after_ms: Option<u64>,
    written_at: i64,
}

/// How long what each backup wrote is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// By backup id; backups that are not there keep everything.
    after: BTreeMap<String, Duration>,
}

impl Retention {
    /// When a manifest's segment expires by its backup's retention, in ms since 1970; nothing if it is kept, if it is open, or
    /// if there is no segment (any more).
    pub fn expires_at(&self, manifest: &Manifest) -> Option<i64> {
        if manifest.open || manifest.segment.is_none() {
            return None;
        }
        let after = self.after.get(&manifest.writer.backup_id)?;
        Some(expiry(manifest, *after))
    }

    /// Whether a manifest's segment has expired at `now` (ms since 1970).
    pub fn is_expired(&self, manifest: &Manifest, now: i64) -> bool {
        self.expires_at(manifest).is_some_and(|at| at <= now)
    }
}

/// The newest record's timestamp and `after`, in ms since 1970. Where no record has a timestamp the commit's time stands in:
/// the records are not newer.
pub(crate) fn expiry(manifest: &Manifest, after: Duration) -> i64 {
    let newest = manifest
        .timestamps
        .map_or(manifest.committed_at, |timestamps| timestamps.max);
    newest.saturating_add(millis(after))
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Archive {
    /// Records how long what `backup_id` writes is kept: for ever where `after` is nothing.
    pub async fn set_retention(
        &self,
        backup_id: &str,
        after: Option<Duration>,
    ) -> Result<(), ArchiveError> {
        check_name("backup id", backup_id, 200)?;
        let place = layout::retention(backup_id);
        // The default needs no document.
        if after.is_none() && self.storage().size(&place).await?.is_none() {
            return Ok(());
        }
        let document = RetentionDocument {
            format: FORMAT,
            requires: Vec::new(),
            backup_id: backup_id.to_owned(),
            delete_after_ms: after.map(|after| millis(after).unsigned_abs()),
            written_at: now_ms(),
        };
        let (text, _) = sealed::seal(&document);
        self.storage().replace(&place, text.into()).await
    }

    /// How long what each backup wrote is kept. A document that is damaged, or another backup's, keeps everything.
    pub async fn retention(&self) -> Result<Retention, ArchiveError> {
        let mut retention = Retention::default();
        for (file, _) in self.storage().list(layout::RETENTION).await?.files {
            let Some(backup_id) = file.strip_suffix(".json") else {
                continue;
            };
            let place = layout::retention(backup_id);
            let Some(text) = self.storage().get(&place).await? else {
                continue;
            };
            match sealed::unseal::<RetentionDocument>(&place, &text) {
                Ok((document, _)) if document.backup_id == backup_id => {
                    let after = document.delete_after_ms.map(Duration::from_millis);
                    retention
                        .after
                        .extend(after.map(|after| (document.backup_id, after)));
                }
                Ok(_) => tracing::warn!(
                    place,
                    "it is another backup's retention: nothing expires by it"
                ),
                Err(error) => tracing::warn!(%error, "nothing expires by this retention"),
            }
        }
        Ok(retention)
    }
}
