//! A job in a file: what the operator writes, and a worker reads.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{BackupJob, RestoreJob};

/// A job with what tells its file from another one: `{"format": 1, "kind": "backup", "job": {…}}`.
///
/// Secrets stand in it as files to read, never as values: such a job refuses to be written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "one is made, written, and gone")]
pub enum JobFile {
    /// What `armory backup --job` takes.
    Backup(Envelope<BackupJob>),
    /// What `armory restore --job` takes.
    Restore(Envelope<RestoreJob>),
}

/// What is around a job in its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope<J> {
    format: u32,
    kind: Kind,
    /// The job.
    pub job: J,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Backup,
    Restore,
}

/// What can be told of a file whatever else is in it.
#[derive(Deserialize)]
struct Head {
    format: u32,
    kind: String,
}

/// A file that is no job, or not the one that is needed.
#[derive(Debug, thiserror::Error)]
pub enum JobFileError {
    /// Not a job at all.
    #[error("it is no job: {0}; a job has a format, a kind and a job")]
    NotAJob(#[source] serde_json::Error),
    /// Of a later version, or of none.
    #[error(
        "its format is {found}, and this version of armory knows format {}; run the version that wrote it",
        JobFile::FORMAT
    )]
    Format {
        /// What the file says.
        found: u32,
    },
    /// Of the other kind.
    #[error("it is the job of a {found}, and armory {wanted} takes the job of a {wanted}")]
    Kind {
        /// What the file says.
        found: String,
        /// What was needed.
        wanted: &'static str,
    },
    /// A part of it is not what it should be.
    #[error(
        "its job cannot be understood: {0}; it has to be written by the same version of armory"
    )]
    Invalid(#[source] serde_json::Error),
}

impl JobFile {
    /// The format that this version writes, and the only one that it reads. It grows whenever an older version would
    /// misunderstand a job; a key that it does not know is refused anyway.
    pub const FORMAT: u32 = 1;

    /// The file of a backup.
    pub fn backup(job: BackupJob) -> JobFile {
        JobFile::Backup(Envelope {
            format: Self::FORMAT,
            kind: Kind::Backup,
            job,
        })
    }

    /// The file of a restore.
    pub fn restore(job: RestoreJob) -> JobFile {
        JobFile::Restore(Envelope {
            format: Self::FORMAT,
            kind: Kind::Restore,
            job,
        })
    }

    /// The file's content. The same job always has the same.
    ///
    /// # Errors
    /// Where a secret is a value and not a file, or a path is not UTF-8.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// The backup that a file holds.
    ///
    /// # Errors
    /// Where it holds something else, or a key that is not understood.
    pub fn read_backup(text: &str) -> Result<BackupJob, JobFileError> {
        read(text, "backup")
    }

    /// The restore that a file holds.
    ///
    /// # Errors
    /// Where it holds something else, or a key that is not understood.
    pub fn read_restore(text: &str) -> Result<RestoreJob, JobFileError> {
        read(text, "restore")
    }
}

fn read<J: DeserializeOwned>(text: &str, wanted: &'static str) -> Result<J, JobFileError> {
    let head: Head = serde_json::from_str(text).map_err(JobFileError::NotAJob)?;
    if head.format != JobFile::FORMAT {
        return Err(JobFileError::Format { found: head.format });
    }
    if head.kind != wanted {
        return Err(JobFileError::Kind {
            found: head.kind,
            wanted,
        });
    }
    let envelope: Envelope<J> = serde_json::from_str(text).map_err(JobFileError::Invalid)?;
    Ok(envelope.job)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::{
        BuiltinPlugin, CompressionAlgorithm, CompressionSpec, Incarnation, KafkaEndpoint,
        NameMatcher, PartitionRange, PluginEntry, PluginErrorPolicy, PluginLimits, PluginSource,
        PluginStopRule, Repartitioning, S3Credentials, Secret, StorageLocation, TopicMapping,
        TopicSelection, WorkGroup,
    };
    use super::*;

    fn secret(name: &str) -> Secret {
        Secret::File(format!("/etc/armory/secrets/{name}").into())
    }

    fn endpoint() -> KafkaEndpoint {
        KafkaEndpoint {
            name: "hub".to_owned(),
            secrets: BTreeMap::from([("sasl.password".to_owned(), secret("kafka/password"))]),
            ..KafkaEndpoint::from_bootstrap("kafka:9092")
        }
    }

    fn storage() -> StorageLocation {
        StorageLocation::S3 {
            bucket: "backups".to_owned(),
            prefix: "kafka".to_owned(),
            region: None,
            endpoint: Some("http://minio:9000".to_owned()),
            force_path_style: true,
            credentials: Some(S3Credentials {
                access_key_id: secret("s3/id"),
                secret_access_key: secret("s3/key"),
            }),
        }
    }

    fn plugins() -> Vec<PluginEntry> {
        let entry = |source| PluginEntry {
            label: "p".to_owned(),
            source,
            spec: Some(serde_json::json!({"a": [1, 2.5, "x", null], "b": {"c": true}})),
            selectors: vec![NameMatcher::glob("orders.*").unwrap()],
            error_policy: PluginErrorPolicy {
                stop_rule: Some(PluginStopRule {
                    max_failures: 3,
                    window: 100,
                }),
                ..PluginErrorPolicy::default()
            },
            limits: PluginLimits::default(),
        };
        let partitions = Some(3);
        vec![
            entry(PluginSource::Wasi {
                file: "/var/lib/armory/claims/plugins/a.wasm".into(),
                wit_version: "0.1".to_owned(),
            }),
            entry(PluginSource::Builtin(BuiltinPlugin::TopicRepartitioning(
                Repartitioning::RoundRobin { partitions },
            ))),
            entry(PluginSource::Builtin(BuiltinPlugin::PayloadSchemaMapping(
                BTreeMap::from([(1, 2)]),
            ))),
        ]
    }

    fn backup() -> BackupJob {
        let topics = TopicSelection {
            streams: vec!["orders".to_owned()],
            include: vec![NameMatcher::glob("flights.*").unwrap()],
            exclude: vec![NameMatcher::literal("flights.tmp")],
        };
        BackupJob {
            plugins: plugins(),
            compression: Some(CompressionSpec {
                algorithm: CompressionAlgorithm::Zstd,
                quality: Some(3),
            }),
            delete_after: Some(Duration::from_secs(86_400)),
            work_group: Some(WorkGroup {
                workers: 3,
                seed: 42,
            }),
            metrics: false,
            ..BackupJob::new("nightly", endpoint(), storage(), topics)
        }
    }

    fn restore() -> RestoreJob {
        let mapping = TopicMapping {
            incarnation: Incarnation::Version(2),
            partitions: Some(vec![PartitionRange {
                number: 0,
                from: Some(10),
                until: None,
            }]),
            ..TopicMapping::new("orders", "orders-copy")
        };
        RestoreJob {
            plugins: plugins(),
            report: Some(StorageLocation::Folder {
                path: "/var/lib/armory/reports".into(),
            }),
            parallelism: Some(4),
            ..RestoreJob::new("r1", storage(), endpoint(), vec![mapping])
        }
    }

    #[test]
    fn a_job_comes_back_from_its_file() {
        let text = JobFile::backup(backup()).to_json().unwrap();
        assert_eq!(JobFile::read_backup(&text).unwrap(), backup());
        let text = JobFile::restore(restore()).to_json().unwrap();
        assert_eq!(JobFile::read_restore(&text).unwrap(), restore());
    }

    /// Every object of a job: a key that is not known there is refused, not passed over.
    #[test]
    fn a_key_that_is_not_known_is_refused_wherever_it_stands() {
        fn paths(value: &serde_json::Value, path: &str, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(fields) => {
                    // What a user calls things, and what a plugin is given, is anything.
                    let free = ["/properties", "/secrets", "/spec", "-mapping"];
                    if free.iter().any(|end| path.ends_with(end)) {
                        return;
                    }
                    // The choice among several is an object with one key.
                    found.push(path.to_owned());
                    for (name, value) in fields {
                        paths(value, &format!("{path}/{name}"), found);
                    }
                }
                serde_json::Value::Array(values) => {
                    for (index, value) in values.iter().enumerate() {
                        paths(value, &format!("{path}/{index}"), found);
                    }
                }
                _ => {}
            }
        }
        let backup = JobFile::backup(backup()).to_json().unwrap();
        let restore = JobFile::restore(restore()).to_json().unwrap();
        for (text, is_backup) in [(backup, true), (restore, false)] {
            let file: serde_json::Value = serde_json::from_str(&text).unwrap();
            let mut places = Vec::new();
            paths(&file, "", &mut places);
            assert!(places.len() > 10, "{places:?}");
            for place in places {
                let mut wrong = file.clone();
                let object = wrong.pointer_mut(&place).unwrap().as_object_mut().unwrap();
                object.insert("unheard".to_owned(), serde_json::json!(1));
                let text = wrong.to_string();
                let refused = match is_backup {
                    true => JobFile::read_backup(&text).err(),
                    false => JobFile::read_restore(&text).err(),
                };
                let refused = refused.unwrap_or_else(|| panic!("taken at {place:?}"));
                assert!(matches!(refused, JobFileError::Invalid(_)), "{refused}");
            }
        }
    }

    #[test]
    fn another_kind_or_format_is_told() {
        let text = JobFile::backup(backup()).to_json().unwrap();
        let error = JobFile::read_restore(&text).unwrap_err().to_string();
        assert_eq!(
            error,
            "it is the job of a backup, and armory restore takes the job of a restore"
        );
        let later = text.replace("\"format\": 1", "\"format\": 2");
        let error = JobFile::read_backup(&later).unwrap_err().to_string();
        assert!(error.starts_with("its format is 2"), "{error}");
        for nothing in ["", "{}", "apiVersion: kannika.io/v1alpha"] {
            let error = JobFile::read_backup(nothing).unwrap_err().to_string();
            assert!(error.starts_with("it is no job"), "{error}");
        }
    }

    #[test]
    fn a_secret_never_gets_into_a_file() {
        let mut job = backup();
        let secret = Secret::Inline("hush".to_owned());
        job.source
            .secrets
            .insert("sasl.password".to_owned(), secret);
        let error = JobFile::backup(job).to_json().unwrap_err();
        assert!(!error.to_string().contains("hush"));
    }
}
