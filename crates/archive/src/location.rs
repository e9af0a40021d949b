//! Where an archive lies: a folder, or a prefix in an object store.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};

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
    },
}

/// How to reach S3, or what speaks its protocol. What is absent is taken from the `AWS_…` variables of the
/// environment, and credentials also from the machine's role.
#[derive(Clone, Default)]
pub struct S3Options {
    /// The region, e.g. `eu-central-1`.
    pub region: Option<String>,
    /// The endpoint, e.g. `https://minio.example:9000`; AWS's own if absent. `http://` is allowed.
    pub endpoint: Option<String>,
    /// Whether the bucket is named in the path and not in the host name. By default it is when an endpoint
    /// is given, as such servers expect.
    pub path_style: Option<bool>,
    /// The access key id.
    pub access_key: Option<String>,
    /// The secret access key.
    pub secret_key: Option<String>,
    /// The session token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .field("path_style", &self.path_style)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::ObjectStore { display, .. } => f.write_str(display),
        }
    }
}

/// Reads a location: a folder's path, `file:///path` or `s3://bucket/prefix`.
pub fn parse_url(url: &str, s3: &S3Options) -> Result<Location, ArchiveError> {
    let invalid = |reason: &str| ArchiveError::InvalidLocation {
        location: url.to_owned(),
        reason: reason.to_owned(),
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        if url.is_empty() {
            return Err(invalid("it is empty"));
        }
        return Ok(Location::Folder(PathBuf::from(url)));
    };
    match scheme {
        "file" if rest.starts_with('/') => Ok(Location::Folder(PathBuf::from(rest))),
        "file" => Err(invalid("expected file:// and an absolute path")),
        "s3" => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(invalid("expected s3://bucket/prefix"));
            }
            let prefix = prefix.trim_matches('/');
            if object_store::path::Path::parse(prefix).is_err() {
                return Err(invalid("the prefix has an empty or relative component"));
            }
            let store = s3_store(bucket, s3).map_err(|error| invalid(&error.to_string()))?;
            Ok(Location::ObjectStore {
                store,
                prefix: prefix.to_owned(),
                display: url.to_owned(),
            })
        }
        _ => Err(invalid(
            "known are a folder's path, file:///path and s3://bucket/prefix",
        )),
    }
}

fn with_timeouts(mut builder: AmazonS3Builder) -> AmazonS3Builder {
    let default = AmazonS3Builder::new();
    for (key, timeout) in [
        (ClientConfigKey::Timeout, REQUEST_TIMEOUT),
        (ClientConfigKey::ConnectTimeout, CONNECT_TIMEOUT),
    ] {
        let key = AmazonS3ConfigKey::Client(key);
        // What the environment says (`AWS_TIMEOUT`, `AWS_CONNECT_TIMEOUT`) counts for more.
        if builder.get_config_value(&key) == default.get_config_value(&key) {
            builder = builder.with_config(key, timeout);
        }
    }
    builder
}

fn s3_store(bucket: &str, options: &S3Options) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    builder = with_timeouts(builder);
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &options.endpoint {
        let plain = endpoint.starts_with("http://");
        builder = builder.with_endpoint(endpoint).with_allow_http(plain);
        // TLS already guards the payload; over plain HTTP its signed SHA-256 does.
        builder = builder.with_unsigned_payload(!plain);
    }
    if let Some(access_key) = &options.access_key {
        builder = builder.with_access_key_id(access_key);
    }
    if let Some(secret_key) = &options.secret_key {
        builder = builder.with_secret_access_key(secret_key);
    }
    if let Some(token) = &options.session_token {
        builder = builder.with_token(token);
    }
    let path_style = options.path_style.unwrap_or(options.endpoint.is_some());
    // The storage layer above retries with a budget of its own: here only what a moment cures.
    let retry = RetryConfig {
        max_retries: 3,
        retry_timeout: Duration::from_secs(30),
        ..RetryConfig::default()
    };
    let store = builder
        .with_virtual_hosted_style_request(!path_style)
        .with_retry(retry)
        .build()?;
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_locations() {
        let s3 = S3Options {
            region: Some("eu-central-1".to_owned()),
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            access_key: Some("key".to_owned()),
            secret_key: Some("hidden".to_owned()),
            ..S3Options::default()
        };
        let folder = |url| match parse_url(url, &s3) {
            Ok(Location::Folder(path)) => path,
            other => panic!("{url}: {other:?}"),
        };
        assert_eq!(folder("/var/archive"), PathBuf::from("/var/archive"));
        assert_eq!(folder("relative/dir"), PathBuf::from("relative/dir"));
        assert_eq!(folder("file:///var/archive"), PathBuf::from("/var/archive"));
        match parse_url("s3://bucket/some/prefix/", &s3).unwrap() {
            Location::ObjectStore {
                prefix, display, ..
            } => {
                assert_eq!(prefix, "some/prefix");
                assert_eq!(display, "s3://bucket/some/prefix/");
            }
            other => panic!("{other:?}"),
        }
        for bad in ["", "ftp://x/y", "s3:///x", "file://relative", "s3://b/a//c"] {
            assert!(parse_url(bad, &s3).is_err(), "{bad}");
        }
        assert!(!format!("{s3:?}").contains("hidden"));
    }

    #[test]
    fn requests_have_time_for_a_part_on_a_busy_line() {
        let builder = AmazonS3Builder::new().with_bucket_name("b");
        let timeout = |builder: &AmazonS3Builder, key| {
            builder.get_config_value(&AmazonS3ConfigKey::Client(key))
        };
        let patient = with_timeouts(builder.clone());
        let expected = Some("300 seconds".to_owned());
        assert_eq!(timeout(&patient, ClientConfigKey::Timeout), expected);
        let own = builder.with_config(
            AmazonS3ConfigKey::Client(ClientConfigKey::Timeout),
            "7 seconds",
        );
        let kept = Some("7 seconds".to_owned());
        assert_eq!(timeout(&with_timeouts(own), ClientConfigKey::Timeout), kept);
    }
}
