//! What can go wrong, by meaning.

use std::fmt;
use std::path::PathBuf;

use crate::{FailureClass, World};

/// The host of plugins could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// wasmtime refuses this machine, or its own set-up.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Engine(String),
    /// The folder for compiled components cannot be made, or is not safe to load code from.
    #[error("cannot keep compiled plugins in {}: {reason}", .folder.display())]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A thread could not be started.
    #[error("cannot start the thread that measures the time of plugins: {0}")]
    Thread(#[source] std::io::Error),
}

/// A component cannot be used as a plugin. `plugin` is the file, or what stands for it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read plugin {plugin}: {source}")]
    Read {
        /// The file.
        plugin: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The entry asks for a version of the contract that this program does not know.
    #[error(
        "plugin {plugin}: witVersion \"{asked}\" is not supported; this version of armory supports {supported}"
    )]
    WitVersionUnknown {
        /// The file.
        plugin: String,
        /// The version that the configuration asks for.
        asked: String,
        /// What can be asked for.
        supported: &'static str,
    },
    /// The component was built from another version of the contract than the entry says.
    #[error(
        "plugin {plugin}: witVersion is \"{asked}\", and the component was built from kannika:wasi-plugins@{found}; \
         set witVersion to the version the plugin was built from, or build the plugin again"
    )]
    WitVersionMismatch {
        /// The file.
        plugin: String,
        /// The version that the configuration asks for.
        asked: String,
        /// The version that the component names.
        found: String,
    },
    /// The file is larger than a plugin may be.
    #[error(
        "plugin {plugin} has {found} bytes, and at most {limit} are allowed; \
         build it without debug information (`wasm-tools strip`), or raise the limit of this entry"
    )]
    TooLarge {
        /// The file.
        plugin: String,
        /// Its size in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file is not WebAssembly.
    #[error("plugin {plugin} is not a WebAssembly component: {found}")]
    NotWasm {
        /// The file.
        plugin: String,
        /// What it is instead.
        found: &'static str,
    },
    /// The file is a core module.
    #[error(
        "plugin {plugin} is a core WebAssembly module, not a component; \
         build it for wasm32-wasip2, or turn it into a component with `wasm-tools component new`"
    )]
    CoreModule {
        /// The file.
        plugin: String,
    },
    /// The file ends too early.
    #[error(
        "plugin {plugin} is truncated: {found} bytes are there, and the component needs at least {needed}; copy the file again"
    )]
    Truncated {
        /// The file.
        plugin: String,
        /// Bytes that are there.
        found: u64,
        /// Bytes that are needed at the least.
        needed: u64,
    },
    /// The bytes are not valid, or use a part of WebAssembly that plugins may not use.
    #[error("plugin {plugin} cannot be compiled: {reason}")]
    Invalid {
        /// The file.
        plugin: String,
        /// What wasmtime says.
        reason: String,
    },
    /// The component was built for the other world.
    #[error("plugin {plugin} is a {found} plugin (world `{}`), and a {expected} plugin (world `{}`) is needed here", .found.wit_name(), .expected.wit_name())]
    WrongWorld {
        /// The file.
        plugin: String,
        /// The world that is needed.
        expected: World,
        /// The world that the component was built for.
        found: World,
    },
    /// The component does not export a function of the world.
    #[error(
        "plugin {plugin} does not export `{export}`, which world `{}` of kannika:wasi-plugins@0.1.0 has; its exports are: {found}",
        .world.wit_name()
    )]
    MissingExport {
        /// The file.
        plugin: String,
        /// The function that is missing.
        export: &'static str,
        /// The world that is needed.
        world: World,
        /// The names of what is exported.
        found: String,
    },
    /// An export has another shape than the world says.
    #[error(
        "plugin {plugin}: {place}: expected {expected}, found {found}; build the plugin from wit/0.1, in which names, types and order are fixed"
    )]
    WrongShape {
        /// The file.
        plugin: String,
        /// Which part of which export.
        place: String,
        /// What the world says.
        expected: String,
        /// What the component says.
        found: String,
    },
    /// The component needs something that is not served.
    #[error(
        "plugin {plugin} imports {imports}, which is not served to plugins; \
         what is served is wasi:cli, clocks, filesystem, io, random and sockets of version 0.2, with nothing granted"
    )]
    UnknownImport {
        /// The file.
        plugin: String,
        /// The names of the imports.
        imports: String,
    },
    /// An import has a known name and another shape than what is served.
    #[error("plugin {plugin}: its imports do not fit what is served to plugins: {reason}")]
    ImportShape {
        /// The file.
        plugin: String,
        /// What wasmtime says.
        reason: String,
    },
}

/// What a plugin was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being instantiated, before any function of its world was called.
    Instantiate,
    /// `init`.
    Init,
    /// `update-target-topic-requirements`.
    Requirements,
    /// `transform`.
    Transform,
}

/// A plugin failed, and what it was for stops.
///
/// In [`Phase::Transform`] the error policy of the entry said so, and the partition of the record stops; in every other phase
/// there is no policy, and the topic stops.
#[derive(Debug, Clone)]
pub struct PluginError {
    /// The label of the plugin entry.
    pub plugin: String,
    /// The topic it worked for; `source -> target` on a restore.
    pub topic: String,
    /// What it was doing.
    pub phase: Phase,
    /// How it failed.
    pub class: FailureClass,
    /// Partition and offset of the record, in [`Phase::Transform`].
    pub record: Option<(i32, i64)>,
    /// Whether the stop rule of the entry stopped the partition, and not the action for this class.
    pub too_many: bool,
    /// What the plugin said, or what the host saw.
    pub message: String,
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plugin,
            topic,
            phase,
            class,
            record,
            too_many,
            message,
        } = self;
        let act = match (phase, class) {
            (Phase::Instantiate, _) => "cannot be started",
            (Phase::Init, FailureClass::Error) => "refuses its configuration",
            (Phase::Init, _) => "fails in init",
            (Phase::Requirements, _) => "fails to state what the target topic needs",
            (Phase::Transform, _) if *too_many => "has failed on too many records",
            (Phase::Transform, FailureClass::Rejected) => {
                "rejects a record, and its error policy says `fail`"
            }
            (Phase::Transform, FailureClass::HeaderKeyNotUtf8) => "cannot be given a record",
            (Phase::Transform, _) => "fails on a record",
        };
        write!(f, "plugin {plugin} {act}: topic {topic}")?;
        if let Some((partition, offset)) = record {
            write!(f, ", partition {partition}, offset {offset}")?;
        }
        write!(f, ": {message}")
    }
}

impl std::error::Error for PluginError {}
