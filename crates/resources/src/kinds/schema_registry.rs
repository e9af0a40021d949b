//! SchemaRegistry, SchemaRegistryBackup and SchemaRegistryRestore.

use crate::decode::{Place, object};
use crate::kinds::CredentialsSource;
use crate::kinds::credentials::TlsSpec;
use crate::kinds::pod::PodFields;
use crate::scalar::{Name, Whole};

object! {
    /// A schema registry.
    SchemaRegistrySpec {
        /// A registry with the interface of Confluent's.
        "confluent" => confluent: Option<ConfluentSpec>,
    }
    exactly_one ["confluent"]
}

object! {
    /// A registry with the interface of Confluent's.
    ConfluentSpec {
        /// The address of the registry, beginning with `http://` or `https://`.
        "url" => url: Name {"pattern": "^https?://.+"},
        /// What this is for, for people.
        "description" => description: Option<String>,
        /// TLS of the connections to the registry.
        "sslConf" => ssl: Option<TlsSpec>,
    }
    check check_confluent
}

fn check_confluent(spec: &ConfluentSpec, at: &mut Place<'_>) {
    let url = &spec.url.0;
    let host = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    if !url.is_empty() && host.is_none_or(str::is_empty) {
        at.problem_at("url", "must begin with http:// or https://");
    }
}

object! {
    /// A backup of all schemas of a registry. It does not run yet: its status says so.
    SchemaRegistryBackupSpec {
        /// The name of the SchemaRegistry that is read.
        "registry" => registry: Name,
        /// The name of the Storage that is written.
        "storage" => storage: Name,
        /// Whether the backup runs.
        "enabled" => enabled: Option<bool> {"default": false},
        /// How many seconds lie between two looks at the registry, at least 1.
        "backupIntervalSecs" => interval_seconds: Option<Whole<1, { u32::MAX as i64 }>> {"default": 3600},
        /// Credentials for the registry: of the kind `httpBasic` or `mTls`.
        "registryCredentialsFrom" => registry_credentials: Option<CredentialsSource>,
        /// Credentials for the storage: of the kind `aws`, `gcp` or `azureContainerToken`, as the storage needs them.
        "storageCredentialsFrom" => storage_credentials: Option<CredentialsSource>,
        ..pod: PodFields,
    }
}

impl SchemaRegistryBackupSpec {
    /// Is it to run? Not where the key is absent.
    pub fn is_enabled(&self) -> bool {
        self.enabled == Some(true)
    }
}

object! {
    /// A restore of all schemas of a storage into a registry. It does not run yet: its status says so.
    SchemaRegistryRestoreSpec {
        /// The name of the SchemaRegistry that is written.
        "registry" => registry: Name,
        /// The name of the Storage that is read.
        "storage" => storage: Name,
        /// Whether the restore runs.
        "enabled" => enabled: Option<bool> {"default": false},
        /// Whether schemas keep their ids and versions. The registry's import mode must be on, and its ids must be free.
        /// Without it the registry gives new ids and versions, and references between schemas are adapted.
        "importMode" => import_mode: Option<bool> {"default": false},
        /// Credentials for the registry: of the kind `httpBasic` or `mTls`.
        "registryCredentialsFrom" => registry_credentials: Option<CredentialsSource>,
        /// Credentials for the storage: of the kind `aws`, `gcp` or `azureContainerToken`, as the storage needs them.
        "storageCredentialsFrom" => storage_credentials: Option<CredentialsSource>,
        ..pod: PodFields,
    }
}

impl SchemaRegistryRestoreSpec {
    /// Is it to run? Not where the key is absent.
    pub fn is_enabled(&self) -> bool {
        self.enabled == Some(true)
    }
}
