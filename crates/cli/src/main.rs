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

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Arguments;
use crate::console::Console;
use crate::exit::Exit;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let console = Console::new(arguments.logging.quiet);
    logging::start(&arguments.logging, &console);
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(commands::run(arguments.command, &console)));
    let exit = result.unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        if exit != Exit::Done {
            console.print(&format!("error: {}", exit::sentence(&error)));
        }
        exit
    });
    exit.into()
}
