//! Where an archive lies: a folder, or a prefix in an object store.

mod azure;
mod gcs;
mod s3;
mod secret;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use armory_troubles::Troubles;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};

pub use azure::AzureOptions;
pub use gcs::GcsOptions;
pub use s3::S3Options;
pub use secret::StorageSecret;

use crate::error::ArchiveError;

/// How long one request may take: a part of 16 MiB has to get through while dozens of others share the line.
const REQUEST_TIMEOUT: &str = "300 seconds";
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: &str = "10 seconds";

/// The place of an archive.
#[derive(Debug, Clone)]
pub enum Location {
    /// A folder of a file system with hard links, `fsync` and `flock`.
    Folder(PathBuf),
    /// A prefix in an object store with conditional writes.
    ObjectStore {
        /// The store.
        store: Arc<dyn ObjectStore>,
        /// The prefix, without slashes at its ends; may be empty.
        prefix: String,
        /// What to call it in messages, e.g. the URL; without secrets.
        display: String,
        /// Where is told what is tried again.
        troubles: Troubles,
    },
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::ObjectStore { display, .. } => f.write_str(display),
        }
    }
}

impl Location {
    /// A prefix in a bucket of S3, or of a server that speaks its protocol.
    pub fn s3(bucket: &str, prefix: &str, options: &S3Options) -> Result<Self, ArchiveError> {
        let display = url("s3", bucket, prefix);
        Self::of(s3::store(bucket, options, &display), prefix, display)
    }

    /// A prefix in a bucket of Google Cloud Storage.
    pub fn gcs(bucket: &str, prefix: &str, options: &GcsOptions) -> Result<Self, ArchiveError> {
        let display = url("gs", bucket, prefix);
        Self::of(gcs::store(bucket, options, &display), prefix, display)
    }

    /// A directory in a container of Azure Blob Storage.
    pub fn azure(
        account: &str,
        container: &str,
        directory: &str,
        options: &AzureOptions,
    ) -> Result<Self, ArchiveError> {
        let display = url("az", &format!("{account}/{container}"), directory);
        let store = azure::store(account, container, options, &display);
        Self::of(store, directory, display)
    }

    fn of(
        store: object_store::Result<Arc<dyn ObjectStore>>,
        prefix: &str,
        display: String,
    ) -> Result<Self, ArchiveError> {
        let prefix = prefix.trim_matches('/').to_owned();
        let invalid = |reason: String| ArchiveError::InvalidLocation {
            location: display.clone(),
            reason,
        };
        if object_store::path::Path::parse(&prefix).is_err() {
            return Err(invalid(
                "the prefix has an empty or relative component".to_owned(),
            ));
        }
        let store = store.map_err(|error| invalid(error.to_string()))?;
        Ok(Self::ObjectStore {
            store,
            prefix,
            display,
            troubles: Troubles::default(),
        })
    }

    /// The same place, whose users tell what they try again.
    pub fn watched(mut self, watched_by: &Troubles) -> Self {
        if let Self::ObjectStore { troubles, .. } = &mut self {
            troubles.clone_from(watched_by);
        }
        self
    }
}

fn url(scheme: &str, bucket: &str, prefix: &str) -> String {
    match prefix.trim_matches('/') {
        "" => format!("{scheme}://{bucket}"),
        prefix => format!("{scheme}://{bucket}/{prefix}"),
    }
}

/// The timeouts that a client is to be given: ours where it has object_store's own. What the environment says
/// (e.g. `AWS_TIMEOUT`, `AWS_CONNECT_TIMEOUT`) counts for more.
fn timeouts(
    has_default: impl Fn(ClientConfigKey) -> bool,
) -> impl Iterator<Item = (ClientConfigKey, &'static str)> {
    [
        (ClientConfigKey::Timeout, REQUEST_TIMEOUT),
        (ClientConfigKey::ConnectTimeout, CONNECT_TIMEOUT),
    ]
    .into_iter()
    .filter(move |(key, _)| has_default(*key))
}

/// The storage layer retries with a budget of its own: the client only what a moment cures.
fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 3,
        retry_timeout: Duration::from_secs(30),
        ..RetryConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_urls_without_secrets() {
        let display = |location: Result<Location, ArchiveError>| match location {
            Ok(Location::ObjectStore {
                prefix, display, ..
            }) => (prefix, display),
            other => panic!("{other:?}"),
        };
        let s3 = S3Options {
            region: Some("eu-central-1".to_owned()),
            access_key: Some("key".to_owned().into()),
            secret_key: Some("hidden".to_owned().into()),
            ..S3Options::default()
        };
        assert_eq!(
            display(Location::s3("bucket", "/some/prefix/", &s3)),
            (
                "some/prefix".to_owned(),
                "s3://bucket/some/prefix".to_owned()
            )
        );
        assert!(Location::s3("bucket", "a//b", &s3).is_err());
        let azure = AzureOptions {
            sas_token: Some("sig=hidden".to_owned().into()),
            ..AzureOptions::default()
        };
        assert_eq!(
            display(Location::azure("account", "container", "", &azure)),
            (String::new(), "az://account/container".to_owned())
        );
        let gcs = GcsOptions {
            service_account: Some(r#"{"private_key":"hidden"}"#.to_owned().into()),
            ..GcsOptions::default()
        };
        let text = format!("{s3:?} {azure:?} {gcs:?}");
        assert!(!text.contains("hidden"), "{text}");
    }
}
