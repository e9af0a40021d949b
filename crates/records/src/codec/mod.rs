//! The codecs that batches are compressed with, each in the framing that Kafka's Java client writes
//! (`org.apache.kafka.common.compress`) and in those that other clients write.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use crate::Compression;
use crate::decode::Buffer;

/// Why compressed bytes could not be decompressed.
#[derive(Debug)]
pub(crate) enum CodecError {
    /// They are not what the codec prescribes.
    Damaged(String),
    /// The result does not fit into the buffer's limit.
    TooLarge,
}

impl CodecError {
    fn damaged(reason: impl Into<String>) -> CodecError {
        CodecError::Damaged(reason.into())
    }
}

/// The contexts of the codecs, kept from batch to batch.
#[derive(Default)]
pub(crate) struct Decompressor {
    zstd: zstd::Decompressor,
}

impl Decompressor {
    /// Decompresses `payload` into the beginning of `out` and tells how many bytes it gave.
    pub(crate) fn decompress(
        &mut self,
        codec: Compression,
        payload: &[u8],
        out: &mut Buffer,
    ) -> Result<usize, CodecError> {
        match codec {
            Compression::None => {
                out.grow_to(payload.len())?;
                out.bytes()[..payload.len()].copy_from_slice(payload);
                Ok(payload.len())
            }
            Compression::Gzip => gzip::decompress(payload, out),
            Compression::Snappy => snappy::decompress(payload, out),
            Compression::Lz4 => lz4::decompress(payload, out),
            Compression::Zstd => self.zstd.decompress(payload, out),
        }
    }
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Decompressor")
            .finish_non_exhaustive()
    }
}

/// The level asked for is not one that the codec has; says what may be given.
#[derive(Debug)]
pub(crate) struct NoSuchLevel(pub(crate) &'static str);

/// The contexts of the codecs, kept from batch to batch.
#[derive(Default)]
pub(crate) struct Compressor {
    snappy: snappy::Compressor,
    lz4: lz4::Compressor,
    zstd: zstd::Compressor,
}

impl Compressor {
    /// Appends `records` to `out`, compressed.
    pub(crate) fn compress(
        &mut self,
        codec: Compression,
        level: Option<i32>,
        records: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), NoSuchLevel> {
        match codec {
            Compression::None => {
                no_level(level, "leave the level out")?;
                out.extend_from_slice(records);
            }
            Compression::Gzip => gzip::compress(level, records, out)?,
            Compression::Snappy => {
                no_level(level, "leave the level out")?;
                self.snappy.compress(records, out);
            }
            Compression::Lz4 => {
                no_level(level, "leave the level out: there is only one here")?;
                self.lz4.compress(records, out);
            }
            Compression::Zstd => self.zstd.compress(level, records, out)?,
        }
        Ok(())
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Compressor").finish_non_exhaustive()
    }
}

fn no_level(level: Option<i32>, remedy: &'static str) -> Result<(), NoSuchLevel> {
    match level {
        None => Ok(()),
        Some(_) => Err(NoSuchLevel(remedy)),
    }
}

/// The most bytes that [`Compressor::compress`] appends for `len` bytes of records.
pub(crate) fn compressed_bound(codec: Compression, len: usize) -> usize {
    match codec {
        Compression::None => len,
        Compression::Gzip => gzip::bound(len),
        Compression::Snappy => snappy::bound(len),
        Compression::Lz4 => lz4::bound(len),
        Compression::Zstd => zstd::bound(len),
    }
}
