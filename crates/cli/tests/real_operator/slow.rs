//! A cluster that takes records so slowly that a restore has a middle.

use anyhow::Result;
use armory_testkit::{Kafka, unique};

use crate::installed::Installed;

/// An EventHub whose client may write only so much a second, until it is let go.
pub(crate) struct SlowHub {
    client: String,
}

impl SlowHub {
    /// Makes the EventHub `slow` of the shared cluster.
    pub(crate) fn new(installed: &Installed<'_>) -> Result<SlowHub> {
        let slow = SlowHub {
            client: unique("slow"),
        };
        slow.quota("--add-config", "producer_byte_rate=200000")?;
        installed.namespace.apply(&format!(
            "apiVersion: kannika.io/v1alpha
kind: EventHub
metadata: {{name: slow}}
spec: {{kafka: {{properties: {{bootstrap.servers: '{}', client.id: {}}}}}}}
",
            Kafka::shared().pod_bootstrap(),
            slow.client
        ))?;
        Ok(slow)
    }

    /// From now on it may write as fast as it can.
    pub(crate) fn let_go(&self) -> Result<()> {
        self.quota("--delete-config", "producer_byte_rate")
    }

    fn quota(&self, what: &str, quota: &str) -> Result<()> {
        let kafka = Kafka::shared();
        let entity = ["--entity-type", "clients", "--entity-name", &self.client];
        let alter = ["--bootstrap-server", kafka.bootstrap(), "--alter"];
        let args = [&alter[..], &[what, quota], &entity].concat();
        kafka.tool("configs", &args).map(drop)
    }
}

/// How many records a topic holds; one that is not there holds none.
pub(crate) fn landed(topic: &str) -> i64 {
    let topic = Kafka::shared().topic(topic);
    topic.map_or(0, |topic| {
        let ends = topic.partitions.iter().map(|partition| partition.end);
        ends.sum()
    })
}
