//! Snapshots of consumer groups: which offsets they had committed at a time.

use serde::{Deserialize, Serialize};

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::layout;
use crate::names::{TopicId, new_nonce};
use crate::sealed::{self, FORMAT};

/// What consumer groups of a cluster had committed at a time. Created once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsSnapshot {
    /// The format's version.
    pub format: u32,
    /// What a reader must understand beyond the format's version.
    pub requires: Vec<String>,
    /// When it was begun, in ms since 1970.
    pub taken_at: i64,
    /// The cluster's id, where it has one.
    pub cluster_id: Option<String>,
    /// The groups, by name.
    pub groups: Vec<GroupOffsets>,
}

/// What one group had committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOffsets {
    /// Its id.
    pub group: String,
    /// `consumer`, `connect` and the like; empty for one that only commits offsets.
    pub protocol_type: String,
    /// Its offsets, by topic and partition.
    pub offsets: Vec<GroupOffset>,
}

/// Where a group stood in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOffset {
    /// The topic's name.
    pub topic: String,
    /// The topic's id; null if the topic was not there any more.
    pub topic_id: Option<TopicId>,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the record before it, where the group told it.
    pub leader_epoch: Option<i32>,
    /// What the group had written beside it.
    pub metadata: String,
}

impl GroupsSnapshot {
    /// A snapshot begun at `taken_at` (ms since 1970).
    pub fn new(taken_at: i64, cluster_id: Option<String>, groups: Vec<GroupOffsets>) -> Self {
        GroupsSnapshot {
            format: FORMAT,
            requires: Vec::new(),
            taken_at,
            cluster_id,
            groups,
        }
    }
}

impl Archive {
    /// Keeps a snapshot of consumer groups. Returns its place in the archive.
    pub async fn snapshot_groups(&self, snapshot: &GroupsSnapshot) -> Result<String, ArchiveError> {
        let taken_at = layout::digits(snapshot.taken_at.max(0));
        let place = format!(
            "{}/{taken_at}.{}.json",
            layout::GROUP_SNAPSHOTS,
            new_nonce()
        );
        let (text, _) = sealed::seal(snapshot);
        // The nonce makes the name new: if it exists, an answer was lost and it is this very snapshot.
        self.storage().create(&place, text.into()).await?;
        Ok(place)
    }

    /// The newest snapshot of consumer groups taken at or before `until` (ms since 1970).
    pub async fn latest_group_snapshot(
        &self,
        until: i64,
    ) -> Result<Option<GroupsSnapshot>, ArchiveError> {
        let files = self.storage().list(layout::GROUP_SNAPSHOTS).await?.files;
        let newest = files.iter().rfind(|(name, _)| {
            name.ends_with(".json")
                && layout::leading_digits(name).is_some_and(|taken_at| taken_at <= until)
        });
        let Some((name, _)) = newest else {
            return Ok(None);
        };
        let place = format!("{}/{name}", layout::GROUP_SNAPSHOTS);
        let Some(text) = self.storage().get(&place).await? else {
            return Ok(None);
        };
        Ok(Some(sealed::unseal(&place, &text)?.0))
    }
}
