//! Storage.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Value as Json, json};

use crate::decode::{Decode, Place, object};
use crate::job::azure_account;
use crate::node::{Node, Value};
use crate::scalar::{Name, Size};

object! {
    /// Where archives lie: exactly one of four kinds.
    StorageSpec {
        /// A volume: a claim that is made for this Storage.
        "volume" => volume: Option<VolumeSpec>,
        /// A bucket of Amazon S3, or of a server that speaks its protocol.
        "s3" => s3: Option<S3Spec>,
        /// A bucket of Google Cloud Storage.
        "gcsBucket" => gcs: Option<GcsSpec>,
        /// A container of Azure Blob Storage.
        "azureContainer" => azure: Option<AzureSpec>,
    }
    exactly_one ["volume", "s3", "gcsBucket", "azureContainer"]
}

impl StorageSpec {
    /// Where it lies, for people: `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `https://account.blob.core.windows.net/container/directory`, or `pvc://claim` with the name of the volume's claim.
    /// Empty in a Storage that was refused.
    pub fn location(&self, claim: &str) -> String {
        let below = |root: String, path: &Option<String>| {
            let path = path.as_deref().unwrap_or_default().trim_matches('/');
            match path {
                "" => root,
                path => format!("{root}/{path}"),
            }
        };
        match self {
            StorageSpec {
                volume: Some(_), ..
            } => format!("pvc://{claim}"),
            StorageSpec { s3: Some(s3), .. } => below(format!("s3://{}", s3.bucket.0), &s3.prefix),
            StorageSpec { gcs: Some(gcs), .. } => {
                below(format!("gs://{}", gcs.bucket.0), &gcs.prefix)
            }
            StorageSpec {
                azure: Some(azure), ..
            } => {
                let account = azure.location.0.trim_end_matches('/');
                below(format!("{account}/{}", azure.container.0), &azure.directory)
            }
            _ => String::new(),
        }
    }
}

object! {
    /// A volume. Its claim can be mounted by pods of one node at a time (ReadWriteOnce).
    VolumeSpec {
        /// The size of the volume, for example `10Gi`.
        "capacity" => capacity: Size,
        /// The storage class of the volume. It cannot be changed once it is set. Default: that of the operator, else that
        /// of the cluster.
        "storageClass" => storage_class: Option<String> {"maxLength": 253},
        /// What this is for, for people.
        "description" => description: Option<String>,
        /// Labels of the claim.
        "labels" => labels: BTreeMap<String, String>,
        /// Annotations of the claim.
        "annotations" => annotations: BTreeMap<String, String>,
    }
    rule "!has(oldSelf.storageClass) || (has(self.storageClass) && self.storageClass == oldSelf.storageClass)" => "storageClass cannot be changed once it is set, make another Storage"
}

object! {
    /// A bucket of Amazon S3, or of a server that speaks its protocol. It must not have a lifecycle rule that deletes or
    /// moves objects.
    S3Spec {
        /// The name of the bucket.
        "bucket" => bucket: BucketName,
        /// The region of the bucket. Default: that of the pod's environment, else us-east-1.
        "region" => region: Option<Name>,
        /// The folder in the bucket that the archive lies in. Default: the bucket's root.
        "prefix" => prefix: Option<String> {"maxLength": 1024},
        /// The address of another server than Amazon's (MinIO, Ceph), beginning with `http://` or `https://`.
        "endpoint" => endpoint: Option<Name> {"pattern": "^https?://"},
        /// Whether the bucket stands in the path of addresses instead of in the host name, as MinIO and Ceph want it.
        "forcePathStyle" => force_path_style: Option<bool> {"default": false},
        /// What this is for, for people.
        "description" => description: Option<String>,
    }
    check check_s3
}

fn check_s3(spec: &S3Spec, at: &mut Place<'_>) {
    if spec
        .prefix
        .as_ref()
        .is_some_and(|prefix| prefix.len() > 1024)
    {
        at.problem_at("prefix", "is longer than 1024 bytes");
    }
    if let Some(endpoint) = &spec.endpoint
        && !endpoint.0.is_empty()
        && !endpoint.0.starts_with("http://")
        && !endpoint.0.starts_with("https://")
    {
        at.problem_at("endpoint", "must begin with http:// or https://");
    }
}

/// The name of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketName(pub String);

/// Is this a name of a bucket? (`^[a-z0-9]([a-z0-9.-]{1,61}[a-z0-9])$`)
pub fn check_bucket_name(name: &str) -> Result<(), String> {
    let inner = |byte: u8| is_lower_or_digit(byte) || b".-".contains(&byte);
    if has_form(name, 3..=63, inner) {
        Ok(())
    } else {
        Err(format!(
            "{name:?} is not the name of a bucket: 3 to 63 lower-case letters, digits, '.' and '-'"
        ))
    }
}

impl Decode for BucketName {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let name = String::decode(node, at);
        if matches!(node.value, Value::Text(_))
            && let Err(message) = check_bucket_name(&name)
        {
            at.problem(message);
        }
        BucketName(name)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]{1,61}[a-z0-9])$" })
    }
}

object! {
    /// A bucket of Google Cloud Storage. It must not have a lifecycle rule that deletes or moves objects.
    GcsSpec {
        /// The name of the bucket.
        "bucket" => bucket: GcsBucketName,
        /// The folder in the bucket that the archive lies in. Default: the bucket's root.
        "prefix" => prefix: Option<String>,
        /// What this is for, for people.
        "description" => description: Option<String>,
    }
}

/// The name of a bucket of Google Cloud Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcsBucketName(pub String);

/// Is this a name that Google Cloud Storage takes for a bucket?
fn is_gcs_bucket_name(name: &str) -> bool {
    let inner = |byte: u8| is_lower_or_digit(byte) || b"._-".contains(&byte);
    has_form(name, 3..=222, inner)
}

impl Decode for GcsBucketName {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let name = String::decode(node, at);
        if matches!(node.value, Value::Text(_)) && !is_gcs_bucket_name(&name) {
            at.problem(format!(
                "{name:?} is not the name of a bucket: 3 to 222 lower-case letters, digits, '.', '_' and '-'"
            ));
        }
        GcsBucketName(name)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$" })
    }
}

object! {
    /// A container of Azure Blob Storage. It must not have a lifecycle rule that deletes or moves blobs.
    AzureSpec {
        /// The name of the container.
        "container" => container: ContainerName,
        /// The address of the storage account: `https://ACCOUNT.blob.core.windows.net`.
        "location" => location: Name {"pattern": "^https?://.+"},
        /// The directory in the container that the archive lies in. Default: the container's root.
        "directory" => directory: Option<String>,
        /// What this is for, for people.
        "description" => description: Option<String>,
    }
    check check_azure
}

/// The name of a container of Azure Blob Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerName(pub String);

/// Is this a name that Azure takes for a container?
fn is_container_name(name: &str) -> bool {
    let inner = |byte: u8| is_lower_or_digit(byte) || byte == b'-';
    // The ones with a dollar sign are made by Azure.
    matches!(name, "$root" | "$logs" | "$web")
        || has_form(name, 3..=63, inner) && !name.contains("--")
}

impl Decode for ContainerName {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let name = String::decode(node, at);
        if matches!(node.value, Value::Text(_)) && !is_container_name(&name) {
            at.problem(format!(
                "{name:?} is not the name of a container: 3 to 63 lower-case letters, digits and single '-' between them"
            ));
        }
        ContainerName(name)
    }

    fn schema() -> Json {
        json!({
            "type": "string",
            "maxLength": 63,
            "pattern": r"^([a-z0-9](-?[a-z0-9]){2,}|\$root|\$logs|\$web)$",
        })
    }
}

fn is_lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Does the name have that many bytes, all of them legal, with a letter or digit at both ends?
fn has_form(name: &str, length: RangeInclusive<usize>, legal: impl Fn(u8) -> bool) -> bool {
    let end = |byte: Option<u8>| byte.is_some_and(is_lower_or_digit);
    length.contains(&name.len())
        && name.bytes().all(legal)
        && end(name.bytes().next())
        && end(name.bytes().last())
}

fn check_azure(spec: &AzureSpec, at: &mut Place<'_>) {
    let location = &spec.location.0;
    if !location.is_empty() && azure_account(location).is_none() {
        let message = "is not the address of a storage account, expected https://ACCOUNT.blob.core.windows.net";
        at.problem_at("location", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_buckets_and_containers() {
        for name in ["abc", "a-b", "a1.b_c", &"x".repeat(222)] {
            assert!(is_gcs_bucket_name(name), "{name}");
        }
        for name in ["", "ab", "Abc", "-ab", "ab.", &"x".repeat(223)] {
            assert!(!is_gcs_bucket_name(name), "{name}");
        }
        for name in ["abc", "a-b-c", "$web", &"x".repeat(63)] {
            assert!(is_container_name(name), "{name}");
        }
        for name in ["", "ab", "a--b", "abc-", "a.b", "$x", &"x".repeat(64)] {
            assert!(!is_container_name(name), "{name}");
        }
    }
}
