//! Credentials.

use crate::decode::{Place, enumeration, object};
use crate::kinds::exactly_one;
use crate::scalar::Name;

object! {
    /// `spec` of Credentials: exactly one of six.
    CredentialsSpec {
        /// For S3.
        "aws" => aws: Option<AwsSpec>,
        /// For Google Cloud Storage.
        "gcp" => gcp: Option<GcpSpec>,
        /// For Azure Blob Storage.
        "azureContainerToken" => azure: Option<AzureTokenSpec>,
        /// For Kafka.
        "sasl" => sasl: Option<SaslSpec>,
        /// For Kafka.
        "mTls" => m_tls: Option<MutualTlsSpec>,
        /// For schema registries.
        "httpBasic" => http_basic: Option<HttpBasicSpec>,
    }
    check check_credentials
}

fn check_credentials(spec: &CredentialsSpec, at: &mut Place<'_>) {
    let keys = spec.variants();
    exactly_one(&keys, at);
}

impl CredentialsSpec {
    fn variants(&self) -> [(&'static str, bool); 6] {
        [
            ("aws", self.aws.is_some()),
            ("gcp", self.gcp.is_some()),
            ("azureContainerToken", self.azure.is_some()),
            ("sasl", self.sasl.is_some()),
            ("mTls", self.m_tls.is_some()),
            ("httpBasic", self.http_basic.is_some()),
        ]
    }

    /// The key of the variant that is there.
    pub(crate) fn variant(&self) -> Option<&'static str> {
        self.variants()
            .iter()
            .find_map(|(key, there)| there.then_some(*key))
    }
}

object! {
    /// `…From`: a value that stands in a Secret.
    ValueSource {
        /// Which key of which Secret.
        "secretKeyRef" => secret: Option<SecretKey>,
    }
    check check_value_source
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
    /// `secretKeyRef`.
    SecretKey {
        /// The key.
        "key" => key: Name,
        /// The Secret.
        "name" => name: Name,
        /// It may be missing.
        "optional" => optional: Option<bool>,
    }
}

object! {
    /// `aws`.
    AwsSpec {
        /// The access key's id.
        "accessKeyIdFrom" => access_key_id: ValueSource,
        /// The access key.
        "secretAccessKeyFrom" => secret_access_key: ValueSource,
        /// For people.
        "description" => description: Option<String>,
    }
}

object! {
    /// `gcp`.
    GcpSpec {
        /// A service account.
        "serviceAccountJsonFrom" => service_account_json: ValueSource,
        /// For people.
        "description" => description: Option<String>,
    }
}

object! {
    /// `azureContainerToken`.
    AzureTokenSpec {
        /// A token.
        "sasTokenFrom" => sas_token: ValueSource,
        /// For people.
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
    /// `sasl`.
    SaslSpec {
        /// The mechanism.
        "mechanism" => mechanism: SaslMechanism,
        /// Who.
        "usernameFrom" => username: Option<ValueSource>,
        /// Password.
        "passwordFrom" => password: Option<ValueSource>,
        /// Where a token comes from.
        "tokenEndpoint" => token_endpoint: Option<String>,
        /// Who, for a token.
        "clientIdFrom" => client_id: Option<ValueSource>,
        /// Password, for a token.
        "clientSecretFrom" => client_secret: Option<ValueSource>,
        /// What for.
        "scope" => scope: Option<String>,
        /// Handed on.
        "extensions" => extensions: Vec<SaslExtension>,
        /// TLS.
        "sslConf" => ssl: Option<TlsSpec>,
        /// For people.
        "description" => description: Option<String>,
    }
}

object! {
    /// One of `sasl.extensions`.
    SaslExtension {
        /// Key.
        "key" => key: Name,
        /// Value.
        "value" => value: String,
    }
}

object! {
    /// `sslConf`.
    TlsSpec {
        /// On where it is not given.
        "enabled" => enabled: Option<bool>,
        /// Whom to trust.
        "caCertificatePemFrom" => ca_certificate_pem: Option<ValueSource>,
        /// Whom to trust.
        "caCertificateLocation" => ca_certificate_location: Option<String>,
        /// Who we are.
        "certificatePemFrom" => certificate_pem: Option<ValueSource>,
        /// Who we are.
        "privateKeyPemFrom" => private_key_pem: Option<ValueSource>,
        /// To open the key.
        "privateKeyPasswordFrom" => private_key_password: Option<ValueSource>,
    }
}

object! {
    /// `mTls`.
    MutualTlsSpec {
        /// Who we are.
        "certificatePemFrom" => certificate_pem: ValueSource,
        /// Who we are.
        "privateKeyPemFrom" => private_key_pem: ValueSource,
        /// To open the key.
        "privateKeyPasswordFrom" => private_key_password: Option<ValueSource>,
        /// Whom to trust.
        "caCertificatePemFrom" => ca_certificate_pem: Option<ValueSource>,
        /// Whom to trust.
        "caCertificateLocation" => ca_certificate_location: Option<String>,
        /// For people.
        "description" => description: Option<String>,
    }
}

object! {
    /// `httpBasic`.
    HttpBasicSpec {
        /// Who.
        "usernameFrom" => username: ValueSource,
        /// Password.
        "passwordFrom" => password: ValueSource,
        /// For people.
        "description" => description: Option<String>,
    }
}
