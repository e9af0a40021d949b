//! How far a verification has read, so that another can go on from there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Finding, Progress, VerifyReport};
use crate::layout;
use crate::manifest::Manifest;
use crate::names::PartitionKey;

/// Which segments a verification has read, and what it found in them. It is plain data; keep it where you like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyState {
    /// Of which archive.
    pub archive: Uuid,
    /// Whether the verification came to its end.
    pub finished: bool,
    /// By the folder of a chain's manifests.
    chains: BTreeMap<String, ReadChain>,
}

/// What was read of one chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ReadChain {
    /// All segments below this offset.
    next: i64,
    /// The checksum of the manifest that ends there. Through it hangs every manifest before: if it is the same, they are.
    checksum: String,
    checked: Progress,
    findings: Vec<Finding>,
}

impl VerifyState {
    /// Nothing was read of this archive yet.
    pub fn new(archive: Uuid) -> Self {
        Self {
            archive,
            ..Self::default()
        }
    }

    /// The state, if it is of that archive; else an empty one.
    pub(super) fn of(self, archive: Uuid) -> Self {
        match self.archive == archive {
            true => Self {
                finished: false,
                ..self
            },
            false => Self::new(archive),
        }
    }

    /// Notes that a segment was read, after the ones before it.
    pub(super) fn read(
        &mut self,
        key: &PartitionKey,
        lineage: u32,
        manifest: &Manifest,
        checked: Progress,
        found: Vec<Finding>,
    ) {
        // An open segment goes on to grow.
        if manifest.open {
            return;
        }
        let chain = self
            .chains
            .entry(layout::manifest_dir(key, lineage))
            .or_default();
        chain.next = manifest.next;
        chain.checksum = manifest.checksum.clone();
        chain.checked.add(&checked);
        chain.findings.extend(found);
    }
}

impl VerifyReport {
    /// Takes over what the state tells of a chain; up to which offset (exclusive) its segments were read. Nothing where the chain
    /// is no longer the one that was read.
    pub(super) fn take_known(
        &mut self,
        key: &PartitionKey,
        lineage: u32,
        manifests: &[Manifest],
    ) -> i64 {
        let place = layout::manifest_dir(key, lineage);
        let Some(chain) = self.state.chains.get(&place) else {
            return 0;
        };
        let is_same = |manifest: &Manifest| {
            manifest.next == chain.next && manifest.checksum == chain.checksum
        };
        if !manifests.iter().any(is_same) {
            self.state.chains.remove(&place);
            return 0;
        }
        self.checked.add(&chain.checked);
        self.findings.extend(chain.findings.iter().cloned());
        chain.next
    }
}

impl Progress {
    pub(super) fn add(&mut self, other: &Self) {
        self.partitions += other.partitions;
        self.manifests += other.manifests;
        self.segments += other.segments;
        self.dead_letters += other.dead_letters;
        self.batches += other.batches;
        self.records += other.records;
        self.bytes += other.bytes;
    }
}
