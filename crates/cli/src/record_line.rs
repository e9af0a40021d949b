//! A record as one line of JSON. `docs/guide/records.md` is the definition.

use armory_records::{Record, TimestampType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

/// A record with where it comes from.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecordLine<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    timestamp_type: &'static str,
    key: Data<'a>,
    value: Data<'a>,
    headers: Headers<'a>,
}

impl<'a> RecordLine<'a> {
    pub(crate) fn new(
        topic: &'a str,
        partition: i32,
        timestamp_type: TimestampType,
        record: &Record<'a>,
    ) -> Self {
        RecordLine {
            topic,
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            timestamp_type: match timestamp_type {
                TimestampType::CreateTime => "createTime",
                TimestampType::LogAppendTime => "logAppendTime",
            },
            key: Data(record.key),
            value: Data(record.value),
            headers: Headers(record.headers),
        }
    }
}

/// Bytes: `null` where there are none, a string where they are UTF-8, else `{"base64": "…"}`.
#[derive(Debug, Clone, Copy)]
struct Data<'a>(Option<&'a [u8]>);

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
struct Headers<'a>(armory_records::Headers<'a>);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Header<'a> {
            key: Data<'a>,
            value: Data<'a>,
        }
        let mut list = to.serialize_seq(Some(self.0.len()))?;
        for (key, value) in self.0.iter() {
            list.serialize_element(&Header {
                key: Data(Some(key)),
                value: Data(value),
            })?;
        }
        list.end()
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
