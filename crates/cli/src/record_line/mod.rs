//! A record as one line of JSON, written and read. `docs/guide/records.md` is the definition.

mod read;

pub(crate) use read::{ReadLine, read_lines};

use armory_records::{Record, TimestampType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// A record with where it comes from.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecordLine<'a> {
    pub(crate) topic: &'a str,
    /// `None` where a plugin leaves the choice to the partitioner.
    pub(crate) partition: Option<i32>,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) timestamp_type: &'static str,
    pub(crate) key: Data<'a>,
    pub(crate) value: Data<'a>,
    pub(crate) headers: Headers<'a>,
}

pub(crate) const CREATE_TIME: &str = "createTime";
pub(crate) const LOG_APPEND_TIME: &str = "logAppendTime";

impl<'a> RecordLine<'a> {
    pub(crate) fn new(
        topic: &'a str,
        partition: i32,
        timestamp_type: TimestampType,
        record: &Record<'a>,
    ) -> Self {
        RecordLine {
            topic,
            partition: Some(partition),
            offset: record.offset,
            timestamp: record.timestamp,
            timestamp_type: match timestamp_type {
                TimestampType::CreateTime => CREATE_TIME,
                TimestampType::LogAppendTime => LOG_APPEND_TIME,
            },
            key: Data(record.key),
            value: Data(record.value),
            headers: Headers::Encoded(record.headers),
        }
    }
}

/// Bytes: `null` where there are none, a string where they are UTF-8, else `{"base64": "…"}`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Data<'a>(pub(crate) Option<&'a [u8]>);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Some(bytes) = self.0 else {
            return to.serialize_none();
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => to.serialize_str(text),
            Err(_) => {
                let mut map = to.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(bytes))?;
                map.end()
            }
        }
    }
}

/// A list, because order and repetition count.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Headers<'a> {
    /// As they lie in a batch.
    Encoded(armory_records::Headers<'a>),
    /// As they came out of a plugin.
    Owned(&'a [OwnedHeader]),
}

/// Key and value of a header.
pub(crate) type OwnedHeader = (Vec<u8>, Option<Vec<u8>>);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Headers::Encoded(headers) => to.collect_seq(headers.iter().map(Header::from)),
            Headers::Owned(headers) => to.collect_seq(
                headers
                    .iter()
                    .map(|(key, value)| Header::from((key.as_slice(), value.as_deref()))),
            ),
        }
    }
}

#[derive(serde::Serialize)]
struct Header<'a> {
    key: Data<'a>,
    value: Data<'a>,
}

impl<'a> From<(&'a [u8], Option<&'a [u8]>)> for Header<'a> {
    fn from((key, value): (&'a [u8], Option<&'a [u8]>)) -> Self {
        Header {
            key: Data(Some(key)),
            value: Data(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_apart() {
        let json = |bytes: Option<&[u8]>| serde_json::to_string(&Data(bytes)).unwrap();
        assert_eq!(json(None), "null");
        assert_eq!(json(Some(b"")), r#""""#);
        assert_eq!(json(Some("grüße".as_bytes())), r#""grüße""#);
        assert_eq!(json(Some(b"null")), r#""null""#);
        assert_eq!(json(Some(&[0xff, 0x00])), r#"{"base64":"/wA="}"#);
    }
}
