//! What plugins did in a run, for its summary.

use armory_plugins::{EntryCounters, FaultKind};
use serde::Serialize;

use crate::format::{count, size};

/// What a plugin did on a topic.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PluginReport {
    plugin: String,
    topic: String,
    calls: u64,
    accepted: u64,
    rejected: u64,
    errors: u64,
    header_keys_not_utf8: u64,
    faults: Faults,
    /// Instances started.
    starts: u64,
    /// Instances replaced for their age, or their size.
    recycled: u64,
    /// The largest instance.
    instance_bytes: u64,
    /// In all calls together.
    seconds: f64,
}

/// Faults by their kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Faults {
    trap: u64,
    time: u64,
    memory: u64,
    too_large: u64,
    exit: u64,
}

impl PluginReport {
    pub(super) fn all(counters: &[EntryCounters]) -> Vec<PluginReport> {
        counters.iter().map(PluginReport::new).collect()
    }

    fn new(counters: &EntryCounters) -> PluginReport {
        let faults = |kind: FaultKind| counters.fault_kinds[kind as usize];
        PluginReport {
            plugin: counters.plugin.clone(),
            topic: counters.topic.clone(),
            calls: counters.calls,
            accepted: counters.accepted,
            rejected: counters.filtered,
            errors: counters.errors,
            header_keys_not_utf8: counters.header_keys_not_utf8,
            faults: Faults {
                trap: faults(FaultKind::Trap),
                time: faults(FaultKind::Time),
                memory: faults(FaultKind::Memory),
                too_large: faults(FaultKind::TooLarge),
                exit: faults(FaultKind::Exit),
            },
            starts: counters.starts,
            recycled: counters.recycles,
            instance_bytes: counters.instance_bytes,
            seconds: counters.latency.sum.as_secs_f64(),
        }
    }

    pub(super) fn for_people(&self) -> String {
        let Faults {
            trap,
            time,
            memory,
            too_large,
            exit,
        } = &self.faults;
        let mut text = format!(
            "plugin {} on {}: {} accepted",
            self.plugin,
            self.topic,
            count(self.accepted)
        );
        for (number, word) in [
            (self.rejected, "rejected"),
            (self.errors, "errors"),
            (
                self.header_keys_not_utf8,
                "with header keys that are not UTF-8",
            ),
            (trap + time + memory + too_large + exit, "faults"),
            (self.recycled, "instances replaced"),
        ] {
            if number > 0 {
                text.push_str(&format!(", {} {word}", count(number)));
            }
        }
        if self.calls > 0 {
            let micros = self.seconds * 1e6 / self.calls as f64;
            text.push_str(&format!(", {micros:.1} µs a record"));
        }
        if self.instance_bytes > 0 {
            text.push_str(&format!(", {} an instance", size(self.instance_bytes)));
        }
        text
    }
}
