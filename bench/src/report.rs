//! The whole measurement, and its table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use armory_kafka::Client;
use armory_records::Compression;
use armory_testkit::{Kafka, KafkaOptions};
use clap::Args;

use crate::data::{self, DataSet, codec_name};
use crate::measure::{Run, run as measure};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The armory binary to measure (a release build)
    #[arg(long)]
    armory: PathBuf,
    /// The Rust identity plugin for backups and for restores; rows with plugins are left out without them
    #[arg(long, num_args = 2, value_names = ["BACKUP", "RESTORE"])]
    plugins: Vec<PathBuf>,
    /// Logical megabytes (10⁶ bytes) of each data set
    #[arg(long, default_value_t = 2000)]
    megabytes: u64,
    /// Bytes of a record, key and value together
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Uncompressed kibibytes of a batch
    #[arg(long, default_value_t = 16)]
    batch_kib: usize,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Turns of every contestant
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Codecs to measure
    #[arg(long, value_delimiter = ',', default_value = "none,lz4,zstd")]
    codecs: Vec<String>,
    /// Folder for what is written; a RAM disk, or the disk is what you measure
    #[arg(long, default_value = "/dev/shm")]
    scratch: PathBuf,
}

/// One contestant in one discipline.
struct Contestant {
    name: &'static str,
    /// Makes what the next run needs, then the command to measure.
    prepare: Box<dyn Fn(usize) -> Result<Command>>,
    /// Removes what the run left.
    clean: Box<dyn Fn(usize) -> Result<()>>,
    runs: Vec<Run>,
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let kafka = Kafka::start(KafkaOptions::default())?;
    let client = crate::bare::client(kafka.bootstrap())?;
    let mut table = String::new();
    for codec in &options.codecs {
        let codec = match codec.as_str() {
            "none" => Compression::None,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            other => anyhow::bail!("no such codec: {other}"),
        };
        measure_codec(options, &kafka, &client, codec, &mut table).await?;
    }
    println!("\n{}", conditions(options));
    println!(
        "| codec | discipline | contestant | logical MB/s | wire MB/s | records/s | CPU-s/GB | peak RSS MB | of the bare loop |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    print!("{table}");
    Ok(())
}

fn conditions(options: &Options) -> String {
    format!(
        "{} MB of {} B records in batches of {} KiB over {} partitions; Apache Kafka beside the client on {} cores; output on {}; \
         medians of {} interleaved runs; logical bytes are keys and values.\n",
        options.megabytes,
        options.record_bytes,
        options.batch_kib,
        options.partitions,
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        options.scratch.display(),
        options.runs
    )
}

async fn measure_codec(
    options: &Options,
    kafka: &Kafka,
    client: &Client,
    codec: Compression,
    table: &mut String,
) -> Result<()> {
    let scratch = tempfile::tempdir_in(&options.scratch)?;
    let set = DataSet {
        codec,
        logical_bytes: options.megabytes * 1_000_000,
        record_bytes: options.record_bytes,
        batch_bytes: options.batch_kib * 1024,
        partitions: options.partitions,
    };
    let topic = armory_testkit::unique(codec_name(codec));
    eprintln!("{}: filling {topic}", codec_name(codec));
    let (records, wire) = data::fill(client, &topic, &set).await?;
    let logical = records * options.record_bytes as u64;

    let mut backups = backup_contestants(options, kafka, &topic, scratch.path())?;
    take_turns(&mut backups, options.runs)?;
    write_rows(table, codec, "backup", &backups, logical, wire, records);

    // One archive, and the same bytes bare, for all restores.
    let archive = scratch.path().join("archive");
    let status = backup_command(options, kafka, &topic, &archive).status()?;
    anyhow::ensure!(
        status.success(),
        "the backup for the restores ended with {status}"
    );
    let bare = scratch.path().join("bare");
    std::fs::create_dir_all(&bare)?;
    let status = bare_command("bare-fetch", kafka, &topic)?
        .arg("--out")
        .arg(&bare)
        .status()?;
    anyhow::ensure!(
        status.success(),
        "the bare fetch for the restores ended with {status}"
    );
    let mut restores = restore_contestants(options, kafka, &topic, &archive, &bare)?;
    take_turns(&mut restores, options.runs)?;
    write_rows(table, codec, "restore", &restores, logical, wire, records);
    client.delete_topics(&[topic]).await?;
    Ok(())
}

fn take_turns(contestants: &mut [Contestant], runs: usize) -> Result<()> {
    // The first turn warms the page cache and the broker, and is not counted.
    for turn in 0..=runs {
        for contestant in &mut *contestants {
            let mut command = (contestant.prepare)(turn)?;
            let run = measure(&mut command)?;
            (contestant.clean)(turn)?;
            eprintln!(
                "  {} {turn}: {:.2} s",
                contestant.name,
                run.wall.as_secs_f64()
            );
            if turn > 0 {
                contestant.runs.push(run);
            }
        }
    }
    Ok(())
}

fn backup_command(options: &Options, kafka: &Kafka, topic: &str, archive: &Path) -> Command {
    let mut command = Command::new(&options.armory);
    command
        .args([
            "backup",
            "--once",
            "--quiet",
            "--bootstrap-server",
            kafka.bootstrap(),
            "--topic",
            topic,
            "--storage",
        ])
        .arg(archive);
    command
}

fn bare_command(name: &str, kafka: &Kafka, topic: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        name,
        "--bootstrap-server",
        kafka.bootstrap(),
        "--topic",
        topic,
    ]);
    Ok(command)
}

fn backup_contestants(
    options: &Options,
    kafka: &Kafka,
    topic: &str,
    scratch: &Path,
) -> Result<Vec<Contestant>> {
    let place = |name: &str| {
        let scratch = scratch.to_owned();
        let name = name.to_owned();
        move |turn: usize| scratch.join(format!("{name}-{turn}"))
    };
    let remove = |place: Box<dyn Fn(usize) -> PathBuf>| -> Box<dyn Fn(usize) -> Result<()>> {
        Box::new(move |turn| Ok(std::fs::remove_dir_all(place(turn))?))
    };
    let bootstrap = kafka.bootstrap().to_owned();
    let exe = std::env::current_exe()?;
    let mut contestants = Vec::new();

    let (out, name, server) = (place("bare"), topic.to_owned(), bootstrap.clone());
    contestants.push(Contestant {
        name: "bare loop",
        prepare: Box::new(move |turn| {
            std::fs::create_dir_all(out(turn))?;
            let mut command = Command::new(&exe);
            command
                .args([
                    "bare-fetch",
                    "--bootstrap-server",
                    &server,
                    "--topic",
                    &name,
                    "--out",
                ])
                .arg(out(turn));
            Ok(command)
        }),
        clean: remove(Box::new(place("bare"))),
        runs: Vec::new(),
    });

    let mut variants = vec![("armory", None)];
    if let Some(plugin) = options.plugins.first() {
        variants.push(("armory, Rust plugin", Some(plugin.clone())));
    }
    for (label, plugin) in variants {
        let (out, name, server, binary) = (
            place(label),
            topic.to_owned(),
            bootstrap.clone(),
            options.armory.clone(),
        );
        contestants.push(Contestant {
            name: label,
            prepare: Box::new(move |turn| {
                let mut command = Command::new(&binary);
                command
                    .args([
                        "backup",
                        "--once",
                        "--quiet",
                        "--bootstrap-server",
                        &server,
                        "--topic",
                        &name,
                        "--storage",
                    ])
                    .arg(out(turn));
                if let Some(plugin) = &plugin {
                    command.arg("--plugin").arg(plugin);
                }
                Ok(command)
            }),
            clean: remove(Box::new(place(label))),
            runs: Vec::new(),
        });
    }

    let (name, server) = (topic.to_owned(), bootstrap);
    contestants.push(Contestant {
        name: "kcat (no CRC, no digest, no write)",
        prepare: Box::new(move |_| {
            let mut command = Command::new("kcat");
            command.args([
                "-C",
                "-b",
                &server,
                "-t",
                &name,
                "-o",
                "beginning",
                "-e",
                "-q",
                "-X",
                "check.crcs=false",
                "-f",
                "",
            ]);
            Ok(command)
        }),
        clean: Box::new(|_| Ok(())),
        runs: Vec::new(),
    });
    Ok(contestants)
}

fn restore_contestants(
    options: &Options,
    kafka: &Kafka,
    topic: &str,
    archive: &Path,
    bare: &Path,
) -> Result<Vec<Contestant>> {
    let bootstrap = kafka.bootstrap().to_owned();
    let partitions = options.partitions;
    let target = |label: &str| {
        let base = format!(
            "{topic}-{}",
            label
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect::<String>()
        );
        move |turn: usize| format!("{base}-{turn}")
    };
    let create = move |server: String, name: String| -> Result<()> {
        block(
            async move { data::create_topic(&crate::bare::client(&server)?, &name, partitions).await },
        )
    };
    let delete = |server: String, name: String| -> Result<()> {
        block(async move {
            crate::bare::client(&server)?.delete_topics(&[name]).await?;
            // The broker frees the space a second after the deletion; the next run is to find it quiet.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            Ok(())
        })
    };
    let exe = std::env::current_exe()?;
    let mut contestants = Vec::new();

    let (names, from, server) = (target("bare"), bare.to_owned(), bootstrap.clone());
    let (names_again, server_again) = (target("bare"), bootstrap.clone());
    contestants.push(Contestant {
        name: "bare loop",
        prepare: Box::new(move |turn| {
            create(server.clone(), names(turn))?;
            let mut command = Command::new(&exe);
            command
                .args([
                    "bare-produce",
                    "--bootstrap-server",
                    &server,
                    "--topic",
                    &names(turn),
                    "--from",
                ])
                .arg(&from);
            Ok(command)
        }),
        clean: Box::new(move |turn| delete(server_again.clone(), names_again(turn))),
        runs: Vec::new(),
    });

    let mut variants = vec![("armory", None)];
    if let Some(plugin) = options.plugins.get(1) {
        variants.push(("armory, Rust plugin", Some(plugin.clone())));
    }
    for (label, plugin) in variants {
        let (names, server, binary, archive, source) = (
            target(label),
            bootstrap.clone(),
            options.armory.clone(),
            archive.to_owned(),
            topic.to_owned(),
        );
        let (names_again, server_again) = (target(label), bootstrap.clone());
        contestants.push(Contestant {
            name: label,
            prepare: Box::new(move |turn| {
                create(server.clone(), names(turn))?;
                let mut command = Command::new(&binary);
                let mapping = format!("{source}={}", names(turn));
                command
                    .args([
                        "restore",
                        "--quiet",
                        "--bootstrap-server",
                        &server,
                        "--topic",
                        &mapping,
                        "--storage",
                    ])
                    .arg(&archive);
                if let Some(plugin) = &plugin {
                    command.arg("--plugin").arg(plugin);
                }
                Ok(command)
            }),
            clean: Box::new(move |turn| delete(server_again.clone(), names_again(turn))),
            runs: Vec::new(),
        });
    }
    Ok(contestants)
}

/// Runs a future from synchronous code that itself runs inside the runtime.
fn block<T: Send>(future: impl Future<Output = Result<T>> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?
                    .block_on(future)
            })
            .join()
            .map_err(|_| anyhow::anyhow!("the task panicked"))?
    })
}

fn write_rows(
    table: &mut String,
    codec: Compression,
    discipline: &str,
    contestants: &[Contestant],
    logical: u64,
    wire: u64,
    records: u64,
) {
    let mut walls = BTreeMap::new();
    for contestant in contestants {
        walls.insert(
            contestant.name,
            median(contestant.runs.iter().map(|run| run.wall.as_secs_f64())),
        );
    }
    let bare = walls.get("bare loop").copied().unwrap_or(f64::NAN);
    for contestant in contestants {
        let wall = walls[contestant.name];
        let cpu = median(contestant.runs.iter().map(|run| run.cpu.as_secs_f64()));
        let peak = median(contestant.runs.iter().map(|run| run.peak as f64));
        let _ = writeln!(
            table,
            "| {} | {discipline} | {} | {:.0} | {:.0} | {:.0} | {:.2} | {:.0} | {:.2} |",
            codec_name(codec),
            contestant.name,
            logical as f64 / 1e6 / wall,
            wire as f64 / 1e6 / wall,
            records as f64 / wall,
            cpu / (logical as f64 / 1e9),
            peak / 1e6,
            bare / wall
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
