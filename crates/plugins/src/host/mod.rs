//! The process's one WebAssembly engine, and what it takes to make a [`Plugin`] of a file.

pub(crate) mod clock;
pub(crate) mod contract;
pub(crate) mod guest_state;
mod inspection;
pub(crate) mod instance;
pub(crate) mod logs;
mod v0_1;
mod wasi;

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};

use self::clock::Clock;
use self::contract::Contract;
use self::guest_state::GuestState;
use self::logs::LogBudget;
use crate::cache::Cache;
use crate::counters::Registry;
use crate::pool::Pool;
use crate::{EntryCounters, HostError, Limits, LoadError, inspect};

pub use self::inspection::{Export, Inspection, Start};

/// The version of the contract that this host speaks, as `witVersion` names it.
const WIT_VERSION: &str = "0.1";

/// Memories are sized in pages of this many bytes.
const WASM_PAGE_BYTES: u64 = 64 << 10;

/// How a [`Host`] is set up.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// A folder for compiled components, made if it is not there. It must belong to this user and be closed to all others,
    /// because what lies in it is run as native code: never a claim that others write to, never the archive. Without one,
    /// components are compiled anew in every process.
    pub cache_dir: Option<PathBuf>,
    /// Bytes that the instances of all plugins together may take. Idle ones are given up first, least recently used first;
    /// when that is not enough, [`crate::Chain::lease`] waits for a lease to come back.
    pub instance_memory_budget: u64,
}

impl HostOptions {
    /// The folder for compiled components below the user's cache folder: `$XDG_CACHE_HOME` or `~/.cache`. `None` where there
    /// is neither, so that components are compiled in every process.
    pub fn user_cache_dir() -> Option<PathBuf> {
        let from_env = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        from_env("XDG_CACHE_HOME")
            .or_else(|| from_env("HOME").map(|home| home.join(".cache")))
            .map(|cache| cache.join("armory/components"))
    }
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            instance_memory_budget: 512 << 20,
        }
    }
}

/// The process's one host of plugins. Clones share it.
#[derive(Clone)]
pub struct Host {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    engine: Engine,
    linker: Linker<GuestState>,
    cache: Option<Cache>,
    pub(crate) clock: Clock,
    pub(crate) pool: Pool,
    pub(crate) registry: Registry,
    /// Components that were compiled, and those that were found in the cache.
    compiled: AtomicU64,
    from_cache: AtomicU64,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("cache", &self.shared.cache)
            .field("pool", &self.shared.pool)
            .finish_non_exhaustive()
    }
}

/// Which of the two worlds of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum World {
    /// `wasi-backup-plugin`: from a topic into the archive.
    Backup,
    /// `wasi-restore-plugin`: from the archive into a topic.
    Restore,
}

impl World {
    /// Its name in the WIT files.
    pub fn wit_name(self) -> &'static str {
        match self {
            Self::Backup => "wasi-backup-plugin",
            Self::Restore => "wasi-restore-plugin",
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
        })
    }
}

/// Where a component comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A file; error texts name its path.
    File(&'a Path),
    /// Bytes, and the name that error texts call them by.
    Bytes(&'a str, &'a [u8]),
}

impl<'a> From<&'a Path> for Source<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a PathBuf> for Source<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::File(path)
    }
}

impl Source<'_> {
    fn display(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Bytes(name, _) => (*name).to_owned(),
        }
    }

    fn read(&self, limit: u64) -> Result<Vec<u8>, LoadError> {
        let plugin = || self.display();
        let (bytes, found) = match self {
            Self::Bytes(_, bytes) => (bytes.to_vec(), bytes.len() as u64),
            Self::File(path) => {
                let unreadable = |source| LoadError::Read {
                    plugin: plugin(),
                    source,
                };
                let file = std::fs::File::open(path).map_err(unreadable)?;
                let found = file.metadata().map_err(unreadable)?.len();
                let mut bytes = Vec::new();
                // One byte more than may be, so that a file that grows meanwhile is noticed and not cut.
                file.take(limit.saturating_add(1))
                    .read_to_end(&mut bytes)
                    .map_err(unreadable)?;
                let found = found.max(bytes.len() as u64);
                (bytes, found)
            }
        };
        if found > limit {
            return Err(LoadError::TooLarge {
                plugin: plugin(),
                found,
                limit,
            });
        }
        Ok(bytes)
    }
}

/// A component that was loaded, compiled, and found to be a plugin. Clones share it.
#[derive(Debug, Clone)]
pub struct Plugin {
    name: Arc<str>,
    digest: Arc<str>,
    world: World,
    /// Bytes of memory that an instance begins with, as far as the component tells.
    initial_bytes: u64,
    /// Nothing was compiled for a builtin plugin.
    compilation: Option<Compilation>,
    contract: Arc<dyn Contract>,
    log_budget: Arc<LogBudget>,
}

/// How a component became machine code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compilation {
    /// Whether it was found in the cache of compiled components.
    pub from_cache: bool,
    /// How long it took to compile it, or to load what was compiled.
    pub time: Duration,
}

/// How many components became machine code in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompilationCounters {
    /// Compiled.
    pub compiled: u64,
    /// Found in the cache.
    pub from_cache: u64,
}

impl Plugin {
    /// A restore plugin that was not loaded from a component.
    pub(crate) fn of_contract(name: &str, digest: &str, contract: Arc<dyn Contract>) -> Self {
        Self {
            name: name.into(),
            digest: digest.into(),
            world: World::Restore,
            initial_bytes: 0,
            compilation: None,
            contract,
            log_budget: Arc::new(LogBudget::new(&Limits::default())),
        }
    }

    /// What it was loaded from: the path, or the name that was given with its bytes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The SHA-256 of the component, in lower-case hex, as `sha256sum` prints it; of a builtin plugin `builtin:<name>/<version>`.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The world it was built for.
    pub fn world(&self) -> World {
        self.world
    }

    /// How the component became machine code when it was loaded; `None` of a builtin plugin.
    pub fn compilation(&self) -> Option<Compilation> {
        self.compilation
    }

    /// Whether a line about the plugin may be logged now: its own lines and those about it are bounded together.
    pub(crate) fn permits_log_line(&self, label: &str) -> bool {
        self.log_budget.permits_line(label)
    }

    pub(crate) fn initial_bytes(&self) -> u64 {
        self.initial_bytes
    }
}

impl Host {
    /// Sets up the engine, and starts the thread that stops plugins which take too long.
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        let engine_error = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let engine = Engine::new(&engine_config()).map_err(engine_error)?;
        let linker = wasi::linker(&engine).map_err(engine_error)?;
        let cache = options
            .cache_dir
            .map(|folder| Cache::open(&folder, &engine))
            .transpose()?;
        let clock = Clock::start(&engine).map_err(HostError::Thread)?;
        let pool = Pool::new(options.instance_memory_budget);
        Ok(Self {
            shared: Arc::new(Shared {
                engine,
                linker,
                cache,
                clock,
                pool,
                registry: Registry::default(),
                compiled: AtomicU64::new(0),
                from_cache: AtomicU64::new(0),
            }),
        })
    }

    /// Loads, compiles and checks a plugin for a world.
    ///
    /// `wit_version` is what the entry's `witVersion` says; of `limits` only the size of the component and what is printed matter here. What a
    /// plugin prints is bounded for everything that uses the returned value, so load it once for every entry.
    pub fn load<'a>(
        &self,
        source: impl Into<Source<'a>>,
        world: World,
        wit_version: &str,
        limits: &Limits,
    ) -> Result<Plugin, LoadError> {
        let (name, bytes) = self.read(source.into(), wit_version, limits)?;
        let compiled = self.compile(&name, &bytes)?;
        self.check(&name, &compiled.component, world)?;
        self.bind(name, compiled, world, limits)
    }

    /// Loads, compiles and checks a plugin for the world that its exports tell. Everything else is as with [`Self::load`].
    pub fn load_any<'a>(
        &self,
        source: impl Into<Source<'a>>,
        wit_version: &str,
        limits: &Limits,
    ) -> Result<Plugin, LoadError> {
        let (name, bytes) = self.read(source.into(), wit_version, limits)?;
        let compiled = self.compile(&name, &bytes)?;
        let world = v0_1::world_of(&self.shared.engine, &compiled.component);
        self.check(&name, &compiled.component, world)?;
        self.bind(name, compiled, world, limits)
    }

    /// The name and the bytes of what looks like a component.
    fn read(
        &self,
        source: Source<'_>,
        wit_version: &str,
        limits: &Limits,
    ) -> Result<(String, Vec<u8>), LoadError> {
        let name = source.display();
        if wit_version != WIT_VERSION {
            let asked = wit_version.to_owned();
            return Err(LoadError::WitVersionUnknown {
                plugin: name,
                asked,
                supported: WIT_VERSION,
            });
        }
        let bytes = source.read(limits.component_bytes)?;
        inspect::check_envelope(&name, &bytes)?;
        Ok((name, bytes))
    }

    fn compile(&self, name: &str, bytes: &[u8]) -> Result<Compiled, LoadError> {
        let digest = hex(&Sha256::digest(bytes));
        let engine = &self.shared.engine;
        let began = Instant::now();
        let compiled = match &self.shared.cache {
            Some(cache) => cache.load_or_compile(engine, &digest, bytes),
            None => Component::from_binary(engine, bytes).map(|component| (component, false)),
        };
        let (component, from_cache) = compiled.map_err(|error| invalid(name, &error))?;
        let counter = match from_cache {
            true => &self.shared.from_cache,
            false => &self.shared.compiled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Compiled {
            component,
            digest,
            compilation: Compilation {
                from_cache,
                time: began.elapsed(),
            },
        })
    }

    fn check(&self, name: &str, component: &Component, world: World) -> Result<(), LoadError> {
        let engine = &self.shared.engine;
        inspect::check_version(name, engine, component, WIT_VERSION)?;
        v0_1::check_shape(name, engine, component, world)?;
        inspect::check_imports(name, engine, component)
    }

    /// Makes a plugin of a component that was checked.
    fn bind(
        &self,
        name: String,
        compiled: Compiled,
        world: World,
        limits: &Limits,
    ) -> Result<Plugin, LoadError> {
        let Compiled {
            component,
            digest,
            compilation,
        } = compiled;
        let contract = v0_1::bind(&self.shared.linker, &component, world).map_err(|error| {
            LoadError::ImportShape {
                plugin: name.clone(),
                reason: format!("{error:#}"),
            }
        })?;
        // Of several memories one is large, as a rule.
        let initial_pages = component
            .resources_required()
            .and_then(|needs| needs.max_initial_memory_size);
        let initial_bytes = initial_pages.unwrap_or(0).saturating_mul(WASM_PAGE_BYTES);
        Ok(Plugin {
            name: name.into(),
            digest: digest.into(),
            world,
            initial_bytes,
            compilation: Some(compilation),
            contract,
            log_budget: Arc::new(LogBudget::new(limits)),
        })
    }

    /// What has been done with every plugin on every topic, by all chains of this host, also by those that are gone. Sorted by
    /// plugin and topic.
    pub fn counters(&self) -> Vec<EntryCounters> {
        self.shared.registry.read()
    }

    /// How components became machine code so far.
    pub fn compilations(&self) -> CompilationCounters {
        CompilationCounters {
            compiled: self.shared.compiled.load(Ordering::Relaxed),
            from_cache: self.shared.from_cache.load(Ordering::Relaxed),
        }
    }

    /// Bytes of memory that the instances of all plugins have together, those at rest included.
    pub fn instance_bytes(&self) -> u64 {
        self.shared.pool.bytes()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// A component as machine code.
struct Compiled {
    component: Component,
    /// Of the component's bytes.
    digest: String,
    compilation: Compilation,
}

fn invalid(name: &str, error: &wasmtime::Error) -> LoadError {
    LoadError::Invalid {
        plugin: name.to_owned(),
        reason: format!("{error:#}"),
    }
}

/// Synchronous calls only, because that halves the cost of a small one; deadlines by epoch, because they cost next to
/// nothing where fuel costs half of the speed.
fn engine_config() -> Config {
    let mut config = Config::new();
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.wasm_component_model(true);
    config
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
