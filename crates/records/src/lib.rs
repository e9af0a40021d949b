//! Kafka's RecordBatch v2 as bytes, without any I/O.
//!
//! Armory archives the batches that a broker sent exactly as they came, so most of the program only ever looks at a
//! batch's 61-byte header. [`Batches`] walks a run of batches (a Fetch answer, a segment), [`Batch`] is one of them with
//! its checksum, and [`BatchHeader`] says which offsets, timestamps and producer it covers. Only where records must
//! be looked at does [`Batch::decode`] decompress into a reusable, bounded [`DecodeBuffer`] and hand out borrowed
//! [`Record`]s; [`BatchBuilder`] writes batches the way Kafka's own client does.
//!
//! Sending archived batches to a broker again has rules of its own (the `produce` module): [`produce_form`] tells
//! whether a new header is enough ([`rewrite_for_produce`]) or the records have to be encoded again
//! ([`encode_for_produce`]), and [`ProduceBuilder`] merges small batches.
//!
//! Everything here takes untrusted bytes: whatever they are, the answer is a value or a [`BatchError`], never a panic,
//! and no length field makes anything be allocated before the bytes behind it were seen.
//!
//! ```
//! use armory_records::{BatchBuilder, BatchOptions, Batches, Compression, DecodeBuffer};
//!
//! let mut builder = BatchBuilder::new(BatchOptions { compression: Compression::Zstd, ..Default::default() });
//! builder.append(0, 1_700_000_000_000, Some(b"key"), None, [(&b"trace"[..], Some(&b"1"[..]))]);
//! let mut bytes = Vec::new();
//! builder.finish(&mut bytes)?;
//!
//! let mut scratch = DecodeBuffer::new();
//! for batch in Batches::new(&bytes) {
//!     let batch = batch?;
//!     batch.verify_crc()?;
//!     for record in batch.decode(&mut scratch)? {
//!         assert_eq!(record?.key, Some(&b"key"[..]));
//!     }
//! }
//! # Ok::<(), armory_records::BatchError>(())
//! ```
//!
//! The format: <https://kafka.apache.org/documentation/#recordbatch>, KIP-98,
//! `DefaultRecordBatch` and `DefaultRecord` of Kafka's clients.

mod attributes;
mod batch;
mod builder;
mod codec;
mod crc;
mod decode;
mod error;
mod header;
mod produce;
mod produce_builder;
mod record;
mod varint;

pub use attributes::{Attributes, Compression, TimestampType};
pub use batch::{Batch, Batches};
pub use builder::{BatchBuilder, BatchOptions};
pub use decode::DecodeBuffer;
pub use error::BatchError;
pub use header::{BatchHeader, HEADER_LEN, LOG_OVERHEAD};
pub use produce::{
    EncodeReason, ProduceForm, WithheldReason, next_sequence, produce_form, rewrite_for_produce,
};
pub use produce_builder::{ProduceBuilder, encode_for_produce};
pub use record::{Headers, HeadersIter, Record, Records};
