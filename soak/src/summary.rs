//! What a soak has done, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What was done, and what came of it.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Summary {
    /// The seed that everything follows from.
    pub seed: u64,
    /// Seconds that it took.
    pub seconds: u64,
    /// Rounds that were begun, by kind of storage.
    pub rounds: BTreeMap<String, u64>,
    /// Kills (SIGKILL) of backups and restores at any moment.
    pub kills: BTreeMap<String, u64>,
    /// Aborts of backups and restores at named points.
    pub kills_at_points: BTreeMap<String, u64>,
    /// Other events: brokers killed and paused, partitions added, records deleted, transactions.
    pub events: BTreeMap<String, u64>,
    /// Faults that the proxies made, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Runs that stopped by themselves and said why.
    pub refusals: BTreeMap<String, u64>,
    /// Records at the sources.
    pub records: u64,
    /// Records that were compared: source with archive, archive with target.
    pub records_compared: u64,
    /// Bytes of batches in archives.
    pub bytes: u64,
    /// Runs of Kafka's own consumer over source and target.
    pub java_comparisons: u64,
    /// What went wrong, with the seed of its round.
    pub failures: Vec<Failure>,
}

/// A round that failed.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// The seed that plays this round alone.
    pub seed: u64,
    /// `folder` or `s3`.
    pub store: String,
    /// What went wrong.
    pub what: String,
    /// Where the archive and the logs of the round are kept.
    pub kept: String,
}

impl Summary {
    /// Kills in all.
    pub fn total_kills(&self) -> u64 {
        self.kills
            .values()
            .chain(self.kills_at_points.values())
            .sum()
    }

    /// Faults in all, of proxies, brokers and networks.
    pub fn total_faults(&self) -> u64 {
        self.faults.values().sum()
    }

    pub(crate) fn count(map: &mut BTreeMap<String, u64>, what: impl Into<String>) {
        *map.entry(what.into()).or_default() += 1;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} s", self.seed, self.seconds)?;
        let mut table = |title: &str, counts: &BTreeMap<String, u64>| {
            let total: u64 = counts.values().sum();
            writeln!(f, "{title}: {total}")?;
            counts
                .iter()
                .try_for_each(|(what, count)| writeln!(f, "  {what}: {count}"))
        };
        table("rounds", &self.rounds)?;
        table("kills at any moment", &self.kills)?;
        table("kills at named points", &self.kills_at_points)?;
        table("faults", &self.faults)?;
        table("events", &self.events)?;
        table("runs that stopped and said why", &self.refusals)?;
        writeln!(
            f,
            "records: {}, compared: {}, bytes in archives: {}, comparisons by Kafka's own consumer: {}",
            self.records, self.records_compared, self.bytes, self.java_comparisons
        )?;
        for failure in &self.failures {
            writeln!(
                f,
                "FAILED ({}, kept in {}):\n{}\nplay it again: cargo xtask soak --rounds 1 --seed {} --store {}",
                failure.store, failure.kept, failure.what, failure.seed, failure.store
            )?;
        }
        write!(f, "failures: {}", self.failures.len())
    }
}
