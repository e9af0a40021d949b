//! The operator on a real cluster, installed by the chart, with Apache Kafka beside it.
#![cfg(feature = "real")]

mod documented;
mod guides;
mod installed;
mod quiet;
mod rights;
mod troubles;
mod workers;
