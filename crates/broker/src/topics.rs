//! The topics of the cluster: names, ids, partitions and configurations.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use kafka_protocol::ResponseError;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::configs::TopicConfigs;
use crate::log::Log;
use crate::refusal::Refusal;

/// Longest topic name (`org.apache.kafka.common.internals.Topic`).
const NAME_MAX: usize = 249;

/// One partition: its log, and who waits for something to be appended to it.
#[derive(Debug)]
pub(crate) struct Partition {
    log: Mutex<Log>,
    waiting: Mutex<Vec<Weak<Notify>>>,
}

impl Partition {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::new(Log::new()),
            waiting: Mutex::default(),
        })
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `waiter` notified once at the next change. A dropped waiter costs nothing after the next subscription.
    pub(crate) fn subscribe(&self, waiter: &Arc<Notify>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|known| known.strong_count() > 0);
        waiting.push(Arc::downgrade(waiter));
    }

    /// Wakes the long polls on this partition.
    pub(crate) fn changed(&self) {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for waiter in waiting.iter().filter_map(Weak::upgrade) {
            waiter.notify_one();
        }
    }
}

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    pub(crate) configs: TopicConfigs,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

impl Topic {
    pub(crate) fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    fn grow(&mut self, count: i32) {
        self.partitions
            .resize_with(usize::try_from(count).unwrap_or(0), Partition::new);
    }
}

/// A topic as a request names it: by name, or since KIP-516 by id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicRef {
    Name(Arc<str>),
    Id(Uuid),
}

impl TopicRef {
    pub(crate) fn name(name: &str) -> Self {
        Self::Name(Arc::from(name))
    }

    /// What a client is told where there is no such topic.
    pub(crate) fn unknown(&self) -> Refusal {
        match self {
            Self::Name(name) => Refusal::new(
                ResponseError::UnknownTopicOrPartition,
                format!("there is no topic {name}"),
            ),
            Self::Id(id) => Refusal::new(
                ResponseError::UnknownTopicId,
                format!("there is no topic with the id {id}"),
            ),
        }
    }
}

/// All topics, by name and by id.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: BTreeMap<Arc<str>, Topic>,
    names: HashMap<Uuid, Arc<str>>,
}

impl Topics {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values()
    }

    pub(crate) fn get(&self, topic: &TopicRef) -> Option<&Topic> {
        match topic {
            TopicRef::Name(name) => self.by_name.get(name),
            TopicRef::Id(id) => self.by_name.get(self.names.get(id)?),
        }
    }

    pub(crate) fn partition(&self, topic: &str, index: i32) -> Option<&Arc<Partition>> {
        self.by_name.get(topic)?.partition(index)
    }

    /// Whether a topic of that name could be created.
    pub(crate) fn check_new(&self, name: &str, partitions: i32) -> Result<(), Refusal> {
        check_name(name)?;
        if self.by_name.contains_key(name) {
            return Err(Refusal::new(
                ResponseError::TopicAlreadyExists,
                format!("Topic '{name}' already exists."),
            ));
        }
        // Metric names cannot tell '.' from '_', so Kafka lets only one of such names exist.
        if let Some(other) = self.by_name.keys().find(|known| collide(known, name)) {
            return Err(Refusal::new(
                ResponseError::InvalidTopicException,
                format!("Topic '{name}' collides with existing topic: {other}"),
            ));
        }
        if partitions <= 0 {
            return Err(Refusal::new(
                ResponseError::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        }
        Ok(())
    }

    /// Creates a topic under a new id.
    pub(crate) fn create(
        &mut self,
        name: &str,
        partitions: i32,
        configs: TopicConfigs,
    ) -> Result<&Topic, Refusal> {
        self.check_new(name, partitions)?;
        let name: Arc<str> = Arc::from(name);
        let id = new_id();
        let mut topic = Topic {
            name: Arc::clone(&name),
            id,
            configs,
            partitions: Vec::new(),
        };
        topic.grow(partitions);
        self.names.insert(id, Arc::clone(&name));
        Ok(self.by_name.entry(name).or_insert(topic))
    }

    pub(crate) fn delete(&mut self, topic: &TopicRef) -> Result<(Arc<str>, Uuid), Refusal> {
        let name = self.get(topic).map(|found| Arc::clone(&found.name));
        let Some(removed) = name.and_then(|name| self.by_name.remove(&name)) else {
            return Err(topic.unknown());
        };
        self.names.remove(&removed.id);
        for partition in &removed.partitions {
            partition.changed();
        }
        Ok((removed.name, removed.id))
    }

    /// Raises a topic's partition count to `count`.
    pub(crate) fn grow(
        &mut self,
        name: &str,
        count: i32,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let topic = self
            .by_name
            .get_mut(name)
            .ok_or_else(|| TopicRef::name(name).unknown())?;
        let current = topic.partitions.len();
        if usize::try_from(count).is_ok_and(|count| count > current) {
            if !validate_only {
                topic.grow(count);
            }
            return Ok(());
        }
        Err(Refusal::new(
            ResponseError::InvalidPartitions,
            format!(
                "The topic {name} currently has {current} partition(s); {count} would not be an increase."
            ),
        ))
    }

    /// Replaces the configuration of a topic.
    pub(crate) fn configure(&mut self, name: &str, configs: TopicConfigs) {
        if let Some(topic) = self.by_name.get_mut(name) {
            topic.configs = configs;
        }
    }
}

/// `Topic.validate`.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    let problem = if name.is_empty() {
        "it is empty".to_owned()
    } else if name == "." || name == ".." {
        format!("it cannot be {name}")
    } else if name.len() > NAME_MAX {
        format!("it is longer than {NAME_MAX} characters")
    } else if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        "it contains characters other than ASCII alphanumerics, '.', '_' and '-'".to_owned()
    } else {
        return Ok(());
    };
    Err(Refusal::new(
        ResponseError::InvalidTopicException,
        format!("Topic name '{name}' is invalid: {problem}"),
    ))
}

/// Whether two names differ in nothing but '.' and '_'.
fn collide(one: &str, other: &str) -> bool {
    let blurred = |byte: u8| if byte == b'.' { b'_' } else { byte };
    one.len() == other.len() && one.bytes().map(blurred).eq(other.bytes().map(blurred))
}

/// A random id whose text form does not look like a command-line option (`Uuid.randomUuid`).
fn new_id() -> Uuid {
    const DASH_IN_BASE64URL: u8 = 62;
    loop {
        let id = Uuid::new_v4();
        if id.as_bytes()[0] >> 2 != DASH_IN_BASE64URL {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        let mut topics = Topics::default();
        topics
            .create("orders.eu", 2, TopicConfigs::default())
            .unwrap();
        topics
    }

    #[test]
    fn a_topic_created_again_has_another_id_and_an_empty_log() {
        let mut topics = topics();
        let name = TopicRef::name("orders.eu");
        let first = topics.get(&name).unwrap().id;
        assert_eq!(topics.delete(&TopicRef::Id(first)).unwrap().1, first);
        assert!(topics.get(&TopicRef::Id(first)).is_none() && topics.get(&name).is_none());
        let second = topics
            .create("orders.eu", 1, TopicConfigs::default())
            .unwrap()
            .id;
        assert_ne!(first, second);
        assert_eq!(
            topics.delete(&TopicRef::Id(first)).unwrap_err().code,
            ResponseError::UnknownTopicId
        );
    }

    #[test]
    fn names_and_counts_are_checked() {
        let topics = topics();
        for (name, partitions, code) in [
            ("orders.eu", 1, ResponseError::TopicAlreadyExists),
            ("orders_eu", 1, ResponseError::InvalidTopicException),
            ("", 1, ResponseError::InvalidTopicException),
            ("..", 1, ResponseError::InvalidTopicException),
            ("a/b", 1, ResponseError::InvalidTopicException),
            ("new", 0, ResponseError::InvalidPartitions),
        ] {
            assert_eq!(
                topics.check_new(name, partitions).unwrap_err().code,
                code,
                "{name:?} {partitions}"
            );
        }
        assert!(topics.check_new(&"n".repeat(NAME_MAX), 1).is_ok());
        assert!(topics.check_new(&"n".repeat(NAME_MAX + 1), 1).is_err());
    }

    #[test]
    fn partitions_are_only_ever_added() {
        let mut topics = topics();
        topics.grow("orders.eu", 5, true).unwrap();
        assert!(topics.grow("orders.eu", 2, false).is_err());
        topics.grow("orders.eu", 3, false).unwrap();
        assert!(
            topics.partition("orders.eu", 2).is_some()
                && topics.partition("orders.eu", 3).is_none()
        );
        assert!(topics.partition("orders.eu", -1).is_none());
    }
}
