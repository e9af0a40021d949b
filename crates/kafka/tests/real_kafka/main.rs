//! The crate against Apache Kafka.
#![cfg(feature = "real")]

mod admin;
mod faults;
mod fetch;
mod produce;
mod raw;
mod setup;
mod transactions;
