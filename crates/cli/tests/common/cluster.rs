//! A broker in memory, and topics in it.

use std::path::Path;
use std::sync::Arc;

use armory_broker::Broker;
use armory_kafka::{
    Client, ClientConfig, NewTopic, ProduceBatch, ProduceConnection, ProduceOptions, TopicFilter,
};
use armory_records::{BatchBuilder, BatchOptions};
use armory_resources::job::KafkaEndpoint;
use serde_json::Value;

use super::done;

/// A broker in this process with a client of it.
pub struct Cluster {
    pub runtime: tokio::runtime::Runtime,
    broker: Broker,
    client: Client,
}

impl Cluster {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (broker, client) = runtime.block_on(async {
            let broker = Broker::start().await.expect("a broker");
            let endpoint = KafkaEndpoint::from_bootstrap(broker.bootstrap());
            let config = ClientConfig::from_properties(&endpoint.properties).expect("properties");
            (broker, Client::new(config).expect("a client"))
        });
        Cluster {
            runtime,
            broker,
            client,
        }
    }

    pub fn bootstrap(&self) -> String {
        self.broker.bootstrap()
    }

    /// Creates a topic with `records` records in each of its partitions.
    pub fn topic(&self, name: &str, partitions: i32, records: i64) {
        self.create(name, partitions, &[]);
        self.runtime.block_on(async {
            for partition in 0..partitions {
                self.produce(name, partition, records).await;
            }
        });
    }

    /// Creates an empty topic.
    pub fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter();
        let new = NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: None,
            configs: configs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let created = self.client.create_topics(std::slice::from_ref(&new), false);
        self.runtime.block_on(created).expect("a topic");
    }

    /// Appends records that say where they are.
    pub async fn produce(&self, topic: &str, partition: i32, records: i64) {
        let values: Vec<Vec<u8>> = (0..records)
            .map(|offset| format!("{topic} {partition} {offset}").into_bytes())
            .collect();
        self.produce_values(topic, partition, &values).await;
    }

    /// Appends records without keys, a millisecond apart.
    pub async fn produce_values(&self, topic: &str, partition: i32, values: &[Vec<u8>]) {
        let names = [topic.to_owned()];
        let metadata = self
            .client
            .metadata(TopicFilter::Names(&names))
            .await
            .expect("metadata");
        let meta = &metadata.topics[0];
        let leader = meta.partitions[partition as usize]
            .leader
            .expect("a leader");
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for (offset, value) in (0..).zip(values) {
            builder.append(offset, super::NEW_YEAR + offset, None, Some(value), []);
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("a batch");
        let connection =
            ProduceConnection::connect(&self.client, leader, ProduceOptions::default())
                .await
                .expect("a connection");
        let batch = ProduceBatch {
            topic: Arc::from(topic),
            topic_id: meta.id,
            partition,
            records: bytes.into(),
        };
        let pending = connection.send(vec![batch]).await.expect("sent");
        for ack in pending.await.expect("answered") {
            assert_eq!(ack.error, None);
        }
    }
}

/// Backs up a topic, once.
pub fn back_up(cluster: &Cluster, folder: &Path, topic: &str, archive: &str) {
    let bootstrap = cluster.bootstrap();
    let from = ["backup", "--bootstrap-server", &bootstrap, "--topic", topic];
    done(
        folder,
        &[&from[..], &["--storage", archive, "--once"]].concat(),
    );
}

/// The records that a topic holds, as `armory cat` prints them after another backup into `archive`.
pub fn records(cluster: &Cluster, folder: &Path, topic: &str, archive: &str) -> Vec<Value> {
    back_up(cluster, folder, topic, archive);
    let text = done(folder, &["cat", archive, topic]);
    let parse = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(parse).collect()
}

pub fn documents(cluster: &Cluster, spec: &str) -> String {
    let bootstrap = cluster.bootstrap();
    format!(
        "{spec}\n---\napiVersion: kannika.io/v1alpha\nkind: EventHub\nmetadata: {{name: hub}}\nspec: {{kafka: {{properties: \
         {{bootstrap.servers: \"{bootstrap}\"}}}}}}\n---\napiVersion: kannika.io/v1alpha\nkind: Storage\nmetadata: {{name: \
         disk}}\nspec: {{volume: {{capacity: 1Gi}}}}\n"
    )
}
