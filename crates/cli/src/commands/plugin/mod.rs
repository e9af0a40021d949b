//! `armory plugin`: tools for those who write plugins, on the host that runs them.

mod inspect;

use armory_plugins::{Host, HostOptions};

use crate::args::{PluginArguments, PluginCommand};
use crate::exit::Exit;

pub(super) async fn run(arguments: PluginArguments) -> anyhow::Result<Exit> {
    match arguments.command {
        // The host's calls take as long as a guest does.
        PluginCommand::Inspect(arguments) => {
            tokio::task::spawn_blocking(move || inspect::run(&arguments)).await?
        }
    }
}

/// The host as backups and restores set it up.
fn host() -> anyhow::Result<Host> {
    Ok(Host::new(HostOptions {
        cache_dir: HostOptions::user_cache_dir(),
        ..HostOptions::default()
    })?)
}
