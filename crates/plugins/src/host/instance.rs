//! One instance of a plugin: a store, the functions in it, and the limits that hold for every call.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::clock::Deadline;
use super::contract::{Guest, GuestRecord, Outcome};
use super::guest_state::{self, GuestState};
use super::wasi::WaitedTooLong;
use crate::{Context, Entry, FailureClass, FaultKind, Limits, Phase, Plugin};

/// Frames of a guest's backtrace that an error text shows.
const MAX_FRAMES: usize = 8;

/// Frames of a guest's backtrace that are kept with a record that is put aside.
const MAX_KEPT_FRAMES: usize = 64;

/// Bytes of a guest's own words that an error text shows.
const MAX_MESSAGE_BYTES: usize = 4096;

/// Room for what a guest hands to the host outside of `transform`: texts of errors and log lines.
const MESSAGE_BYTES: usize = 1 << 20;

/// What wasmtime says when a guest hands over more than `set_hostcall_fuel` allows. The error has no public type.
const OUT_OF_ROOM: &str = "fuel allocated for hostcalls";

/// An instance that has been initialised, and that no call has made unusable.
pub(crate) struct Instance {
    store: Store<GuestState>,
    guest: Box<dyn Guest>,
    calls: u64,
    /// Bytes of memory from which on the instance is replaced.
    watermark: usize,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("calls", &self.calls)
            .field("memory", self.store.data().memory())
            .finish()
    }
}

/// A call that broke off: the instance must not be used again.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Which limit it met, or that it trapped.
    pub(crate) kind: FaultKind,
    /// What happened, and where in the guest.
    pub(crate) message: String,
    /// The guest's functions, innermost first, as far as they have names.
    pub(crate) backtrace: Vec<String>,
}

/// Why an instance could not be had.
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) phase: Phase,
    pub(crate) class: FailureClass,
    pub(crate) message: String,
}

impl Instance {
    /// Makes an instance and calls its `init`.
    pub(crate) fn start(
        entry: &Entry,
        context: &Context,
        deadline: Deadline,
    ) -> Result<Self, StartError> {
        let limits = &entry.limits;
        let failed = |phase, class, message| StartError {
            phase,
            class,
            message,
        };
        let (mut store, guest) = create(&entry.plugin, &entry.label, limits, deadline)
            .map_err(|message| failed(Phase::Instantiate, FailureClass::Fault, message))?;
        match guest.init(&mut store, context, entry.config.as_deref()) {
            Ok(Ok(())) => {}
            Ok(Err(message)) => {
                return Err(failed(Phase::Init, FailureClass::Error, clip(message)));
            }
            Err(error) => {
                let message = describe(&error, &store, limits.init_time, MESSAGE_BYTES);
                return Err(failed(Phase::Init, FailureClass::Fault, message));
            }
        }
        let base = store.data().memory().bytes();
        let watermark = base + limits.memory_bytes.saturating_sub(base) / 4 * 3;
        Ok(Self {
            store,
            guest,
            calls: 0,
            watermark,
        })
    }

    /// Makes an instance, and calls nothing of its world: what it does of itself, and the bytes of memory that it has then.
    pub(crate) fn try_out(
        plugin: &Plugin,
        limits: &Limits,
        deadline: Deadline,
    ) -> Result<u64, String> {
        let (store, _) = create(plugin, plugin.name(), limits, deadline)?;
        Ok(store.data().memory().bytes() as u64)
    }

    /// Calls `transform`.
    pub(crate) fn transform(
        &mut self,
        entry: &Entry,
        record: &GuestRecord<'_>,
    ) -> Result<Outcome, Fault> {
        self.calls += 1;
        let time = entry.limits.record_time;
        let room = entry
            .limits
            .returned_bytes
            .max(record.bytes().saturating_mul(2));
        guest_state::allow(&mut self.store, time, room);
        match self.guest.transform(&mut self.store, record) {
            Ok(Outcome::Error(message)) => Ok(Outcome::Error(clip(message))),
            Ok(outcome) => Ok(outcome),
            Err(error) => Err(Fault {
                kind: kind_of(&error, &self.store),
                message: describe(&error, &self.store, time, room),
                backtrace: frames(&error).take(MAX_KEPT_FRAMES).collect(),
            }),
        }
    }

    /// Calls `update-target-topic-requirements`. An error is a fault, as with [`Self::transform`].
    pub(crate) fn requirements(&mut self, entry: &Entry, partitions: u64) -> Result<u64, String> {
        let time = entry.limits.init_time;
        guest_state::allow(&mut self.store, time, MESSAGE_BYTES);
        let answer = self.guest.requirements(&mut self.store, partitions);
        answer.map_err(|error| describe(&error, &self.store, time, MESSAGE_BYTES))
    }

    /// Bytes of memory in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.store.data().memory().bytes() as u64
    }

    /// Why a fresh one should take the instance's place, if it should.
    pub(crate) fn wear(&self, entry: &Entry) -> Option<Wear> {
        if self.store.data().memory().bytes() >= self.watermark {
            Some(Wear::Size)
        } else if self.calls >= entry.limits.records_per_instance {
            Some(Wear::Age)
        } else {
            None
        }
    }
}

/// Why an instance is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wear {
    /// It has served many records.
    Age,
    /// It has grown.
    Size,
}

/// Instantiates a plugin in a store of its own, under its limits. An error is the text of a fault.
fn create(
    plugin: &Plugin,
    label: &str,
    limits: &Limits,
    deadline: Deadline,
) -> Result<(Store<GuestState>, Box<dyn Guest>), String> {
    let label = Arc::from(label);
    let state = GuestState::new(&label, limits.memory_bytes, &plugin.log_budget, deadline);
    let mut store = Store::new(plugin.contract.engine(), state);
    store.limiter(|state| &mut state.memory);
    guest_state::allow(&mut store, limits.init_time, MESSAGE_BYTES);
    match plugin.contract.instantiate(&mut store) {
        Ok(guest) => Ok((store, guest)),
        Err(error) => Err(describe(&error, &store, limits.init_time, MESSAGE_BYTES)),
    }
}

/// A guest's own words, as far as they fit into an error text.
fn clip(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        message.push('…');
    }
    message
}

fn kind_of(error: &wasmtime::Error, store: &Store<GuestState>) -> FaultKind {
    if store.data().memory().refused_over().is_some() {
        FaultKind::Memory
    } else if is_late(error) {
        FaultKind::Time
    } else if error.is::<I32Exit>() {
        FaultKind::Exit
    } else if error.root_cause().to_string().contains(OUT_OF_ROOM) {
        FaultKind::TooLarge
    } else {
        FaultKind::Trap
    }
}

fn is_late(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) || error.is::<WaitedTooLong>()
}

/// The text of a fault: what happened, in words that say which limit it was, and where in the guest.
fn describe(
    error: &wasmtime::Error,
    store: &Store<GuestState>,
    time: Duration,
    room: usize,
) -> String {
    let cause = error.root_cause().to_string();
    let mut text = if is_late(error) {
        format!("did not finish within {time:?}")
    } else if let Some(exit) = error.downcast_ref::<I32Exit>() {
        format!("called exit with code {}", exit.0)
    } else if cause.contains(OUT_OF_ROOM) {
        format!("handed over more than {room} bytes")
    } else {
        cause
    };
    if let Some(limit) = store.data().memory().refused_over() {
        text.push_str(&format!(
            "; it asked for more than its limit of {limit} bytes of memory"
        ));
    }
    let names: Vec<String> = frames(error).take(MAX_FRAMES).collect();
    if !names.is_empty() {
        text.push_str(&format!("; in {}", names.join(" < ")));
    }
    text
}

/// The guest's functions in which an error happened, innermost first, as far as they have names.
fn frames(error: &wasmtime::Error) -> impl Iterator<Item = String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let frames = backtrace.into_iter().flat_map(WasmBacktrace::frames);
    frames.filter_map(|frame| frame.func_name().map(str::to_owned))
}
