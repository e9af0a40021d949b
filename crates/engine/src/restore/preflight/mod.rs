//! Holding a restore against archive and target before anything is written: whether it would start, and what it would do.
//!
//! There is one path: a run goes on where a dry run ends. Whatever is wrong is found at once, each with what to do about it.

mod configs;
mod existing;
mod topics;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use armory_archive::{Archive, ArchiveError};
use armory_kafka::{Client, Metadata, OffsetSpec};
use armory_plugins::{TargetFacts, World};
use armory_resources::job::RestoreJob;
use armory_troubles::Troubles;

use super::checks::{Checks, Name, PreflightReport, Standing};
use super::plan::{self, Plan, TargetPlan};
use super::report::{PluginRecord, Report, ReportPlace, restore_id};
use crate::error::sentence;
use crate::plugins::PluginSet;
use crate::{EngineError, Outlook};

pub(crate) use configs::archived_configs;
pub(crate) use topics::{TargetTopic, create};

/// How long a cluster may take until every broker knows of a new topic, or has elected a leader.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// What a restore works with.
pub(crate) struct Tools {
    pub(crate) job: RestoreJob,
    pub(crate) client: Client,
    pub(crate) archive: Archive,
    pub(crate) plugins: PluginSet,
    pub(crate) reports: ReportPlace,
    /// Where reports are kept if the archive cannot be written.
    pub(crate) fallback: Option<ReportPlace>,
}

impl Tools {
    pub(crate) async fn open(job: RestoreJob, troubles: &Troubles) -> Result<Tools, EngineError> {
        let client = crate::cluster::client(&job.sink, troubles)?;
        let location = crate::storage::location(&job.storage)?.watched(troubles);
        let archive = match Archive::open(location).await {
            Err(error @ ArchiveError::NotAnArchive { .. }) => {
                return Err(EngineError::Preflight {
                    problems: vec![format!(
                        "{error}; name the storage of a backup that has run"
                    )],
                    outlook: Outlook::Refused,
                });
            }
            opened => opened?,
        };
        let plugins = PluginSet::load(&job.plugins, World::Restore).await?;
        let reports = ReportPlace::new(&archive, job.report.as_ref(), troubles)?;
        let fallback = match (&job.report, &job.report_fallback) {
            (None, Some(fallback)) => Some(ReportPlace::new(&archive, Some(fallback), troubles)?),
            _ => None,
        };
        Ok(Tools {
            fallback,
            job,
            client,
            archive,
            plugins,
            reports,
        })
    }

    /// Sees to it that the report can be written, in the archive or where it is to be kept otherwise. Whether the place has changed.
    ///
    /// # Errors
    /// [`EngineError::Preflight`] where the archive cannot be written, and no other place was named.
    pub(crate) async fn settle_reports(&mut self) -> Result<bool, EngineError> {
        let refused = match self.reports.try_writing().await {
            Ok(()) => return Ok(false),
            Err(error) if error.is_about_rights() => error,
            Err(error) => return Err(error.into()),
        };
        let Some(fallback) = self.fallback.take() else {
            let problem = format!(
                "the archive does not take the restore's report: {}; name another place for it with --report \
                 (in Kubernetes a claim, with the annotation io.kannika/report-pvc-name)",
                sentence(&refused)
            );
            return Err(EngineError::Preflight {
                problems: vec![problem],
                outlook: Outlook::Refused,
            });
        };
        tracing::info!(
            "the archive does not take the restore's report, so that it is kept in the other place that was named: {refused}"
        );
        self.reports = fallback;
        Ok(true)
    }

    pub(crate) fn plugin_records(&self) -> Vec<PluginRecord> {
        let record = |plugin: crate::plugins::PluginIdentity| PluginRecord {
            label: plugin.label,
            digest: plugin.digest,
            config: plugin.config,
        };
        self.plugins.identities().into_iter().map(record).collect()
    }

    /// The restore's id, once all targets are there.
    pub(crate) fn id(&self, plan: &Plan, metadata: &Metadata, targets: &[TargetTopic]) -> String {
        let archive = self.archive.id().to_string();
        let cluster = metadata.cluster_id.as_deref();
        restore_id(&archive, plan, cluster, targets, &self.plugin_records())
    }
}

/// What was found.
pub(crate) struct Assessment {
    pub(crate) plan: Plan,
    pub(crate) checks: Checks,
    pub(crate) state: State,
}

/// Where the restore stands.
pub(crate) enum State {
    /// It has a report. What has begun goes on, and what is done is done, whatever became of archive and targets meanwhile.
    Begun {
        id: String,
        targets: Vec<TargetTopic>,
        report: Box<Report>,
        /// Where the report lies.
        place: ReportPlace,
    },
    New(Box<NewRestore>),
}

/// A restore that has not begun.
pub(crate) struct NewRestore {
    pub(crate) metadata: Metadata,
    /// The targets that are there, in the order of the plan.
    pub(crate) found: Vec<Option<TargetTopic>>,
    /// How many partitions each target gets if it is created.
    pub(crate) partitions: Vec<i32>,
    /// Before which timestamp records are left out, because the target would expire them.
    pub(crate) oldest: Vec<Option<i64>>,
    /// Before which timestamp the targets expire records, where the plugin `topic-retention` asks.
    pub(crate) expires_before: Vec<Option<i64>>,
    /// Where the partitions end of the targets that are there.
    pub(crate) ends: BTreeMap<(String, i32), i64>,
    /// Its id and empty report, where all targets are there.
    pub(crate) report: Option<(String, Report)>,
}

/// What a dry run tells.
pub(crate) async fn report(job: RestoreJob) -> Result<PreflightReport, EngineError> {
    let assessed = async {
        let tools = Tools::open(job, &Troubles::default()).await?;
        assess(&tools).await
    };
    let Assessment {
        plan,
        checks,
        state,
    } = match assessed.await {
        Ok(assessment) => assessment,
        Err(EngineError::Kafka(error)) => {
            let mut checks = Checks::default();
            let remedy = "see to the cluster, and to bootstrap.servers and the credentials";
            checks.refuse(Name::Reachable, "", sentence(&error), remedy);
            return Ok(PreflightReport {
                id: None,
                standing: Standing::New,
                topics: Vec::new(),
                checks: checks.into_vec(),
            });
        }
        Err(error) => return Err(error),
    };
    let (id, standing) = match state {
        State::Begun { id, report, .. } if report.is_done() => (Some(id), Standing::Done),
        State::Begun { id, .. } => (Some(id), Standing::Begun),
        State::New(new) => (new.report.as_ref().map(|(id, _)| id.clone()), Standing::New),
    };
    Ok(PreflightReport {
        id,
        standing,
        topics: plan.amounts(),
        checks: checks.into_vec(),
    })
}

/// Looks at everything that can be looked at without writing.
pub(crate) async fn assess(tools: &Tools) -> Result<Assessment, EngineError> {
    let mut backoff = armory_kafka::Backoff::default();
    let deadline = Instant::now() + SETTLES_WITHIN;
    loop {
        match look(tools).await {
            // A run that was killed had just created it, and the metadata does not show it yet; or an answer was lost.
            Err(EngineError::Kafka(error))
                if topics::may_exist(&error) && Instant::now() < deadline =>
            {
                tokio::time::sleep(backoff.next_delay()).await;
            }
            outcome => return outcome,
        }
    }
}

async fn look(tools: &Tools) -> Result<Assessment, EngineError> {
    let Tools { job, client, .. } = tools;
    let mut checks = Checks::default();
    let mut plan = plan::read(&tools.archive, job, &mut checks).await?;
    let metadata = topics::settled(client, &plan, false).await?;
    let cluster = metadata.cluster_id.clone().unwrap_or_default();
    let endpoint = job.sink.bootstrap_servers();
    let found = format!("cluster {cluster} answers at {endpoint}");
    checks.pass(Name::Reachable, "", found);
    let found = topics::describe(client, job, &plan, &metadata).await?;

    let mut report = None;
    if !checks.is_refused()
        && let Some(targets) = found.iter().cloned().collect::<Option<Vec<_>>>()
    {
        let id = tools.id(&plan, &metadata, &targets);
        // An earlier run may have had to take the other place.
        for place in tools.fallback.iter().chain([&tools.reports]) {
            let opened = Report::open(place, &id).await?;
            if opened.begin().is_some() {
                let state = State::Begun {
                    id,
                    targets,
                    report: Box::new(opened),
                    place: place.clone(),
                };
                return Ok(Assessment {
                    plan,
                    checks,
                    state,
                });
            }
            report = Some((id.clone(), opened));
        }
    }

    let mut oldest = vec![None; plan.targets.len()];
    if job.apply_target_retention {
        for (index, found) in found.iter().enumerate() {
            let target = &plan.targets[index];
            let cutoff = configs::expires_before(client, &plan, target, found.as_ref()).await?;
            oldest[index] = cutoff;
            if let Some(cutoff) = cutoff {
                plan.leave_out_before(index, cutoff);
            }
        }
    }
    let mut expires_before = vec![None; plan.targets.len()];
    for (index, target) in plan.targets.iter().enumerate() {
        if tools.plugins.applies_retention(&target.name) {
            let found = found[index].as_ref();
            expires_before[index] = configs::expires_before(client, &plan, target, found).await?;
        }
    }
    let mut partitions = Vec::with_capacity(plan.targets.len());
    for target in &plan.targets {
        partitions.push(requirement(&plan, target, &tools.plugins, &mut checks).await?);
    }
    let may_write = match found.iter().any(Option::is_some) {
        true => client.may_write(&topics::names(&plan)).await?,
        false => BTreeMap::new(),
    };
    let ends = offsets(client, &found).await?;
    for (index, target) in plan.targets.iter().enumerate() {
        let Some(topic) = &found[index] else {
            topics::check_missing(
                client,
                job,
                &plan,
                target,
                partitions[index].create,
                &mut checks,
            )
            .await?;
            continue;
        };
        let check = existing::Existing {
            plan: &plan,
            target,
            topic,
            job,
            leaves_out_expired: job.apply_target_retention
                || tools.plugins.applies_retention(&target.name),
            minimum: partitions[index].minimum,
            may_write: may_write.get(&target.name).copied(),
            ends: &ends,
        };
        check.check(&mut checks);
    }
    let ends = ends
        .into_iter()
        .filter_map(|(name, range)| Some((name, range?.1)))
        .collect();
    Ok(Assessment {
        plan,
        checks,
        state: State::New(Box::new(NewRestore {
            metadata,
            found,
            partitions: partitions.iter().map(|needs| needs.create).collect(),
            oldest,
            expires_before,
            ends,
            report,
        })),
    })
}

/// How many partitions a target needs.
#[derive(Debug, Clone, Copy)]
struct Requirement {
    /// At the least.
    minimum: i32,
    /// If it is created.
    create: i32,
}

/// What the archive has of its sources, or what the plugins ask for.
async fn requirement(
    plan: &Plan,
    target: &TargetPlan,
    plugins: &PluginSet,
    checks: &mut Checks,
) -> Result<Requirement, EngineError> {
    let mut all = Requirement {
        minimum: 1,
        create: 1,
    };
    for topic in plan.members(target) {
        let archived = topic.partition_count.max(1);
        let needs = match plugins.restore_chain(
            &topic.mapping.source,
            &target.name,
            TargetFacts::default(),
        ) {
            None => {
                let selected = topic.partitions.iter().map(|partition| partition.index + 1);
                let selected = match topic.mapping.partitions {
                    Some(_) => selected.max().unwrap_or(1),
                    None => archived,
                };
                Requirement {
                    minimum: selected,
                    create: archived,
                }
            }
            Some(chain) => {
                let count = u64::from(archived.unsigned_abs());
                let wanted = tokio::task::spawn_blocking(move || chain.requirements(count))
                    .await?
                    .map_err(|source| EngineError::Plugin {
                        topic: target.name.clone(),
                        source,
                    })?;
                let valid = i32::try_from(wanted).ok().filter(|wanted| *wanted >= 1);
                if valid.is_none() {
                    checks.refuse(
                        Name::Partitions,
                        &target.name,
                        format!("the plugins ask for {wanted} partitions"),
                        format!("Kafka has topics of 1 to {} partitions", i32::MAX),
                    );
                }
                let wanted = valid.unwrap_or(1);
                Requirement {
                    minimum: wanted,
                    create: wanted,
                }
            }
        };
        all.minimum = all.minimum.max(needs.minimum);
        all.create = all.create.max(needs.create);
    }
    Ok(all)
}

/// Start and end of every partition of the targets that are there; nothing for one whose leader does not answer.
type Ends = BTreeMap<(String, i32), Option<(i64, i64)>>;

async fn offsets(client: &Client, found: &[Option<TargetTopic>]) -> Result<Ends, EngineError> {
    let targets = found.iter().flatten();
    let partitions: Vec<(String, i32)> = targets
        .flat_map(|target| {
            let partitions = target.meta.partitions.iter();
            partitions.map(|partition| (target.meta.name.clone(), partition.index))
        })
        .collect();
    if partitions.is_empty() {
        return Ok(Ends::new());
    }
    let starts = client
        .list_offsets(&partitions, OffsetSpec::Earliest)
        .await?;
    let ends = client.list_offsets(&partitions, OffsetSpec::Latest).await?;
    let range = |name: &(String, i32)| match (starts.get(name), ends.get(name)) {
        (Some(Ok(start)), Some(Ok(end))) => Some((start.offset, end.offset)),
        _ => None,
    };
    let ranges = partitions.into_iter().map(|name| {
        let range = range(&name);
        (name, range)
    });
    Ok(ranges.collect())
}

/// Where the partitions of targets end that were just created.
pub(crate) async fn ends_of_created(
    client: &Client,
    targets: &[TargetTopic],
) -> Result<BTreeMap<(String, i32), i64>, EngineError> {
    let targets: Vec<Option<TargetTopic>> = targets.iter().cloned().map(Some).collect();
    let mut ends = BTreeMap::new();
    for (name, range) in offsets(client, &targets).await? {
        match range {
            Some((start, end)) if start == end => {
                ends.insert(name, end);
            }
            _ => {
                return Err(EngineError::Preflight {
                    problems: vec![format!(
                        "the target {}-{} was just created, and somebody has written to it, or its leader does not answer; restore into another topic",
                        name.0, name.1
                    )],
                    // Looked at anew, it is clear which of the two it is.
                    outlook: Outlook::Passing,
                });
            }
        }
    }
    Ok(ends)
}

pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond() + armory_failpoints::clock_shift_ms()
}
