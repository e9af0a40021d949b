//! The clock that stops plugins: a thread that moves wasmtime's epoch on every 10 ms.
//!
//! Compiled guests compare the epoch with their deadline on every loop and call. Calls from a guest into the host are not
//! interrupted by it; those that wait look at the same clock themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use wasmtime::Engine;

/// How often the epoch moves: the precision of every time limit.
const TICK: Duration = Duration::from_millis(10);

/// Moves the epoch of an engine until it is dropped.
#[derive(Debug)]
pub(crate) struct Clock {
    ticks: Arc<AtomicU64>,
    started: Instant,
    _stop_on_drop: mpsc::Sender<()>,
}

impl Clock {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let ticks = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = mpsc::channel();
        let engine = engine.weak();
        let shared_ticks = Arc::clone(&ticks);
        std::thread::Builder::new()
            .name("plugin-clock".into())
            .spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
                    let Some(engine) = engine.upgrade() else {
                        return;
                    };
                    shared_ticks.fetch_add(1, Ordering::Relaxed);
                    engine.increment_epoch();
                }
            })?;
        Ok(Self {
            ticks,
            started: Instant::now(),
            _stop_on_drop: stop,
        })
    }

    /// A deadline that has not been set: it has passed.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline {
            ticks: Arc::clone(&self.ticks),
            at: 0,
            started: self.started,
        }
    }
}

/// When a call of a guest has to be over, by the same clock as the epoch.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    ticks: Arc<AtomicU64>,
    at: u64,
    started: Instant,
}

impl Deadline {
    /// Sets the deadline, and returns the number of epochs until then.
    pub(crate) fn set(&mut self, time: Duration) -> u64 {
        // One more than fits, because the current tick is already partly over.
        let epochs = (time.as_millis().div_ceil(TICK.as_millis()) as u64).saturating_add(1);
        self.at = self.ticks.load(Ordering::Relaxed).saturating_add(epochs);
        epochs
    }

    /// When the clock was started: what guests measure their monotonic time from.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.ticks.load(Ordering::Relaxed) >= self.at
    }
}
