//! A broker for development, and Kafka's own tools against it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use armory_testkit::kafka::tool_command;
use armory_testkit::{Kafka, KafkaOptions, cache};
use clap::Subcommand;
use rustix::process::{Pid, Signal, kill_process};

use crate::commands;

/// The port of the first node; the others follow in steps of ten.
const PORT: u16 = 19092;

/// What to do with the broker.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker on 127.0.0.1:19092 until Ctrl-C; its data is gone afterwards
    Start {
        /// How many nodes (1 to 3); they listen on 19092, 19102 and 19112
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
        nodes: u8,
        /// A broker property, as name=value (may be given several times)
        #[arg(long = "property", value_name = "NAME=VALUE")]
        properties: Vec<String>,
    },
    /// Stop the broker that `start` runs in another terminal
    Stop,
    /// Run one of Kafka's tools: topics, configs, groups, console-producer, console-consumer, dump-log, …
    #[command(after_help = "Examples:
  cargo xtask kafka cli topics --bootstrap-server 127.0.0.1:19092 --create --topic orders
  cargo xtask kafka cli dump-log --print-data-log --files 00000000000000000000.log")]
    Cli {
        /// A short name, or a full class name
        tool: String,
        /// What the tool is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Does what the command says.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Start { nodes, properties } => start(nodes.into(), &properties),
        Command::Stop => stop(),
        Command::Cli { tool, args } => {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            commands::run(&mut tool_command(&tool, &args)?)
        }
    }
}

fn pid_file() -> Result<PathBuf> {
    Ok(cache::root()?.join("kafka/developer.pid"))
}

/// The process that runs the broker, if it is one of this program.
fn running() -> Result<Option<Pid>> {
    let Ok(text) = fs::read_to_string(pid_file()?) else {
        return Ok(None);
    };
    let pid: i32 = text
        .trim()
        .parse()
        .context("the file with the broker's process id")?;
    // Another program may have got the process id since.
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Ok(Pid::from_raw(pid).filter(|_| name.trim() == "xtask"))
}

fn start(nodes: usize, properties: &[String]) -> Result<()> {
    if running()?.is_some() {
        bail!("the broker runs already; `cargo xtask kafka stop` stops it");
    }
    let mut options = KafkaOptions {
        nodes,
        port: Some(PORT),
        ..KafkaOptions::default()
    };
    for property in properties {
        let (name, value) = property
            .split_once('=')
            .with_context(|| format!("{property} is not name=value"))?;
        options = options.property(name, value);
    }
    let kafka = Kafka::start(options)?;
    fs::write(pid_file()?, std::process::id().to_string())?;
    println!("{}", kafka.bootstrap());
    eprintln!(
        "Kafka runs at {}; Ctrl-C stops it and removes its data",
        kafka.bootstrap()
    );
    loop {
        // However this process ends, the test kit's leash stops the broker.
        std::thread::park();
    }
}

fn stop() -> Result<()> {
    let Some(pid) = running()? else {
        bail!("no broker was started by `cargo xtask kafka start`")
    };
    kill_process(pid, Signal::TERM)?;
    let asked = Instant::now();
    while running()?.is_some() {
        if asked.elapsed() > Duration::from_secs(10) {
            bail!("process {} does not stop", pid.as_raw_nonzero());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::remove_file(pid_file()?).context("cannot remove the file with the broker's process id")
}
