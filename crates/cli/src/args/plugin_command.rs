//! `armory plugin`

use std::path::PathBuf;

use armory_resources::scalar::parse_size;
use clap::{Args, Subcommand};

use crate::output::Format;

/// Look at plugins, and try them out
///
/// A plugin is a WebAssembly component that records pass on their way into an archive or back. Everything here runs on the same host, under
/// the same limits, as `armory backup` and `armory restore` do.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  What it is, and whether it would be taken:
    armory plugin inspect drop-header.wasm")]
pub(crate) struct PluginArguments {
    #[command(subcommand)]
    pub(crate) command: PluginCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    Inspect(PluginInspectArguments),
}

/// Show what a component is, and whether it can be a plugin
///
/// Its world and version, what it imports and exports, how long it takes to compile and to start, how much memory an instance has at its start,
/// and whether that is within the limits. The exit code is 1 where it cannot be a plugin.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  armory plugin inspect drop-header.wasm
  armory plugin inspect drop-header.wasm --memory 64MiB
  armory plugin inspect drop-header.wasm -o json | jq -r .digest")]
pub(crate) struct PluginInspectArguments {
    /// The component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The memory that an instance may take
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    pub(crate) memory: u64,

    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
}
