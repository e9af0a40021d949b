//! Where an archive lies, and the secrets to get at it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

/// Where an archive lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StorageLocation {
    /// A folder of the file system: a volume, or a path on the command line.
    Folder {
        /// The archive's root.
        path: PathBuf,
    },
    /// A bucket of S3, or of a server that speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// The archive's root inside the bucket, without slashes around it; empty is the bucket's root.
        prefix: String,
        /// `None` is what the environment says (`AWS_REGION`), else `us-east-1`.
        region: Option<String>,
        /// Another server than Amazon's.
        endpoint: Option<String>,
        /// The bucket in the path instead of in the host name (MinIO, Ceph).
        force_path_style: bool,
        /// `None` is what the environment gives: variables, web identity, instance role.
        credentials: Option<S3Credentials>,
    },
    /// A bucket of Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
        /// The archive's root inside the bucket, without slashes around it; empty is the bucket's root.
        prefix: String,
        /// Another server than Google's.
        endpoint: Option<String>,
        /// The JSON of a service account's key. `None` is what the environment gives: variables, the file of `gcloud`,
        /// workload identity, the machine's account.
        service_account: Option<Secret>,
    },
    /// A container of Azure Blob Storage.
    Azure {
        /// The storage account.
        account: String,
        /// The container.
        container: String,
        /// The archive's root inside the container, without slashes around it; empty is the container's root.
        directory: String,
        /// The account's address where it is not `https://<account>.blob.core.windows.net`.
        endpoint: Option<String>,
        /// A shared access signature. `None` is what the environment gives: variables, workload identity, managed
        /// identity.
        sas_token: Option<Secret>,
    },
}

/// An access key of S3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Credentials {
    /// The key's id.
    pub access_key_id: Secret,
    /// The key.
    pub secret_access_key: Secret,
}

/// What a storage of the command line looks like.
const FORMS: &str = "a folder, file:///path, s3://bucket/prefix, gs://bucket/prefix, az://account/container/directory or https://account.blob.core.windows.net/container/directory";

/// A text that is not a storage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageUrlError {
    /// No scheme that we know.
    #[error("{0}: unknown kind of storage; use {FORMS}")]
    UnknownScheme(String),
    /// No bucket, or no account and container. Then comes how it is written.
    #[error("{0}: the bucket or container is missing; write {1}")]
    Incomplete(String, &'static str),
    /// `https://` of something else than Azure.
    #[error("{0}: this is no address of Azure Blob Storage; use {FORMS}")]
    NotAzure(String),
    /// `file://` of another host, or empty.
    #[error("{0}: a file URL needs an absolute path: file:///path")]
    FileUrl(String),
    /// Nothing at all.
    #[error("a storage cannot be empty; use {FORMS}")]
    Empty,
}

impl StorageLocation {
    /// Reads a storage of the command line: a folder, `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://account/container/directory`, or Azure's own `https://account.blob.core.windows.net/container/directory`.
    pub fn parse(text: &str) -> Result<StorageLocation, StorageUrlError> {
        if text.is_empty() {
            return Err(StorageUrlError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(StorageLocation::Folder { path: text.into() });
        };
        let incomplete = |form| StorageUrlError::Incomplete(text.to_owned(), form);
        let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
        let below = below.trim_matches('/').to_owned();
        match scheme {
            "file" if rest.starts_with('/') => Ok(StorageLocation::Folder { path: rest.into() }),
            "file" => Err(StorageUrlError::FileUrl(text.to_owned())),
            "s3" if first.is_empty() => Err(incomplete("s3://bucket/prefix")),
            "s3" => Ok(StorageLocation::S3 {
                bucket: first.to_owned(),
                prefix: below,
                region: None,
                endpoint: None,
                force_path_style: false,
                credentials: None,
            }),
            "gs" if first.is_empty() => Err(incomplete("gs://bucket/prefix")),
            "gs" => Ok(StorageLocation::Gcs {
                bucket: first.to_owned(),
                prefix: below,
                endpoint: None,
                service_account: None,
            }),
            "az" => azure(first, &below, None)
                .ok_or_else(|| incomplete("az://account/container/directory")),
            "https" => match first.split_once('.') {
                Some((account, domain)) if domain.starts_with("blob.") => {
                    let endpoint = (domain != AZURE_DOMAIN).then(|| format!("https://{first}"));
                    let form = "https://account.blob.core.windows.net/container/directory";
                    azure(account, &below, endpoint).ok_or_else(|| incomplete(form))
                }
                _ => Err(StorageUrlError::NotAzure(text.to_owned())),
            },
            _ => Err(StorageUrlError::UnknownScheme(text.to_owned())),
        }
    }
}

/// Where the accounts of Azure's public cloud live.
const AZURE_DOMAIN: &str = "blob.core.windows.net";

/// `below` is a container, and a directory if there is one.
fn azure(account: &str, below: &str, endpoint: Option<String>) -> Option<StorageLocation> {
    let (container, directory) = below.split_once('/').unwrap_or((below, ""));
    (!account.is_empty() && !container.is_empty()).then(|| StorageLocation::Azure {
        account: account.to_owned(),
        container: container.to_owned(),
        directory: directory.to_owned(),
        endpoint,
        sas_token: None,
    })
}

/// The account whose address this is: the first part of the host's name, or the path of an emulator
/// (`http://127.0.0.1:10000/account`). `None` if it is neither.
pub(crate) fn azure_account(location: &str) -> Option<&str> {
    let rest = location
        .strip_prefix("https://")
        .or_else(|| location.strip_prefix("http://"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_matches('/');
    match host.split_once('.') {
        Some((account, domain)) if domain.starts_with("blob.") && path.is_empty() => Some(account),
        _ if !path.is_empty() && !path.contains('/') && !host.contains(".blob.") => Some(path),
        _ => None,
    }
}

impl fmt::Display for StorageLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bucket, below) = match self {
            StorageLocation::Folder { path } => return path.display().fmt(f),
            StorageLocation::S3 { bucket, prefix, .. } => (format!("s3://{bucket}"), prefix),
            StorageLocation::Gcs { bucket, prefix, .. } => (format!("gs://{bucket}"), prefix),
            StorageLocation::Azure {
                account,
                container,
                directory,
                ..
            } => (format!("az://{account}/{container}"), directory),
        };
        match below.as_str() {
            "" => f.write_str(&bucket),
            below => write!(f, "{bucket}/{below}"),
        }
    }
}

/// A secret: a file to read it from, or the value itself where it stood in a `Secret` document.
///
/// A file is read when the secret is used, not before, so that a secret which is renewed is seen. A value never
/// appears in debug output, and cannot be serialised: a job with one stays in the process that read it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// The value is the file's content, without one line end at its end.
    File(PathBuf),
    /// The same, of a file that may be missing: then it is as if nothing had been said.
    OptionalFile(PathBuf),
    /// The value.
    #[serde(serialize_with = "refuse", skip_deserializing)]
    Inline(String),
}

impl Secret {
    /// Whether it is to be used as things are: not if it may be missing, and is.
    pub fn is_given(&self) -> bool {
        match self {
            Secret::OptionalFile(path) => path.exists(),
            Secret::File(_) | Secret::Inline(_) => true,
        }
    }

    /// The value. Reads the file.
    ///
    /// # Errors
    /// Where the file cannot be read, be it that it may be missing.
    pub fn reveal(&self) -> io::Result<String> {
        match self {
            Secret::Inline(value) => Ok(value.clone()),
            Secret::File(path) | Secret::OptionalFile(path) => {
                let mut text = std::fs::read_to_string(path).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })?;
                if text.ends_with('\n') {
                    text.pop();
                    if text.ends_with('\r') {
                        text.pop();
                    }
                }
                Ok(text)
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::File(path) => f.debug_tuple("File").field(path).finish(),
            Secret::OptionalFile(path) => f.debug_tuple("OptionalFile").field(path).finish(),
            Secret::Inline(_) => f.write_str("Inline(…)"),
        }
    }
}

fn refuse<S: Serializer>(_value: &String, _to: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom(
        "a secret that was given inline cannot be written into a job; give it as a file",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storages_of_the_command_line() {
        let folder = |path: &str| StorageLocation::Folder { path: path.into() };
        assert_eq!(StorageLocation::parse("./a").unwrap(), folder("./a"));
        assert_eq!(
            StorageLocation::parse("file:///a/b").unwrap(),
            folder("/a/b")
        );
        let s3 = StorageLocation::parse("s3://bucket/some/prefix/").unwrap();
        assert_eq!(s3.to_string(), "s3://bucket/some/prefix");
        assert_eq!(
            StorageLocation::parse("s3://b").unwrap().to_string(),
            "s3://b"
        );
        let other = |text: &str| StorageLocation::parse(text).unwrap();
        assert_eq!(other("gs://b/a/b/").to_string(), "gs://b/a/b");
        assert_eq!(other("az://acc/con/a/b").to_string(), "az://acc/con/a/b");
        let public = other("https://acc.blob.core.windows.net/con/a/");
        assert_eq!(public, other("az://acc/con/a"));
        let china = other("https://acc.blob.core.chinacloudapi.cn/con");
        let StorageLocation::Azure { endpoint, .. } = china else {
            panic!("{china:?}")
        };
        assert_eq!(
            endpoint.as_deref(),
            Some("https://acc.blob.core.chinacloudapi.cn")
        );
        for (text, message) in [
            ("", "a storage cannot be empty; use a folder"),
            (
                "s3:///x",
                "s3:///x: the bucket or container is missing; write s3://bucket/prefix",
            ),
            ("gs://", "gs://: the bucket or container is missing"),
            (
                "az://account",
                "az://account: the bucket or container is missing",
            ),
            (
                "https://a.blob.core.windows.net/",
                "https://a.blob.core.windows.net/: the bucket or container is missing",
            ),
            (
                "https://example.com/a",
                "https://example.com/a: this is no address of Azure Blob Storage",
            ),
            (
                "file://a",
                "file://a: a file URL needs an absolute path: file:///path",
            ),
            ("ftp://a", "ftp://a: unknown kind of storage; use a folder"),
        ] {
            let error = StorageLocation::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn accounts_of_azure_are_in_their_addresses() {
        for (location, account) in [
            ("https://acc.blob.core.windows.net", Some("acc")),
            ("https://acc.blob.core.windows.net/", Some("acc")),
            (
                "http://127.0.0.1:10000/devstoreaccount1",
                Some("devstoreaccount1"),
            ),
            ("https://acc.blob.core.windows.net/container", None),
            ("https://example.com", None),
            ("acc", None),
        ] {
            assert_eq!(azure_account(location), account, "{location}");
        }
    }

    #[test]
    fn inline_secrets_stay_in_the_process() {
        let secret = Secret::Inline("hush".into());
        assert!(!format!("{secret:?}").contains("hush"));
        let error = serde_json::to_string(&secret).unwrap_err();
        assert!(!error.to_string().contains("hush"));
        assert_eq!(secret.reveal().unwrap(), "hush");
        let file = Secret::File("/run/secrets/a".into());
        let text = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<Secret>(&text).unwrap(), file);
    }

    #[test]
    fn an_optional_secret_is_given_if_it_is_there() {
        let there = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let missing = PathBuf::from("/nowhere/at/all");
        assert!(Secret::OptionalFile(there.clone()).is_given());
        assert!(!Secret::OptionalFile(missing.clone()).is_given());
        assert!(Secret::File(missing.clone()).is_given());
        let optional = Secret::OptionalFile(there.clone());
        assert_eq!(
            optional.reveal().unwrap(),
            Secret::File(there).reveal().unwrap()
        );
        assert!(Secret::OptionalFile(missing).reveal().is_err());
        let text = serde_json::to_string(&optional).unwrap();
        assert_eq!(serde_json::from_str::<Secret>(&text).unwrap(), optional);
    }
}
