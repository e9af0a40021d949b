//! A plugin that is tried out: loaded as for a backup or a restore, in the contexts that its records ask for.

use std::sync::Arc;

use armory_plugins::{
    Action, Chain, Context, Entry, EntryCounters, ErrorPolicy, FailureClass, Host, Lease, Limits,
    OwnedRecord, Phase, Plugin, Verdict, World, config_text,
};
use armory_resources::kinds::plugin::{WIT_VERSIONS, parse_config};

use super::host;
use super::records::TestRecord;
use crate::args::PluginRun;
use crate::exit::Usage;

/// A loaded plugin, and what it works for.
#[derive(Debug)]
pub(super) struct Trial {
    host: Host,
    entry: Arc<Entry>,
    topic: Option<String>,
    source: Option<String>,
    target: Option<String>,
    partitions: i32,
    chains: Vec<(Context, Chain)>,
}

/// What a plugin made of a record.
#[derive(Debug)]
pub(super) enum Tried {
    Unchanged,
    Changed(OwnedRecord),
    Failed {
        class: FailureClass,
        message: String,
    },
}

impl Trial {
    /// Loads the plugin; `records` are those that it will see.
    pub(super) fn new(run: &PluginRun, records: &[TestRecord]) -> anyhow::Result<Trial> {
        let host = host()?;
        let limits = Limits {
            memory_bytes: usize::try_from(run.memory).unwrap_or(usize::MAX),
            ..Limits::default()
        };
        let plugin = host.load_any(&run.file, WIT_VERSIONS[0], &limits)?;
        check_options(run, plugin.world())?;
        let name = run.file.file_name().unwrap_or(run.file.as_os_str());
        let entry = Entry {
            plugin,
            label: name.to_string_lossy().into_owned(),
            config: config(run)?,
            // Whatever is not accepted is told with its message, and the next record goes on.
            policy: ErrorPolicy {
                rejected: Action::Fail,
                ..ErrorPolicy::default()
            },
            limits,
        };
        let most = records.iter().map(|record| record.partition).max();
        Ok(Trial {
            host,
            entry: Arc::new(entry),
            topic: run.topic.clone(),
            source: run.source.clone(),
            target: run.target.clone(),
            partitions: run
                .partitions
                .unwrap_or(most.unwrap_or(0).saturating_add(1)),
            chains: Vec::new(),
        })
    }

    pub(super) fn plugin(&self) -> &Plugin {
        &self.entry.plugin
    }

    /// How many partitions the archive has, as a restore plugin is told.
    pub(super) fn partitions(&self) -> i32 {
        self.partitions
    }

    /// The chain of a topic, made at the first record of it. A restore's plugin is asked for its requirements then, and the target is taken to
    /// have as many partitions as it asks for; they are handed to `required`.
    pub(super) fn chain(
        &mut self,
        topic: &str,
        required: impl FnOnce(&Context, u64),
    ) -> anyhow::Result<Chain> {
        let context = self.context(topic);
        if let Some((_, chain)) = self.chains.iter().find(|(known, _)| *known == context) {
            return Ok(chain.clone());
        }
        let chain = Chain::new(&self.host, vec![Arc::clone(&self.entry)], context.clone());
        if self.entry.plugin.world() == World::Restore {
            let partitions = chain.requirements(u64::from(self.partitions.unsigned_abs()))?;
            chain.set_target_partitions(i32::try_from(partitions).unwrap_or(i32::MAX));
            required(&context, partitions);
        }
        self.chains.push((context, chain.clone()));
        Ok(chain)
    }

    pub(super) fn context(&self, topic: &str) -> Context {
        let or = |given: &Option<String>, topic: &str| given.clone().unwrap_or(topic.to_owned());
        match self.entry.plugin.world() {
            World::Backup => Context::Backup {
                topic: or(&self.topic, topic),
            },
            World::Restore => {
                let source_topic = or(&self.source, topic);
                Context::Restore {
                    target_topic: or(&self.target, &source_topic),
                    source_topic,
                }
            }
        }
    }

    /// What the plugin has done for all topics.
    pub(super) fn counters(&self) -> EntryCounters {
        let mut sum = EntryCounters::default();
        for counters in self.chains.iter().flat_map(|(_, chain)| chain.counters()) {
            sum.calls += counters.calls;
            sum.faults += counters.faults;
            sum.ignored_edits += counters.ignored_edits;
            sum.starts += counters.starts;
            sum.recycles += counters.recycles;
        }
        sum
    }
}

/// Hands a record to the plugin. An error is one that is not about the record.
pub(super) fn hand_over(lease: &mut Lease, record: &TestRecord) -> anyhow::Result<Tried> {
    match record.with_ref(|record| lease.transform(record)) {
        Ok(Verdict::Changed(changed)) => Ok(Tried::Changed(changed)),
        Ok(_) => Ok(Tried::Unchanged),
        Err(error) if error.phase == Phase::Transform => Ok(Tried::Failed {
            class: error.class,
            message: error.message,
        }),
        Err(error) => Err(error.into()),
    }
}

fn check_options(run: &PluginRun, world: World) -> Result<(), Usage> {
    let of_restore = [
        ("--source", run.source.is_some()),
        ("--target", run.target.is_some()),
        ("--partitions", run.partitions.is_some()),
    ];
    let wrong = match world {
        World::Backup => of_restore.into_iter().find(|(_, given)| *given),
        World::Restore => Some(("--topic", true)).filter(|_| run.topic.is_some()),
    };
    match wrong {
        None => Ok(()),
        Some((option, _)) => Err(Usage(format!(
            "{} is a {world} plugin, {option} is not for those",
            run.file.display()
        ))),
    }
}

fn config(run: &PluginRun) -> Result<Option<String>, Usage> {
    let Some(file) = &run.config else {
        return Ok(None);
    };
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Usage(format!("cannot read {name}: {error}")))?;
    let spec = parse_config(&text).map_err(|error| Usage(format!("{name}: {error}")))?;
    Ok(Some(config_text(&spec)))
}
