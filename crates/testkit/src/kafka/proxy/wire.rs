//! As much of Kafka's protocol as a proxy needs: frames, who asks for what, and the addresses of brokers in answers.

use std::io::{self, Read, Write};

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{MetadataResponse, ProduceResponse, ResponseHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion as _, StrBytes};

use super::fault::Api;

/// No request or answer of a test is larger; a larger size is nonsense.
const LARGEST: usize = 256 << 20;

/// The beginning of every request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) api: Api,
    pub(super) version: i16,
    pub(super) correlation: i32,
}

/// What a broker answered about one partition of a Produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateAnswer {
    /// The partition.
    pub partition: i32,
    /// Kafka's error code; 0 is success, also for what the broker knew already.
    pub error_code: i16,
    /// The offset that the first record has, or -1.
    pub base_offset: i64,
}

/// Reads a frame with its size in front; nothing at the end of the stream.
pub(super) fn read_frame(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut size = [0; 4];
    match stream.read_exact(&mut size) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(size) as usize;
    if length > LARGEST {
        return Err(io::Error::other("the size of a frame is nonsense"));
    }
    let mut frame = vec![0; 4 + length];
    frame[..4].copy_from_slice(&size);
    stream.read_exact(&mut frame[4..])?;
    Ok(Some(frame))
}

/// What a request is; nothing if it is too short to be one.
pub(super) fn head(frame: &[u8]) -> Option<Head> {
    let number = |at: usize| Some(i16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    Some(Head {
        api: Api::of(number(4)?),
        version: number(6)?,
        correlation: i32::from_be_bytes(frame.get(8..12)?.try_into().ok()?),
    })
}

/// The correlation id of an answer.
pub(super) fn correlation(frame: &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(frame.get(4..8)?.try_into().ok()?))
}

/// A Metadata answer in which brokers are where `place` says (`host:port` to a port on loopback).
pub(super) fn with_addresses(
    frame: &[u8],
    version: i16,
    place: impl Fn(&str) -> Option<u16>,
) -> Result<Vec<u8>> {
    let mut bytes = Bytes::copy_from_slice(&frame[4..]);
    let header_version = MetadataResponse::header_version(version);
    let header = ResponseHeader::decode(&mut bytes, header_version)?;
    let mut answer = MetadataResponse::decode(&mut bytes, version)?;
    for broker in &mut answer.brokers {
        let address = format!("{}:{}", broker.host.as_str(), broker.port);
        let port = place(&address)
            .with_context(|| format!("the proxy does not know the broker {address}"))?;
        broker.host = StrBytes::from_static_str("127.0.0.1");
        broker.port = i32::from(port);
    }
    let mut body = BytesMut::new();
    header.encode(&mut body, header_version)?;
    answer.encode(&mut body, version)?;
    let mut out = u32::try_from(body.len())?.to_be_bytes().to_vec();
    out.extend_from_slice(&body);
    Ok(out)
}

/// Sends a held request over a connection of its own and waits for its answer.
pub(super) fn deliver(stream: &mut (impl Read + Write), frame: &[u8]) -> Result<Vec<LateAnswer>> {
    let head = head(frame).context("a held request is whole")?;
    stream.write_all(frame)?;
    let answer = read_frame(stream)?.context("the broker closed the connection")?;
    if head.api != Api::Produce {
        return Ok(Vec::new());
    }
    let mut bytes = Bytes::from(answer).slice(4..);
    ResponseHeader::decode(&mut bytes, ProduceResponse::header_version(head.version))?;
    let answer = ProduceResponse::decode(&mut bytes, head.version)?;
    let partitions = answer.responses.into_iter().flat_map(|topic| {
        topic
            .partition_responses
            .into_iter()
            .map(|partition| LateAnswer {
                partition: partition.index,
                error_code: partition.error_code,
                base_offset: partition.base_offset,
            })
    });
    Ok(partitions.collect())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::MetadataResponseBroker;

    use super::*;

    #[test]
    fn addresses_of_brokers_are_replaced() {
        for version in [1, 9, 12] {
            let mut body = BytesMut::new();
            let header = ResponseHeader::default().with_correlation_id(7);
            let header_version = MetadataResponse::header_version(version);
            header.encode(&mut body, header_version).unwrap();
            let broker = MetadataResponseBroker::default()
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(9092);
            MetadataResponse::default()
                .with_brokers(vec![broker])
                .encode(&mut body, version)
                .unwrap();
            let mut frame = (body.len() as u32).to_be_bytes().to_vec();
            frame.extend_from_slice(&body);

            let place = |address: &str| (address == "127.0.0.1:9092").then_some(15_000);
            let replaced = with_addresses(&frame, version, place).unwrap();
            assert_eq!(correlation(&replaced), Some(7));
            let mut bytes = Bytes::from(replaced).slice(4..);
            ResponseHeader::decode(&mut bytes, header_version).unwrap();
            let answer = MetadataResponse::decode(&mut bytes, version).unwrap();
            assert_eq!(answer.brokers[0].port, 15_000);
            assert!(with_addresses(&frame, version, |_| None).is_err());
        }
    }

    #[test]
    fn frames_are_read_whole() {
        let bytes = [0, 0, 0, 8, 0, 1, 0, 17, 0, 0, 0, 5, 0, 0];
        let mut stream = &bytes[..];
        let frame = read_frame(&mut stream).unwrap().unwrap();
        let head = head(&frame).unwrap();
        assert_eq!(
            (head.api, head.version, head.correlation),
            (Api::Fetch, 17, 5)
        );
        assert!(read_frame(&mut stream).unwrap().is_none());
    }
}
