//! `armory cat`

use armory_resources::job::{Incarnation, StorageLocation};
use clap::{Args, ValueEnum};

use super::connect::{StorageFlags, parse_storage};

/// Print archived records
///
/// Partition by partition, in the order of offsets. As JSON every record is one line; bytes that are not UTF-8 are
/// {"base64": "..."}. As raw bytes it is the batches that the broker sent, whole ones: those at the edges of a
/// range may hold records outside of it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  armory cat ./archive orders | jq .value
  armory cat ./archive orders --partition 0 --offset 100..200
  armory cat s3://backups/kafka orders --limit 10
  armory cat ./archive orders --dead-letters | jq .failure
  armory cat ./archive orders --partition 0 -o raw > 00000000000000000000.log")]
pub(crate) struct CatArguments {
    /// Where the archive lies: a folder, s3://bucket/prefix, gs://bucket/prefix or az://account/container/directory
    #[arg(value_name = "STORAGE", value_parser = parse_storage)]
    pub(crate) storage: StorageLocation,

    /// The topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,

    /// Only this partition
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: Option<i32>,

    /// Only these offsets: A..B (without B), A.., ..B, or A alone
    #[arg(long, value_name = "A..B", value_parser = parse_offsets, default_value = "..")]
    pub(crate) offset: OffsetRange,

    /// Which incarnation of a topic that was deleted and created again: latest, or one like v1
    #[arg(long, value_name = "VERSION", value_parser = parse_snapshot, default_value = "latest")]
    pub(crate) snapshot: Incarnation,

    /// Print what plugins failed on and what was put aside (`deadLetter`), each record with its failure: during backups, or with
    /// =RESTORE during the restore of that id
    #[arg(long, value_name = "RESTORE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) dead_letters: Option<String>,

    /// Stop after this many records, or batches with -o raw
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,

    /// Go on beyond what is damaged; it is named on standard error, and the exit code is 3
    #[arg(long)]
    pub(crate) skip_damaged: bool,

    /// How records are printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: CatFormat,

    #[command(flatten)]
    pub(crate) s3: StorageFlags,
}

/// `-o`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CatFormat {
    /// One line a record.
    #[default]
    Json,
    /// The bytes of the batches.
    Raw,
}

/// Offsets from `start` (inclusive) to `end` (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetRange {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

fn parse_offsets(text: &str) -> Result<OffsetRange, String> {
    let offset = |text: &str, absent: i64| match text {
        "" => Ok(absent),
        _ => text
            .parse::<i64>()
            .ok()
            .filter(|offset| *offset >= 0)
            .ok_or_else(|| format!("{text:?} is not an offset")),
    };
    let range = match text.split_once("..") {
        Some((start, end)) => OffsetRange {
            start: offset(start, 0)?,
            end: offset(end, i64::MAX)?,
        },
        None if text.is_empty() => return Err("expected A..B".to_owned()),
        None => {
            let start = offset(text, 0)?;
            OffsetRange {
                start,
                end: start.saturating_add(1),
            }
        }
    };
    if range.start >= range.end {
        return Err("it holds no offset: the end is exclusive".to_owned());
    }
    Ok(range)
}

fn parse_snapshot(text: &str) -> Result<Incarnation, String> {
    if text == "latest" {
        return Ok(Incarnation::Latest);
    }
    match text.strip_prefix('v').unwrap_or(text).parse() {
        Ok(number) if number > 0 => Ok(Incarnation::Version(number)),
        _ => Err("expected latest, or a version like v1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let range = |start, end| Ok(OffsetRange { start, end });
        assert_eq!(parse_offsets("5..10"), range(5, 10));
        assert_eq!(parse_offsets("5.."), range(5, i64::MAX));
        assert_eq!(parse_offsets("..10"), range(0, 10));
        assert_eq!(parse_offsets(".."), range(0, i64::MAX));
        assert_eq!(parse_offsets("7"), range(7, 8));
        for text in ["", "10..5", "5..5", "a..", "-1..", "1...2"] {
            assert!(parse_offsets(text).is_err(), "{text}");
        }
    }

    #[test]
    fn snapshots_are_read() {
        assert_eq!(parse_snapshot("latest"), Ok(Incarnation::Latest));
        assert_eq!(parse_snapshot("v2"), Ok(Incarnation::Version(2)));
        assert_eq!(parse_snapshot("2"), Ok(Incarnation::Version(2)));
        for text in ["", "v", "v0", "newest"] {
            assert!(parse_snapshot(text).is_err(), "{text}");
        }
    }
}
