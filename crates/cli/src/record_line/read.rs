//! Lines of JSON back to records. Everything may be left out; a field that is not known is an error.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::{CREATE_TIME, LOG_APPEND_TIME, OwnedHeader};

/// A line as it was read. The outer `None` is a field that is not there.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReadLine {
    #[serde(default)]
    pub(crate) topic: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) partition: Option<Option<i32>>,
    #[serde(default)]
    pub(crate) offset: Option<i64>,
    #[serde(default)]
    pub(crate) timestamp: Option<i64>,
    #[serde(default, deserialize_with = "timestamp_type")]
    pub(crate) timestamp_type: Option<String>,
    #[serde(default, deserialize_with = "optional_bytes")]
    pub(crate) key: Option<Option<Vec<u8>>>,
    #[serde(default, deserialize_with = "optional_bytes")]
    pub(crate) value: Option<Option<Vec<u8>>>,
    #[serde(default, deserialize_with = "headers")]
    pub(crate) headers: Option<Vec<OwnedHeader>>,
    /// What came of a record: only in lines that `armory plugin test` prints or compares with.
    #[serde(default)]
    pub(crate) outcome: Option<String>,
    /// What a plugin said of a record, as [`Self::outcome`].
    #[serde(default)]
    pub(crate) message: Option<String>,
}

/// Reads lines; empty ones are passed over. An error names the line.
pub(crate) fn read_lines(text: &str) -> Result<Vec<ReadLine>, String> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", index + 1))
        })
        .collect()
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<i32>>, D::Error> {
    Option::deserialize(from).map(Some)
}

fn timestamp_type<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(from)?;
    if [CREATE_TIME, LOG_APPEND_TIME].contains(&name.as_str()) {
        return Ok(Some(name));
    }
    Err(D::Error::custom(format!(
        "unknown timestampType {name:?}, expected {CREATE_TIME} or {LOG_APPEND_TIME}"
    )))
}

fn optional_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Vec<u8>>>, D::Error> {
    let bytes = Option::<Bytes>::deserialize(from)?;
    Ok(Some(bytes.map(|bytes| bytes.0)))
}

fn headers<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<OwnedHeader>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Header {
        key: Bytes,
        value: Option<Bytes>,
    }
    let headers = Vec::<Header>::deserialize(from)?;
    let owned = |header: Header| (header.key.0, header.value.map(|bytes| bytes.0));
    Ok(Some(headers.into_iter().map(owned).collect()))
}

/// A string, or `{"base64": "…"}`.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct BytesVisitor;

        impl<'de> Visitor<'de> for BytesVisitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or {\"base64\": \"…\"}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                Ok(Bytes(text.as_bytes().to_vec()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bytes, A::Error> {
                let Some((name, text)) = map.next_entry::<String, String>()? else {
                    return Err(A::Error::missing_field("base64"));
                };
                if name != "base64" {
                    return Err(A::Error::unknown_field(&name, &["base64"]));
                }
                if let Some((more, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                    return Err(A::Error::unknown_field(&more, &["base64"]));
                }
                let bytes = STANDARD.decode(&text);
                bytes.map(Bytes).map_err(|error| {
                    A::Error::custom(format!("{text:?} is not base64 with padding: {error}"))
                })
            }
        }

        from.deserialize_any(BytesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Data, Headers, RecordLine};
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes: [Option<&[u8]>; 4] = [None, Some(b""), Some("grüße".as_bytes()), Some(&[0xff])];
        let headers: Vec<OwnedHeader> = vec![
            (b"a".to_vec(), None),
            (b"a".to_vec(), Some(vec![0xff])),
            (vec![0xfe], Some(Vec::new())),
        ];
        for (key, value) in bytes
            .iter()
            .flat_map(|key| bytes.map(|value| (*key, value)))
        {
            for partition in [None, Some(3)] {
                let line = RecordLine {
                    topic: "orders",
                    partition,
                    offset: 7,
                    timestamp: -1,
                    timestamp_type: LOG_APPEND_TIME,
                    key: Data(key),
                    value: Data(value),
                    headers: Headers::Owned(&headers),
                };
                let text = serde_json::to_string(&line).unwrap();
                let expected = ReadLine {
                    topic: Some("orders".to_owned()),
                    partition: Some(partition),
                    offset: Some(7),
                    timestamp: Some(-1),
                    timestamp_type: Some(LOG_APPEND_TIME.to_owned()),
                    key: Some(key.map(<[u8]>::to_vec)),
                    value: Some(value.map(<[u8]>::to_vec)),
                    headers: Some(headers.clone()),
                    ..ReadLine::default()
                };
                assert_eq!(read_lines(&text), Ok(vec![expected]), "{text}");
            }
        }
    }

    #[test]
    fn what_is_left_out_is_told_from_null() {
        assert_eq!(read_lines("{}\n\n"), Ok(vec![ReadLine::default()]));
        let read = read_lines(r#"{"key":null}"#).unwrap();
        assert_eq!((&read[0].key, &read[0].value), (&Some(None), &None));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, expected) in [
            ("{}\n{\"vlaue\":1}", "line 2: unknown field `vlaue`"),
            ("x", "line 1: expected value"),
            (
                "{\"key\":1}",
                "line 1: invalid type: integer `1`, expected a string, or {\"base64\"",
            ),
            (
                "{\"key\":{\"base64\":\"/wA\"}}",
                "line 1: \"/wA\" is not base64 with padding",
            ),
            (
                "{\"key\":{\"hex\":\"00\"}}",
                "line 1: unknown field `hex`, expected `base64`",
            ),
            (
                "{\"timestampType\":\"now\"}",
                "line 1: unknown timestampType \"now\"",
            ),
            (
                "{\"headers\":[{\"value\":null}]}",
                "line 1: missing field `key`",
            ),
        ] {
            let error = read_lines(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
