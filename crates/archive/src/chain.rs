//! Commit and fencing: the one place where a chain of manifests grows.
//!
//! A manifest's name is the offset it begins at, and it is created if absent. So of all writers that want to
//! commit a stretch from that offset one succeeds; the others read what is there and learn who was first.

use std::sync::Arc;
use std::time::Duration;

use armory_failpoints::{Point, reach};
use bytes::Bytes;
use tokio::sync::watch;

use crate::archive::{Archive, now_ms};
use crate::dead_letters::DeadLetters;
use crate::error::ArchiveError;
use crate::heads::ChainEnd;
use crate::layout;
use crate::manifest::{Manifest, Segment};
use crate::names::{PartitionKey, WriterIdentity};
use crate::sealed::{DEAD_LETTERS, FORMAT};
use crate::storage::{Created, Storage};
use crate::writer::{SealedSegment, WriterOptions};

/// How often a manifest is created anew that "exists" and is not there: a store's answer to a creation at
/// the same time (S3: 409).
const CREATE_TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// What a commit made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The first offset (inclusive).
    pub base: i64,
    /// The offset after the last one.
    pub next: i64,
    /// Bytes of batches.
    pub raw_bytes: u64,
    /// Bytes of the segment as stored; 0 where there is none.
    pub stored_bytes: u64,
    /// The number of batches.
    pub batches: u64,
    /// The number of records.
    pub records: u64,
}

/// The chain of manifests that a writer continues, in one lineage. It outlives the writer in the hands of its
/// commits, which may run while the writer goes on.
#[derive(Debug)]
pub struct Chain {
    archive: Archive,
    partition: PartitionKey,
    lineage: u32,
    options: Arc<WriterOptions>,
    state: watch::Sender<ChainState>,
}

/// Where a chain ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChainState {
    /// The base of the newest manifest, if there is any.
    pub(crate) base: Option<i64>,
    /// The end of what is committed (exclusive).
    pub(crate) next: i64,
    /// The checksum of the newest manifest, or of the lineage's fork.
    pub(crate) previous: Option<String>,
    /// The leader epoch of the last batch.
    pub(crate) last_leader_epoch: Option<i32>,
    /// Why nothing more can be committed.
    pub(crate) failed: Option<String>,
}

impl Chain {
    pub(crate) fn new(
        archive: Archive,
        partition: PartitionKey,
        lineage: u32,
        options: Arc<WriterOptions>,
        state: ChainState,
    ) -> Self {
        Self {
            archive,
            partition,
            lineage,
            options,
            state: watch::Sender::new(state),
        }
    }

    /// Makes a sealed segment durable and commits it, after the ones sealed before it: their commits may run
    /// at the same time, and must, for this one waits for them.
    ///
    /// Transient failures of a store are retried inside. After an error nothing more can be committed to this
    /// chain: drop its writer and, if [`ArchiveError::is_retriable`], open the partition again.
    pub async fn commit(&self, mut sealed: SealedSegment) -> Result<Committed, ArchiveError> {
        let result = self.try_commit(&mut sealed).await;
        if let Err(error) = &result {
            self.fail(error.to_string());
        }
        result
    }

    /// Whether nothing more can be committed.
    pub fn has_failed(&self) -> bool {
        self.state.borrow().failed.is_some()
    }

    /// The end of what is committed (exclusive).
    pub fn committed_next(&self) -> i64 {
        self.state.borrow().next
    }

    /// Where the chain ends; nothing before the lineage's first commit.
    pub fn end(&self) -> Option<ChainEnd> {
        let state = self.state.borrow();
        Some(ChainEnd {
            partition: self.partition.clone(),
            lineage: self.lineage,
            base: state.base?,
            next: state.next,
        })
    }

    pub(crate) fn archive(&self) -> &Archive {
        &self.archive
    }

    pub(crate) fn storage(&self) -> &Storage {
        self.archive.storage()
    }

    pub(crate) fn partition(&self) -> &PartitionKey {
        &self.partition
    }

    pub(crate) fn lineage(&self) -> u32 {
        self.lineage
    }

    pub(crate) fn options(&self) -> &Arc<WriterOptions> {
        &self.options
    }

    pub(crate) fn state(&self) -> ChainState {
        self.state.borrow().clone()
    }

    /// Ends the chain for this process. The first reason stands.
    pub(crate) fn fail(&self, reason: String) {
        self.state.send_if_modified(|state| {
            let first = state.failed.is_none();
            state.failed.get_or_insert(reason);
            first
        });
    }

    /// Fails if the chain has.
    pub(crate) fn check(&self) -> Result<(), ArchiveError> {
        match &self.state.borrow().failed {
            Some(reason) => Err(self.broken(reason)),
            None => Ok(()),
        }
    }

    fn broken(&self, reason: &str) -> ArchiveError {
        ArchiveError::ChainBroken {
            partition: self.partition.clone(),
            reason: reason.to_owned(),
        }
    }

    async fn try_commit(&self, sealed: &mut SealedSegment) -> Result<Committed, ArchiveError> {
        if !sealed.belongs_to(self) {
            return Err(ArchiveError::Misuse {
                partition: self.partition.clone(),
                reason: "a segment was sealed by another writer".to_owned(),
            });
        }
        let segment = sealed.store().await?;
        let dead_letters = sealed.store_dead_letters().await?;
        reach(Point::SegmentStored);
        let before = self.wait_for_turn(sealed.base()).await?;
        let mut manifest = self.manifest(sealed, segment, dead_letters, before)?;
        let (text, checksum) = manifest.seal();
        manifest.checksum = checksum;
        if let Err(error) = self.create_manifest(&manifest, text.into()).await {
            self.withdraw(&manifest, &error).await;
            return Err(error);
        }
        reach(Point::ManifestCreated);
        // The commit stands; what cannot be cleared away now is found and cleared by the next start.
        if let Err(error) = sealed.clear().await {
            tracing::warn!(%error, partition = %self.partition, "cannot remove an open segment's files");
        }
        self.state.send_modify(|state| {
            state.base = Some(manifest.base);
            state.next = manifest.next;
            state.previous = Some(manifest.checksum.clone());
            state.last_leader_epoch = manifest.last_leader_epoch;
        });
        if let Some(end) = self.end() {
            self.archive.learn_end(end).await;
        }
        let stored_bytes = manifest
            .segment
            .as_ref()
            .map_or(0, |segment| segment.stored_bytes);
        Ok(Committed {
            base: manifest.base,
            next: manifest.next,
            raw_bytes: sealed.raw_bytes(),
            stored_bytes,
            batches: manifest.batches,
            records: manifest.records,
        })
    }

    /// Waits until everything before `base` is committed.
    async fn wait_for_turn(&self, base: i64) -> Result<ChainState, ArchiveError> {
        let mut states = self.state.subscribe();
        let ready = states
            .wait_for(|state| state.next == base || state.failed.is_some())
            .await;
        // The sender is a field of `self`.
        let state = ready.map_err(|_| self.broken("it is gone"))?.clone();
        match &state.failed {
            Some(reason) if state.next != base => Err(self.broken(reason)),
            _ => Ok(state),
        }
    }

    fn manifest(
        &self,
        sealed: &SealedSegment,
        segment: Option<Segment>,
        dead_letters: Option<DeadLetters>,
        before: ChainState,
    ) -> Result<Manifest, ArchiveError> {
        let open = sealed
            .content()
            .ok_or_else(|| self.broken("a segment was committed twice"))?;
        let content = &open.content;
        let last_leader_epoch = content.last_leader_epoch.or(before.last_leader_epoch);
        Ok(Manifest {
            format: FORMAT,
            requires: dead_letters
                .iter()
                .map(|_| DEAD_LETTERS.to_owned())
                .collect(),
            topic: self.partition.topic.topic.clone(),
            topic_id: self.partition.topic.topic_id,
            partition: self.partition.partition,
            lineage: self.lineage,
            base: content.base,
            next: content.next,
            previous: before.previous,
            nonce: open.nonce.clone(),
            segment,
            batches: content.batches,
            records: content.records,
            largest_batch: content.largest_batch,
            timestamps: content.timestamps,
            leader_epochs: content.leader_epochs.clone(),
            all_epochs: content.epoch_starts_beyond_batches(),
            last_leader_epoch,
            gaps: content.gaps.clone(),
            dead_letters,
            plugins: self.options.plugin_digests.clone(),
            writer: self.options.identity.clone(),
            committed_at: now_ms(),
            pruned: None,
            checksum: String::new(),
            open: false,
            letters_as_records: false,
        })
    }

    /// The commit: creates the manifest, or finds out who else did.
    async fn create_manifest(&self, ours: &Manifest, text: Bytes) -> Result<(), ArchiveError> {
        let place = layout::manifest(&self.partition, self.lineage, ours.base);
        let theirs = match create_once(self.storage(), &place, &text).await? {
            None => return Ok(()),
            Some(theirs) => theirs,
        };
        let theirs = Manifest::read(&self.partition, self.lineage, ours.base, &theirs)?;
        // Ours, from a try whose answer was lost, and pruned since: old records expire as soon as they are archived.
        if theirs.checksum == ours.checksum {
            return Ok(());
        }
        Err(refusal(
            &self.partition,
            &ours.writer,
            theirs.writer,
            theirs.next,
        ))
    }

    /// After a refused commit: removes the segment that no manifest will ever name.
    async fn withdraw(&self, manifest: &Manifest, refused: &ArchiveError) {
        let refused_for_good = matches!(
            refused,
            ArchiveError::OwnedByOther { .. }
                | ArchiveError::Fenced { .. }
                | ArchiveError::Overtaken { .. }
        );
        let letters = manifest.dead_letters.as_ref();
        let letters = letters.map(|letters| letters.place.clone());
        let places = manifest.segment_place().into_iter().chain(letters);
        for place in places.filter(|_| refused_for_good) {
            if let Err(error) = self.storage().delete(&place).await {
                tracing::debug!(%error, "cannot remove a segment that was not committed");
            }
        }
    }
}

/// Creates a document that must exist only once. Nothing if it is ours now; what is there if it is not.
pub(crate) async fn create_once(
    storage: &Storage,
    place: &str,
    text: &Bytes,
) -> Result<Option<Bytes>, ArchiveError> {
    let mut pause = FIRST_PAUSE;
    for _ in 0..CREATE_TRIES {
        if storage.create(place, text.clone()).await? == Created::Yes {
            return Ok(None);
        }
        match storage.get(place).await? {
            // Ours, from a try whose answer was lost: the nonce in it makes it unmistakable.
            Some(found) if found == text => return Ok(None),
            Some(found) => return Ok(Some(found)),
            None => {
                tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                pause *= 2;
            }
        }
    }
    Err(ArchiveError::NoCreateIfAbsent {
        location: storage.display(),
        reason: format!("{place} is said to exist and is not there"),
    })
}

/// What it means that `theirs` was first.
pub(crate) fn refusal(
    partition: &PartitionKey,
    ours: &WriterIdentity,
    theirs: WriterIdentity,
    next: i64,
) -> ArchiveError {
    let partition = partition.clone();
    if theirs.backup_id != ours.backup_id {
        return ArchiveError::OwnedByOther {
            partition,
            owner: theirs,
        };
    }
    if theirs.order() > ours.order() {
        return ArchiveError::Fenced {
            partition,
            by: theirs,
        };
    }
    ArchiveError::Overtaken {
        partition,
        by: theirs,
        next,
    }
}
