//! The command under test: started, watched, and killed.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use armory_failpoints::{Point, VARIABLE};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With an exit code.
    Code(i32),
    /// By a signal: at its kill point.
    Signal(i32),
}

/// How the command is called.
#[derive(Debug, Clone)]
pub(crate) struct Armory {
    pub(crate) binary: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    /// Where the logs of its runs are kept.
    pub(crate) logs: PathBuf,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Run {
    child: Child,
    log: PathBuf,
    started: Instant,
}

impl Armory {
    /// Starts the command; at the given point it aborts itself.
    pub(crate) fn start(
        &self,
        name: &str,
        args: &[String],
        point: Option<(Point, u64)>,
    ) -> Result<Run> {
        let log = self.logs.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("ARMORY_LOG", "armory=debug,warn")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        if let Some((point, times)) = point {
            command.env(VARIABLE, format!("{}:{times}", point.name()));
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        Ok(Run {
            child,
            log,
            started: Instant::now(),
        })
    }

    /// Runs the command to its end, which must be a good one; returns what it printed.
    pub(crate) fn must(&self, name: &str, args: &[String]) -> Result<String> {
        let mut run = self.start(name, args, None)?;
        match run.wait(Duration::from_secs(180))? {
            Some(Ended::Code(0)) => Ok(run.output()),
            ended => bail!("armory {}: {ended:?}\n{}", args.join(" "), run.last_lines()),
        }
    }

    /// Runs the command to its end, which must be a good one; returns the bytes that it wrote to its standard output.
    pub(crate) fn bytes(&self, args: &[String]) -> Result<Vec<u8>> {
        let output = Command::new(&self.binary)
            .args(args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("armory {}: {}\n{errors}", args.join(" "), output.status);
        }
        Ok(output.stdout)
    }
}

impl Run {
    /// Waits for its end, at most so long.
    pub(crate) fn wait(&mut self, time: Duration) -> Result<Option<Ended>> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let ended = match (status.code(), status.signal()) {
                    (Some(code), _) => Ended::Code(code),
                    (None, signal) => Ended::Signal(signal.unwrap_or(0)),
                };
                return Ok(Some(ended));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGKILL. Whether it still ran.
    pub(crate) fn kill(&mut self) -> Result<bool> {
        let ran = self.child.try_wait()?.is_none();
        let _ = self.child.kill();
        self.child.wait()?;
        Ok(ran)
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        Ok(())
    }

    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub(crate) fn last_lines(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
