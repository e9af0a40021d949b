//! From the plugin entries of a job to the chains that topics are passed through.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use armory_archive::{DeadLetter, TopicKey};
use armory_plugins::{
    Action, Builtin, Chain, Context, Entry, ErrorPolicy, Failed, HashAlgorithm, Hashing, Host,
    HostOptions, Limits, RecordPart, Repartitioning, SchemaMapping, StopRule, TargetFacts,
    TimestampKind, World, config_text,
};
use armory_records::{Record, TimestampType};
use armory_resources::job::{self, BuiltinPlugin, PluginEntry, PluginErrorAction, PluginSource};

use crate::{EngineError, PluginProgress};

/// The plugins of a job, loaded and checked. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct PluginSet {
    loaded: Option<Arc<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    host: Host,
    world: World,
    entries: Vec<(PluginEntry, Arc<Entry>)>,
    /// The chains of a backup's topics, made once each: nothing for those that no plugin selects.
    backup_chains: Mutex<HashMap<TopicKey, Option<Chain>>>,
}

/// What identifies a plugin as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PluginIdentity {
    pub(crate) label: String,
    pub(crate) digest: String,
    pub(crate) config: Option<String>,
}

impl PluginSet {
    /// Loads every plugin of the job. Nothing is started where there are none.
    pub(crate) async fn load(
        entries: &[PluginEntry],
        world: World,
    ) -> Result<PluginSet, EngineError> {
        if entries.is_empty() {
            return Ok(PluginSet { loaded: None });
        }
        let entries = entries.to_vec();
        // Compiling a component takes from milliseconds to seconds.
        tokio::task::spawn_blocking(move || {
            let host = Host::new(HostOptions {
                cache_dir: HostOptions::user_cache_dir(),
                ..HostOptions::default()
            })?;
            Loaded::load(host, entries, world)
        })
        .await?
    }

    /// Loads every plugin anew, after one has failed on a topic. Those that are what they were go on as they are, but for that
    /// topic with fresh instances.
    pub(crate) async fn reload(&self, failed: &TopicKey) -> Result<PluginSet, EngineError> {
        let Some(loaded) = self.loaded.clone() else {
            return Ok(self.clone());
        };
        let entries = loaded.entries.iter().map(|(entry, _)| entry.clone());
        let (host, entries) = (loaded.host.clone(), entries.collect());
        let world = loaded.world;
        let again = tokio::task::spawn_blocking(move || Loaded::load(host, entries, world));
        let again = again.await??;
        if again.identities() != self.identities() {
            return Ok(again);
        }
        if let Some(chain) = self.backup_chain(failed) {
            chain.renew();
        }
        Ok(self.clone())
    }

    /// Whether it is the same set, and not one that was loaded at another time.
    pub(crate) fn is(&self, other: &PluginSet) -> bool {
        match (&self.loaded, &other.loaded) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        }
    }

    /// The chain for a topic of a backup, if any plugin selects it. All who ask share it.
    pub(crate) fn backup_chain(&self, topic: &TopicKey) -> Option<Chain> {
        let loaded = self.loaded.as_ref()?;
        let mut chains = loaded
            .backup_chains
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let made = || {
            self.chain(&topic.topic, TargetFacts::default(), || Context::Backup {
                topic: topic.topic.clone(),
            })
        };
        chains.entry(topic.clone()).or_insert_with(made).clone()
    }

    /// The chain for a mapping of a restore, if any plugin selects its target. `target` is what is known of it.
    pub(crate) fn restore_chain(
        &self,
        source_topic: &str,
        target_topic: &str,
        target: TargetFacts,
    ) -> Option<Chain> {
        self.chain(target_topic, target, || Context::Restore {
            source_topic: source_topic.to_owned(),
            target_topic: target_topic.to_owned(),
        })
    }

    /// Whether any plugin selects a topic: that which is backed up, or that which is written to.
    pub(crate) fn applies_to(&self, topic: &str) -> bool {
        self.selecting(topic).next().is_some()
    }

    /// Whether records that the target would expire are left out by a plugin.
    pub(crate) fn applies_retention(&self, target_topic: &str) -> bool {
        let retention = PluginSource::Builtin(BuiltinPlugin::TopicRetention);
        self.selecting(target_topic)
            .any(|(entry, _)| entry.source == retention)
    }

    /// The entries that select a topic, in order.
    fn selecting(&self, topic: &str) -> impl Iterator<Item = &(PluginEntry, Arc<Entry>)> {
        let entries = self.loaded.iter().flat_map(|loaded| &loaded.entries);
        entries.filter(move |(entry, _)| entry.selects(topic))
    }

    fn chain(
        &self,
        selected_by: &str,
        target: TargetFacts,
        context: impl FnOnce() -> Context,
    ) -> Option<Chain> {
        let host = &self.loaded.as_ref()?.host;
        let entries: Vec<Arc<Entry>> = self
            .selecting(selected_by)
            .map(|(entry, loaded)| match &entry.source {
                PluginSource::Wasi { .. } => Arc::clone(loaded),
                PluginSource::Builtin(plugin) => Arc::new(Entry {
                    plugin: host.builtin(builtin(plugin), target),
                    ..Entry::clone(loaded)
                }),
            })
            .collect();
        (!entries.is_empty()).then(|| Chain::new(host, entries, context()))
    }

    /// The digests of the plugins that a topic of a backup goes through, in order.
    pub(crate) fn digests(&self, topic: &str) -> Vec<String> {
        self.selecting(topic)
            .map(|(_, loaded)| loaded.plugin.digest().to_owned())
            .collect()
    }

    /// What the plugins have done so far.
    pub(crate) fn progress(&self) -> PluginProgress {
        let Some(loaded) = &self.loaded else {
            return PluginProgress::default();
        };
        PluginProgress {
            entries: loaded.host.counters(),
            compilations: loaded.host.compilations(),
            instance_bytes: loaded.host.instance_bytes(),
        }
    }

    /// What the plugins are, in order.
    pub(crate) fn identities(&self) -> Vec<PluginIdentity> {
        let entries = self.loaded.iter().flat_map(|loaded| &loaded.entries);
        entries
            .map(|(_, entry)| PluginIdentity {
                label: entry.label.clone(),
                digest: entry.plugin.digest().to_owned(),
                config: entry.config.clone(),
            })
            .collect()
    }
}

impl Loaded {
    fn load(host: Host, entries: Vec<PluginEntry>, world: World) -> Result<PluginSet, EngineError> {
        let entries = entries
            .into_iter()
            .map(|entry| {
                let loaded = load_entry(&host, &entry, world)?;
                Ok((entry, Arc::new(loaded)))
            })
            .collect::<Result<_, EngineError>>()?;
        Ok(PluginSet {
            loaded: Some(Arc::new(Loaded {
                host,
                world,
                entries,
                backup_chains: Mutex::default(),
            })),
        })
    }
}

/// Whose clock a batch's timestamps come from, as plugins are told.
pub(crate) fn kind_of(timestamps: TimestampType) -> TimestampKind {
    match timestamps {
        TimestampType::CreateTime => TimestampKind::CreateTime,
        TimestampType::LogAppendTime => TimestampKind::LogAppendTime,
    }
}

/// A record that a plugin failed on, as it came into the chain.
pub(crate) fn dead_letter(
    record: &Record<'_>,
    timestamps: TimestampType,
    failed: &Failed,
) -> DeadLetter {
    DeadLetter {
        plugin: failed.plugin.clone(),
        digest: failed.digest.clone(),
        class: failed.class.name().to_owned(),
        message: failed.message.clone(),
        backtrace: failed.backtrace.clone(),
        ..DeadLetter::of(record, timestamps)
    }
}

fn load_entry(host: &Host, entry: &PluginEntry, world: World) -> Result<Entry, EngineError> {
    let limits = Limits {
        memory_bytes: usize::try_from(entry.limits.memory).unwrap_or(usize::MAX),
        record_time: entry.limits.record_timeout,
        init_time: entry.limits.init_timeout,
        returned_bytes: usize::try_from(entry.limits.returned_record).unwrap_or(usize::MAX),
        component_bytes: entry.limits.component,
        log_line_bytes: usize::try_from(entry.limits.log_line).unwrap_or(usize::MAX),
        log_lines_per_second: u32::try_from(entry.limits.log_lines_per_second).unwrap_or(u32::MAX),
        ..Limits::default()
    };
    let (plugin, config) = match &entry.source {
        PluginSource::Wasi { file, wit_version } => (
            host.load(file.as_path(), world, wit_version, &limits)?,
            entry.spec.as_ref().map(config_text),
        ),
        PluginSource::Builtin(plugin) if world == World::Restore => (
            host.builtin(builtin(plugin), TargetFacts::default()),
            // It reads its configuration from the job; this is for the report, which pins it.
            serde_json::to_value(plugin).ok().as_ref().map(config_text),
        ),
        PluginSource::Builtin(_) => {
            return Err(EngineError::NotSupported {
                what: format!("the builtin plugin {} in a backup", entry.label),
            });
        }
    };
    let action = |action| match action {
        PluginErrorAction::Fail => Action::Fail,
        PluginErrorAction::Drop => Action::Drop,
        PluginErrorAction::DeadLetter => Action::DeadLetter,
        PluginErrorAction::PassThrough => Action::PassThrough,
    };
    let policy = ErrorPolicy {
        rejected: action(entry.error_policy.rejected),
        error: action(entry.error_policy.error),
        fault: action(entry.error_policy.fault),
        header_key_not_utf8: action(entry.error_policy.header_key_not_utf8),
        stop_rule: entry.error_policy.stop_rule.map(|rule| StopRule {
            max_failures: rule.max_failures,
            window: rule.window,
        }),
    };
    Ok(Entry {
        plugin,
        label: entry.label.clone(),
        config,
        policy,
        limits,
    })
}

/// A builtin plugin of a job, for the host.
fn builtin(plugin: &BuiltinPlugin) -> Builtin {
    let mapping = |part, ids: &BTreeMap<u32, u32>| {
        Builtin::SchemaMapping(SchemaMapping {
            part,
            ids: ids.clone(),
        })
    };
    match plugin {
        BuiltinPlugin::TopicRepartitioning(scheme) => {
            Builtin::Repartitioning(repartitioning(scheme.clone()))
        }
        BuiltinPlugin::TopicRetention => Builtin::Retention,
        BuiltinPlugin::PayloadSchemaMapping(ids) => mapping(RecordPart::Payload, ids),
        BuiltinPlugin::KeySchemaMapping(ids) => mapping(RecordPart::Key, ids),
    }
}

fn repartitioning(scheme: job::Repartitioning) -> Repartitioning {
    let hashing = |algorithm, partitions| Hashing {
        algorithm: match algorithm {
            job::HashAlgorithm::Murmur2 => HashAlgorithm::Murmur2,
            job::HashAlgorithm::Fnv1a => HashAlgorithm::Fnv1a,
            job::HashAlgorithm::Crc32 => HashAlgorithm::Crc32,
        },
        partitions,
    };
    match scheme {
        job::Repartitioning::Automatic => Repartitioning::Automatic,
        job::Repartitioning::KeyHash {
            algorithm,
            partitions,
        } => Repartitioning::KeyHash(hashing(algorithm, partitions)),
        job::Repartitioning::HeaderHash {
            name,
            algorithm,
            partitions,
        } => Repartitioning::HeaderHash {
            name,
            hashing: hashing(algorithm, partitions),
        },
        job::Repartitioning::Random { partitions } => Repartitioning::Random { partitions },
        job::Repartitioning::RoundRobin { partitions } => Repartitioning::RoundRobin { partitions },
    }
}
