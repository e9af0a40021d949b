//! Decompressing a batch into a reusable buffer, and what keeps a small batch from filling the memory.

use crate::codec::{CodecError, Decompressor};
use crate::header::HEADER_LEN;
use crate::{Batch, BatchError, Compression, Records};

/// What batches are decompressed into. Reuse one: it keeps its memory and the codecs' contexts.
///
/// A batch of a few KB can be compressed from gigabytes. The buffer grows only as decompressed bytes really come, and never beyond
/// its limit; a batch that holds more is an error. Batches that are not compressed do not use the buffer at all.
#[derive(Debug)]
pub struct DecodeBuffer {
    bytes: Buffer,
    decompressor: Decompressor,
}

impl DecodeBuffer {
    /// The limit of a buffer that none was given for: 256 MiB. Kafka's default for a batch is 1 MiB compressed.
    pub const DEFAULT_LIMIT: usize = 256 << 20;

    /// A buffer with [`DecodeBuffer::DEFAULT_LIMIT`].
    pub fn new() -> DecodeBuffer {
        DecodeBuffer::with_limit(DecodeBuffer::DEFAULT_LIMIT)
    }

    /// A buffer that never holds more than `limit` bytes.
    pub fn with_limit(limit: usize) -> DecodeBuffer {
        DecodeBuffer {
            bytes: Buffer {
                bytes: Vec::new(),
                limit,
            },
            decompressor: Decompressor::default(),
        }
    }

    /// How many bytes of memory the buffer holds at present.
    pub fn capacity(&self) -> usize {
        self.bytes.bytes.capacity()
    }
}

impl Default for DecodeBuffer {
    fn default() -> Self {
        DecodeBuffer::new()
    }
}

impl<'a> Batch<'a> {
    /// The batch's records, decompressed into `scratch` if they are compressed. Does not check the CRC.
    ///
    /// # Errors
    /// If the codec is not known, the compressed data is damaged, or it holds more than `scratch` may.
    /// That the records are what the header promises is checked while they are iterated.
    pub fn decode<'s>(&self, scratch: &'s mut DecodeBuffer) -> Result<Records<'s>, BatchError>
    where
        'a: 's,
    {
        let header = *self.header();
        let codec = header.attributes.compression()?;
        let payload = &self.bytes()[HEADER_LEN..];
        // Batches that compaction emptied keep the codec of what they held, but nothing was compressed.
        if codec == Compression::None || payload.is_empty() {
            return Ok(Records::new(header, payload));
        }
        let DecodeBuffer {
            bytes,
            decompressor,
        } = scratch;
        match decompressor.decompress(codec, payload, bytes) {
            Ok(len) => Ok(Records::new(header, &bytes.bytes[..len])),
            Err(CodecError::TooLarge) => Err(BatchError::TooLarge {
                base_offset: header.base_offset,
                codec,
                limit: bytes.limit,
            }),
            Err(CodecError::Damaged(reason)) => Err(BatchError::Compressed {
                base_offset: header.base_offset,
                codec,
                reason,
            }),
        }
    }
}

/// Bytes that grow up to a limit. All of them are initialised, so that they can be handed to codecs as they are.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    limit: usize,
}

impl Buffer {
    const FIRST_SIZE: usize = 64 << 10;

    /// All bytes there are at present.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Makes sure that there are at least `len` bytes.
    pub(crate) fn grow_to(&mut self, len: usize) -> Result<(), CodecError> {
        if len <= self.bytes.len() {
            return Ok(());
        }
        if len > self.limit {
            return Err(CodecError::TooLarge);
        }
        // Double at least, so that growing step by step does not copy over and over.
        let target = len
            .max(Self::FIRST_SIZE)
            .max(self.bytes.len().saturating_mul(2))
            .min(self.limit);
        self.resize(target);
        Ok(())
    }

    /// Takes all the bytes that the limit allows.
    pub(crate) fn grow_to_limit(&mut self) {
        if !self.is_at_limit() {
            self.resize(self.limit);
        }
    }

    fn resize(&mut self, len: usize) {
        // A vector that grows by itself may take twice as much.
        self.bytes.reserve_exact(len - self.bytes.len());
        self.bytes.resize(len, 0);
    }

    /// Whether the buffer has all the bytes that it may have.
    pub(crate) fn is_at_limit(&self) -> bool {
        self.bytes.len() >= self.limit
    }
}
