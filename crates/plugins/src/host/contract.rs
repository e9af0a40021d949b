//! What the rest of this crate knows of a version of the contract: traits and types that belong to none.
//!
//! Every version has a module of its own beside this one, with the bindings made from its WIT files, and converts.

use std::fmt;

use wasmtime::{Engine, Result, Store};

use super::guest_state::GuestState;
use crate::{Context, Header, Timestamp};

/// A component that is bound to a version of the contract, ready to be instantiated.
pub(crate) trait Contract: fmt::Debug + Send + Sync {
    /// The engine that the component was compiled for.
    fn engine(&self) -> &Engine;

    /// Makes an instance in a store of its own.
    fn instantiate(&self, store: &mut Store<GuestState>) -> Result<Box<dyn Guest>>;
}

/// The exported functions of one instance. An outer `Err` is a fault, after which the store is of no use.
pub(crate) trait Guest: Send {
    /// Tells the plugin what it works for. An inner `Err` is the plugin's refusal.
    fn init(
        &self,
        store: &mut Store<GuestState>,
        context: &Context,
        config: Option<&str>,
    ) -> Result<Result<(), String>>;

    /// What the plugin makes of the required number of partitions. A backup plugin has no say, and changes nothing.
    fn requirements(&self, store: &mut Store<GuestState>, partitions: u64) -> Result<u64>;

    /// What the plugin makes of a record.
    fn transform(&self, store: &mut Store<GuestState>, record: &GuestRecord<'_>)
    -> Result<Outcome>;
}

/// A record on its way into a plugin.
#[derive(Debug)]
pub(crate) struct GuestRecord<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: i64,
    pub(crate) timestamp: Timestamp,
}

impl GuestRecord<'_> {
    /// Bytes of what the record carries.
    pub(crate) fn bytes(&self) -> usize {
        let size = |bytes: &Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = self
            .headers
            .iter()
            .map(|(key, value)| HEADER_BYTES + key.len() + size(value));
        size(&self.key) + size(&self.value) + headers.sum::<usize>()
    }
}

/// What a header counts for besides its key and value.
const HEADER_BYTES: usize = size_of::<Header>();

/// What a plugin made of a record.
#[derive(Debug)]
pub(crate) enum Outcome {
    Accepted(Returned),
    Rejected,
    Error(String),
}

/// A record on its way out of a plugin.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    /// Milliseconds since the epoch, or `NO_TIMESTAMP`.
    pub(crate) timestamp: i64,
}
