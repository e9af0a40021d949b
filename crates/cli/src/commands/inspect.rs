//! `armory inspect`

use std::fmt::Write as _;

use super::view::{ArchiveView, IncarnationView, LineageView, PartitionView, Totals};
use super::{find_topic, open_damaged, view};
use crate::args::InspectArguments;
use crate::exit::Exit;
use crate::format::{count, plural, size, time};
use crate::output;

pub(super) async fn run(arguments: InspectArguments) -> anyhow::Result<Exit> {
    let (archive, found) = open_damaged(arguments.storage, &arguments.s3).await?;
    let wanted = arguments.topic.as_deref();
    let topics = archive
        .survey_topics(|name| wanted.is_none_or(|wanted| wanted == name))
        .await?;
    if let Some(name) = wanted.filter(|_| topics.is_empty()) {
        find_topic(archive.topics().await?, name)?;
    }
    let view = view::gather(&archive, topics, found, arguments.gaps).await?;
    output::print(arguments.output, &view, |view| {
        let text = match arguments.topic {
            Some(_) => topics_in_detail(view),
            None => all_topics(view),
        };
        text + &damage(view)
    })?;
    Ok(match view.damage.is_empty() {
        true => Exit::Done,
        false => Exit::Damage,
    })
}

/// What cannot be read, each with its remedy.
fn damage(view: &ArchiveView) -> String {
    if view.damage.is_empty() {
        return String::new();
    }
    let mut text =
        "\nwhat is shown above is what can be read; armory verify --deep tells the whole extent:\n"
            .to_owned();
    for finding in &view.damage {
        let _ = writeln!(text, "  {}", finding.line_with_remedy());
    }
    text
}

/// A mark for what is not whole.
fn marked(text: String, damaged: bool) -> String {
    match damaged {
        true => text + " (damaged)",
        false => text,
    }
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
                marked(snapshot.version.clone(), snapshot.damaged),
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
    let first_seen = snapshot.first_seen.map_or("unknown".to_owned(), time);
    let _ = writeln!(text, "  first seen   {first_seen}");
    let _ = writeln!(
        text,
        "  partitions   {} at the source",
        snapshot
            .source_partitions
            .map_or("unknown".to_owned(), |count| count.to_string())
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
    let letters: Vec<String> = snapshot
        .lineages()
        .filter(|(_, lineage)| lineage.totals.dead_letters > 0)
        .map(|(partition, lineage)| {
            format!(
                "  {}: {}\n",
                lineage_name(partition, lineage),
                plural(lineage.totals.dead_letters, "dead letter")
            )
        })
        .collect();
    if !letters.is_empty() {
        let _ = writeln!(text, "\nput aside (armory cat --dead-letters):");
        text.push_str(&letters.concat());
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
        marked(lineage.lineage.to_string(), lineage.damaged),
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

fn lineage_name(partition: &PartitionView, lineage: &LineageView) -> String {
    format!(
        "partition {} lineage {}",
        partition.partition, lineage.lineage
    )
}

/// Each gap where they were asked for, else the number of offsets by cause.
fn gap_lines(partition: &PartitionView, lineage: &LineageView) -> Vec<String> {
    let place = format!("  {}", lineage_name(partition, lineage));
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
