//! The command line as it is typed. Nothing here decides anything: the structures are resolved elsewhere.

mod backup;
mod cat;
mod connect;
mod crds;
mod groups;
mod inspect;
mod operator;
mod plugin;
mod plugin_author;
mod plugin_command;
mod prune;
mod quickstart;
mod restore;
mod verify;

use clap::{Args, Parser, Subcommand};

pub(crate) use backup::BackupArguments;
pub(crate) use cat::{CatArguments, CatFormat, OffsetRange};
pub(crate) use connect::{Documents, StorageFlags};
pub(crate) use crds::{CrdsArguments, CrdsFormat};
pub(crate) use groups::{
    ApplyArguments, GroupsArguments, GroupsCommand, SnapshotArguments, Translation,
};
pub(crate) use inspect::InspectArguments;
pub(crate) use operator::OperatorArguments;
pub(crate) use plugin::PluginFlag;
pub(crate) use plugin_author::{PluginBuildArguments, PluginNewArguments};
pub(crate) use plugin_command::{
    PluginArguments, PluginBenchArguments, PluginCommand, PluginInspectArguments, PluginRecords,
    PluginRun, PluginTestArguments, PluginTestFormat,
};
pub(crate) use prune::PruneArguments;
pub(crate) use quickstart::QuickstartArguments;
pub(crate) use restore::RestoreArguments;
pub(crate) use verify::VerifyArguments;

/// Back up Kafka topics, and restore them.
///
/// Armory streams topics into a storage (a folder, S3, Google Cloud Storage or Azure Blob Storage) as the very bytes that the brokers sent, and puts them
/// back, on the same or on another cluster. On both ways records can pass through WASI plugins.
#[derive(Debug, Parser)]
#[command(name = "armory", version, max_term_width = 100, after_long_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) logging: Logging,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failed, wholly or in part; trying again may help
  2  the command line, or a file that it names, is wrong; nothing was done
  3  damage was found in an archive
  4  refused: what is there, e.g. in the target of a restore, does not allow it
  5  a plugin cannot be used, refuses its configuration, or stopped what it was given
  143  stopped by a signal before its end

Environment:
  ARMORY_TERMINATION_LOG  a file for one line that says why the command failed, or how far a restore came, e.g. /dev/termination-log
  ARMORY_LOG   which logs are written, e.g. debug or armory_kafka=trace; comes before RUST_LOG and the flags
  RUST_LOG     the same
  AWS_*        credentials and region of S3 storages, where nothing else gives them
  GOOGLE_*     credentials of gs:// storages, e.g. GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT_KEY
  AZURE_*      credentials of az:// storages, e.g. AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_ACCOUNT_KEY";

/// Which logs are written to standard error.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log options")]
pub(crate) struct Logging {
    /// Write more logs; twice for even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,

    /// Write errors only, and no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Quickstart(QuickstartArguments),
    Backup(BackupArguments),
    Restore(RestoreArguments),
    Groups(GroupsArguments),
    Inspect(InspectArguments),
    Cat(CatArguments),
    Verify(VerifyArguments),
    Prune(PruneArguments),
    Plugin(PluginArguments),
    Crds(CrdsArguments),
    Operator(OperatorArguments),
    Completions(CompletionsArguments),
    /// Print the reference of all commands as Markdown
    #[command(hide = true)]
    Reference,
}

/// Print a script that completes armory's commands in a shell
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  armory completions bash > /etc/bash_completion.d/armory
  armory completions zsh > ~/.zfunc/_armory
  armory completions fish > ~/.config/fish/completions/armory.fish")]
pub(crate) struct CompletionsArguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
