//! S3, and what speaks its protocol.

use std::fmt;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use object_store::{ClientConfigKey, ObjectStore, StaticCredentialProvider};

use super::secret::{Renewed, StorageSecret};
use super::{retries, timeouts};

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
    /// The access key id; counts together with the secret access key only.
    pub access_key: Option<StorageSecret>,
    /// The secret access key.
    pub secret_key: Option<StorageSecret>,
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

fn with_timeouts(mut builder: AmazonS3Builder) -> AmazonS3Builder {
    let default = AmazonS3Builder::new();
    let client = |builder: &AmazonS3Builder, key: ClientConfigKey| {
        builder.get_config_value(&AmazonS3ConfigKey::Client(key))
    };
    let current = builder.clone();
    for (key, value) in timeouts(|key| client(&current, key) == client(&default, key)) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    builder
}

pub(super) fn store(
    bucket: &str,
    options: &S3Options,
    display: &str,
) -> object_store::Result<Arc<dyn ObjectStore>> {
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
    if let (Some(id), Some(key)) = (&options.access_key, &options.secret_key) {
        let secrets = vec![id.clone(), key.clone()];
        let credentials = Renewed::new(secrets, display.to_owned(), |values| {
            let credential = AwsCredential {
                key_id: values[0].clone(),
                secret_key: values[1].clone(),
                token: None,
            };
            Ok(Arc::new(StaticCredentialProvider::new(credential)))
        })?;
        builder = builder.with_credentials(Arc::new(credentials));
    }
    let path_style = options.path_style.unwrap_or(options.endpoint.is_some());
    let store = builder
        .with_virtual_hosted_style_request(!path_style)
        .with_retry(retries())
        .build()?;
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests {
    use super::*;

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
