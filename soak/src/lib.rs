//! Backups and restores under random faults and kills, held against a model of what must be where.
//!
//! A soak is made of rounds. Each writes records that no two of are the same to a topic of its own, while a backup of it runs through a
//! proxy that loses, cuts and delays, is killed at any moment and at named points, and is started again; connections close, brokers move, are paused and
//! killed, transactions are aborted, records deleted, partitions added. Then everything calms down: `backup --once` completes the archive,
//! `verify` reads all of it, and it is held against the source, record by record with their offsets. A restore follows, disturbed in the same way until
//! one run comes to its end; batches of its killed runs arrive late. At last the target is held against the archive, record by record.
//!
//! Everything follows from one seed: `cargo xtask soak --seed …`. The choices are the same again; how processes and network take turns is not.

mod cluster;
mod command;
mod model;
mod round;
mod summary;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use armory_testkit::kafka::proxy::Proxy;
use armory_testkit::{Kafka, KafkaOptions, S3, StoreFault, StoreProxy, StoreRule, unique};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use command::Armory;
use round::Round;
pub use summary::{Failure, Summary};

/// Where the archives lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In folders.
    Folder,
    /// In an S3 server.
    S3,
    /// In turns.
    Both,
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The command, built with the feature `real`, which arms its kill points.
    pub armory: PathBuf,
    /// A plugin for every third round's restore.
    pub plugin: Option<PathBuf>,
    /// No round begins after so long.
    pub time: Duration,
    /// No more rounds than these.
    pub rounds: u64,
    /// What everything follows from. The first round has this seed, too.
    pub seed: u64,
    /// Where the archives lie.
    pub store: StoreKind,
    /// Where the folders of failed rounds are kept.
    pub keep: PathBuf,
}

/// Runs rounds until the time is over. A round that fails is in the summary, and the next one begins.
///
/// # Errors
/// If what the soak itself needs cannot be started.
pub fn run(options: &Options) -> Result<Summary> {
    // Brokers forget the producers of old records when they start, and every ten minutes; the latter, just between a batch and its late twin, would
    // be a duplicate that no client can prevent.
    let quiet = ("producer.id.expiration.check.interval.ms", "86400000");
    let mut kafka = Kafka::start(KafkaOptions::default().property(quiet.0, quiet.1))?;
    let proxy = Proxy::start(&kafka)?;
    let bootstrap = proxy.stable_bootstrap()?;
    let s3 = match options.store {
        StoreKind::Folder => None,
        StoreKind::S3 | StoreKind::Both => Some(S3::start()?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut summary = Summary {
        seed: options.seed,
        ..Summary::default()
    };
    let started = Instant::now();
    for number in 0..options.rounds {
        if number > 0 && started.elapsed() >= options.time {
            break;
        }
        let seed = round_seed(options.seed, number);
        let on_s3 = match options.store {
            StoreKind::Folder => None,
            StoreKind::S3 => s3.as_ref(),
            StoreKind::Both => s3.as_ref().filter(|_| number % 2 == 1),
        };
        let store = if on_s3.is_some() { "s3" } else { "folder" };
        let mut dice = StdRng::seed_from_u64(seed);
        let folder = tempfile::Builder::new()
            .prefix("armory-soak-")
            .tempdir_in(&options.keep)?;
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs)?;
        let mut environment = Vec::new();
        let prefix = unique("soak");
        let store_proxy = on_s3
            .map(|s3| StoreProxy::start(&s3.endpoint(), seed))
            .transpose()?;
        let url = match (on_s3, &store_proxy) {
            (Some(s3), Some(proxy)) => {
                environment = s3_environment(s3, proxy);
                format!("{}/{prefix}", s3.url())
            }
            _ => folder.path().join("archive").display().to_string(),
        };
        Summary::count(&mut summary.rounds, store);
        let with_plugin = dice.random_ratio(1, 3);
        let backup_for = Duration::from_millis(dice.random_range(2000..8000));
        let outcome = Round {
            kafka: &mut kafka,
            proxy: &proxy,
            bootstrap: &bootstrap,
            runtime: &runtime,
            armory: Armory {
                binary: options.armory.clone(),
                environment,
                logs,
            },
            url,
            plugin: options.plugin.clone().filter(|_| with_plugin),
            dice,
            summary: &mut summary,
            backup_for,
            with_java: number % 5 == 0,
            store_proxy: store_proxy.as_ref(),
            runs: 0,
            broker_kills: 0,
            trimmed: false,
        }
        .run();
        for (fault, count) in store_proxy.iter().flat_map(StoreProxy::all_injected) {
            *summary.faults.entry(store_fault(fault)).or_default() += count;
        }
        if let Some(s3) = on_s3 {
            let objects = s3.root().join(s3.bucket()).join(&prefix);
            if outcome.is_err() && objects.is_dir() {
                std::fs::rename(&objects, folder.path().join("archive"))
                    .context("keeping the objects")?;
            } else {
                let _ = std::fs::remove_dir_all(&objects);
            }
        }
        match outcome {
            Ok(()) => eprintln!(
                "round {number} ({store}, seed {seed}): well; {} kills, {} faults so far",
                summary.total_kills(),
                proxy.counts().values().sum::<u64>()
            ),
            Err(error) => {
                let kept = folder.keep().display().to_string();
                let failure = Failure {
                    seed,
                    store: store.to_owned(),
                    what: format!("{error:#}"),
                    kept,
                };
                eprintln!(
                    "round {number} ({store}, seed {seed}): FAILED, kept in {}\n{}",
                    failure.kept, failure.what
                );
                summary.failures.push(failure);
                // Whatever state it left the broker in.
                proxy.calm();
                proxy.drop_held();
                let _ = kafka.resume();
                kafka.start_again()?;
            }
        }
    }
    summary.seconds = started.elapsed().as_secs();
    for (fault, count) in proxy.counts() {
        summary.faults.insert(format!("Kafka: {fault}"), count);
    }
    Ok(summary)
}

/// What goes wrong with one request in so many: throttling, errors before and after the deed, lost and broken answers.
const STORE_FAULTS: [(StoreFault, f64); 7] = [
    (StoreFault::Status(503), 0.02),
    (StoreFault::Status(500), 0.01),
    (StoreFault::StatusAfter(500), 0.015),
    (StoreFault::Dropped, 0.015),
    (StoreFault::AnswerLost, 0.02),
    (StoreFault::Truncated, 0.01),
    (StoreFault::Delayed(Duration::from_millis(150)), 0.02),
];

fn break_store(proxy: &StoreProxy) {
    for (fault, chance) in STORE_FAULTS {
        proxy.add(StoreRule::new("", "", fault).chance(chance));
    }
}

fn store_fault(fault: StoreFault) -> String {
    match fault {
        StoreFault::Status(code) => format!("S3: {code} and nothing done"),
        StoreFault::StatusAfter(code) => format!("S3: done and answered with {code}"),
        StoreFault::Dropped => "S3: dropped request".to_owned(),
        StoreFault::AnswerLost => "S3: swallowed answer".to_owned(),
        StoreFault::Truncated => "S3: cut answer".to_owned(),
        StoreFault::BitFlipped => "S3: flipped bit".to_owned(),
        StoreFault::Delayed(_) => "S3: delayed request".to_owned(),
    }
}

fn s3_environment(s3: &S3, proxy: &StoreProxy) -> Vec<(String, String)> {
    let environment = [
        ("AWS_ACCESS_KEY_ID", s3.access_key().to_owned()),
        ("AWS_SECRET_ACCESS_KEY", s3.secret_key().to_owned()),
        ("AWS_REGION", s3.region().to_owned()),
        ("AWS_ENDPOINT_URL", proxy.endpoint()),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
    ];
    environment
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The seed of a round; the first one's is that of the soak, so that a round can be played alone.
fn round_seed(seed: u64, number: u64) -> u64 {
    if number == 0 {
        return seed;
    }
    StdRng::seed_from_u64(seed ^ number.rotate_left(32)).random()
}
