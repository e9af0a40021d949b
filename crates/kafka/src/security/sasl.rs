//! The conversation by which a broker learns who we are: SaslHandshake v1, then SaslAuthenticate for each step of the mechanism.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::mechname::Mechname;
use rsasl::prelude::{SASLClient, SessionError};
use rsasl::property::{AuthId, OAuthBearerKV, OAuthBearerToken, Password};

use super::principal;
use super::secret::SecretValue;
use super::token::{TokenError, TokenSource};
use crate::connection::{Connection, Extras};
use crate::{Error, ErrorCode};

/// A mechanism that armory speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    OAuthBearer,
}

impl Mechanism {
    pub(crate) const ALL: [Mechanism; 4] = [
        Mechanism::Plain,
        Mechanism::ScramSha256,
        Mechanism::ScramSha512,
        Mechanism::OAuthBearer,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::OAuthBearer => "OAUTHBEARER",
        }
    }
}

/// What is proven to the broker.
#[derive(Debug)]
pub(crate) enum Identity {
    Password {
        username: SecretValue,
        password: SecretValue,
    },
    Token(Box<TokenSource>),
}

/// How to authenticate. Made from properties; its secrets are read each time it is used.
pub struct Sasl {
    mechanism: Mechanism,
    identity: Identity,
    /// As whom we authenticated last, or tried to.
    principal: Mutex<Option<Arc<str>>>,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// What a mechanism asks for, read for one conversation.
struct Answers {
    username: String,
    secret: Arc<str>,
    extensions: Vec<(String, String)>,
}

impl SessionCallback for Answers {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let extensions: Vec<(&str, &str)> = self
            .extensions
            .iter()
            .map(|(key, value)| (&**key, &**value))
            .collect();
        request
            .satisfy::<AuthId>(&self.username)?
            .satisfy::<Password>(self.secret.as_bytes())?
            .satisfy::<OAuthBearerToken>(&self.secret)?;
        if !extensions.is_empty() {
            request.satisfy::<OAuthBearerKV>(&extensions)?;
        }
        Ok(())
    }
}

/// Credentials that were read, ready for one conversation.
pub(crate) struct Credentials {
    answers: Answers,
    principal: Arc<str>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

impl Sasl {
    pub(crate) fn new(mechanism: Mechanism, identity: Identity) -> Sasl {
        Sasl {
            mechanism,
            identity,
            principal: Mutex::new(None),
        }
    }

    /// As whom the broker knows us, as far as was tried.
    pub(crate) fn principal(&self) -> Option<Arc<str>> {
        self.principal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads passwords, or gets a token.
    ///
    /// # Errors
    /// If a file cannot be read, or the token endpoint gives no token; nothing was said to the broker.
    pub(crate) async fn credentials(&self) -> Result<Credentials, Error> {
        let (answers, principal) = match &self.identity {
            Identity::Password { username, password } => {
                let username = username.read("sasl.username").await?;
                let secret = password.read("sasl.password").await?.into();
                let principal = principal::of_user(&username);
                let answers = Answers {
                    username,
                    secret,
                    extensions: Vec::new(),
                };
                (answers, principal)
            }
            Identity::Token(source) => {
                let secret = source.token().await.map_err(|error| match error {
                    TokenError::Secret(error) => error.into(),
                    TokenError::Endpoint { reason, passing } => Error::Token {
                        url: source.options.url.as_str().into(),
                        reason: reason.into(),
                        passing,
                    },
                })?;
                let principal = principal::of_token(&secret)
                    .unwrap_or_else(|| "the owner of the token".to_owned());
                let answers = Answers {
                    username: String::new(),
                    secret,
                    extensions: source.options.extensions.clone(),
                };
                (answers, principal)
            }
        };
        let principal: Arc<str> = principal.into();
        *self
            .principal
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&principal));
        Ok(Credentials { answers, principal })
    }

    /// Has the conversation. Nothing else may be sent on the connection meanwhile; requests before it may still be unanswered.
    ///
    /// Returns after how long the broker wants it again (KIP-368).
    pub(crate) async fn authenticate(
        &self,
        connection: &Connection,
        credentials: Credentials,
    ) -> Result<Option<Duration>, Error> {
        let Credentials { answers, principal } = credentials;
        let refused = |reason: String| {
            if let Identity::Token(source) = &self.identity {
                source.discard();
            }
            Error::Authentication {
                broker: connection.broker().clone(),
                principal: Arc::clone(&principal),
                reason: reason.into(),
            }
        };
        self.shake_hands(connection).await?.map_err(&refused)?;

        let broken = |error: &dyn fmt::Display| {
            refused(format!(
                "the mechanism {} failed here ({error})",
                self.mechanism.name()
            ))
        };
        let config: Arc<SASLConfig> = SASLConfig::builder()
            .with_defaults()
            .with_callback(answers)
            .map_err(|error| broken(&error))?;
        let name =
            Mechname::parse(self.mechanism.name().as_bytes()).map_err(|error| broken(&error))?;
        let mut session = SASLClient::new(config)
            .start_suggested(&[name])
            .map_err(|error| broken(&error))?;
        let mut input: Option<SaslAuthenticateResponse> = None;
        let mut lifetime = 0;
        loop {
            let said = input.as_ref().map(|answer| &*answer.auth_bytes);
            if self.mechanism == Mechanism::OAuthBearer
                && let Some(why) = said.filter(|bytes| !bytes.is_empty())
            {
                // RFC 7628 §3.2.3: an answer with content is why the token was not accepted.
                let why = String::from_utf8_lossy(why);
                return Err(refused(format!("it does not accept the token: {why}")));
            }
            let mut message = Vec::new();
            let state = session
                .step(said, &mut message)
                .map_err(|error| match error {
                    SessionError::MutualAuthenticationFailed => refused("it does not know the password itself; whoever answers there is not the broker that it pretends to be".to_owned()),
                    error => broken(&error),
                })?;
            if state.has_sent_message() {
                let answer = self.tell(connection, message).await?;
                if let Some(code) = ErrorCode::from_wire(answer.error_code) {
                    return Err(refused(failure(code, answer.error_message.as_deref())));
                }
                lifetime = lifetime.max(answer.session_lifetime_ms);
                input = Some(answer);
            }
            if state.is_finished() {
                let lifetime = u64::try_from(lifetime).unwrap_or(0);
                return Ok((lifetime > 0).then(|| Duration::from_millis(lifetime)));
            }
        }
    }

    /// Names the mechanism. The inner error is why the broker will not have it.
    async fn shake_hands(&self, connection: &Connection) -> Result<Result<(), String>, Error> {
        let version = connection.version::<SaslHandshakeRequest>()?;
        let request = SaslHandshakeRequest::default()
            .with_mechanism(StrBytes::from_static_str(self.mechanism.name()));
        let encoded = connection.encode(version, &request)?;
        let mut pending =
            connection.send_now::<SaslHandshakeRequest>(encoded, Extras::default())?;
        let answer = pending.receive().await?;
        let answer: SaslHandshakeResponse =
            connection.decode::<SaslHandshakeRequest>(version, answer)?;
        Ok(match ErrorCode::from_wire(answer.error_code) {
            None => Ok(()),
            Some(ErrorCode::UNSUPPORTED_SASL_MECHANISM) => Err(format!(
                "it does not offer {}; set sasl.mechanism to one that it does: {}",
                self.mechanism.name(),
                offered(&answer)
            )),
            Some(ErrorCode::ILLEGAL_SASL_STATE) => Err("nobody authenticates by SASL on this port; use the port of its SASL_SSL or SASL_PLAINTEXT listener, or set security.protocol to SSL or PLAINTEXT".to_owned()),
            Some(code) => Err(code.to_string()),
        })
    }

    async fn tell(
        &self,
        connection: &Connection,
        message: Vec<u8>,
    ) -> Result<SaslAuthenticateResponse, Error> {
        let version = connection.version::<SaslAuthenticateRequest>()?;
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
        let encoded = connection.encode(version, &request)?;
        let mut pending =
            connection.send_now::<SaslAuthenticateRequest>(encoded, Extras::default())?;
        let answer = pending.receive().await?;
        connection.decode::<SaslAuthenticateRequest>(version, answer)
    }
}

fn offered(answer: &SaslHandshakeResponse) -> String {
    let ours = |name: &str| Mechanism::ALL.iter().any(|ours| ours.name() == name);
    let names: Vec<String> = answer
        .mechanisms
        .iter()
        .map(|name| {
            if ours(name) {
                name.to_string()
            } else {
                format!("{name} (which armory does not speak)")
            }
        })
        .collect();
    if names.is_empty() {
        return "it names none".to_owned();
    }
    names.join(", ")
}

fn failure(code: ErrorCode, message: Option<&str>) -> String {
    let message = message.map_or_else(|| code.to_string(), str::to_owned);
    match code {
        ErrorCode::SASL_AUTHENTICATION_FAILED => format!("{message}; check the credentials"),
        _ => message,
    }
}
