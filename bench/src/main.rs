//! How fast a backup and a restore are, beside what the machine can do at all.
//!
//! Absolute figures of one machine say little, so everything is measured in turns against loops that do the least that has to be done
//! with the same checks: fetch, CRC32C, BLAKE3, write; and read, CRC32C, BLAKE3, new header, produce. Each contestant is a process of its own,
//! whose CPU time and peak memory are read from `/proc` until it ends. `cargo xtask bench` builds everything and runs this.

mod bare;
mod data;
mod measure;
mod memory;
mod report;
mod scale;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Backup and restore beside bare loops
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a broker, make the data, measure everything, print the table
    Run(report::Options),
    /// Measure the memory that a topic of very many partitions takes, held against its bound
    Memory(memory::Options),
    /// Measure how long a backup of 10,000 partitions with 100,000 segments behind them takes to begin, and its memory
    Scale(scale::Options),
    /// The bare fetch loop (one of the contestants)
    BareFetch {
        /// HOST:PORT of a broker
        #[arg(long)]
        bootstrap_server: String,
        /// Topic to fetch up to its end
        #[arg(long)]
        topic: String,
        /// Folder to write to
        #[arg(long)]
        out: PathBuf,
    },
    /// The bare produce loop (one of the contestants)
    BareProduce {
        /// HOST:PORT of a broker
        #[arg(long)]
        bootstrap_server: String,
        /// Topic to produce to
        #[arg(long)]
        topic: String,
        /// Folder with one file of batches for each partition
        #[arg(long)]
        from: PathBuf,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run(options) => report::run(&options).await,
        Command::Memory(options) => memory::run(&options).await,
        Command::Scale(options) => scale::run(&options).await,
        Command::BareFetch {
            bootstrap_server,
            topic,
            out,
        } => bare::fetch(&bootstrap_server, &topic, &out).await,
        Command::BareProduce {
            bootstrap_server,
            topic,
            from,
        } => bare::produce(&bootstrap_server, &topic, &from).await,
    }
}
