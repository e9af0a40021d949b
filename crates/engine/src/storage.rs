//! From the plain data of a job to the archive's own types.

use armory_archive::{AzureOptions, Codec, GcsOptions, Location, S3Options, TopicKey};
use armory_kafka::TopicMetadata;
use armory_resources::job::{CompressionAlgorithm, CompressionSpec, Secret, StorageLocation};

use crate::EngineError;

/// The archive's place. Secrets are read now.
pub fn location(storage: &StorageLocation) -> Result<Location, EngineError> {
    let location = match storage {
        StorageLocation::Folder { path } => Location::Folder(path.clone()),
        StorageLocation::S3 {
            bucket,
            prefix,
            region,
            endpoint,
            force_path_style,
            credentials,
        } => {
            let keys = credentials.as_ref();
            let options = S3Options {
                region: region.clone(),
                endpoint: endpoint.clone(),
                path_style: force_path_style.then_some(true),
                access_key: reveal(keys.map(|keys| &keys.access_key_id))?,
                secret_key: reveal(keys.map(|keys| &keys.secret_access_key))?,
                session_token: None,
            };
            Location::s3(bucket, prefix, &options)?
        }
        StorageLocation::Gcs {
            bucket,
            prefix,
            endpoint,
            service_account,
        } => {
            let options = GcsOptions {
                endpoint: endpoint.clone(),
                service_account: reveal(service_account.as_ref())?,
            };
            Location::gcs(bucket, prefix, &options)?
        }
        StorageLocation::Azure {
            account,
            container,
            directory,
            endpoint,
            sas_token,
        } => {
            let options = AzureOptions {
                endpoint: endpoint.clone(),
                sas_token: reveal(sas_token.as_ref())?,
            };
            Location::azure(account, container, directory, &options)?
        }
    };
    Ok(location)
}

fn reveal(secret: Option<&Secret>) -> Result<Option<String>, EngineError> {
    let reveal = |secret: &Secret| {
        secret.reveal().map_err(|source| EngineError::Secret {
            what: "the storage's credentials",
            source,
        })
    };
    secret.map(reveal).transpose()
}

/// Where the incarnation of a topic lies.
pub(crate) fn topic_key(topic: &TopicMetadata) -> TopicKey {
    TopicKey::new(topic.name.clone(), topic.id)
}

/// The archive's codec for the compression that a backup asks for.
pub(crate) fn compression(
    spec: Option<&CompressionSpec>,
) -> Result<Option<(Codec, Option<i32>)>, EngineError> {
    let Some(spec) = spec else { return Ok(None) };
    let codec = match spec.algorithm {
        CompressionAlgorithm::Zstd => Codec::Zstd,
        CompressionAlgorithm::Gzip => Codec::Gzip,
        other => {
            return Err(EngineError::NotSupported {
                what: format!("spec.compression.algorithm {other:?}"),
            });
        }
    };
    Ok(Some((codec, spec.quality)))
}
