//! Dead letters: records that a plugin failed on, put aside as they were read.
//!
//! Those of a backup's stretch are a file that its manifest names; those of a restore are files that its report names. So they count
//! exactly when what they belong to does: a file that nobody names was left by a try that came to nothing.
//!
//! A file is a list of lines of JSON. The first one says whose records they are, each further one is a record with what
//! happened to it, in the order of offsets.

use armory_records::{BatchBuilder, BatchOptions, Record, TimestampType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::history::HistoryPart;
use crate::layout;
use crate::location::Location;
use crate::manifest::{IndexEntry, Manifest, NO_TIMESTAMP, Segment, Timestamps};
use crate::names::{PartitionKey, TopicId, new_nonce};
use crate::sealed::FORMAT;
use crate::storage::{Storage, blocking};
use crate::writer::sidecar;

/// A record that a plugin failed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its offset in the source.
    pub offset: i64,
    /// Its timestamp in ms since 1970; −1 for none.
    pub timestamp: i64,
    /// Whose clock that is from.
    pub timestamp_type: ClockType,
    /// Its key, which may be none.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub key: Option<Bytes>,
    /// Its value, which may be none.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<LetterHeader>,
    /// The label of the plugin entry that failed.
    pub plugin: String,
    /// The digest of that plugin.
    pub digest: String,
    /// How it failed: `rejected`, `error`, `fault` or `headerKeyNotUtf8`.
    pub class: String,
    /// What the plugin said, or what its host saw.
    pub message: String,
    /// Where in the plugin it happened, innermost function first; empty where that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
}

/// A header of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterHeader {
    /// Its key; any bytes.
    #[serde(
        serialize_with = "bytes_to_base64",
        deserialize_with = "bytes_from_base64"
    )]
    pub key: Bytes,
    /// Its value, which may be none.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub value: Option<Bytes>,
}

/// Whose clock a timestamp is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockType {
    /// The producer's.
    CreateTime,
    /// The broker's.
    LogAppendTime,
}

impl From<TimestampType> for ClockType {
    fn from(kind: TimestampType) -> Self {
        match kind {
            TimestampType::CreateTime => Self::CreateTime,
            TimestampType::LogAppendTime => Self::LogAppendTime,
        }
    }
}

impl From<ClockType> for TimestampType {
    fn from(kind: ClockType) -> Self {
        match kind {
            ClockType::CreateTime => Self::CreateTime,
            ClockType::LogAppendTime => Self::LogAppendTime,
        }
    }
}

fn to_base64<S: Serializer>(bytes: &Option<Bytes>, to: S) -> Result<S::Ok, S::Error> {
    bytes
        .as_ref()
        .map(|bytes| STANDARD.encode(bytes))
        .serialize(to)
}

fn from_base64<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bytes>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    let decoded = text.map(|text| STANDARD.decode(text).map(Bytes::from));
    decoded.transpose().map_err(serde::de::Error::custom)
}

fn bytes_to_base64<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
    STANDARD.encode(bytes).serialize(to)
}

fn bytes_from_base64<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(from)?;
    let decoded = STANDARD.decode(text).map(Bytes::from);
    decoded.map_err(serde::de::Error::custom)
}

impl DeadLetter {
    /// Bytes of memory that it takes, about.
    pub fn heap_bytes(&self) -> usize {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|header| size_of::<LetterHeader>() + header.key.len() + len(&header.value))
            .sum();
        let backtrace: usize = self.backtrace.iter().map(String::len).sum();
        size_of::<Self>()
            + len(&self.key)
            + len(&self.value)
            + headers
            + self.plugin.len()
            + self.digest.len()
            + self.message.len()
            + backtrace
    }

    /// The record as a batch of its own, at its offset.
    pub fn batch(&self) -> Result<Vec<u8>, armory_records::BatchError> {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: self.offset,
            timestamp_type: self.timestamp_type.into(),
            ..BatchOptions::default()
        });
        let headers = self.headers.iter();
        builder.append(
            self.offset,
            self.timestamp,
            self.key.as_deref(),
            self.value.as_deref(),
            headers.map(|header| (&*header.key, header.value.as_deref())),
        );
        let mut bytes = Vec::new();
        builder.finish(&mut bytes)?;
        Ok(bytes)
    }

    /// The record `record` of a batch with timestamps of this type, before anybody says what happened to it.
    pub fn of(record: &Record<'_>, kind: TimestampType) -> Self {
        let headers = record.headers.iter();
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            timestamp_type: kind.into(),
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            headers: headers
                .map(|(key, value)| LetterHeader {
                    key: Bytes::copy_from_slice(key),
                    value: value.map(Bytes::copy_from_slice),
                })
                .collect(),
            plugin: String::new(),
            digest: String::new(),
            class: String::new(),
            message: String::new(),
            backtrace: Vec::new(),
        }
    }
}

/// A file of dead letters, as whatever it belongs to names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetters {
    /// The file's path, relative to the archive's root.
    pub place: String,
    /// How many they are.
    pub records: u64,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// The BLAKE3 hash of the file, in hexadecimal.
    pub blake3: String,
    /// The size of the largest of them as a batch of its own, in bytes.
    pub largest_batch: u64,
    /// The range of their timestamps, which is exact; nothing if none has any.
    pub timestamps: Option<Timestamps>,
}

/// The first line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Heading {
    format: u32,
    requires: Vec<String>,
    topic: String,
    topic_id: TopicId,
    partition: i32,
}

impl DeadLetters {
    /// The file that these make, which is to lie at `place`, and its text.
    pub(crate) fn of(
        place: String,
        key: &PartitionKey,
        letters: &[DeadLetter],
    ) -> Result<(Self, Bytes), ArchiveError> {
        let json =
            |text: Result<Vec<u8>, serde_json::Error>| text.expect("a dead letter is plain JSON");
        let heading = Heading {
            format: FORMAT,
            requires: Vec::new(),
            topic: key.topic.topic.clone(),
            topic_id: key.topic.topic_id,
            partition: key.partition,
        };
        let mut text = json(serde_json::to_vec(&heading));
        text.push(b'\n');
        let mut largest_batch = 0;
        let mut times: Option<(i64, i64)> = None;
        for letter in letters {
            text.extend(json(serde_json::to_vec(letter)));
            text.push(b'\n');
            let batch = letter.batch();
            let batch = batch.map_err(|error| ArchiveError::damaged(&place, error.to_string()))?;
            largest_batch = largest_batch.max(batch.len() as u64);
            let time = letter.timestamp;
            if time != NO_TIMESTAMP {
                let (min, max) = times.unwrap_or((time, time));
                times = Some((min.min(time), max.max(time)));
            }
        }
        let named = Self {
            place,
            records: letters.len() as u64,
            bytes: text.len() as u64,
            blake3: blake3::hash(&text).to_hex().to_string(),
            largest_batch,
            timestamps: times.map(|(min, max)| Timestamps {
                min,
                max,
                min_exact: true,
            }),
        };
        Ok((named, text.into()))
    }

    /// Reads the file's text.
    fn parse(&self, key: &PartitionKey, text: &[u8]) -> Result<Vec<DeadLetter>, ArchiveError> {
        let wrong = |what: String| ArchiveError::damaged(&self.place, what);
        if text.len() as u64 != self.bytes || blake3::hash(text).to_hex().as_str() != self.blake3 {
            return Err(wrong(
                "it is not what its name was written down for".to_owned(),
            ));
        }
        let mut lines = text.split(|byte| *byte == b'\n');
        let heading = lines.next().unwrap_or_default();
        let not_json = |error: serde_json::Error| wrong(format!("not as expected: {error}"));
        let heading: Heading = serde_json::from_slice(heading).map_err(not_json)?;
        if let Some(requirement) = heading.requires.first() {
            return Err(ArchiveError::Unsupported {
                place: self.place.clone(),
                requirement: requirement.clone(),
            });
        }
        let owner = (&heading.topic, heading.topic_id, heading.partition);
        if owner != (&key.topic.topic, key.topic.topic_id, key.partition) {
            return Err(wrong("it is another partition's".to_owned()));
        }
        let lines = lines.filter(|line| !line.is_empty());
        let letters = lines
            .map(serde_json::from_slice)
            .collect::<Result<Vec<DeadLetter>, _>>();
        let letters = letters.map_err(not_json)?;
        let ascending = letters.is_sorted_by(|a, b| a.offset < b.offset);
        if letters.len() as u64 != self.records || !ascending {
            return Err(wrong(
                "its records are not those that were written down".to_owned(),
            ));
        }
        Ok(letters)
    }
}

/// Where the dead letters of restores are kept: where their report is.
#[derive(Debug, Clone)]
pub struct DeadLetterStore {
    storage: Storage,
}

impl DeadLetterStore {
    /// In an archive.
    pub fn new(archive: &Archive) -> Self {
        Self {
            storage: archive.storage().clone(),
        }
    }

    /// Beside a report that is kept elsewhere.
    pub fn at(location: &Location) -> Self {
        Self {
            storage: Storage::new(location),
        }
    }

    /// Stores dead letters of source offsets from `base` on, of a restore. They count once something names them.
    pub async fn store(
        &self,
        restore: &str,
        key: &PartitionKey,
        base: i64,
        letters: &[DeadLetter],
    ) -> Result<DeadLetters, ArchiveError> {
        let place = layout::restore_dead_letters(restore, key, base, &new_nonce());
        let (named, text) = DeadLetters::of(place, key, letters)?;
        self.storage.replace(&named.place, text).await?;
        Ok(named)
    }

    /// Reads dead letters.
    pub async fn read(
        &self,
        key: &PartitionKey,
        named: &DeadLetters,
    ) -> Result<Vec<DeadLetter>, ArchiveError> {
        match self.storage.get(&named.place).await? {
            Some(text) => named.parse(key, &text),
            None => Err(ArchiveError::damaged(&named.place, "it is missing")),
        }
    }
}

impl Manifest {
    /// The manifest as it would be if its dead letters were its records.
    fn with_letters_as_records(self) -> Self {
        let letters = self.dead_letters.clone();
        let records = letters.as_ref().map_or(0, |letters| letters.records);
        let segment = letters.as_ref().map(|letters| Segment {
            name: layout::file_name(&letters.place).to_owned(),
            codec: crate::Codec::None,
            stored_bytes: letters.bytes,
            raw_bytes: letters.bytes,
            blake3: letters.blake3.clone(),
            index: vec![IndexEntry {
                offset: self.base,
                position: 0,
                stored_position: 0,
                min_timestamp: letters.timestamps.map_or(NO_TIMESTAMP, |times| times.min),
                max_timestamp: letters.timestamps.map_or(NO_TIMESTAMP, |times| times.max),
                observed_at: self.committed_at,
            }],
        });
        Self {
            segment: segment.filter(|_| self.pruned.is_none()),
            pruned: self.pruned.clone().filter(|_| letters.is_some()),
            batches: records,
            records,
            largest_batch: letters.as_ref().map_or(0, |letters| letters.largest_batch),
            timestamps: letters.as_ref().and_then(|letters| letters.timestamps),
            letters_as_records: true,
            ..self
        }
    }
}

impl Archive {
    /// A partition's [`history`](Self::history) in which the dead letters of every manifest take the place of its records: what reads
    /// segments reads them.
    pub async fn dead_letter_history(
        &self,
        key: &PartitionKey,
        lineage: Option<u32>,
    ) -> Result<Vec<HistoryPart>, ArchiveError> {
        let parts = self.history(key, lineage).await?.into_iter();
        let parts = parts.map(|part| HistoryPart {
            manifest: part.manifest.with_letters_as_records(),
            ..part
        });
        Ok(parts.collect())
    }

    /// The dead letters that belong to a manifest, in the order of their offsets.
    pub async fn dead_letters(&self, manifest: &Manifest) -> Result<Vec<DeadLetter>, ArchiveError> {
        let Some(named) = &manifest.dead_letters else {
            return Ok(Vec::new());
        };
        if let Some(pruned) = manifest.pruned_error() {
            return Err(pruned);
        }
        let key = manifest.partition_key();
        if manifest.open {
            return self.open_dead_letters(&key, manifest, named).await;
        }
        match DeadLetterStore::new(self).read(&key, named).await {
            Ok(letters) => Ok(letters),
            Err(error) => Err(self.unless_pruned(manifest, error).await),
        }
    }

    /// Those of an open segment, which are in its sidecar; or in a file, if it was committed meanwhile.
    async fn open_dead_letters(
        &self,
        key: &PartitionKey,
        manifest: &Manifest,
        named: &DeadLetters,
    ) -> Result<Vec<DeadLetter>, ArchiveError> {
        if let Some(folder) = self.storage().folder() {
            let (path, place) = (folder.path(&named.place), named.place.clone());
            let content = blocking(move || sidecar::read(&path, &place)).await?;
            if content.header.is_some() {
                let mut letters = content.mark.map_or_else(Vec::new, |mark| mark.dead_letters);
                letters.retain(|letter| letter.offset < manifest.next);
                return Ok(letters);
            }
        }
        let committed = self
            .read_manifest(key, manifest.lineage, manifest.base)
            .await?;
        let committed = committed.filter(|committed| committed.nonce == manifest.nonce);
        let Some(named) = committed
            .as_ref()
            .and_then(|there| there.dead_letters.as_ref())
        else {
            return Err(ArchiveError::damaged(&named.place, "it is missing"));
        };
        let mut letters = DeadLetterStore::new(self).read(key, named).await?;
        letters.retain(|letter| letter.offset < manifest.next);
        Ok(letters)
    }

    /// The dead letters of a manifest whose records they are taken for, as batches.
    pub(crate) async fn letters_as_batches(
        &self,
        manifest: &Manifest,
    ) -> Result<Bytes, ArchiveError> {
        let mut batches = Vec::new();
        for letter in self.dead_letters(manifest).await? {
            let batch = letter.batch();
            let place = manifest.place();
            let batch = batch.map_err(|error| ArchiveError::damaged(place, error.to_string()))?;
            batches.extend(batch);
        }
        Ok(batches.into())
    }
}
