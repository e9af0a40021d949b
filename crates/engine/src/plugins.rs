//! From the plugin entries of a job to the chains that topics are passed through.

use std::sync::Arc;

use armory_plugins::{
    Action, Chain, Context, Entry, ErrorPolicy, Host, HostOptions, Limits, World, config_text,
};
use armory_resources::job::{PluginEntry, PluginErrorAction, PluginSource};

use crate::EngineError;

/// The plugins of a job, loaded and checked.
#[derive(Debug)]
pub(crate) struct PluginSet {
    loaded: Option<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    host: Host,
    entries: Vec<(PluginEntry, Arc<Entry>)>,
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
            let entries = entries
                .into_iter()
                .map(|entry| {
                    let loaded = load_entry(&host, &entry, world)?;
                    Ok((entry, Arc::new(loaded)))
                })
                .collect::<Result<_, EngineError>>()?;
            Ok(PluginSet {
                loaded: Some(Loaded { host, entries }),
            })
        })
        .await?
    }

    /// The chain for a topic of a backup, if any plugin selects it.
    pub(crate) fn backup_chain(&self, topic: &str) -> Option<Chain> {
        self.chain(topic, || Context::Backup {
            topic: topic.to_owned(),
        })
    }

    /// The chain for a mapping of a restore, if any plugin selects its target.
    pub(crate) fn restore_chain(&self, source_topic: &str, target_topic: &str) -> Option<Chain> {
        self.chain(target_topic, || Context::Restore {
            source_topic: source_topic.to_owned(),
            target_topic: target_topic.to_owned(),
        })
    }

    fn chain(&self, selected_by: &str, context: impl FnOnce() -> Context) -> Option<Chain> {
        let Loaded { host, entries } = self.loaded.as_ref()?;
        let entries: Vec<Arc<Entry>> = entries
            .iter()
            .filter(|(entry, _)| entry.selects(selected_by))
            .map(|(_, loaded)| Arc::clone(loaded))
            .collect();
        (!entries.is_empty()).then(|| Chain::new(host, entries, context()))
    }

    /// The digests of the plugins that a topic of a backup goes through, in order.
    pub(crate) fn digests(&self, topic: &str) -> Vec<String> {
        let entries = self.loaded.iter().flat_map(|loaded| &loaded.entries);
        entries
            .filter(|(entry, _)| entry.selects(topic))
            .map(|(_, loaded)| loaded.plugin.digest().to_owned())
            .collect()
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

fn load_entry(host: &Host, entry: &PluginEntry, world: World) -> Result<Entry, EngineError> {
    let PluginSource::Wasi { file, wit_version } = &entry.source else {
        return Err(EngineError::NotSupported {
            what: format!("the builtin plugin {}", entry.label),
        });
    };
    let limits = Limits {
        memory_bytes: usize::try_from(entry.limits.memory).unwrap_or(usize::MAX),
        record_time: entry.limits.record_timeout,
        init_time: entry.limits.init_timeout,
        ..Limits::default()
    };
    let plugin = host.load(file.as_path(), world, wit_version, &limits)?;
    let action = |action| match action {
        PluginErrorAction::Fail => Action::Fail,
        PluginErrorAction::Drop => Action::Drop,
    };
    let policy = ErrorPolicy {
        rejected: action(entry.error_policy.rejected),
        error: action(entry.error_policy.error),
        fault: action(entry.error_policy.fault),
        header_key_not_utf8: action(entry.error_policy.header_key_not_utf8),
    };
    Ok(Entry {
        plugin,
        label: entry.label.clone(),
        config: entry.spec.as_ref().map(config_text),
        policy,
        limits,
    })
}
