//! What a guest prints becomes log lines: bounded in length and in number, and never a reason to wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::Limits;

/// What a guest may hand over in one write. Any size would do, because nothing waits; this is what pipes commonly have.
const WRITE_PERMIT: usize = 64 << 10;

/// How many lines a plugin entry may still log in this second. Shared by all instances of the entry.
#[derive(Debug)]
pub(crate) struct LogBudget {
    /// Bytes of a line; what is longer is cut.
    line_bytes: usize,
    /// Lines a second; what is more is dropped, and counted.
    lines_per_second: u32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    dropped: u64,
}

impl LogBudget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            line_bytes: limits.log_line_bytes,
            lines_per_second: limits.log_lines_per_second,
            window: Mutex::new(Window {
                began: Instant::now(),
                lines: 0,
                dropped: 0,
            }),
        }
    }

    /// Whether the plugin may log a line now. When a new second begins, it is told how many were dropped before.
    pub(crate) fn permits_line(&self, label: &str) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.elapsed() >= Duration::from_secs(1) {
            if window.dropped > 0 {
                let lines = window.dropped;
                tracing::warn!(
                    plugin = label,
                    lines,
                    "plugin logs too much, lines were dropped"
                );
            }
            *window = Window {
                began: Instant::now(),
                lines: 0,
                dropped: 0,
            };
        }
        let permitted = window.lines < self.lines_per_second;
        if permitted {
            window.lines += 1;
        } else {
            window.dropped += 1;
        }
        permitted
    }
}

/// A guest's stdout or stderr.
#[derive(Debug, Clone)]
pub(crate) struct GuestLog {
    label: Arc<str>,
    stream: &'static str,
    budget: Arc<LogBudget>,
    /// The line so far. Shared, because a guest may open its stdout many times, and mean one line.
    line: Arc<Mutex<Vec<u8>>>,
}

impl GuestLog {
    pub(crate) fn new(label: &Arc<str>, stream: &'static str, budget: &Arc<LogBudget>) -> Self {
        Self {
            label: Arc::clone(label),
            stream,
            budget: Arc::clone(budget),
            line: Arc::default(),
        }
    }

    fn print(&self, bytes: &[u8]) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, part) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                self.log(&line);
                line.clear();
            }
            let room = self.budget.line_bytes - line.len();
            line.extend_from_slice(&part[..part.len().min(room)]);
        }
    }

    /// Logs what was printed since the last newline, if anything was.
    pub(crate) fn end_line(&self) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if !line.is_empty() {
            self.log(&line);
            line.clear();
        }
    }

    fn log(&self, line: &[u8]) {
        if self.budget.permits_line(&self.label) {
            let stream = self.stream;
            tracing::info!(plugin = &*self.label, stream, "{}", printable(line));
        }
    }
}

/// A line as text that stays one line, and cannot command a terminal.
fn printable(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for character in String::from_utf8_lossy(line).chars() {
        match character {
            '\t' => text.push(character),
            control if control.is_control() => text.extend(control.escape_default()),
            other => text.push(other),
        }
    }
    text
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestLog {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_PERMIT)
    }
}
