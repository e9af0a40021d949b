//! One client connection: frames in, frames out, one request at a time (as a broker serves them; pipelining clients
//! only save the round trip).

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::{self, Answer};
use crate::cluster::Cluster;

/// `socket.request.max.bytes`.
const REQUEST_MAX_BYTES: usize = 100 * 1024 * 1024;
/// What is allocated before the first bytes of a frame are there, whatever its length says.
const FIRST_ALLOCATION: usize = 1024 * 1024;
/// API key, API version and correlation id, which every request starts with.
const PREFIX: usize = 8;

/// Why a connection ended, other than by the client closing it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("a request of {0} bytes is not between {PREFIX} and {REQUEST_MAX_BYTES} bytes long")]
    FrameSize(i32),
    #[error("request {api} of version {version} is not served")]
    NotServed { api: i16, version: i16 },
    #[error("{api:?} of version {version} was refused by closing the connection")]
    Refused { api: ApiKey, version: i16 },
    #[error("{api:?} of version {version} cannot be {what}: {reason}")]
    Codec {
        api: ApiKey,
        version: i16,
        what: &'static str,
        reason: String,
    },
}

/// Serves `stream` until the client closes it.
pub(crate) async fn serve(
    cluster: Arc<Cluster>,
    mut stream: TcpStream,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    while let Some(frame) = read_frame(&mut stream).await? {
        if let Some(response) = handle(&cluster, frame).await? {
            stream.write_all(&response).await?;
        }
    }
    Ok(())
}

/// The next request without its length; `None` at the end of the stream.
async fn read_frame(stream: &mut TcpStream) -> Result<Option<Bytes>, ConnectionError> {
    let length = match stream.read_i32().await {
        Ok(length) => length,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let size = usize::try_from(length)
        .ok()
        .filter(|size| (PREFIX..=REQUEST_MAX_BYTES).contains(size))
        .ok_or(ConnectionError::FrameSize(length))?;
    let mut frame = BytesMut::with_capacity(size.min(FIRST_ALLOCATION));
    let mut body = stream.take(size as u64);
    while frame.len() < size {
        if body.read_buf(&mut frame).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok(Some(frame.freeze()))
}

/// Answers one request; `None` where the client wants no answer.
async fn handle(cluster: &Cluster, mut frame: Bytes) -> Result<Option<BytesMut>, ConnectionError> {
    let key = i16::from_be_bytes([frame[0], frame[1]]);
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let correlation_id = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
    let api =
        ApiKey::try_from(key).map_err(|()| ConnectionError::NotServed { api: key, version })?;
    if !api::serves(api, version) {
        if api == ApiKey::ApiVersions {
            let response = ResponseKind::ApiVersions(api::unsupported_api_versions());
            return encode(api, 0, correlation_id, &response).map(Some);
        }
        return Err(ConnectionError::NotServed { api: key, version });
    }

    let unreadable = |error: &dyn std::fmt::Display| ConnectionError::Codec {
        api,
        version,
        what: "decoded",
        reason: error.to_string(),
    };
    RequestHeader::decode(&mut frame, api.request_header_version(version))
        .map_err(|error| unreadable(&error))?;
    let request =
        RequestKind::decode(api, &mut frame, version).map_err(|error| unreadable(&error))?;
    match api::answer(cluster, request, version).await {
        Answer::Respond(response) => encode(api, version, correlation_id, &response).map(Some),
        Answer::Silence => Ok(None),
        Answer::Disconnect => Err(ConnectionError::Refused { api, version }),
    }
}

fn encode(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &ResponseKind,
) -> Result<BytesMut, ConnectionError> {
    let unwritable = |error: &dyn std::fmt::Display| ConnectionError::Codec {
        api,
        version,
        what: "answered",
        reason: error.to_string(),
    };
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut frame, api.response_header_version(version))
        .map_err(|error| unwritable(&error))?;
    response
        .encode(&mut frame, version)
        .map_err(|error| unwritable(&error))?;
    let length = i32::try_from(frame.len() - 4).map_err(|error| unwritable(&error))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}
