//! The soak on the command line: `cargo xtask soak` builds everything and runs it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use armory_soak::{Options, StoreKind};
use clap::{Parser, ValueEnum};

/// Backups and restores under random faults and kills, held against a model of what must be where
#[derive(Debug, Parser)]
struct Arguments {
    /// The command, built with the feature `real`
    #[arg(long)]
    armory: PathBuf,
    /// A plugin for some of the restores
    #[arg(long)]
    plugin: Option<PathBuf>,
    /// No round begins after so long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// No more rounds than these
    #[arg(long, default_value_t = u64::MAX)]
    rounds: u64,
    /// What everything follows from; by default another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// Where the archives lie
    #[arg(long, value_enum, default_value_t = Store::Both)]
    store: Store,
    /// Where the folders of failed rounds are kept
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    keep: PathBuf,
    /// Write the summary as JSON to this file, too
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Store {
    Folder,
    S3,
    Both,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let options = Options {
        armory: arguments.armory,
        plugin: arguments.plugin,
        time: Duration::from_secs(60 * arguments.minutes),
        rounds: arguments.rounds,
        seed: arguments.seed.unwrap_or_else(rand::random),
        store: match arguments.store {
            Store::Folder => StoreKind::Folder,
            Store::S3 => StoreKind::S3,
            Store::Both => StoreKind::Both,
        },
        keep: arguments.keep,
    };
    eprintln!("seed {}", options.seed);
    let summary = armory_soak::run(&options)?;
    println!("{summary}");
    if let Some(path) = arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&summary)?)?;
    }
    Ok(if summary.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
