//! The target topics: finding, describing and creating them.

use std::collections::BTreeMap;
use std::time::Instant;

use armory_kafka::{
    BrokerName, Client, CreatedTopic, ErrorCode, Metadata, NewTopic, TopicFilter, TopicMetadata,
};
use armory_resources::job::RestoreJob;

use super::super::checks::{Checks, Name};
use super::super::plan::{Plan, TargetPlan};
use super::configs::{self, DEFAULT_MAX_MESSAGE_BYTES, TimestampLimits};
use super::{NewRestore, SETTLES_WITHIN};
use crate::error::sentence;
use crate::{EngineError, Outlook};

/// A target as it stands.
#[derive(Debug, Clone)]
pub(crate) struct TargetTopic {
    pub(crate) meta: TopicMetadata,
    pub(crate) max_message_bytes: usize,
    /// Whether this restore created it: its configuration is the one that a target is created with.
    pub(crate) created: bool,
    /// The configuration that holds for it, by default or not.
    pub(crate) values: BTreeMap<String, String>,
    /// What was set on the topic itself.
    pub(crate) own: BTreeMap<String, String>,
}

impl TargetTopic {
    /// A setting that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.values.get(name)?.parse().ok()
    }

    /// How many replicas the partition with the fewest has.
    pub(crate) fn fewest_replicas(&self) -> Option<usize> {
        let partitions = self.meta.partitions.iter();
        partitions.map(|partition| partition.replicas).min()
    }
}

pub(super) fn names(plan: &Plan) -> Vec<String> {
    let names = plan.targets.iter().map(|target| target.name.clone());
    names.collect()
}

fn find<'a>(metadata: &'a Metadata, name: &str) -> Option<&'a TopicMetadata> {
    let mut topics = metadata.topics.iter();
    topics.find(|topic| topic.name == name && topic.error.is_none())
}

/// Metadata of the targets. A new topic takes a moment to be there, and a partition to have a leader: both are waited for, the
/// first only where `all` are to be there.
pub(super) async fn settled(
    client: &Client,
    plan: &Plan,
    all: bool,
) -> Result<Metadata, EngineError> {
    let names = names(plan);
    let mut backoff = armory_kafka::Backoff::default();
    let deadline = Instant::now() + SETTLES_WITHIN;
    loop {
        let metadata = client.metadata(TopicFilter::Names(&names)).await?;
        // To somebody without the right to see it, a topic that is not there looks the same as one that is.
        for topic in &metadata.topics {
            if let Some(code) = topic.error.filter(|code| code.is_about_rights()) {
                let broker = BrokerName::default();
                return Err(client
                    .refusal(broker, "Metadata", &topic.name, -1, code)
                    .into());
            }
        }
        let is_settled = |name: &String| match find(&metadata, name) {
            Some(topic) => topic
                .partitions
                .iter()
                .all(|partition| partition.leader.is_some()),
            None => !all,
        };
        if names.iter().all(is_settled) || Instant::now() > deadline {
            return Ok(metadata);
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// The targets that are there.
pub(super) async fn describe(
    client: &Client,
    job: &RestoreJob,
    plan: &Plan,
    metadata: &Metadata,
) -> Result<Vec<Option<TargetTopic>>, EngineError> {
    let mut names = names(plan);
    names.retain(|name| find(metadata, name).is_some());
    let mut described = match names.is_empty() {
        true => BTreeMap::new(),
        false => client.describe_topic_configs(&names).await?,
    };
    let describe = |target: &TargetPlan| {
        let meta = find(metadata, &target.name)?.clone();
        let entries = described.remove(&target.name)?;
        let of = |own: bool| -> BTreeMap<String, String> {
            entries
                .iter()
                .filter(|(_, entry)| !(own && entry.is_default))
                .filter_map(|(key, entry)| Some((key.clone(), entry.value.clone()?)))
                .collect()
        };
        let (values, own) = (of(false), of(true));
        // Not only by this run: one that was killed before it could begin its report has created it just so.
        let is_ours = |limits| own == configs::safe(plan, target, limits);
        let max = values
            .get("max.message.bytes")
            .and_then(|max| max.parse().ok());
        Some(TargetTopic {
            meta,
            max_message_bytes: max.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES),
            created: job.create_topics && TimestampLimits::ALL.into_iter().any(is_ours),
            values,
            own,
        })
    };
    Ok(plan.targets.iter().map(describe).collect())
}

fn new_topic(
    plan: &Plan,
    target: &TargetPlan,
    partitions: i32,
    limits: TimestampLimits,
) -> NewTopic {
    NewTopic {
        name: target.name.clone(),
        partitions,
        replication_factor: None,
        configs: configs::safe(plan, target, limits),
    }
}

/// Creates a topic, or tries whether it could be, with what its broker knows.
async fn create_one(
    client: &Client,
    plan: &Plan,
    target: &TargetPlan,
    partitions: i32,
    validate_only: bool,
) -> Result<Option<CreatedTopic>, armory_kafka::Error> {
    let [newest, older] =
        TimestampLimits::ALL.map(|limits| [new_topic(plan, target, partitions, limits)]);
    let created = match client.create_topics(&newest, validate_only).await {
        Err(error) if error.code() == Some(ErrorCode::INVALID_CONFIG) => {
            match client.create_topics(&older, validate_only).await {
                // Then it was something else that the broker does not take.
                Err(second) if second.code() == Some(ErrorCode::INVALID_CONFIG) => Err(error),
                outcome => outcome,
            }
        }
        outcome => outcome,
    };
    Ok(created?.pop())
}

/// Whether a topic may be there although creating it did not succeed: it is, or the answer was lost.
pub(super) fn may_exist(error: &armory_kafka::Error) -> bool {
    error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS)
        || (error.is_retriable() && !error.is_certain())
}

/// Whether a target that is not there can be created.
pub(super) async fn check_missing(
    client: &Client,
    job: &RestoreJob,
    plan: &Plan,
    target: &TargetPlan,
    partitions: i32,
    checks: &mut Checks,
) -> Result<(), EngineError> {
    let name = &target.name;
    let unchecked = plan
        .members(target)
        .any(|topic| topic.mapping.disable_preflight);
    let missing = format!("the target topic {name} does not exist");
    if unchecked {
        let remedy = "create it; nothing is created for a topic with disablePreflightChecks";
        checks.refuse(Name::Target, name, missing, remedy);
        return Ok(());
    }
    if !job.create_topics {
        let remedy = "create it, or let the restore create it with --create-topics";
        checks.refuse(Name::Target, name, missing, remedy);
        return Ok(());
    }
    match create_one(client, plan, target, partitions, true).await {
        Ok(tried) => {
            checks.pass(
                Name::Target,
                name,
                format!("it does not exist, and is created with {partitions} partitions"),
            );
            if let Some(tried) = tried {
                check_new_replicas(name, &tried, checks);
            }
            Ok(())
        }
        Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => Err(error.into()),
        Err(error) if error.code().is_some() && !error.is_retriable() => {
            checks.refuse(
                Name::Target,
                name,
                format!(
                    "the target topic {name} cannot be created: {}",
                    sentence(&error)
                ),
                "create it yourself, or see to the cluster's policy and your rights",
            );
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn check_new_replicas(name: &str, tried: &CreatedTopic, checks: &mut Checks) {
    let needed = tried
        .configs
        .get("min.insync.replicas")
        .and_then(|value| value.parse::<i16>().ok());
    if let (Some(replicas), Some(needed)) = (tried.replication_factor, needed)
        && needed > replicas
    {
        checks.refuse(
            Name::Replicas,
            name,
            format!("the cluster would create {name} with {replicas} replicas, and acknowledges a write only when {needed} have it (min.insync.replicas)"),
            "see to the cluster's default.replication.factor and min.insync.replicas, or create the topic yourself",
        );
    }
}

/// Creates the targets that are missing, and describes all of them.
pub(crate) async fn create(
    client: &Client,
    job: &RestoreJob,
    plan: &Plan,
    new: &NewRestore,
) -> Result<(Metadata, Vec<TargetTopic>), EngineError> {
    let mut is_ours = vec![false; plan.targets.len()];
    for (index, target) in plan.targets.iter().enumerate() {
        if new.found[index].is_some() {
            continue;
        }
        match create_one(client, plan, target, new.partitions[index], false).await {
            // Whether it is there, and as it should be, is looked at below.
            Err(error) if may_exist(&error) => {}
            outcome => is_ours[index] = outcome.map(|_| true)?,
        }
    }
    let metadata = settled(client, plan, true).await?;
    let mut targets = describe(client, job, plan, &metadata).await?;
    for (found, is_ours) in targets.iter_mut().zip(is_ours) {
        // Some brokers tell more settings than they were given.
        if let Some(topic) = found {
            topic.created |= is_ours;
        }
    }
    let mut problems = Vec::new();
    for ((target, found), before) in plan.targets.iter().zip(&targets).zip(&new.found) {
        let name = &target.name;
        let Some(topic) = found else {
            problems.push(format!("the target topic {name} was created, and is not there yet; run the same restore again"));
            continue;
        };
        let mut partitions = topic.meta.partitions.iter();
        if partitions.any(|partition| partition.leader.is_none()) {
            problems.push(format!(
                "the target topic {name} has partitions without a leader; see to its brokers"
            ));
        }
        if before.is_none() && !topic.created {
            problems.push(format!("somebody else has created the target topic {name} meanwhile; run the same restore again"));
        }
    }
    match targets.into_iter().collect() {
        Some(targets) if problems.is_empty() => Ok((metadata, targets)),
        _ => Err(EngineError::Preflight {
            problems,
            outlook: Outlook::Passing,
        }),
    }
}
