//! A cluster: its brokers, who leads what, and calls that are repeated where that is safe.
//!
//! A [`Client`] keeps one connection to each broker that it had to ask something, for metadata and administration.
//! Records go over connections of their own: a [`crate::Fetcher`] or a [`crate::ProduceConnection`] each has one.

pub(crate) mod calls;
mod cluster;
pub(crate) mod leaders;
mod pool;

use std::sync::Arc;

use armory_troubles::Troubles;

use crate::connection::Connection;
use crate::error::BrokerName;
use crate::security::{principal, rights};
use crate::{ClientConfig, Error, ErrorCode, Metadata, TopicFilter};
use cluster::Cluster;
use pool::Pool;

/// A Kafka cluster. Cheap to clone; nothing is connected before it is needed.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    cluster: Cluster,
    pool: Pool,
    troubles: Troubles,
}

impl Client {
    /// A client of the cluster that the configuration's bootstrap servers belong to.
    ///
    /// # Errors
    /// None at present: whether the servers can be reached shows with the first call.
    pub fn new(config: ClientConfig) -> Result<Client, Error> {
        Client::watched(config, Troubles::default())
    }

    /// A client that tells what it tries again.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn watched(config: ClientConfig, troubles: Troubles) -> Result<Client, Error> {
        let inner = Inner {
            troubles,
            config,
            cluster: Cluster::default(),
            pool: Pool::default(),
        };
        Ok(Client {
            inner: Arc::new(inner),
        })
    }

    pub(crate) fn troubles(&self) -> &Troubles {
        &self.inner.troubles
    }

    /// What the client was made with.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// As whom the brokers know us, as far as a client can know: `User:` and the user's name, the token's subject, or the
    /// subject of the certificate.
    pub fn principal(&self) -> Arc<str> {
        let config = self.config();
        if let Some(sasl) = &config.sasl {
            return sasl
                .principal()
                .unwrap_or_else(|| Arc::from("the user that it is"));
        }
        match config.connect.certificate_subject() {
            Some(subject) => principal::of_user(&subject).into(),
            None => Arc::from(principal::ANONYMOUS),
        }
    }

    /// The error for what a broker answered about a partition. One that tells of a missing right says which, and whose.
    pub fn refusal(
        &self,
        broker: impl Into<BrokerName>,
        api: &'static str,
        topic: &str,
        partition: i32,
        code: ErrorCode,
    ) -> Error {
        self.explain(Error::broker(broker, api, topic, partition, code))
    }

    /// Says of an error that tells of a missing right which it is, and whose.
    pub(crate) fn explain(&self, error: Error) -> Error {
        rights::explain(error, || self.principal())
    }

    /// The id that the cluster gave itself. `None` from brokers that have none.
    ///
    /// # Errors
    /// As [`Client::metadata`].
    pub async fn cluster_id(&self) -> Result<Option<String>, Error> {
        Ok(self.metadata(TopicFilter::Names(&[])).await?.cluster_id)
    }

    /// The broker that leads a partition, as the cluster says now. `None`: it has no leader, or the topic or partition
    /// does not exist.
    ///
    /// # Errors
    /// As [`Client::metadata`].
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<Option<i32>, Error> {
        let metadata: Metadata = self
            .metadata(TopicFilter::Names(&[topic.to_owned()]))
            .await?;
        let topic = metadata.topics.iter().find(|found| found.name == topic);
        Ok(topic.and_then(|topic| topic.partition(partition)?.leader))
    }

    /// Keeps what an answer says about brokers and leaders.
    pub(crate) fn remember(&self, metadata: &Metadata, covers_all_topics: bool) {
        self.inner.cluster.take_in(metadata, covers_all_topics);
    }

    /// A connection of the caller's own to a broker.
    pub(crate) async fn connect_to(&self, broker: i32) -> Result<Connection, Error> {
        let address = match self.inner.cluster.address(broker) {
            Some(address) => address,
            None => {
                self.metadata(TopicFilter::Names(&[])).await?;
                self.inner
                    .cluster
                    .address(broker)
                    .ok_or(Error::UnknownBroker { id: broker })?
            }
        };
        Connection::open(&self.inner.config, Some(broker), &address).await
    }
}

#[cfg(test)]
mod tests;
