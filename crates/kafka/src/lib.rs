//! What backup and restore need of Kafka's protocol: connections, metadata, fetch, produce, admin.
//!
//! A [`Client`] knows a cluster: it asks any broker for [`Metadata`], leaders for offsets, the controller to create topics, and
//! tries again where that is safe. A [`Fetcher`] streams the batches of many partitions from one broker and a
//! [`ProduceConnection`] sends batches to one; each has a connection of its own, and neither looks at a record. Of consumer
//! groups only the committed offsets are read and written, there are no transactions, and nothing here ever sends a batch twice.
//!
//! Errors name the broker, the API, the topic and the partition ([`Error`]); what a broker answers about single
//! partitions is left to the caller as an [`ErrorCode`], because only the caller knows what to do about it.
//!
//! Messages come from `kafka-protocol`, which is generated from Kafka's own schemas. Everything else is here: framing and
//! pipelining (`channel`), version negotiation and throttling (`connection`), fetch sessions (`fetch`), requests whose records
//! are sent from where they lie (`produce`), encryption and authentication (`security`).

mod access;
mod admin;
mod api;
mod backoff;
mod channel;
mod client;
mod config;
mod connect;
mod connection;
mod error;
mod error_code;
mod fetch;
mod frame;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod properties;
mod security;
#[cfg(test)]
mod testing;

pub use admin::{ConfigEntry, CreatedTopic, NewTopic};
pub use backoff::Backoff;
pub use client::Client;
pub use config::ClientConfig;
pub use connect::{Address, AddressFamily, Connect, ConnectError, Stream, TcpConnect, TlsPeer};
pub use error::{BrokerName, Error};
pub use error_code::ErrorCode;
pub use fetch::{
    AbortedTransaction, FetchAssignment, FetchOptions, FetchResponse, Fetcher, PartitionFetch,
};
pub use groups::{CommittedOffset, GroupListing, GroupMember, GroupState, OffsetToCommit};
pub use metadata::{Broker, Metadata, PartitionMetadata, TopicFilter, TopicMetadata};
pub use offsets::{EpochEnd, EpochQuery, OffsetInfo, OffsetSpec};
pub use produce::{PendingProduce, ProduceAck, ProduceBatch, ProduceConnection, ProduceOptions};
pub use producers::ProducerState;
pub use properties::{PropertyError, is_secret};
pub use security::{Resource, Sasl, SecretError, SecretValue, TlsConnect};
