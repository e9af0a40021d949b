//! Logs: which, and how they look.

use std::env;

use tracing_subscriber::EnvFilter;

use crate::args::Logging;
use crate::console::Console;

/// Sends logs to the console. `ARMORY_LOG` comes before `RUST_LOG`, and both before the flags.
pub(crate) fn start(flags: &Logging, console: &Console) {
    let from_env = ["ARMORY_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    let directives = from_env.unwrap_or_else(|| default_directives(flags).to_owned());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directives))
        .with_writer(console.clone())
        .with_target(flags.verbose > 0)
        .with_ansi(console.is_terminal());
    if console.is_terminal() {
        builder.without_time().init();
    } else {
        builder.init();
    }
}

fn default_directives(flags: &Logging) -> &'static str {
    match (flags.quiet, flags.verbose) {
        (true, _) => "error",
        // `armory` is the beginning of the names of all our crates.
        (false, 0) => "warn,armory=info",
        (false, 1) => "info,armory=debug",
        (false, _) => "debug,armory=trace",
    }
}
