//! Components: what claims to be a plugin.

use std::sync::OnceLock;
use std::time::Duration;

use armory_plugins::{Host, HostOptions, Limits, Source};

/// Any bytes as a component: they are compiled, looked at, and instantiated, which runs what they say is to be run at the start. An
/// answer or a sentence, within the limits.
pub fn component(bytes: &[u8]) {
    static HOST: OnceLock<Host> = OnceLock::new();
    let host = HOST.get_or_init(|| Host::new(HostOptions::default()).expect("it starts"));
    let limits = Limits {
        memory_bytes: 16 << 20,
        init_time: Duration::from_millis(100),
        component_bytes: 1 << 20,
        ..Limits::default()
    };
    match host.inspect(Source::Bytes("input", bytes), &limits) {
        Ok(seen) => {
            assert_eq!(seen.bytes, bytes.len() as u64);
            match seen.start.map(|start| start.memory) {
                Ok(Ok(taken)) => assert!(taken <= limits.memory_bytes as u64),
                Ok(Err(fault)) => assert!(!fault.is_empty()),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
