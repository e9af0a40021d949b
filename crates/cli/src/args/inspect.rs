//! `armory inspect`

use armory_resources::job::StorageLocation;
use clap::Args;

use super::connect::{StorageFlags, parse_storage};
use crate::output::Format;

/// Show what an archive holds
///
/// Without a topic: every topic with its incarnations (a topic that was deleted and created again has several), records,
/// times and sizes. With a topic: its partitions, with offsets and gaps.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  armory inspect ./archive
  armory inspect s3://backups/kafka orders
  armory inspect ./archive orders --gaps -o json")]
pub(crate) struct InspectArguments {
    /// Where the archive lies: a folder, s3://bucket/prefix, gs://bucket/prefix or az://account/container/directory
    #[arg(value_name = "STORAGE", value_parser = parse_storage)]
    pub(crate) storage: StorageLocation,

    /// Only this topic, with its partitions
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: Option<String>,

    /// List every gap, not only how many offsets are missing by cause
    #[arg(long, requires = "topic")]
    pub(crate) gaps: bool,

    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) s3: StorageFlags,
}
