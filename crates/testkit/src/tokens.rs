//! An OAuth token endpoint over HTTPS, for one client: what it gives out is what Kafka's default validator takes, a JWT that
//! nobody signed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::Issued;

/// A running endpoint; it ends when it is dropped.
#[derive(Debug)]
pub struct TokenEndpoint {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client_id: String,
    secret: Mutex<String>,
    subject: String,
    lifetime_seconds: u64,
    given: AtomicU64,
    is_over: AtomicBool,
}

impl TokenEndpoint {
    /// Gives tokens for `subject`, each good for so long, to the client that knows the secret.
    pub fn start(
        issued: &Issued,
        client_id: &str,
        secret: &str,
        subject: &str,
        lifetime_seconds: u64,
    ) -> Result<TokenEndpoint> {
        let chain = vec![CertificateDer::from_pem_slice(
            issued.certificate.as_bytes(),
        )?];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes())?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            client_id: client_id.to_owned(),
            secret: Mutex::new(secret.to_owned()),
            subject: subject.to_owned(),
            lifetime_seconds,
            given: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let (config, for_thread) = (Arc::new(config), Arc::clone(&shared));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.is_over.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    // A client that does not trust us hangs up.
                    let _ = for_thread.answer(stream, Arc::clone(&config));
                }
            }
        });
        Ok(TokenEndpoint { port, shared })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/token", self.port)
    }

    /// How many tokens it has given.
    pub fn given(&self) -> u64 {
        self.shared.given.load(Ordering::SeqCst)
    }

    /// From now on only this secret is good.
    pub fn change_secret(&self, secret: &str) {
        *self
            .shared
            .secret
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = secret.to_owned();
    }
}

impl Drop for TokenEndpoint {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // So that the thread looks.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn answer(&self, stream: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
        let stream = StreamOwned::new(ServerConnection::new(config)?, stream);
        let mut reader = BufReader::new(stream);
        let mut authorization = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                bail!("it hung up");
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "authorization" => authorization = value.trim().to_owned(),
                    "content-length" => length = value.trim().parse()?,
                    _ => {}
                }
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8(body)?;
        let (status, answer) = self.judge(&authorization, &body)?;
        let answer = answer.to_string();
        let mut stream = reader.into_inner();
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
            answer.len()
        )?;
        stream.flush()?;
        stream.conn.send_close_notify();
        stream.flush()?;
        Ok(())
    }

    fn judge(&self, authorization: &str, body: &str) -> Result<(&'static str, serde_json::Value)> {
        let secret = self
            .secret
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let wanted = STANDARD.encode(format!("{}:{secret}", self.client_id));
        if authorization != format!("Basic {wanted}") {
            let answer = json!({"error": "invalid_client", "error_description": "the secret is another one"});
            return Ok(("401 Unauthorized", answer));
        }
        if body != "grant_type=client_credentials&scope=kafka" {
            return Ok(("400 Bad Request", json!({"error": "invalid_scope"})));
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is set")?
            .as_secs();
        let claims = json!({"sub": self.subject, "iat": now, "exp": now + self.lifetime_seconds});
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!("{}.{}.", part(json!({"alg": "none"})), part(claims));
        self.given.fetch_add(1, Ordering::SeqCst);
        Ok((
            "200 OK",
            json!({"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime_seconds}),
        ))
    }
}
