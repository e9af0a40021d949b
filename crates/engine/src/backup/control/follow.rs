//! Which topics there are, and what became of them: new ones, grown ones, those that are gone or were created again.

use std::collections::BTreeMap;
use std::sync::Arc;

use armory_archive::{ArchiveError, PartitionKey, PartitionWriter, WriterOptions};
use armory_kafka::{Metadata, TopicFilter, TopicMetadata};
use futures::{StreamExt, stream};

use super::super::catalog::{Followed, compare};
use super::super::partition::{Partition, Phase, Topic};
use super::Control;
use crate::backup::Until;
use crate::error::sentence;
use crate::{EngineError, Level};

/// Partitions opened at once.
const OPENING: usize = 32;

/// Whether a partition is somebody else's, while the rest of the archive may be ours.
fn is_taken(error: &ArchiveError) -> bool {
    matches!(
        error,
        ArchiveError::OwnedByOther { .. }
            | ArchiveError::Fenced { .. }
            | ArchiveError::Locked { .. }
    )
}

impl Control {
    /// Looks at the cluster: new topics, new partitions, new incarnations, leaders that moved.
    pub(super) async fn refresh(&mut self) -> Result<(), EngineError> {
        let metadata = self.shared.client.metadata(TopicFilter::All).await?;
        let changes = compare(&metadata, &self.job.topics, &self.topics);
        for name in changes.gone {
            self.on_gone(&name);
        }
        // `--once` archives what was there when it began.
        if self.until == Until::Stopped || self.topics.is_empty() {
            for topic in changes.new.iter().chain(&changes.grown) {
                self.follow_topic(&metadata, topic).await?;
            }
        }
        let unplaced = std::mem::take(&mut self.unplaced);
        if !unplaced.is_empty() {
            self.place(&metadata, unplaced).await?;
        }
        Ok(())
    }

    fn on_gone(&mut self, name: &str) {
        let Some(followed) = self.topics.get_mut(name) else {
            return;
        };
        followed.present = false;
        let partitions: Vec<_> = followed.partitions.values().cloned().collect();
        self.remark(Level::Warning, format!("topic {name} is gone from the cluster; its archive stays, and a topic of that name is followed again when it appears"));
        for partition in partitions {
            if self.until == Until::CaughtUp && partition.state().phase == Phase::Streaming {
                let at = partition.state().writer.next_offset();
                self.fail(
                    &partition,
                    format!(
                        "{} was deleted while it was backed up, at offset {at}",
                        partition.name()
                    ),
                );
            } else {
                self.seal(&partition);
            }
        }
    }

    /// Opens what is not open of a topic. Another topic id than before is another incarnation: the old one is closed.
    async fn follow_topic(
        &mut self,
        metadata: &Metadata,
        meta: &TopicMetadata,
    ) -> Result<(), EngineError> {
        if let Some(old) = self.topics.get(&meta.name)
            && old.topic.id != meta.id
        {
            let old = self
                .topics
                .remove(&meta.name)
                .expect("it was there a line ago");
            for partition in old.partitions.values() {
                self.unassign(partition);
                self.seal(partition);
            }
        }
        let (topic, key, incarnation) = match self.topics.get(&meta.name) {
            Some(known) => (
                Arc::clone(&known.topic),
                crate::storage::topic_key(meta),
                None,
            ),
            None => {
                let (topic, key, incarnation) = self.describe(metadata, meta).await?;
                (topic, key, Some(incarnation))
            }
        };
        if let Some(incarnation) = incarnation {
            self.remark(
                Level::Info,
                format!(
                    "following topic {} (v{incarnation}, {} partitions)",
                    meta.name,
                    meta.partitions.len()
                ),
            );
        }
        let known = self
            .topics
            .get(&meta.name)
            .map(|followed| followed.partitions.keys().copied().collect::<Vec<_>>());
        let known = known.unwrap_or_default();
        let new = meta
            .partitions
            .iter()
            .map(|partition| &partition.index)
            .filter(|index| !known.contains(index));
        let opening: Vec<_> = new
            .map(|index| {
                let key = PartitionKey {
                    topic: key.clone(),
                    partition: *index,
                };
                let options = self.writer_options(&topic);
                let archive = self.archive.clone();
                async move {
                    let writer = PartitionWriter::open(&archive, key.clone(), options).await;
                    (key, writer)
                }
            })
            .collect();
        let opened: Vec<(PartitionKey, Result<PartitionWriter, ArchiveError>)> =
            stream::iter(opening)
                .buffer_unordered(OPENING)
                .collect()
                .await;

        let followed = self
            .topics
            .entry(meta.name.clone())
            .or_insert_with(|| Followed {
                topic: Arc::clone(&topic),
                partitions: BTreeMap::new(),
                present: true,
            });
        followed.present = true;
        let mut added = Vec::new();
        let mut refused = Vec::new();
        for (key, writer) in opened {
            match writer {
                Ok(writer) => {
                    let partition = Arc::new(Partition::new(
                        Arc::clone(&topic),
                        key,
                        writer,
                        &self.shared.budget,
                    ));
                    followed
                        .partitions
                        .insert(partition.index, Arc::clone(&partition));
                    added.push(partition);
                }
                Err(error) if is_taken(&error) => refused.push(sentence(&error)),
                Err(error) => return Err(error.into()),
            }
        }
        self.summary.partitions += added.len() + refused.len();
        for why in refused {
            self.remark(Level::Warning, why.clone());
            self.failed.push(why);
        }
        self.summary.topics = self.topics.len();
        self.place(metadata, added).await
    }

    async fn describe(
        &self,
        metadata: &Metadata,
        meta: &TopicMetadata,
    ) -> Result<(Arc<Topic>, armory_archive::TopicKey, u32), EngineError> {
        let key = crate::storage::topic_key(meta);
        if meta.id.is_none() {
            self.remark(
                Level::Warning,
                format!("topic {} has no topic id on this cluster: a topic that is deleted and created again cannot be told from the old one", meta.name),
            );
        }
        let configs = self
            .shared
            .client
            .describe_topic_configs(std::slice::from_ref(&meta.name))
            .await?;
        let configs: BTreeMap<String, String> = configs
            .into_iter()
            .filter(|(name, _)| *name == meta.name)
            .flat_map(|(_, configs)| configs)
            .filter(|(_, entry)| !entry.is_default && !entry.sensitive)
            .filter_map(|(name, entry)| Some((name, entry.value?)))
            .collect();
        let compacted = configs
            .get("cleanup.policy")
            .is_some_and(|policy| policy.contains("compact"));
        let info = armory_archive::GenesisInfo {
            cluster_id: metadata.cluster_id.clone(),
            partitions: i32::try_from(meta.partitions.len()).unwrap_or(i32::MAX),
            configs: configs.clone(),
        };
        let genesis = self.archive.genesis(&key, info.clone()).await?;
        self.archive
            .snapshot_topic(
                &self.identity,
                &key,
                configs,
                info.partitions,
                jiff::Timestamp::now().as_millisecond(),
            )
            .await?;
        let chain = self.plugins.backup_chain(&meta.name);
        let topic = Topic {
            name: Arc::from(meta.name.as_str()),
            id: meta.id,
            chain,
            compacted,
            rollover_bytes: self.job.rollover.size,
        };
        Ok((Arc::new(topic), key, genesis.incarnation))
    }

    fn writer_options(&self, topic: &Topic) -> WriterOptions {
        WriterOptions {
            take_over: self.job.take_over,
            rollover_bytes: self.job.rollover.size,
            compression: self.compression,
            write_buffer: usize::try_from(self.job.write_buffer).unwrap_or(usize::MAX),
            plugin_digests: self.plugins.digests(&topic.name),
            ..WriterOptions::new(self.identity.clone())
        }
    }
}
