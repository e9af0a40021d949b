//! The two pipelines of Armory.
//!
//! A [`backup`] fetches record batches from the leaders of a cluster, checks them, passes them through the plugins of
//! their topic if there are any, and appends them to an archive. A [`restore`] reads an archive, passes the records
//! through the plugins, and produces them to a cluster so that every record lands exactly once. Both take a job from
//! `armory_resources`, report to an [`Observer`], and end when their work is done or their token is cancelled.
//!
//! This is the only crate that knows Kafka, the archive and the plugins at once.

pub mod backup;
mod budget;
mod cluster;
mod error;
pub mod groups;
mod observer;
mod plugins;
pub mod restore;
mod storage;

pub use error::{EngineError, Outlook};
pub use observer::{
    BackupDetails, BackupProgress, Level, NoObserver, Observer, PartitionDetails, PluginProgress,
    Remark, RestoreProgress,
};
pub use storage::location;
