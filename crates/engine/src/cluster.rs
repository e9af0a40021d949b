//! From the plain data of a job to a client of its cluster.

use armory_kafka::{Client, ClientConfig, SecretValue};
use armory_resources::job::{KafkaEndpoint, Secret};
use armory_troubles::Troubles;

use crate::EngineError;

/// A client of the cluster, which tells what it tries again. Secrets are handed on as places to read from, because it reads them for each connection.
pub(crate) fn client(endpoint: &KafkaEndpoint, troubles: &Troubles) -> Result<Client, EngineError> {
    let secrets = endpoint.secrets.iter().map(|(name, secret)| {
        let secret = match secret {
            Secret::File(path) => SecretValue::File(path.clone()),
            Secret::OptionalFile(path) => SecretValue::OptionalFile(path.clone()),
            Secret::Inline(value) => SecretValue::Text(value.clone()),
        };
        (name.clone(), secret)
    });
    let config =
        ClientConfig::from_properties_and_secrets(&endpoint.properties, &secrets.collect())?;
    let troubles = match endpoint.name == endpoint.bootstrap_servers() {
        true => troubles.clone(),
        false => troubles.about(format!("EventHub {}", endpoint.name)),
    };
    Ok(Client::watched(config, troubles)?)
}
