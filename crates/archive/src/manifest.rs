//! The manifest: the small document whose creation is the commit of a stretch of a partition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::Codec;
use crate::dead_letters::DeadLetters;
use crate::error::{ArchiveError, Damage};
use crate::gaps::{GapCause, Gaps};
use crate::layout;
use crate::names::{PartitionKey, TopicId, TopicKey, WriterIdentity};
use crate::prune::Pruned;
use crate::sealed;

/// The timestamp of batches without one (`RecordBatch.NO_TIMESTAMP`).
pub(crate) const NO_TIMESTAMP: i64 = -1;

/// One link of a chain: what became of the offsets from `base` (inclusive) to `next` (exclusive).
///
/// All offsets are in batches of the segment or inside a recorded gap. Where the segment was pruned, all of them are in one
/// gap with that cause; counts and timestamps are then of what was there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format's version.
    pub format: u32,
    /// What a reader must understand beyond the format's version: `pruned`, `dead-letters`.
    pub requires: Vec<String>,
    /// The topic's name.
    pub topic: String,
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partition's number.
    pub partition: i32,
    /// The lineage of the partition.
    pub lineage: u32,
    /// The first offset (inclusive).
    pub base: i64,
    /// The offset after the last one: the base of the next manifest.
    pub next: i64,
    /// The checksum of the manifest before this one; of the fork for the first one of a lineage after the
    /// first; nothing for the very first one.
    pub previous: Option<String>,
    /// Random, one a commit; part of the segment's name.
    pub nonce: String,
    /// The segment, unless there is nothing but gaps.
    pub segment: Option<Segment>,
    /// The number of batches.
    pub batches: u64,
    /// The number of records, as the batch headers tell.
    pub records: u64,
    /// The size of the largest batch in bytes, to be held against a target's `max.message.bytes`.
    pub largest_batch: u64,
    /// The range of record timestamps; nothing where no batch has any.
    pub timestamps: Option<Timestamps>,
    /// Leader epochs with the first archived offset of each, ascending.
    pub leader_epochs: Vec<EpochStart>,
    /// Leader epochs with the offset from which on each has anything here, batches that are not kept
    /// included, ascending. Empty where it is the same as `leader_epochs`, and in manifests of versions before
    /// it; see [`Manifest::epoch_starts`].
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        rename = "epoch_starts"
    )]
    pub all_epochs: Vec<EpochStart>,
    /// The leader epoch of the last batch of the chain up to here, also when this manifest has none.
    pub last_leader_epoch: Option<i32>,
    /// The gaps.
    pub gaps: Gaps,
    /// The records that a plugin failed on and that were put aside, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<DeadLetters>,
    /// The digests of the plugins that the records went through, in order.
    pub plugins: Vec<String>,
    /// Who wrote it.
    pub writer: WriterIdentity,
    /// When it was written, in ms since 1970.
    pub committed_at: i64,
    /// What became of the segment, where it was pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// Its checksum as stored (where it was pruned: as it was stored before); the `previous` of the next one. Empty for an
    /// open segment's.
    #[serde(skip)]
    pub checksum: String,
    /// Whether this describes an open segment of a folder, which no manifest names yet.
    #[serde(skip)]
    pub open: bool,
    /// Whether its dead letters are taken for its records; see [`Archive::dead_letter_history`](crate::Archive::dead_letter_history).
    #[serde(skip)]
    pub(crate) letters_as_records: bool,
}

/// The segment that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The file's name in the lineage's folder.
    pub name: String,
    /// How the file is compressed.
    pub codec: Codec,
    /// The size of the file in bytes.
    pub stored_bytes: u64,
    /// The size of the batches in bytes: of the file when decompressed.
    pub raw_bytes: u64,
    /// The BLAKE3 hash of the file as stored, in hexadecimal.
    pub blake3: String,
    /// Where to begin reading: entries about 1 MiB of batches apart, the first one at position 0.
    pub index: Vec<IndexEntry>,
}

/// The range of timestamps in ms since 1970; batches without timestamp (−1) are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamps {
    /// The lowest timestamp that the batch headers show: a header tells its first record's timestamp and
    /// the highest one, so a record in the middle of a batch may be older. See `min_exact`.
    pub min: i64,
    /// The highest timestamp of any record.
    pub max: i64,
    /// Whether no record can be older than `min`: every batch has one record or LogAppendTime.
    pub min_exact: bool,
}

/// A leader epoch and the first archived offset that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i32, i64)", into = "(i32, i64)")]
pub struct EpochStart {
    /// The partition leader epoch in the batch headers.
    pub epoch: i32,
    /// The base offset of the first batch with it.
    pub offset: i64,
}

impl From<(i32, i64)> for EpochStart {
    fn from((epoch, offset): (i32, i64)) -> Self {
        Self { epoch, offset }
    }
}

impl From<EpochStart> for (i32, i64) {
    fn from(start: EpochStart) -> Self {
        (start.epoch, start.offset)
    }
}

/// A place in a segment at which a batch begins, and, with an outer codec, a frame. It speaks for the batches
/// up to the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[i64; 6]", into = "[i64; 6]")]
pub struct IndexEntry {
    /// The base offset of the first batch.
    pub offset: i64,
    /// Its position in the decompressed segment, in bytes.
    pub position: u64,
    /// The position of its frame in the stored file, in bytes; equals `position` without an outer codec.
    pub stored_position: u64,
    /// The lowest timestamp that the batch headers show, as in [`Timestamps::min`]; −1 for none.
    pub min_timestamp: i64,
    /// The highest timestamp; −1 for none.
    pub max_timestamp: i64,
    /// When the writer received the first batch, in ms since 1970.
    pub observed_at: i64,
}

impl From<[i64; 6]> for IndexEntry {
    fn from(columns: [i64; 6]) -> Self {
        let [
            offset,
            position,
            stored_position,
            min_timestamp,
            max_timestamp,
            observed_at,
        ] = columns;
        Self {
            offset,
            // Negative positions cannot be written; read as huge ones they fail the range checks.
            position: position as u64,
            stored_position: stored_position as u64,
            min_timestamp,
            max_timestamp,
            observed_at,
        }
    }
}

impl From<IndexEntry> for [i64; 6] {
    fn from(entry: IndexEntry) -> Self {
        [
            entry.offset,
            entry.position as i64,
            entry.stored_position as i64,
            entry.min_timestamp,
            entry.max_timestamp,
            entry.observed_at,
        ]
    }
}

impl Manifest {
    /// Where leader epochs begin in this stretch, as far as it was written down.
    pub fn epoch_starts(&self) -> &[EpochStart] {
        match self.all_epochs.is_empty() {
            true => &self.leader_epochs,
            false => &self.all_epochs,
        }
    }

    /// The partition it belongs to.
    pub fn partition_key(&self) -> PartitionKey {
        PartitionKey {
            topic: TopicKey {
                topic: self.topic.clone(),
                topic_id: self.topic_id,
            },
            partition: self.partition,
        }
    }

    /// Its path, relative to the archive's root; the open segment's where it is not committed.
    pub fn place(&self) -> String {
        let key = self.partition_key();
        match &self.segment {
            Some(segment) if self.open => layout::segment(&key, self.lineage, &segment.name),
            _ => layout::manifest(&key, self.lineage, self.base),
        }
    }

    /// The path of its segment, relative to the archive's root.
    pub fn segment_place(&self) -> Option<String> {
        let segment = self.segment.as_ref()?;
        Some(layout::segment(
            &self.partition_key(),
            self.lineage,
            &segment.name,
        ))
    }

    /// How many offsets are missing, by cause; causes without any are left out.
    pub fn missing_offsets(&self) -> BTreeMap<GapCause, u64> {
        GapCause::ALL
            .into_iter()
            .map(|cause| (cause, self.gaps.offsets(cause)))
            .filter(|(_, offsets)| *offsets > 0)
            .collect()
    }

    pub(crate) fn seal(&self) -> (Vec<u8>, String) {
        sealed::seal(self)
    }

    /// Reads and checks the manifest that was stored as `place` for `key`.
    pub(crate) fn read(
        key: &PartitionKey,
        lineage: u32,
        base: i64,
        text: &[u8],
    ) -> Result<Self, ArchiveError> {
        let place = layout::manifest(key, lineage, base);
        let (mut manifest, checksum) = sealed::unseal::<Self>(&place, text)?;
        manifest.checksum = match &manifest.pruned {
            Some(pruned) => pruned.checksum.clone(),
            None => checksum,
        };
        manifest.check_place(key, lineage, base, &place)?;
        manifest.check_content(&place)?;
        Ok(manifest)
    }

    /// Checks that it is the link after a manifest (or fork) that ends at `end` and has checksum `previous`.
    pub(crate) fn check_follows(
        &self,
        end: i64,
        previous: Option<&str>,
    ) -> Result<(), ArchiveError> {
        let wrong = |what: String| {
            Err(ArchiveError::Damaged(Box::new(Damage {
                place: self.place(),
                batch: None,
                offset: Some(end.min(self.base)),
                what,
            })))
        };
        if self.base > end {
            return wrong(format!(
                "the manifest before it, at offset {end}, is missing"
            ));
        }
        if self.base < end {
            return wrong(format!(
                "it overlaps the one before it, which ends at offset {end}"
            ));
        }
        if !self.open && self.previous.as_deref() != previous {
            return wrong("it does not name its predecessor's checksum".to_owned());
        }
        Ok(())
    }

    fn check_place(
        &self,
        key: &PartitionKey,
        lineage: u32,
        base: i64,
        place: &str,
    ) -> Result<(), ArchiveError> {
        if self.partition_key() != *key || self.lineage != lineage || self.base != base {
            return Err(ArchiveError::damaged(
                place,
                format!(
                    "it is the manifest of {} lineage {} at {}",
                    self.partition_key(),
                    self.lineage,
                    self.base
                ),
            ));
        }
        Ok(())
    }

    fn check_content(&self, place: &str) -> Result<(), ArchiveError> {
        let wrong = |what: &str| Err(ArchiveError::damaged(place, what));
        if self.base < 0 || self.next <= self.base {
            return wrong("its offsets do not ascend");
        }
        let mut end = self.base;
        for gap in self.gaps.iter(self.base) {
            if gap.start < end || gap.end > self.next {
                return wrong("its gaps overlap or leave its range");
            }
            end = gap.end;
        }
        self.check_pruned().or_else(wrong)?;
        let required = self
            .requires
            .iter()
            .any(|requirement| requirement == sealed::DEAD_LETTERS);
        let own = self.dead_letters.as_ref().is_none_or(|letters| {
            let (key, lineage) = (self.partition_key(), self.lineage);
            letters.place == layout::dead_letters(&key, lineage, self.base, &self.nonce)
        });
        if required != self.dead_letters.is_some() || !own {
            return wrong("what it says of its dead letters does not agree");
        }
        if let Some(segment) = &self.segment {
            if segment.name.contains('/') {
                return wrong("its segment's name is none");
            }
            let index = &segment.index;
            let starts_at_zero = index
                .first()
                .is_some_and(|entry| entry.position == 0 && entry.stored_position == 0);
            let ascends = index.is_sorted_by(|a, b| {
                a.offset < b.offset
                    && a.position < b.position
                    && a.stored_position < b.stored_position
            });
            let ends_inside = index.last().is_some_and(|entry| {
                entry.position < segment.raw_bytes
                    && entry.stored_position < segment.stored_bytes
                    && entry.offset < self.next
            });
            if !starts_at_zero || !ascends || !ends_inside {
                return wrong("its index does not ascend inside its segment");
            }
        }
        Ok(())
    }
}
