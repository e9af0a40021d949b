//! Staying authenticated: a broker lets a session live for so long, and closes the connection of one who does not renew it
//! (KIP-368).
//!
//! The conversation is held on the connection itself. Requests that were sent before it are answered as ever, in order; new
//! ones wait, because a broker takes nothing else meanwhile.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Connection;
use crate::Error;
use crate::security::Sasl;

/// The part of a session's life after which it is renewed (`ExpiringCredentialRefreshingLogin` and the Java client's
/// `SaslClientAuthenticator` take as much), at random, so that connections do not all do it at once.
const RENEWED_AT: std::ops::RangeInclusive<f64> = 0.85..=0.95;
/// How soon a broker may be told again who we are: sooner it takes the attempt for a mistake (`KafkaChannel`, one second).
const AT_MOST_EVERY: Duration = Duration::from_millis(1050);
/// How soon a token that could not be had is asked for again, while the session lives.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The session of one connection.
#[derive(Debug)]
pub(super) struct Session {
    sasl: Arc<Sasl>,
    /// Read by whoever sends, written by whoever renews.
    life: Arc<RwLock<Option<Life>>>,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    began_at: Instant,
    renew_at: Instant,
    ends_at: Instant,
}

impl Life {
    fn of(lifetime: Option<Duration>) -> Option<Life> {
        let lifetime = lifetime?;
        let now = Instant::now();
        let part = rand::rng().random_range(RENEWED_AT);
        Some(Life {
            began_at: now,
            renew_at: now + lifetime.mul_f64(part),
            ends_at: now + lifetime,
        })
    }
}

/// The right to send a request now. Nobody authenticates while it is held.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    _held: Option<RwLockReadGuard<'a, Option<Life>>>,
}

impl Turn<'_> {
    pub(super) fn free() -> Self {
        Turn { _held: None }
    }
}

impl Session {
    /// Authenticates on a new connection.
    pub(super) async fn begin(connection: &Connection, sasl: Arc<Sasl>) -> Result<Session, Error> {
        let credentials = sasl.credentials().await?;
        let lifetime = sasl.authenticate(connection, credentials).await?;
        Ok(Session {
            sasl,
            life: Arc::new(RwLock::new(Life::of(lifetime))),
        })
    }

    /// Waits for the right to send, renewing the session first if it is time.
    pub(super) async fn turn(&self, connection: &Connection) -> Result<Turn<'_>, Error> {
        loop {
            let life = self.life.read().await;
            if life.is_none_or(|life| Instant::now() < life.renew_at) {
                return Ok(Turn { _held: Some(life) });
            }
            drop(life);
            let broker = connection.broker().clone();
            let (sasl, life, connection) = (
                Arc::clone(&self.sasl),
                Arc::clone(&self.life),
                connection.clone(),
            );
            // A task of its own, because half a conversation would make the connection useless if the caller stopped waiting.
            let renewed = tokio::spawn(async move { renew(&sasl, &life, &connection).await }).await;
            renewed.unwrap_or_else(|_| {
                Err(Error::Disconnected {
                    broker,
                    api: "SaslAuthenticate",
                    reason: "authenticating again broke off".into(),
                })
            })?;
        }
    }
}

async fn renew(
    sasl: &Sasl,
    life: &RwLock<Option<Life>>,
    connection: &Connection,
) -> Result<(), Error> {
    let mut life = life.write().await;
    let now = Instant::now();
    let Some(due) = life.filter(|life| now >= life.renew_at) else {
        // Somebody else was faster.
        return Ok(());
    };
    // A session that short may end meanwhile; the broker minds that only when it gets another request. Credentials are read
    // afterwards, so that a token is a good one.
    tokio::time::sleep_until(due.began_at + AT_MOST_EVERY).await;
    let renewed = match sasl.credentials().await {
        Ok(credentials) => sasl.authenticate(connection, credentials).await,
        // Nothing was said yet, and what we said last is still believed.
        Err(error) if error.is_about_access() && Instant::now() < due.ends_at => {
            warn!(
                "{error}; trying again while the session of {} lives",
                connection.broker()
            );
            *life = Some(Life {
                renew_at: Instant::now() + ASK_AGAIN,
                ..due
            });
            return Ok(());
        }
        Err(error) => Err(error),
    };
    match renewed {
        Ok(lifetime) => {
            debug!(broker = %connection.broker(), "authenticated again");
            *life = Life::of(lifetime);
            Ok(())
        }
        Err(error) => {
            connection.close(&error);
            Err(error)
        }
    }
}
