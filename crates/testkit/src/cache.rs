//! The folder where fetched programs and built tools are kept between test runs.
//!
//! `$ARMORY_CACHE`, or `~/.cache/armory`. Several test processes may ask for the same thing at once, so
//! each thing has a lock file and is moved to its final name only when it is complete: what has its final
//! name is whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The cache's root folder, created when absent.
pub fn root() -> Result<PathBuf> {
    let root = match std::env::var_os("ARMORY_CACHE").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => {
            let home = std::env::var_os("HOME").context("neither ARMORY_CACHE nor HOME is set")?;
            PathBuf::from(home).join(".cache/armory")
        }
    };
    fs::create_dir_all(&root)
        .with_context(|| format!("cannot create the cache folder {}", root.display()))?;
    // Programs run with other working directories are given paths into the cache.
    fs::canonicalize(&root).with_context(|| format!("cannot resolve {}", root.display()))
}

/// Returns `path`, calling `make` first when it does not exist yet.
///
/// `make` is given a fresh temporary path beside `path` and must create a file or a folder there, which then gets
/// its final name. Other processes that want the same path wait for the first one.
pub fn once(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path.to_owned());
    }
    let parent = path.parent().context("a cache path has a parent folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let _lock = lock(&sibling(path, "lock"))?;
    if path.exists() {
        return Ok(path.to_owned());
    }
    let partial = sibling(path, "partial");
    remove(&partial)?;
    make(&partial)?;
    fs::rename(&partial, path)
        .with_context(|| format!("cannot move {} into place", partial.display()))?;
    Ok(path.to_owned())
}

/// An exclusive lock between processes; it is released when the file is dropped or its process dies.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Runs a command to its end and returns its standard output; its error output is part of the error.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}: is it installed and on PATH?"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({})\n{stdout}{stderr}", output.status);
    }
    Ok(stdout.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_thing_once_and_only_whole() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("thing");
        once(&path, |_| bail!("no network")).unwrap_err();
        assert!(!path.exists());
        once(&path, |partial| Ok(fs::write(partial, "first")?))?;
        once(&path, |_| bail!("made again"))?;
        assert_eq!(fs::read_to_string(&path)?, "first");
        Ok(())
    }

    #[test]
    fn a_failed_command_tells_what_it_printed() {
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
    }
}
