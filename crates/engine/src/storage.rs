//! From the plain data of a job to the archive's own types.

use armory_archive::{Codec, Location, S3Options, TopicKey, parse_url};
use armory_kafka::TopicMetadata;
use armory_resources::job::{CompressionAlgorithm, CompressionSpec, StorageLocation};

use crate::EngineError;

/// The archive's place.
pub fn location(storage: &StorageLocation) -> Result<Location, EngineError> {
    match storage {
        StorageLocation::Folder { path } => Ok(Location::Folder(path.clone())),
        StorageLocation::S3 {
            bucket,
            prefix,
            region,
            endpoint,
            force_path_style,
            credentials,
        } => {
            let reveal = |secret: &armory_resources::job::Secret| {
                secret.reveal().map_err(|source| EngineError::Secret {
                    what: "the storage's credentials",
                    source,
                })
            };
            let (access_key, secret_key) = match credentials {
                Some(keys) => (
                    Some(reveal(&keys.access_key_id)?),
                    Some(reveal(&keys.secret_access_key)?),
                ),
                None => (None, None),
            };
            let options = S3Options {
                region: region.clone(),
                endpoint: endpoint.clone(),
                path_style: force_path_style.then_some(true),
                access_key,
                secret_key,
                session_token: None,
            };
            Ok(parse_url(&format!("s3://{bucket}/{prefix}"), &options)?)
        }
    }
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
