//! Prints what a call of a backup plugin costs, in nanoseconds a record.
//!
//!     cargo run --release -p armory-plugins --example cost -- identity_backup.wasm [configuration.json]

use std::error::Error;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use armory_plugins::{
    Chain, Context, Entry, ErrorPolicy, Host, HostOptions, Limits, RecordRef, Timestamp,
    TimestampKind, World, config_text,
};

const ROUNDS: u32 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let component = arguments
        .next()
        .ok_or("usage: cost COMPONENT.wasm [CONFIGURATION.json]")?;
    let config = match arguments.next() {
        Some(path) => Some(config_text(&serde_json::from_slice(&std::fs::read(path)?)?)),
        None => None,
    };

    let host = Host::new(HostOptions::default())?;
    let began = Instant::now();
    let plugin = host.load(&component, World::Backup, "0.1", &Limits::default())?;
    println!("load and compile   {:>10.1?}", began.elapsed());
    let (label, limits) = (
        "plugin".to_owned(),
        Limits {
            records_per_instance: u64::MAX,
            ..Limits::default()
        },
    );
    let entry = Arc::new(Entry {
        plugin,
        label,
        config,
        policy: ErrorPolicy::default(),
        limits,
    });
    let topic = || Context::Backup {
        topic: "orders".into(),
    };
    let began = Instant::now();
    let starts = 100;
    for _ in 0..starts {
        Chain::new(&host, vec![Arc::clone(&entry)], topic()).lease()?;
    }
    println!("start an instance  {:>10.1?}", began.elapsed() / starts);

    let chain = Chain::new(&host, vec![entry], topic());
    for (value_bytes, header_count) in [
        (0, 0),
        (1 << 10, 0),
        (1 << 10, 1),
        (1 << 10, 6),
        (16 << 10, 0),
        (1 << 20, 0),
    ] {
        let value = vec![b'v'; value_bytes];
        let headers = vec![(&b"header-key"[..], Some(&b"header value"[..])); header_count];
        let timestamp = Timestamp {
            kind: TimestampKind::CreateTime,
            time: 1_700_000_000_000,
        };
        let records = (200_000_000 / (value_bytes + 1000)).min(200_000) as u32;
        // The best of some rounds: what the machine does besides only ever adds.
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let mut lease = chain.lease()?;
            let began = Instant::now();
            for offset in 0..records {
                let record = RecordRef {
                    key: Some(b"customer-4711"),
                    value: Some(&value),
                    headers: &headers,
                    partition: 0,
                    offset: i64::from(offset),
                    timestamp,
                };
                black_box(lease.transform(black_box(record))?);
            }
            best = best.min(began.elapsed().as_nanos() as f64 / f64::from(records));
        }
        println!(
            "value of {value_bytes:>7} bytes, {header_count} headers: {best:>9.0} ns a record"
        );
    }
    Ok(())
}
