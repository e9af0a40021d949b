//! `armory verify`

use std::path::PathBuf;

use armory_resources::job::StorageLocation;
use armory_resources::scalar::parse_size;
use clap::Args;

use super::connect::{StorageFlags, parse_storage};
use crate::output::Format;

/// Check that an archive is what was written
///
/// Checks every manifest, that the chains of manifests have no hole, and that every segment is there in its size; with
/// --deep also every byte of every segment and every batch in it. Names what is damaged by segment, batch and offset,
/// and exits with 3 if anything is. Nothing is written.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  armory verify ./archive
  armory verify s3://backups/kafka orders --deep
  armory verify ./archive --deep -o json > report.json
  armory verify ./archive --deep --rate 20MiB --state verify.json")]
pub(crate) struct VerifyArguments {
    /// Where the archive lies: a folder, s3://bucket/prefix, gs://bucket/prefix or az://account/container/directory
    #[arg(value_name = "STORAGE", value_parser = parse_storage)]
    pub(crate) storage: StorageLocation,

    /// Only this topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: Option<String>,

    /// Read every segment
    #[arg(long)]
    pub(crate) deep: bool,

    /// Read at most so much in a second, e.g. 20MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "deep")]
    pub(crate) rate: Option<u64>,

    /// Keep in this file how far it has read: interrupted, it goes on from there
    #[arg(long, value_name = "FILE", requires = "deep")]
    pub(crate) state: Option<PathBuf>,

    /// Read only what is new since the verification that --state is of; what that found is told again
    #[arg(long, requires = "state")]
    pub(crate) since_last: bool,

    /// How the findings are printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) s3: StorageFlags,
}
