use super::*;
use crate::connect::Address;
use crate::testing::Peer;

const SECOND: Duration = Duration::from_secs(1);

fn channel() -> (Channel, Peer) {
    let address = Address::new("kafka", 9092);
    let (stream, peer) = Peer::new(&address);
    (
        Channel::new(stream, BrokerName::new(Some(1), &address), 1024),
        peer,
    )
}

/// A Metadata request of version 12 without a body.
fn request(buffer: Option<BytesMut>) -> Outgoing {
    let mut head = BytesMut::new();
    head.put_u32(0);
    head.put_i16(3);
    head.put_i16(12);
    head.put_i32(0);
    head.put_i16(-1);
    head.put_u8(0);
    Outgoing {
        api: "Metadata",
        head,
        rest: Vec::new(),
        timeout: SECOND,
        buffer,
        permit: None,
    }
}

/// What comes after the response header.
fn body(answer: &Bytes) -> &[u8] {
    &answer[5..]
}

#[tokio::test]
async fn requests_are_pipelined_and_answers_find_their_way() {
    let (channel, mut peer) = channel();
    let mut first = channel.send(request(None)).unwrap();
    let mut second = channel.send(request(None)).unwrap();
    second.written().await.unwrap();
    let asked = [peer.next().await.unwrap(), peer.next().await.unwrap()];
    peer.answer(&asked[0], b"one").await;
    peer.answer(&asked[1], b"two").await;
    assert_eq!(body(&second.receive().await.unwrap()), b"two");
    assert_eq!(body(&first.receive().await.unwrap()), b"one");
}

#[tokio::test]
async fn a_listener_that_answers_versions_alone_may_want_authentication() {
    let (channel, mut peer) = channel();
    let mut versions = channel.send(request(None)).unwrap();
    let asked = peer.next().await.unwrap();
    peer.answer(&asked, b"versions").await;
    versions.receive().await.unwrap();
    let mut refused = channel.send(request(None)).unwrap();
    peer.next().await.unwrap();
    drop(peer);
    let error = refused.receive().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("security.protocol SASL_SSL or SASL_PLAINTEXT"),
        "{error}"
    );
    assert!(error.is_retriable());
}

#[tokio::test]
async fn whoever_stops_waiting_does_not_disturb_the_others() {
    let (channel, mut peer) = channel();
    drop(channel.send(request(None)).unwrap());
    let mut kept = channel.send(request(None)).unwrap();
    let asked = [peer.next().await.unwrap(), peer.next().await.unwrap()];
    peer.answer(&asked[0], b"one").await;
    peer.answer(&asked[1], b"two").await;
    assert_eq!(body(&kept.receive().await.unwrap()), b"two");
}

#[tokio::test]
async fn an_answer_is_read_into_the_memory_that_came_with_the_request() {
    let (channel, mut peer) = channel();
    let buffer = BytesMut::with_capacity(1000);
    let place = buffer.as_ptr();
    let mut pending = channel.send(request(Some(buffer))).unwrap();
    let asked = peer.next().await.unwrap();
    peer.answer(&asked, b"answer").await;
    let answer = pending.receive().await.unwrap();
    assert_eq!((body(&answer), answer.as_ptr()), (&b"answer"[..], place));
}

#[tokio::test]
async fn a_connection_that_ends_fails_all_open_requests_and_later_ones() {
    let (channel, mut peer) = channel();
    let mut open = [
        channel.send(request(None)).unwrap(),
        channel.send(request(None)).unwrap(),
    ];
    peer.next().await.unwrap();
    drop(peer);
    for pending in &mut open {
        let error = pending.receive().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "lost the connection to broker 1 (kafka:9092) before it answered Metadata: the broker closed it"
        );
        assert!(error.is_retriable());
    }
    assert!(channel.is_closed());
    assert!(matches!(
        channel.send(request(None)),
        Err(Error::Disconnected { .. })
    ));
}

#[tokio::test]
async fn an_answer_to_another_request_is_not_believed() {
    let (channel, mut peer) = channel();
    let mut pending = channel.send(request(None)).unwrap();
    peer.next().await.unwrap();
    peer.answer_with_header(77, 1, b"").await;
    let error = pending.receive().await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    assert!(!error.is_retriable());
}

#[tokio::test]
async fn other_servers_are_recognised() {
    for (sent, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "it is an HTTP server"),
        (
            &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x16],
            "it wants an encrypted connection; set security.protocol to SSL or SASL_SSL",
        ),
        (&[0, 0, 0, 3, 1, 2, 3], "it announced an answer of 3 bytes"),
        (&[0, 0, 4, 1, 1], "receive.message.max.bytes; raise that"),
    ] {
        let (channel, mut peer) = channel();
        let mut pending = channel.send(request(None)).unwrap();
        peer.next().await.unwrap();
        peer.stream.write_all(sent).await.unwrap();
        let error = pending.receive().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_given_up() {
    let (channel, mut peer) = channel();
    let mut pending = channel.send(request(None)).unwrap();
    let mut other = channel.send(request(None)).unwrap();
    peer.next().await.unwrap();
    let error = pending.receive().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "broker 1 (kafka:9092) did not answer Metadata within 1s; see to the broker, or raise socket.timeout.ms"
    );
    // Answers come in order: behind a lost one, all are lost.
    assert!(matches!(
        other.receive().await,
        Err(Error::Disconnected { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_slowly_is_waited_for() {
    let (channel, mut peer) = channel();
    let mut pending = channel.send(request(None)).unwrap();
    peer.next().await.unwrap();
    let slow = tokio::spawn(async move {
        for byte in [&[0, 0, 0, 8][..], &[0; 4], &[0], b"abc"].concat() {
            tokio::time::sleep(SECOND / 2).await;
            peer.stream.write_all(&[byte]).await.unwrap();
        }
        peer
    });
    assert_eq!(body(&pending.receive().await.unwrap()), b"abc");
    slow.await.unwrap();
}

#[tokio::test]
async fn the_stream_is_closed_with_the_last_user() {
    let (channel, mut peer) = channel();
    let pending = channel.send(request(None)).unwrap();
    drop(channel);
    let asked = peer.next().await.unwrap();
    peer.answer(&asked, b"still open").await;
    drop(pending);
    assert!(peer.next().await.is_none());
}
