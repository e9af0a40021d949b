//! Azure Blob Storage.

use std::fmt;
use std::sync::Arc;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::{ClientConfigKey, ObjectStore};

use super::secret::{Renewed, StorageSecret};
use super::{retries, timeouts};

/// How to reach Azure Blob Storage. What is absent is taken from the `AZURE_…` variables of the environment, and
/// credentials also from the workload's or the machine's identity.
#[derive(Clone, Default)]
pub struct AzureOptions {
    /// The account's address, where it is not `https://<account>.blob.core.windows.net`. `http://` is allowed.
    pub endpoint: Option<String>,
    /// A shared access signature, with or without `?` in front.
    pub sas_token: Option<StorageSecret>,
}

impl fmt::Debug for AzureOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureOptions")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

pub(super) fn store(
    account: &str,
    container: &str,
    options: &AzureOptions,
    display: &str,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_account(account)
        .with_container_name(container);
    if let Some(endpoint) = &options.endpoint {
        let endpoint = endpoint.trim_end_matches('/');
        let plain = endpoint.starts_with("http://");
        builder = builder
            .with_endpoint(endpoint.to_owned())
            .with_allow_http(plain);
    }
    if let Some(token) = &options.sas_token {
        let (account, container) = (account.to_owned(), container.to_owned());
        let secrets = vec![token.clone()];
        // The client has no other way of reading a token than to be made with it.
        let credentials = Renewed::new(secrets, display.to_owned(), move |values| {
            let client = MicrosoftAzureBuilder::new()
                .with_account(&account)
                .with_container_name(&container)
                .with_config(AzureConfigKey::SasKey, values[0].trim_start_matches('?'))
                .with_credential_type("sas_token")
                .build()?;
            Ok(Arc::clone(client.credentials()))
        })?;
        // Whatever else the environment has: what was given counts.
        builder = builder.with_credentials(Arc::new(credentials));
    }
    let default = MicrosoftAzureBuilder::new();
    let client = |builder: &MicrosoftAzureBuilder, key: ClientConfigKey| {
        builder.get_config_value(&AzureConfigKey::Client(key))
    };
    let current = builder.clone();
    for (key, value) in timeouts(|key| client(&current, key) == client(&default, key)) {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    Ok(Arc::new(builder.with_retry(retries()).build()?))
}
