//! Credentials.

use crate::decode::{Place, enumeration, object};
use crate::scalar::Name;

object! {
    /// Credentials for a Kafka cluster, a storage or a schema registry: exactly one of six kinds.
    CredentialsSpec {
        /// An access key for S3.
        "aws" => aws: Option<AwsSpec>,
        /// A service account for Google Cloud Storage.
        "gcp" => gcp: Option<GcpSpec>,
        /// A shared access signature for Azure Blob Storage.
        "azureContainerToken" => azure: Option<AzureTokenSpec>,
        /// A password or a token for Kafka.
        "sasl" => sasl: Option<SaslSpec>,
        /// A client certificate for Kafka.
        "mTls" => m_tls: Option<MutualTlsSpec>,
        /// A user name and a password for a schema registry.
        "httpBasic" => http_basic: Option<HttpBasicSpec>,
    }
    exactly_one ["aws", "gcp", "azureContainerToken", "sasl", "mTls", "httpBasic"]
}

impl CredentialsSpec {
    /// The key of the variant that is there.
    pub fn variant(&self) -> Option<&'static str> {
        let variants = [
            ("aws", self.aws.is_some()),
            ("gcp", self.gcp.is_some()),
            ("azureContainerToken", self.azure.is_some()),
            ("sasl", self.sasl.is_some()),
            ("mTls", self.m_tls.is_some()),
            ("httpBasic", self.http_basic.is_some()),
        ];
        variants
            .into_iter()
            .find_map(|(key, there)| there.then_some(key))
    }
}

object! {
    /// A value that stands in a Secret.
    ValueSource {
        /// A key of a Secret of the same namespace.
        "secretKeyRef" => secret: Option<SecretKey>,
    }
    check check_value_source
    rule "has(self.secretKeyRef)" => "secretKeyRef must be given: the name and the key of a Secret"
}

impl ValueSource {
    /// Whether it may be missing.
    pub(crate) fn is_optional(&self) -> bool {
        self.secret
            .as_ref()
            .is_some_and(|secret| secret.optional == Some(true))
    }
}

fn check_value_source(source: &ValueSource, at: &mut Place<'_>) {
    if source.secret.is_none() {
        at.problem_at("secretKeyRef", "missing");
    }
}

object! {
    /// A key of a Secret.
    SecretKey {
        /// The key.
        "key" => key: Name,
        /// The name of the Secret.
        "name" => name: Name,
        /// Whether Secret or key may be missing. Default: false.
        "optional" => optional: Option<bool>,
    }
}

object! {
    /// An access key for S3.
    AwsSpec {
        /// The id of the access key.
        "accessKeyIdFrom" => access_key_id: ValueSource,
        /// The secret access key.
        "secretAccessKeyFrom" => secret_access_key: ValueSource,
        /// What this is for, for people.
        "description" => description: Option<String>,
    }
}

object! {
    /// A service account for Google Cloud Storage.
    GcpSpec {
        /// The JSON file of a service account's key.
        "serviceAccountJsonFrom" => service_account_json: ValueSource,
        /// What this is for, for people.
        "description" => description: Option<String>,
    }
}

object! {
    /// A shared access signature for Azure Blob Storage.
    AzureTokenSpec {
        /// The shared access signature (SAS) of a container.
        "sasTokenFrom" => sas_token: ValueSource,
        /// What this is for, for people.
        "description" => description: Option<String>,
    }
}

enumeration! {
    /// `sasl.mechanism`.
    SaslMechanism {
        /// PLAIN
        Plain = "PLAIN",
        /// SCRAM-SHA-256
        ScramSha256 = "SCRAM-SHA-256",
        /// SCRAM-SHA-512
        ScramSha512 = "SCRAM-SHA-512",
        /// OAUTHBEARER
        OAuthBearer = "OAUTHBEARER",
    }
}

object! {
    /// A password (PLAIN and SCRAM), or a token (OAUTHBEARER) for Kafka.
    SaslSpec {
        /// The mechanism.
        "mechanism" => mechanism: SaslMechanism,
        /// The user name, for PLAIN and SCRAM.
        "usernameFrom" => username: Option<ValueSource>,
        /// The password, for PLAIN and SCRAM.
        "passwordFrom" => password: Option<ValueSource>,
        /// The address that gives tokens, for OAUTHBEARER.
        "tokenEndpoint" => token_endpoint: Option<String>,
        /// The id of the client that asks for a token, for OAUTHBEARER.
        "clientIdFrom" => client_id: Option<ValueSource>,
        /// The secret of the client that asks for a token, for OAUTHBEARER.
        "clientSecretFrom" => client_secret: Option<ValueSource>,
        /// The scope of the token, for OAUTHBEARER.
        "scope" => scope: Option<String>,
        /// What is sent to the broker beside the token, for OAUTHBEARER.
        "extensions" => extensions: Vec<SaslExtension>,
        /// TLS of the connections. Where it is there, they are encrypted.
        "sslConf" => ssl: Option<TlsSpec>,
        /// What this is for, for people.
        "description" => description: Option<String>,
    }
}

object! {
    /// What is sent to the broker beside the token.
    SaslExtension {
        /// The name of the extension, for example `logicalCluster`.
        "key" => key: Name,
        /// Its value.
        "value" => value: String,
    }
}

object! {
    /// TLS of connections.
    TlsSpec {
        /// Whether connections are encrypted. Default: true, because this object is there.
        "enabled" => enabled: Option<bool>,
        /// The certificates of the authorities that are trusted to vouch for the server, as PEM. Default: those of the
        /// system.
        "caCertificatePemFrom" => ca_certificate_pem: Option<ValueSource>,
        /// A file in the pod with the certificates of such authorities, instead of `caCertificatePemFrom`.
        "caCertificateLocation" => ca_certificate_location: Option<String>,
        /// The certificate of the client, as PEM.
        "certificatePemFrom" => certificate_pem: Option<ValueSource>,
        /// The private key of the client, as PEM of PKCS #8.
        "privateKeyPemFrom" => private_key_pem: Option<ValueSource>,
        /// The password of the private key, where it is encrypted.
        "privateKeyPasswordFrom" => private_key_password: Option<ValueSource>,
    }
}

object! {
    /// A client certificate for Kafka.
    MutualTlsSpec {
        /// The certificate of the client, as PEM.
        "certificatePemFrom" => certificate_pem: ValueSource,
        /// The private key of the client, as PEM of PKCS #8.
        "privateKeyPemFrom" => private_key_pem: ValueSource,
        /// The password of the private key, where it is encrypted.
        "privateKeyPasswordFrom" => private_key_password: Option<ValueSource>,
        /// The certificates of the authorities that are trusted to vouch for the server, as PEM. Default: those of the
        /// system.
        "caCertificatePemFrom" => ca_certificate_pem: Option<ValueSource>,
        /// A file in the pod with the certificates of such authorities, instead of `caCertificatePemFrom`.
        "caCertificateLocation" => ca_certificate_location: Option<String>,
        /// What this is for, for people.
        "description" => description: Option<String>,
    }
}

object! {
    /// A user name and a password for a schema registry.
    HttpBasicSpec {
        /// The user name.
        "usernameFrom" => username: ValueSource,
        /// The password.
        "passwordFrom" => password: ValueSource,
        /// What this is for, for people.
        "description" => description: Option<String>,
    }
}
