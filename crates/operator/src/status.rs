//! `status`: the word that people read, and the conditions that scripts wait for.

use std::fmt;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pod::Places;
use crate::reason::Reason;

/// The longest sentence in a status, in bytes. An object with a status has to stay small.
const LONGEST_SENTENCE: usize = 1024;

/// The status of any of our kinds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// The word, with its sign.
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) observed_generation: Option<i64>,
    /// Of a Restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_time: Option<String>,
    /// Of a Restore that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) completion_time: Option<String>,
    /// Of a Restore that has begun: which one. It never runs again under another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<String>,
    /// Of a Storage or an EventHub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
    /// Of an EventHub.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// How far the workers are, as they said it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Progress>,
}

/// `status.progress`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Progress {
    /// Records that are safe: archived, or restored.
    pub(crate) records: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Of a restore: how many there are in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) records_total: Option<u64>,
    /// Of a restore: 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) percent: Option<u64>,
    /// Of a backup: records that the cluster has and the archive has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lag: Option<u64>,
    /// When this was seen, RFC 3339.
    pub(crate) observed: String,
}

/// One of `status.conditions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) last_transition_time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) observed_generation: Option<i64>,
}

/// The words of the documented interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Draft,
    Paused,
    Initializing,
    Streaming,
    Restoring,
    Ready,
    Invalid,
    Failed,
    Error,
    Done,
}

impl Word {
    fn sign(self) -> &'static str {
        match self {
            Word::Draft => "📝",
            Word::Paused => "⏸️",
            Word::Initializing => "⏳",
            Word::Streaming | Word::Restoring => "🚀",
            Word::Ready => "🟢",
            Word::Invalid | Word::Failed | Word::Error => "❌",
            Word::Done => "✅",
        }
    }

    /// Something is wrong.
    pub(crate) fn is_bad(self) -> bool {
        matches!(self, Word::Invalid | Word::Failed | Word::Error)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self:?}", self.sign())
    }
}

/// What is said of a Storage or an EventHub that nothing is wrong with.
pub(crate) const DESCRIBED: &str = "it is described completely; a Backup or a Restore that uses it tells whether it can be reached";

/// What is found to be so, before it is compared with what the status says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) word: Word,
    /// The first one is `Ready`.
    pub(crate) conditions: Vec<Found>,
}

/// A condition, found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) kind: &'static str,
    /// `None` is Unknown.
    pub(crate) status: Option<bool>,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Found {
    pub(crate) fn new(
        kind: &'static str,
        status: impl Into<Option<bool>>,
        reason: Reason,
        message: impl Into<String>,
    ) -> Found {
        Found {
            kind,
            status: status.into(),
            reason,
            message: message.into(),
        }
    }
}

impl Finding {
    /// A word with the condition `Ready`, which every kind has.
    pub(crate) fn new(
        word: Word,
        ready: bool,
        reason: Reason,
        message: impl Into<String>,
    ) -> Finding {
        Finding {
            word,
            conditions: vec![Found::new("Ready", ready, reason, message)],
        }
    }

    pub(crate) fn with(mut self, found: Found) -> Finding {
        self.conditions.push(found);
        self
    }

    /// With what is worth knowing and no error, as the condition `Notes`.
    pub(crate) fn with_notes(self, notes: &[String]) -> Finding {
        if notes.is_empty() {
            return self;
        }
        self.with(Found::new(
            "Notes",
            true,
            Reason::WorthKnowing,
            notes.join("; "),
        ))
    }

    /// With what pods say in the words of the cluster.
    pub(crate) fn in_words(mut self, places: &Places<'_>) -> Finding {
        for condition in &mut self.conditions {
            condition.message = places.in_words(&condition.message);
        }
        self
    }

    /// The sentence of the condition `Ready`.
    pub(crate) fn sentence(&self) -> (Reason, &str) {
        let ready = &self.conditions[0];
        (ready.reason, &ready.message)
    }

    /// The status that says so. A condition's transition time stays where its status stays.
    pub(crate) fn status(
        &self,
        before: Option<&Status>,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Status {
        let old = before.map_or(&[][..], |before| &before.conditions);
        let conditions = self.conditions.iter().map(|found| {
            let status = match found.status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            let since = old
                .iter()
                .find(|old| old.kind == found.kind && old.status == status)
                .map(|old| old.last_transition_time.clone());
            Condition {
                kind: found.kind.to_owned(),
                status: status.to_owned(),
                reason: found.reason.to_string(),
                message: bounded(&found.message),
                last_transition_time: since.unwrap_or_else(|| seconds(now)),
                observed_generation: generation,
            }
        });
        Status {
            message: self.word.to_string(),
            conditions: conditions.collect(),
            observed_generation: generation,
            ..before.cloned().unwrap_or_default()
        }
    }
}

impl Status {
    pub(crate) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.kind == kind)
    }
}

/// RFC 3339, whole seconds, as Kubernetes writes times.
pub(crate) fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A sentence that fits.
pub(crate) fn bounded(text: &str) -> String {
    if text.len() <= LONGEST_SENTENCE {
        return text.to_owned();
    }
    let mut end = LONGEST_SENTENCE;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} …", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_transition_is_a_change_of_status_only() {
        let first = Finding::new(Word::Initializing, false, Reason::Starting, "a").status(
            None,
            Some(1),
            at(0),
        );
        assert_eq!(first.message, "⏳ Initializing");
        let second = Finding::new(Word::Error, false, Reason::InvalidSpec, "b").status(
            Some(&first),
            Some(2),
            at(60),
        );
        assert_eq!(
            second.conditions[0].last_transition_time,
            "1970-01-01T00:00:00Z"
        );
        assert_eq!(second.conditions[0].message, "b");
        let third = Finding::new(Word::Streaming, true, Reason::Streaming, "c").status(
            Some(&second),
            Some(2),
            at(61),
        );
        assert_eq!(
            third.conditions[0].last_transition_time,
            "1970-01-01T00:01:01Z"
        );
    }

    #[test]
    fn what_was_known_of_a_run_stays() {
        let before = Status {
            run: Some("x".into()),
            location: Some("s3://b".into()),
            ..Status::default()
        };
        let after =
            Finding::new(Word::Done, true, Reason::Done, "").status(Some(&before), None, at(0));
        assert_eq!(after.run.as_deref(), Some("x"));
        assert_eq!(after.location.as_deref(), Some("s3://b"));
    }

    #[test]
    fn sentences_are_bounded() {
        let long = "ä".repeat(2000);
        let short = bounded(&long);
        assert!(short.len() < 1040 && short.ends_with('…'));
        assert_eq!(bounded("x"), "x");
    }
}
