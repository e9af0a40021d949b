//! Runs Java: the small programs in `java/`, compiled once, and the command line classes of Kafka itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache;
use crate::kafka::fetch;

/// The sources of our own Java programs, by file name.
const SOURCES: [(&str, &str); 1] = [("Node.java", include_str!("../java/Node.java"))];

/// Flags that let a short-lived program be quick: one compiler tier, the plainest collector.
pub(crate) const QUICK: [&str; 3] = [
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Djava.awt.headless=true",
];

/// The class path of Kafka and of our own classes, which are compiled on first use; the compiled classes are kept
/// by the digest of their sources.
pub fn class_path() -> Result<String> {
    let jars = fetch::jars()?;
    let classes = classes(&jars)?;
    Ok(format!("{}:{}/*", classes.display(), jars.display()))
}

fn classes(jars: &Path) -> Result<PathBuf> {
    let mut digest = blake3::Hasher::new();
    for (name, source) in SOURCES {
        digest.update(name.as_bytes()).update(source.as_bytes());
    }
    let digest = digest.finalize().to_hex();
    let folder = cache::root()?
        .join("java")
        .join(format!("{}-{}", fetch::VERSION, &digest[..16]));
    cache::once(&folder, |partial| compile(jars, partial))
}

fn compile(jars: &Path, output: &Path) -> Result<()> {
    let sources = tempfile::tempdir()?;
    let mut command = Command::new("javac");
    command
        .args([
            "-encoding",
            "UTF-8",
            "--release",
            "17",
            "-Xlint:all,-processing,-classfile",
            "-Werror",
        ])
        .args(["-cp", &format!("{}/*", jars.display())])
        .arg("-d")
        .arg(output);
    for (name, source) in SOURCES {
        let path = sources.path().join(name);
        fs::write(&path, source)?;
        command.arg(path);
    }
    cache::run(&mut command).context("cannot compile the test kit's Java programs")?;
    Ok(())
}
