//! Armory's image as a file, without a container engine.

use std::path::PathBuf;

use anyhow::Result;
use armory_testkit::image;
use clap::Args;

use crate::commands::{self, cargo, root};

/// What to put where.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where the image is written: an OCI archive, which `docker load`, `podman load` and `skopeo` read
    #[arg(
        long,
        short,
        value_name = "TAR",
        default_value = "target/armory-image.tar"
    )]
    output: PathBuf,
    /// The image's name and tag [default: armory:VERSION]
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<String>,
    /// Take this build of the command instead of building one
    #[arg(long, value_name = "FILE", conflicts_with = "release")]
    binary: Option<PathBuf>,
    /// Build with optimisations, as for users
    #[arg(long)]
    release: bool,
}

/// Builds the command, unless one is given, and writes the image; prints where.
pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(options.release)?,
    };
    let version = env!("CARGO_PKG_VERSION");
    let tag = options.tag.clone();
    let tag = tag.unwrap_or_else(|| format!("armory:{version}"));
    if let Some(folder) = options.output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    image::armory(&root(), &binary, version, &tag)?.write(&options.output)?;
    println!("{}", options.output.display());
    Ok(())
}

fn build(release: bool) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked", "--package", "armory-cli"]);
    if release {
        command.arg("--release");
    }
    commands::run(&mut command)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let profile = if release { "release" } else { "debug" };
    Ok(target.join(profile).join("armory"))
}
