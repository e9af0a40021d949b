//! `armory prune`

use std::time::Duration;

use armory_resources::job::{NameMatcher, StorageLocation};
use armory_resources::scalar::parse_duration;
use clap::Args;

use super::backup::parse_pattern;
use super::connect::{StorageFlags, parse_storage};
use crate::output::Format;

/// Take away what is no longer wanted
///
/// Says what would go and what stays, with sizes and reasons; with --yes it does it. What goes is marked first, so that
/// nobody takes it for damage, and deleted when the grace is over (now, or by the next run), so that a restore which is reading it
/// can finish. May run beside backups and restores.
///
/// The last records of a topic are spared, unless the topic is named and --force is given.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  armory prune ./archive --older-than 30d
  armory prune ./archive 'flights.*' --older-than 30d --yes
  armory prune s3://bucket/kafka --keep-incarnations 2 --leftovers --yes
  armory prune ./archive --expired --grace 0s --yes -o json")]
pub(crate) struct PruneArguments {
    /// Where the archive lies: a folder, s3://bucket/prefix, gs://bucket/prefix or az://account/container/directory
    #[arg(value_name = "STORAGE", value_parser = parse_storage)]
    pub(crate) storage: StorageLocation,

    /// Only these topics: names, or patterns (*, ?, [a-z], {a,b})
    #[arg(value_name = "TOPIC", value_parser = parse_pattern)]
    pub(crate) topics: Vec<NameMatcher>,

    /// Segments whose newest record is older
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) older_than: Option<Duration>,

    /// What has expired by the retention of the backup that wrote it
    #[arg(long)]
    pub(crate) expired: bool,

    /// All incarnations of a topic but so many, the newest ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep_incarnations: Option<u32>,

    /// Incarnations but the newest to which nothing was added for so long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) incarnations_older_than: Option<Duration>,

    /// Files that no manifest names and no writer can commit any more, and unfinished files
    #[arg(long)]
    pub(crate) leftovers: bool,

    /// How old leftovers are at least; an hour or more
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = parse_safe_age, requires = "leftovers")]
    pub(crate) leftovers_older_than: Duration,

    /// How long a segment stays after it was marked
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub(crate) grace: Duration,

    /// Also the last records of a topic; needs names of topics, not patterns
    #[arg(long, requires = "topics")]
    pub(crate) force: bool,

    /// Do it
    #[arg(long)]
    pub(crate) yes: bool,

    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) s3: StorageFlags,
}

fn parse_safe_age(text: &str) -> Result<Duration, String> {
    let age = parse_duration(text)?;
    if age < Duration::from_secs(3600) {
        return Err("it must be at least 1h: younger files may be in use".to_owned());
    }
    Ok(age)
}
