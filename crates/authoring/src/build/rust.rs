//! Rust: cargo for `wasm32-wasip2`, whose linker makes components.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::{Project, missing};
use crate::error::io;
use crate::{Error, encode};

/// What a plugin is built for, unless cargo's own variable says otherwise.
const TARGET: &str = "wasm32-wasip2";
const TARGET_VARIABLE: &str = "CARGO_BUILD_TARGET";

/// What is read of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

pub(super) fn build(project: &mut Project<'_>, component: &Path) -> Result<(), Error> {
    let target = std::env::var(TARGET_VARIABLE).unwrap_or(TARGET.to_owned());
    let no_cargo = || missing("cargo", "install Rust from https://rustup.rs");

    let mut command = Command::new("cargo");
    command.args(["metadata", "--format-version", "1", "--no-deps"]);
    let printed = project.run(&mut command, &no_cargo)?;
    let module = module_of(project, &printed, &target)?;

    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--target", &target]);
    if let Err(error) = project.run(&mut command, &no_cargo) {
        return Err(target_is_missing(project, &target).unwrap_or(error));
    }
    let bytes = fs::read(&module).map_err(io("read", &module))?;
    fs::write(component, encode(&bytes)?).map_err(io("write", component))
}

/// Where cargo will leave what it makes of the project's library.
fn module_of(project: &Project<'_>, metadata: &str, target: &str) -> Result<PathBuf, Error> {
    let unusable = |reason: String| Error::Failed {
        command: "cargo metadata".to_owned(),
        folder: project.folder.clone(),
        status: "its answer cannot be used".to_owned(),
        output: reason,
    };
    let metadata: Metadata =
        serde_json::from_str(metadata).map_err(|error| unusable(error.to_string()))?;
    let manifest = project.path("Cargo.toml");
    let library = metadata
        .packages
        .iter()
        .filter(|package| package.manifest_path == manifest)
        .flat_map(|package| &package.targets)
        .find(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))
        .ok_or_else(|| {
            unusable(
                "the package has no library of crate type cdylib; add crate-type = [\"cdylib\"] to [lib]"
                    .to_owned(),
            )
        })?;
    let file = format!("{}.wasm", library.name.replace('-', "_"));
    let folder = metadata.target_directory.join(target).join("release");
    Ok(folder.join(file))
}

/// Whether a build can have failed because the compiler has no standard library for the target.
fn target_is_missing(project: &mut Project<'_>, target: &str) -> Option<Error> {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", target]);
    let output = command.current_dir(&project.folder).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    let there = output.status.success() && Path::new(folder.trim()).is_dir();
    (!there).then(|| {
        missing(
            &format!("Rust's standard library for {target}"),
            &format!("run rustup target add {target}"),
        )
    })
}
