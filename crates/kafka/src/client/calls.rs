//! Calls that any broker, or the controller, can answer; and how often they are tried.

use std::future::Future;

use armory_troubles::{Cause, Retrying, sentence};
use rand::seq::SliceRandom as _;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Client;
use super::pool::Place;
use crate::api::Api;
use crate::connection::{Connection, Extras};
use crate::error::BrokerName;
use crate::{Backoff, Error, ErrorCode, TopicFilter};

/// An answer, and who gave it.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) answer: T,
    pub(crate) broker: BrokerName,
}

/// How long, and after what delays, something is tried again.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Instant,
    delays: Backoff,
}

impl Patience {
    pub(crate) fn new(delays: Backoff, limit: std::time::Duration) -> Patience {
        Patience {
            deadline: Instant::now() + limit,
            delays,
        }
    }

    /// Waits for the next try. False: there is none.
    pub(crate) async fn wait(&mut self) -> bool {
        let next = Instant::now() + self.delays.next_delay();
        if next >= self.deadline {
            return false;
        }
        tokio::time::sleep_until(next).await;
        true
    }
}

impl Client {
    fn call_patience(&self) -> Patience {
        Patience::new(self.config().retry_delays(), self.config().call_timeout)
    }

    pub(crate) fn leader_patience(&self) -> Patience {
        Patience::new(self.config().retry_delays(), self.config().leader_timeout)
    }

    /// Tries again while errors are retriable and there is time. Only for what may be done twice.
    pub(crate) async fn repeat<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.try_again_while(Error::is_retriable, attempt).await
    }

    /// Does what must not be done twice: tried again only while it is certain that nothing was done.
    pub(crate) async fn do_once<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.try_again_while(|error| error.is_retriable() && error.is_certain(), attempt)
            .await
    }

    async fn try_again_while<T, F>(
        &self,
        worth_it: impl Fn(&Error) -> bool,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut patience = self.call_patience();
        // A topic that is not there is asked for again only as long as a new one may take to be known to all brokers.
        let missing_until = Instant::now() + self.config().leader_timeout;
        let mut told = false;
        let mut trouble: Option<Retrying> = None;
        loop {
            let error = match attempt().await {
                Err(error) if worth_it(&error) => error,
                settled => return settled.map_err(|error| self.explain(error)),
            };
            // Nobody shall wonder at a silence of a minute.
            if !told && matches!(error, Error::Unreachable { .. }) {
                told = true;
                let seconds = self.config().call_timeout.as_secs();
                warn!("{error}; trying again for up to {seconds} s");
            }
            debug!(%error, "trying again");
            let why = sentence(&error);
            match &trouble {
                Some(trouble) => trouble.again(&why),
                None => trouble = Some(self.troubles().retrying(Cause::Kafka, &why)),
            }
            let is_missing = error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            if (is_missing && Instant::now() >= missing_until) || !patience.wait().await {
                return Err(error);
            }
        }
    }

    /// Asks a broker, whichever can be reached, once. `build` makes the request for a version.
    pub(crate) async fn ask_any<R: Api>(
        &self,
        build: impl Fn(i16) -> R,
    ) -> Result<Answered<R::Response>, Error> {
        let connection = self.any_connection().await?;
        ask(&connection, build).await
    }

    /// Asks the controller, or the broker that stands for it, once.
    pub(crate) async fn ask_controller<R: Api>(
        &self,
        build: impl Fn(i16) -> R,
    ) -> Result<Answered<R::Response>, Error> {
        // The controller may have moved since the last call, and asking for it costs little beside what it is asked to do.
        self.metadata(TopicFilter::Names(&[])).await?;
        let connection = match self.inner.cluster.controller() {
            Some(controller) => self.connection(controller).await?,
            None => self.any_connection().await?,
        };
        ask(&connection, build).await
    }

    /// The shared connection to a broker.
    pub(crate) async fn connection(&self, broker: i32) -> Result<Connection, Error> {
        let address = self
            .inner
            .cluster
            .address(broker)
            .ok_or(Error::UnknownBroker { id: broker })?;
        let place = Place {
            id: Some(broker),
            address,
        };
        self.inner.pool.get(self.config(), &place).await
    }

    /// A connection to some broker: those that metadata named first, then the bootstrap servers.
    async fn any_connection(&self) -> Result<Connection, Error> {
        let mut known = self.inner.cluster.brokers();
        known.shuffle(&mut rand::rng());
        let mut last_error = None;
        for broker in known {
            match self.connection(broker).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last_error = Some(error),
            }
        }
        for address in &self.config().bootstrap {
            let place = Place {
                id: None,
                address: address.clone(),
            };
            match self.inner.pool.get(self.config(), &place).await {
                Ok(connection) => return Ok(connection),
                // It was reached, and is none that can be worked with: that says more than that none was reached.
                Err(error) if !error.is_retriable() => return Err(error),
                Err(error) => last_error = Some(error),
            }
        }
        let addresses = self.config().bootstrap_text();
        let source = last_error.unwrap_or(Error::UnknownBroker { id: -1 });
        Err(Error::Unreachable {
            addresses,
            source: Box::new(source),
        })
    }
}

/// Sends a request in the newest version that both sides know.
pub(crate) async fn ask<R: Api>(
    connection: &Connection,
    build: impl Fn(i16) -> R,
) -> Result<Answered<R::Response>, Error> {
    let version = connection.version::<R>()?;
    let answer = connection
        .call(version, &build(version), Extras::default())
        .await?;
    Ok(Answered {
        answer,
        broker: connection.broker().clone(),
    })
}

/// An error for a code that is about a topic, or about no topic at all.
pub(crate) fn check<R: Api>(
    broker: &BrokerName,
    code: i16,
    topic: Option<&str>,
    message: Option<&str>,
) -> Result<(), Error> {
    match ErrorCode::from_wire(code) {
        None => Ok(()),
        Some(code) => Err(Error::refused(
            broker.clone(),
            R::NAME,
            topic,
            code,
            message,
        )),
    }
}
