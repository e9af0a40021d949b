//! What lies in a storage: layout, segments, manifests, commit, read, verify.
//!
//! An archive keeps the RecordBatch v2 bytes that a Kafka broker sent, in files that Kafka's own
//! `kafka-dump-log` reads. Each partition has a chain of *manifests*: small JSON documents that say which
//! offsets lie in which *segment*, and which are missing and why. Creating a manifest **is** the commit; it
//! is created if absent, so two writers cannot both commit one stretch. `docs/archive-format.md` describes
//! every file well enough to write another reader.
//!
//! Writing: [`Archive::create_or_open`], [`Archive::genesis`], then a [`PartitionWriter`] for each partition:
//! `append` batches, record `gap`s, `flush` now and then, `seal` a segment and [`Chain::commit`] it.
//! Reading: [`Archive::open`], [`Archive::topics`], [`Archive::history`], [`SegmentReader`].
//! [`Archive::verify`] checks everything, [`Journal`] keeps what a restore must remember. [`Archive::expire`] and
//! [`Archive::plan_prune`] take away what is no longer wanted.
//!
//! The crate knows no Kafka connection. It works on a folder (appending to open segments, with fsync and
//! recovery) and on any `object_store` backend with conditional writes (a segment is in memory until it is
//! committed).

mod archive;
mod catalog;
mod chain;
mod codec;
pub mod conformance;
mod dead_letters;
mod epochs;
mod error;
mod gaps;
mod generations;
mod groups;
mod heads;
mod history;
mod journal;
mod layout;
mod lineage;
mod location;
mod manifest;
mod names;
mod prune;
mod reader;
mod retention;
mod sealed;
mod storage;
mod tail;
mod verify;
mod writer;

pub use archive::Archive;
pub use catalog::{Genesis, GenesisInfo, IncarnationEntry, TopicEntry, TopicSnapshot};
pub use chain::{Chain, Committed};
pub use codec::Codec;
pub use dead_letters::{ClockType, DeadLetter, DeadLetterStore, DeadLetters, LetterHeader};
pub use epochs::ArchivedEpochEnd;
pub use error::{ArchiveError, Damage};
pub use gaps::{Gap, GapCause, Gaps};
pub use generations::Share;
pub use groups::{GroupOffset, GroupOffsets, GroupsSnapshot};
pub use heads::ChainEnd;
pub use history::{HistoryPart, MissingSegment};
pub use journal::{Journal, JournalReader};
pub use lineage::{Fork, LineageEntry};
pub use location::{AzureOptions, GcsOptions, Location, S3Options, StorageSecret};
pub use manifest::{EpochStart, IndexEntry, Manifest, Segment, Timestamps};
pub use names::{PartitionKey, TopicId, TopicKey, WriterIdentity};
pub use prune::{
    Expired, Kept, PruneAction, PruneKind, PruneOutcome, PrunePlan, PruneReason, PruneRequest,
    Pruned,
};
pub use reader::SegmentReader;
pub use retention::Retention;
pub use sealed::FORMAT;
pub use verify::{
    ChainSurvey, Depth, Finding, FindingKind, IncarnationSurvey, Progress, Severity, VerifyOptions,
    VerifyReport, VerifyState,
};
pub use writer::{PartitionWriter, SealedSegment, WriterOptions};
