//! Borrowed views of a batch's records.

use std::fmt;

use crate::varint::{take_varint, take_varlong};
use crate::{BatchError, BatchHeader, TimestampType};

/// The fewest bytes that a record can have: seven fields of one byte.
const SHORTEST_RECORD: usize = 7;

/// One record of a batch. The bytes are those of the batch or of the buffer that it was decompressed into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record<'s> {
    /// The record's offset in its partition.
    pub offset: i64,
    /// The record's offset as a distance from the batch's base offset. Not negative.
    pub offset_delta: i32,
    /// The record's timestamp in ms since 1970; −1 if it has none. With LogAppendTime this is the batch's.
    pub timestamp: i64,
    /// The record's attributes, which Kafka does not use yet.
    pub attributes: i8,
    /// The key; `None` (null) and empty are two things.
    pub key: Option<&'s [u8]>,
    /// The value; `None` (null: a tombstone) and empty are two things.
    pub value: Option<&'s [u8]>,
    /// The headers.
    pub headers: Headers<'s>,
}

/// A record's headers, in their order and with duplicates.
#[derive(Clone, Copy, Default)]
pub struct Headers<'s> {
    count: usize,
    bytes: &'s [u8],
}

impl<'s> Headers<'s> {
    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers: key, and value or null.
    pub fn iter(&self) -> HeadersIter<'s> {
        HeadersIter {
            remaining: self.count,
            bytes: self.bytes,
        }
    }

    /// The headers as they stand in the batch, without their count.
    pub fn bytes(&self) -> &'s [u8] {
        self.bytes
    }

    /// Takes the headers, which are all that `bytes` holds.
    fn parse(mut bytes: &'s [u8]) -> Result<Headers<'s>, &'static str> {
        let count = take_varint(&mut bytes).ok_or("its header count is cut off")?;
        let count = usize::try_from(count).map_err(|_| "its header count is negative")?;
        let mut rest = bytes;
        for _ in 0..count {
            take_header(&mut rest)?;
        }
        if !rest.is_empty() {
            return Err("bytes follow its last header");
        }
        Ok(Headers { count, bytes })
    }
}

impl PartialEq for Headers<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl<'s> IntoIterator for Headers<'s> {
    type Item = (&'s [u8], Option<&'s [u8]>);
    type IntoIter = HeadersIter<'s>;

    fn into_iter(self) -> HeadersIter<'s> {
        self.iter()
    }
}

/// Iterator over the key and value of each header, see [`Headers::iter`].
#[derive(Clone, Debug)]
pub struct HeadersIter<'s> {
    remaining: usize,
    bytes: &'s [u8],
}

impl<'s> Iterator for HeadersIter<'s> {
    type Item = (&'s [u8], Option<&'s [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        let header = take_header(&mut self.bytes);
        debug_assert!(
            header.is_ok(),
            "headers are checked when their record is read"
        );
        header.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for HeadersIter<'_> {}

#[inline]
fn take_header<'s>(bytes: &mut &'s [u8]) -> Result<(&'s [u8], Option<&'s [u8]>), &'static str> {
    let key = take_nullable(bytes).ok_or("a header's key is cut off")?;
    let key = key.ok_or("a header has no key")?;
    let value = take_nullable(bytes).ok_or("a header's value is cut off")?;
    Ok((key, value))
}

/// Takes a length and that many bytes. A negative length, whichever, is null, as for Kafka's reader.
/// The outer `None`: the bytes end before.
#[inline]
fn take_nullable<'s>(bytes: &mut &'s [u8]) -> Option<Option<&'s [u8]>> {
    let len = take_varint(bytes)?;
    let Ok(len) = usize::try_from(len) else {
        return Some(None);
    };
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(Some(taken))
}

/// The records of a batch, in their order.
///
/// It ends with an error where the batch does not hold exactly the records that its header promises: as many, with
/// offsets that ascend and lie within what the batch covers, and nothing behind them.
#[derive(Clone, Debug)]
pub struct Records<'s> {
    /// What follows the records that were handed out.
    bytes: &'s [u8],
    header: BatchHeader,
    /// How many records were handed out.
    index: i32,
    /// The delta that the next record's must not be below.
    least_delta: i64,
    ended: bool,
}

impl<'s> Records<'s> {
    pub(crate) fn new(header: BatchHeader, bytes: &'s [u8]) -> Records<'s> {
        Records {
            bytes,
            header,
            index: 0,
            least_delta: 0,
            ended: false,
        }
    }

    #[inline]
    fn take_record(&mut self) -> Result<Record<'s>, &'static str> {
        let len = take_varint(&mut self.bytes).ok_or("its length is cut off")?;
        let len = usize::try_from(len).map_err(|_| "its length is negative")?;
        let (mut rest, following) = self
            .bytes
            .split_at_checked(len)
            .ok_or("it is longer than the batch")?;
        self.bytes = following;

        let (&attributes, after_attributes) =
            rest.split_first().ok_or("its attributes are cut off")?;
        rest = after_attributes;
        let timestamp_delta = take_varlong(&mut rest).ok_or("its timestamp is cut off")?;
        let offset_delta = take_varint(&mut rest).ok_or("its offset is cut off")?;
        let key = take_nullable(&mut rest).ok_or("its key is cut off")?;
        let value = take_nullable(&mut rest).ok_or("its value is cut off")?;
        let headers = Headers::parse(rest)?;

        if i64::from(offset_delta) < self.least_delta {
            return Err("its offset does not follow the one before");
        }
        if offset_delta > self.header.last_offset_delta {
            return Err("its offset lies behind the last one of the batch");
        }
        self.least_delta = i64::from(offset_delta) + 1;
        let timestamp = match self.header.attributes.timestamp_type() {
            // Kafka's reader wraps around too.
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        Ok(Record {
            offset: self.header.base_offset + i64::from(offset_delta),
            offset_delta,
            timestamp,
            attributes: attributes as i8,
            key,
            value,
            headers,
        })
    }
}

impl<'s> Iterator for Records<'s> {
    type Item = Result<Record<'s>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let base_offset = self.header.base_offset;
        if self.index == self.header.record_count {
            self.ended = true;
            let surplus = self.bytes.len();
            let expected = self.header.record_count;
            return (surplus > 0).then_some(Err(BatchError::Surplus {
                base_offset,
                expected,
                surplus,
            }));
        }
        let index = self.index;
        match self.take_record() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                self.ended = true;
                Some(Err(BatchError::Record {
                    base_offset,
                    index,
                    reason,
                }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // The count is not to be trusted: promise no more than the bytes can hold (one more for an error).
        let promised = (self.header.record_count - self.index) as usize;
        (
            0,
            Some(promised.min(self.bytes.len() / SHORTEST_RECORD) + 1),
        )
    }
}

impl std::iter::FusedIterator for Records<'_> {}
