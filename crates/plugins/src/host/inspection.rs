//! What a file is, told to its author: all that can be found out without a record.

use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use super::instance::Instance;
use super::{Compilation, Compiled, Host, Source, WIT_VERSION, hex, invalid, v0_1};
use crate::{Limits, LoadError, World, inspect};

/// A component, looked at.
#[derive(Debug)]
pub struct Inspection {
    /// The path, or the name that was given with the bytes.
    pub name: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The SHA-256 of the component, in lower-case hex.
    pub digest: String,
    /// The world that it is of by its exports.
    pub world: World,
    /// The version of `kannika:wasi-plugins` that it was built from; `None` where it does not say.
    pub wit_version: Option<String>,
    /// The names of what it imports, in its order.
    pub imports: Vec<String>,
    /// What it exports, in its order.
    pub exports: Vec<Export>,
    /// How long compiling it took.
    pub compile_time: Duration,
    /// What it takes to have an instance; or why none can be had.
    pub start: Result<Start, LoadError>,
}

/// Something that a component exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// The type of a function, as WIT would write it; `None` for everything else.
    pub function: Option<String>,
}

/// What an instance takes, before its `init` is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// How long it took to instantiate the compiled component.
    pub time: Duration,
    /// Bytes of its memories and tables then; or the text of a fault.
    pub memory: Result<u64, String>,
}

impl Host {
    /// Looks at a component: compiles it anew, whatever the cache holds, and makes one instance, without `init`.
    ///
    /// Fails where the file is not a component that can be compiled, or is larger than `limits` allow. What keeps it from
    /// being a plugin is found in [`Inspection::start`].
    pub fn inspect<'a>(
        &self,
        source: impl Into<Source<'a>>,
        limits: &Limits,
    ) -> Result<Inspection, LoadError> {
        let (name, bytes) = self.read(source.into(), WIT_VERSION, limits)?;
        let engine = &self.shared.engine;
        let began = Instant::now();
        let component =
            Component::from_binary(engine, &bytes).map_err(|error| invalid(&name, &error))?;
        let compile_time = began.elapsed();

        let world = v0_1::world_of(engine, &component);
        let component_type = component.component_type();
        let imports: Vec<_> = component_type
            .imports(engine)
            .map(|(import, _)| import.to_owned())
            .collect();
        let compiled = Compiled {
            digest: hex(&Sha256::digest(&bytes)),
            compilation: Compilation {
                from_cache: false,
                time: compile_time,
            },
            component: component.clone(),
        };
        Ok(Inspection {
            bytes: bytes.len() as u64,
            digest: compiled.digest.clone(),
            world,
            wit_version: inspect::version_of(engine, &component),
            imports,
            exports: inspect::exports(engine, &component),
            compile_time,
            start: self.try_out(&name, compiled, world, limits),
            name,
        })
    }

    fn try_out(
        &self,
        name: &str,
        compiled: Compiled,
        world: World,
        limits: &Limits,
    ) -> Result<Start, LoadError> {
        self.check(name, &compiled.component, world)?;
        let plugin = self.bind(name.to_owned(), compiled, world, limits)?;
        let began = Instant::now();
        let memory = Instance::try_out(&plugin, limits, self.shared.clock.deadline());
        Ok(Start {
            time: began.elapsed(),
            memory,
        })
    }
}
