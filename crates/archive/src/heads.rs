//! Hints where chains end, so that a start needs no listing of years of manifests.
//!
//! A hint is never authoritative: a writer that follows it verifies the manifest it points to, and probes on
//! from there; one that is wrong or missing costs a listing.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::archive::{Archive, now_ms};
use crate::error::ArchiveError;
use crate::layout;
use crate::names::{PartitionKey, TopicId, TopicKey, WriterIdentity, check_name};
use crate::sealed::{self, FORMAT};

/// Where the chain of a partition ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainEnd {
    /// The partition.
    pub partition: PartitionKey,
    /// Its newest lineage.
    pub lineage: u32,
    /// The base of the newest manifest.
    pub base: i64,
    /// The end of the newest manifest (exclusive).
    pub next: i64,
}

/// `[lineage, base, next]` by partition, topic id and topic.
type Chains = BTreeMap<String, BTreeMap<String, BTreeMap<i32, (u32, i64, i64)>>>;

/// `heads/<writer>.json`.
#[derive(Debug, Serialize, Deserialize)]
struct HeadDocument {
    format: u32,
    requires: Vec<String>,
    writer: WriterIdentity,
    written_at: i64,
    chains: Chains,
}

/// What this process knows of the ends of chains.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    known: Mutex<Option<HashMap<PartitionKey, ChainEnd>>>,
    /// What the head files that this process writes hold.
    written: Mutex<HashMap<String, Chains>>,
}

impl Archive {
    /// Writes a hint where the given chains end to `heads/<name>.json`; one name for each concurrent writer,
    /// e.g. the backup's id and the worker's number. Chains in that file that are not given are kept.
    pub async fn write_head(
        &self,
        name: &str,
        writer: &WriterIdentity,
        chains: &[ChainEnd],
    ) -> Result<(), ArchiveError> {
        check_name("head", name, 220)?;
        let mut written = self.heads().written.lock().await;
        let merged = match written.entry(name.to_owned()) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let old = self.read_head(name).await?.map(|document| document.chains);
                entry.insert(old.unwrap_or_default())
            }
        };
        for end in chains {
            merged
                .entry(end.partition.topic.topic.clone())
                .or_default()
                .entry(end.partition.topic.topic_id.to_string())
                .or_default()
                .insert(end.partition.partition, (end.lineage, end.base, end.next));
        }
        let document = HeadDocument {
            format: FORMAT,
            requires: Vec::new(),
            writer: writer.clone(),
            written_at: now_ms(),
            chains: merged.clone(),
        };
        let (text, _) = sealed::seal(&document);
        self.storage()
            .replace(&layout::head(name), text.into())
            .await
    }

    /// The best hint for a partition. All heads are read once, when the first partition asks.
    pub(crate) async fn hint(&self, key: &PartitionKey) -> Result<Option<ChainEnd>, ArchiveError> {
        let mut known = self.heads().known.lock().await;
        if known.is_none() {
            *known = Some(self.read_heads().await?);
        }
        Ok(known.as_ref().and_then(|known| known.get(key).cloned()))
    }

    /// Remembers where a chain ends now.
    pub(crate) async fn learn_end(&self, end: ChainEnd) {
        if let Some(known) = &mut *self.heads().known.lock().await {
            keep_furthest(known, end);
        }
    }

    /// All hints of all writers.
    pub(crate) async fn read_heads(&self) -> Result<HashMap<PartitionKey, ChainEnd>, ArchiveError> {
        let mut known = HashMap::new();
        for (file, _) in self.storage().list(layout::HEADS).await?.files {
            let Some(name) = file.strip_suffix(".json") else {
                continue;
            };
            let Some(document) = self.read_head(name).await? else {
                continue;
            };
            for end in chain_ends(document.chains) {
                keep_furthest(&mut known, end);
            }
        }
        Ok(known)
    }

    async fn read_head(&self, name: &str) -> Result<Option<HeadDocument>, ArchiveError> {
        let path = layout::head(name);
        let Some(text) = self.storage().get(&path).await? else {
            return Ok(None);
        };
        match sealed::unseal::<HeadDocument>(&path, &text) {
            Ok((document, _)) => Ok(Some(document)),
            Err(error) => {
                tracing::warn!(%error, "a head hint is left aside");
                Ok(None)
            }
        }
    }
}

fn keep_furthest(known: &mut HashMap<PartitionKey, ChainEnd>, end: ChainEnd) {
    let place = |end: &ChainEnd| (end.lineage, end.base);
    match known.get_mut(&end.partition) {
        Some(other) if place(other) >= place(&end) => {}
        Some(other) => *other = end,
        None => {
            known.insert(end.partition.clone(), end);
        }
    }
}

fn chain_ends(chains: Chains) -> impl Iterator<Item = ChainEnd> {
    chains.into_iter().flat_map(|(topic, ids)| {
        ids.into_iter().flat_map(move |(id, partitions)| {
            let key = id
                .parse::<TopicId>()
                .ok()
                .map(|id| TopicKey::new(&topic, id));
            let end = move |(partition, (lineage, base, next))| {
                Some(ChainEnd {
                    partition: key.as_ref()?.partition(partition),
                    lineage,
                    base,
                    next,
                })
            };
            partitions.into_iter().filter_map(end)
        })
    })
}
