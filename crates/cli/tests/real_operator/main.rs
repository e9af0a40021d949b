//! The operator on a real cluster, installed by the chart, with Apache Kafka beside it.
#![cfg(feature = "real")]

mod documented;
mod installed;
mod quiet;
mod troubles;
mod workers;
