//! EventHubs, Storages and their Credentials.

use std::collections::BTreeMap;

use super::Resolver;
use crate::job::{KafkaEndpoint, S3Credentials, Secret, StorageLocation, azure_account};
use crate::kinds::CredentialsSource;
use crate::kinds::credentials::{CredentialsSpec, ValueSource};
use crate::kinds::event_hub::{BOOTSTRAP, BROKER_LIST};
use crate::kinds::storage::{AzureSpec, GcsSpec, S3Spec, StorageSpec};
use crate::set::{Document, Resource};

/// Where in a Backup or Restore the other end is named.
pub(super) struct Side<'k> {
    pub(super) name: &'k str,
    pub(super) credentials: &'k str,
    pub(super) properties: &'k str,
}

/// `spec.source…`
pub(super) const SOURCE: Side<'static> = Side {
    name: "source",
    credentials: "sourceCredentialsFrom",
    properties: "sourceAdditionalProps",
};

/// `spec.sink…`
pub(super) const SINK: Side<'static> = Side {
    name: "sink",
    credentials: "sinkCredentialsFrom",
    properties: "sinkAdditionalProps",
};

impl<'a> Resolver<'a> {
    /// Follows a reference to an EventHub.
    pub(super) fn kafka(
        &mut self,
        document: &'a Document,
        side: &Side<'_>,
        name: &str,
        credentials: Option<&CredentialsSource>,
        additional: &BTreeMap<String, String>,
    ) -> KafkaEndpoint {
        let path = ["spec", side.name];
        let hub = self.find(
            "EventHub",
            name,
            document,
            &path,
            |resource| match resource {
                Resource::EventHub(spec) => Some(&**spec),
                _ => None,
            },
        );
        let mut properties = hub.map_or_else(BTreeMap::new, |(_, spec)| {
            with_one_bootstrap(&spec.kafka.properties.0)
        });
        if additional.contains_key(BOOTSTRAP) && additional.contains_key(BROKER_LIST) {
            let message = "is another name of bootstrap.servers, give only one of them";
            self.problem(document, &["spec", side.properties, BROKER_LIST], message);
        }
        properties.extend(with_one_bootstrap(additional));
        let mut endpoint = KafkaEndpoint {
            name: name.to_owned(),
            properties,
            secrets: BTreeMap::new(),
        };
        if let Some((from, spec)) = self.credentials(document, side, credentials) {
            let hub = hub.map(|(hub, _)| hub);
            match spec.variant() {
                Some("sasl" | "mTls") => {
                    let overridden = self.authenticate(from, spec, &mut endpoint);
                    self.note_overridden(&overridden, from, document, side, additional, hub);
                }
                Some(variant) => {
                    self.misfit(document, side, variant, "an EventHub", "sasl or mTls")
                }
                None => {}
            }
        }
        endpoint
    }

    /// Follows a reference to a Storage.
    pub(super) fn storage(
        &mut self,
        document: &'a Document,
        side: &Side<'_>,
        name: &str,
        credentials: Option<&CredentialsSource>,
        additional: &BTreeMap<String, String>,
    ) -> StorageLocation {
        for key in additional.keys() {
            let message = "a storage has no additional properties";
            self.problem(document, &["spec", side.properties, key], message);
        }
        let path = ["spec", side.name];
        let storage = self.find(
            "Storage",
            name,
            document,
            &path,
            |resource| match resource {
                Resource::Storage(spec) => Some(&**spec),
                _ => None,
            },
        );
        let credentials = self.credentials(document, side, credentials);
        let placeholder = StorageLocation::Folder {
            path: Default::default(),
        };
        let Some((from, spec)) = storage else {
            return placeholder;
        };
        let variant = credentials.and_then(|(_, spec)| spec.variant());
        match spec {
            StorageSpec {
                volume: Some(_), ..
            } => {
                if variant.is_some() {
                    let message = "a volume takes no credentials";
                    self.problem(document, &["spec", side.credentials], message);
                }
                self.folder(from).unwrap_or(placeholder)
            }
            StorageSpec { s3: Some(s3), .. } => {
                let keys = match (variant, credentials) {
                    (Some("aws"), Some((from, spec))) => self.access_key(from, spec),
                    (Some(variant), _) => {
                        self.misfit(document, side, variant, "an s3 storage", "aws");
                        None
                    }
                    _ => None,
                };
                s3_location(s3, keys)
            }
            StorageSpec { gcs: Some(gcs), .. } => {
                let key = match (variant, credentials) {
                    (Some("gcp"), Some((from, spec))) => self.service_account(from, spec),
                    (Some(variant), _) => {
                        self.misfit(document, side, variant, "a gcsBucket storage", "gcp");
                        None
                    }
                    _ => None,
                };
                gcs_location(gcs, key)
            }
            StorageSpec {
                azure: Some(azure), ..
            } => {
                let token = match (variant, credentials) {
                    (Some("azureContainerToken"), Some((from, spec))) => self.sas_token(from, spec),
                    (Some(variant), _) => {
                        let what = "an azureContainer storage";
                        self.misfit(document, side, variant, what, "azureContainerToken");
                        None
                    }
                    _ => None,
                };
                azure_location(azure, token)
            }
            // Reported: none of the variants is there.
            _ => placeholder,
        }
    }

    fn folder(&mut self, storage: &Document) -> Option<StorageLocation> {
        let name = &storage.metadata.name.0;
        match self.bindings.storage(name) {
            Some(path) => Some(StorageLocation::Folder { path }),
            None => {
                let message = format!("no folder is bound to this volume, add --claim {name}=DIR");
                self.problem(storage, &["spec", "volume"], message);
                None
            }
        }
    }

    /// Follows a reference to Credentials.
    fn credentials(
        &mut self,
        document: &'a Document,
        side: &Side<'_>,
        source: Option<&CredentialsSource>,
    ) -> Option<(&'a Document, &'a CredentialsSpec)> {
        let reference = source?.credentials.as_ref()?;
        let path = ["spec", side.credentials, "credentialsRef"];
        if let Some(namespace) = &reference.namespace
            && Some(namespace) != document.metadata.namespace.as_ref()
        {
            let message = format!(
                "credentials are taken from the document's own namespace only, not from {namespace}: pods cannot mount what lies in another"
            );
            self.problem(document, &[&path[..], &["namespace"]].concat(), message);
        }
        let path = [&path[..], &["name"]].concat();
        self.find(
            "Credentials",
            &reference.name.0,
            document,
            &path,
            |resource| match resource {
                Resource::Credentials(spec) => Some(&**spec),
                _ => None,
            },
        )
    }

    fn misfit(
        &mut self,
        document: &Document,
        side: &Side<'_>,
        variant: &str,
        what: &str,
        fitting: &str,
    ) {
        let message = format!("credentials of kind {variant} do not fit {what}, {fitting} would");
        let path = ["spec", side.credentials, "credentialsRef", "name"];
        self.problem(document, &path, message);
    }

    /// The access key of `aws` credentials. `None` where both halves are optional and missing: then the
    /// environment is asked.
    fn access_key(
        &mut self,
        document: &'a Document,
        spec: &'a CredentialsSpec,
    ) -> Option<S3Credentials> {
        let aws = spec.aws.as_ref()?;
        let id = self.secret(
            document,
            &["spec", "aws", "accessKeyIdFrom"],
            &aws.access_key_id,
        );
        let path = ["spec", "aws", "secretAccessKeyFrom"];
        let key = self.secret(document, &path, &aws.secret_access_key);
        match (id, key) {
            (Some(access_key_id), Some(secret_access_key)) => Some(S3Credentials {
                access_key_id,
                secret_access_key,
            }),
            (None, None) => None,
            _ => {
                let message =
                    "only one half of the access key is there, the optional other one is missing";
                self.problem(document, &["spec", "aws"], message);
                None
            }
        }
    }

    /// The key of `gcp` credentials. `None` where it is optional and missing: then the environment is asked.
    fn service_account(
        &mut self,
        document: &'a Document,
        spec: &'a CredentialsSpec,
    ) -> Option<Secret> {
        let gcp = spec.gcp.as_ref()?;
        let path = ["spec", "gcp", "serviceAccountJsonFrom"];
        self.secret(document, &path, &gcp.service_account_json)
    }

    /// The token of `azureContainerToken` credentials. `None` as above.
    fn sas_token(&mut self, document: &'a Document, spec: &'a CredentialsSpec) -> Option<Secret> {
        let azure = spec.azure.as_ref()?;
        let path = ["spec", "azureContainerToken", "sasTokenFrom"];
        self.secret(document, &path, &azure.sas_token)
    }

    /// A value from a Secret: a bound file, or a document. `None` where it is missing and may be.
    pub(super) fn secret(
        &mut self,
        document: &'a Document,
        path: &[&str],
        source: &'a ValueSource,
    ) -> Option<Secret> {
        let reference = source.secret.as_ref()?;
        let (name, key) = (&reference.name.0, &reference.key.0);
        if name.is_empty() || key.is_empty() {
            return None;
        }
        if let Some(secret) = self.bindings.secret(name, key, source.is_optional()) {
            return Some(secret);
        }
        let found = self
            .set
            .documents
            .iter()
            .find_map(|other| match &other.resource {
                Resource::Secret(secret)
                    if other.metadata.name.0 == *name
                        && other.metadata.namespace == document.metadata.namespace =>
                {
                    Some(secret)
                }
                _ => None,
            });
        if let Some(value) = found.and_then(|secret| secret.get(key)) {
            return Some(Secret::Inline(value.to_owned()));
        }
        if !source.is_optional() {
            let path = [path, &["secretKeyRef"]].concat();
            let message = if found.is_some() {
                format!("the Secret {name} has no key {key}, add it or --secret {name}/{key}=PATH")
            } else {
                format!("there is no Secret {name}, add one or --secret {name}/{key}=PATH")
            };
            self.problem(document, &path, message);
        }
        None
    }
}

fn s3_location(spec: &S3Spec, credentials: Option<S3Credentials>) -> StorageLocation {
    let prefix = spec.prefix.as_deref().unwrap_or_default();
    StorageLocation::S3 {
        bucket: spec.bucket.0.clone(),
        prefix: prefix.trim_matches('/').to_owned(),
        region: spec.region.as_ref().map(|region| region.0.clone()),
        endpoint: spec.endpoint.as_ref().map(|endpoint| endpoint.0.clone()),
        force_path_style: spec.force_path_style.unwrap_or(false),
        credentials,
    }
}

fn gcs_location(spec: &GcsSpec, service_account: Option<Secret>) -> StorageLocation {
    let prefix = spec.prefix.as_deref().unwrap_or_default();
    StorageLocation::Gcs {
        bucket: spec.bucket.0.clone(),
        prefix: prefix.trim_matches('/').to_owned(),
        endpoint: None,
        service_account,
    }
}

fn azure_location(spec: &AzureSpec, sas_token: Option<Secret>) -> StorageLocation {
    let directory = spec.directory.as_deref().unwrap_or_default();
    let location = spec.location.0.trim_end_matches('/');
    StorageLocation::Azure {
        // Reported where it is not there.
        account: azure_account(location).unwrap_or_default().to_owned(),
        container: spec.container.0.clone(),
        directory: directory.trim_matches('/').to_owned(),
        endpoint: Some(location.to_owned()),
        sas_token,
    }
}

/// The properties with librdkafka's first name for the bootstrap servers turned into the usual one.
fn with_one_bootstrap(properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut properties = properties.clone();
    if let Some(servers) = properties.remove(BROKER_LIST) {
        properties.insert(BOOTSTRAP.to_owned(), servers);
    }
    properties
}
