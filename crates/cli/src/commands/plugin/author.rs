//! `armory plugin new` and `armory plugin build`

use std::path::Path;

use armory_authoring::Error;

use crate::args::{PluginBuildArguments, PluginNewArguments};
use crate::exit::{Exit, Usage};
use crate::format::size;

pub(super) fn new(arguments: &PluginNewArguments) -> anyhow::Result<Exit> {
    let PluginNewArguments {
        language,
        world,
        name,
    } = arguments;
    let folder = Path::new(name);
    armory_authoring::create(folder, name, (*language).into(), (*world).into()).map_err(mistake)?;
    let config = if folder.join("config.yaml").is_file() {
        format!(" --config {name}/config.yaml")
    } else {
        String::new()
    };
    println!(
        "{name} is there, see {name}/README.md. Next:\n  armory plugin build {name}\n  armory plugin test {name}/{name}.wasm{config} --records \
         {name}/tests/records.jsonl --expect {name}/tests/expected.jsonl"
    );
    Ok(Exit::Done)
}

pub(super) fn build(arguments: &PluginBuildArguments) -> anyhow::Result<Exit> {
    let mut say = |command: &str| eprintln!("$ {command}");
    let built = armory_authoring::build(&arguments.folder, &mut say).map_err(mistake)?;
    // As it was asked for: a path that can be typed on.
    let file = built.component.file_name().unwrap_or_default();
    let shown = match arguments.folder.as_os_str() {
        here if here == "." => Path::new(file).to_owned(),
        _ => arguments.folder.join(file),
    };
    println!(
        "{}, {}, from {}",
        shown.display(),
        size(built.bytes),
        built.language
    );
    Ok(Exit::Done)
}

/// What the one who typed can put right by typing something else.
fn mistake(error: Error) -> anyhow::Error {
    match error {
        Error::Name { .. }
        | Error::Exists { .. }
        | Error::NoProject { .. }
        | Error::SeveralLanguages { .. } => Usage(error.to_string()).into(),
        error => error.into(),
    }
}
