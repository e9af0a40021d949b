//! The host of WASI component plugins.
//!
//! A plugin is a WebAssembly component that someone else wrote, built from `wit/0.1`. This crate loads it, checks that it is
//! what it has to be, and calls it for every record of a topic, under limits: it gets no file, no network and no
//! environment, a bounded amount of memory, and a bounded amount of time. Whatever it does, the process goes on.
//!
//! The way through the types:
//!
//! - A [`Host`] is the process's one engine, with its cache of compiled components and its budget for instances.
//! - [`Host::load`] makes a [`Plugin`] of a file: compiled and checked, or a [`LoadError`] that says what to do.
//!   [`Host::builtin`] makes one of a [`Builtin`], which comes with the program.
//! - An [`Entry`] is a plugin as it is configured: label, configuration text, [`ErrorPolicy`], [`Limits`].
//! - A [`Chain`] is the entries that apply to one topic, in order. It is shared by all partitions of the topic.
//! - A [`Lease`] is a chain in the hands of one thread, for one batch: [`Lease::transform`] takes record after record and
//!   says what became of each.
//!
//! Everything here is synchronous and may take as long as the limits allow: call it on blocking threads.

mod builtin;
mod cache;
mod chain;
mod config_text;
mod counters;
mod error;
mod host;
mod inspect;
mod lease;
mod limits;
mod policy;
mod pool;
mod record;
mod stop_rule;

pub use builtin::{
    Builtin, HashAlgorithm, Hashing, RecordPart, Repartitioning, SchemaMapping, TargetFacts,
    murmur2,
};
pub use chain::{Chain, Context, Entry};
pub use config_text::config_text;
pub use counters::{EntryCounters, FaultKind, Latency};
pub use error::{HostError, LoadError, Phase, PluginError};
pub use host::{
    Compilation, CompilationCounters, Export, Host, HostOptions, Inspection, Plugin, Source, Start,
    World,
};
pub use lease::Lease;
pub use limits::Limits;
pub use policy::{Action, ErrorPolicy, FailureClass, StopRule};
pub use record::{
    Failed, Header, NO_TIMESTAMP, OwnedRecord, RecordRef, Timestamp, TimestampKind, Verdict,
};
