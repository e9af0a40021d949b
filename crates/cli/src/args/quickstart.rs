//! `armory quickstart`.

use std::path::PathBuf;

use clap::Args;

/// See the whole cycle on this machine alone: a broker in memory, a backup through a plugin, a restore, a comparison
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  armory quickstart
  armory quickstart --folder /tmp/first-look")]
pub(crate) struct QuickstartArguments {
    /// Folder for the plugin and the archive; a new one below the temporary folder if absent
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
}
