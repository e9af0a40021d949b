//! Calls that only the leaders of partitions can answer: grouped by leader, and asked again when leaders move.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::future::join_all;
use tracing::debug;

use super::Client;
use super::cluster::Leader;
use crate::api::Api;
use crate::connection::{Connection, Extras};
use crate::{Error, ErrorCode, TopicFilter};

/// A topic's name and a partition's number.
pub(crate) type PartitionKey = (String, i32);

/// A partition that one broker is asked about, with the leader epoch that metadata names.
#[derive(Clone, Debug)]
pub(crate) struct Led {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) epoch: i32,
}

/// What one leader answered about some of the partitions it was asked about.
pub(crate) type Answers<T> = Vec<(PartitionKey, Result<T, ErrorCode>)>;

/// A question for leaders.
pub(crate) trait Question: Sync {
    type Request: Api + Send + Sync;
    type Answer: Send;

    /// The newest version to ask in.
    fn newest_version(&self) -> i16 {
        i16::MAX
    }

    /// How long the broker may take on purpose.
    fn broker_wait(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    fn request(&self, version: i16, partitions: &[Led]) -> Self::Request;

    fn answers(
        &self,
        partitions: &[Led],
        answer: <Self::Request as kafka_protocol::protocol::Request>::Response,
    ) -> Answers<Self::Answer>;
}

impl Client {
    /// Asks the leaders of all `partitions`, again and again where leaders move or cannot be reached, until
    /// [`crate::ClientConfig::leader_timeout`] is over. Every partition is in the result.
    ///
    /// # Errors
    /// If the cluster cannot be reached at all, or does not let us in.
    pub(crate) async fn ask_leaders<Q: Question>(
        &self,
        question: &Q,
        partitions: impl IntoIterator<Item = PartitionKey>,
    ) -> Result<HashMap<PartitionKey, Result<Q::Answer, Error>>, Error> {
        let mut open: BTreeSet<PartitionKey> = partitions.into_iter().collect();
        let mut settled = HashMap::with_capacity(open.len());
        let mut patience = self.leader_patience();
        loop {
            let mut unsettled = self.ask_leaders_once(question, &open, &mut settled).await?;
            open.retain(|key| unsettled.contains_key(key));
            if open.is_empty() {
                return Ok(settled);
            }
            debug!(partitions = open.len(), example = ?unsettled.values().next(), "asking the leaders again");
            for (topic, _) in &open {
                self.inner.cluster.forget_topic(topic);
            }
            if !patience.wait().await {
                settled.extend(unsettled.drain().map(|(key, error)| (key, Err(error))));
                return Ok(settled);
            }
        }
    }

    /// Puts what was answered for good into `settled` and returns what is worth another try.
    async fn ask_leaders_once<Q: Question>(
        &self,
        question: &Q,
        open: &BTreeSet<PartitionKey>,
        settled: &mut HashMap<PartitionKey, Result<Q::Answer, Error>>,
    ) -> Result<HashMap<PartitionKey, Error>, Error> {
        let mut unsettled = HashMap::new();
        let by_leader = self.group_by_leader(open, &mut unsettled).await?;
        let asked = by_leader.iter().map(|(leader, led)| async move {
            let result = self.ask_leader(question, *leader, led).await;
            (*leader, led, result)
        });
        for (leader, led, result) in join_all(asked).await {
            let mut missing: BTreeSet<PartitionKey> = led.iter().map(Led::key).collect();
            match result {
                Ok(answers) => {
                    for (key, answer) in answers {
                        // A broker that answers what it was not asked is not listened to.
                        if !missing.remove(&key) {
                            continue;
                        }
                        match answer {
                            Ok(answer) => drop(settled.insert(key, Ok(answer))),
                            Err(code) => {
                                let error =
                                    self.refusal(leader, Q::Request::NAME, &key.0, key.1, code);
                                if code.is_retriable() {
                                    unsettled.insert(key, error);
                                } else {
                                    settled.insert(key, Err(error));
                                }
                            }
                        }
                    }
                    let left_out = |key: &PartitionKey| {
                        Error::broker(
                            leader,
                            Q::Request::NAME,
                            &key.0,
                            key.1,
                            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                        )
                    };
                    unsettled.extend(missing.into_iter().map(|key| (key.clone(), left_out(&key))));
                }
                Err(error) if error.is_retriable() => {
                    unsettled.extend(missing.into_iter().map(|key| (key, error.clone())));
                }
                // What one leader does not do says nothing about the others.
                Err(error) => {
                    settled.extend(missing.into_iter().map(|key| (key, Err(error.clone()))));
                }
            }
        }
        Ok(unsettled)
    }

    async fn ask_leader<Q: Question>(
        &self,
        question: &Q,
        leader: i32,
        led: &[Led],
    ) -> Result<Answers<Q::Answer>, Error> {
        let connection: Connection = self.connection(leader).await?;
        let version = connection.version_up_to::<Q::Request>(question.newest_version())?;
        let request = question.request(version, led);
        let extras = Extras {
            broker_wait: question.broker_wait(),
            ..Extras::default()
        };
        let answer = connection.call(version, &request, extras).await?;
        Ok(question.answers(led, answer))
    }

    /// Sorts partitions by who leads them, asking for the topics that are not known.
    async fn group_by_leader(
        &self,
        open: &BTreeSet<PartitionKey>,
        unsettled: &mut HashMap<PartitionKey, Error>,
    ) -> Result<BTreeMap<i32, Vec<Led>>, Error> {
        let cluster = &self.inner.cluster;
        let unknown: BTreeSet<&String> = open
            .iter()
            .filter(|(topic, partition)| {
                !matches!(cluster.leader(topic, *partition), Leader::Broker { .. })
            })
            .map(|(topic, _)| topic)
            .collect();
        if !unknown.is_empty() {
            let names: Vec<String> = unknown.into_iter().cloned().collect();
            self.metadata(TopicFilter::Names(&names)).await?;
        }
        let mut by_leader: BTreeMap<i32, Vec<Led>> = BTreeMap::new();
        for (topic, partition) in open {
            match cluster.leader(topic, *partition) {
                Leader::Broker { id, epoch } => {
                    let led = Led {
                        topic: topic.clone(),
                        partition: *partition,
                        epoch,
                    };
                    by_leader.entry(id).or_default().push(led);
                }
                Leader::None => {
                    let error = Error::NoLeader {
                        topic: topic.as_str().into(),
                        partition: *partition,
                    };
                    unsettled.insert((topic.clone(), *partition), error);
                }
                Leader::Unknown => {
                    let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                    let error = Error::broker(
                        crate::error::BrokerName::default(),
                        "Metadata",
                        topic,
                        *partition,
                        code,
                    );
                    unsettled.insert((topic.clone(), *partition), error);
                }
            }
        }
        Ok(by_leader)
    }
}

impl Led {
    pub(crate) fn key(&self) -> PartitionKey {
        (self.topic.clone(), self.partition)
    }
}

/// The partitions grouped by topic, as requests want them. `partitions` is sorted by topic.
pub(crate) fn by_topic(partitions: &[Led]) -> impl Iterator<Item = (&str, &[Led])> {
    partitions
        .chunk_by(|a, b| a.topic == b.topic)
        .map(|led| (led[0].topic.as_str(), led))
}
