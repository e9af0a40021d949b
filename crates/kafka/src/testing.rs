//! Brokers in memory for unit tests: streams without sockets, and a script of what is answered.

use std::fmt;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::connect::{Address, Connect, ConnectError, Stream};
use crate::{Client, ClientConfig};

/// A request as a broker gets it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) broker: Address,
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) body: Bytes,
    correlation_id: i32,
}

impl Asked {
    pub(crate) fn decode<R: kafka_protocol::protocol::Decodable>(&self) -> R {
        R::decode(&mut self.body.clone(), self.version).expect("armory sends what the codec reads")
    }
}

/// What a scripted broker does about a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer(Bytes),
    HangUp,
}

impl Reply {
    pub(crate) fn with(answer: &impl Encodable, version: i16) -> Reply {
        let mut body = BytesMut::new();
        answer
            .encode(&mut body, version)
            .expect("tests answer what can be encoded");
        Reply::Answer(body.freeze())
    }
}

/// One end of a stream in memory, used as a broker would.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream: DuplexStream,
    address: Address,
}

impl Peer {
    /// A stream for the client, and the broker's end of it.
    pub(crate) fn new(address: &Address) -> (Stream, Peer) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (reader, writer) = tokio::io::split(ours);
        let stream = Stream {
            reader: Box::new(reader),
            writer: Box::new(writer),
            tls: None,
        };
        (
            stream,
            Peer {
                stream: theirs,
                address: address.clone(),
            },
        )
    }

    /// The next request, or nothing if the client hung up.
    pub(crate) async fn next(&mut self) -> Option<Asked> {
        let size = self.stream.read_u32().await.ok()?;
        let mut frame = vec![0; size as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        let mut body = Bytes::from(frame);
        let mut start = body.clone();
        let (key, version) = (start.get_i16(), start.get_i16());
        let api = ApiKey::try_from(key).expect("armory sends requests that exist");
        let header = RequestHeader::decode(&mut body, api.request_header_version(version))
            .expect("it has a header");
        let broker = self.address.clone();
        Some(Asked {
            broker,
            api,
            version,
            body,
            correlation_id: header.correlation_id,
        })
    }

    pub(crate) async fn answer(&mut self, asked: &Asked, body: &[u8]) {
        let header_version = asked.api.response_header_version(asked.version);
        self.answer_with_header(asked.correlation_id, header_version, body)
            .await;
    }

    pub(crate) async fn answer_with_header(
        &mut self,
        correlation_id: i32,
        header_version: i16,
        body: &[u8],
    ) {
        let mut frame = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(correlation_id);
        header
            .encode(&mut frame, header_version)
            .expect("headers can be encoded");
        frame.put_slice(body);
        self.stream
            .write_u32(frame.len() as u32)
            .await
            .expect("the client listens");
        self.stream
            .write_all(&frame)
            .await
            .expect("the client listens");
    }
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

/// Makes streams to brokers that answer by a script. ApiVersions is answered for them: they know everything.
#[derive(Clone)]
pub(crate) struct FakeCluster {
    script: Arc<Script>,
}

impl fmt::Debug for FakeCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeCluster").finish_non_exhaustive()
    }
}

impl FakeCluster {
    /// A client of a cluster whose brokers, wherever they are asked for, follow `script`.
    pub(crate) fn client(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Client {
        let mut config = ClientConfig::new(vec![Address::new("bootstrap", 9092)]);
        config.connect = Arc::new(FakeCluster {
            script: Arc::new(script),
        });
        Client::new(config).expect("nothing is connected yet")
    }
}

impl Connect for FakeCluster {
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Result<Stream, ConnectError>> {
        let (stream, mut peer) = Peer::new(address);
        let script = Arc::clone(&self.script);
        tokio::spawn(async move {
            while let Some(asked) = peer.next().await {
                let reply = match asked.api {
                    ApiKey::ApiVersions => Reply::with(&all_versions(), asked.version),
                    _ => script(&asked),
                };
                match reply {
                    Reply::Answer(body) => peer.answer(&asked, &body).await,
                    Reply::HangUp => return,
                }
            }
        });
        Box::pin(async { Ok(stream) })
    }
}

/// An ApiVersions answer with everything that the codec knows.
pub(crate) fn all_versions() -> ApiVersionsResponse {
    let keys = ApiKey::iter().map(|api| {
        let range = api.valid_versions();
        ApiVersion::default()
            .with_api_key(api as i16)
            .with_min_version(range.min)
            .with_max_version(range.max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}
