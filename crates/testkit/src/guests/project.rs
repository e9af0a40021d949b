//! Builds the projects that authors begin with, in the way that they do.
//!
//! A language has one folder, in which its projects are built one after another: what the toolchain installs there is large
//! (400 MB for JavaScript), and the same for all of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use armory_authoring::{Language, World};

use super::{digest, files_below};
use crate::cache;

/// How components are made: when that changes, what was made before is of no use.
const BUILDER: [&str; 5] = [
    include_str!("../../../authoring/src/component.rs"),
    include_str!("../../../authoring/src/build/go.rs"),
    include_str!("../../../authoring/src/build/javascript.rs"),
    include_str!("../../../authoring/src/build/python.rs"),
    include_str!("../../../authoring/src/build/mod.rs"),
];

/// What builds leave in a project's folder, and the next one may use.
const KEPT: [&str; 3] = [".venv", "build", "node_modules"];

/// A change to a file of a project: text that is there once, and what takes its place.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'a> {
    /// The file.
    pub file: &'a str,
    /// What stands there.
    pub from: &'a str,
    /// What shall stand there.
    pub to: &'a str,
}

/// The component of the project that `armory plugin new` writes.
pub fn build(language: Language, world: World) -> Result<PathBuf> {
    build_edited(language, world, &[])
}

/// The component of the project that `armory plugin new` writes, with changes.
pub fn build_edited(language: Language, world: World, edits: &[Edit<'_>]) -> Result<PathBuf> {
    let marker = language.marker();
    let name = format!("{language}-{world:?}").to_lowercase();
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("project");
    armory_authoring::create(&source, "my-plugin", language, world)?;
    for Edit { file, from, to } in edits {
        let path = source.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("{marker}: no {file}"))?;
        ensure!(
            text.matches(from).count() == 1,
            "{from:?} is not once in {file}"
        );
        fs::write(&path, text.replace(from, to))?;
    }
    let mut files = Vec::new();
    for path in files_below(&source)? {
        let name = path.file_name().unwrap_or_default();
        files.push(name.as_encoded_bytes().to_vec());
        files.push(fs::read(&path)?);
    }
    let contents = files.iter().map(Vec::as_slice);
    let key = digest(contents.chain(BUILDER.iter().map(|text| text.as_bytes())));

    let guests = cache::root()?.join("guests");
    let component = guests.join(format!("{name}-{key}.wasm"));
    cache::once(&component, |partial| {
        let project = guests
            .join("projects")
            .join(language.to_string().to_lowercase());
        fs::create_dir_all(&project)?;
        let _turn = cache::lock(&project.with_extension("lock"))?;
        replace(&project, &source)?;
        let built = armory_authoring::build(&project, &mut |_| {})?;
        fs::copy(built.component, partial)?;
        Ok(())
    })
    .with_context(|| format!("cannot build the guest {name}"))
}

/// Puts the files of one folder in place of those of another, where only [`KEPT`] stays.
fn replace(project: &Path, source: &Path) -> Result<()> {
    for entry in fs::read_dir(project)? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| KEPT.iter().any(|kept| name == *kept))
        {
            continue;
        }
        cache::remove(&path)?;
    }
    copy(source, project)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
