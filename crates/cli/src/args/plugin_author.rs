//! `armory plugin new` and `armory plugin build`

use std::path::PathBuf;

use armory_authoring::{Language, World};
use clap::{Args, ValueEnum};

/// Begin a plugin
///
/// Writes a project into a new folder: a small plugin that works, a test of it, and the contract. It is a beginning in every language: a backup
/// plugin in Rust or Python removes a header, a restore plugin in them spreads records over partitions, those in JavaScript mask fields of JSON, those in Go pass
/// records on.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  From nothing to a tested plugin:
    armory plugin new --lang python --world backup drop-secret
    armory plugin build drop-secret
    armory plugin test drop-secret/drop-secret.wasm --config drop-secret/config.yaml \\
        --records drop-secret/tests/records.jsonl --expect drop-secret/tests/expected.jsonl

  A plugin for restores, in Go:
    armory plugin new --lang go --world restore pass-through")]
pub(crate) struct PluginNewArguments {
    /// The language
    #[arg(long = "lang", value_name = "LANGUAGE", value_enum)]
    pub(crate) language: LanguageName,

    /// Where records pass it: on their way into an archive, or back
    #[arg(long, value_name = "WORLD", value_enum)]
    pub(crate) world: WorldName,

    /// What it is called; the folder, too. Lower-case letters, digits and hyphens
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Build a plugin
///
/// Finds out by Cargo.toml, app.py, go.mod or package.json which language it is, and runs that language's own tools, telling each command. The component is
/// NAME.wasm in the project's folder, where NAME is the folder's.
///
/// What it installs, it installs into the project's folder: .venv and build/packages for Python, node_modules for JavaScript. Compilers, Python and Node
/// have to be there; where one is missing, it says how to get it. Rust is built for wasm32-wasip2, or for the WebAssembly target that CARGO_BUILD_TARGET names.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  armory plugin build
  armory plugin build drop-secret

What it needs:
  Rust         cargo, and rustup target add wasm32-wasip2
  Python       python3 3.10 or newer, with venv
  Go           go 1.24 or newer
  JavaScript   node 20 or newer, with npm")]
pub(crate) struct PluginBuildArguments {
    /// The project's folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
}

/// `--lang`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LanguageName {
    Rust,
    Python,
    Go,
    #[value(alias = "js")]
    Javascript,
}

/// `--world`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorldName {
    /// From a topic into an archive.
    Backup,
    /// From an archive into a topic.
    Restore,
}

impl From<LanguageName> for Language {
    fn from(name: LanguageName) -> Self {
        match name {
            LanguageName::Rust => Language::Rust,
            LanguageName::Python => Language::Python,
            LanguageName::Go => Language::Go,
            LanguageName::Javascript => Language::Javascript,
        }
    }
}

impl From<WorldName> for World {
    fn from(name: WorldName) -> Self {
        match name {
            WorldName::Backup => World::Backup,
            WorldName::Restore => World::Restore,
        }
    }
}
