//! Consumer groups, seen from outside: which there are, who is in them, and their committed offsets.
//!
//! A group's coordinator is asked for anew with every call, and the call is tried again while it moves or loads.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId,
    ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::client::calls::{ask, check};
use crate::connection::Connection;
use crate::metadata::topic_name;
use crate::{Client, Error, ErrorCode, TopicFilter};

/// `org.apache.kafka.common.requests.FindCoordinatorRequest.CoordinatorType.GROUP`.
const GROUP: i8 = 0;
/// What a commit from outside a group carries instead of a generation.
const NO_GENERATION: i32 = -1;

/// A consumer group of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// `consumer`, or `connect` and the like; empty for one that only commits offsets.
    pub protocol_type: String,
    /// Whether it uses the protocol of KIP-848 (`group.protocol=consumer`).
    pub is_new_protocol: bool,
}

/// Who is in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// `Empty`, `Stable`, `Dead` (there is none of that name) and so on, as the broker says it.
    pub state: String,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the broker gave it.
    pub member: String,
    /// What it calls itself (`client.id`).
    pub client: String,
    /// Where it connects from.
    pub host: String,
}

/// Where a group stands in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the record before it, where the group told it.
    pub leader_epoch: Option<i32>,
    /// What the group wrote beside it.
    pub metadata: String,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to read.
    pub offset: i64,
    /// What is kept beside it.
    pub metadata: String,
}

impl Client {
    /// The consumer groups of all brokers, by name. Share groups and the like, which have no committed offsets, are left out.
    ///
    /// # Errors
    /// If one of the brokers cannot be asked: a list without its groups would be taken for the whole.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, Error> {
        self.repeat(|| async {
            let brokers = self.metadata(TopicFilter::Names(&[])).await?.brokers;
            let lists = brokers.iter().map(|broker| self.groups_of(broker.id));
            let mut groups: Vec<GroupListing> =
                try_join_all(lists).await?.into_iter().flatten().collect();
            groups.sort_by(|a, b| a.group.cmp(&b.group));
            groups.dedup_by(|a, b| a.group == b.group);
            Ok(groups)
        })
        .await
    }

    async fn groups_of(&self, broker: i32) -> Result<Vec<GroupListing>, Error> {
        let connection = self.connection(broker).await?;
        let answered = ask(&connection, |_| ListGroupsRequest::default()).await?;
        check::<ListGroupsRequest>(&answered.broker, answered.answer.error_code, None, None)?;
        let groups = answered.answer.groups.into_iter().map(|group| {
            let kind = group.group_type.to_lowercase();
            let listing = GroupListing {
                group: group.group_id.to_string(),
                protocol_type: group.protocol_type.to_string(),
                is_new_protocol: kind == "consumer",
            };
            // Brokers before 3.7 know no types.
            matches!(kind.as_str(), "" | "classic" | "consumer").then_some(listing)
        });
        Ok(groups.flatten().collect())
    }

    /// Who is in a group. One that does not exist has no members and the state `Dead`.
    ///
    /// # Errors
    /// If the group's coordinator cannot be asked, or refuses.
    pub async fn describe_group(&self, group: &GroupListing) -> Result<GroupState, Error> {
        let id = GroupId(StrBytes::from_string(group.group.clone()));
        self.repeat(|| async {
            let connection = self.coordinator(&group.group).await?;
            if group.is_new_protocol {
                let build =
                    |_| ConsumerGroupDescribeRequest::default().with_group_ids(vec![id.clone()]);
                let answered = ask(&connection, build).await?;
                let mut state = missing();
                for found in answered.answer.groups {
                    let message = found.error_message.as_deref();
                    check::<ConsumerGroupDescribeRequest>(
                        &answered.broker,
                        found.error_code,
                        Some(&group.group),
                        message,
                    )?;
                    let members = found.members.iter().map(|member| GroupMember {
                        member: member.member_id.to_string(),
                        client: member.client_id.to_string(),
                        host: member.client_host.to_string(),
                    });
                    state = GroupState {
                        state: found.group_state.to_string(),
                        members: members.collect(),
                    };
                }
                return Ok(state);
            }
            let build = |_| DescribeGroupsRequest::default().with_groups(vec![id.clone()]);
            let answered = ask(&connection, build).await?;
            let mut state = missing();
            for found in answered.answer.groups {
                let name = Some(group.group.as_str());
                check::<DescribeGroupsRequest>(&answered.broker, found.error_code, name, None)?;
                let members = found.members.iter().map(|member| GroupMember {
                    member: member.member_id.to_string(),
                    client: member.client_id.to_string(),
                    host: member.client_host.to_string(),
                });
                state = GroupState {
                    state: found.group_state.to_string(),
                    members: members.collect(),
                };
            }
            Ok(state)
        })
        .await
    }

    /// The offsets that a group has committed, by topic and partition.
    ///
    /// # Errors
    /// If the group's coordinator cannot be asked, or refuses.
    pub async fn committed_offsets(
        &self,
        group: &str,
    ) -> Result<BTreeMap<(String, i32), CommittedOffset>, Error> {
        self.repeat(|| async {
            let connection = self.coordinator(group).await?;
            let build = |_| {
                OffsetFetchRequest::default()
                    .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
                    .with_topics(None)
            };
            let answered = ask(&connection, build).await?;
            let broker = &answered.broker;
            let code = answered.answer.error_code;
            check::<OffsetFetchRequest>(broker, code, Some(group), None)?;
            let mut offsets = BTreeMap::new();
            for topic in answered.answer.topics {
                for partition in topic.partitions {
                    let name = Some(topic.name.as_str());
                    check::<OffsetFetchRequest>(broker, partition.error_code, name, None)?;
                    if partition.committed_offset < 0 {
                        continue;
                    }
                    let epoch = partition.committed_leader_epoch;
                    let committed = CommittedOffset {
                        offset: partition.committed_offset,
                        leader_epoch: (epoch >= 0).then_some(epoch),
                        metadata: partition.metadata.unwrap_or_default().to_string(),
                    };
                    offsets.insert(
                        (topic.name.to_string(), partition.partition_index),
                        committed,
                    );
                }
            }
            Ok(offsets)
        })
        .await
    }

    /// Commits offsets for a group without members. Those that it has for other partitions stay.
    ///
    /// # Errors
    /// If the group has members ([`ErrorCode::UNKNOWN_MEMBER_ID`] and the like), or the coordinator cannot be asked or refuses one of
    /// the offsets; others may have been committed then. Doing it again does no harm.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &[OffsetToCommit],
    ) -> Result<(), Error> {
        let mut by_topic: BTreeMap<&str, Vec<&OffsetToCommit>> = BTreeMap::new();
        for offset in offsets {
            by_topic.entry(&offset.topic).or_default().push(offset);
        }
        self.repeat(|| async {
            let connection = self.coordinator(group).await?;
            let build = |_| {
                let topics = by_topic.iter().map(|(topic, offsets)| {
                    let partitions = offsets.iter().map(|offset| {
                        OffsetCommitRequestPartition::default()
                            .with_partition_index(offset.partition)
                            .with_committed_offset(offset.offset)
                            .with_committed_metadata(Some(StrBytes::from_string(
                                offset.metadata.clone(),
                            )))
                    });
                    OffsetCommitRequestTopic::default()
                        .with_name(topic_name(topic))
                        .with_partitions(partitions.collect())
                });
                OffsetCommitRequest::default()
                    .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
                    .with_generation_id_or_member_epoch(NO_GENERATION)
                    .with_topics(topics.collect())
            };
            let answered = ask(&connection, build).await?;
            for topic in &answered.answer.topics {
                for partition in &topic.partitions {
                    if let Some(code) = ErrorCode::from_wire(partition.error_code) {
                        let message =
                            format!("partition {}, group {group}", partition.partition_index);
                        return Err(Error::refused(
                            answered.broker.clone(),
                            "OffsetCommit",
                            Some(topic.name.as_str()),
                            code,
                            Some(&message),
                        ));
                    }
                }
            }
            Ok(())
        })
        .await
    }

    /// A connection to the broker that keeps a group.
    async fn coordinator(&self, group: &str) -> Result<Connection, Error> {
        let build = |_| {
            FindCoordinatorRequest::default()
                .with_key(StrBytes::from_string(group.to_owned()))
                .with_key_type(GROUP)
        };
        let answered = self.ask_any(build).await?;
        let answer = &answered.answer;
        check::<FindCoordinatorRequest>(
            &answered.broker,
            answer.error_code,
            Some(group),
            answer.error_message.as_deref(),
        )?;
        let broker = answer.node_id.0;
        match self.connection(broker).await {
            // It joined since the brokers were asked for.
            Err(Error::UnknownBroker { .. }) => {
                self.metadata(TopicFilter::Names(&[])).await?;
                self.connection(broker).await
            }
            connection => connection,
        }
    }
}

fn missing() -> GroupState {
    GroupState {
        state: "Dead".to_owned(),
        members: Vec::new(),
    }
}
