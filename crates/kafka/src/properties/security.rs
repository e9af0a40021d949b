//! The properties of encryption and authentication, which mean something only together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::PropertyError;
use crate::connect::{Connect, TcpConnect};
use crate::security::sasl::{Identity, Mechanism};
use crate::security::tls::{TlsOptions, Trust};
use crate::security::token::{TokenOptions, TokenSource};
use crate::security::{Sasl, SecretValue, TlsConnect};

/// `security.protocol`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Protocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    const ALL: [Protocol; 4] = [
        Protocol::Plaintext,
        Protocol::Ssl,
        Protocol::SaslPlaintext,
        Protocol::SaslSsl,
    ];

    pub(super) fn parse(text: &str) -> Result<Protocol, String> {
        Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                format!("{text:?} is none of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL")
            })
    }

    fn name(self) -> &'static str {
        match self {
            Protocol::Plaintext => "PLAINTEXT",
            Protocol::Ssl => "SSL",
            Protocol::SaslPlaintext => "SASL_PLAINTEXT",
            Protocol::SaslSsl => "SASL_SSL",
        }
    }

    fn has_tls(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }

    fn has_sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }
}

/// What was said about encryption and authentication.
#[derive(Debug, Default)]
pub(super) struct SecurityDraft {
    pub(super) protocol: Option<Protocol>,
    /// Those before the addresses of bootstrap servers.
    pub(super) bootstrap_protocols: Vec<Protocol>,
    pub(super) tls: TlsOptions,
    pub(super) mechanism: Option<Mechanism>,
    pub(super) username: Option<SecretValue>,
    pub(super) password: Option<SecretValue>,
    pub(super) by_oidc: bool,
    pub(super) token_url: Option<String>,
    pub(super) client_id: Option<SecretValue>,
    pub(super) client_secret: Option<SecretValue>,
    pub(super) scope: Option<String>,
    pub(super) extensions: Vec<(String, String)>,
    pub(super) token_trust: Trust,
    /// Every setting that was given, with the name it was given by.
    given: BTreeMap<&'static str, String>,
}

fn problem(name: &str, problem: impl Into<String>) -> PropertyError {
    PropertyError::Combination {
        name: name.to_owned(),
        problem: problem.into(),
    }
}

impl SecurityDraft {
    pub(super) fn note(&mut self, setting: &'static str, name: &str) {
        self.given.insert(setting, name.to_owned());
    }

    /// The first setting that was given and has one of these beginnings.
    fn given(&self, beginnings: &[&str]) -> Option<&str> {
        let is_one = |setting: &str| beginnings.iter().any(|one| setting.starts_with(one));
        self.given
            .iter()
            .find(|(setting, _)| is_one(setting))
            .map(|(_, name)| name.as_str())
    }

    /// What makes streams, and what authenticates on them.
    pub(super) fn finish(
        self,
        tcp: TcpConnect,
    ) -> Result<(Arc<dyn Connect>, Option<Arc<Sasl>>), PropertyError> {
        let protocol = self.protocol.unwrap_or_default();
        if let Some(other) = self
            .bootstrap_protocols
            .iter()
            .find(|other| **other != protocol)
        {
            return Err(problem(
                "bootstrap.servers",
                format!(
                    "names {}:// and security.protocol is {}; set security.protocol={}",
                    other.name(),
                    protocol.name(),
                    other.name()
                ),
            ));
        }
        let out_of_place = |name: &str, wanted: &str| {
            problem(
                name,
                format!(
                    "has no meaning while security.protocol is {}; set that to {wanted}, or remove it",
                    protocol.name()
                ),
            )
        };
        if !protocol.has_tls()
            && let Some(name) = self.given(&["ssl.", "enable.ssl."])
        {
            let wanted = if protocol.has_sasl() {
                "SASL_SSL"
            } else {
                "SSL or SASL_SSL"
            };
            return Err(out_of_place(name, wanted));
        }
        if !protocol.has_sasl()
            && let Some(name) = self.given(&["sasl.", "https."])
        {
            let wanted = if protocol.has_tls() {
                "SASL_SSL"
            } else {
                "SASL_SSL or SASL_PLAINTEXT"
            };
            return Err(out_of_place(name, wanted));
        }
        self.check_certificate()?;
        let tls = protocol.has_tls().then(|| self.tls.clone());
        let sasl = match protocol.has_sasl() {
            true => Some(Arc::new(self.sasl()?)),
            false => None,
        };
        let connect: Arc<dyn Connect> = match tls {
            Some(options) => Arc::new(TlsConnect::new(tcp, options)),
            None => Arc::new(tcp),
        };
        Ok((connect, sasl))
    }

    fn check_certificate(&self) -> Result<(), PropertyError> {
        for (location, pem) in [
            ("ssl.certificate.location", "ssl.certificate.pem"),
            ("ssl.key.location", "ssl.key.pem"),
        ] {
            if self.given.contains_key(location) && self.given.contains_key(pem) {
                return Err(problem(
                    location,
                    format!("is there together with {pem}; keep one"),
                ));
            }
        }
        match (&self.tls.certificate, &self.tls.key) {
            (Some(_), None) => Err(problem(
                "ssl.certificate",
                "is there without its key; add ssl.key.location or ssl.key.pem",
            )),
            (None, Some(_)) => Err(problem(
                "ssl.key",
                "is there without its certificate; add ssl.certificate.location or ssl.certificate.pem",
            )),
            (None, None) if self.tls.key_password.is_some() => Err(problem(
                "ssl.key.password",
                "is there without a key; add ssl.key.location or ssl.key.pem",
            )),
            _ => Ok(()),
        }
    }

    fn sasl(self) -> Result<Sasl, PropertyError> {
        let Some(mechanism) = self.mechanism else {
            return Err(problem(
                "sasl.mechanism",
                "is missing; name PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
            ));
        };
        let missing = |name: &str| problem(name, format!("is missing for {}", mechanism.name()));
        let stray = |name: &str| {
            problem(
                name,
                format!(
                    "has no meaning for sasl.mechanism {}; remove it",
                    mechanism.name()
                ),
            )
        };
        let identity = if mechanism == Mechanism::OAuthBearer {
            if let Some(name) = self.given(&["sasl.username", "sasl.password"]) {
                return Err(stray(name));
            }
            if !self.by_oidc {
                return Err(problem(
                    "sasl.oauthbearer.method",
                    "is missing; set it to oidc, so that tokens are got from a token endpoint",
                ));
            }
            let wanted = |name: &str| missing(&format!("sasl.oauthbearer.{name}"));
            Identity::Token(Box::new(TokenSource::new(TokenOptions {
                url: self.token_url.ok_or_else(|| wanted("token.endpoint.url"))?,
                client_id: self.client_id.ok_or_else(|| wanted("client.id"))?,
                client_secret: self.client_secret.ok_or_else(|| wanted("client.secret"))?,
                scope: self.scope,
                extensions: self.extensions,
                trust: self.token_trust,
            })))
        } else {
            if let Some(name) = self.given(&["sasl.oauthbearer.", "https."]) {
                return Err(stray(name));
            }
            Identity::Password {
                username: self.username.ok_or_else(|| missing("sasl.username"))?,
                password: self.password.ok_or_else(|| missing("sasl.password"))?,
            }
        };
        Ok(Sasl::new(mechanism, identity))
    }
}

pub(super) fn mechanism(text: &str) -> Result<Mechanism, String> {
    let found = Mechanism::ALL
        .into_iter()
        .find(|mechanism| mechanism.name() == text);
    found.ok_or_else(|| match text {
        "GSSAPI" => "Kerberos is not supported; use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or a client certificate".to_owned(),
        _ => "it takes PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER".to_owned(),
    })
}

/// `key=value,key=value` (KIP-342: keys of letters, and none is `auth`).
pub(super) fn extensions(text: &str) -> Result<Vec<(String, String)>, String> {
    let is_key = |key: &str| {
        !key.is_empty() && key != "auth" && key.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    let is_value = |value: &str| {
        !value.is_empty()
            && value
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    };
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if is_key(key) && is_value(value) => {
                Ok((key.to_owned(), value.to_owned()))
            }
            _ => Err("it takes key=value pairs with commas between them; a key is of letters and not auth".to_owned()),
        })
        .collect()
}
