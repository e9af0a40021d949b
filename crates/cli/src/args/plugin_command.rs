//! `armory plugin`

use std::path::PathBuf;

use armory_resources::scalar::parse_size;
use clap::{Args, Subcommand, ValueEnum};

use super::connect::StorageFlags;
use super::{PluginBuildArguments, PluginNewArguments};
use crate::output::Format;

/// Begin, build, inspect and try out plugins
///
/// A plugin is a WebAssembly component that records pass on their way into an archive or back. Everything here runs on the same host, under
/// the same limits, as `armory backup` and `armory restore` do.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  Begin one, and build it:
    armory plugin new --lang python --world backup drop-secret
    armory plugin build drop-secret

  What it is, and whether it would be taken:
    armory plugin inspect drop-header.wasm

  What it makes of records:
    armory plugin test drop-header.wasm --config drop-header.yaml --from ./archive orders -n 100

  What it costs:
    armory plugin bench drop-header.wasm --config drop-header.yaml")]
pub(crate) struct PluginArguments {
    #[command(subcommand)]
    pub(crate) command: PluginCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    New(PluginNewArguments),
    Build(PluginBuildArguments),
    Inspect(PluginInspectArguments),
    Test(PluginTestArguments),
    Bench(PluginBenchArguments),
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

/// A plugin, and what it is to work for.
#[derive(Debug, Args)]
pub(crate) struct PluginRun {
    /// The component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// A YAML file with its configuration, one object
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// A backup plugin's topic [default: each record's own]
    #[arg(long, value_name = "TOPIC", conflicts_with_all = ["source", "target"])]
    pub(crate) topic: Option<String>,

    /// A restore plugin's source topic [default: each record's own]
    #[arg(long, value_name = "TOPIC")]
    pub(crate) source: Option<String>,

    /// A restore plugin's target topic [default: the source topic]
    #[arg(long, value_name = "TOPIC")]
    pub(crate) target: Option<String>,

    /// How many partitions a restore plugin is told that the archive has [default: as many as the records need]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..), conflicts_with = "topic")]
    pub(crate) partitions: Option<i32>,

    /// The memory that an instance may take
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    pub(crate) memory: u64,
}

/// Records to run through a plugin.
#[derive(Debug, Args)]
pub(crate) struct PluginRecords {
    /// A file with a record a line, as `armory cat` prints them; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) records: Option<PathBuf>,

    /// Records of an archive: where it lies, and a topic or one partition of it
    #[arg(long, num_args = 2, value_names = ["STORAGE", "TOPIC[/PARTITION]"], conflicts_with = "records")]
    pub(crate) from: Option<Vec<String>>,

    /// At most this many records
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1000)]
    pub(crate) limit: usize,

    #[command(flatten)]
    pub(crate) s3: StorageFlags,
}

/// Run records through a plugin, and show what it makes of them
///
/// Each record that does not come out as it went in is shown with its difference. With --expect every record is compared with a line of that
/// file, and only what differs is shown. The exit code is 1 where something differs; without --expect, where the plugin failed on a record.
///
/// The output of `-o json` is such a file: look through it once, and keep it.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("input").required(true).args(["records", "from"]), after_long_help = "\
Examples:
  armory plugin test drop-header.wasm --config drop-header.yaml --records records.jsonl
  armory plugin test drop-header.wasm --config drop-header.yaml --from s3://backups/kafka orders/0
  armory plugin test spread.wasm --source orders --target orders-copy --partitions 3 --records records.jsonl
  armory plugin test drop-header.wasm --config drop-header.yaml --records records.jsonl -o json > expected.jsonl
  armory plugin test drop-header.wasm --config drop-header.yaml --records records.jsonl --expect expected.jsonl")]
pub(crate) struct PluginTestArguments {
    #[command(flatten)]
    pub(crate) run: PluginRun,

    #[command(flatten)]
    pub(crate) input: PluginRecords,

    /// What is to come of the records: a line for each, of which the fields that are there are compared
    #[arg(long, value_name = "FILE")]
    pub(crate) expect: Option<PathBuf>,

    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: PluginTestFormat,
}

/// `-o`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PluginTestFormat {
    /// Differences, for people; its form may change.
    #[default]
    Text,
    /// One line a record: what came of it.
    Json,
}

/// Measure what a plugin costs
///
/// Nanoseconds a record for several sizes of values and numbers of headers, or for given records; how long the component takes to compile, to come
/// from the cache, and to start; and whether the memory of an instance grows with the records that it has seen. One thread, the production host.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  armory plugin bench drop-header.wasm --config drop-header.yaml
  armory plugin bench drop-header.wasm --config drop-header.yaml --from ./archive orders -n 10000
  armory plugin bench drop-header.wasm --config drop-header.yaml -o json")]
pub(crate) struct PluginBenchArguments {
    #[command(flatten)]
    pub(crate) run: PluginRun,

    #[command(flatten)]
    pub(crate) input: PluginRecords,

    /// How long every row is measured, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300)]
    pub(crate) time: u64,

    /// Calls over which the growth of memory is measured
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    pub(crate) calls: u64,

    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
}
