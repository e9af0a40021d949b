//! One Kafka process with its ports and data, which outlive restarts of it.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::log4j_file;
use crate::process::Process;

const READY_WITHIN: Duration = Duration::from_secs(120);
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// What every start of a node needs.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) class_path: String,
    pub(super) heap: String,
    pub(super) cluster_id: String,
    /// Names and passwords for SCRAM.
    pub(super) scram_users: Vec<(String, String)>,
}

/// A node: a broker and a controller in one process.
#[derive(Debug)]
pub struct Node {
    folder: PathBuf,
    port: u16,
    arguments: Arguments,
    starts: usize,
    process: Option<Process>,
}

impl Node {
    pub(super) fn new(
        folder: PathBuf,
        port: u16,
        arguments: Arguments,
        properties: &str,
    ) -> Result<Node> {
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("server.properties"), properties)?;
        Ok(Node {
            folder,
            port,
            arguments,
            starts: 0,
            process: None,
        })
    }

    /// `host:port` for clients.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The folder of the partitions' logs, as Kafka lays them out (`<topic>-<partition>/<base offset>.log`).
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Whether the process was started and not stopped.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// What the node has logged since it was started last.
    pub fn log(&self) -> String {
        self.process
            .as_ref()
            .map(Process::output)
            .unwrap_or_default()
    }

    pub(super) fn launch(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        self.starts += 1;
        let Arguments {
            class_path,
            heap,
            cluster_id,
            scram_users,
        } = &self.arguments;
        let mut args = vec![
            "-Xms128m".to_owned(),
            format!("-Xmx{heap}"),
            "-XX:+UseSerialGC".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-XX:+ExitOnOutOfMemoryError".to_owned(),
            "-Djava.awt.headless=true".to_owned(),
            format!("-Dlog4j2.configurationFile={}", log4j_file()?.display()),
            "-cp".to_owned(),
            class_path.clone(),
            "armory.Node".to_owned(),
            cluster_id.clone(),
            self.folder.join("server.properties").display().to_string(),
        ];
        args.extend(
            scram_users
                .iter()
                .map(|(name, password)| format!("{name}={password}")),
        );
        let log = self.folder.join(format!("run-{}.log", self.starts));
        self.process = Some(Process::spawn("java", args, &[], &log, Some(&self.folder))?);
        Ok(())
    }

    pub(super) fn wait_until_ready(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("the node was not started")?;
        let port = self.port;
        process.wait_until(READY_WITHIN, |process| {
            process.output().contains("Kafka Server started")
                && TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
    }

    /// Starts the node again, with the same port and data, and waits until it is ready.
    pub fn start_again(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_until_ready()
    }

    /// Stops the node in an orderly way; does nothing when it does not run.
    pub fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.terminate(STOPPED_WITHIN).map(drop),
            None => Ok(()),
        }
    }

    /// Kills the node; does nothing when it does not run.
    pub fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Freezes the node: its connections stay open and nothing answers.
    pub fn pause(&mut self) -> Result<()> {
        self.process
            .as_ref()
            .context("the node does not run")?
            .pause()
    }

    /// Lets a paused node go on.
    pub fn resume(&mut self) -> Result<()> {
        self.process
            .as_ref()
            .context("the node does not run")?
            .resume()
    }
}
