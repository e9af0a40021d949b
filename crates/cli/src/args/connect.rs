//! What several commands share: documents, Kafka, storages.

use std::path::PathBuf;

use armory_resources::Bindings;
use armory_resources::job::{KafkaEndpoint, Secret, StorageLocation};
use clap::Args;

/// Documents and what stands in for Kubernetes.
#[derive(Debug, Args)]
pub(crate) struct Documents {
    /// A file of YAML documents; `-` is standard input. May be given several times
    #[arg(
        short = 'f',
        long = "file",
        value_name = "FILE",
        conflicts_with_all = ["bootstrap_server", "property", "property_file", "topic", "storage", "plugin"],
    )]
    pub(crate) files: Vec<PathBuf>,

    /// A file with one job, every reference in it followed and every secret a file, as the operator makes it of the
    /// documents; `-` is standard input. A continuous backup of one waits for what keeps it from beginning and may pass, and
    /// says so at /status
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["files", "claim", "secret", "bootstrap_server", "property", "property_file", "topic", "storage", "plugin"],
    )]
    pub(crate) job: Option<PathBuf>,

    /// The folder that stands for a volume: that of a plugin's claim, or of the Storage of that name
    #[arg(
        long = "claim",
        id = "claim",
        value_name = "NAME=DIR",
        conflicts_with = "bootstrap_server"
    )]
    claims: Vec<String>,

    /// The file that holds a key of a Secret; comes before a Secret among the documents
    #[arg(
        long = "secret",
        id = "secret",
        value_name = "NAME/KEY=PATH",
        conflicts_with = "bootstrap_server"
    )]
    secrets: Vec<String>,
}

impl Documents {
    pub(crate) fn bindings(&self) -> Result<Bindings, armory_resources::BindingError> {
        let mut bindings = Bindings::default();
        self.claims
            .iter()
            .try_for_each(|text| bindings.add_claim(text))?;
        self.secrets
            .iter()
            .try_for_each(|text| bindings.add_secret(text))?;
        Ok(bindings)
    }
}

/// A Kafka cluster.
#[derive(Debug, Args)]
pub(crate) struct KafkaFlags {
    /// Brokers to begin with; several with commas or by repeating
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        required_unless_present_any = ["files", "job"]
    )]
    bootstrap_server: Vec<String>,

    /// A client property by librdkafka's name
    #[arg(short = 'X', long, value_name = "NAME=VALUE", value_parser = parse_property)]
    property: Vec<(String, String)>,

    /// A client property whose value is in a file, such as sasl.password or ssl.key.pem; the file is read for each
    /// connection, so that a renewed secret is taken up
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_property_file)]
    property_file: Vec<(String, PathBuf)>,
}

impl KafkaFlags {
    pub(crate) fn endpoint(&self) -> KafkaEndpoint {
        let mut endpoint = KafkaEndpoint::from_bootstrap(self.bootstrap_server.join(","));
        endpoint.properties.extend(self.property.iter().cloned());
        let files = self.property_file.iter();
        endpoint.secrets = files
            .map(|(name, file)| (name.clone(), Secret::File(file.clone())))
            .collect();
        endpoint
    }
}

pub(super) fn parse_property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name @ ("bootstrap.servers" | "metadata.broker.list"), _)) => {
            Err(format!("{name} is what --bootstrap-server is for"))
        }
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn parse_property_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            if !armory_kafka::is_secret(name) {
                return Err(format!(
                    "{name} is no name, password, key or certificate; give its value with --property"
                ));
            }
            Ok((name.to_owned(), file.into()))
        }
        _ => Err("expected NAME=FILE".to_owned()),
    }
}

/// What is told to those who watch.
#[derive(Debug, Args)]
pub(crate) struct MetricsFlag {
    /// Serve /metrics for Prometheus, /status, /healthz and /readyz at this address while it runs, e.g. 0.0.0.0:9000
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics_address: Option<std::net::SocketAddr>,
}

/// How to reach object stores.
#[derive(Debug, Args)]
#[command(next_help_heading = "Storage options")]
pub(crate) struct StorageFlags {
    /// Another server than Amazon's, e.g. http://localhost:9000; buckets are then named in the path
    #[arg(
        long,
        value_name = "URL",
        env = "AWS_ENDPOINT_URL",
        hide_env_values = true
    )]
    s3_endpoint: Option<String>,

    /// The region
    #[arg(
        long,
        value_name = "REGION",
        env = "AWS_REGION",
        hide_env_values = true
    )]
    s3_region: Option<String>,

    /// Another server than Google's, e.g. http://localhost:4443
    #[arg(
        long,
        value_name = "URL",
        env = "GOOGLE_BASE_URL",
        hide_env_values = true
    )]
    gcs_endpoint: Option<String>,

    /// The address of the Azure account, where its name does not tell it, e.g.
    /// http://localhost:10000/devstoreaccount1
    #[arg(
        long,
        value_name = "URL",
        env = "AZURE_STORAGE_ENDPOINT",
        hide_env_values = true
    )]
    azure_endpoint: Option<String>,
}

impl StorageFlags {
    /// Completes a storage; what its URL says stays.
    pub(crate) fn complete(&self, mut storage: StorageLocation) -> StorageLocation {
        match &mut storage {
            StorageLocation::Folder { .. } => {}
            StorageLocation::S3 {
                region,
                endpoint,
                force_path_style,
                ..
            } => {
                region.clone_from(&self.s3_region);
                endpoint.clone_from(&self.s3_endpoint);
                *force_path_style = self.s3_endpoint.is_some();
            }
            StorageLocation::Gcs { endpoint, .. } => endpoint.clone_from(&self.gcs_endpoint),
            StorageLocation::Azure { endpoint, .. } => {
                *endpoint = endpoint.take().or_else(|| self.azure_endpoint.clone());
            }
        }
        storage
    }
}

/// Reads a `STORAGE`.
pub(crate) fn parse_storage(text: &str) -> Result<StorageLocation, String> {
    StorageLocation::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_secret_is_read_from_a_file() {
        let parsed = parse_property_file("sasl.password=/run/a=b");
        assert_eq!(parsed, Ok(("sasl.password".to_owned(), "/run/a=b".into())));
        let refused = parse_property_file("client.id=/run/a").unwrap_err();
        assert!(refused.contains("--property"), "{refused}");
        for text in ["", "sasl.password", "sasl.password=", "=a"] {
            assert!(parse_property_file(text).is_err(), "{text}");
        }
    }
}
