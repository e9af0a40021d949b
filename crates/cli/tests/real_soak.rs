//! A short soak: see `armory_soak`. `cargo xtask soak` runs longer ones.
#![cfg(feature = "real")]

use std::time::Duration;

use armory_soak::{Options, StoreKind};

/// A fixed seed, so that what fails here fails elsewhere, too; `ARMORY_SEED` is another one.
#[test]
fn own_kafka_is_soaked_for_a_minute() {
    let seed = std::env::var("ARMORY_SEED").ok();
    let seed = seed
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_260_727);
    let options = Options {
        armory: env!("CARGO_BIN_EXE_armory").into(),
        plugin: None,
        time: Duration::from_secs(60),
        rounds: 4,
        seed,
        store: StoreKind::Both,
        keep: std::env::temp_dir(),
    };
    let summary = armory_soak::run(&options).expect("what the soak needs can be started");
    println!("{summary}");
    assert!(summary.failures.is_empty(), "{summary}");
    assert!(summary.total_kills() > 0 && summary.total_faults() > 0);
    assert!(summary.records_compared > 0);
}
