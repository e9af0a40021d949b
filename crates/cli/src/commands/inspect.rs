//! `armory inspect`

use std::fmt::Write as _;

use super::view::{ArchiveView, IncarnationView, LineageView, PartitionView, Totals};
use super::{find_topic, open, view};
use crate::args::InspectArguments;
use crate::exit::Exit;
use crate::format::{count, size, time};
use crate::output;

pub(super) async fn run(arguments: InspectArguments) -> anyhow::Result<Exit> {
    let archive = open(arguments.storage, &arguments.s3).await?;
    let mut topics = archive.topics().await?;
    if let Some(name) = &arguments.topic {
        topics = vec![find_topic(topics, name)?];
    }
    let view = view::gather(&archive, topics, arguments.gaps).await?;
    output::print(arguments.output, &view, |view| match arguments.topic {
        Some(_) => topics_in_detail(view),
        None => all_topics(view),
    })?;
    Ok(Exit::Done)
}

fn all_topics(view: &ArchiveView) -> String {
    let mut text = format!("archive {} at {}\n", view.id, view.location);
    let rows: Vec<[String; 9]> = view
        .topics
        .iter()
        .flat_map(|topic| {
            topic
                .snapshots
                .iter()
                .map(move |snapshot| (topic, snapshot))
        })
        .map(|(topic, snapshot)| {
            let totals = &snapshot.totals;
            let (from, to) = times(totals);
            [
                topic.topic.clone(),
                snapshot.version.clone(),
                count(snapshot.partitions.len() as u64),
                count(totals.records),
                from,
                to,
                size(totals.raw_bytes),
                size(totals.stored_bytes),
                count(missing(totals)),
            ]
        })
        .collect();
    if rows.is_empty() {
        text.push_str("it holds no topic yet\n");
        return text;
    }
    let headings = [
        "TOPIC",
        "VERSION",
        "PARTITIONS",
        "RECORDS",
        "FROM",
        "TO",
        "BATCHES",
        "STORED",
        "MISSING",
    ];
    text.push('\n');
    text.push_str(&output::table(headings, &[2, 3, 6, 7, 8], rows));
    text
}

fn topics_in_detail(view: &ArchiveView) -> String {
    let mut text = String::new();
    for topic in &view.topics {
        for snapshot in &topic.snapshots {
            if !text.is_empty() {
                text.push('\n');
            }
            incarnation(&mut text, &topic.topic, snapshot);
        }
    }
    text
}

fn incarnation(text: &mut String, topic: &str, snapshot: &IncarnationView) {
    let _ = writeln!(text, "{topic} {}", snapshot.version);
    let cluster = snapshot.cluster_id.as_deref().unwrap_or("unknown");
    let _ = writeln!(text, "  topic id     {}", snapshot.topic_id);
    let _ = writeln!(text, "  cluster      {cluster}");
    let _ = writeln!(text, "  first seen   {}", time(snapshot.first_seen));
    let _ = writeln!(
        text,
        "  partitions   {} at the source",
        snapshot.source_partitions
    );
    for (name, value) in &snapshot.configs {
        let _ = writeln!(text, "  config       {name}={value}");
    }
    let rows = snapshot
        .lineages()
        .map(|(partition, lineage)| row(partition, lineage));
    let headings = [
        "PARTITION",
        "LINEAGE",
        "OFFSETS",
        "RECORDS",
        "FROM",
        "TO",
        "SEGMENTS",
        "BATCHES",
        "STORED",
        "MISSING",
    ];
    text.push('\n');
    text.push_str(&output::table(headings, &[0, 1, 2, 3, 6, 7, 8, 9], rows));
    let gaps: Vec<String> = snapshot
        .lineages()
        .flat_map(|(partition, lineage)| gap_lines(partition, lineage))
        .collect();
    if !gaps.is_empty() {
        let _ = writeln!(text, "\nmissing offsets:");
        text.push_str(&gaps.concat());
    }
}

fn row(partition: &PartitionView, lineage: &LineageView) -> [String; 10] {
    let totals = &lineage.totals;
    let (from, to) = times(totals);
    let open = if totals.open_segments > 0 {
        " (1 open)"
    } else {
        ""
    };
    [
        partition.partition.to_string(),
        lineage.lineage.to_string(),
        format!("{}..{}", lineage.first_offset, lineage.next_offset),
        count(totals.records),
        from,
        to,
        format!("{}{open}", count(totals.segments)),
        size(totals.raw_bytes),
        size(totals.stored_bytes),
        count(missing(totals)),
    ]
}

/// Each gap where they were asked for, else the number of offsets by cause.
fn gap_lines(partition: &PartitionView, lineage: &LineageView) -> Vec<String> {
    let place = format!(
        "  partition {} lineage {}",
        partition.partition, lineage.lineage
    );
    match &lineage.gaps {
        Some(gaps) => gaps
            .iter()
            .map(|gap| {
                format!(
                    "{place}: {}..{} {}\n",
                    gap.first_offset, gap.end_offset, gap.cause
                )
            })
            .collect(),
        None => lineage
            .totals
            .missing_offsets
            .iter()
            .map(|(cause, offsets)| format!("{place}: {} {cause}\n", count(*offsets)))
            .collect(),
    }
}

fn missing(totals: &Totals) -> u64 {
    totals.missing_offsets.values().sum()
}

/// From and to; a `~` says that a record may be older than the headers of the batches tell.
fn times(totals: &Totals) -> (String, String) {
    match totals.timestamps {
        Some(range) => {
            let about = if range.min_exact { "" } else { "~" };
            (format!("{about}{}", time(range.min)), time(range.max))
        }
        None => ("-".to_owned(), "-".to_owned()),
    }
}
