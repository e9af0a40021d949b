//! A cluster that asks who one is: listeners with TLS and SASL, and an authorizer.
//!
//! The PLAINTEXT listener stays, for the test kit's own tools and for the brokers: whoever comes by it may do everything.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::config::{PROTOCOLS, Ports};
use crate::certificates::Issued;

/// A listener beside the PLAINTEXT one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// TLS, and a client certificate is wanted.
    Ssl,
    /// TLS, and SASL over it.
    SaslSsl,
    /// SASL that everybody can read.
    SaslPlaintext,
    /// As [`Listener::SaslSsl`] with a certificate that has expired, and PLAIN alone.
    Expired,
    /// As [`Listener::SaslSsl`] with a certificate for another host.
    OtherHost,
}

impl Listener {
    pub(super) const ALL: [Listener; 5] = [
        Listener::Ssl,
        Listener::SaslSsl,
        Listener::SaslPlaintext,
        Listener::Expired,
        Listener::OtherHost,
    ];

    fn name(self) -> &'static str {
        match self {
            Listener::Ssl => "SSL",
            Listener::SaslSsl => "SASL_SSL",
            Listener::SaslPlaintext => "SASL_PLAINTEXT",
            Listener::Expired => "EXPIRED",
            Listener::OtherHost => "OTHERHOST",
        }
    }

    fn protocol(self) -> &'static str {
        match self {
            Listener::Ssl => "SSL",
            Listener::SaslPlaintext => "SASL_PLAINTEXT",
            _ => "SASL_SSL",
        }
    }
}

/// What the cluster shows, whom it trusts, and who may come in.
#[derive(Debug, Clone)]
pub struct Security {
    /// The brokers' certificate.
    pub server: Issued,
    /// That of [`Listener::Expired`].
    pub expired: Issued,
    /// That of [`Listener::OtherHost`].
    pub other_host: Issued,
    /// The authority that signs client certificates, as PEM.
    pub trusted: String,
    /// Names and passwords for PLAIN.
    pub users: Vec<(String, String)>,
    /// Names and passwords for SCRAM-SHA-256 and SCRAM-SHA-512.
    pub scram_users: Vec<(String, String)>,
    /// For how many milliseconds SCRAM-SHA-256 on [`Listener::SaslPlaintext`], and OAUTHBEARER, are believed.
    pub reauthentication_ms: u64,
}

impl Security {
    /// The properties of a node that listens on `own` and on `ports`, in the order of [`Listener::ALL`].
    pub(super) fn properties(
        &self,
        folder: &Path,
        own: Ports,
        ports: &[u16],
    ) -> Result<Vec<(String, String)>> {
        fs::create_dir_all(folder)?;
        let file = |name: &str, text: &str| -> Result<String> {
            let path = folder.join(name);
            fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let server = file("server.pem", &self.server.key_store())?;
        let expired = file("expired.pem", &self.expired.key_store())?;
        let other_host = file("other-host.pem", &self.other_host.key_store())?;
        let trusted = file("trusted.pem", &self.trusted)?;

        let listeners = Listener::ALL.iter().zip(ports);
        let addresses: Vec<String> = listeners
            .map(|(listener, port)| format!("{}://127.0.0.1:{port}", listener.name()))
            .collect();
        let addresses = addresses.join(",");
        let protocols: Vec<String> = Listener::ALL
            .iter()
            .map(|listener| format!("{}:{}", listener.name(), listener.protocol()))
            .collect();
        let users: String = self
            .users
            .iter()
            .map(|(name, password)| format!(" user_{name}=\"{password}\""))
            .collect();
        let mut properties = vec![
            ("listeners", format!("{},{addresses}", own.listeners())),
            (
                "advertised.listeners",
                format!("{},{addresses}", own.advertised()),
            ),
            (
                "listener.security.protocol.map",
                format!("{PROTOCOLS},{}", protocols.join(",")),
            ),
            (
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            ),
            ("super.users", "User:ANONYMOUS".to_owned()),
            ("ssl.keystore.type", "PEM".to_owned()),
            ("ssl.keystore.location", server),
            ("ssl.truststore.type", "PEM".to_owned()),
            ("ssl.truststore.location", trusted),
            (
                "sasl.enabled.mechanisms",
                "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
            ),
            ("connection.failed.authentication.delay.ms", "20".to_owned()),
        ];
        let mut of_listeners: Vec<(String, String)> = Vec::new();
        for listener in Listener::ALL {
            let prefix = format!("listener.name.{}", listener.name().to_ascii_lowercase());
            let mut add =
                |name: &str, value: String| of_listeners.push((format!("{prefix}.{name}"), value));
            match listener {
                Listener::Ssl => add("ssl.client.auth", "required".to_owned()),
                Listener::Expired => {
                    add("ssl.keystore.location", expired.clone());
                    add("sasl.enabled.mechanisms", "PLAIN".to_owned());
                }
                Listener::OtherHost => add("ssl.keystore.location", other_host.clone()),
                Listener::SaslSsl | Listener::SaslPlaintext => {}
            }
            if listener == Listener::Ssl {
                continue;
            }
            let module = |class: &str, options: &str| {
                format!("org.apache.kafka.common.security.{class} required{options};")
            };
            add(
                "plain.sasl.jaas.config",
                module("plain.PlainLoginModule", &users),
            );
            for mechanism in ["scram-sha-256", "scram-sha-512"] {
                let module = module("scram.ScramLoginModule", "");
                add(&format!("{mechanism}.sasl.jaas.config"), module);
            }
            add(
                "oauthbearer.sasl.jaas.config",
                module(
                    "oauthbearer.OAuthBearerLoginModule",
                    " unsecuredLoginStringClaim_sub=\"broker\"",
                ),
            );
            let lifetime = self.reauthentication_ms.to_string();
            add("oauthbearer.connections.max.reauth.ms", lifetime.clone());
            if listener == Listener::SaslPlaintext {
                add("scram-sha-256.connections.max.reauth.ms", lifetime);
            }
        }
        let properties = properties
            .drain(..)
            .map(|(name, value)| (name.to_owned(), value));
        Ok(properties.chain(of_listeners).collect())
    }
}
