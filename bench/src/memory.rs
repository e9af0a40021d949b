//! How much memory a backup and a restore of very many partitions take, held against what they promise.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use armory_records::Compression;
use armory_testkit::{Kafka, KafkaOptions, S3};
use clap::Args;

use crate::data::{self, DataSet};
use crate::measure::run as measure;

const MIB: u64 = 1 << 20;
/// The budget that backup and restore have unless told otherwise.
const BUDGET: u64 = 256 * MIB;
/// What is allowed beyond the budget, for the program itself.
const BASE: u64 = 96 * MIB;
/// What is allowed for each partition.
const PARTITION: u64 = 16 << 10;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The armory binary to measure (a release build)
    #[arg(long)]
    armory: PathBuf,
    /// Partitions of the topic
    #[arg(long, default_value_t = 2000)]
    partitions: i32,
    /// Logical megabytes (10⁶ bytes) of the topic
    #[arg(long, default_value_t = 2000)]
    megabytes: u64,
    /// Folder for what is written
    #[arg(long, default_value = "/dev/shm")]
    scratch: PathBuf,
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let kafka = Kafka::start(KafkaOptions {
        heap: "2g".to_owned(),
        ..KafkaOptions::default()
    })?;
    let s3 = S3::start()?;
    let client = crate::bare::client(kafka.bootstrap())?;
    let topic = armory_testkit::unique("wide");
    let set = DataSet {
        codec: Compression::None,
        logical_bytes: options.megabytes * 1_000_000,
        record_bytes: 1024,
        batch_bytes: 16 * 1024,
        partitions: options.partitions,
    };
    eprintln!("filling {topic}");
    data::fill(&client, &topic, &set).await?;
    let scratch = tempfile::tempdir_in(&options.scratch)?;
    let folder = scratch.path().join("archive").display().to_string();
    let bucket = format!("s3://{}/archive", s3.bucket());
    let bound = BUDGET + BASE + PARTITION * u64::from(options.partitions.unsigned_abs());

    let mut table = Vec::new();
    for (place, storage) in [("folder", folder), ("S3", bucket)] {
        let mut backup = armory(&options.armory, &s3);
        backup.args(["backup", "--once", "--topic", &topic]);
        table.push(("backup", place, peak(backup, &kafka, &storage)?));
        // The broker would not have room for two copies more.
        let target = format!("{topic}-{place}");
        data::create_topic(&client, &target, options.partitions).await?;
        let mut restore = armory(&options.armory, &s3);
        restore.args(["restore", "--topic", &format!("{topic}={target}")]);
        table.push(("restore", place, peak(restore, &kafka, &storage)?));
        client.delete_topics(&[target]).await?;
    }
    println!(
        "\n{} partitions, {} MB of 1 KiB records in batches of 16 KiB; the bound is the budget of 256 MiB + 96 MiB + 16 KiB a partition.\n",
        options.partitions, options.megabytes
    );
    println!("| discipline | storage | peak RSS MiB | bound MiB |\n|---|---|---|---|");
    for (discipline, place, peak) in &table {
        println!(
            "| {discipline} | {place} | {} | {} |",
            peak / MIB,
            bound / MIB
        );
    }
    ensure!(
        table.iter().all(|(_, _, peak)| *peak <= bound),
        "the bound was passed"
    );
    Ok(())
}

fn armory(binary: &Path, s3: &S3) -> Command {
    let mut command = Command::new(binary);
    command
        .env("AWS_ACCESS_KEY_ID", s3.access_key())
        .env("AWS_SECRET_ACCESS_KEY", s3.secret_key())
        .env("AWS_REGION", s3.region())
        .env("AWS_ENDPOINT_URL", s3.endpoint())
        .env("AWS_ALLOW_HTTP", "true");
    command
}

fn peak(mut command: Command, kafka: &Kafka, storage: &str) -> Result<u64> {
    command.args(["--bootstrap-server", kafka.bootstrap()]);
    command.args(["--quiet", "--storage", storage]);
    let run = measure(&mut command)?;
    eprintln!(
        "  {:?}: {:.1} s, {} MiB",
        command.get_args().next().unwrap_or_default(),
        run.wall.as_secs_f64(),
        run.peak / MIB
    );
    Ok(run.peak)
}
