//! A bare connection for requests that armory itself never sends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::Result;
use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion as _, Request};

pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) fn connect(bootstrap: &str) -> Result<Raw> {
        Ok(Raw(TcpStream::connect(bootstrap)?))
    }

    pub(crate) fn call<R>(&mut self, version: i16, request: &R) -> Result<R::Response>
    where
        R: Request,
    {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version);
        header.encode(&mut frame, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        let mut sent = BytesMut::new();
        sent.put_u32(frame.len() as u32);
        sent.put_slice(&frame);
        self.0.write_all(&sent)?;
        let mut size = [0; 4];
        self.0.read_exact(&mut size)?;
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        self.0.read_exact(&mut answer)?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
        R::Response::decode(&mut answer, version)
    }
}
