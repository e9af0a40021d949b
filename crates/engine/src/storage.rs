//! From the plain data of a job to the archive's own types.

use armory_archive::{
    AzureOptions, Codec, GcsOptions, Location, S3Options, StorageSecret, TopicKey,
};
use armory_kafka::TopicMetadata;
use armory_resources::job::{CompressionAlgorithm, CompressionSpec, Secret, StorageLocation};

use crate::EngineError;

/// The archive's place. Secrets have to be there now, and are read again while it is used.
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
                access_key: read_again(keys.map(|keys| &keys.access_key_id))?,
                secret_key: read_again(keys.map(|keys| &keys.secret_access_key))?,
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
                service_account: read_again(service_account.as_ref())?,
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
                sas_token: read_again(sas_token.as_ref())?,
            };
            Location::azure(account, container, directory, &options)?
        }
    };
    Ok(location)
}

fn read_again(secret: Option<&Secret>) -> Result<Option<StorageSecret>, EngineError> {
    let Some(secret) = secret else {
        return Ok(None);
    };
    // What is missing now is told as what it is, and not by the store.
    secret.reveal().map_err(|source| EngineError::Secret {
        what: "the storage's credentials",
        source,
    })?;
    let secret = secret.clone();
    Ok(Some(StorageSecret::read_by(move || secret.reveal())))
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
