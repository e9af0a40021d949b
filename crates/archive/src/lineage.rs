//! Lineages: what happens to a chain when the source's history changed under it.
//!
//! An unclean leader election can cut a log and grow it again differently. What was archived stays; the chain
//! ends, and the next lineage of the partition begins with a fork document that says where. The history that
//! a lineage stands for is its parent's up to the fork, then its own.

use serde::{Deserialize, Serialize};

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::layout;
use crate::names::{PartitionKey, TopicId, WriterIdentity};
use crate::sealed;

/// `fork.json`: the beginning of a lineage after the first. Created once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The format's version.
    pub format: u32,
    /// What a reader must understand beyond the format's version.
    pub requires: Vec<String>,
    /// The topic's name.
    pub topic: String,
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partition's number.
    pub partition: i32,
    /// The lineage that begins here; its parent has the number before.
    pub lineage: u32,
    /// The offset at which the histories part: below it the parent's holds, from it on this lineage's.
    pub base: i64,
    /// The end of the parent's chain when this lineage began (exclusive). What the parent has from `base`
    /// up to here is history that the source no longer has.
    pub parent_next: i64,
    /// The checksum of the parent's newest manifest then; nothing if it had none.
    pub previous: Option<String>,
    /// The leader epoch of the last common record, if known.
    pub leader_epoch: Option<i32>,
    /// Who found the divergence.
    pub writer: WriterIdentity,
    /// When, in ms since 1970.
    pub created_at: i64,
    /// Its checksum as stored; the `previous` of the lineage's first manifest.
    #[serde(skip)]
    pub checksum: String,
}

/// One lineage of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineageEntry {
    /// Its number, from 0.
    pub lineage: u32,
    /// How it began; nothing for lineage 0.
    pub fork: Option<Fork>,
}

impl Archive {
    /// Reads the document that began a lineage; nothing for lineage 0 and for lineages that do not exist.
    pub(crate) async fn read_fork(
        &self,
        key: &PartitionKey,
        lineage: u32,
    ) -> Result<Option<Fork>, ArchiveError> {
        if lineage == 0 {
            return Ok(None);
        }
        let place = layout::fork(key, lineage);
        let Some(text) = self.storage().get(&place).await? else {
            return Ok(None);
        };
        let (mut fork, checksum) = sealed::unseal::<Fork>(&place, &text)?;
        let in_place = fork.topic == key.topic.topic
            && fork.topic_id == key.topic.topic_id
            && fork.partition == key.partition
            && fork.lineage == lineage
            && fork.base >= 0;
        if !in_place {
            return Err(ArchiveError::damaged(
                place,
                "it is the fork of another lineage",
            ));
        }
        fork.checksum = checksum;
        Ok(Some(fork))
    }
}
