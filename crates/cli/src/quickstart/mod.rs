//! `armory quickstart`: the whole cycle on this machine alone.
//!
//! A broker in memory, a topic with records of which some have a header `secret`, a backup through a plugin that removes it, a
//! restore into another topic, and a comparison of the two, record by record, by way of the archive-independent fetch path.

mod compare;
mod sample;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use armory_broker::Broker;
use armory_engine::backup::{self, Until};
use armory_engine::{NoObserver, restore};
use armory_resources::job::{
    BackupJob, KafkaEndpoint, NameMatcher, PluginEntry, PluginErrorPolicy, PluginLimits,
    PluginSource, RestoreJob, StorageLocation, TopicMapping, TopicSelection,
};
use tokio_util::sync::CancellationToken;

/// The component that `build.rs` makes of `drop-secret.wat`.
const PLUGIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/drop-secret.wasm"));

const TOPIC: &str = "orders";
const TARGET: &str = "orders-restored";
const PARTITIONS: i32 = 3;
const RECORDS: usize = 3000;

/// Runs the cycle and tells every step. What was made stays in `folder` (by default a new temporary folder), to be looked at.
pub(crate) async fn run(folder: Option<PathBuf>) -> Result<()> {
    let folder = match folder {
        Some(folder) => folder,
        None => std::env::temp_dir().join(format!("armory-quickstart-{}", std::process::id())),
    };
    let archive = folder.join("archive");
    ensure!(
        !archive.exists(),
        "{} exists; name a folder that is empty, with --folder",
        archive.display()
    );
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let plugin = folder.join("drop-secret.wasm");
    std::fs::write(&plugin, PLUGIN)
        .with_context(|| format!("cannot write {}", plugin.display()))?;

    let broker = Broker::start().await?;
    let endpoint = KafkaEndpoint::from_bootstrap(broker.bootstrap());
    let client = sample::client(&endpoint)?;
    step(
        1,
        &format!("a Kafka broker in memory listens on {}", broker.bootstrap()),
    );

    let written = sample::fill(&client, TOPIC, PARTITIONS, RECORDS).await?;
    step(
        2,
        &format!(
            "topic {TOPIC}: {} records over {PARTITIONS} partitions, {} of them with a header \"secret\"",
            written.records, written.secrets
        ),
    );

    let storage = StorageLocation::Folder {
        path: archive.clone(),
    };
    let topics = TopicSelection {
        streams: vec![TOPIC.to_owned()],
        ..TopicSelection::default()
    };
    let mut job = BackupJob::new("quickstart", endpoint.clone(), storage.clone(), topics);
    job.plugins.push(PluginEntry {
        label: "drop-secret.wasm".to_owned(),
        source: PluginSource::Wasi {
            file: plugin.clone(),
            wit_version: "0.1".to_owned(),
        },
        spec: None,
        selectors: Vec::<NameMatcher>::new(),
        error_policy: PluginErrorPolicy::default(),
        limits: PluginLimits::default(),
    });
    let backed_up = backup::run(
        job,
        Until::CaughtUp,
        Arc::new(NoObserver),
        CancellationToken::new(),
    )
    .await?;
    step(
        3,
        &format!(
            "backup through the plugin {}: {} records in {} segments, {} bytes, below {}",
            plugin.display(),
            backed_up.records,
            backed_up.segments,
            backed_up.stored_bytes,
            archive.display()
        ),
    );

    let mut job = RestoreJob::new(
        "quickstart",
        storage,
        endpoint,
        vec![TopicMapping::new(TOPIC, TARGET)],
    );
    job.create_topics = true;
    let restored = restore::run(job, Arc::new(NoObserver), CancellationToken::new()).await?;
    step(
        4,
        &format!("restore into topic {TARGET}: {} records", restored.records),
    );

    let compared = compare::topics(&client, TOPIC, TARGET).await?;
    ensure!(
        compared.records == written.records,
        "{} records were written and {} compared",
        written.records,
        compared.records
    );
    ensure!(
        compared.without_secret == written.secrets,
        "the plugin changed {} records instead of {}",
        compared.without_secret,
        written.secrets
    );
    step(
        5,
        &format!(
            "compared record by record: {} equal in every byte, {} equal but for the header that the plugin removed",
            compared.records - compared.without_secret,
            compared.without_secret
        ),
    );
    println!(
        "\nA record that the plugin changed (partition {}, offset {}):",
        compared.example.partition, compared.example.offset
    );
    println!("  before: {}", compared.example.before);
    println!("  after:  {}", compared.example.after);
    println!("\nLook around:");
    println!("  armory inspect {}", archive.display());
    println!(
        "  armory cat {} {TOPIC} --partition 0 --offset 0..5",
        archive.display()
    );
    println!("  armory verify {} --deep", archive.display());
    println!("Remove {} when you have seen enough.", folder.display());
    Ok(())
}

fn step(number: u32, text: &str) {
    println!("{number}. {text}");
}
