//! What a plugin entry may use.

use std::time::Duration;

/// Kafka's default for `max.message.bytes`, which the default of [`Limits::returned_bytes`] follows.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// The limits of one plugin entry. A plugin that passes one of the first four faults; one whose file is too large is not loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory and tables of one instance, all its modules together.
    pub memory_bytes: usize,
    /// How long one record may take.
    pub record_time: Duration,
    /// How long creating an instance, its `init` included, and the requirements call may take each.
    pub init_time: Duration,
    /// Bytes of a record that is handed back, counting 48 for every header besides its key and value. A record may always
    /// come back at twice the size it went in with, whatever this says.
    pub returned_bytes: usize,
    /// Bytes of the component's file.
    pub component_bytes: u64,
    /// Records after which an instance is replaced by a fresh one, because guests in managed languages leak.
    pub records_per_instance: u64,
    /// Bytes of a line that the plugin prints; what is longer is cut.
    pub log_line_bytes: usize,
    /// Lines a second that the plugin prints, and that are logged about it; what is more is dropped, and counted.
    pub log_lines_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            record_time: Duration::from_secs(1),
            init_time: Duration::from_secs(10),
            returned_bytes: 2 * DEFAULT_MAX_MESSAGE_BYTES,
            component_bytes: 64 << 20,
            records_per_instance: 10_000_000,
            log_line_bytes: 1024,
            log_lines_per_second: 100,
        }
    }
}
