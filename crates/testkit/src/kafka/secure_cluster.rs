//! The cluster that the tests of secure connections share: everybody who is to be let in, and the files that they need.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;

use super::{Kafka, KafkaOptions, Listener, Security};
use crate::certificates::{Authority, Issued};
use crate::tokens::TokenEndpoint;

/// Client properties by librdkafka's names. The value of one whose name ends in `@` is a file to read it from.
pub type Properties = Vec<(&'static str, String)>;

/// Topics whose names begin so are everybody's; there are no other rights.
pub const OPEN: &str = "open-";

/// How long a session is believed: by SCRAM-SHA-256 on [`Listener::SaslPlaintext`], and by OAUTHBEARER.
pub const SESSION: Duration = Duration::from_secs(3);

/// A cluster that asks who one is, with its users: `alice`, `backup`, `restore` and `renewed` with SCRAM (`alice` with PLAIN,
/// too; a password is the name and `-secret`), `CN=carol` by certificate, and `olga` by tokens.
#[derive(Debug)]
pub struct SecureKafka {
    /// The cluster; its plain listener lets everybody do everything.
    pub kafka: Kafka,
    /// Gives tokens to `armory` with `s3cret`.
    pub endpoint: TokenEndpoint,
    /// The certificate of `carol`.
    pub carol: Issued,
    folder: tempfile::TempDir,
}

impl SecureKafka {
    /// The one of this process.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn shared() -> &'static SecureKafka {
        static CLUSTER: OnceLock<SecureKafka> = OnceLock::new();
        CLUSTER.get_or_init(|| SecureKafka::start().expect("the cluster starts"))
    }

    fn start() -> Result<SecureKafka> {
        let authority = Authority::new("brokers")?;
        let for_clients = Authority::new("clients")?;
        let here = ["localhost", "127.0.0.1"];
        let server = authority.issue("broker", &here)?;
        let endpoint = TokenEndpoint::start(&server, "armory", "s3cret", "olga", 60)?;
        let security = Security {
            expired: authority.issue_expired("broker", &here)?,
            other_host: authority.issue("broker", &["elsewhere.example"])?,
            server,
            trusted: for_clients.pem().to_owned(),
            users: vec![("alice".to_owned(), "alice-secret".to_owned())],
            scram_users: ["alice", "backup", "restore", "renewed"]
                .map(|user| (user.to_owned(), format!("{user}-secret")))
                .to_vec(),
            reauthentication_ms: SESSION.as_millis() as u64,
        };
        let kafka = Kafka::start(KafkaOptions {
            security: Some(security),
            ..KafkaOptions::default()
        })?;
        kafka.acls(&[
            "--add",
            "--allow-principal",
            "User:*",
            "--operation",
            "All",
            "--topic",
            OPEN,
            "--resource-pattern-type",
            "prefixed",
        ])?;
        let carol = for_clients.issue("carol", &[])?;
        let stranger = Authority::new("strangers")?.issue("mallory", &[])?;
        let folder = tempfile::tempdir()?;
        for (name, text) in [
            ("ca.pem", authority.pem()),
            ("carol.pem", &carol.certificate),
            ("carol.key", &carol.encrypted_key("hush")?),
            ("carol-plain.key", &carol.key),
            ("mallory.pem", &stranger.key_store()),
            ("password", "alice-secret\n"),
            ("user", "alice"),
            ("hush", "hush\n"),
            ("token-secret", "s3cret"),
        ] {
            std::fs::write(folder.path().join(name), text)?;
        }
        Ok(SecureKafka {
            kafka,
            endpoint,
            carol,
            folder,
        })
    }

    /// A file of the fixture: `ca.pem` (the brokers' authority), `carol.pem`, `carol.key` (encrypted with what is in `hush`),
    /// `carol-plain.key`, `mallory.pem` (certificate and key of an authority that nobody trusts), `user` and `password` (of
    /// `alice`); or where another may be made.
    pub fn path(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        path.display().to_string()
    }

    /// How to come in with a password.
    pub fn password(&self, listener: Listener, mechanism: &str, user: &str) -> Properties {
        let mut properties = vec![
            ("sasl.mechanism", mechanism.to_owned()),
            ("sasl.username", user.to_owned()),
            ("sasl.password", format!("{user}-secret")),
        ];
        if listener == Listener::SaslPlaintext {
            properties.push(("security.protocol", "SASL_PLAINTEXT".to_owned()));
        } else {
            properties.push(("security.protocol", "SASL_SSL".to_owned()));
            properties.push(("ssl.ca.location", self.path("ca.pem")));
        }
        properties
    }

    /// How to come in with a certificate.
    pub fn certificate(&self) -> Properties {
        vec![
            ("security.protocol", "SSL".to_owned()),
            ("ssl.ca.location", self.path("ca.pem")),
            ("ssl.certificate.location", self.path("carol.pem")),
            ("ssl.key.location", self.path("carol.key")),
            ("ssl.key.password@", self.path("hush")),
        ]
    }

    /// How to come in with a token.
    pub fn token(&self, secret: &str) -> Properties {
        vec![
            ("security.protocol", "SASL_SSL".to_owned()),
            ("ssl.ca.location", self.path("ca.pem")),
            ("sasl.mechanism", "OAUTHBEARER".to_owned()),
            ("sasl.oauthbearer.method", "oidc".to_owned()),
            ("sasl.oauthbearer.token.endpoint.url", self.endpoint.url()),
            ("sasl.oauthbearer.client.id", "armory".to_owned()),
            ("sasl.oauthbearer.client.secret", secret.to_owned()),
            ("sasl.oauthbearer.scope", "kafka".to_owned()),
            ("sasl.oauthbearer.extensions", "traceId=7".to_owned()),
            ("https.ca.location", self.path("ca.pem")),
        ]
    }
}

/// The properties with one of them set.
#[must_use]
pub fn with(mut properties: Properties, name: &'static str, value: &str) -> Properties {
    properties.retain(|(one, _)| *one != name);
    properties.push((name, value.to_owned()));
    properties
}

/// The properties without some of them.
#[must_use]
pub fn without(mut properties: Properties, names: &[&str]) -> Properties {
    properties.retain(|(name, _)| !names.contains(name));
    properties
}
