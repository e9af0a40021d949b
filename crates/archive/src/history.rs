//! Chains as readers see them: checked from link to link, with what an open segment adds at the end.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;

use futures::{StreamExt as _, TryStreamExt as _};

use crate::archive::Archive;
use crate::codec::Codec;
use crate::dead_letters::DeadLetters;
use crate::error::ArchiveError;
use crate::layout;
use crate::manifest::{Manifest, Segment};
use crate::names::{PartitionKey, WriterIdentity};
use crate::sealed::FORMAT;
use crate::storage::{Folder, blocking, io_error};
use crate::tail;

/// How many manifests are read at a time.
const READS_IN_FLIGHT: usize = 16;
/// How often a chain is read anew because its writer moved an open segment meanwhile.
const MOVED_TRIES: u32 = 10;

/// A part of a partition's history: a manifest, of which the offsets below `until` count.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPart {
    /// The manifest; it knows its lineage.
    pub manifest: Manifest,
    /// The end (exclusive) of what belongs to the history: the manifest's `next`, or less where a later
    /// lineage parted from its parent inside of it.
    pub until: i64,
}

/// A segment that a manifest names and that is not there in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingSegment {
    /// The segment's path, relative to the archive's root.
    pub place: String,
    /// The first offset (inclusive) of its manifest.
    pub base: i64,
    /// The end (exclusive) of its manifest.
    pub next: i64,
    /// The size it should have, in bytes.
    pub expected_bytes: u64,
    /// The size it has; nothing if it does not exist.
    pub found_bytes: Option<u64>,
}

impl Archive {
    /// The chain of one lineage alone, with what is recovered of open segments at its end. Every checksum,
    /// link and predecessor hash is checked. For all offsets of a partition see [`history`](Self::history).
    pub async fn chain_manifests(
        &self,
        key: &PartitionKey,
        lineage: u32,
    ) -> Result<Vec<Manifest>, ArchiveError> {
        key.check()?;
        let fork = self.read_fork(key, lineage).await?;
        let (start, previous) = match fork {
            Some(fork) => (fork.base, Some(fork.checksum)),
            None => (0, None),
        };
        for _ in 0..MOVED_TRIES {
            let mut chain = self
                .committed_chain(key, lineage, start, previous.clone())
                .await?;
            let end = chain.last().map_or(start, |last| last.next);
            if let Some(open) = self.open_tail(key, lineage, end).await? {
                chain.extend(open);
                return Ok(chain);
            }
        }
        Err(ArchiveError::damaged(
            layout::segment_dir(key, lineage),
            "its open segments keep moving",
        ))
    }

    /// What a partition's newest (or the given) lineage stands for, from offset 0 on: its parents' chains up
    /// to the forks, then its own. The parts follow each other without holes.
    pub async fn history(
        &self,
        key: &PartitionKey,
        lineage: Option<u32>,
    ) -> Result<Vec<HistoryPart>, ArchiveError> {
        let lineage = match lineage {
            Some(lineage) => lineage,
            None => self
                .lineages(key)
                .await?
                .last()
                .map_or(0, |newest| newest.lineage),
        };
        let mut parts = Vec::new();
        let mut until = i64::MAX;
        for lineage in (0..=lineage).rev() {
            let mut chain = self.chain_manifests(key, lineage).await?;
            chain.retain(|manifest| manifest.base < until);
            let older = chain.into_iter().rev().map(|manifest| HistoryPart {
                until: manifest.next.min(until),
                manifest,
            });
            parts.extend(older);
            if let Some(fork) = self.read_fork(key, lineage).await? {
                until = until.min(fork.base);
            }
        }
        parts.reverse();
        Ok(parts)
    }

    /// Which segments of the given manifests are missing or have a wrong size. One that was pruned since its manifest was read
    /// is not among them; reading it tells.
    pub async fn check_segments(
        &self,
        manifests: &[Manifest],
    ) -> Result<Vec<MissingSegment>, ArchiveError> {
        let mut folders: BTreeMap<String, HashMap<String, u64>> = BTreeMap::new();
        let mut missing = Vec::new();
        for manifest in manifests.iter().filter(|manifest| !manifest.open) {
            let Some(segment) = &manifest.segment else {
                continue;
            };
            let key = manifest.partition_key();
            let folder = match manifest.letters_as_records {
                true => layout::dead_letters_dir(&key, manifest.lineage),
                false => layout::segment_dir(&key, manifest.lineage),
            };
            if !folders.contains_key(&folder) {
                let listing = self.storage().list(&folder).await?;
                folders.insert(folder.clone(), listing.files.into_iter().collect());
            }
            let found = folders[&folder].get(&segment.name).copied();
            if found != Some(segment.stored_bytes) && !self.was_pruned(manifest).await? {
                missing.push(MissingSegment {
                    place: format!("{folder}/{}", segment.name),
                    base: manifest.base,
                    next: manifest.next,
                    expected_bytes: segment.stored_bytes,
                    found_bytes: found,
                });
            }
        }
        Ok(missing)
    }

    /// Reads and checks one manifest, if it is there.
    pub(crate) async fn read_manifest(
        &self,
        key: &PartitionKey,
        lineage: u32,
        base: i64,
    ) -> Result<Option<Manifest>, ArchiveError> {
        let place = layout::manifest(key, lineage, base);
        match self.storage().get(&place).await? {
            Some(text) => Manifest::read(key, lineage, base, &text).map(Some),
            None => Ok(None),
        }
    }

    /// The bases of a lineage's manifests, ascending, as their names tell.
    pub(crate) async fn manifest_bases(
        &self,
        key: &PartitionKey,
        lineage: u32,
    ) -> Result<Vec<i64>, ArchiveError> {
        let listing = self
            .storage()
            .list(&layout::manifest_dir(key, lineage))
            .await?;
        let bases = listing.files.iter().filter_map(|(name, _)| {
            let digits = name.strip_suffix(".json")?;
            layout::leading_digits(digits)
        });
        Ok(bases.collect())
    }

    async fn committed_chain(
        &self,
        key: &PartitionKey,
        lineage: u32,
        start: i64,
        mut previous: Option<String>,
    ) -> Result<Vec<Manifest>, ArchiveError> {
        let bases = self.manifest_bases(key, lineage).await?;
        let read = async |base| {
            let manifest = self.read_manifest(key, lineage, base).await?;
            manifest.ok_or_else(|| {
                ArchiveError::damaged(layout::manifest(key, lineage, base), "it vanished")
            })
        };
        let chain: Vec<Manifest> = futures::stream::iter(bases)
            .map(read)
            .buffered(READS_IN_FLIGHT)
            .try_collect()
            .await?;
        let mut end = start;
        for manifest in &chain {
            manifest.check_follows(end, previous.as_deref())?;
            end = manifest.next;
            previous = Some(manifest.checksum.clone());
        }
        Ok(chain)
    }

    /// What open segments of a folder add to a chain that ends at `end`; nothing at all if a writer moved one
    /// while it was read.
    pub(crate) async fn open_tail(
        &self,
        key: &PartitionKey,
        lineage: u32,
        end: i64,
    ) -> Result<Option<Vec<Manifest>>, ArchiveError> {
        let Some(folder) = self.storage().folder().cloned() else {
            return Ok(Some(Vec::new()));
        };
        let task_key = key.clone();
        let tail = blocking(move || open_manifests(&folder, &task_key, lineage, end)).await?;
        // A manifest that appeared since the chain was listed covers what was an open segment.
        let committed = self
            .storage()
            .size(&layout::manifest(key, lineage, end))
            .await?;
        Ok(tail.filter(|_| committed.is_none()))
    }
}

fn open_manifests(
    folder: &Folder,
    key: &PartitionKey,
    lineage: u32,
    mut end: i64,
) -> Result<Option<Vec<Manifest>>, ArchiveError> {
    let directory = layout::segment_dir(key, lineage);
    let mut manifests = Vec::new();
    for name in folder.names(&directory)? {
        let Some((base, nonce)) = layout::open_name(&name).filter(|(base, _)| *base == end) else {
            continue;
        };
        let path = folder.path(&format!("{directory}/{name}"));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", path)(error)),
        };
        let place = format!("{directory}/{name}");
        let sidecar = path.with_extension(layout::MARK);
        let tail = tail::read(&file, &sidecar, &place, key, lineage, base)?;
        let content = tail.content;
        if content.next == content.base {
            continue;
        }
        end = content.next;
        // They are in the sidecar.
        let place = format!(
            "{directory}/{}.{nonce}.{}",
            layout::digits(base),
            layout::MARK
        );
        let dead_letters = match content.dead_letters.as_slice() {
            [] => None,
            letters => Some(DeadLetters::of(place, key, letters)?.0),
        };
        let all_epochs = content.epoch_starts_beyond_batches();
        let segment = (content.batches > 0).then(|| Segment {
            name: name.clone(),
            codec: Codec::None,
            stored_bytes: content.raw_bytes,
            raw_bytes: content.raw_bytes,
            blake3: tail.digest.finalize().to_hex().to_string(),
            index: content.index,
        });
        manifests.push(Manifest {
            format: FORMAT,
            requires: Vec::new(),
            dead_letters,
            topic: key.topic.topic.clone(),
            topic_id: key.topic.topic_id,
            partition: key.partition,
            lineage,
            base,
            next: content.next,
            previous: None,
            nonce: nonce.to_owned(),
            segment,
            batches: content.batches,
            records: content.records,
            largest_batch: content.largest_batch,
            timestamps: content.timestamps,
            last_leader_epoch: content.last_leader_epoch,
            all_epochs,
            leader_epochs: content.leader_epochs,
            gaps: content.gaps,
            plugins: Vec::new(),
            writer: tail
                .header
                .map_or_else(unknown_writer, |header| header.writer),
            committed_at: 0,
            pruned: None,
            checksum: String::new(),
            open: true,
            letters_as_records: false,
        });
    }
    Ok(Some(manifests))
}

/// An open segment that was never flushed does not tell whose it is.
fn unknown_writer() -> WriterIdentity {
    WriterIdentity {
        backup_id: String::new(),
        generation: 0,
        group_generation: 0,
        worker: None,
        nonce: String::new(),
    }
}
