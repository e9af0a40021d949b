//! The `armory` command: a thin layer over the crates.
//!
//! What a user types is read into plain structures (`args`), resolved into jobs (`jobs`), run (`commands`), watched
//! (`console`), and answered with a documented exit code (`exit`). Data goes to standard output, everything else
//! to standard error.

mod args;
mod commands;
mod console;
mod exit;
mod format;
#[cfg(test)]
mod guide;
mod jobs;
mod logging;
mod memory;
mod metrics;
mod output;
mod quickstart;
mod record_line;
mod signals;
mod termination;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Arguments, Command};
use crate::console::Console;
use crate::exit::Exit;

fn main() -> ExitCode {
    termination::tell_of_panics();
    let arguments = Arguments::try_parse().unwrap_or_else(|error| {
        if error.use_stderr() {
            termination::tell(&error.render().to_string());
        }
        error.exit()
    });
    let console = Console::new(arguments.logging.quiet);
    logging::start(&arguments.logging, &console);
    let exit = run(arguments.command, &console).unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        if exit != Exit::Done {
            let sentence = exit::sentence(&error);
            console.print(&format!("error: {sentence}"));
            termination::tell(&sentence);
        }
        exit
    });
    exit.into()
}

fn run(command: Command, console: &Console) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(commands::run(command, console));
    // Whatever matters has been waited for. A plugin that is being compiled, or a disk that hangs, keeps nobody.
    runtime.shutdown_background();
    result
}
