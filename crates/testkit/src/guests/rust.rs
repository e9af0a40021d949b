//! Builds the example plugins of `guests/rust`.
//!
//! A plugin's author runs `cargo build --target wasm32-wasip2`. That target cannot be had from a registry, so tests build
//! the same crates with the distribution's compiler: it brings the source of `std`, which is compiled for
//! `wasm32-unknown-unknown`, and the module that comes out is encoded as a component here. The first build takes two
//! minutes, every other a few seconds, and one whose sources have been seen before none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{digest, files_below};
use crate::cache;

/// Debian's compiler, by its full path: what rustup puts on the `PATH` cannot build `std`.
const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";
const LINKER: &str = "/usr/bin/wasm-ld-19";
const STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";

const PACKAGES: &str = "rustc-web cargo-web rust-web-src lld-19";

/// The component of a crate of `guests/rust`, built if its sources have changed since it was built last.
pub fn build_rust(name: &str) -> Result<PathBuf> {
    let repository = repository()?;
    let workspace = repository.join("guests/rust");
    let package = workspace.join(name);
    if !package.join("Cargo.toml").is_file() {
        bail!("there is no guest {name} in {}", workspace.display());
    }
    let mut sources = vec![workspace.join("Cargo.toml"), workspace.join("Cargo.lock")];
    sources.extend(files_below(&package.join("src"))?);
    sources.push(package.join("Cargo.toml"));
    sources.extend(files_below(&repository.join("wit/0.1"))?);
    let folder = cache::root()?.join("guests");
    let component = folder.join(format!("{name}-{}.wasm", digest_of(&sources)?));
    cache::once(&component, |partial| {
        let module = build_module(&workspace, name, &folder.join("target"))?;
        let module =
            fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
        Ok(fs::write(partial, armory_authoring::encode(&module)?)?)
    })
    .with_context(|| format!("cannot build the guest {name}"))
}

/// The checkout that this runs in: tests run in their package's folder, chores in the checkout's own. The path at compile time
/// would be wrong where checkouts share a target folder.
fn repository() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    here.ancestors()
        .find(|folder| folder.join("guests/rust/Cargo.toml").is_file())
        .map(Path::to_owned)
        .with_context(|| format!("there is no guests/rust in or above {}", here.display()))
}

fn build_module(workspace: &Path, name: &str, target: &Path) -> Result<PathBuf> {
    let missing = [CARGO, RUSTC, LINKER, STD_SOURCE]
        .into_iter()
        .find(|path| !Path::new(path).exists());
    if let Some(missing) = missing {
        bail!("{missing} is missing; install the toolchain with `apt-get install {PACKAGES}`");
    }
    let mut cargo = Command::new(CARGO);
    // This may run inside another cargo, whose settings are not for this one.
    for (variable, _) in std::env::vars_os() {
        let foreign = variable.to_str().is_some_and(|variable| {
            variable.starts_with("CARGO_") && variable != "CARGO_HOME"
                || variable.starts_with("RUST")
        });
        if foreign {
            cargo.env_remove(variable);
        }
    }
    cargo
        .env("PATH", "/usr/bin:/bin")
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", LINKER)
        .env("CARGO_TARGET_DIR", target)
        .current_dir(workspace)
        .args(["build", "--release", "--locked", "--package", name])
        .args([
            "-Zbuild-std=std,panic_abort",
            "--target",
            "wasm32-unknown-unknown",
        ]);
    cache::run(&mut cargo)?;
    Ok(target
        .join("wasm32-unknown-unknown/release")
        .join(format!("{}.wasm", name.replace('-', "_"))))
}

fn digest_of(files: &[PathBuf]) -> Result<String> {
    let contents = files
        .iter()
        .map(|file| fs::read(file).with_context(|| format!("cannot read {}", file.display())))
        .collect::<Result<Vec<_>>>()?;
    Ok(digest(contents.iter().map(Vec::as_slice)))
}

#[cfg(all(test, feature = "real"))]
mod tests {
    use super::*;

    #[test]
    fn builds_a_component() -> Result<()> {
        let component = fs::read(build_rust("identity-backup")?)?;
        assert_eq!(component[..8], *b"\0asm\x0d\0\x01\0");
        Ok(())
    }

    #[test]
    fn a_guest_that_is_not_there_is_named() {
        let error = build_rust("no-such-guest").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("there is no guest no-such-guest"),
            "{error}"
        );
    }
}
