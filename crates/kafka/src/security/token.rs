//! Tokens for OAUTHBEARER: from an OAuth 2 token endpoint, by client credentials (RFC 6749 §4.4), renewed in time.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;
use tokio::time::Instant;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{self, ClientConfig};

use super::secret::{SecretError, SecretValue};
use super::tls::Trust;
use super::trouble::tls_error;

/// The part of a token's life after which another one is asked for. Brokers let a session live as long as its token, and it is
/// renewed after 85 % of that ([`super::sasl`]): by then the token has to be a new one.
const USED_UP: f64 = 0.8;
/// How long the endpoint may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest answer that is read, in bytes; tokens have some thousands.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Where tokens come from. By librdkafka's properties `sasl.oauthbearer.…`.
#[derive(Clone, Debug)]
pub(crate) struct TokenOptions {
    /// `token.endpoint.url`
    pub(crate) url: String,
    /// `client.id`
    pub(crate) client_id: SecretValue,
    /// `client.secret`
    pub(crate) client_secret: SecretValue,
    /// `scope`
    pub(crate) scope: Option<String>,
    /// `extensions`
    pub(crate) extensions: Vec<(String, String)>,
    /// `https.ca.location`, `https.ca.pem`
    pub(crate) trust: Trust,
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub(crate) enum TokenError {
    Secret(SecretError),
    Endpoint {
        reason: String,
        /// Whether it may pass without anybody doing anything.
        passing: bool,
    },
}

impl From<SecretError> for TokenError {
    fn from(error: SecretError) -> TokenError {
        TokenError::Secret(error)
    }
}

struct Token {
    text: Arc<str>,
    renew_at: Instant,
}

/// Gets tokens, and keeps the last one as long as it is good.
pub(crate) struct TokenSource {
    pub(crate) options: TokenOptions,
    last: Mutex<Option<Token>>,
    /// One asks, and all others take what it gets.
    asking: tokio::sync::Mutex<()>,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl TokenSource {
    pub(crate) fn new(options: TokenOptions) -> TokenSource {
        TokenSource {
            options,
            last: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    /// A token that is good for a while.
    pub(crate) async fn token(&self) -> Result<Arc<str>, TokenError> {
        let _turn = self.asking.lock().await;
        if let Some(token) = self.good() {
            return Ok(token);
        }
        let (text, life) = self.ask().await?;
        let text: Arc<str> = text.into();
        let token = Token {
            text: Arc::clone(&text),
            renew_at: Instant::now() + life.mul_f64(USED_UP),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(text)
    }

    fn good(&self) -> Option<Arc<str>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref()
            .filter(|token| Instant::now() < token.renew_at)
            .map(|token| Arc::clone(&token.text))
    }

    /// Forgets a token that a broker did not accept.
    pub(crate) fn discard(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn ask(&self) -> Result<(String, Duration), TokenError> {
        let options = &self.options;
        let id = options.client_id.read("sasl.oauthbearer.client.id").await?;
        let secret = options
            .client_secret
            .read("sasl.oauthbearer.client.secret")
            .await?;
        let client = self.http().await?;
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(options.scope.as_deref().map(|scope| ("scope", scope)));
        let unreachable = |error: reqwest::Error| unreachable(&error.without_url());
        let mut response = client
            .post(&options.url)
            .basic_auth(id, Some(secret))
            .header("accept", "application/json")
            .form(&form)
            .send()
            .await
            .map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&part);
            if body.len() > LARGEST_ANSWER {
                break;
            }
        }
        if !status.is_success() {
            return Err(refusal(status.as_u16(), &body));
        }
        read_answer(&body).map_err(|reason| TokenError::Endpoint {
            reason,
            passing: false,
        })
    }

    /// A client for one question: tokens are asked for once in many minutes, and the authorities may have been renewed.
    async fn http(&self) -> Result<reqwest::Client, TokenError> {
        let trust = self.options.trust.clone();
        let trusted = trust.read("https.ca.pem", "https.ca.location").await?;
        let roots = tokio::task::spawn_blocking(move || trust.roots(trusted.as_deref()))
            .await
            .expect("reading certificates does not panic")?;
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // An endpoint that sends us, and our secret, elsewhere is set up wrongly.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .map_err(|error| TokenError::Endpoint {
                reason: cause(&error),
                passing: false,
            })
    }
}

/// What it means that the endpoint did not answer. Certificates that are not trusted do not come to be by themselves.
fn unreachable(error: &dyn Error) -> TokenError {
    let is_tls = |cause: &(dyn Error + 'static)| {
        let inside = cause.downcast_ref::<io::Error>();
        cause.is::<rustls::Error>() || inside.is_some_and(|error| tls_error(error).is_some())
    };
    let mut next = error.source();
    let mut tls = false;
    while let Some(cause) = next {
        tls |= is_tls(cause);
        next = cause.source();
    }
    let mut reason = cause(error);
    if tls {
        reason.push_str("; give the authority of its certificate in https.ca.location or https.ca.pem, and reach it by a name that the certificate has");
    }
    TokenError::Endpoint {
        reason,
        passing: !tls,
    }
}

/// The innermost cause: the outer ones only say that something failed.
fn cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What the endpoint says when it gives no token (RFC 6749 §5.2).
fn refusal(status: u16, body: &[u8]) -> TokenError {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut reason = format!("it answered with status {status}");
    for key in ["error", "error_description"] {
        if let Some(text) = answer.get(key).and_then(Value::as_str) {
            reason.push_str(": ");
            reason.push_str(text);
        }
    }
    let passing = status >= 500 || status == 429;
    if !passing {
        reason.push_str("; check sasl.oauthbearer.client.id, client.secret and scope");
    }
    TokenError::Endpoint { reason, passing }
}

/// The token and for how long it is good.
fn read_answer(body: &[u8]) -> Result<(String, Duration), String> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| {
        "its answer is not JSON; check sasl.oauthbearer.token.endpoint.url".to_owned()
    })?;
    let token = answer
        .get("access_token")
        .and_then(Value::as_str)
        .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or(
            "there is no access_token in its answer; check sasl.oauthbearer.token.endpoint.url",
        )?;
    let seconds = answer
        .get("expires_in")
        .and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()))
        .or_else(|| seconds_left(token))
        .filter(|seconds| seconds.is_finite() && *seconds > 0.0)
        .ok_or(
            "neither its answer (expires_in) nor the token (exp) says how long the token is good",
        )?;
    // A year is as good as for ever.
    let life = Duration::from_secs_f64(seconds.min(365.0 * 86_400.0));
    Ok((token.to_owned(), life))
}

/// What the token itself says, if it is a JWT.
fn seconds_left(token: &str) -> Option<f64> {
    let payload = token.split('.').nth(1)?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let expires = claims.get("exp")?.as_f64()?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    Some(expires - now.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: Result<(&str, u64), &str>) {
        let read = read_answer(body.as_bytes());
        match (read, expected) {
            (Ok((token, life)), Ok(expected)) => {
                assert_eq!((&*token, life.as_secs()), expected);
            }
            (Err(reason), Err(words)) => assert!(reason.contains(words), "{reason}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_are_read() {
        check(
            r#"{"access_token":"a.b.c","expires_in":300}"#,
            Ok(("a.b.c", 300)),
        );
        check(r#"{"access_token":"a","expires_in":"60"}"#, Ok(("a", 60)));
        check(r#"{"access_token":"a"}"#, Err("how long"));
        check(r#"{"access_token":"a","expires_in":0}"#, Err("how long"));
        check(
            r#"{"access_token":"a\u0001b","expires_in":60}"#,
            Err("no access_token"),
        );
        check(r#"{"expires_in":60}"#, Err("no access_token"));
        check("<html>", Err("not JSON"));
    }

    #[test]
    fn refusals_say_what_the_endpoint_says_and_whether_they_pass() {
        let body = br#"{"error":"invalid_client","error_description":"who are you"}"#;
        let TokenError::Endpoint { reason, passing } = refusal(401, body) else {
            panic!("it is no secret")
        };
        assert!(
            reason.starts_with("it answered with status 401: invalid_client: who are you; check")
        );
        assert!(!passing);
        assert!(matches!(
            refusal(503, b""),
            TokenError::Endpoint { passing: true, .. }
        ));
    }
}
