//! Where an archive lies, and the secrets to get at it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

/// Where an archive lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// A text that is not a storage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageUrlError {
    /// The scheme of a storage that is to come.
    #[error("{0}: {1} storages are not supported yet; use a folder, file:// or s3://bucket/prefix")]
    NotYet(String, &'static str),
    /// No scheme that we know.
    #[error("{0}: unknown kind of storage; use a folder, file:// or s3://bucket/prefix")]
    UnknownScheme(String),
    /// No bucket in an `s3://`.
    #[error("{0}: the bucket is missing; write s3://bucket/prefix")]
    NoBucket(String),
    /// `file://` of another host, or empty.
    #[error("{0}: a file URL needs an absolute path: file:///path")]
    FileUrl(String),
    /// Nothing at all.
    #[error("a storage cannot be empty; use a folder, file:// or s3://bucket/prefix")]
    Empty,
}

impl StorageLocation {
    /// Reads a storage of the command line: a folder, `file:///path`, or `s3://bucket/prefix`.
    pub fn parse(text: &str) -> Result<StorageLocation, StorageUrlError> {
        if text.is_empty() {
            return Err(StorageUrlError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(StorageLocation::Folder { path: text.into() });
        };
        match scheme {
            "file" if rest.starts_with('/') => Ok(StorageLocation::Folder { path: rest.into() }),
            "file" => Err(StorageUrlError::FileUrl(text.to_owned())),
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(StorageUrlError::NoBucket(text.to_owned()));
                }
                Ok(StorageLocation::S3 {
                    bucket: bucket.to_owned(),
                    prefix: prefix.trim_matches('/').to_owned(),
                    region: None,
                    endpoint: None,
                    force_path_style: false,
                    credentials: None,
                })
            }
            "gs" => Err(StorageUrlError::NotYet(text.to_owned(), "Google Cloud")),
            "az" | "abfs" | "abfss" => Err(StorageUrlError::NotYet(text.to_owned(), "Azure")),
            _ => Err(StorageUrlError::UnknownScheme(text.to_owned())),
        }
    }
}

impl fmt::Display for StorageLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageLocation::Folder { path } => path.display().fmt(f),
            StorageLocation::S3 { bucket, prefix, .. } if prefix.is_empty() => {
                write!(f, "s3://{bucket}")
            }
            StorageLocation::S3 { bucket, prefix, .. } => write!(f, "s3://{bucket}/{prefix}"),
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
    /// The value.
    #[serde(serialize_with = "refuse", skip_deserializing)]
    Inline(String),
}

impl Secret {
    /// The value. Reads the file.
    pub fn reveal(&self) -> io::Result<String> {
        match self {
            Secret::Inline(value) => Ok(value.clone()),
            Secret::File(path) => {
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
        for (text, message) in [
            (
                "",
                "a storage cannot be empty; use a folder, file:// or s3://bucket/prefix",
            ),
            (
                "s3:///x",
                "s3:///x: the bucket is missing; write s3://bucket/prefix",
            ),
            (
                "file://a",
                "file://a: a file URL needs an absolute path: file:///path",
            ),
            (
                "gs://a",
                "gs://a: Google Cloud storages are not supported yet; use a folder, file:// or s3://bucket/prefix",
            ),
            (
                "az://a",
                "az://a: Azure storages are not supported yet; use a folder, file:// or s3://bucket/prefix",
            ),
            (
                "ftp://a",
                "ftp://a: unknown kind of storage; use a folder, file:// or s3://bucket/prefix",
            ),
        ] {
            assert_eq!(
                StorageLocation::parse(text).unwrap_err().to_string(),
                message
            );
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
}
