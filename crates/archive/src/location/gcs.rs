//! Google Cloud Storage.

use std::fmt;
use std::sync::Arc;

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientConfigKey, ObjectStore};

use super::secret::{Renewed, StorageSecret};
use super::{retries, timeouts};

/// How to reach Google Cloud Storage. What is absent is taken from the `GOOGLE_…` variables of the environment,
/// and credentials also from the well-known file of `gcloud`, or the machine's or workload's identity.
#[derive(Clone, Default)]
pub struct GcsOptions {
    /// Another endpoint than Google's, e.g. `http://localhost:4443`. `http://` is allowed.
    pub endpoint: Option<String>,
    /// The key of a service account, as the JSON that Google hands out.
    pub service_account: Option<StorageSecret>,
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
    display: &str,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let Some(service_account) = &options.service_account else {
        let builder = GoogleCloudStorageBuilder::from_env();
        return Ok(Arc::new(complete(builder, bucket, options).build()?));
    };
    let with_key = {
        let (bucket, options) = (bucket.to_owned(), options.clone());
        move |key: &str| {
            let builder = environment_without_credentials().with_service_account_key(key);
            complete(builder, &bucket, &options)
        }
    };
    // The key names the servers, too: those stay as they are, what is renewed is who asks.
    let key = service_account
        .reveal()
        .map_err(|error| object_store::Error::Generic {
            store: "credentials",
            source: error.into(),
        })?;
    let builder = with_key(&key);
    let secrets = vec![service_account.clone()];
    let credentials = Renewed::new(secrets, display.to_owned(), move |values| {
        Ok(Arc::clone(with_key(&values[0]).build()?.credentials()))
    })?;
    let store = builder.with_credentials(Arc::new(credentials)).build()?;
    Ok(Arc::new(store))
}

/// With everything but credentials.
fn complete(
    mut builder: GoogleCloudStorageBuilder,
    bucket: &str,
    options: &GcsOptions,
) -> GoogleCloudStorageBuilder {
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
    builder.with_retry(retries())
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
