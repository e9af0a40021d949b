//! Building the example plugins of `guests/`.

use anyhow::{Context, Result};
use armory_testkit::guests::{Language, World, build, build_rust};

use crate::commands::root;

/// Builds every example plugin that has changed, and prints where the components are.
pub(crate) fn run() -> Result<()> {
    let folder = root().join("guests/rust");
    let mut names = Vec::new();
    for entry in folder
        .read_dir()
        .with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry?;
        if entry.path().join("src").is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    for name in names {
        println!("{name}: {}", build_rust(&name)?.display());
    }
    // The projects in Rust that authors begin with are among those above.
    for language in [Language::Python, Language::Go, Language::Javascript] {
        for world in [World::Backup, World::Restore] {
            let component = build(language, world)?;
            println!("{language}, {world:?}: {}", component.display());
        }
    }
    Ok(())
}
