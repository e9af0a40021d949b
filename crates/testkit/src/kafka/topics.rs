//! Topics of a test cluster: made, changed and looked at through Kafka's own admin client.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Kafka;
use crate::java;

/// What a topic looks like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Topic {
    /// The topic's id in Kafka's text form (base64url).
    pub id: String,
    /// What is configured for this topic alone.
    pub configs: BTreeMap<String, String>,
    /// The partitions, from 0 on.
    pub partitions: Vec<Partition>,
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Partition {
    /// The broker id of the leader, or -1.
    pub leader: i32,
    /// The log start offset: the first that can be read.
    pub start: i64,
    /// The high watermark: the offset after the last record.
    pub end: i64,
    /// The last stable offset: what read-committed consumers read up to (exclusive).
    pub stable: i64,
}

impl Kafka {
    /// Creates a topic with the cluster's default replication, waits until every partition has a leader, and returns the
    /// topic's id.
    pub fn create_topic(
        &self,
        topic: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<String> {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        self.ask(
            "create-topic",
            json!({"topic": topic, "partitions": partitions, "configs": configs}),
        )
    }

    /// Deletes a topic and waits until it is no longer listed.
    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        self.ask("delete-topic", json!({"topic": topic}))
    }

    /// Grows a topic to `total` partitions.
    pub fn add_partitions(&self, topic: &str, total: i32) -> Result<()> {
        self.ask("add-partitions", json!({"topic": topic, "total": total}))
    }

    /// What a topic looks like now.
    pub fn topic(&self, topic: &str) -> Result<Topic> {
        self.ask("topic", json!({"topic": topic}))
    }

    /// Sets configs of a topic, or removes those without a value.
    pub fn set_topic_configs(&self, topic: &str, configs: &[(&str, Option<&str>)]) -> Result<()> {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        self.ask("set-configs", json!({"topic": topic, "configs": configs}))
    }

    /// Moves a partition's log start to the offset `before`, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        self.ask(
            "delete-records",
            json!({"topic": topic, "partition": partition, "before": before}),
        )
    }

    /// Gives every partition of a topic another of its replicas as the leader.
    pub fn move_leaders(&self, topic: &str) -> Result<()> {
        self.ask("move-leaders", json!({"topic": topic}))
    }

    /// Asks the Java tools to do something with this cluster.
    pub(super) fn ask<T: serde::de::DeserializeOwned>(
        &self,
        tool: &str,
        mut request: Value,
    ) -> Result<T> {
        request["tool"] = tool.into();
        request["bootstrap"] = self.bootstrap().into();
        java::ask(&request)
    }
}
