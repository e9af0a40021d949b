//! Building the example plugins of `guests/`.

use anyhow::{Context, Result};
use armory_testkit::guests::build_rust;

use crate::commands::root;

/// Builds every crate of `guests/rust` that has changed, and prints where the components are.
pub(crate) fn run() -> Result<()> {
    let folder = root().join("guests/rust");
    let mut names = Vec::new();
    for entry in folder
        .read_dir()
        .with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    for name in names {
        println!("{name}: {}", build_rust(&name)?.display());
    }
    Ok(())
}
