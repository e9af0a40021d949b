//! Committing translated offsets to the target cluster.

use std::collections::{BTreeMap, BTreeSet};

use armory_kafka::{Client, GroupListing, Metadata, OffsetToCommit, TopicFilter};
use armory_resources::job::KafkaEndpoint;
use armory_troubles::Troubles;

use super::translate::GroupPlan;
use crate::EngineError;

/// A group whose offsets were committed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedGroup {
    /// The group.
    pub group: String,
    /// How many offsets.
    pub offsets: usize,
    /// How many of them it had before, with another value.
    pub replaced: usize,
}

/// Commits the offsets of a plan to the cluster that was restored into; with `dry_run` only looks whether that could be done.
///
/// # Errors
/// [`EngineError::Groups`] before anything is committed: it is another cluster, a topic was created again since, or a group has
/// members, which are named.
pub async fn apply(
    plan: &GroupPlan,
    target: &KafkaEndpoint,
    dry_run: bool,
) -> Result<Vec<AppliedGroup>, EngineError> {
    let client = crate::cluster::client(target, &Troubles::default())?;
    let names: BTreeSet<String> = plan.offsets.iter().map(|row| row.target.clone()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let metadata = client.metadata(TopicFilter::Names(&names)).await?;
    let mut problems = other_topics(plan, &metadata);

    let mut groups: BTreeMap<&str, Vec<OffsetToCommit>> = BTreeMap::new();
    for row in &plan.offsets {
        groups.entry(&row.group).or_default().push(OffsetToCommit {
            topic: row.target.clone(),
            partition: row.partition,
            offset: row.offset,
            metadata: row.metadata.clone(),
        });
    }
    problems.extend(in_use(&client, groups.keys().copied()).await?);
    if !problems.is_empty() {
        return Err(EngineError::Groups { problems });
    }

    let mut applied = Vec::new();
    for (group, offsets) in groups {
        let before = client.committed_offsets(group).await?;
        let replaced = offsets.iter().filter(|new| {
            let old = before.get(&(new.topic.clone(), new.partition));
            old.is_some_and(|old| old.offset != new.offset)
        });
        applied.push(AppliedGroup {
            group: group.to_owned(),
            offsets: offsets.len(),
            replaced: replaced.count(),
        });
        if !dry_run {
            client.commit_offsets(group, &offsets).await?;
        }
    }
    Ok(applied)
}

/// Where cluster and topics are not those that were restored into.
fn other_topics(plan: &GroupPlan, metadata: &Metadata) -> Vec<String> {
    if plan.target_cluster.is_some() && plan.target_cluster != metadata.cluster_id {
        let id = |id: &Option<String>| id.clone().unwrap_or_else(|| "without an id".to_owned());
        return vec![format!(
            "restore {} went to the cluster {}, and this is {}; name the brokers of the other one",
            plan.restore,
            id(&plan.target_cluster),
            id(&metadata.cluster_id)
        )];
    }
    let mut problems = Vec::new();
    for (name, id) in &plan.target_ids {
        let mut topics = metadata.topics.iter();
        match topics.find(|topic| topic.name == *name && topic.error.is_none()) {
            None if plan.offsets.iter().all(|row| row.target != *name) => {}
            None => problems.push(format!("the topic {name} is not there; restore it first")),
            Some(topic) if id.is_some() && topic.id.map(|id| id.to_string()) != *id => {
                problems.push(format!(
                    "the topic {name} was created again since it was restored; restore it anew"
                ));
            }
            Some(_) => {}
        }
    }
    problems
}

/// Groups with members: they would be refused by the broker, or their members go on from where they are.
async fn in_use(
    client: &Client,
    groups: impl Iterator<Item = &str>,
) -> Result<Vec<String>, EngineError> {
    let listed = client.list_groups().await?;
    let mut problems = Vec::new();
    for group in groups {
        let known = listed.iter().find(|listing| listing.group == group);
        let listing = known.cloned().unwrap_or_else(|| GroupListing {
            group: group.to_owned(),
            protocol_type: String::new(),
            is_new_protocol: false,
        });
        let state = client.describe_group(&listing).await?;
        if state.members.is_empty() {
            continue;
        }
        let members: Vec<String> = state
            .members
            .iter()
            .map(|member| format!("{} at {} ({})", member.client, member.host, member.member))
            .collect();
        problems.push(format!(
            "group {group} is in use ({}): {}; stop its members",
            state.state,
            members.join(", ")
        ));
    }
    Ok(problems)
}
