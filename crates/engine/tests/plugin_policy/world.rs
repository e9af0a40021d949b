//! A cluster, a folder for archives and plugins, and records of which some are bad.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use armory_archive::{Archive, DeadLetter, GapCause, Location, Manifest, SegmentReader, TopicKey};
use armory_broker::Broker;
use armory_engine::{BackupProgress, EngineError, Observer, Remark, RestoreProgress, backup};
use armory_kafka::{Client, ClientConfig, NewTopic, TopicFilter};
use armory_plugins::World;
use armory_records::{BatchBuilder, BatchOptions, Batches, DecodeBuffer};
use armory_resources::job::{
    BackupJob, KafkaEndpoint, NameMatcher, PluginEntry, PluginErrorAction, PluginErrorPolicy,
    PluginLimits, PluginSource, StorageLocation, TopicSelection,
};
use tokio_util::sync::CancellationToken;

use super::guests::{BAD, GuestText};

/// How a record fails: what a guest does on a bad one, and what makes a record bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Rejected,
    Error,
    Fault,
    HeaderKeyNotUtf8,
}

pub(crate) const CLASSES: [Class; 4] = [
    Class::Rejected,
    Class::Error,
    Class::Fault,
    Class::HeaderKeyNotUtf8,
];

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Error => "error",
            Self::Fault => "fault",
            Self::HeaderKeyNotUtf8 => "headerKeyNotUtf8",
        }
    }

    /// What the guest that fails like that does on a record whose value is [`BAD`].
    fn on_bad(self) -> String {
        let reject = format!(
            "(drop {}) (i32.store8 (i32.const 2048) (i32.const 1)) (return (i32.const 2048))",
            super::guests::ACCEPT
        );
        match self {
            Self::Rejected => reject,
            Self::Error => "(return (call $error))".to_owned(),
            Self::Fault => "unreachable".to_owned(),
            Self::HeaderKeyNotUtf8 => String::new(),
        }
    }

    /// A policy that has this action in this cell, and stops at whatever else.
    pub(crate) fn only(self, action: PluginErrorAction) -> PluginErrorPolicy {
        let mut policy = PluginErrorPolicy {
            rejected: PluginErrorAction::Fail,
            ..PluginErrorPolicy::default()
        };
        let cell = match self {
            Self::Rejected => &mut policy.rejected,
            Self::Error => &mut policy.error,
            Self::Fault => &mut policy.fault,
            Self::HeaderKeyNotUtf8 => &mut policy.header_key_not_utf8,
        };
        *cell = action;
        policy
    }
}

/// Whether a record is bad, in the way of this class.
pub(crate) type Bad = bool;

/// A record as it is compared: offset, value, and whether it has the header that is not UTF-8.
pub(crate) type Row = (i64, Vec<u8>, bool);

pub(crate) fn row(offset: i64, bad: Bad, class: Class) -> Row {
    let by_header = class == Class::HeaderKeyNotUtf8;
    let value = match bad && !by_header {
        true => BAD.to_vec(),
        false => format!("good {offset}").into_bytes(),
    };
    (offset, value, bad && by_header)
}

/// What is remarked, and the last progress.
#[derive(Default)]
pub(crate) struct Watch {
    remarks: Mutex<Vec<String>>,
    pub(crate) backup: Mutex<BackupProgress>,
    pub(crate) restore: Mutex<RestoreProgress>,
}

impl Observer for Watch {
    fn backup_progress(&self, progress: &BackupProgress) {
        *self.backup.lock().unwrap() = progress.clone();
    }

    fn restore_progress(&self, progress: &RestoreProgress) {
        *self.restore.lock().unwrap() = progress.clone();
    }

    fn remark(&self, remark: &Remark) {
        self.remarks.lock().unwrap().push(remark.text.clone());
    }
}

impl Watch {
    pub(crate) async fn remarked(&self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let remarks = self.remarks.lock().unwrap().clone();
            if remarks.iter().any(|text| text.contains(words)) {
                return;
            }
            assert!(Instant::now() < deadline, "{words}: {remarks:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) struct Test {
    pub(crate) broker: Broker,
    pub(crate) client: Client,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) watch: Arc<Watch>,
}

impl Test {
    pub(crate) async fn start() -> Test {
        let broker = Broker::start().await.unwrap();
        let endpoint = KafkaEndpoint::from_bootstrap(broker.bootstrap());
        let config = ClientConfig::from_properties(&endpoint.properties).unwrap();
        Test {
            client: Client::new(config).unwrap(),
            broker,
            folder: tempfile::tempdir().unwrap(),
            watch: Arc::default(),
        }
    }

    pub(crate) fn endpoint(&self) -> KafkaEndpoint {
        KafkaEndpoint::from_bootstrap(self.broker.bootstrap())
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    pub(crate) fn storage(&self) -> StorageLocation {
        StorageLocation::Folder { path: self.root() }
    }

    pub(crate) async fn archive(&self) -> Archive {
        Archive::open(Location::Folder(self.root())).await.unwrap()
    }

    pub(crate) async fn create(&self, name: &str, partitions: i32) -> TopicKey {
        let new = NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: None,
            configs: BTreeMap::new(),
        };
        self.client.create_topics(&[new], false).await.unwrap();
        self.key(name).await
    }

    pub(crate) async fn key(&self, name: &str) -> TopicKey {
        let names = [name.to_owned()];
        let metadata = self.client.metadata(TopicFilter::Names(&names)).await;
        TopicKey::new(name, metadata.unwrap().topics[0].id)
    }

    /// Appends batches, each of so many records, good and bad ones. Returns the offset after the last one.
    pub(crate) fn append(
        &self,
        topic: &str,
        partition: i32,
        mut offset: i64,
        batches: &[&[Bad]],
        class: Class,
    ) -> i64 {
        for batch in batches {
            let mut builder = BatchBuilder::new(BatchOptions {
                base_offset: offset,
                ..BatchOptions::default()
            });
            for bad in *batch {
                let (_, value, header) = row(offset, *bad, class);
                let header: Option<(&[u8], Option<&[u8]>)> =
                    header.then_some((b"caf\xe9", Some(b"1")));
                let time = 1_700_000_000_000 + offset;
                builder.append(offset, time, Some(b"key"), Some(&value), header);
                offset += 1;
            }
            let mut bytes = Vec::new();
            builder.finish(&mut bytes).unwrap();
            self.broker
                .append_replicated(topic, partition, &bytes)
                .unwrap();
        }
        offset
    }

    /// An entry of a guest that fails in this way on bad records, for one topic.
    pub(crate) fn entry(
        &self,
        world: World,
        class: Class,
        topic: &str,
        policy: PluginErrorPolicy,
    ) -> PluginEntry {
        let file = self.folder.path().join(format!("{}.wasm", class.name()));
        if !file.exists() {
            let guest = GuestText::new(world).on_bad(&class.on_bad());
            std::fs::write(&file, guest.component()).unwrap();
        }
        PluginEntry {
            label: format!("{}.wasm", class.name()),
            source: PluginSource::Wasi {
                file,
                wit_version: "0.1".to_owned(),
            },
            spec: None,
            selectors: vec![NameMatcher::literal(topic)],
            error_policy: policy,
            limits: PluginLimits::default(),
        }
    }

    pub(crate) fn backup_job(&self, topics: &[&str], plugins: Vec<PluginEntry>) -> BackupJob {
        let topics = TopicSelection {
            streams: topics.iter().map(|&topic| topic.to_owned()).collect(),
            ..TopicSelection::default()
        };
        let mut job = BackupJob::new("b", self.endpoint(), self.storage(), topics);
        job.plugins = plugins;
        job.rollover.timeout = Duration::from_secs(1);
        job
    }

    pub(crate) async fn backup_once(
        &self,
        job: BackupJob,
    ) -> Result<backup::BackupSummary, EngineError> {
        let watch = Arc::clone(&self.watch) as Arc<dyn Observer>;
        let stop = CancellationToken::new();
        let run = backup::run(job, backup::Until::CaughtUp, watch, stop);
        tokio::time::timeout(Duration::from_secs(100), run)
            .await
            .unwrap()
    }

    pub(crate) async fn manifests(&self, key: &TopicKey, partition: i32) -> Vec<Manifest> {
        let archive = self.archive().await;
        let parts = archive.history(&key.partition(partition), None).await;
        let parts = parts.unwrap().into_iter();
        parts.map(|part| part.manifest).collect()
    }

    /// What the archive has of a partition.
    pub(crate) async fn archived(&self, key: &TopicKey, partition: i32) -> Vec<Row> {
        let archive = self.archive().await;
        let mut rows = Vec::new();
        for manifest in self.manifests(key, partition).await {
            let key = manifest.partition_key();
            let reader = SegmentReader::open(&archive, &key, manifest.lineage, &manifest).await;
            let mut reader = reader.unwrap();
            while let Some(chunk) = reader.next_chunk().await.unwrap() {
                rows_of(&chunk, &mut rows);
            }
        }
        rows
    }

    /// The dead letters that a backup made of a partition.
    pub(crate) async fn dead_letters(&self, key: &TopicKey, partition: i32) -> Vec<DeadLetter> {
        let archive = self.archive().await;
        let mut letters = Vec::new();
        for manifest in self.manifests(key, partition).await {
            letters.extend(archive.dead_letters(&manifest).await.unwrap());
        }
        letters
    }

    /// How many offsets are gaps, by cause.
    pub(crate) async fn gaps(&self, key: &TopicKey, partition: i32) -> BTreeMap<GapCause, u64> {
        let mut gaps = BTreeMap::new();
        for manifest in self.manifests(key, partition).await {
            for (cause, offsets) in manifest.missing_offsets() {
                *gaps.entry(cause).or_default() += offsets;
            }
        }
        gaps
    }

    /// What a partition of the cluster holds.
    pub(crate) async fn landed(&self, topic: &str, partition: i32) -> Vec<Row> {
        let id = self.key(topic).await.topic_id.uuid();
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let next = rows.last().map_or(0, |row| row.0 + 1);
            let fetched = self
                .client
                .fetch_at(topic, id, partition, next, 1 << 20)
                .await;
            let fetched = fetched.unwrap();
            if fetched.records.is_empty() {
                return rows;
            }
            rows_of(&fetched.records, &mut rows);
        }
    }
}

fn rows_of(batches: &[u8], rows: &mut Vec<Row>) {
    let mut scratch = DecodeBuffer::default();
    for batch in Batches::new(batches) {
        for record in batch.unwrap().decode(&mut scratch).unwrap() {
            let record = record.unwrap();
            let value = record.value.unwrap_or_default().to_vec();
            rows.push((record.offset, value, record.headers.iter().next().is_some()));
        }
    }
}

pub(crate) fn rows_of_letters(letters: &[DeadLetter]) -> Vec<Row> {
    let rows = letters.iter().map(|letter| {
        let value = letter.value.as_deref().unwrap_or_default().to_vec();
        (letter.offset, value, !letter.headers.is_empty())
    });
    rows.collect()
}
