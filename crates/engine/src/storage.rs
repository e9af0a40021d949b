//! From the plain data of a job to the archive's own types.

use std::io;

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
            let halves = keys.map(|keys| {
                let halves = [&keys.access_key_id, &keys.secret_access_key];
                halves.map(Secret::is_given)
            });
            if let Some([id, key]) = halves
                && id != key
            {
                return Err(half_a_key(id));
            }
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

const CREDENTIALS: &str = "the storage's credentials";

fn half_a_key(has_id: bool) -> EngineError {
    let missing = match has_id {
        true => "the secret access key is missing, and its id is there; give both or none",
        false => "the access key's id is missing, and its secret is there; give both or none",
    };
    EngineError::Secret {
        what: CREDENTIALS,
        source: io::Error::new(io::ErrorKind::NotFound, missing),
    }
}

/// `None`: the environment is asked.
fn read_again(secret: Option<&Secret>) -> Result<Option<StorageSecret>, EngineError> {
    let Some(secret) = secret.filter(|secret| secret.is_given()) else {
        return Ok(None);
    };
    // What is missing now is told as what it is, and not by the store.
    secret.reveal().map_err(|source| EngineError::Secret {
        what: CREDENTIALS,
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

#[cfg(test)]
mod tests {
    use armory_resources::job::S3Credentials;

    use super::*;

    #[test]
    fn an_optional_key_is_both_halves_or_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let (id, key) = (folder.path().join("id"), folder.path().join("key"));
        let storage = StorageLocation::S3 {
            bucket: "b-1".to_owned(),
            prefix: String::new(),
            region: None,
            endpoint: None,
            force_path_style: false,
            credentials: Some(S3Credentials {
                access_key_id: Secret::OptionalFile(id.clone()),
                secret_access_key: Secret::OptionalFile(key.clone()),
            }),
        };
        location(&storage).expect("the environment is asked");
        std::fs::write(&id, "id").expect("written");
        let error = armory_troubles::sentence(&location(&storage).expect_err("half a key"));
        assert_eq!(
            error,
            "the storage's credentials cannot be read: the secret access key is missing, and its id is there; give both or none"
        );
        std::fs::write(&key, "key").expect("written");
        location(&storage).expect("it is whole");
        std::fs::remove_file(&id).expect("removed");
        location(&storage).expect_err("half a key");
    }
}
