//! One batch, and runs of batches.

use crate::crc::crc32c;
use crate::header::CHECKED_FROM;
use crate::{BatchError, BatchHeader};

/// One whole batch: its header and its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Takes the first batch of `bytes`. Its checksum is not checked: that is [`Batch::verify_crc`].
    ///
    /// # Errors
    /// As [`BatchHeader::parse`], and [`BatchError::Truncated`] if the batch is longer than `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Batch<'a>, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        match bytes.get(..header.size()) {
            Some(bytes) => Ok(Batch { header, bytes }),
            None => Err(BatchError::Truncated {
                needed: header.size(),
                available: bytes.len(),
            }),
        }
    }

    /// The batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The batch's bytes, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Checks the CRC32C, which covers everything but the first 21 bytes.
    ///
    /// # Errors
    /// [`BatchError::Checksum`] if it does not fit.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c(&self.bytes[CHECKED_FROM..]);
        if computed == self.header.crc {
            return Ok(());
        }
        Err(BatchError::Checksum {
            base_offset: self.header.base_offset,
            stored: self.header.crc,
            computed,
        })
    }
}

/// The batches of a run of bytes, one after the other.
///
/// A batch that is cut off at the end ends the iteration without an error, for that is how a broker fills a
/// Fetch answer. An error ends it too.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    consumed: usize,
    ended: bool,
}

impl<'a> Batches<'a> {
    /// The batches of `bytes`, which begin with a batch's first byte.
    pub fn new(bytes: &'a [u8]) -> Batches<'a> {
        Batches {
            bytes,
            consumed: 0,
            ended: false,
        }
    }

    /// How many bytes the batches have that were handed out so far.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// The bytes after the batches that were handed out so far.
    pub fn remainder(&self) -> &'a [u8] {
        &self.bytes[self.consumed..]
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match Batch::parse(self.remainder()) {
            Ok(batch) => {
                self.consumed += batch.bytes.len();
                Some(Ok(batch))
            }
            Err(BatchError::Truncated { .. }) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Batches<'_> {}
