//! `armory plugin`: tools for those who write plugins, on the host that runs them.

mod author;
mod bench;
mod difference;
mod inspect;
mod records;
mod test;
mod trial;

use armory_plugins::{Host, HostOptions};
use tokio::task::spawn_blocking;

use crate::args::{PluginArguments, PluginCommand};
use crate::exit::Exit;

/// The host's calls take as long as a guest does: they are made on threads that may block.
pub(super) async fn run(arguments: PluginArguments) -> anyhow::Result<Exit> {
    match arguments.command {
        PluginCommand::New(arguments) => author::new(&arguments),
        PluginCommand::Build(arguments) => {
            spawn_blocking(move || author::build(&arguments)).await?
        }
        PluginCommand::Inspect(arguments) => {
            spawn_blocking(move || inspect::run(&arguments)).await?
        }
        PluginCommand::Test(arguments) => {
            let records = records::read(&arguments.input).await?.unwrap_or_default();
            spawn_blocking(move || test::run(&arguments, &records)).await?
        }
        PluginCommand::Bench(arguments) => {
            let records = records::read(&arguments.input).await?;
            spawn_blocking(move || bench::run(&arguments, records)).await?
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
