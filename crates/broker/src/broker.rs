//! The running broker.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::cluster::{Cluster, HOST};
use crate::connection;
use crate::log::Log;

/// `producer.id.expiration.check.interval.ms`.
const PRODUCER_EXPIRATION_CHECK: Duration = Duration::from_secs(600);
/// How long to leave the listener alone after the system could not give it a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a broker is started.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// The loopback port to listen on; 0 lets the system choose a free one.
    pub port: u16,
    /// Whether a topic that a client merely asks about comes into being (`auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Partitions of a topic created without a number of its own (`num.partitions`).
    pub default_partitions: i32,
}

impl Default for BrokerOptions {
    /// A free port, and for the rest what Kafka does by default.
    fn default() -> Self {
        Self {
            port: 0,
            auto_create_topics: true,
            default_partitions: 1,
        }
    }
}

/// What can go wrong in starting or steering a broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The port is taken or not allowed.
    #[error("cannot listen on {HOST}:{port}; choose another port, or 0 for any free one")]
    Listen {
        /// The port asked for.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// A topic or partition that does not exist was named.
    #[error("there is no partition {topic}-{partition}; create the topic first")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition's index.
        partition: i32,
    },
    /// Batches cannot be appended as they are.
    #[error("the batches cannot be appended to {topic}-{partition}: {reason}")]
    Unappendable {
        /// The topic.
        topic: String,
        /// The partition's index.
        partition: i32,
        /// What is wrong with them.
        reason: String,
    },
}

/// A broker that serves clients on a loopback port until it is dropped. Its data goes with it.
///
/// Besides the clients, tests steer it directly: what a single healthy node would never do by itself.
#[derive(Debug)]
pub struct Broker {
    cluster: Arc<Cluster>,
    server: AbortHandle,
}

impl Broker {
    /// Starts a broker on a free port. Must be called within a Tokio runtime, which serves the connections.
    ///
    /// # Errors
    /// [`BrokerError::Listen`] when no port can be had.
    pub async fn start() -> Result<Self, BrokerError> {
        Self::start_with(BrokerOptions::default()).await
    }

    /// Starts a broker. Must be called within a Tokio runtime, which serves the connections.
    ///
    /// # Errors
    /// [`BrokerError::Listen`] when the port cannot be had.
    pub async fn start_with(options: BrokerOptions) -> Result<Self, BrokerError> {
        let port = options.port;
        let listening = async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            let port = listener.local_addr()?.port();
            Ok((listener, port))
        };
        let (listener, port) = listening
            .await
            .map_err(|source| BrokerError::Listen { port, source })?;
        let cluster = Arc::new(Cluster::new(options, port));
        let server = tokio::spawn(listen(listener, Arc::clone(&cluster))).abort_handle();
        Ok(Self { cluster, server })
    }

    /// The address for clients' `bootstrap.servers`: host and port.
    pub fn bootstrap(&self) -> String {
        format!("{HOST}:{}", self.cluster.port)
    }

    /// The cluster id, 22 characters of base64url.
    pub fn cluster_id(&self) -> &str {
        &self.cluster.id
    }

    /// Appends whole batches as they are, as a follower does: with the offsets and leader epochs they carry. So a log
    /// gets what no producer may write: holes left by compaction, control batches, batches of other timestamp types.
    ///
    /// # Errors
    /// [`BrokerError::UnknownPartition`]; [`BrokerError::Unappendable`] when a batch is damaged or cut off or starts
    /// before the end of the log. Nothing is appended then.
    pub fn append_replicated(
        &self,
        topic: &str,
        partition: i32,
        batches: &[u8],
    ) -> Result<(), BrokerError> {
        self.with_log(topic, partition, |log| log.append_replicated(batches))?
            .map_err(|error| BrokerError::Unappendable {
                topic: topic.to_owned(),
                partition,
                reason: error.to_string(),
            })
    }

    /// Gives the partition to a new leader that has everything; returns the new leader epoch.
    ///
    /// # Errors
    /// [`BrokerError::UnknownPartition`].
    pub fn elect_leader(&self, topic: &str, partition: i32) -> Result<i32, BrokerError> {
        self.with_log(topic, partition, |log| log.elect_leader(log.end_offset()))
    }

    /// Gives the partition to a new leader that lags behind and has only the batches that lie wholly before
    /// `end_offset` (exclusive): an unclean election, after which other records take the offsets of those that are
    /// lost. Returns the new leader epoch.
    ///
    /// # Errors
    /// [`BrokerError::UnknownPartition`].
    pub fn elect_lagging_leader(
        &self,
        topic: &str,
        partition: i32,
        end_offset: i64,
    ) -> Result<i32, BrokerError> {
        self.with_log(topic, partition, |log| log.elect_leader(end_offset))
    }

    /// Does at once what a broker does every ten minutes: forgets the idempotent producers whose newest record is
    /// older, by its own timestamp, than `producer.id.expiration.ms` (24 hours).
    pub fn expire_producers(&self) {
        self.cluster.expire_producers();
    }

    fn with_log<T>(
        &self,
        topic: &str,
        partition: i32,
        act: impl FnOnce(&mut Log) -> T,
    ) -> Result<T, BrokerError> {
        let topics = self.cluster.topics();
        let found =
            topics
                .partition(topic, partition)
                .ok_or_else(|| BrokerError::UnknownPartition {
                    topic: topic.to_owned(),
                    partition,
                })?;
        let result = act(&mut found.log());
        found.changed();
        Ok(result)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The connections belong to the listening task and end with it.
        self.server.abort();
    }
}

async fn listen(listener: TcpListener, cluster: Arc<Cluster>) {
    let mut connections = JoinSet::new();
    // Not at once: that would forget who produces old records right after the start. Kafka waits as long for its first.
    let first_check = Instant::now() + PRODUCER_EXPIRATION_CHECK;
    let mut expiration = tokio::time::interval_at(first_check, PRODUCER_EXPIRATION_CHECK);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let serving = connection::serve(Arc::clone(&cluster), stream);
                    connections.spawn(async {
                        if let Err(error) = serving.await {
                            tracing::debug!(%error, "connection closed");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = expiration.tick() => cluster.expire_producers(),
            Some(_) = connections.join_next() => {}
        }
    }
}
