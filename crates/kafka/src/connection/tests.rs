use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse};

use super::*;
use crate::connect::{Connect, ConnectError, Stream};
use crate::testing::{FakeCluster, Peer, Reply, all_versions};

/// Hands out one stream in memory.
#[derive(Debug)]
struct Once(Mutex<Option<Stream>>);

impl Connect for Once {
    fn connect<'a>(&'a self, _: &'a Address) -> BoxFuture<'a, Result<Stream, ConnectError>> {
        let stream = self
            .0
            .lock()
            .unwrap()
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused).into());
        Box::pin(async { stream })
    }
}

fn config() -> (ClientConfig, Address, Peer) {
    let address = Address::new("kafka", 9092);
    let (stream, peer) = Peer::new(&address);
    let mut config = ClientConfig::new(vec![address.clone()]);
    config.connect = Arc::new(Once(Mutex::new(Some(stream))));
    (config, address, peer)
}

fn body(answer: &ApiVersionsResponse, version: i16) -> BytesMut {
    let mut body = BytesMut::new();
    answer.encode(&mut body, version).unwrap();
    body
}

/// What a broker answers that does not know the question's version: in version 0, with the versions it does know.
fn refusal(known: Option<i16>) -> BytesMut {
    let own = known.map(|max| {
        ApiVersion::default()
            .with_api_key(ApiVersionsRequest::KEY)
            .with_max_version(max)
    });
    let answer = ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UNSUPPORTED_VERSION.0)
        .with_api_keys(own.into_iter().collect());
    body(&answer, 0)
}

#[tokio::test]
async fn a_broker_of_today_is_asked_once() {
    let (config, address, mut peer) = config();
    let broker = tokio::spawn(async move {
        let asked = peer.next().await.unwrap();
        assert_eq!((asked.api, asked.version), (ApiKey::ApiVersions, 4));
        let request: ApiVersionsRequest = asked.decode();
        assert_eq!(&*request.client_software_name, "armory");
        peer.answer(&asked, &body(&all_versions(), 4)).await;
    });
    let connection = Connection::open(&config, Some(1), &address).await.unwrap();
    assert_eq!(connection.version::<MetadataRequest>().unwrap(), 13);
    broker.await.unwrap();
}

#[tokio::test]
async fn an_older_broker_is_asked_in_the_version_that_it_names() {
    let (config, address, mut peer) = config();
    let broker = tokio::spawn(async move {
        let asked = peer.next().await.unwrap();
        peer.answer(&asked, &refusal(Some(2))).await;
        let asked = peer.next().await.unwrap();
        assert_eq!(asked.version, 2);
        peer.answer(&asked, &body(&all_versions(), 2)).await;
    });
    Connection::open(&config, Some(1), &address).await.unwrap();
    broker.await.unwrap();
}

#[tokio::test]
async fn a_broker_that_names_no_version_is_asked_in_the_first() {
    let (config, address, mut peer) = config();
    let broker = tokio::spawn(async move {
        let asked = peer.next().await.unwrap();
        peer.answer(&asked, &refusal(None)).await;
        let asked = peer.next().await.unwrap();
        assert_eq!(asked.version, 0);
        peer.answer(&asked, &body(&all_versions(), 0)).await;
    });
    Connection::open(&config, Some(1), &address).await.unwrap();
    broker.await.unwrap();
}

#[tokio::test]
async fn a_broker_that_refuses_every_version_is_given_up() {
    let (config, address, mut peer) = config();
    tokio::spawn(async move {
        // It names the version that it refused: that must not be tried for ever.
        while let Some(asked) = peer.next().await {
            peer.answer(&asked, &refusal(Some(asked.version))).await;
        }
    });
    let error = Connection::open(&config, Some(1), &address)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "broker 1 (kafka:9092) answered ApiVersions with UNSUPPORTED_VERSION (35)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_counts_as_not_connected() {
    let (config, address, _peer) = config();
    let error = Connection::open(&config, Some(1), &address)
        .await
        .unwrap_err();
    let Error::Connect { source, .. } = &error else {
        panic!("{error}")
    };
    assert!(
        source
            .to_string()
            .contains("socket.connection.setup.timeout.ms"),
        "{source}"
    );
}

#[tokio::test]
async fn nonsense_is_an_error_that_names_the_api() {
    let (config, address, mut peer) = config();
    tokio::spawn(async move {
        let asked = peer.next().await.unwrap();
        peer.answer(&asked, &[0, 0, 9]).await;
        peer
    });
    let error = Connection::open(&config, Some(1), &address)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Protocol {
                api: "ApiVersions",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_throttles_is_left_alone_for_that_long() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let client = FakeCluster::client(|asked| {
        CALLS.fetch_add(1, Ordering::Relaxed);
        Reply::with(
            &MetadataResponse::default().with_throttle_time_ms(700),
            asked.version,
        )
    });
    let started = Instant::now();
    client.cluster_id().await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(1));
    client.cluster_id().await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(700));
    assert_eq!(CALLS.load(Ordering::Relaxed), 2);
}
