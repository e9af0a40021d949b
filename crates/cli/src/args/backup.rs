//! `armory backup`

use armory_resources::job::{
    CompressionAlgorithm, CompressionSpec, NameMatcher, StorageLocation, Worker,
};
use armory_resources::scalar::{check_topic_name, parse_duration, parse_size};
use clap::Args;

use super::connect::{Documents, KafkaFlags, MetricsFlag, StorageFlags, parse_storage};
use super::plugin::{PluginFlag, parse_plugin};
use crate::output::Format;

/// Copy topics into a storage, and go on doing so
///
/// Runs until it is stopped (Ctrl-C or SIGTERM: what was read is committed first), or with --once until everything
/// is stored that was there when it began. A backup that is started again goes on where the storage ends.
///
/// What to do is said by YAML documents (-f), as in Kubernetes, or by options.
#[derive(Debug, Args)]
#[command(
    override_usage = "armory backup -f <FILE>... [--claim <NAME=DIR>]... [--secret <NAME/KEY=PATH>]... [OPTIONS]\n       \
        armory backup --job <FILE> [OPTIONS]\n       \
        armory backup --bootstrap-server <HOST:PORT> --topic <PATTERN>... --storage <URL> [OPTIONS]",
    after_long_help = "\
Examples:
  Everything that is there now, into a folder:
    armory backup --bootstrap-server localhost:9092 --topic '*' --storage ./archive --once

  Two topics and a pattern, continuously, into a bucket of MinIO:
    armory backup --bootstrap-server localhost:9092 --topic orders --topic customers --topic 'flights.*' \\
        --storage s3://backups/kafka --s3-endpoint http://localhost:9000 --compression zstd

  Without a header, by a plugin:
    armory backup --bootstrap-server localhost:9092 --topic orders --storage ./archive --once \\
        --plugin drop-header.wasm,config=drop-header.yaml

  The first of three processes that share the work; the others are 1/3 and 2/3:
    armory backup --bootstrap-server localhost:9092 --topic '*' --storage s3://backups/kafka --worker 0/3

  Over TLS, with a password that is read from a file:
    armory backup --bootstrap-server kafka.example:9093 --topic orders --storage ./archive \\
        -X security.protocol=SASL_SSL -X sasl.mechanism=SCRAM-SHA-512 -X sasl.username=armory \\
        --property-file sasl.password=/run/secrets/password

  As documents say, with a folder for the volume and one for the plugins:
    armory backup -f orders.yaml --claim archive=./archive --claim plugins-pvc=./plugins --once"
)]
pub(crate) struct BackupArguments {
    #[command(flatten)]
    pub(crate) documents: Documents,

    #[command(flatten)]
    pub(crate) kafka: KafkaFlags,

    /// A topic, or a pattern of topics (*, ?, [a-z], {a,b}); may be given several times. A pattern never takes Kafka's
    /// internal topics
    #[arg(
        long = "topic",
        id = "topic",
        value_name = "PATTERN",
        value_parser = parse_pattern,
        required_unless_present_any = ["files", "job"]
    )]
    pub(crate) topics: Vec<NameMatcher>,

    /// Topics that no pattern takes: a name or a pattern
    #[arg(
        long,
        value_name = "PATTERN",
        value_parser = parse_pattern,
        conflicts_with_all = ["files", "job"]
    )]
    pub(crate) exclude: Vec<NameMatcher>,

    /// Where the archive lies: a folder, s3://bucket/prefix, gs://bucket/prefix or az://account/container/directory
    #[arg(long, value_name = "URL", value_parser = parse_storage, required_unless_present_any = ["files", "job"])]
    pub(crate) storage: Option<StorageLocation>,

    /// A plugin that every record passes, with its configuration; several run in the order given
    #[arg(long, value_name = "FILE[,config=FILE]", value_parser = parse_plugin)]
    pub(crate) plugin: Vec<PluginFlag>,

    /// Compress segments whose batches the producers did not compress: zstd, gzip or none, and a level
    #[arg(
        long,
        value_name = "ALGORITHM[:LEVEL]",
        value_parser = parse_compression,
        conflicts_with_all = ["files", "job"]
    )]
    pub(crate) compression: Option<CompressionFlag>,

    /// Close a segment at this size [default: 128MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_rollover_size, conflicts_with_all = ["files", "job"])]
    pub(crate) segment_size: Option<u64>,

    /// Close a segment at this age; on S3 a crash can cost as much [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = parse_rollover_time, conflicts_with_all = ["files", "job"])]
    pub(crate) segment_time: Option<std::time::Duration>,

    /// Delete what was archived when its newest record is older than this [default: keep everything]
    #[arg(long, value_name = "DURATION", value_parser = parse_rollover_time, conflicts_with_all = ["files", "job"])]
    pub(crate) delete_after: Option<std::time::Duration>,

    /// Under which name the archive knows this backup; a backup goes on with what has its name only
    #[arg(
        long,
        value_name = "NAME",
        default_value = "armory",
        value_parser = parse_name,
        conflicts_with_all = ["files", "job"]
    )]
    pub(crate) name: String,

    /// Do one worker's share: its number, from 0 on, and how many there are. All of them have to run, with one name
    #[arg(long, value_name = "INDEX/WORKERS", value_parser = str::parse::<Worker>)]
    pub(crate) worker: Option<Worker>,

    /// Deal the partitions out differently; the same number for all workers [default: 0]
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "worker",
        conflicts_with_all = ["files", "job"],
        value_parser = clap::value_parser!(u32).range(..=2_147_483_647)
    )]
    pub(crate) seed: Option<u32>,

    /// A number, from 1 on, that grows when the workers' number or seed changes: those of a lower one give way. Without it
    /// who starts later wins
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "worker",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) group_generation: Option<u64>,

    /// Stop when everything is stored that was there when the backup began
    #[arg(long)]
    pub(crate) once: bool,

    /// Go on with partitions that a backup of another name has written
    #[arg(long)]
    pub(crate) take_over: bool,

    /// Memory for data in flight [default: half of what the control group may have (at most 2GiB), 256MiB where it has no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,

    /// How the summary at the end is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) metrics: MetricsFlag,

    #[command(flatten)]
    pub(crate) s3: StorageFlags,
}

/// `--compression`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CompressionFlag(pub(crate) Option<CompressionSpec>);

/// A name, or a shell pattern: names of topics have none of a pattern's characters.
pub(super) fn parse_pattern(text: &str) -> Result<NameMatcher, String> {
    if text.contains(['*', '?', '[', '{', '\\']) {
        NameMatcher::glob(text).map_err(|error| error.to_string())
    } else {
        check_topic_name(text).map(|()| NameMatcher::literal(text))
    }
}

fn parse_compression(text: &str) -> Result<CompressionFlag, String> {
    let (word, level) = match text.split_once(':') {
        Some((word, level)) => {
            let level: i32 = level
                .parse()
                .map_err(|_| format!("{level:?} is not a level"))?;
            (word, Some(level))
        }
        None => (text, None),
    };
    let (algorithm, levels) = match word {
        "zstd" => (CompressionAlgorithm::Zstd, -7..=22),
        "gzip" => (CompressionAlgorithm::Gzip, 0..=9),
        "none" if level.is_none() => return Ok(CompressionFlag(None)),
        _ => return Err("expected zstd, gzip or none, and after a colon a level".to_owned()),
    };
    if let Some(level) = level
        && !levels.contains(&level)
    {
        let (least, most) = (levels.start(), levels.end());
        return Err(format!("{word} has the levels {least} to {most}"));
    }
    Ok(CompressionFlag(Some(CompressionSpec {
        algorithm,
        quality: level,
    })))
}

fn parse_rollover_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("a segment of no bytes never closes".to_owned()),
        size => Ok(size),
    }
}

fn parse_rollover_time(text: &str) -> Result<std::time::Duration, String> {
    let time = parse_duration(text)?;
    if time < std::time::Duration::from_secs(1) {
        return Err("it must be at least 1s".to_owned());
    }
    Ok(time)
}

fn parse_name(text: &str) -> Result<String, String> {
    check_topic_name(text)
        .map(|()| text.to_owned())
        .map_err(|_| "a name has letters, digits, '.', '_' and '-'".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_are_told_apart() {
        assert_eq!(
            parse_pattern("orders.eu"),
            Ok(NameMatcher::literal("orders.eu"))
        );
        assert_eq!(
            parse_pattern("orders.*"),
            Ok(NameMatcher::glob("orders.*").unwrap())
        );
        assert!(parse_pattern("a b").is_err());
        assert!(parse_pattern("a[").is_err());
    }

    #[test]
    fn compressions_are_read() {
        let spec = |algorithm, quality| {
            Ok(CompressionFlag(Some(CompressionSpec {
                algorithm,
                quality,
            })))
        };
        assert_eq!(
            parse_compression("zstd"),
            spec(CompressionAlgorithm::Zstd, None)
        );
        assert_eq!(
            parse_compression("gzip:9"),
            spec(CompressionAlgorithm::Gzip, Some(9))
        );
        assert_eq!(parse_compression("none"), Ok(CompressionFlag(None)));
        for text in ["", "lz4", "none:1", "gzip:10", "zstd:x", "zstd:"] {
            assert!(parse_compression(text).is_err(), "{text}");
        }
    }
}
