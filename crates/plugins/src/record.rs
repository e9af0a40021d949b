//! Records as they enter and leave a chain of plugins, independent of any version of the contract.

/// The milliseconds since the epoch that stand for "no timestamp" in Kafka (`RecordBatch.NO_TIMESTAMP`).
pub const NO_TIMESTAMP: i64 = -1;

/// A record as it is handed to a chain: borrowed from a decoded batch.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    /// `None` is a record without a key, which is not an empty key.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone, which is not an empty value.
    pub value: Option<&'a [u8]>,
    /// Key and value of every header, in order, duplicates included.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
    /// The partition that the record was read from.
    pub partition: i32,
    /// The offset that the record was read from.
    pub offset: i64,
    /// When the record was made, and by whose clock.
    pub timestamp: Timestamp,
}

/// When a record was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// Whose clock it comes from.
    pub kind: TimestampKind,
    /// Milliseconds since the epoch; [`NO_TIMESTAMP`] when there is none.
    pub time: i64,
}

impl Timestamp {
    /// The timestamp of a record that lies in a batch with timestamps of this kind: a negative one is none.
    pub fn of_record(kind: TimestampKind, time: i64) -> Self {
        let kind = match time {
            ..0 => TimestampKind::None,
            _ => kind,
        };
        Self { kind, time }
    }
}

/// Whose clock a timestamp comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampKind {
    /// The record has no timestamp.
    None,
    /// The producer's clock.
    CreateTime,
    /// The broker's clock, when it appended the record.
    LogAppendTime,
}

/// A header that came out of a plugin.
pub type Header = (String, Option<Vec<u8>>);

/// A record that a chain has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// `None` is a record without a key, which is not an empty key.
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone, which is not an empty value.
    pub value: Option<Vec<u8>>,
    /// Key and value of every header, in order, duplicates included.
    pub headers: Vec<Header>,
    /// Backup: always the source's partition. Restore: the partition of the target to write to; `None` leaves the choice to
    /// the default partitioner.
    pub partition: Option<i32>,
    /// Milliseconds since the epoch; [`NO_TIMESTAMP`] when there is none. The kind stays that of the record that went in.
    pub timestamp: i64,
}

/// What a chain made of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every plugin accepted the record, and it is what it was in every field that counts.
    Unchanged,
    /// Every plugin accepted the record; this is what it is now.
    Changed(OwnedRecord),
    /// A plugin rejected the record: it is not passed on.
    Filtered,
    /// A plugin failed on the record, and its error policy says to drop it.
    Dropped {
        /// The label of the entry that failed.
        plugin: String,
        /// How it failed.
        class: crate::FailureClass,
    },
    /// A plugin failed on the record, and its error policy says to put it aside.
    DeadLettered(Box<Failed>),
}

/// How a plugin failed on a record that is put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The label of the entry that failed.
    pub plugin: String,
    /// The SHA-256 of its component.
    pub digest: String,
    /// How it failed.
    pub class: crate::FailureClass,
    /// What the plugin said, or what the host saw.
    pub message: String,
    /// The functions of the plugin in which a fault happened, innermost first, as far as they have names.
    pub backtrace: Vec<String>,
}
