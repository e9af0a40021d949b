//! Ports of pods and Services on the machine's loopback.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Pid;

use crate::process::Process;

/// A port of loopback that leads into a cluster. Dropping it closes it, and every connection through it.
#[derive(Debug)]
pub struct Forward {
    address: String,
    _process: Process,
    // After the process, which writes there.
    _log: tempfile::TempDir,
}

impl Forward {
    pub(super) fn start(tool: &Path, first: Pid, target: &str) -> Result<Forward> {
        let folder = tempfile::tempdir()?;
        let first = first.as_raw_nonzero().to_string();
        let mut process = Process::spawn(
            tool,
            [
                "forward",
                "-listen",
                "127.0.0.1:0",
                "-dial-in",
                &first,
                "-dial",
                target,
            ],
            &[],
            &folder.path().join("log"),
            None,
        )?;
        // The first line is whole once its end is there.
        process.wait_until(Duration::from_secs(30), |process| {
            process.output().contains('\n')
        })?;
        let output = process.output();
        let address = output.lines().next().context("it prints its address")?;
        Ok(Forward {
            address: address.to_owned(),
            _process: process,
            _log: folder,
        })
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }
}
