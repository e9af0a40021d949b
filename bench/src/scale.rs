//! How long a backup of very many partitions takes to begin, with years of segments behind it, and how much memory it takes.
//!
//! The archive and the broker's logs are made without a backup, by the writer that a backup uses. A run with `--once` and nothing
//! new is the start alone: topics described, chains found, positions asked for. With one new record in every partition
//! it is the start, a fetch and a commit of each.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use armory_archive::{
    Archive, ChainEnd, GenesisInfo, Location, PartitionWriter, TopicKey, WriterIdentity,
    WriterOptions,
};
use armory_broker::Broker;
use armory_kafka::{NewTopic, TopicFilter};
use armory_records::{BatchBuilder, BatchHeader, BatchOptions};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};

use crate::measure::run as measure;

const MIB: u64 = 1 << 20;
/// The budget, what the program itself takes, and what each partition may take; as `memory` has them.
const BOUND: u64 = (256 + 96) * MIB;
const PARTITION: u64 = 16 << 10;
/// Under which name the archive knows a backup that is given none.
const BACKUP: &str = "armory";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The armory binary to measure
    #[arg(long)]
    armory: PathBuf,
    /// Topics
    #[arg(long, default_value_t = 100)]
    topics: usize,
    /// Partitions of each topic
    #[arg(long, default_value_t = 100)]
    partitions: i32,
    /// Segments of each partition that are in the archive already
    #[arg(long, default_value_t = 10)]
    segments: i64,
    /// Folder for the archive
    #[arg(long, default_value = "/dev/shm")]
    scratch: PathBuf,
}

/// One record, as a batch.
fn batch(offset: i64) -> Result<(Vec<u8>, BatchHeader)> {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: offset,
        partition_leader_epoch: 0,
        ..BatchOptions::default()
    });
    builder.append(offset, 1_700_000_000_000 + offset, None, Some(b"value"), []);
    let mut bytes = Vec::new();
    let header = builder.finish(&mut bytes)?;
    Ok((bytes, header))
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let broker = Broker::start().await?;
    let client = crate::bare::client(&broker.bootstrap())?;
    let names: Vec<String> = (0..options.topics)
        .map(|index| format!("wide-{index}"))
        .collect();
    let new = |name: &String| NewTopic {
        name: name.clone(),
        partitions: options.partitions,
        replication_factor: None,
        configs: [("retention.ms".to_owned(), "-1".to_owned())].into(),
    };
    client
        .create_topics(&names.iter().map(new).collect::<Vec<_>>(), false)
        .await?;
    let metadata = client.metadata(TopicFilter::All).await?;
    let mut history = Vec::new();
    for offset in 0..options.segments {
        history.extend(batch(offset)?.0);
    }
    for name in &names {
        for partition in 0..options.partitions {
            broker.append_replicated(name, partition, &history)?;
        }
    }

    let scratch = tempfile::tempdir_in(&options.scratch)?;
    let folder = scratch.path().join("archive");
    let archive = Archive::create_or_open(Location::Folder(folder.clone())).await?;
    let identity = WriterIdentity::new(BACKUP, 1);
    let started = Instant::now();
    let mut keys = Vec::new();
    for topic in &metadata.topics {
        let key = TopicKey::new(&topic.name, topic.id);
        let info = GenesisInfo {
            cluster_id: metadata.cluster_id.clone(),
            partitions: options.partitions,
            configs: Default::default(),
        };
        archive.genesis(&key, info).await?;
        keys.extend((0..options.partitions).map(|index| key.partition(index)));
    }
    let ends: Vec<ChainEnd> = stream::iter(keys)
        .map(|key| {
            let (archive, identity) = (archive.clone(), identity.clone());
            async move {
                let writer = PartitionWriter::open(&archive, key, WriterOptions::new(identity));
                let mut writer = writer.await?;
                for offset in 0..options.segments {
                    let (bytes, header) = batch(offset)?;
                    writer.append(&bytes, &[header])?;
                    let sealed = writer.seal()?.context("a batch is open")?;
                    writer.chain().commit(sealed).await?;
                }
                writer.chain_end().context("something is committed")
            }
        })
        .buffer_unordered(16)
        .try_collect()
        .await?;
    let all = ends.len();
    eprintln!(
        "{} segments of {all} partitions made in {:.0} s",
        all as i64 * options.segments,
        started.elapsed().as_secs_f64()
    );

    let bound = BOUND + PARTITION * all as u64;
    println!(
        "\n{} topics of {} partitions, {} segments each, broker in memory, archive on {}\n",
        options.topics,
        options.partitions,
        options.segments,
        options.scratch.display()
    );
    println!("| run | seconds | CPU seconds | peak RSS MiB | bound MiB |\n|---|---|---|---|---|");
    let mut within = true;
    for what in [
        "start without hints",
        "start with hints",
        "start, fetch, commit",
    ] {
        if what == "start, fetch, commit" {
            let bytes = batch(options.segments)?.0;
            for name in &names {
                for partition in 0..options.partitions {
                    broker.append_replicated(name, partition, &bytes)?;
                }
            }
        }
        let mut command = Command::new(&options.armory);
        command.args(["backup", "--once", "--quiet", "--topic", "*"]);
        command
            .args(["--bootstrap-server", &broker.bootstrap(), "--storage"])
            .arg(&folder);
        // The broker of this process answers meanwhile.
        let run = tokio::task::spawn_blocking(move || measure(&mut command)).await??;
        within &= run.peak <= bound;
        println!(
            "| {what} | {:.1} | {:.1} | {} | {} |",
            run.wall.as_secs_f64(),
            run.cpu.as_secs_f64(),
            run.peak / MIB,
            bound / MIB
        );
        if what == "start without hints" {
            archive.write_head(BACKUP, &identity, &ends).await?;
        }
    }
    ensure!(within, "the bound was passed");
    Ok(())
}
