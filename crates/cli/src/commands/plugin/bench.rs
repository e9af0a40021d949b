//! `armory plugin bench`

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use armory_plugins::{Chain, Compilation, Timestamp, TimestampKind};
use serde::Serialize;

use super::records::TestRecord;
use super::trial::{Trial, Tried, hand_over};
use crate::args::PluginBenchArguments;
use crate::exit::Exit;
use crate::format::{count, size};
use crate::output;

/// The rows of records that are made up: bytes of the value, and headers.
const MADE_UP: [(usize, usize); 6] = [
    (0, 0),
    (100, 0),
    (1 << 10, 0),
    (1 << 10, 6),
    (16 << 10, 0),
    (256 << 10, 0),
];

/// A row is measured in so many rounds, of which the best counts: what the machine does besides only ever adds.
const ROUNDS: u32 = 3;

/// Memory that grows by less than this over the calls of the second half is not worth a warning: a heap that settles.
const GROWTH_TO_WARN: u64 = 256 << 10;

pub(super) fn run(
    arguments: &PluginBenchArguments,
    records: Option<Vec<TestRecord>>,
) -> anyhow::Result<Exit> {
    let mut trial = Trial::new(&arguments.run, records.as_deref().unwrap_or(&[]))?;
    let (rows, of_growth) = match records {
        Some(records) => {
            let name = format!("{} given", count(records.len() as u64));
            let topic = records[0].topic.clone();
            // A chain is a topic's; records of other topics would measure the change between them.
            let records: Vec<_> = records
                .into_iter()
                .filter(|record| record.topic == topic)
                .collect();
            (vec![(name, records.clone())], records)
        }
        None => {
            let rows = MADE_UP.into_iter().map(|(bytes, headers)| {
                let name = format!("{}, {headers} headers", size(bytes as u64));
                (name, vec![made_up(bytes, headers)])
            });
            (rows.collect(), vec![made_up(1 << 10, 1)])
        }
    };
    let topic = of_growth[0].topic.clone();
    let chain = trial.chain(&topic, |_, _| {})?;
    let began = Instant::now();
    drop(chain.lease()?);
    let start = began.elapsed();

    let time = Duration::from_millis(arguments.time);
    let measured = rows
        .iter()
        .map(|(name, records)| measure(name, &chain, records, time))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let parallel = together(&chain, &of_growth, time)?;
    // A chain of its own, so that the instance is a fresh one.
    let mut fresh = Trial::new(&arguments.run, &of_growth)?;
    let chain = fresh.chain(&topic, |_, _| {})?;
    let memory = grow(&chain, &of_growth, arguments.calls)?;
    let counters = trial.counters();
    let again = fresh.plugin().compilation();
    let first = trial.plugin().compilation();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let took = |compilation: Option<Compilation>, from_cache| {
        let matching = compilation.filter(|compilation| compilation.from_cache == from_cache);
        matching.map(|compilation| milliseconds(compilation.time))
    };
    let view = View {
        file: arguments.run.file.display().to_string(),
        digest: trial.plugin().digest().to_owned(),
        world: trial.plugin().world().to_string(),
        compile_ms: took(first, false),
        load_ms: took(again, true),
        start_ms: milliseconds(start),
        rows: measured,
        parallel,
        calls: counters.calls,
        faults: counters.faults,
        recycles: counters.recycles + fresh.counters().recycles,
        memory,
    };
    output::print(arguments.output, &view, View::for_people)?;
    Ok(Exit::Done)
}

fn made_up(bytes: usize, headers: usize) -> TestRecord {
    TestRecord {
        topic: "records".to_owned(),
        partition: 0,
        offset: 0,
        timestamp: Timestamp {
            kind: TimestampKind::CreateTime,
            time: 1_700_000_000_000,
        },
        key: Some(b"customer-4711".to_vec()),
        value: Some(vec![b'v'; bytes]),
        headers: vec![(b"header-key".to_vec(), Some(b"header value".to_vec())); headers],
    }
}

/// `-o json`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    file: String,
    digest: String,
    world: String,
    /// Null where the component was found in the cache.
    compile_ms: Option<f64>,
    /// To load what was compiled from the cache.
    load_ms: Option<f64>,
    /// To have an instance, `init` included.
    start_ms: f64,
    rows: Vec<Row>,
    parallel: Parallel,
    calls: u64,
    faults: u64,
    /// Instances replaced because of their age or size.
    recycles: u64,
    memory: Memory,
}

/// The cost of one kind of records.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    records: String,
    ns_per_record: f64,
    records_per_second: f64,
    /// Of key, value and headers.
    bytes_per_second: f64,
    not_accepted: u64,
}

/// How much faster several partitions are than one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Parallel {
    /// One for every core that the process may use, each with an instance of its own.
    threads: usize,
    /// Records a second of all of them, divided by those of one alone.
    times_one: f64,
}

/// What became of an instance's memory.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    calls: u64,
    not_accepted: u64,
    at_start_bytes: u64,
    at_end_bytes: u64,
    /// How much it grew in every 10,000 calls of the second half.
    growth_per_10000_calls_bytes: u64,
    leaks: bool,
}

/// One thread and all of them by turns, so that what else the machine does is shared by both; the best of each counts.
fn together(chain: &Chain, records: &[TestRecord], time: Duration) -> anyhow::Result<Parallel> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut one, mut all) = (0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        one = one.max(rate(chain, records, time / ROUNDS, 1)?);
        all = all.max(rate(chain, records, time / ROUNDS, threads)?);
    }
    Ok(Parallel {
        threads,
        times_one: all / one,
    })
}

/// Records a second that so many threads hand over together.
fn rate(
    chain: &Chain,
    records: &[TestRecord],
    time: Duration,
    threads: usize,
) -> anyhow::Result<f64> {
    let rate_of_one = || -> anyhow::Result<f64> {
        let mut lease = chain.lease()?;
        let (mut done, began) = (0u64, Instant::now());
        while began.elapsed() < time {
            for record in records {
                black_box(hand_over(&mut lease, black_box(record))?);
            }
            done += records.len() as u64;
        }
        Ok(done as f64 / began.elapsed().as_secs_f64())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(rate_of_one)).collect();
        let rates = workers.into_iter().map(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        rates.sum()
    })
}

fn measure(
    name: &str,
    chain: &Chain,
    records: &[TestRecord],
    time: Duration,
) -> anyhow::Result<Row> {
    let mut best = f64::INFINITY;
    let mut not_accepted = 0;
    for _ in 0..ROUNDS {
        let mut lease = chain.lease()?;
        let mut done = 0u64;
        let began = Instant::now();
        let elapsed = loop {
            for record in records {
                let tried = black_box(hand_over(&mut lease, black_box(record))?);
                not_accepted += u64::from(matches!(tried, Tried::Failed { .. }));
            }
            done += records.len() as u64;
            let elapsed = began.elapsed();
            if elapsed >= time / ROUNDS {
                break elapsed;
            }
        };
        best = best.min(elapsed.as_nanos() as f64 / done as f64);
    }
    let bytes: usize = records.iter().map(TestRecord::bytes).sum();
    let bytes_per_record = bytes as f64 / records.len() as f64;
    Ok(Row {
        records: name.to_owned(),
        ns_per_record: best,
        records_per_second: 1e9 / best,
        bytes_per_second: bytes_per_record * 1e9 / best,
        not_accepted,
    })
}

/// Calls an instance again and again, and watches its memory. One that is replaced begins anew: only growth is counted.
fn grow(chain: &Chain, records: &[TestRecord], calls: u64) -> anyhow::Result<Memory> {
    let mut lease = chain.lease()?;
    let at_start_bytes = lease.memory_bytes();
    let mut last = at_start_bytes;
    let (mut growth, mut not_accepted) = (0, 0);
    let calls = calls.max(2);
    let second_half = calls / 2;
    for (number, record) in (0..calls).zip(records.iter().cycle()) {
        let tried = hand_over(&mut lease, record)?;
        not_accepted += u64::from(matches!(tried, Tried::Failed { .. }));
        let bytes = lease.memory_bytes();
        if number >= second_half {
            growth += bytes.saturating_sub(last);
        }
        last = bytes;
    }
    let measured = calls - second_half;
    Ok(Memory {
        calls,
        not_accepted,
        at_start_bytes,
        at_end_bytes: last,
        growth_per_10000_calls_bytes: u64::try_from(
            u128::from(growth) * 10_000 / u128::from(measured),
        )
        .unwrap_or(u64::MAX),
        leaks: growth >= GROWTH_TO_WARN,
    })
}

impl View {
    fn for_people(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            [
                row.records.clone(),
                count(row.ns_per_record.round() as u64),
                count(row.records_per_second.round() as u64),
                format!("{}/s", size(row.bytes_per_second as u64)),
            ]
        });
        let headings = ["RECORDS", "NS/RECORD", "RECORDS/S", "THROUGHPUT"];
        let mut text = output::table(headings, &[1, 2, 3], rows);
        text.push('\n');
        if let Some(time) = self.compile_ms {
            let _ = writeln!(text, "compiling it took {time:.1} ms");
        }
        if let Some(time) = self.load_ms {
            let _ = writeln!(text, "loading it from the cache took {time:.1} ms");
        }
        let _ = writeln!(text, "starting an instance took {:.2} ms", self.start_ms);
        let Parallel { threads, times_one } = self.parallel;
        if threads > 1 {
            let _ = writeln!(
                text,
                "{threads} partitions on {threads} cores are {times_one:.2} times as fast as one"
            );
        }
        let Memory {
            calls,
            not_accepted,
            at_start_bytes,
            at_end_bytes,
            growth_per_10000_calls_bytes,
            leaks,
        } = &self.memory;
        let _ = writeln!(
            text,
            "memory of an instance: {} at first, {} after {} calls",
            size(*at_start_bytes),
            size(*at_end_bytes),
            count(*calls),
        );
        if *leaks {
            let _ = writeln!(
                text,
                "warning: it grows by {} in every 10,000 calls; instances are replaced when they are three quarters full",
                size(*growth_per_10000_calls_bytes)
            );
        }
        let failed: u64 = self.rows.iter().map(|row| row.not_accepted).sum();
        let failed = failed + not_accepted;
        if failed > 0 {
            let _ = writeln!(text, "{} records were not accepted", count(failed));
        }
        if self.faults > 0 {
            let _ = writeln!(text, "{} faults", count(self.faults));
        }
        if self.recycles > 0 {
            let _ = writeln!(text, "{} instances were replaced", count(self.recycles));
        }
        text
    }
}
