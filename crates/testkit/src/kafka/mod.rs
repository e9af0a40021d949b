//! Apache Kafka in KRaft combined mode: real brokers on loopback, one to three nodes.

pub mod compare;
mod config;
pub mod dataset;
pub mod fetch;
mod node;
pub mod proxy;
pub mod records;
mod secure;
pub mod secure_cluster;
pub mod topics;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt as _;

use crate::kubernetes::forward_in;
use crate::{cache, java};
pub use compare::Comparison;
use config::Ports;
pub use dataset::{Codec, Dataset, DatasetSummary};
pub use node::Node;
pub use records::{Ending, Record, TimestampType};
pub use secure::{Listener, Security};
pub use secure_cluster::SecureKafka;

/// Names the bootstrap addresses of a cluster that [`Kafka::shared`] uses instead of starting one.
/// `cargo xtask test` sets it, so that the many test processes of a run share one broker.
pub const SHARED: &str = "ARMORY_TEST_KAFKA";

const LISTENERS: usize = Listener::ALL.len();

/// How often a cluster is started anew because another process took one of its ports.
const ATTEMPTS: usize = 4;

/// What a cluster is started with.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// How many nodes, 1 to 3; each is a broker and a controller.
    pub nodes: usize,
    /// Broker properties; they win over the test kit's own.
    pub properties: Vec<(String, String)>,
    /// The largest heap of each node, as Java writes it (`512m`).
    pub heap: String,
    /// The port of the first node, the others following in steps of ten; otherwise free ports are chosen.
    pub port: Option<u16>,
    /// Listeners that ask who one is, and an authorizer.
    pub security: Option<Security>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        KafkaOptions {
            nodes: 1,
            properties: Vec::new(),
            heap: "768m".to_owned(),
            port: None,
            security: None,
        }
    }
}

impl KafkaOptions {
    /// A cluster of three nodes with small heaps.
    pub fn three_nodes() -> Self {
        KafkaOptions {
            nodes: 3,
            heap: "512m".to_owned(),
            ..KafkaOptions::default()
        }
    }

    /// Adds a broker property.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running cluster. Dropping it kills its nodes and removes their data.
#[derive(Debug)]
pub struct Kafka {
    nodes: Vec<Node>,
    bootstrap: String,
    /// Of the first node, in the order of [`Listener::ALL`].
    secure_ports: Vec<u16>,
    // After `nodes`, so that the processes are gone before their data.
    _folder: Option<tempfile::TempDir>,
}

impl Kafka {
    /// Starts a cluster of its own for a test that stops, pauses or configures it.
    ///
    /// Takes 3–4 seconds for one node when nothing else runs; tests that only need topics use [`Kafka::shared`].
    pub fn start(options: KafkaOptions) -> Result<Kafka> {
        ensure!(
            (1..=3).contains(&options.nodes),
            "a cluster has 1 to 3 nodes"
        );
        let class_path = java::class_path()?;
        let mut attempt = 1;
        loop {
            match Self::try_start(&options, &class_path) {
                Err(error)
                    if attempt < ATTEMPTS
                        && options.port.is_none()
                        && format!("{error:#}").contains("Address already in use") =>
                {
                    attempt += 1;
                }
                started => return started,
            }
        }
    }

    fn try_start(options: &KafkaOptions, class_path: &str) -> Result<Kafka> {
        // Memory, where it can be used as a file system: tests measure Armory, not the disk.
        let parent = Some(PathBuf::from("/dev/shm")).filter(|folder| folder.is_dir());
        let parent = parent.unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new()
            .prefix("armory-kafka-")
            .tempdir_in(parent)?;
        let ports = ports(options)?;
        let secure = match &options.security {
            Some(_) => crate::ports::free(LISTENERS * options.nodes)?,
            None => Vec::new(),
        };
        let cluster_id = cluster_id();
        let mut nodes = (0..options.nodes)
            .map(|index| {
                let node_folder = folder.path().join(format!("node{index}"));
                let mut own = options.properties.clone();
                if let Some(security) = &options.security {
                    let secure = &secure[index * LISTENERS..][..LISTENERS];
                    own.extend(security.properties(&node_folder, ports[index], secure)?);
                }
                let properties = config::server_properties(index, &ports, &node_folder, &own);
                let arguments = node::Arguments {
                    class_path: class_path.to_owned(),
                    heap: options.heap.clone(),
                    cluster_id: cluster_id.clone(),
                    scram_users: options
                        .security
                        .as_ref()
                        .map(|security| security.scram_users.clone())
                        .unwrap_or_default(),
                };
                Node::new(node_folder, ports[index].clients, arguments, &properties)
            })
            .collect::<Result<Vec<Node>>>()?;
        start_nodes(&mut nodes)?;
        let addresses: Vec<String> = nodes.iter().map(Node::address).collect();
        Ok(Kafka {
            nodes,
            bootstrap: addresses.join(","),
            secure_ports: secure.into_iter().take(LISTENERS).collect(),
            _folder: Some(folder),
        })
    }

    /// The one-node cluster for every test that minds only its own topics: [`SHARED`] if that is set, otherwise one for
    /// this process.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn shared() -> &'static Kafka {
        static CLUSTER: OnceLock<Kafka> = OnceLock::new();
        CLUSTER.get_or_init(|| match std::env::var(SHARED) {
            Ok(bootstrap) if !bootstrap.is_empty() => Kafka::at(&bootstrap),
            _ => Self::start(KafkaOptions::default()).expect("the shared broker starts"),
        })
    }

    /// A cluster that runs already: everything works on it but starting and stopping nodes.
    pub fn at(bootstrap: &str) -> Kafka {
        Kafka {
            nodes: Vec::new(),
            bootstrap: bootstrap.to_owned(),
            secure_ports: Vec::new(),
            _folder: None,
        }
    }

    /// The `host:port` addresses of all nodes, separated by commas.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The addresses of all nodes for clients in a Kubernetes cluster: see [`crate::kubernetes`].
    ///
    /// # Panics
    /// If the cluster is none of the test kit's, so that it is not known where it listens for them.
    pub fn pod_bootstrap(&self) -> String {
        let addresses = self.bootstrap.split(',').map(|address| {
            let port = address
                .rsplit(':')
                .next()
                .and_then(|port| port.parse().ok());
            forward_in(Ports::from(port.expect("an address ends with its port")).pods)
        });
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The `host:port` of one of the first node's secure listeners.
    ///
    /// # Panics
    /// If the cluster was started without [`KafkaOptions::security`].
    pub fn secure_bootstrap(&self, listener: Listener) -> String {
        let place = Listener::ALL.iter().position(|one| *one == listener);
        let port = self.secure_ports[place.expect("all of them are there")];
        format!("127.0.0.1:{port}")
    }

    /// Gives a user another password for SCRAM-SHA-256.
    pub fn set_scram_password(&self, user: &str, password: &str) -> Result<()> {
        let credential = format!("SCRAM-SHA-256=[iterations=4096,password={password}]");
        self.tool(
            "configs",
            &[
                "--bootstrap-server",
                self.bootstrap(),
                "--alter",
                "--entity-type",
                "users",
                "--entity-name",
                user,
                "--add-config",
                &credential,
            ],
        )
        .map(drop)
    }

    /// Adds or removes rights: what `kafka-acls.sh` takes, from `--add` or `--remove` on.
    pub fn acls(&self, args: &[&str]) -> Result<()> {
        let mut all = vec!["--bootstrap-server", self.bootstrap()];
        all.extend(args);
        self.tool("acls", &all).map(drop)
    }

    /// Stops all nodes in an orderly way; the data stays.
    pub fn stop(&mut self) -> Result<()> {
        // Together, because a node that is stopped last finds no controller to tell.
        std::thread::scope(|scope| {
            let stopping: Vec<_> = self
                .nodes
                .iter_mut()
                .map(|node| scope.spawn(|| node.stop()))
                .collect();
            stopping
                .into_iter()
                .try_for_each(|node| node.join().expect("stopping does not panic"))
        })
    }

    /// Kills all nodes; the data stays.
    pub fn kill(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(Node::kill)
    }

    /// Starts the nodes that do not run again, with the same ports and data, and waits until they are ready.
    pub fn start_again(&mut self) -> Result<()> {
        start_nodes(&mut self.nodes)
    }

    /// Freezes all nodes: connections stay open and nothing answers.
    pub fn pause(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(Node::pause)
    }

    /// Lets paused nodes go on.
    pub fn resume(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(Node::resume)
    }

    /// One node of the cluster, counted from 0 (Kafka's id of it is one more).
    ///
    /// # Panics
    /// If there is no such node.
    pub fn node(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// Runs one of Kafka's own command line tools in a Java process of its own and returns what it prints.
    ///
    /// `name` is a short name (`topics`, `configs`, `dump-log`, `groups`, …) or a full class name. Where the tool
    /// needs `--bootstrap-server`, the caller gives it.
    pub fn tool(&self, name: &str, args: &[&str]) -> Result<String> {
        cache::run(&mut tool_command(name, args)?)
    }
}

/// The command that runs one of Kafka's tools: see [`Kafka::tool`].
pub fn tool_command(name: &str, args: &[&str]) -> Result<Command> {
    let class = tool_class(name)?;
    let mut command = Command::new("java");
    command
        .args(java::QUICK)
        .args(["-Xmx512m", "-Darmory.log.level=ERROR"])
        .arg(format!(
            "-Dlog4j2.configurationFile={}",
            log4j_file()?.display()
        ))
        .args(["-cp", &java::class_path()?, &class])
        .args(args);
    Ok(command)
}

/// The logging configuration of every Java program here, as a file in the cache.
pub(crate) fn log4j_file() -> Result<PathBuf> {
    let digest = blake3::hash(config::LOG4J.as_bytes()).to_hex();
    let path = cache::root()?
        .join("kafka")
        .join(format!("log4j2-{}.properties", &digest[..16]));
    cache::once(&path, |partial| Ok(std::fs::write(partial, config::LOG4J)?))
}

fn tool_class(name: &str) -> Result<String> {
    let class = match name {
        "acls" => "AclCommand",
        "broker-api-versions" => "BrokerApiVersionsCommand",
        "cluster" => "ClusterTool",
        "console-consumer" => "consumer.ConsoleConsumer",
        "console-producer" => "ConsoleProducer",
        "consumer-perf" => "ConsumerPerformance",
        "delete-records" => "DeleteRecordsCommand",
        "dump-log" => "DumpLogSegments",
        "features" => "FeatureCommand",
        "get-offsets" => "GetOffsetShell",
        "groups" => "consumer.group.ConsumerGroupCommand",
        "leader-election" => "LeaderElectionCommand",
        "log-dirs" => "LogDirsCommand",
        "metadata-quorum" => "MetadataQuorumCommand",
        "producer-perf" => "ProducerPerformance",
        "reassign" => "reassign.ReassignPartitionsCommand",
        "topics" => "TopicCommand",
        "transactions" => "TransactionsCommand",
        "verifiable-consumer" => "VerifiableConsumer",
        "verifiable-producer" => "VerifiableProducer",
        "configs" => return Ok("kafka.admin.ConfigCommand".to_owned()),
        "storage" => return Ok("kafka.tools.StorageTool".to_owned()),
        class if class.contains('.') => return Ok(class.to_owned()),
        _ => bail!("no Kafka tool is called {name}; a full class name works too"),
    };
    Ok(format!("org.apache.kafka.tools.{class}"))
}

/// Starts all nodes before it waits for any: they need each other to elect a controller.
fn start_nodes(nodes: &mut [Node]) -> Result<()> {
    for node in nodes.iter_mut() {
        node.launch()?;
    }
    for (index, node) in nodes.iter_mut().enumerate() {
        node.wait_until_ready()
            .with_context(|| format!("Kafka node {index}"))?;
    }
    Ok(())
}

fn ports(options: &KafkaOptions) -> Result<Vec<Ports>> {
    let clients: Vec<u16> = match options.port {
        Some(first) => (0..options.nodes as u16)
            .map(|node| first + 10 * node)
            .collect(),
        None => crate::ports::free_runs(options.nodes, Ports::COUNT)?,
    };
    Ok(clients.into_iter().map(Ports::from).collect())
}

/// 16 random bytes in Kafka's text form of a Uuid (base64url without padding).
fn cluster_id() -> String {
    use base64::Engine as _;
    let mut bytes: [u8; 16] = rand::rng().random();
    // Kafka refuses ids that start with a dash, because they look like options.
    bytes[0] &= 0x7f;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
