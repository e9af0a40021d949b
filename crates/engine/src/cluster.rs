//! From the plain data of a job to a client of its cluster.

use armory_kafka::{Client, ClientConfig, SecretValue};
use armory_resources::job::{KafkaEndpoint, Secret};

use crate::EngineError;

/// A client of the cluster. Secrets are handed on as places to read from, because it reads them for each connection.
pub(crate) fn client(endpoint: &KafkaEndpoint) -> Result<Client, EngineError> {
    let secrets = endpoint.secrets.iter().map(|(name, secret)| {
        let secret = match secret {
            Secret::File(path) => SecretValue::File(path.clone()),
            Secret::Inline(value) => SecretValue::Text(value.clone()),
        };
        (name.clone(), secret)
    });
    let config =
        ClientConfig::from_properties_and_secrets(&endpoint.properties, &secrets.collect())?;
    Ok(Client::new(config)?)
}
