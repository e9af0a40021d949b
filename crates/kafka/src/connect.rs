//! How a byte stream to a broker is made. [`crate::TlsConnect`] is another implementation of [`Connect`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};

use crate::security::SecretError;

/// A broker's host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Host name or IP address, without brackets.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// The address of `port` on `host`.
    pub fn new(host: &str, port: u16) -> Address {
        Address {
            host: host.into(),
            port,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An open stream to a broker, in two halves that two tasks use at the same time.
pub struct Stream {
    /// What the broker sends.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What is sent to it.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Who speaks to whom, where it is encrypted: for errors that come after the handshake.
    pub tls: Option<TlsPeer>,
}

/// The two ends of an encrypted stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPeer {
    /// The name that the broker was reached by.
    pub host: Arc<str>,
    /// The subject of the certificate that we showed, if we have one.
    pub certificate: Option<Arc<str>>,
}

/// Why there is no stream.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The operating system says so.
    #[error(transparent)]
    Io(Arc<io::Error>),
    /// The two ends do not trust each other, or do not both speak TLS: why, with the remedy.
    #[error("{0}")]
    Tls(Box<str>),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> ConnectError {
        ConnectError::Io(Arc::new(error))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// Makes streams to brokers, ready for Kafka's requests: encrypted, where that is called for.
pub trait Connect: fmt::Debug + Send + Sync {
    /// Connects to a broker. The caller sets the time limit.
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Result<Stream, ConnectError>>;

    /// The subject of the certificate that was shown to the last broker, if there is one.
    fn certificate_subject(&self) -> Option<Arc<str>> {
        None
    }
}

/// Which IP addresses of a host are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressFamily {
    /// All of them, in the resolver's order.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl AddressFamily {
    fn allows(self, address: &SocketAddr) -> bool {
        match self {
            AddressFamily::Any => true,
            AddressFamily::V4 => address.is_ipv4(),
            AddressFamily::V6 => address.is_ipv6(),
        }
    }
}

/// Plain TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConnect {
    /// Size of the kernel's send buffer in bytes; 0 leaves it to the system.
    pub send_buffer: usize,
    /// Size of the kernel's receive buffer in bytes; 0 leaves it to the system, which on Linux lets it grow with the
    /// traffic. A fixed size turns that off and is cut to `net.core.rmem_max`.
    pub receive_buffer: usize,
    /// Whether small requests wait for others (Nagle's algorithm).
    pub nagle: bool,
    /// Whether the kernel probes connections on which nothing is said.
    pub keepalive: bool,
    /// Which of a host's addresses are tried.
    pub family: AddressFamily,
}

impl Default for TcpConnect {
    fn default() -> TcpConnect {
        TcpConnect {
            send_buffer: 0,
            receive_buffer: 0,
            nagle: false,
            // Otherwise a backup that waits for records would not notice that a firewall forgot its connection.
            keepalive: true,
            family: AddressFamily::Any,
        }
    }
}

impl TcpConnect {
    pub(crate) async fn open(&self, address: &Address) -> io::Result<TcpStream> {
        let mut last_error = None;
        for candidate in lookup_host((&*address.host, address.port)).await? {
            if !self.family.allows(&candidate) {
                continue;
            }
            match TcpStream::connect(candidate).await {
                Ok(stream) => return self.prepare(stream),
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.unwrap_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address of the kind that broker.address.family allows",
            )
        }))
    }

    fn prepare(&self, stream: TcpStream) -> io::Result<TcpStream> {
        stream.set_nodelay(!self.nagle)?;
        let socket = SockRef::from(&stream);
        socket.set_keepalive(self.keepalive)?;
        if self.send_buffer > 0 {
            socket.set_send_buffer_size(self.send_buffer)?;
        }
        if self.receive_buffer > 0 {
            socket.set_recv_buffer_size(self.receive_buffer)?;
        }
        Ok(stream)
    }
}

impl Connect for TcpConnect {
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Result<Stream, ConnectError>> {
        Box::pin(async move {
            let (reader, writer) = self.open(address).await?.into_split();
            Ok(Stream {
                reader: Box::new(reader),
                writer: Box::new(writer),
                tls: None,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_users_write_them() {
        assert_eq!(Address::new("kafka", 9092).to_string(), "kafka:9092");
        assert_eq!(Address::new("::1", 9092).to_string(), "[::1]:9092");
    }

    #[tokio::test]
    async fn only_addresses_of_the_family_are_tried() {
        let connect = TcpConnect {
            family: AddressFamily::V6,
            ..TcpConnect::default()
        };
        let error = connect
            .connect(&Address::new("127.0.0.1", 9))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("broker.address.family"),
            "{error}"
        );
    }
}
