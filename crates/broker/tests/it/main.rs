//! The broker as its clients see it: over a socket, with `kafka-protocol`'s messages.
//!
//! The scripts in [`scripts`] are the heart of it. Each plays a sequence of requests and writes down the answers; what
//! Apache Kafka answered is kept under `tests/transcripts`, and this broker must answer the same. With the feature
//! `real` they are played to Apache Kafka as well, and its Java clients work with this broker.

mod batches;
mod polling;
#[cfg(feature = "real")]
mod real;
mod scripts;
mod steering;
mod transcripts;
mod versions;
mod wire;
