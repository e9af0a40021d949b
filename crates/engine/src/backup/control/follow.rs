//! Which topics there are, and what became of them: new ones, grown ones, those that are gone or were created again.

use std::collections::BTreeMap;
use std::sync::Arc;

use armory_archive::{ArchiveError, PartitionKey, PartitionWriter, WriterOptions};
use armory_kafka::{ConfigEntry, Metadata, TopicFilter, TopicMetadata};
use futures::{StreamExt, stream};

use super::super::catalog::{Followed, compare, is_owned};
use super::super::partition::{Partition, Topic};
use super::Control;
use crate::backup::Until;
use crate::error::sentence;
use crate::plugins::PluginSet;
use crate::{EngineError, Level};

/// Topics described, and partitions opened, at once. On an object store each of them waits for a few answers in a row.
const OPENING: usize = 64;

/// How a partition of the topic is written, with what these plugins leave of its records.
pub(super) fn with_plugins(
    options: &WriterOptions,
    plugins: &PluginSet,
    topic: &Topic,
) -> WriterOptions {
    WriterOptions {
        plugin_digests: plugins.digests(&topic.name),
        ..options.clone()
    }
}

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
        let worker = self.job.worker.as_ref();
        let changes = compare(&metadata, &self.job.topics, worker, &self.topics);
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
        let changed: Vec<_> = changes.new.into_iter().chain(changes.grown).collect();
        for meta in &changed {
            self.close_other_incarnation(meta);
        }
        let (topics, refused) = self.describe_all(&metadata, &changed).await;
        let added = self.open_all(topics).await;
        self.place(&metadata, added).await?;
        refused.map_or(Ok(()), Err)
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

    /// Another topic id than before is another incarnation: the old one is closed.
    fn close_other_incarnation(&mut self, meta: &TopicMetadata) {
        let is_other = |old: &Followed| old.topic.id != meta.id;
        if !self.topics.get(&meta.name).is_some_and(is_other) {
            return;
        }
        let Some(old) = self.topics.remove(&meta.name) else {
            return;
        };
        for partition in old.partitions.values() {
            self.forget(partition);
            partition.seal(&self.shared);
        }
        self.closed.retain(|_, closed| !closed.is_of(&old.topic));
    }

    /// Learns what is to be known of topics before anything of them is archived, and follows them. Also returns an error that is
    /// about more than one of them; the others are recorded.
    async fn describe_all<'m>(
        &mut self,
        metadata: &Metadata,
        changed: &'m [TopicMetadata],
    ) -> (Vec<(&'m TopicMetadata, Arc<Topic>)>, Option<EngineError>) {
        let is_new = |meta: &&TopicMetadata| !self.topics.contains_key(&meta.name);
        let names: Vec<String> = changed
            .iter()
            .filter(is_new)
            .map(|meta| meta.name.clone())
            .collect();
        // Those of all in few requests. Where one topic has all refused, each is asked for by itself.
        let described = self.shared.client.describe_topic_configs(&names).await;
        let mut configs = described.unwrap_or_default();
        let describing = changed.iter().map(|meta| {
            let known = self.topics.get(&meta.name);
            let known = known.map(|followed| Arc::clone(&followed.topic));
            let configs = configs.remove(&meta.name);
            let this = &*self;
            async move {
                let described = match known {
                    Some(known) => Ok((known, None)),
                    None => this.describe(metadata, meta, configs).await,
                };
                (meta, described)
            }
        });
        let described: Vec<_> = stream::iter(describing.collect::<Vec<_>>())
            .buffered(OPENING)
            .collect()
            .await;
        let (mut topics, mut refused) = (Vec::new(), None);
        for (meta, described) in described {
            let subject = (crate::storage::topic_key(meta), None);
            let (topic, incarnation) = match described {
                Ok(described) => described,
                Err(error)
                    if error.is_transient() || error.is_lockout() || is_about_all(&error) =>
                {
                    refused.get_or_insert(error);
                    continue;
                }
                Err(error) => {
                    self.outlook = self.outlook.max(error.outlook());
                    let why = format!("topic {}: {}", meta.name, sentence(&error));
                    self.record(subject, why);
                    continue;
                }
            };
            self.failures.remove(&subject);
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
            let followed = self.topics.entry(meta.name.clone());
            let followed = followed.or_insert_with(|| Followed {
                topic: Arc::clone(&topic),
                partitions: BTreeMap::new(),
                present: true,
            });
            followed.present = true;
            topics.push((meta, topic));
        }
        (topics, refused)
    }

    /// Opens those partitions of followed topics that are this process's to read and not known yet.
    async fn open_all(&mut self, topics: Vec<(&TopicMetadata, Arc<Topic>)>) -> Vec<Arc<Partition>> {
        let mut opening = Vec::new();
        for (meta, topic) in &topics {
            let key = crate::storage::topic_key(meta);
            for partition in &meta.partitions {
                let key = key.partition(partition.index);
                // Those that could not be opened are known, too.
                if self.known.contains(&key)
                    || !is_owned(self.job.worker.as_ref(), &meta.name, partition.index)
                {
                    continue;
                }
                let options = self.writer_options(topic);
                let (topic, archive) = (Arc::clone(topic), self.archive.clone());
                opening.push(async move {
                    let writer = PartitionWriter::open(&archive, key.clone(), options).await;
                    (topic, key, writer)
                });
            }
        }
        let opened: Vec<(_, PartitionKey, Result<PartitionWriter, ArchiveError>)> =
            stream::iter(opening)
                .buffer_unordered(OPENING)
                .collect()
                .await;
        let mut added = Vec::new();
        for (topic, key, writer) in opened {
            self.known.insert(key.clone());
            match writer {
                Ok(writer) => {
                    let chain = self.plugins.backup_chain(&key.topic);
                    let partition = Arc::new(Partition::new(
                        topic,
                        chain,
                        key,
                        writer,
                        &self.shared.budget,
                    ));
                    self.insert(&partition);
                    self.want_placed(Arc::clone(&partition), "it is new".to_owned());
                    added.push(partition);
                }
                Err(error) => self.on_not_opened(key, topic, None, error.into()),
            }
        }
        added
    }

    async fn describe(
        &self,
        metadata: &Metadata,
        meta: &TopicMetadata,
        configs: Option<BTreeMap<String, ConfigEntry>>,
    ) -> Result<(Arc<Topic>, Option<u32>), EngineError> {
        let key = crate::storage::topic_key(meta);
        if meta.id.is_none() {
            self.remark(
                Level::Warning,
                format!("topic {} has no topic id on this cluster: a topic that is deleted and created again cannot be told from the old one", meta.name),
            );
        }
        let configs = match configs {
            Some(configs) => configs,
            None => {
                let names = std::slice::from_ref(&meta.name);
                let mut described = self.shared.client.describe_topic_configs(names).await?;
                described.remove(&meta.name).unwrap_or_default()
            }
        };
        let configs: BTreeMap<String, String> = configs
            .into_iter()
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
        // One of the workers keeps the snapshots of a topic.
        if is_owned(self.job.worker.as_ref(), &meta.name, 0) {
            let now = jiff::Timestamp::now().as_millisecond();
            self.archive
                .snapshot_topic(&self.identity, &key, configs, info.partitions, now)
                .await?;
        }
        let topic = Topic {
            name: Arc::from(meta.name.as_str()),
            id: meta.id,
            compacted,
            rollover_bytes: self.job.rollover.size,
        };
        Ok((Arc::new(topic), Some(genesis.incarnation)))
    }

    fn writer_options(&self, topic: &Topic) -> WriterOptions {
        with_plugins(&self.writer_options, &self.plugins, topic)
    }
}
