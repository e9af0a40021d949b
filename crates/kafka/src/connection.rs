//! Typed calls over a [`Channel`]: versions are agreed on when it is made, we authenticate, and throttling is obeyed.

mod session;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::api::{Api, BrokerVersions};
use crate::channel::{Channel, Outgoing, PendingAnswer};
use crate::connect::{Address, ConnectError};
use crate::error::BrokerName;
use crate::{ClientConfig, Error, ErrorCode};

use session::Session;
pub(crate) use session::Turn;

/// A connection that is ready for requests. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    channel: Channel,
    versions: Arc<BrokerVersions>,
    client_id: StrBytes,
    timeout: Duration,
    /// What keeps us authenticated, if we are.
    session: Option<Arc<Session>>,
    /// Until when the broker asked to be left alone.
    throttled_until: Arc<Mutex<Option<Instant>>>,
}

/// A request that was encoded and is ready to be sent.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) head: BytesMut,
    pub(crate) rest: Vec<Bytes>,
}

/// What goes along with a request on the channel.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// How long the broker may take on purpose, beside the time limit of every request.
    pub(crate) broker_wait: Duration,
    pub(crate) buffer: Option<BytesMut>,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Connects and asks the broker which versions it knows.
    pub(crate) async fn open(
        config: &ClientConfig,
        id: Option<i32>,
        address: &Address,
    ) -> Result<Connection, Error> {
        let broker = BrokerName::new(id, address);
        let opening = async {
            let stream = config.connect.connect(address).await.map_err(|error| {
                let broker = broker.clone();
                match error {
                    ConnectError::Io(source) => Error::Connect { broker, source },
                    ConnectError::Tls(reason) => Error::Tls { broker, reason },
                    ConnectError::Secret(error) => error.into(),
                }
            })?;
            let channel = Channel::new(stream, broker.clone(), config.max_response_bytes);
            let client_id = StrBytes::from_string(config.client_id.clone());
            let versions = negotiate(&channel, &client_id, config.request_timeout).await?;
            let mut connection = Connection {
                channel,
                versions: Arc::new(versions),
                client_id,
                timeout: config.request_timeout,
                session: None,
                throttled_until: Arc::default(),
            };
            if let Some(sasl) = &config.sasl {
                let session = Session::begin(&connection, Arc::clone(sasl)).await?;
                connection.session = Some(Arc::new(session));
            }
            debug!(%broker, "connected");
            Ok(connection)
        };
        match tokio::time::timeout(config.connect_timeout, opening).await {
            Ok(opened) => opened,
            Err(_) => {
                let text = format!(
                    "not connected within {:?} (socket.connection.setup.timeout.ms)",
                    config.connect_timeout
                );
                let source = Arc::new(io::Error::new(io::ErrorKind::TimedOut, text));
                Err(Error::Connect { broker, source })
            }
        }
    }

    pub(crate) fn broker(&self) -> &BrokerName {
        self.channel.broker()
    }

    fn close(&self, reason: impl ToString) {
        self.channel.close(reason);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }

    /// The version of an API to use with this broker.
    pub(crate) fn version<R: Api>(&self) -> Result<i16, Error> {
        self.version_up_to::<R>(i16::MAX)
    }

    /// The version of an API to use with this broker where a newer one than `newest` will not do.
    pub(crate) fn version_up_to<R: Api>(&self, newest: i16) -> Result<i16, Error> {
        self.versions.choose::<R>(newest, self.broker())
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call<R: Api>(
        &self,
        version: i16,
        request: &R,
        extras: Extras,
    ) -> Result<R::Response, Error> {
        let encoded = self.encode(version, request)?;
        let turn = self.turn().await?;
        let mut pending = self.send::<R>(turn, encoded, extras)?;
        let answer = pending.receive().await?;
        self.decode::<R>(version, answer)
    }

    /// Waits until a request may be sent: as long as the broker asked for, and while we authenticate again.
    ///
    /// May be dropped meanwhile.
    ///
    /// # Errors
    /// If the broker does not let us in again. Nothing was sent.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, Error> {
        self.wait_out_throttle().await;
        match &self.session {
            Some(session) => session.turn(self).await,
            None => Ok(Turn::free()),
        }
    }

    /// Sends a request that was encoded for this connection, whose turn it is.
    pub(crate) fn send<R: Api>(
        &self,
        _turn: Turn<'_>,
        encoded: Encoded,
        extras: Extras,
    ) -> Result<PendingAnswer, Error> {
        self.send_now::<R>(encoded, extras)
    }

    /// Sends a request of the authentication itself.
    pub(crate) fn send_now<R: Api>(
        &self,
        encoded: Encoded,
        extras: Extras,
    ) -> Result<PendingAnswer, Error> {
        self.channel.send(Outgoing {
            api: R::NAME,
            head: encoded.head,
            rest: encoded.rest,
            timeout: self.timeout + extras.broker_wait,
            buffer: extras.buffer,
            permit: extras.permit,
        })
    }

    pub(crate) fn encode<R: Api>(&self, version: i16, request: &R) -> Result<Encoded, Error> {
        let mut head = self.head::<R>(version)?;
        request
            .encode(&mut head, version)
            .map_err(|error| self.nonsense(R::NAME, &error))?;
        Ok(Encoded {
            head,
            rest: Vec::new(),
        })
    }

    /// The beginning of a request of which the body follows.
    pub(crate) fn head<R: Api>(&self, version: i16) -> Result<BytesMut, Error> {
        head::<R>(version, &self.client_id).map_err(|error| self.nonsense(R::NAME, &error))
    }

    /// Reads an answer; records in it stay where they are.
    pub(crate) fn decode<R: Api>(&self, version: i16, answer: Bytes) -> Result<R::Response, Error> {
        let answer =
            decode::<R>(version, answer).map_err(|error| self.nonsense(R::NAME, &error))?;
        self.note_throttle(R::throttle_ms(&answer));
        Ok(answer)
    }

    fn nonsense(&self, api: &'static str, error: &dyn std::fmt::Display) -> Error {
        Error::Protocol {
            broker: self.broker().clone(),
            api,
            reason: format!("{error:#}").into(),
        }
    }

    fn note_throttle(&self, ms: i32) {
        if ms > 0 {
            debug!(broker = %self.broker(), ms, "throttled");
            let until = Instant::now() + Duration::from_millis(u64::from(ms.unsigned_abs()));
            let before = self
                .throttled_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .replace(until);
            if before.is_none() {
                warn!("{} slows this client down by a quota", self.broker());
            }
        }
    }

    /// Waits as long as the broker asked for. It would not read the next request before anyway (KIP-219), but the
    /// request's time limit would run.
    async fn wait_out_throttle(&self) {
        let until = *self
            .throttled_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }
}

fn head<R: Request>(
    version: i16,
    client_id: &StrBytes,
) -> Result<BytesMut, impl std::fmt::Display + use<R>> {
    /// Room for the head of any small request.
    const USUAL: usize = 512;
    let mut head = BytesMut::with_capacity(USUAL);
    head.put_u32(0); // the size, filled in with the correlation id
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(client_id.clone()));
    header
        .encode(&mut head, R::header_version(version))
        .map(|()| head)
}

fn decode<R: Request>(
    version: i16,
    mut answer: Bytes,
) -> Result<R::Response, impl std::fmt::Display + use<R>> {
    ResponseHeader::decode(
        &mut answer,
        <R::Response as HeaderVersion>::header_version(version),
    )
    .and_then(|_| R::Response::decode(&mut answer, version))
}

/// Asks for the versions that the broker knows.
///
/// A broker that does not know the version of the question answers it in version 0 with UNSUPPORTED_VERSION and, since
/// Kafka 2.4, the versions of ApiVersions that it does know (KIP-511).
async fn negotiate(
    channel: &Channel,
    client_id: &StrBytes,
    timeout: Duration,
) -> Result<BrokerVersions, Error> {
    const API: &str = crate::error::OPENING;
    let nonsense = |error: &dyn std::fmt::Display| Error::Protocol {
        broker: channel.broker().clone(),
        api: API,
        reason: format!("{error:#}").into(),
    };
    let mut version = ApiVersionsRequest::VERSIONS.max;
    loop {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("armory"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut head =
            head::<ApiVersionsRequest>(version, client_id).map_err(|error| nonsense(&error))?;
        request
            .encode(&mut head, version)
            .map_err(|error| nonsense(&error))?;
        let sent = channel.send(Outgoing {
            api: API,
            head,
            rest: Vec::new(),
            timeout,
            buffer: None,
            permit: None,
        });
        let answer = sent?.receive().await?;
        let code = answer
            .get(4..6)
            .map(|mut code| code.get_i16())
            .unwrap_or_default();
        if code != ErrorCode::UNSUPPORTED_VERSION.0 || version == 0 {
            let answer =
                decode::<ApiVersionsRequest>(version, answer).map_err(|error| nonsense(&error))?;
            return match ErrorCode::from_wire(answer.error_code) {
                None => Ok(BrokerVersions::from_answer(&answer)),
                Some(code) => Err(Error::refused(
                    channel.broker().clone(),
                    API,
                    None,
                    code,
                    None,
                )),
            };
        }
        let refusal = decode::<ApiVersionsRequest>(0, answer).map_err(|error| nonsense(&error))?;
        version = known_to_broker(&refusal).min(version - 1);
    }
}

/// The newest version of ApiVersions that a refusal names; 0 if it names none.
fn known_to_broker(refusal: &ApiVersionsResponse) -> i16 {
    let entry = refusal
        .api_keys
        .iter()
        .find(|api| api.api_key == ApiVersionsRequest::KEY);
    entry.map_or(0, |api| api.max_version.max(0))
}

#[cfg(test)]
mod tests;
