//! Who we are to the brokers, and who they are to us: TLS, SASL, and the secrets that both need.
//!
//! [`TlsConnect`] is an implementation of [`crate::Connect`] that encrypts; [`Sasl`] authenticates over the connection, because
//! it is a conversation in Kafka's own requests, and one that is held again while others are under way (KIP-368).
//!
//! Secrets are read when a connection is made, so that one that is renewed in its file is taken up by the next connection. None
//! appears in debug output or in an error.

mod keys;
pub(crate) mod principal;
pub(crate) mod rights;
pub(crate) mod sasl;
mod secret;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod trouble;

pub use rights::Resource;
pub use sasl::Sasl;
pub use secret::{SecretError, SecretValue};
pub use tls::TlsConnect;
