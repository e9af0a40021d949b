//! What an archive holds: topics with their incarnations, partitions, lineages; and snapshots of what topics
//! looked like over time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::archive::{Archive, now_ms};
use crate::error::ArchiveError;
use crate::layout;
use crate::lineage::LineageEntry;
use crate::names::{PartitionKey, TopicId, TopicKey, WriterIdentity, new_nonce};
use crate::sealed::{self, FORMAT};
use crate::storage::Created;

/// A topic when it was first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenesisInfo {
    /// The source cluster's id, where it has one.
    pub cluster_id: Option<String>,
    /// The number of partitions.
    pub partitions: i32,
    /// The topic's configuration: the entries that were set on the topic.
    pub configs: BTreeMap<String, String>,
}

/// `genesis.json`: an incarnation of a topic when it was first seen. Created once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The format's version.
    pub format: u32,
    /// What a reader must understand beyond the format's version.
    pub requires: Vec<String>,
    /// The topic's name.
    pub topic: String,
    /// The topic's id.
    pub topic_id: TopicId,
    /// The number of this incarnation among those of the name in this archive, from 1: "v1".
    pub incarnation: u32,
    /// The source cluster's id, where it has one.
    pub cluster_id: Option<String>,
    /// The number of partitions when first seen.
    pub partitions: i32,
    /// The topic's configuration when first seen.
    pub configs: BTreeMap<String, String>,
    /// When it was first seen, in ms since 1970.
    pub created_at: i64,
}

/// `v<N>.json`: which topic id has incarnation number N.
#[derive(Debug, Serialize, Deserialize)]
struct IncarnationDocument {
    format: u32,
    requires: Vec<String>,
    topic: String,
    topic_id: TopicId,
}

/// A topic's configuration and partition count at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSnapshot {
    /// The format's version.
    pub format: u32,
    /// What a reader must understand beyond the format's version.
    pub requires: Vec<String>,
    /// The topic's name.
    pub topic: String,
    /// The topic's id.
    pub topic_id: TopicId,
    /// When it was taken, in ms since 1970.
    pub taken_at: i64,
    /// The number of partitions.
    pub partitions: i32,
    /// The topic's configuration: the entries that were set on the topic.
    pub configs: BTreeMap<String, String>,
    /// Who took it.
    pub writer: WriterIdentity,
}

/// A topic of an archive with its incarnations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicEntry {
    /// The topic's name.
    pub name: String,
    /// Its incarnations by ascending number: the last one is the newest.
    pub incarnations: Vec<IncarnationEntry>,
}

/// One incarnation of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncarnationEntry {
    /// The topic's id.
    pub topic_id: TopicId,
    /// What it was when first seen.
    pub genesis: Genesis,
}

impl Archive {
    /// Records that a topic was first seen, or reads what was recorded then. To be called before anything
    /// of it is written.
    pub async fn genesis(
        &self,
        key: &TopicKey,
        info: GenesisInfo,
    ) -> Result<Genesis, ArchiveError> {
        key.check()?;
        if let Some(genesis) = self.read_genesis(key).await? {
            check_cluster(key, &genesis, &info)?;
            return Ok(genesis);
        }
        let genesis = Genesis {
            format: FORMAT,
            requires: Vec::new(),
            topic: key.topic.clone(),
            topic_id: key.topic_id,
            incarnation: self.claim_incarnation(key).await?,
            cluster_id: info.cluster_id.clone(),
            partitions: info.partitions,
            configs: info.configs.clone(),
            created_at: now_ms(),
        };
        let place = layout::genesis(key);
        let (text, _) = sealed::seal(&genesis);
        match self.storage().create(&place, text.into()).await? {
            Created::Yes => Ok(genesis),
            Created::Exists => {
                let theirs = self.read_genesis(key).await?;
                let theirs = theirs.ok_or_else(|| ArchiveError::damaged(place, "it vanished"))?;
                check_cluster(key, &theirs, &info)?;
                Ok(theirs)
            }
        }
    }

    /// Reads what was recorded when the topic was first seen, if it ever was.
    pub async fn read_genesis(&self, key: &TopicKey) -> Result<Option<Genesis>, ArchiveError> {
        key.check()?;
        let place = layout::genesis(key);
        let Some(text) = self.storage().get(&place).await? else {
            return Ok(None);
        };
        Ok(Some(sealed::unseal::<Genesis>(&place, &text)?.0))
    }

    /// Finds or claims the number of an incarnation. The claim is a document of its own, so that two writers
    /// that meet two incarnations of one name at the same time cannot take one number.
    async fn claim_incarnation(&self, key: &TopicKey) -> Result<u32, ArchiveError> {
        loop {
            let claims = self.read_claims(&key.topic).await?;
            if let Some((number, _)) = claims.iter().find(|(_, id)| *id == key.topic_id) {
                return Ok(*number);
            }
            let number = claims.iter().map(|(number, _)| *number).max().unwrap_or(0) + 1;
            let claim = IncarnationDocument {
                format: FORMAT,
                requires: Vec::new(),
                topic: key.topic.clone(),
                topic_id: key.topic_id,
            };
            let place = layout::incarnation(&key.topic, number);
            let (text, _) = sealed::seal(&claim);
            if self.storage().create(&place, text.into()).await? == Created::Yes {
                return Ok(number);
            }
        }
    }

    /// The claimed incarnation numbers of a topic.
    pub(crate) async fn read_claims(
        &self,
        topic: &str,
    ) -> Result<Vec<(u32, TopicId)>, ArchiveError> {
        let mut claims = Vec::new();
        for (name, _) in self.storage().list(&layout::topic_dir(topic)).await?.files {
            let Some(number) = incarnation_number(&name) else {
                continue;
            };
            let place = layout::incarnation(topic, number);
            if let Some(text) = self.storage().get(&place).await? {
                let (claim, _) = sealed::unseal::<IncarnationDocument>(&place, &text)?;
                claims.push((number, claim.topic_id));
            }
        }
        Ok(claims)
    }

    /// Records a topic's configuration and partition count as seen at `taken_at` (ms since 1970).
    pub async fn snapshot_topic(
        &self,
        writer: &WriterIdentity,
        key: &TopicKey,
        configs: BTreeMap<String, String>,
        partitions: i32,
        taken_at: i64,
    ) -> Result<(), ArchiveError> {
        key.check()?;
        writer.check()?;
        let name = format!(
            "{}.{}.{}.json",
            layout::digits(taken_at.max(0)),
            writer.backup_id,
            new_nonce()
        );
        let snapshot = TopicSnapshot {
            format: FORMAT,
            requires: Vec::new(),
            topic: key.topic.clone(),
            topic_id: key.topic_id,
            taken_at,
            partitions,
            configs,
            writer: writer.clone(),
        };
        let (text, _) = sealed::seal(&snapshot);
        // The nonce makes the name new: if it exists, an answer was lost and it is this very snapshot.
        self.storage()
            .create(&format!("{}/{name}", layout::snapshots(key)), text.into())
            .await?;
        Ok(())
    }

    /// The snapshots of a topic by ascending time.
    pub async fn snapshots(&self, key: &TopicKey) -> Result<Vec<TopicSnapshot>, ArchiveError> {
        let names = self.snapshot_names(key).await?;
        let mut snapshots = Vec::with_capacity(names.len());
        for name in names {
            snapshots.extend(self.read_snapshot(key, &name).await?);
        }
        Ok(snapshots)
    }

    /// The newest snapshot of a topic taken at or before `until` (ms since 1970).
    pub async fn latest_snapshot(
        &self,
        key: &TopicKey,
        until: i64,
    ) -> Result<Option<TopicSnapshot>, ArchiveError> {
        let names = self.snapshot_names(key).await?;
        let newest = names
            .iter()
            .rfind(|name| layout::leading_digits(name).is_some_and(|taken_at| taken_at <= until));
        match newest {
            Some(name) => self.read_snapshot(key, name).await,
            None => Ok(None),
        }
    }

    pub(crate) async fn snapshot_names(&self, key: &TopicKey) -> Result<Vec<String>, ArchiveError> {
        key.check()?;
        let listing = self.storage().list(&layout::snapshots(key)).await?;
        Ok(listing.files.into_iter().map(|(name, _)| name).collect())
    }

    pub(crate) async fn read_snapshot(
        &self,
        key: &TopicKey,
        name: &str,
    ) -> Result<Option<TopicSnapshot>, ArchiveError> {
        let place = format!("{}/{name}", layout::snapshots(key));
        let Some(text) = self.storage().get(&place).await? else {
            return Ok(None);
        };
        Ok(Some(sealed::unseal(&place, &text)?.0))
    }

    /// All topics, by name.
    pub async fn topics(&self) -> Result<Vec<TopicEntry>, ArchiveError> {
        let mut topics = Vec::new();
        for name in self.topic_names().await? {
            topics.extend(self.topic(&name).await?);
        }
        Ok(topics)
    }

    /// The names of all topics that have a directory, whatever state their documents are in, ascending.
    pub async fn topic_names(&self) -> Result<Vec<String>, ArchiveError> {
        Ok(self.storage().list(layout::TOPICS).await?.directories)
    }

    /// One topic by its name; nothing if nothing was ever written of it. Damage of others does not matter.
    pub async fn topic(&self, name: &str) -> Result<Option<TopicEntry>, ArchiveError> {
        let mut incarnations = Vec::new();
        for key in self.incarnations(name).await? {
            match self.read_genesis(&key).await? {
                Some(genesis) => incarnations.push(IncarnationEntry {
                    topic_id: key.topic_id,
                    genesis,
                }),
                None if self.partitions(&key).await?.is_empty() => {}
                None => {
                    return Err(ArchiveError::damaged(
                        layout::genesis(&key),
                        "it is missing, but the topic has partitions",
                    ));
                }
            }
        }
        incarnations.sort_by_key(|entry| entry.genesis.incarnation);
        Ok((!incarnations.is_empty()).then(|| TopicEntry {
            name: name.to_owned(),
            incarnations,
        }))
    }

    /// Every incarnation of every topic that has a directory, whatever state its documents are in.
    pub async fn topic_keys(&self) -> Result<Vec<TopicKey>, ArchiveError> {
        let mut keys = Vec::new();
        for name in self.storage().list(layout::TOPICS).await?.directories {
            keys.extend(self.incarnations(&name).await?);
        }
        Ok(keys)
    }

    /// The keys of all directories of a topic.
    pub(crate) async fn incarnations(&self, topic: &str) -> Result<Vec<TopicKey>, ArchiveError> {
        let listing = self.storage().list(&layout::topic_dir(topic)).await?;
        let keys = listing.directories.iter().filter_map(|id| {
            let id = id.parse::<TopicId>().ok()?;
            Some(TopicKey::new(topic, id))
        });
        Ok(keys.collect())
    }

    /// The numbers of the partitions that have anything, ascending.
    pub async fn partitions(&self, key: &TopicKey) -> Result<Vec<i32>, ArchiveError> {
        key.check()?;
        let committed = layout::manifests_of_topic(key);
        let segments = layout::incarnation_dir(key);
        self.numbered(&committed, &segments).await
    }

    /// The lineages of a partition, ascending: the last one holds the newest history.
    pub async fn lineages(&self, key: &PartitionKey) -> Result<Vec<LineageEntry>, ArchiveError> {
        key.check()?;
        let mut entries = Vec::new();
        for lineage in self.lineages_there(key).await? {
            let fork = self.read_fork(key, lineage).await?;
            entries.push(LineageEntry { lineage, fork });
        }
        Ok(entries)
    }

    /// The numbers of the lineages that have anything, ascending, whatever state their documents are in.
    pub async fn lineage_numbers(&self, key: &PartitionKey) -> Result<Vec<u32>, ArchiveError> {
        key.check()?;
        self.lineages_there(key).await
    }

    /// The numbers of the lineages that have anything, ascending.
    pub(crate) async fn lineages_there(
        &self,
        key: &PartitionKey,
    ) -> Result<Vec<u32>, ArchiveError> {
        let committed = layout::manifests_of_partition(key);
        let segments = layout::segment_partition_dir(key);
        self.numbered(&committed, &segments).await
    }

    /// The directories with numbers for names in either of two directories.
    async fn numbered<N: std::str::FromStr + Ord>(
        &self,
        one: &str,
        other: &str,
    ) -> Result<Vec<N>, ArchiveError> {
        let mut numbers = BTreeSet::new();
        for directory in [one, other] {
            let names = self.storage().list(directory).await?.directories;
            numbers.extend(names.iter().filter_map(|name| name.parse::<N>().ok()));
        }
        Ok(numbers.into_iter().collect())
    }
}

fn incarnation_number(name: &str) -> Option<u32> {
    name.strip_prefix('v')?.strip_suffix(".json")?.parse().ok()
}

/// Without topic ids, only the cluster's id tells two topics of one name apart.
fn check_cluster(
    key: &TopicKey,
    genesis: &Genesis,
    info: &GenesisInfo,
) -> Result<(), ArchiveError> {
    match (&genesis.cluster_id, &info.cluster_id) {
        (Some(archived), Some(found)) if key.topic_id == TopicId::None && archived != found => {
            Err(ArchiveError::OtherCluster {
                topic: key.topic.clone(),
                archived: archived.clone(),
                found: found.clone(),
            })
        }
        _ => Ok(()),
    }
}
