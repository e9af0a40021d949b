//! What can end a backup or a restore, by meaning.

use armory_archive::ArchiveError;
use armory_plugins::LoadError;
use armory_records::BatchError;

/// What can be done about an error: it decides whether the same run is worth another try. In the order in which one of several counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Outlook {
    /// It passes by itself, or once somebody mends what it names; then the same run goes on.
    #[default]
    Passing,
    /// The run was stopped before its end; it goes on when it is run again.
    Interrupted,
    /// What was asked for cannot be understood, or is not supported.
    Wrong,
    /// What was found, most of all in the target, does not allow what was asked for.
    Refused,
    /// A plugin cannot be used, refuses its configuration, or stopped what it was given.
    Plugin,
    /// The archive is damaged.
    Damage,
}

/// Why a run, or a part of it, could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A broker refused a request, or could not be reached.
    #[error(transparent)]
    Kafka(#[from] armory_kafka::Error),
    /// The archive refused, or its storage could not be reached.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A plugin could not be loaded, refused to start, or stopped a partition by its error policy.
    #[error("plugin stopped topic {topic}")]
    Plugin {
        /// The topic it was called for.
        topic: String,
        /// What the plugin host says.
        #[source]
        source: armory_plugins::PluginError,
    },
    /// A plugin's file could not be used.
    #[error(transparent)]
    PluginLoad(#[from] armory_plugins::LoadError),
    /// Bytes that are not the record batch they should be.
    #[error(
        "topic {topic} partition {partition}: the {place} sent a damaged batch at offset {offset}; nothing of it was kept"
    )]
    Damaged {
        /// Topic as named where the bytes came from.
        topic: String,
        /// Partition as numbered where the bytes came from.
        partition: i32,
        /// First offset of the batch, as far as it can be told.
        offset: i64,
        /// Where the bytes came from: `broker` or `archive`.
        place: &'static str,
        /// What is wrong with them.
        #[source]
        source: BatchError,
    },
    /// Nothing matches the topics that were asked for.
    #[error(
        "no topic of the cluster matches {selection}; name an existing topic that one may describe, or run without --once to wait for one"
    )]
    NoTopic {
        /// The selection, as the user wrote it.
        selection: String,
    },
    /// One or more partitions could not be brought to their end; the others were.
    #[error("{} of {total} partitions stopped early; the first: {}", failed.len(), failed.first().map_or("", String::as_str))]
    Partitions {
        /// One sentence a partition, with topic, partition, offset and cause.
        failed: Vec<String>,
        /// The worst of them.
        outlook: Outlook,
        /// How many partitions the run had.
        total: usize,
    },
    /// A restore was refused before anything was written.
    #[error("the restore was refused before anything was written:\n  - {}", problems.join("\n  - "))]
    Preflight {
        /// One sentence a problem, each with its remedy.
        problems: Vec<String>,
        /// The worst of them.
        outlook: Outlook,
    },
    /// Offsets of consumer groups cannot be translated or committed.
    #[error("nothing was committed:\n  - {}", problems.join("\n  - "))]
    Groups {
        /// One sentence a problem, each with its remedy.
        problems: Vec<String>,
    },
    /// What lies in the target is not what this restore wrote there.
    #[error(
        "topic {topic} partition {partition}: {what}; the restore stopped so that nothing is written twice or out of order"
    )]
    ForeignTarget {
        /// Target topic.
        topic: String,
        /// Target partition.
        partition: i32,
        /// What was found, and what was expected.
        what: String,
    },
    /// Another process writes the report of the restore.
    #[error(
        "restore {id}: another process has gone on with this restore; this one stops and leaves it to the other"
    )]
    TakenOver {
        /// The restore id.
        id: String,
    },
    /// The report of the restore does not fit this run.
    #[error("restore {id}: {what}")]
    Report {
        /// The restore id.
        id: String,
        /// What is wrong, with the remedy.
        what: String,
    },
    /// A target partition takes nothing any more, for reasons that should have passed.
    #[error(
        "topic {topic} partition {partition}: nothing has landed for {seconds} s ({why}); run the same restore again to go on"
    )]
    Stuck {
        /// Target topic.
        topic: String,
        /// Target partition.
        partition: i32,
        /// For how long it was tried.
        seconds: u64,
        /// What the broker said last.
        why: String,
    },
    /// The broker refused a batch for good.
    #[error(
        "topic {topic} partition {partition}: the broker refused the batch that begins with source offset {offset}, after {landed} records had landed{message}"
    )]
    Refused {
        /// Target topic.
        topic: String,
        /// Target partition.
        partition: i32,
        /// Records of this restore in its log.
        landed: u64,
        /// The offset of the batch's first record in the archive.
        offset: i64,
        /// What the broker says beyond its error code, in parentheses, or nothing.
        message: String,
        /// Which broker, and its error code.
        #[source]
        source: armory_kafka::Error,
    },
    /// A record that is too large for the target, even alone.
    #[error(
        "topic {topic} partition {partition}: the record at offset {offset} takes a batch of {bytes} bytes, more than the target's max.message.bytes; \
         raise that, and run the same restore again"
    )]
    TooLarge {
        /// Topic in the archive.
        topic: String,
        /// Partition in the archive.
        partition: i32,
        /// The record's offset in the archive.
        offset: i64,
        /// The size of a batch that holds it alone.
        bytes: usize,
    },
    /// A plugin chose a partition that the target does not have.
    #[error(
        "a plugin sent the record at partition {source_partition}, offset {offset}, to partition {partition} of {topic}, which has {partitions}; \
             let the plugin ask for more in update-target-topic-requirements, or add partitions"
    )]
    NoSuchPartition {
        /// Target topic.
        topic: String,
        /// The partition that was chosen.
        partition: i32,
        /// How many the target has.
        partitions: i32,
        /// Where the record comes from.
        source_partition: i32,
        /// Its offset there.
        offset: i64,
    },
    /// A restore was stopped before everything landed.
    #[error(
        "the restore was stopped with {records} records in the target; run the same restore again to go on"
    )]
    Stopped {
        /// The restore id.
        id: String,
        /// Records in the target.
        records: u64,
    },
    /// A restore was stopped before it had begun to send records.
    #[error("the restore was stopped before anything was sent; run the same restore again")]
    StoppedEarly,
    /// A secret could not be read.
    #[error("{what} cannot be read")]
    Secret {
        /// What it is for.
        what: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Part of the format that this version cannot do.
    #[error("{what} is not supported yet")]
    NotSupported {
        /// What was asked for.
        what: String,
    },
    /// A property of an event hub.
    #[error(transparent)]
    Property(#[from] armory_kafka::PropertyError),
    /// The plugin host cannot be set up.
    #[error(transparent)]
    PluginHost(#[from] armory_plugins::HostError),
    /// A task of this process ended without an answer.
    #[error("internal task failed: {0}")]
    Task(String),
}

impl EngineError {
    /// What can be done about it.
    pub fn outlook(&self) -> Outlook {
        match self {
            EngineError::Archive(ArchiveError::Damaged(_)) => Outlook::Damage,
            EngineError::Damaged {
                place: "archive", ..
            } => Outlook::Damage,
            EngineError::Partitions { outlook, .. } | EngineError::Preflight { outlook, .. } => {
                *outlook
            }
            EngineError::Plugin { .. } => Outlook::Plugin,
            // The file may be on its way.
            EngineError::PluginLoad(LoadError::Read { .. } | LoadError::Truncated { .. }) => {
                Outlook::Passing
            }
            EngineError::PluginLoad(_) => Outlook::Plugin,
            EngineError::Groups { .. }
            | EngineError::ForeignTarget { .. }
            | EngineError::Report { .. }
            | EngineError::Refused { .. }
            | EngineError::TooLarge { .. }
            | EngineError::NoSuchPartition { .. } => Outlook::Refused,
            EngineError::Archive(ArchiveError::InvalidLocation { .. })
            | EngineError::Property(_)
            | EngineError::NotSupported { .. } => Outlook::Wrong,
            EngineError::Stopped { .. } | EngineError::StoppedEarly => Outlook::Interrupted,
            EngineError::Kafka(_)
            | EngineError::Archive(_)
            | EngineError::Damaged { .. }
            | EngineError::NoTopic { .. }
            | EngineError::TakenOver { .. }
            | EngineError::Stuck { .. }
            | EngineError::Secret { .. }
            | EngineError::PluginHost(_)
            | EngineError::Task(_) => Outlook::Passing,
        }
    }

    /// Whether trying again may help without anybody doing anything.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, EngineError::Kafka(error) if error.is_retriable())
    }

    /// Whether it passes once somebody changes credentials or rights.
    pub(crate) fn is_about_access(&self) -> bool {
        matches!(self, EngineError::Kafka(error) if error.is_about_access())
    }

    /// Whether the cluster does not let us in at all, whatever is asked for.
    pub(crate) fn is_lockout(&self) -> bool {
        match self {
            EngineError::Kafka(armory_kafka::Error::Denied { .. }) => false,
            error => error.is_about_access(),
        }
    }
}

impl From<tokio::task::JoinError> for EngineError {
    fn from(error: tokio::task::JoinError) -> EngineError {
        EngineError::Task(error.to_string())
    }
}

pub(crate) use armory_troubles::sentence;
