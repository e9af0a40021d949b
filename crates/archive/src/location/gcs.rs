//! Google Cloud Storage.

use std::fmt;
use std::sync::Arc;

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientConfigKey, ObjectStore};

use super::{retries, timeouts};

/// How to reach Google Cloud Storage. What is absent is taken from the `GOOGLE_…` variables of the environment,
/// and credentials also from the well-known file of `gcloud`, or the machine's or workload's identity.
#[derive(Clone, Default)]
pub struct GcsOptions {
    /// Another endpoint than Google's, e.g. `http://localhost:4443`. `http://` is allowed.
    pub endpoint: Option<String>,
    /// The key of a service account, as the JSON that Google hands out.
    pub service_account: Option<String>,
}

impl fmt::Debug for GcsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcsOptions")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

pub(super) fn store(
    bucket: &str,
    options: &GcsOptions,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = match &options.service_account {
        Some(key) => environment_without_credentials().with_service_account_key(key),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    builder = builder.with_bucket_name(bucket);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    let default = GoogleCloudStorageBuilder::new();
    let client = |builder: &GoogleCloudStorageBuilder, key: ClientConfigKey| {
        builder.get_config_value(&GoogleConfigKey::Client(key))
    };
    let current = builder.clone();
    for (key, value) in timeouts(|key| client(&current, key) == client(&default, key)) {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    Ok(Arc::new(builder.with_retry(retries()).build()?))
}

/// What the environment says of anything but credentials: given ones come before it, and the client refuses two.
fn environment_without_credentials() -> GoogleCloudStorageBuilder {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in std::env::vars() {
        if let Ok(key) = name.to_ascii_lowercase().parse()
            && name.starts_with("GOOGLE_")
            && matches!(key, GoogleConfigKey::BaseUrl | GoogleConfigKey::Client(_))
        {
            builder = builder.with_config(key, value);
        }
    }
    builder
}
