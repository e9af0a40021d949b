//! `armory groups`

use armory_engine::groups::{self, AppliedGroup, GroupPlan, PlanOptions, SnapshotSummary};
use serde::Serialize;

use crate::args::{ApplyArguments, GroupsArguments, GroupsCommand, SnapshotArguments, Translation};
use crate::exit::Exit;
use crate::format::{count, plural, time};
use crate::output;

pub(super) async fn run(arguments: GroupsArguments) -> anyhow::Result<Exit> {
    match arguments.command {
        GroupsCommand::Snapshot(arguments) => snapshot(arguments).await,
        GroupsCommand::Plan(arguments) => {
            let plan = groups::plan(&options(arguments.translation)).await?;
            output::print(arguments.output, &Plan::from(&plan), Plan::for_people)?;
            Ok(Exit::Done)
        }
        GroupsCommand::Apply(arguments) => apply(arguments).await,
    }
}

fn options(translation: Translation) -> PlanOptions {
    let s3 = translation.s3;
    PlanOptions {
        storage: s3.complete(translation.storage),
        report: translation.report.map(|report| s3.complete(report)),
        restore: translation.restore,
        at: translation.at,
        groups: translation.groups,
    }
}

async fn snapshot(arguments: SnapshotArguments) -> anyhow::Result<Exit> {
    let storage = arguments.s3.complete(arguments.storage);
    let endpoint = arguments.cluster.endpoint();
    let summary = groups::snapshot(&endpoint, &storage, &arguments.groups).await?;
    output::print(arguments.output, &Snapshot::from(summary), |snapshot| {
        let rows = snapshot
            .groups
            .iter()
            .map(|group| [group.group.clone(), count(group.offsets as u64)]);
        let table = output::table(["GROUP", "OFFSETS"], &[1], rows);
        format!(
            "{table}\n{} kept in {}",
            plural(snapshot.groups.len() as u64, "group"),
            snapshot.place
        )
    })?;
    Ok(Exit::Done)
}

async fn apply(arguments: ApplyArguments) -> anyhow::Result<Exit> {
    let plan = groups::plan(&options(arguments.translation)).await?;
    let endpoint = arguments.cluster.endpoint();
    let applied = groups::apply(&plan, &endpoint, arguments.dry_run).await?;
    let applied: Vec<Applied> = applied.into_iter().map(Applied::from).collect();
    output::print(arguments.output, &applied, |applied| {
        let rows = applied.iter().map(|group| {
            [
                group.group.clone(),
                count(group.offsets as u64),
                count(group.replaced as u64),
            ]
        });
        let table = output::table(["GROUP", "OFFSETS", "REPLACED"], &[1, 2], rows);
        let done = if arguments.dry_run {
            "would be committed"
        } else {
            "committed"
        };
        format!("{table}\n{} {done}", plural(applied.len() as u64, "group"))
    })?;
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    place: String,
    taken_at: i64,
    groups: Vec<Kept>,
}

#[derive(Debug, Serialize)]
struct Kept {
    group: String,
    offsets: usize,
}

impl From<SnapshotSummary> for Snapshot {
    fn from(summary: SnapshotSummary) -> Snapshot {
        let kept = |(group, offsets)| Kept { group, offsets };
        Snapshot {
            place: summary.place,
            taken_at: summary.taken_at,
            groups: summary.groups.into_iter().map(kept).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Applied {
    group: String,
    offsets: usize,
    replaced: usize,
}

impl From<AppliedGroup> for Applied {
    fn from(group: AppliedGroup) -> Applied {
        Applied {
            group: group.group,
            offsets: group.offsets,
            replaced: group.replaced,
        }
    }
}

/// A plan, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    restore: String,
    /// Of the snapshot, in ms since the epoch.
    taken_at: i64,
    offsets: Vec<Row>,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    group: String,
    target: String,
    partition: i32,
    offset: i64,
    /// Whether nothing that was read comes again.
    exact: bool,
    sources: Vec<Source>,
}

#[derive(Debug, Serialize)]
struct Source {
    topic: String,
    partition: i32,
    offset: i64,
    note: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Skipped {
    group: String,
    topic: String,
    partition: i32,
    offset: i64,
    reason: String,
}

impl From<&GroupPlan> for Plan {
    fn from(plan: &GroupPlan) -> Plan {
        let offsets = plan.offsets.iter().map(|row| Row {
            group: row.group.clone(),
            target: row.target.clone(),
            partition: row.partition,
            offset: row.offset,
            exact: row.exact,
            sources: row
                .sources
                .iter()
                .map(|source| Source {
                    topic: source.topic.clone(),
                    partition: source.partition,
                    offset: source.offset,
                    note: source.note,
                })
                .collect(),
        });
        let skipped = plan.skipped.iter().map(|skipped| Skipped {
            group: skipped.group.clone(),
            topic: skipped.topic.clone(),
            partition: skipped.partition,
            offset: skipped.offset,
            reason: skipped.reason.clone(),
        });
        Plan {
            restore: plan.restore.clone(),
            taken_at: plan.taken_at,
            offsets: offsets.collect(),
            skipped: skipped.collect(),
        }
    }
}

impl Plan {
    fn for_people(&self) -> String {
        let rows = self.offsets.iter().map(|row| {
            let source = |source: &Source| {
                format!("{}-{} {}", source.topic, source.partition, source.offset)
            };
            let sources: Vec<String> = row.sources.iter().map(source).collect();
            let again = "some records come again";
            let mut notes: Vec<&str> = row
                .sources
                .iter()
                .filter_map(|source| source.note)
                .collect();
            notes.extend((!row.exact).then_some(again));
            [
                row.group.clone(),
                sources.join(", "),
                format!("{}-{}", row.target, row.partition),
                row.offset.to_string(),
                notes.join(", "),
            ]
        });
        let headings = ["GROUP", "FROM", "TO", "OFFSET", "NOTE"];
        let mut text = output::table(headings, &[3], rows);
        for skipped in &self.skipped {
            text.push_str(&format!(
                "\nnot carried over: group {}, {}-{} offset {}: {}",
                skipped.group, skipped.topic, skipped.partition, skipped.offset, skipped.reason
            ));
        }
        text.push_str(&format!(
            "\nby restore {}, from the snapshot of {}",
            self.restore,
            time(self.taken_at)
        ));
        text
    }
}
