//! Builds the example plugins of `guests/` into components.
//!
//! A component is kept under a name that tells what it was made from, so it is built again only when that has changed.

mod project;
mod rust;

pub use armory_authoring::{Language, World};
pub use project::{Edit, build, build_edited};
pub use rust::build_rust;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Feeds files into the key of what is built from them.
fn digest<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = blake3::Hasher::new();
    for content in files {
        hasher.update(&(content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// The paths of all files in and below a folder, in the order of names.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

/// Where compiled components are kept, for hosts of tests: Python and JavaScript take many seconds to compile.
///
/// It is the command's own folder, so that what one test has compiled no other compiles again.
pub fn compiled() -> Result<PathBuf> {
    Ok(crate::cache::root()?.join("components"))
}
