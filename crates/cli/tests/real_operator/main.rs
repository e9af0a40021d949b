//! The operator on a real cluster, installed by the chart, with Apache Kafka beside it.
#![cfg(feature = "real")]

mod deletion;
mod documented;
mod guides;
mod installed;
mod killed;
mod mended;
mod middle;
mod quiet;
mod rights;
mod secrets;
mod slow;
mod snapshots;
mod states;
mod troubles;
mod workers;
