//! Where things lie in an archive: every path, relative to the root, is made here and nowhere else.

use crate::names::{PartitionKey, TopicKey};

/// The file that makes a location an archive.
pub(crate) const ARCHIVE: &str = "armory.json";
/// Topics: genesis documents, incarnation claims and segments.
pub(crate) const TOPICS: &str = "topics";
/// Manifests and forks: what is committed.
pub(crate) const MANIFESTS: &str = "manifests";
/// Hints where chains end, and the counters of generations.
pub(crate) const HEADS: &str = "heads";
/// Snapshots of consumer groups. Those of a topic named `groups` lie in directories beside them.
pub(crate) const GROUP_SNAPSHOTS: &str = "snapshots/groups";
/// How long what each backup wrote is kept.
pub(crate) const RETENTION: &str = "retention";
/// The extension of an open segment on a folder.
pub(crate) const OPEN: &str = "open";
/// The extension of an open segment's sidecar.
pub(crate) const MARK: &str = "mark";
/// Dead letters of backups, in the tree of their manifests.
pub(crate) const DEAD_LETTERS: &str = "dead-letters/topics";
/// Dead letters of restores.
pub(crate) const RESTORE_DEAD_LETTERS: &str = "dead-letters/restores";
/// The extension of files with dead letters.
pub(crate) const DEAD: &str = "dead";
/// The name of the document that starts a lineage after the first.
pub(crate) const FORK: &str = "fork.json";

/// An offset as it appears in names: 20 digits, so that names sort as offsets do.
pub(crate) fn digits(number: i64) -> String {
    debug_assert!(number >= 0);
    format!("{number:020}")
}

/// The offset at the start of a name made by [`digits`].
pub(crate) fn leading_digits(name: &str) -> Option<i64> {
    let digits = name.split('.').next()?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The base and the nonce of a segment's name, whatever its codec.
pub(crate) fn segment_name(name: &str) -> Option<(i64, &str)> {
    let mut parts = name.splitn(4, '.');
    let (digits, nonce, log) = (parts.next()?, parts.next()?, parts.next()?);
    let extension = parts.next();
    let sound = log == "log"
        && is_nonce(nonce)
        && extension.is_none_or(|extension| extension.bytes().all(|b| b.is_ascii_alphanumeric()));
    Some((leading_digits(digits)?, nonce)).filter(|_| sound)
}

/// The base and the nonce of a name of a file with dead letters.
pub(crate) fn dead_letters_name(name: &str) -> Option<(i64, &str)> {
    let (digits, rest) = name.split_once('.')?;
    let nonce = rest.strip_suffix(DEAD)?.strip_suffix('.')?;
    Some((leading_digits(digits)?, nonce)).filter(|_| is_nonce(nonce))
}

/// The last component of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether it is what [`new_nonce`](crate::names::new_nonce) makes.
pub(crate) fn is_nonce(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The base and the nonce of an open segment's file.
pub(crate) fn open_name(name: &str) -> Option<(i64, &str)> {
    let (digits, rest) = name.split_once('.')?;
    let nonce = rest.strip_suffix(OPEN)?.strip_suffix('.')?;
    Some((leading_digits(digits)?, nonce))
}

pub(crate) fn topic_dir(topic: &str) -> String {
    format!("{TOPICS}/{topic}")
}

/// The claim of an incarnation number: `v1.json`, `v2.json` …
pub(crate) fn incarnation(topic: &str, number: u32) -> String {
    format!("{TOPICS}/{topic}/v{number}.json")
}

pub(crate) fn incarnation_dir(key: &TopicKey) -> String {
    format!("{TOPICS}/{}/{}", key.topic, key.topic_id)
}

pub(crate) fn genesis(key: &TopicKey) -> String {
    format!("{}/genesis.json", incarnation_dir(key))
}

pub(crate) fn segment_dir(key: &PartitionKey, lineage: u32) -> String {
    let PartitionKey { topic, partition } = key;
    format!("{}/{partition}/{lineage}", incarnation_dir(topic))
}

pub(crate) fn segment_partition_dir(key: &PartitionKey) -> String {
    format!("{}/{}", incarnation_dir(&key.topic), key.partition)
}

pub(crate) fn segment(key: &PartitionKey, lineage: u32, name: &str) -> String {
    format!("{}/{name}", segment_dir(key, lineage))
}

pub(crate) fn manifests_of_name(topic: &str) -> String {
    format!("{MANIFESTS}/{topic}")
}

pub(crate) fn manifests_of_topic(key: &TopicKey) -> String {
    format!("{}/{}", manifests_of_name(&key.topic), key.topic_id)
}

pub(crate) fn manifests_of_partition(key: &PartitionKey) -> String {
    format!("{}/{}", manifests_of_topic(&key.topic), key.partition)
}

pub(crate) fn manifest_dir(key: &PartitionKey, lineage: u32) -> String {
    format!("{}/{lineage}", manifests_of_partition(key))
}

pub(crate) fn manifest(key: &PartitionKey, lineage: u32, base: i64) -> String {
    format!("{}/{}.json", manifest_dir(key, lineage), digits(base))
}

pub(crate) fn fork(key: &PartitionKey, lineage: u32) -> String {
    format!("{}/{FORK}", manifest_dir(key, lineage))
}

pub(crate) fn dead_letters_dir(key: &PartitionKey, lineage: u32) -> String {
    let PartitionKey { topic, partition } = key;
    format!(
        "{DEAD_LETTERS}/{}/{}/{partition}/{lineage}",
        topic.topic, topic.topic_id
    )
}

/// The dead letters of the manifest at `base` with this nonce.
pub(crate) fn dead_letters(key: &PartitionKey, lineage: u32, base: i64, nonce: &str) -> String {
    let directory = dead_letters_dir(key, lineage);
    format!("{directory}/{}.{nonce}.{DEAD}", digits(base))
}

/// Dead letters of a restore, of source offsets from `base` on.
pub(crate) fn restore_dead_letters(
    restore: &str,
    key: &PartitionKey,
    base: i64,
    nonce: &str,
) -> String {
    let PartitionKey { topic, partition } = key;
    format!(
        "{RESTORE_DEAD_LETTERS}/{restore}/{}/{}/{partition}/{}.{nonce}.{DEAD}",
        topic.topic,
        topic.topic_id,
        digits(base)
    )
}

pub(crate) fn head(writer: &str) -> String {
    format!("{HEADS}/{writer}.json")
}

pub(crate) fn retention(backup_id: &str) -> String {
    format!("{RETENTION}/{backup_id}.json")
}

pub(crate) fn generations(backup_id: &str) -> String {
    format!("{HEADS}/{backup_id}.generations")
}

pub(crate) fn snapshots(key: &TopicKey) -> String {
    format!("snapshots/{}/{}", key.topic, key.topic_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::TopicId;

    #[test]
    fn paths_are_as_documented() {
        let topic = TopicKey::new(
            "orders",
            "AAECAwQFBgcICQoLDA0ODw".parse::<TopicId>().unwrap(),
        );
        let key = topic.partition(3);
        let id = "AAECAwQFBgcICQoLDA0ODw";
        assert_eq!(genesis(&topic), format!("topics/orders/{id}/genesis.json"));
        assert_eq!(incarnation("orders", 2), "topics/orders/v2.json");
        assert_eq!(
            segment(&key, 0, "00000000000000000017.ab.log"),
            format!("topics/orders/{id}/3/0/00000000000000000017.ab.log")
        );
        assert_eq!(
            manifest(&key, 1, 17),
            format!("manifests/orders/{id}/3/1/00000000000000000017.json")
        );
        assert_eq!(
            fork(&key, 1),
            format!("manifests/orders/{id}/3/1/fork.json")
        );
        assert_eq!(head("nightly"), "heads/nightly.json");
    }

    #[test]
    fn names_give_their_offset_back() {
        assert_eq!(leading_digits("00000000000000000017.ab.log"), Some(17));
        assert_eq!(leading_digits(&digits(i64::MAX)), Some(i64::MAX));
        assert_eq!(leading_digits("17.json"), None);
        assert_eq!(leading_digits("fork.json"), None);
        assert_eq!(leading_digits("99999999999999999999.json"), None);
    }
}
