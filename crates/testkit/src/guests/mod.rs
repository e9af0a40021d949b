//! Builds the example plugins of `guests/` into components.
//!
//! A component is kept under a name that tells what it was made from, so it is built again only when that has changed.

mod project;
mod rust;

pub use armory_authoring::{Language, World};
pub use project::{Edit, build, build_edited};
pub use rust::build_rust;

use anyhow::Result;

/// Feeds files into the key of what is built from them.
fn digest<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = blake3::Hasher::new();
    for content in files {
        hasher.update(&(content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Where compiled components are kept, for hosts of tests: Python and JavaScript take many seconds to compile.
///
/// It is the command's own folder, so that what one test has compiled no other compiles again.
pub fn compiled() -> Result<std::path::PathBuf> {
    Ok(crate::cache::root()?.join("components"))
}
