//! Credentials of Kafka: `sasl` and `mTls`, turned into client properties and secrets.

use std::collections::BTreeMap;

use super::Resolver;
use super::connect::Side;
use crate::job::{KafkaEndpoint, Secret};
use crate::kinds::credentials::{
    CredentialsSpec, MutualTlsSpec, SaslExtension, SaslMechanism, SaslSpec, TlsSpec, ValueSource,
};
use crate::set::Document;

const PROTOCOL: &str = "security.protocol";

/// Properties of which certificates are trusted and which one is shown.
fn is_certificate(name: &str) -> bool {
    ["ssl.ca.", "ssl.certificate.", "ssl.key."]
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

impl<'a> Resolver<'a> {
    /// Adds what `sasl` or `mTls` credentials say to an endpoint. They come before properties about the same, which are taken
    /// out and returned.
    pub(super) fn authenticate(
        &mut self,
        document: &'a Document,
        spec: &'a CredentialsSpec,
        endpoint: &mut KafkaEndpoint,
    ) -> Vec<String> {
        match spec {
            CredentialsSpec {
                sasl: Some(sasl), ..
            } => self.sasl(document, sasl, endpoint),
            CredentialsSpec {
                m_tls: Some(m_tls), ..
            } => self.mutual_tls(document, m_tls, endpoint),
            _ => Vec::new(),
        }
    }

    fn sasl(
        &mut self,
        document: &'a Document,
        sasl: &'a SaslSpec,
        endpoint: &mut KafkaEndpoint,
    ) -> Vec<String> {
        let before = endpoint.properties.remove(PROTOCOL).unwrap_or_default();
        let was_encrypted =
            before.eq_ignore_ascii_case("SSL") || before.eq_ignore_ascii_case("SASL_SSL");
        // Without a word about TLS it stays as the EventHub has it: a password never loses its encryption that way.
        let is_encrypted = match &sasl.ssl {
            Some(tls) => tls.enabled != Some(false),
            None => was_encrypted,
        };
        let overridden = take_out(endpoint, |name| {
            name.starts_with("sasl.")
                || name.starts_with("https.ca.")
                || (sasl.ssl.is_some() && is_certificate(name))
        });
        let protocol = if is_encrypted {
            "SASL_SSL"
        } else {
            "SASL_PLAINTEXT"
        };
        set(endpoint, PROTOCOL, protocol);
        set(endpoint, "sasl.mechanism", mechanism(sasl.mechanism));
        let path = ["spec", "sasl"];
        if sasl.mechanism == SaslMechanism::OAuthBearer {
            self.token(document, sasl, endpoint);
        } else {
            for (key, property, source) in [
                ("usernameFrom", "sasl.username", &sasl.username),
                ("passwordFrom", "sasl.password", &sasl.password),
            ] {
                self.wanted_secret(document, &path, key, property, source, sasl, endpoint);
            }
            let strays = [
                ("tokenEndpoint", sasl.token_endpoint.is_some()),
                ("clientIdFrom", sasl.client_id.is_some()),
                ("clientSecretFrom", sasl.client_secret.is_some()),
                ("scope", sasl.scope.is_some()),
                ("extensions", !sasl.extensions.is_empty()),
            ];
            self.refuse_strays(document, sasl, &strays);
        }
        if let Some(tls) = &sasl.ssl {
            if is_encrypted {
                self.tls(document, tls, endpoint);
            } else if *tls
                != (TlsSpec {
                    enabled: Some(false),
                    ..TlsSpec::default()
                })
            {
                let message = "has no effect while enabled is false";
                self.note(document, &["spec", "sasl", "sslConf"], message);
            }
        }
        overridden
    }

    fn token(&mut self, document: &'a Document, sasl: &'a SaslSpec, endpoint: &mut KafkaEndpoint) {
        let path = ["spec", "sasl"];
        set(endpoint, "sasl.oauthbearer.method", "oidc");
        match &sasl.token_endpoint {
            Some(url) => set(endpoint, "sasl.oauthbearer.token.endpoint.url", url),
            None => self.problem(
                document,
                &["spec", "sasl", "tokenEndpoint"],
                "missing, OAUTHBEARER needs it",
            ),
        }
        for (key, property, source) in [
            (
                "clientIdFrom",
                "sasl.oauthbearer.client.id",
                &sasl.client_id,
            ),
            (
                "clientSecretFrom",
                "sasl.oauthbearer.client.secret",
                &sasl.client_secret,
            ),
        ] {
            self.wanted_secret(document, &path, key, property, source, sasl, endpoint);
        }
        if let Some(scope) = &sasl.scope {
            set(endpoint, "sasl.oauthbearer.scope", scope);
        }
        let with_comma = |extension: &&SaslExtension| extension.value.contains(',');
        if sasl.extensions.iter().any(|one| with_comma(&one)) {
            let message = "a value cannot have a comma in it";
            self.problem(document, &["spec", "sasl", "extensions"], message);
        } else if !sasl.extensions.is_empty() {
            let pairs: Vec<String> = sasl
                .extensions
                .iter()
                .map(|extension| format!("{}={}", extension.key.0, extension.value))
                .collect();
            set(endpoint, "sasl.oauthbearer.extensions", &pairs.join(","));
        }
        let strays = [
            ("usernameFrom", sasl.username.is_some()),
            ("passwordFrom", sasl.password.is_some()),
        ];
        self.refuse_strays(document, sasl, &strays);
    }

    fn refuse_strays(&mut self, document: &Document, sasl: &SaslSpec, strays: &[(&str, bool)]) {
        for (key, _) in strays.iter().filter(|(_, there)| *there) {
            let message = format!(
                "has no meaning for {}, remove it",
                mechanism(sasl.mechanism)
            );
            self.problem(document, &["spec", "sasl", key], message);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one secret with where it stands and where it goes"
    )]
    fn wanted_secret(
        &mut self,
        document: &'a Document,
        path: &[&str; 2],
        key: &str,
        property: &str,
        source: &'a Option<ValueSource>,
        sasl: &SaslSpec,
        endpoint: &mut KafkaEndpoint,
    ) {
        let path = [path[0], path[1], key];
        let Some(source) = source else {
            let message = format!("missing, {} needs it", mechanism(sasl.mechanism));
            return self.problem(document, &path, message);
        };
        match self.secret(document, &path, source) {
            // Without it nobody gets in, so it is waited for like any other.
            Some(Secret::OptionalFile(file)) => {
                _ = endpoint
                    .secrets
                    .insert(property.to_owned(), Secret::File(file));
            }
            Some(secret) => _ = endpoint.secrets.insert(property.to_owned(), secret),
            None if source.is_optional() => {
                let message = format!(
                    "the Secret is missing, and {} needs it: it cannot be optional",
                    mechanism(sasl.mechanism)
                );
                self.problem(document, &path, message);
            }
            // Reported already.
            None => {}
        }
    }

    fn mutual_tls(
        &mut self,
        document: &'a Document,
        m_tls: &'a MutualTlsSpec,
        endpoint: &mut KafkaEndpoint,
    ) -> Vec<String> {
        endpoint.properties.remove(PROTOCOL);
        let overridden = take_out(endpoint, |name| {
            name.starts_with("sasl.") || name.starts_with("https.ca.") || is_certificate(name)
        });
        set(endpoint, PROTOCOL, "SSL");
        let certificates = Certificates {
            ca_pem: m_tls.ca_certificate_pem.as_ref(),
            ca_location: m_tls.ca_certificate_location.as_deref(),
            certificate: Some(&m_tls.certificate_pem),
            key: Some(&m_tls.private_key_pem),
            key_password: m_tls.private_key_password.as_ref(),
        };
        self.certificates(document, &["spec", "mTls"], &certificates, endpoint);
        overridden
    }

    fn tls(&mut self, document: &'a Document, tls: &'a TlsSpec, endpoint: &mut KafkaEndpoint) {
        let certificates = Certificates {
            ca_pem: tls.ca_certificate_pem.as_ref(),
            ca_location: tls.ca_certificate_location.as_deref(),
            certificate: tls.certificate_pem.as_ref(),
            key: tls.private_key_pem.as_ref(),
            key_password: tls.private_key_password.as_ref(),
        };
        let path = ["spec", "sasl", "sslConf"];
        self.certificates(document, &path, &certificates, endpoint);
    }

    fn certificates(
        &mut self,
        document: &'a Document,
        path: &[&str],
        certificates: &Certificates<'a>,
        endpoint: &mut KafkaEndpoint,
    ) {
        if let Some(location) = certificates.ca_location {
            set(endpoint, "ssl.ca.location", location);
        }
        for (key, property, source) in [
            ("caCertificatePemFrom", "ssl.ca.pem", certificates.ca_pem),
            (
                "certificatePemFrom",
                "ssl.certificate.pem",
                certificates.certificate,
            ),
            ("privateKeyPemFrom", "ssl.key.pem", certificates.key),
            (
                "privateKeyPasswordFrom",
                "ssl.key.password",
                certificates.key_password,
            ),
        ] {
            let Some(source) = source else { continue };
            let path = [path, &[key]].concat();
            if let Some(secret) = self.secret(document, &path, source) {
                endpoint.secrets.insert(property.to_owned(), secret);
            }
        }
        let has = |property: &str| endpoint.secrets.contains_key(property);
        let asked = (certificates.certificate, certificates.key);
        let is_half = has("ssl.certificate.pem") != has("ssl.key.pem");
        if matches!(asked, (Some(_), None) | (None, Some(_))) {
            let message = "certificatePemFrom and privateKeyPemFrom go together, give both or none";
            self.problem(document, path, message);
        } else if is_half
            && [asked.0, asked.1]
                .into_iter()
                .flatten()
                .any(ValueSource::is_optional)
        {
            let message =
                "only one of certificate and key is there, the optional other one is missing";
            self.problem(document, path, message);
        }
    }

    /// Tells which properties have no effect because of the credentials.
    pub(super) fn note_overridden(
        &mut self,
        overridden: &[String],
        credentials: &Document,
        document: &Document,
        side: &Side<'_>,
        additional: &BTreeMap<String, String>,
        hub: Option<&Document>,
    ) {
        let name = &credentials.metadata.name.0;
        for property in overridden {
            let message = format!("has no effect, the Credentials {name} say it");
            if additional.contains_key(property) {
                self.note(document, &["spec", side.properties, property], message);
            } else if let Some(hub) = hub {
                self.note(hub, &["spec", "kafka", "properties", property], message);
            }
        }
    }
}

/// What `mTls` and `sslConf` both have.
struct Certificates<'a> {
    ca_pem: Option<&'a ValueSource>,
    ca_location: Option<&'a str>,
    certificate: Option<&'a ValueSource>,
    key: Option<&'a ValueSource>,
    key_password: Option<&'a ValueSource>,
}

fn mechanism(mechanism: SaslMechanism) -> &'static str {
    match mechanism {
        SaslMechanism::Plain => "PLAIN",
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        SaslMechanism::OAuthBearer => "OAUTHBEARER",
    }
}

fn set(endpoint: &mut KafkaEndpoint, property: &str, value: &str) {
    endpoint
        .properties
        .insert(property.to_owned(), value.to_owned());
}

/// Takes properties out, and returns their names.
fn take_out(endpoint: &mut KafkaEndpoint, is_one: impl Fn(&str) -> bool) -> Vec<String> {
    let out: Vec<String> = endpoint
        .properties
        .keys()
        .filter(|name| is_one(name))
        .cloned()
        .collect();
    for name in &out {
        endpoint.properties.remove(name);
    }
    out
}
