//! `cargo xtask bench`: builds what is measured, and measures it.

use anyhow::{Context, Result, bail};
use armory_testkit::guests;
use clap::{Args, ValueEnum};

use crate::bench_plugins;
use crate::commands::{cargo, installed, root, run as run_command};
use crate::setup;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Something else than backups and restores
    #[arg(value_name = "WHAT", value_enum)]
    what: Option<What>,
    /// Measure the memory that 2,000 partitions take instead, held against its bound
    #[arg(long)]
    memory: bool,
    /// Measure the start of a backup of 10,000 partitions with 100,000 segments behind them instead
    #[arg(long, conflicts_with = "memory")]
    scale: bool,
    /// Options of the measurement, e.g. --megabytes 500 --codecs none; `-- --help` lists them
    #[arg(last = true, value_name = "OPTION")]
    options: Vec<String>,
}

/// What is measured by its own means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// What plugins cost, by language; options are those of `armory plugin bench`
    Plugins,
}

/// Builds the release binaries and the identity plugins, then runs the measurement.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run()?;
    run_command(cargo().args([
        "build",
        "--release",
        "-p",
        "armory-cli",
        "-p",
        "armory-bench",
    ]))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let binary = |name: &str| target.join("release").join(name);
    if options.what == Some(What::Plugins) {
        return bench_plugins::run(&binary("armory"), &options.options);
    }
    let mut command = std::process::Command::new(binary("armory-bench"));
    command.current_dir(root());
    if options.memory {
        command.arg("memory");
    } else if options.scale {
        command.arg("scale");
    } else {
        command.arg("run");
        if !installed("kcat") {
            bail!("kcat is measured beside Armory and is not installed (Debian: kcat)");
        }
        command
            .arg("--plugins")
            .arg(guests::build_rust("identity-backup").context("the plugin for backups")?)
            .arg(guests::build_rust("identity-restore").context("the plugin for restores")?);
    }
    command.arg("--armory").arg(binary("armory"));
    run_command(command.args(&options.options))
}
