//! `cargo xtask soak`: builds the command with its kill points armed, and runs backups and restores under faults.

use anyhow::{Context, Result};
use armory_testkit::guests;
use clap::Args;

use crate::commands::{cargo, root, run as run_command};
use crate::setup;

/// What to run, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// No round begins after so long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// No more rounds than these
    #[arg(long)]
    rounds: Option<u64>,
    /// What everything follows from; by default another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// Where the archives lie: folder, s3 or both
    #[arg(long, default_value = "both", value_parser = ["folder", "s3", "both"])]
    store: String,
    /// Write the summary as JSON to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
}

/// Builds `armory` and the soak in the profile of tests, then runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run()?;
    run_command(cargo().args([
        "build",
        "-p",
        "armory-cli",
        "-p",
        "armory-soak",
        "--features",
        "armory-cli/real",
    ]))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let binary = |name: &str| target.join("debug").join(name);
    let mut command = std::process::Command::new(binary("armory-soak"));
    command
        .arg("--armory")
        .arg(binary("armory"))
        .arg("--plugin")
        .arg(guests::build_rust("identity-restore").context("the plugin for restores")?)
        .args(["--minutes", &options.minutes.to_string()])
        .args(["--store", &options.store]);
    if let Some(rounds) = options.rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    if let Some(seed) = options.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if let Some(json) = &options.json {
        command.arg("--json").arg(json);
    }
    run_command(&mut command)
}
