//! `armory restore`

use armory_resources::job::{StorageLocation, TopicMapping};
use armory_resources::scalar::{check_topic_name, parse_size};
use clap::Args;

use super::connect::{Documents, KafkaFlags, MetricsFlag, StorageFlags, parse_storage};
use super::plugin::{PluginFlag, parse_plugin};
use crate::output::Format;

/// Put archived topics back into a cluster
///
/// Every record lands once, in its partition, with key, value, headers and timestamp as it was. A restore that was
/// interrupted is run again with the same options, and goes on after what has landed.
///
/// What to do is said by YAML documents (-f), as in Kubernetes, or by options. Ranges of offsets and times, and older
/// snapshots, are in the documents.
#[derive(Debug, Args)]
#[command(
    override_usage = "armory restore -f <FILE>... [--claim <NAME=DIR>]... [--secret <NAME/KEY=PATH>]... [OPTIONS]\n       \
        armory restore --job <FILE> [OPTIONS]\n       \
        armory restore --storage <URL> --bootstrap-server <HOST:PORT> --topic <SOURCE[=TARGET]>... [OPTIONS]",
    after_long_help = "\
Examples:
  One topic under its own name, created if it is not there:
    armory restore --storage ./archive --bootstrap-server localhost:9092 --topic orders --create-topics

  Two topics under other names, from a bucket:
    armory restore --storage s3://backups/kafka --bootstrap-server localhost:9092 \\
        --topic orders=orders-copy --topic customers=customers-copy

  What it would do, without doing it:
    armory restore --storage ./archive --bootstrap-server localhost:9092 --topic orders=orders-copy --dry-run

  What a plugin failed on, when it is stored after all:
    armory restore --storage ./archive --bootstrap-server localhost:9092 --topic orders --dead-letters

  As documents say:
    armory restore -f restore.yaml --claim archive=./archive"
)]
pub(crate) struct RestoreArguments {
    #[command(flatten)]
    pub(crate) documents: Documents,

    /// Where the archive lies: a folder, s3://bucket/prefix, gs://bucket/prefix or az://account/container/directory
    #[arg(long, value_name = "URL", value_parser = parse_storage, required_unless_present_any = ["files", "job"])]
    pub(crate) storage: Option<StorageLocation>,

    #[command(flatten)]
    pub(crate) kafka: KafkaFlags,

    /// A topic of the archive, and the topic to write where that has another name; may be given several times, also with one
    /// topic to write
    #[arg(
        long = "topic",
        id = "topic",
        value_name = "SOURCE[=TARGET]",
        value_parser = parse_topic,
        required_unless_present_any = ["files", "job"]
    )]
    pub(crate) topics: Vec<TopicFlag>,

    /// Create target topics that are not there, with the partitions and configuration of the archive. With -f they
    /// always are
    #[arg(long, conflicts_with_all = ["files", "job"])]
    pub(crate) create_topics: bool,

    /// A plugin that every record passes, with its configuration; several run in the order given
    #[arg(long, value_name = "FILE[,config=FILE]", value_parser = parse_plugin)]
    pub(crate) plugin: Vec<PluginFlag>,

    /// Write into topics whose configuration would expire, compact or change what is restored
    #[arg(long)]
    pub(crate) allow_expiry: bool,

    /// Put back what plugins failed on during backups and what was put aside (`deadLetter`), and not the records of the topics. The target
    /// may hold records; nobody else may write to it meanwhile
    #[arg(long)]
    pub(crate) dead_letters: bool,

    /// Look at everything and write nothing: what would be restored, and whether it would start (exit code 0, or 4 if it would be
    /// refused)
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Where the restore's report is kept, if not in the archive: for archives that cannot be written
    #[arg(long, value_name = "URL", value_parser = parse_storage)]
    pub(crate) report: Option<StorageLocation>,

    /// Where the restore's report is kept if the archive does not let itself be written. Give it again to go on
    #[arg(long, value_name = "URL", value_parser = parse_storage, conflicts_with = "report")]
    pub(crate) report_fallback: Option<StorageLocation>,

    /// Memory for data in flight [default: half of what the control group may have (at most 2GiB), 256MiB where it has no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,

    /// How the summary at the end, or the findings of a dry run, are printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) metrics: MetricsFlag,

    #[command(flatten)]
    pub(crate) s3: StorageFlags,
}

/// `--topic SOURCE[=TARGET]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicFlag(pub(crate) TopicMapping);

fn parse_topic(text: &str) -> Result<TopicFlag, String> {
    let (source, target) = text.split_once('=').unwrap_or((text, text));
    check_topic_name(source)?;
    check_topic_name(target)?;
    Ok(TopicFlag(TopicMapping::new(source, target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read() {
        assert_eq!(parse_topic("a"), Ok(TopicFlag(TopicMapping::new("a", "a"))));
        assert_eq!(
            parse_topic("a=b"),
            Ok(TopicFlag(TopicMapping::new("a", "b")))
        );
        for text in ["", "a=", "=b", "a=b=c", "a b"] {
            assert!(parse_topic(text).is_err(), "{text}");
        }
    }
}
