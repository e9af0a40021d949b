//! Fuzzing every target of `fuzz/` for a while.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use armory_testkit::cache;
use clap::Args;

use crate::commands::{root, run as run_command};

const CARGO_FUZZ: &str = "0.13.1";

/// The target that is fuzzed only when it is named: building it compiles wasmtime with instrumentation, which takes long. It has a
/// feature of its name.
const COMPONENTS: &str = "components";

/// How long, and what.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Only these targets (default: all but components, which takes long to build)
    targets: Vec<String>,
}

/// Runs the targets one after another and stops at the first that finds something.
pub(crate) fn run(options: &Options) -> Result<()> {
    let cargo_fuzz = cargo_fuzz()?;
    let fuzz = |args: &[&str]| {
        let mut command = Command::new(&cargo_fuzz);
        // Its instrumentation is unstable; the compiler that runs this chore is not.
        command
            .current_dir(root())
            .env("RUSTUP_TOOLCHAIN", "nightly")
            .env_remove("CARGO");
        command.arg("fuzz").args(args);
        command
    };
    let targets = match &options.targets[..] {
        [] => cache::run(&mut fuzz(&["list"]))?
            .lines()
            .filter(|target| *target != COMPONENTS)
            .map(str::to_owned)
            .collect(),
        named => named.to_vec(),
    };
    if targets.is_empty() {
        bail!("fuzz/ has no targets");
    }
    let seconds = format!("-max_total_time={}", options.seconds);
    for target in targets {
        // What it finds goes into the first folder; what is checked in is only read.
        let found = root().join("fuzz/target/corpus").join(&target);
        let kept = root().join("fuzz/corpus").join(&target);
        for folder in [&found, &kept] {
            std::fs::create_dir_all(folder)?;
        }
        let (found, kept) = (found.display().to_string(), kept.display().to_string());
        eprintln!("\n== {target} ==");
        let features: &[&str] = match target.as_str() {
            COMPONENTS => &["--features", COMPONENTS],
            _ => &[],
        };
        let fuzz = |verb, rest: &[&str]| fuzz(&[&[verb], features, &[&target], rest].concat());
        run_command(&mut fuzz("build", &[]))?;
        run_command(&mut fuzz(
            "run",
            &[&found, &kept, "--", &seconds, "-rss_limit_mb=4096"],
        ))
        .with_context(|| format!("{target}: the input that broke it lies in fuzz/artifacts"))?;
    }
    Ok(())
}

/// Builds cargo-fuzz on first use.
fn cargo_fuzz() -> Result<PathBuf> {
    let path = cache::root()?
        .join("bin")
        .join(format!("cargo-fuzz-{CARGO_FUZZ}"));
    cache::once(&path, |partial| {
        let folder = tempfile::tempdir()?;
        let version = format!("cargo-fuzz@{CARGO_FUZZ}");
        let mut install = Command::new("cargo");
        install
            .args(["install", "--locked", &version, "--root"])
            .arg(folder.path());
        run_command(&mut install)?;
        std::fs::copy(folder.path().join("bin/cargo-fuzz"), partial)?;
        Ok(())
    })
    .context("cannot build cargo-fuzz")
}
