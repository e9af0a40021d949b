//! Runs Java: the small programs in `java/`, compiled once, and the command line classes of Kafka itself.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cache;
use crate::kafka::{fetch, log4j_file};

/// The sources of our own Java programs, by file name.
const SOURCES: [(&str, &str); 9] = [
    ("Clients.java", include_str!("../java/Clients.java")),
    ("Compare.java", include_str!("../java/Compare.java")),
    ("Dataset.java", include_str!("../java/Dataset.java")),
    ("Dump.java", include_str!("../java/Dump.java")),
    ("Node.java", include_str!("../java/Node.java")),
    ("Produce.java", include_str!("../java/Produce.java")),
    ("Tools.java", include_str!("../java/Tools.java")),
    ("Topics.java", include_str!("../java/Topics.java")),
    (
        "Transactions.java",
        include_str!("../java/Transactions.java"),
    ),
];

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

/// The Java process of `java/Tools.java`, one per test process: starting Java takes longer than most requests.
struct Tools {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: tempfile::NamedTempFile,
}

impl Tools {
    fn start() -> Result<Tools> {
        let log = tempfile::Builder::new()
            .prefix("armory-tools-")
            .tempfile()?;
        let mut child = Command::new("java")
            .args([
                "-Xms64m",
                "-Xmx1g",
                "-XX:+UseSerialGC",
                "-Djava.awt.headless=true",
            ])
            .arg("-Darmory.log.level=WARN")
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                log4j_file()?.display()
            ))
            .args(["-cp", &class_path()?, "armory.Tools"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log.path())?)
            .spawn()
            .context("cannot run java: is it installed and on PATH?")?;
        let requests = child.stdin.take().context("java has an input")?;
        let answers = child.stdout.take().context("java has an output")?;
        Ok(Tools {
            child,
            requests,
            answers: BufReader::new(answers),
            log,
        })
    }

    fn exchange(&mut self, request: &Value) -> Result<Value> {
        let mut answer = String::new();
        // Its input ends with this process, and so does it: no leash is needed.
        let written = writeln!(self.requests, "{request}");
        let read = self.answers.read_line(&mut answer).unwrap_or(0);
        if written.is_err() || read == 0 {
            let log = fs::read_to_string(self.log.path()).unwrap_or_default();
            bail!("the Java tools ended ({:?})\n{log}", self.child.try_wait());
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

/// Asks the Java tools for something: `request` names the `tool` and what it needs.
pub(crate) fn ask<T: DeserializeOwned>(request: &Value) -> Result<T> {
    static TOOLS: OnceLock<Mutex<Option<Tools>>> = OnceLock::new();
    let tools = TOOLS.get_or_init(|| Mutex::new(None));
    // A test that panicked in between has left no half-written request: both sides work in whole lines.
    let mut tools = tools.lock().unwrap_or_else(PoisonError::into_inner);
    let tools = match &mut *tools {
        Some(tools) => tools,
        none => none.insert(Tools::start()?),
    };
    let mut answer = tools.exchange(request)?;
    if let Some(error) = answer["error"].as_str() {
        bail!("{}: {error}", request["tool"].as_str().unwrap_or_default());
    }
    serde_json::from_value(answer["result"].take())
        .with_context(|| format!("the answer of {}", request["tool"]))
}
