//! From the state of jobs to families of metrics.

use std::collections::BTreeMap;
use std::time::Instant;

use armory_engine::{PartitionDetails, PluginProgress};
use armory_plugins::{EntryCounters, FaultKind};
use armory_troubles::Troubles;

use super::exposition::{Families, Labels};
use super::{Backup, Jobs, Restore, State};

pub(super) fn text(jobs: &Jobs) -> String {
    let mut families = Families::default();
    let now = Instant::now();
    let shown = jobs.backups.iter().filter(|(_, backup)| !backup.is_hidden);
    for (name, backup) in shown {
        families.backup(name, backup, now);
    }
    for (name, restore) in &jobs.restores {
        families.restore(name, restore);
    }
    families.text()
}

impl Families {
    fn state(&mut self, labels: Labels<'_>, state: State) {
        for (other, name) in [
            (State::Starting, "starting"),
            (State::Running, "running"),
            (State::Done, "done"),
            (State::Failed, "failed"),
        ] {
            let labels = [labels, &[("state", name)]].concat();
            let help = "1 for the state that the job is in";
            self.gauge(
                "jobs_state",
                help,
                &labels,
                f64::from(u8::from(state == other)),
            );
        }
    }

    fn backup(&mut self, name: &str, backup: &Backup, now: Instant) {
        let Backup {
            state,
            progress,
            details,
            behind,
            plugins,
            troubles,
            ..
        } = backup;
        let job: Labels<'_> = &[("backup", name)];
        self.state(job, *state);
        self.retries(("backup", name), troubles);
        for (metric, help, value) in [
            (
                "backup_sink_records_size",
                "bytes of record batches taken from the source, as the broker sent them",
                progress.bytes,
            ),
            (
                "backup_sink_bytes_count",
                "bytes of committed segments, as stored",
                progress.stored_bytes,
            ),
            (
                "backup_sink_records_count",
                "records taken from the source",
                progress.records,
            ),
            (
                "backup_sink_records_filtered_count",
                "records that plugins filtered",
                progress.filtered,
            ),
            (
                "armory_backup_dead_lettered_total",
                "records that plugins failed on and that were put aside",
                progress.dead_lettered,
            ),
            (
                "backup_sink_partitions_count",
                "segments committed",
                progress.segments,
            ),
        ] {
            self.counter(metric, help, job, value);
        }
        let partitions = progress.partitions as f64;
        self.gauge(
            "backup_sink_jobs_count",
            "partitions that are followed",
            job,
            partitions,
        );
        self.gauge(
            "armory_backup_partitions_failed",
            "partitions that were given up",
            job,
            progress.partitions_failed as f64,
        );
        let idle = details.partitions.iter().filter(|other| other.lag() == 0);
        self.gauge(
            "backup_sink_jobs_idleratio",
            "share of the partitions that have nothing left to do, 0 to 1",
            job,
            ratio(idle.count() as f64, details.partitions.len() as f64),
        );
        let mut topics: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for partition in &details.partitions {
            let (durable, end) = offsets(partition);
            let topic = topics.entry(&partition.topic).or_default();
            topic.0 += durable;
            topic.1 += end;
            let number = partition.partition.to_string();
            let labels: Labels<'_> = &[
                ("backup", name),
                ("topic", &partition.topic),
                ("partition", &number),
            ];
            self.gauge(
                "backup_topic_partition_progress",
                "how much of the partition is durable, by offsets, 0 to 1",
                labels,
                ratio(durable, end),
            );
            self.gauge(
                "armory_backup_durable_offset",
                "the offset (exclusive) up to which everything is durable",
                labels,
                durable,
            );
            self.gauge(
                "armory_backup_lag_records",
                "offsets at the source that are not durable yet",
                labels,
                partition.lag() as f64,
            );
            self.gauge(
                "armory_backup_lag_seconds",
                "for how long there has been something at the source that is not durable yet",
                labels,
                behind.seconds(partition, now),
            );
        }
        for (topic, (durable, end)) in topics {
            self.gauge(
                "backup_topic_progress",
                "how much of the topic is durable, by offsets, 0 to 1",
                &[("backup", name), ("topic", topic)],
                ratio(durable, end),
            );
        }
        self.summary(
            "armory_backup_commit_seconds",
            "how long commits took",
            job,
            details.commits,
            details.commit_time,
        );
        self.plugins(("backup", name), plugins);
    }

    fn restore(&mut self, name: &str, restore: &Restore) {
        let Restore {
            state,
            progress,
            plugins,
            troubles,
            ..
        } = restore;
        let job: Labels<'_> = &[("restore", name)];
        self.state(job, *state);
        self.retries(("restore", name), troubles);
        let help = "how much is done, 0 to 1";
        self.gauge("restore_progress", help, job, restore.done());
        for (metric, help, value) in [
            (
                "restore_records_count",
                "records in the target, acknowledged, those of earlier runs included",
                progress.records,
            ),
            (
                "restore_bytes_count",
                "bytes of record batches acknowledged by the target",
                progress.bytes,
            ),
            (
                "restore_records_filtered_count",
                "records that plugins filtered",
                progress.filtered,
            ),
            (
                "armory_restore_dead_lettered_total",
                "records that plugins failed on and that were put aside",
                progress.dead_lettered,
            ),
        ] {
            self.counter(metric, help, job, value);
        }
        for (metric, help, value) in [
            (
                "restore_records_total",
                "records that the archive holds for this restore",
                progress.records_total as f64,
            ),
            (
                "restore_bytes_total",
                "bytes of the segments to read",
                progress.bytes_total as f64,
            ),
            (
                "restore_partitions_count",
                "partitions whose last record is in the target",
                progress.partitions_done as f64,
            ),
            (
                "restore_partitions_total",
                "partitions to restore",
                progress.partitions as f64,
            ),
            (
                "restore_jobs_errors",
                "partitions that were given up",
                progress.partitions_failed as f64,
            ),
        ] {
            self.gauge(metric, help, job, value);
        }
        self.plugins(("restore", name), plugins);
    }

    fn retries(&mut self, job: (&str, &str), troubles: &Troubles) {
        for (cause, number) in troubles.retries() {
            self.counter(
                "armory_retries_total",
                "how often something that failed was tried again",
                &[job, ("cause", cause.name())],
                number,
            );
        }
    }

    fn plugins(&mut self, job: (&str, &str), plugins: &PluginProgress) {
        let PluginProgress {
            entries,
            compilations,
            instance_bytes,
        } = plugins;
        if entries.is_empty() {
            return;
        }
        for (from, number) in [
            ("cache", compilations.from_cache),
            ("compiler", compilations.compiled),
        ] {
            self.counter(
                "armory_plugin_loads_total",
                "components loaded, from the cache of compiled ones or by compiling them",
                &[job, ("from", from)],
                number,
            );
        }
        self.gauge(
            "armory_plugin_memory_bytes",
            "memory of all instances of plugins together",
            &[job],
            *instance_bytes as f64,
        );
        for entry in entries {
            self.plugin(job, entry);
        }
    }

    fn plugin(&mut self, job: (&str, &str), entry: &EntryCounters) {
        let place = [
            job,
            ("plugin", entry.plugin.as_str()),
            ("topic", entry.topic.as_str()),
        ];
        for (outcome, number) in [
            ("accepted", entry.accepted),
            ("rejected", entry.filtered),
            ("error", entry.errors),
            ("headerKeyNotUtf8", entry.header_keys_not_utf8),
        ] {
            self.counter(
                "armory_plugin_records_total",
                "records by what the plugin made of them",
                &[&place[..], &[("outcome", outcome)]].concat(),
                number,
            );
        }
        for (kind, number) in FaultKind::ALL.iter().zip(entry.fault_kinds) {
            self.counter(
                "armory_plugin_faults_total",
                "calls that broke off; a record that faults twice counts twice",
                &[&place[..], &[("kind", kind.name())]].concat(),
                number,
            );
        }
        for (cause, number) in [
            ("age", entry.recycles - entry.recycles_for_size),
            ("size", entry.recycles_for_size),
            ("fault", entry.faults),
        ] {
            self.counter(
                "armory_plugin_recycles_total",
                "instances replaced by fresh ones",
                &[&place[..], &[("cause", cause)]].concat(),
                number,
            );
        }
        self.counter(
            "armory_plugin_calls_total",
            "calls, replays included",
            &place,
            entry.calls,
        );
        for (metric, help, number) in [
            (
                "armory_plugin_passed_through_total",
                "records that were not accepted, and passed on as they were",
                entry.passed_through,
            ),
            (
                "armory_plugin_dead_lettered_total",
                "records that were put aside",
                entry.dead_lettered,
            ),
        ] {
            self.counter(metric, help, &place, number);
        }
        self.counter(
            "armory_plugin_starts_total",
            "instances started",
            &place,
            entry.starts,
        );
        self.gauge(
            "armory_plugin_instance_bytes",
            "memory of the largest instance so far",
            &place,
            entry.instance_bytes as f64,
        );
        self.histogram(
            "armory_plugin_call_seconds",
            "how long calls took",
            &place,
            &entry.latency,
        );
    }
}

/// The durable offset, and the end at the source, which is not known before its leader has answered.
fn offsets(partition: &PartitionDetails) -> (f64, f64) {
    let durable = partition.durable_offset;
    let end = partition.high_watermark.unwrap_or(durable).max(durable);
    (durable as f64, end as f64)
}

/// 1 where there is nothing to do.
fn ratio(done: f64, all: f64) -> f64 {
    if all > 0.0 {
        (done / all).min(1.0)
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use armory_engine::{BackupDetails, BackupProgress, RestoreProgress};
    use armory_plugins::Latency;

    use super::*;

    /// The lines of a text that are no comments.
    fn samples(text: &str) -> BTreeSet<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[track_caller]
    fn check(jobs: &Jobs, expected: &[&str]) {
        let text = text(jobs);
        let samples = samples(&text);
        for line in expected {
            assert!(samples.contains(line), "{line} is not in\n{text}");
        }
        for label in ["namespace=", "pod="] {
            assert!(!text.contains(label), "scrapers own {label}");
        }
    }

    /// The names that dashboards know.
    #[test]
    fn a_backup_is_told_by_its_names() {
        let at = |partition, durable_offset, high_watermark| PartitionDetails {
            topic: Arc::from("orders"),
            partition,
            durable_offset,
            high_watermark,
        };
        let troubles = Troubles::default();
        troubles.count(armory_troubles::Cause::Storage);
        troubles.count(armory_troubles::Cause::Storage);
        let backup = Backup {
            state: State::Running,
            troubles,
            progress: BackupProgress {
                dead_lettered: 3,
                partitions: 3,
                partitions_failed: 1,
                records: 10,
                bytes: 2000,
                filtered: 4,
                segments: 2,
                stored_bytes: 900,
                ..BackupProgress::default()
            },
            details: BackupDetails {
                partitions: vec![at(0, 30, Some(40)), at(1, 10, Some(10)), at(2, 0, None)],
                commits: 5,
                commit_time: Duration::from_millis(2500),
            },
            ..Backup::default()
        };
        let backups = BTreeMap::from([("nightly".to_owned(), backup)]);
        let jobs = Jobs {
            backups,
            ..Jobs::default()
        };
        check(
            &jobs,
            &[
                r#"jobs_state{backup="nightly",state="running"} 1"#,
                r#"jobs_state{backup="nightly",state="failed"} 0"#,
                r#"backup_sink_records_size{backup="nightly"} 2000"#,
                r#"backup_sink_bytes_count{backup="nightly"} 900"#,
                r#"backup_sink_records_count{backup="nightly"} 10"#,
                r#"backup_sink_records_filtered_count{backup="nightly"} 4"#,
                r#"backup_sink_partitions_count{backup="nightly"} 2"#,
                r#"armory_backup_dead_lettered_total{backup="nightly"} 3"#,
                r#"armory_retries_total{backup="nightly",cause="storage"} 2"#,
                r#"armory_retries_total{backup="nightly",cause="kafka"} 0"#,
                r#"backup_sink_jobs_count{backup="nightly"} 3"#,
                r#"backup_sink_jobs_idleratio{backup="nightly"} 0.6666666666666666"#,
                r#"backup_topic_progress{backup="nightly",topic="orders"} 0.8"#,
                r#"backup_topic_partition_progress{backup="nightly",topic="orders",partition="0"} 0.75"#,
                r#"backup_topic_partition_progress{backup="nightly",topic="orders",partition="2"} 1"#,
                r#"armory_backup_partitions_failed{backup="nightly"} 1"#,
                r#"armory_backup_lag_records{backup="nightly",topic="orders",partition="0"} 10"#,
                r#"armory_backup_lag_seconds{backup="nightly",topic="orders",partition="1"} 0"#,
                r#"armory_backup_durable_offset{backup="nightly",topic="orders",partition="0"} 30"#,
                r#"armory_backup_commit_seconds_sum{backup="nightly"} 2.5"#,
                r#"armory_backup_commit_seconds_count{backup="nightly"} 5"#,
            ],
        );
    }

    #[test]
    fn a_restore_is_told_by_its_names() {
        let mut latency = Latency::default();
        latency.buckets[1] = 6;
        latency.buckets[14] = 1;
        latency.sum = Duration::from_millis(1500);
        let entry = EntryCounters {
            plugin: "a.wasm".to_owned(),
            topic: "copy".to_owned(),
            calls: 7,
            accepted: 4,
            filtered: 1,
            errors: 1,
            passed_through: 9,
            dead_lettered: 5,
            faults: 1,
            fault_kinds: [0, 1, 0, 0, 0],
            starts: 3,
            recycles: 2,
            recycles_for_size: 2,
            instance_bytes: 65536,
            latency,
            ..EntryCounters::default()
        };
        let restore = Restore {
            state: State::Running,
            progress: RestoreProgress {
                partitions: 4,
                partitions_done: 1,
                partitions_failed: 1,
                records: 20,
                records_total: 80,
                bytes: 100,
                bytes_total: 1000,
                filtered: 15,
                dead_lettered: 5,
                ..RestoreProgress::default()
            },
            plugins: PluginProgress {
                entries: vec![entry],
                instance_bytes: 131_072,
                ..PluginProgress::default()
            },
            ..Restore::default()
        };
        let restores = BTreeMap::from([("r1".to_owned(), restore)]);
        let jobs = Jobs {
            restores,
            ..Jobs::default()
        };
        check(
            &jobs,
            &[
                r#"restore_progress{restore="r1"} 0.5"#,
                r#"armory_restore_dead_lettered_total{restore="r1"} 5"#,
                r#"armory_plugin_passed_through_total{restore="r1",plugin="a.wasm",topic="copy"} 9"#,
                r#"armory_plugin_dead_lettered_total{restore="r1",plugin="a.wasm",topic="copy"} 5"#,
                r#"restore_records_count{restore="r1"} 20"#,
                r#"restore_records_total{restore="r1"} 80"#,
                r#"restore_bytes_count{restore="r1"} 100"#,
                r#"restore_bytes_total{restore="r1"} 1000"#,
                r#"restore_records_filtered_count{restore="r1"} 15"#,
                r#"restore_partitions_count{restore="r1"} 1"#,
                r#"restore_partitions_total{restore="r1"} 4"#,
                r#"restore_jobs_errors{restore="r1"} 1"#,
                r#"armory_plugin_memory_bytes{restore="r1"} 131072"#,
                r#"armory_plugin_calls_total{restore="r1",plugin="a.wasm",topic="copy"} 7"#,
                r#"armory_plugin_records_total{restore="r1",plugin="a.wasm",topic="copy",outcome="rejected"} 1"#,
                r#"armory_plugin_faults_total{restore="r1",plugin="a.wasm",topic="copy",kind="time"} 1"#,
                r#"armory_plugin_recycles_total{restore="r1",plugin="a.wasm",topic="copy",cause="size"} 2"#,
                r#"armory_plugin_recycles_total{restore="r1",plugin="a.wasm",topic="copy",cause="fault"} 1"#,
                r#"armory_plugin_instance_bytes{restore="r1",plugin="a.wasm",topic="copy"} 65536"#,
                r#"armory_plugin_call_seconds_bucket{restore="r1",plugin="a.wasm",topic="copy",le="0.0000005"} 0"#,
                r#"armory_plugin_call_seconds_bucket{restore="r1",plugin="a.wasm",topic="copy",le="1"} 6"#,
                r#"armory_plugin_call_seconds_bucket{restore="r1",plugin="a.wasm",topic="copy",le="+Inf"} 7"#,
                r#"armory_plugin_call_seconds_sum{restore="r1",plugin="a.wasm",topic="copy"} 1.5"#,
            ],
        );
    }
}
