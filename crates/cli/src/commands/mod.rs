//! The commands, one a file.

mod backup;
mod cat;
mod completions;
mod crds;
mod findings;
mod groups;
mod inspect;
mod operator;
mod plugin;
mod plugin_report;
mod prune;
mod reference;
mod restore;
mod verify;
mod view;

use anyhow::Context as _;
use armory_archive::{Archive, Finding, TopicEntry};
use armory_resources::job::StorageLocation;

use crate::args::{Command, StorageFlags};
use crate::console::Console;
use crate::exit::Exit;

/// Runs a command to its exit code.
pub(crate) async fn run(command: Command, console: &Console) -> anyhow::Result<Exit> {
    match command {
        Command::Quickstart(arguments) => {
            crate::quickstart::run(arguments.folder).await?;
            Ok(Exit::Done)
        }
        Command::Backup(arguments) => backup::run(arguments, console).await,
        Command::Restore(arguments) => restore::run(arguments, console).await,
        Command::Groups(arguments) => groups::run(arguments).await,
        Command::Inspect(arguments) => inspect::run(arguments).await,
        Command::Cat(arguments) => cat::run(arguments).await,
        Command::Verify(arguments) => verify::run(arguments, console).await,
        Command::Prune(arguments) => prune::run(arguments, console).await,
        Command::Plugin(arguments) => plugin::run(arguments).await,
        Command::Crds(arguments) => crds::run(arguments),
        Command::Operator(arguments) => operator::run(arguments).await,
        Command::Completions(arguments) => completions::run(arguments.shell),
        Command::Reference => reference::run(),
    }
}

/// Opens an archive for reading.
async fn open(storage: StorageLocation, s3: &StorageFlags) -> anyhow::Result<Archive> {
    let storage = s3.complete(storage);
    Ok(Archive::open(armory_engine::location(&storage)?).await?)
}

/// Opens an archive to look at what can be read of it, with what is wrong with its first document.
async fn open_damaged(
    storage: StorageLocation,
    s3: &StorageFlags,
) -> anyhow::Result<(Archive, Option<Finding>)> {
    let storage = s3.complete(storage);
    Ok(Archive::open_damaged(armory_engine::location(&storage)?).await?)
}

/// The topic of that name.
fn find_topic(topics: Vec<TopicEntry>, name: &str) -> anyhow::Result<TopicEntry> {
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    topics
        .into_iter()
        .find(|topic| topic.name == name)
        .with_context(|| match names.as_slice() {
            [] => format!("there is no topic {name} in the archive: it is empty"),
            names if names.len() <= 20 => {
                format!(
                    "there is no topic {name} in the archive, it has {}",
                    names.join(", ")
                )
            }
            _ => format!("there is no topic {name} in the archive, see armory inspect"),
        })
}
