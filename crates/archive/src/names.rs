//! What things are called in an archive: topics with their ids, partitions, writers.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::ArchiveError;

/// The directory name of topics whose cluster gives them no id (before KIP-516).
const NO_ID: &str = "no-id";

/// A topic's id as the cluster assigned it (KIP-516), or the lack of one.
///
/// Its text form is Kafka's own: base64url without padding, 22 characters; `no-id` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicId {
    /// The cluster's id of this incarnation of the topic.
    Id(Uuid),
    /// The cluster or topic has no ids: re-creations of the topic cannot be told apart.
    None,
}

impl From<Option<Uuid>> for TopicId {
    /// The zero id, which Kafka uses for "no id", becomes [`TopicId::None`].
    fn from(id: Option<Uuid>) -> Self {
        match id {
            Some(id) if !id.is_nil() => Self::Id(id),
            _ => Self::None,
        }
    }
}

impl From<Uuid> for TopicId {
    fn from(id: Uuid) -> Self {
        Self::from(Some(id))
    }
}

impl TopicId {
    /// The id as a UUID, if there is one.
    pub fn uuid(&self) -> Option<Uuid> {
        match self {
            Self::Id(id) => Some(*id),
            Self::None => None,
        }
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(&URL_SAFE_NO_PAD.encode(id.as_bytes())),
            Self::None => f.write_str(NO_ID),
        }
    }
}

impl FromStr for TopicId {
    type Err = ArchiveError;

    fn from_str(text: &str) -> Result<Self, ArchiveError> {
        let invalid = || ArchiveError::InvalidName {
            kind: "topic id",
            name: text.to_owned(),
            rule: "22 characters of base64url, as Kafka prints it, or no-id",
        };
        if text == NO_ID {
            return Ok(Self::None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let id = Uuid::from_slice(&bytes).map_err(|_| invalid())?;
        if id.is_nil() {
            return Err(invalid());
        }
        Ok(Self::Id(id))
    }
}

impl Serialize for TopicId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TopicId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One incarnation of a topic: its name and the id it had.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicKey {
    /// The topic's name.
    pub topic: String,
    /// The topic's id; a topic that was deleted and created again has another one.
    pub topic_id: TopicId,
}

impl TopicKey {
    /// A key for topic `topic` with id `topic_id`.
    pub fn new(topic: impl Into<String>, topic_id: impl Into<TopicId>) -> Self {
        Self {
            topic: topic.into(),
            topic_id: topic_id.into(),
        }
    }

    /// The key of one of its partitions.
    pub fn partition(&self, partition: i32) -> PartitionKey {
        PartitionKey {
            topic: self.clone(),
            partition,
        }
    }

    /// Checks the name by Kafka's rule (`org.apache.kafka.common.internals.Topic`), on which the layout
    /// relies: such a name is a path component as it stands, on every storage.
    pub(crate) fn check(&self) -> Result<(), ArchiveError> {
        check_name("topic", &self.topic, 249)
    }
}

impl fmt::Display for TopicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.topic, self.topic_id)
    }
}

/// One partition of one incarnation of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionKey {
    /// The topic.
    pub topic: TopicKey,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl PartitionKey {
    /// A key for partition `partition` of `topic`.
    pub fn new(topic: TopicKey, partition: i32) -> Self {
        Self { topic, partition }
    }

    pub(crate) fn check(&self) -> Result<(), ArchiveError> {
        self.topic.check()?;
        if self.partition < 0 {
            return Err(ArchiveError::InvalidName {
                kind: "partition",
                name: self.partition.to_string(),
                rule: "a number from 0",
            });
        }
        Ok(())
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{} ({})",
            self.topic.topic, self.partition, self.topic.topic_id
        )
    }
}

/// Who writes: the backup, how often it was (re)defined, and this very process.
///
/// Fencing compares these: of the same backup the higher group generation wins, and within one the higher generation;
/// another backup is never written over. An equal generation with another nonce is a restart of the same writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterIdentity {
    /// The backup, e.g. the resource's name or uid. Letters, digits, `.`, `_` and `-`; at most 200.
    pub backup_id: String,
    /// Counted up with every process; see [`Archive::begin_writing`](crate::Archive::begin_writing).
    pub generation: u64,
    /// Counted up whenever the work is dealt out anew among the backup's workers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub group_generation: u64,
    /// Which worker it is, as `index/workers`, where there are several; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Random, one a process.
    pub nonce: String,
}

impl WriterIdentity {
    /// An identity for this process, with a fresh random nonce.
    pub fn new(backup_id: impl Into<String>, generation: u64) -> Self {
        Self {
            backup_id: backup_id.into(),
            generation,
            group_generation: 0,
            worker: None,
            nonce: new_nonce(),
        }
    }

    /// What orders the writers of one backup: the greater one is newer.
    pub fn order(&self) -> (u64, u64) {
        (self.group_generation, self.generation)
    }

    pub(crate) fn check(&self) -> Result<(), ArchiveError> {
        check_name("backup id", &self.backup_id, 200)?;
        check_name("writer nonce", &self.nonce, 64)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl fmt::Display for WriterIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "backup {} generation {}",
            self.backup_id, self.generation
        )?;
        if let Some(worker) = &self.worker {
            write!(f, " worker {worker}")?;
        }
        if self.group_generation > 0 {
            write!(f, " of group generation {}", self.group_generation)?;
        }
        write!(f, " ({})", self.nonce)
    }
}

/// 16 random hexadecimal digits.
pub(crate) fn new_nonce() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Checks that `name` is safe as one path component on every storage.
pub(crate) fn check_name(
    kind: &'static str,
    name: &str,
    longest: usize,
) -> Result<(), ArchiveError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let sound = !name.is_empty()
        && name.len() <= longest
        && name != "."
        && name != ".."
        && name.chars().all(allowed);
    if sound {
        return Ok(());
    }
    Err(ArchiveError::InvalidName {
        kind,
        name: name.to_owned(),
        rule: "letters, digits, '.', '_' and '-'",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_print_as_kafka_does() {
        // org.apache.kafka.common.Uuid of bytes 0..16
        let id = Uuid::from_bytes(std::array::from_fn(|i| i as u8));
        let text = TopicId::from(id).to_string();
        assert_eq!(text, "AAECAwQFBgcICQoLDA0ODw");
        assert_eq!(text.parse::<TopicId>().unwrap(), TopicId::Id(id));
        assert_eq!(TopicId::from(None).to_string(), "no-id");
        assert_eq!("no-id".parse::<TopicId>().unwrap(), TopicId::None);
        assert_eq!(TopicId::from(Uuid::nil()), TopicId::None);
        assert!("AAAAAAAAAAAAAAAAAAAAAA".parse::<TopicId>().is_err());
        assert!("../../etc".parse::<TopicId>().is_err());
    }

    #[test]
    fn names_that_would_leave_their_folder_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(250)] {
            assert!(TopicKey::new(bad, None).check().is_err(), "{bad}");
        }
        assert!(TopicKey::new("orders.v1_x-y", None).check().is_ok());
        assert!(TopicKey::new("t", None).partition(-1).check().is_err());
    }
}
