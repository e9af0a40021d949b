//! Child processes that cannot outlive the test that started them.
//!
//! A test may be killed by its runner, or keep a broker in a static that is never dropped, so `Drop` alone does
//! not stop what a test started. The kernel's parent-death signal needs unsafe code. Instead every child has
//! a *leash*: a pipe whose writing end only this process holds. A small shell in the background reads the other
//! end. When that ends without a word, this process is gone, and the shell kills the child and removes its data. After
//! an orderly end a line is written, and the shell leaves quietly.
//!
//! The child and its watching shell form a process group of their own, so that a test runner which kills the
//! test's group, or Ctrl-C in a terminal, does not kill the watcher before it has cleaned up.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// `$1` is a folder to remove (or empty), the rest is the command. `exec` makes the child keep the shell's
/// process id, so that it is a direct child of the test and `$$` names it.
const LEASH: &str = r#"
doomed=$1; shift
exec 3<&0
( read -r released <&3 && exit 0
  kill -9 $$
  sleep 0.2
  if [ -n "$doomed" ]; then rm -rf -- "$doomed"; rmdir -- "${doomed%/*}" 2>/dev/null; fi ) </dev/null >/dev/null 2>&1 &
exec 3<&- </dev/null "$@"
"#;

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(20);

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    program: String,
    child: Child,
    leash: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to the new file `log`.
    ///
    /// `doomed` is a folder that is removed, together with its parent when that is empty then, if this process
    /// dies without stopping the program.
    pub fn spawn(
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        env: &[(&str, &str)],
        log: &Path,
        doomed: Option<&Path>,
    ) -> Result<Process> {
        let program = program.as_ref();
        let output =
            File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", LEASH, "leash"])
            .arg(doomed.unwrap_or(Path::new("")))
            .arg(program)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        // Taken out because `Child::wait` would close it, which is the sign to kill.
        let leash = child.stdin.take();
        let program = program.to_string_lossy().into_owned();
        Ok(Process {
            program,
            child,
            leash,
            log: log.to_owned(),
        })
    }

    /// The operating system's id of the program itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that the program has printed.
    pub fn output(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Polls `ready` until it is true. It is an error when the program ends first or `deadline` passes.
    pub fn wait_until(
        &mut self,
        deadline: Duration,
        mut ready: impl FnMut(&Process) -> bool,
    ) -> Result<()> {
        let started = Instant::now();
        while !ready(self) {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended ({status}) before it was ready\n{}",
                    self.program,
                    self.last_lines()
                );
            }
            if started.elapsed() > deadline {
                bail!(
                    "{} was not ready within {deadline:?}\n{}",
                    self.program,
                    self.last_lines()
                );
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Asks the program to stop (SIGTERM) and waits; kills it and fails when it has not stopped by the deadline.
    pub fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let started = Instant::now();
        while started.elapsed() < deadline {
            if let Some(status) = self.child.try_wait()? {
                self.release();
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        let last_lines = self.last_lines();
        self.kill()?;
        bail!(
            "{} did not stop within {deadline:?}\n{last_lines}",
            self.program
        )
    }

    /// Kills the program (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .with_context(|| format!("cannot kill {}", self.program))?;
        self.child.wait()?;
        self.release();
        Ok(())
    }

    /// Freezes the program (SIGSTOP): its connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused program go on (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.program))
    }

    /// Sends the watching shell home. Called only when the child has been waited for, for then the shell must not
    /// kill whoever gets its process id next.
    fn release(&mut self) {
        if let Some(mut leash) = self.leash.take() {
            // An error means that the shell is already gone, which is what is wanted.
            let _ = leash.write_all(b"released\n");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when the program has ended and was waited for.
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exists(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(POLL);
        }
    }

    #[test]
    fn a_dropped_process_is_gone() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let process = Process::spawn("sleep", ["1000"], &[], &folder.path().join("log"), None)?;
        let pid = process.pid();
        assert!(exists(pid));
        drop(process);
        assert!(!exists(pid));
        Ok(())
    }

    #[test]
    fn a_process_whose_leash_is_cut_is_killed_and_its_data_removed() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("cluster/node");
        std::fs::create_dir_all(&data)?;
        let log = folder.path().join("log");
        let mut process = Process::spawn("sleep", ["1000"], &[], &log, Some(&data))?;
        drop(process.leash.take());
        assert!(!process.child.wait()?.success());
        wait_for("the data was not removed", || {
            !folder.path().join("cluster").exists()
        });
        Ok(())
    }

    #[test]
    fn a_process_that_stopped_keeps_its_data() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("cluster/node");
        std::fs::create_dir_all(&data)?;
        let log = folder.path().join("log");
        let mut process = Process::spawn("sleep", ["1000"], &[], &log, Some(&data))?;
        process.terminate(Duration::from_secs(10))?;
        assert!(data.exists());
        Ok(())
    }

    #[test]
    fn a_program_that_ends_early_is_reported_with_its_output() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let mut process =
            Process::spawn("sh", ["-c", "echo no such port; exit 1"], &[], &log, None)?;
        let error = process
            .wait_until(Duration::from_secs(20), |_| false)
            .unwrap_err();
        assert!(error.to_string().contains("no such port"), "{error}");
        Ok(())
    }
}
