//! `armory groups`

use armory_resources::job::{KafkaEndpoint, NameMatcher, StorageLocation};
use clap::{Args, Subcommand};

use super::connect::{StorageFlags, parse_property, parse_storage};
use crate::output::Format;

/// Carry the committed offsets of consumer groups over to a restored cluster
///
/// Offsets change by a restore. `snapshot` keeps what groups of the source have committed in the archive, `plan` translates that through
/// the report of a restore, and `apply` commits it to the target, so that each group goes on with the first record that it has not read.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  Beside a backup, now and then:
    armory groups snapshot --bootstrap-server source:9092 --storage ./archive

  After the restore:
    armory groups plan --storage ./archive
    armory groups apply --storage ./archive --bootstrap-server target:9092 --dry-run
    armory groups apply --storage ./archive --bootstrap-server target:9092")]
pub(crate) struct GroupsArguments {
    #[command(subcommand)]
    pub(crate) command: GroupsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    Snapshot(SnapshotArguments),
    Plan(PlanArguments),
    Apply(ApplyArguments),
}

/// A Kafka cluster.
#[derive(Debug, Args)]
pub(crate) struct ClusterFlags {
    /// Brokers to begin with; several with commas or by repeating
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    bootstrap_server: Vec<String>,

    /// A client property by librdkafka's name
    #[arg(short = 'X', long, value_name = "NAME=VALUE", value_parser = parse_property)]
    property: Vec<(String, String)>,
}

impl ClusterFlags {
    pub(crate) fn endpoint(&self) -> KafkaEndpoint {
        let mut endpoint = KafkaEndpoint::from_bootstrap(self.bootstrap_server.join(","));
        endpoint.properties.extend(self.property.iter().cloned());
        endpoint
    }
}

/// Keep the committed offsets of groups in an archive
#[derive(Debug, Args)]
pub(crate) struct SnapshotArguments {
    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,

    /// Where the archive lies: a folder, s3://bucket/prefix, gs://bucket/prefix or az://account/container/directory
    #[arg(long, value_name = "URL", value_parser = parse_storage)]
    pub(crate) storage: StorageLocation,

    /// Only groups that match (*, ?, [a-z], {a,b}); may be given several times
    #[arg(long = "group", value_name = "PATTERN", value_parser = parse_group)]
    pub(crate) groups: Vec<NameMatcher>,

    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) s3: StorageFlags,
}

/// What is translated by which restore.
#[derive(Debug, Args)]
pub(crate) struct Translation {
    /// Where the archive lies: a folder, s3://bucket/prefix, gs://bucket/prefix or az://account/container/directory
    #[arg(long, value_name = "URL", value_parser = parse_storage)]
    pub(crate) storage: StorageLocation,

    /// Where the restore's report is kept, if not in the archive
    #[arg(long, value_name = "URL", value_parser = parse_storage)]
    pub(crate) report: Option<StorageLocation>,

    /// The restore's id, as `armory restore` prints it; where there is only one it need not be named
    #[arg(long, value_name = "ID")]
    pub(crate) restore: Option<String>,

    /// Take the newest snapshot from before this time [default: the newest]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) at: Option<i64>,

    /// Only groups that match (*, ?, [a-z], {a,b}); may be given several times
    #[arg(long = "group", value_name = "PATTERN", value_parser = parse_group)]
    pub(crate) groups: Vec<NameMatcher>,

    #[command(flatten)]
    pub(crate) s3: StorageFlags,
}

/// Show where groups would go on in the target
#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) translation: Translation,

    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// Commit translated offsets to the target
///
/// Nothing is committed where one of the groups has members.
#[derive(Debug, Args)]
pub(crate) struct ApplyArguments {
    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,

    #[command(flatten)]
    pub(crate) translation: Translation,

    /// Look whether it can be done, and commit nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// Groups have any characters: what has none of a pattern is a name.
fn parse_group(text: &str) -> Result<NameMatcher, String> {
    match text {
        "" => Err("a group's name is not empty".to_owned()),
        text if text.contains(['*', '?', '[', '{', '\\']) => {
            NameMatcher::glob(text).map_err(|error| error.to_string())
        }
        text => Ok(NameMatcher::literal(text)),
    }
}

fn parse_time(text: &str) -> Result<i64, String> {
    text.parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_millisecond)
        .map_err(|_| "expected a time like 2026-01-31T12:00:00Z".to_owned())
}
