//! What the host keeps beside an instance of a plugin: its limits, its view of WASI, its deadline.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Result, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::clock::Deadline;
use super::logs::{GuestLog, LogBudget};

/// Handles that a guest may hold at once: streams, pollables, errors. wasi-libc and the managed runtimes need a handful.
const MAX_HANDLES: usize = 1024;

/// Bytes that a guest may ask of the random number generator in one call.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// The host's side of one instance, kept in its store.
pub(crate) struct GuestState {
    pub(super) memory: MemoryUse,
    pub(super) deadline: Deadline,
    pub(super) table: ResourceTable,
    pub(super) stdout: GuestLog,
    pub(super) stderr: GuestLog,
    wasi: WasiCtx,
}

impl GuestState {
    /// Nothing is granted: no argument, variable, file, socket or input. What the guest prints becomes log lines.
    pub(super) fn new(
        label: &Arc<str>,
        memory_limit: usize,
        log_budget: &Arc<LogBudget>,
        deadline: Deadline,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let wasi = WasiCtx::builder()
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM_BYTES)
            .build();
        Self {
            memory: MemoryUse::new(memory_limit),
            deadline,
            table,
            stdout: GuestLog::new(label, "stdout", log_budget),
            stderr: GuestLog::new(label, "stderr", log_budget),
            wasi,
        }
    }

    pub(crate) fn memory(&self) -> &MemoryUse {
        &self.memory
    }
}

impl Drop for GuestState {
    fn drop(&mut self) {
        self.stdout.end_line();
        self.stderr.end_line();
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Gives the guest `time` for what it is asked next, and room for `bytes` in every call from guest to host.
pub(crate) fn allow(store: &mut Store<GuestState>, time: Duration, bytes: usize) {
    let epochs = store.data_mut().deadline.set(time);
    store.set_epoch_deadline(epochs);
    store.set_hostcall_fuel(bytes);
}

/// Counts what the memories and tables of an instance take, against one limit for all of them.
///
/// wasmtime's own `StoreLimits` holds the limit against every memory by itself, so that a component with ten memories could
/// take ten times as much.
#[derive(Debug)]
pub(crate) struct MemoryUse {
    bytes: usize,
    limit: usize,
    last_growth: usize,
    refused: bool,
}

impl MemoryUse {
    /// wasmtime takes a pointer's worth for an element of a table.
    const TABLE_ELEMENT: usize = size_of::<usize>();

    fn new(limit: usize) -> Self {
        Self {
            bytes: 0,
            limit,
            last_growth: 0,
            refused: false,
        }
    }

    /// Bytes in use now.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The limit, if the guest has asked for more than that.
    pub(crate) fn refused_over(&self) -> Option<usize> {
        self.refused.then_some(self.limit)
    }

    fn grow(&mut self, by: usize) -> bool {
        match self.bytes.checked_add(by) {
            Some(bytes) if bytes <= self.limit => {
                self.bytes = bytes;
                self.last_growth = by;
                true
            }
            _ => {
                self.refused = true;
                false
            }
        }
    }

    fn take_back_growth(&mut self) {
        self.bytes -= std::mem::take(&mut self.last_growth);
    }
}

impl ResourceLimiter for MemoryUse {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.take_back_growth();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        let elements = desired.saturating_sub(current);
        Ok(self.grow(elements.saturating_mul(Self::TABLE_ELEMENT)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.take_back_growth();
        Ok(())
    }
}
