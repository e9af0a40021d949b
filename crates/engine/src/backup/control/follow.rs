//! Which topics there are, and what became of them: new ones, grown ones, those that are gone or were created again.

use std::collections::BTreeMap;
use std::sync::Arc;

use armory_archive::{ArchiveError, PartitionKey, PartitionWriter, WriterOptions};
use armory_kafka::{Metadata, TopicFilter, TopicMetadata};
use futures::{StreamExt, stream};

use super::super::catalog::{Followed, compare};
use super::super::partition::{Partition, Topic};
use super::Control;
use crate::backup::Until;
use crate::error::sentence;
use crate::{EngineError, Level};

/// Partitions opened at once.
const OPENING: usize = 32;

/// Whether an error concerns every topic of this archive.
fn is_about_all(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::Archive(ArchiveError::NoCreateIfAbsent { .. }) | EngineError::Task(_)
    )
}

impl Control {
    /// Looks at the cluster: leaders that moved, new topics, new partitions, new incarnations.
    pub(super) async fn refresh(&mut self) -> Result<(), EngineError> {
        let metadata = self.shared.client.metadata(TopicFilter::All).await?;
        let changes = compare(&metadata, &self.job.topics, &self.topics);
        for name in changes.gone {
            self.on_gone(&name);
        }
        // First, because what is wrong with a new topic is no reason to leave those waiting that are followed.
        self.place_unplaced(&metadata).await?;
        // `--once` archives what was there when it began.
        if self.until == Until::CaughtUp && !self.topics.is_empty() {
            for topic in changes.new {
                self.on_gone(&topic.name);
            }
            return Ok(());
        }
        for topic in changes.new.iter().chain(&changes.grown) {
            let subject = (crate::storage::topic_key(topic), None);
            match self.follow_topic(&metadata, topic).await {
                Ok(()) => drop(self.failures.remove(&subject)),
                Err(error) if error.is_transient() || is_about_all(&error) => return Err(error),
                Err(error) => {
                    let why = format!("topic {}: {}", topic.name, sentence(&error));
                    self.record(subject, why);
                }
            }
        }
        Ok(())
    }

    /// The topic is gone, or another one has its name now.
    fn on_gone(&mut self, name: &str) {
        let Some(followed) = self.topics.get_mut(name) else {
            return;
        };
        if !std::mem::replace(&mut followed.present, false) {
            return;
        }
        let partitions: Vec<_> = followed.partitions.values().cloned().collect();
        self.remark(Level::Warning, format!("topic {name} is gone from the cluster; its archive stays, and a topic of that name is followed again when it appears"));
        for partition in partitions {
            if self.until == Until::CaughtUp && !self.ended.contains(&partition.key) {
                self.fail_deleted(&partition);
            } else {
                partition.seal(&self.shared);
            }
        }
    }

    pub(super) fn fail_deleted(&mut self, partition: &Arc<Partition>) {
        let at = partition.state().writer.next_offset();
        let name = partition.name();
        self.fail(
            partition,
            format!("{name} was deleted while it was backed up, at offset {at}"),
        );
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
                self.forget(partition);
                partition.seal(&self.shared);
            }
            self.closed.retain(|_, closed| !closed.is_of(&old.topic));
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
        let new: Vec<PartitionKey> = meta
            .partitions
            .iter()
            .map(|partition| key.partition(partition.index))
            // Those that could not be opened are known, too.
            .filter(|key| !self.known.contains(key))
            .collect();
        let opening: Vec<_> = new
            .into_iter()
            .map(|key| {
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
        for (key, writer) in opened {
            self.known.insert(key.clone());
            match writer {
                Ok(writer) => {
                    let topic = Arc::clone(&topic);
                    let partition =
                        Arc::new(Partition::new(topic, key, writer, &self.shared.budget));
                    self.insert(&partition);
                    self.want_placed(Arc::clone(&partition), "it is new".to_owned());
                    added.push(partition);
                }
                Err(error) => self.on_not_opened(key, Arc::clone(&topic), None, error),
            }
        }
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

    pub(super) fn writer_options(&self, topic: &Topic) -> WriterOptions {
        WriterOptions {
            plugin_digests: self.plugins.digests(&topic.name),
            ..self.writer_options.clone()
        }
    }
}
