//! Storage.

use std::collections::BTreeMap;

use crate::decode::{Decode, Place, object};
use crate::job::azure_account;
use crate::kinds::exactly_one;
use crate::node::{Node, Value};
use crate::scalar::{Name, Size};

object! {
    /// `spec` of a Storage: exactly one of four.
    StorageSpec {
        /// A volume.
        "volume" => volume: Option<VolumeSpec>,
        /// S3.
        "s3" => s3: Option<S3Spec>,
        /// Google Cloud Storage.
        "gcsBucket" => gcs: Option<GcsSpec>,
        /// Azure Blob Storage.
        "azureContainer" => azure: Option<AzureSpec>,
    }
    check check_storage
}

fn check_storage(spec: &StorageSpec, at: &mut Place<'_>) {
    let keys = [
        ("volume", spec.volume.is_some()),
        ("s3", spec.s3.is_some()),
        ("gcsBucket", spec.gcs.is_some()),
        ("azureContainer", spec.azure.is_some()),
    ];
    exactly_one(&keys, at);
}

object! {
    /// A volume. Outside Kubernetes only that it is one counts: a folder is bound to the Storage's name.
    VolumeSpec {
        /// How large.
        "capacity" => capacity: Size,
        /// Storage class.
        "storageClass" => storage_class: Option<String>,
        /// For people.
        "description" => description: Option<String>,
        /// Of the claim.
        "labels" => labels: BTreeMap<String, String>,
        /// Of the claim.
        "annotations" => annotations: BTreeMap<String, String>,
    }
}

object! {
    /// A bucket of S3.
    S3Spec {
        /// The bucket.
        "bucket" => bucket: BucketName,
        /// Its region.
        "region" => region: Option<Name>,
        /// Where in the bucket.
        "prefix" => prefix: Option<String>,
        /// Another server.
        "endpoint" => endpoint: Option<Name>,
        /// The bucket in the path.
        "forcePathStyle" => force_path_style: Option<bool>,
        /// For people.
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
    let end = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let legal =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let bytes = name.as_bytes();
    let good = (3..=63).contains(&name.len())
        && bytes.iter().copied().all(legal)
        && end(bytes.first().copied())
        && end(bytes.last().copied());
    if good {
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

    fn outline(path: &str, out: &mut Vec<String>) {
        out.push(format!("{path} string"));
    }
}

object! {
    /// A bucket of Google Cloud Storage.
    GcsSpec {
        /// The bucket.
        "bucket" => bucket: Name,
        /// Where in the bucket.
        "prefix" => prefix: Option<String>,
        /// For people.
        "description" => description: Option<String>,
    }
}

object! {
    /// A container of Azure Blob Storage.
    AzureSpec {
        /// The container.
        "container" => container: Name,
        /// The account's address.
        "location" => location: Name,
        /// Where in the container.
        "directory" => directory: Option<String>,
        /// For people.
        "description" => description: Option<String>,
    }
    check check_azure
}

fn check_azure(spec: &AzureSpec, at: &mut Place<'_>) {
    let location = &spec.location.0;
    if !location.is_empty() && azure_account(location).is_none() {
        let message = "is not the address of a storage account, expected https://ACCOUNT.blob.core.windows.net";
        at.problem_at("location", message);
    }
}
