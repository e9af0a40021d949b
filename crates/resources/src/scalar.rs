//! The small values of resources: sizes, durations, times, bounded numbers, names.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::{Value as Json, json};

use crate::decode::{Decode, Place};
use crate::node::{Node, Value};

/// A whole number within bounds, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const MIN: i64, const MAX: i64>(pub i64);

/// An offset: a number from 0 on.
pub type Offset = Whole<0, { i64::MAX }>;
/// A partition's number.
pub type PartitionNumber = Whole<0, { i32::MAX as i64 }>;

impl<const MIN: i64, const MAX: i64> Default for Whole<MIN, MAX> {
    fn default() -> Self {
        Whole(MIN)
    }
}

impl<const MIN: i64, const MAX: i64> Decode for Whole<MIN, MAX> {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let Value::Integer(number) = node.value else {
            at.expected("a whole number", node);
            return Self::default();
        };
        match i64::try_from(number) {
            Ok(number) if (MIN..=MAX).contains(&number) => Whole(number),
            _ => {
                at.problem(match MAX {
                    i64::MAX => format!("{number} is too small, it must be at least {MIN}"),
                    _ => format!("{number} is out of range, it must be {MIN} to {MAX}"),
                });
                Self::default()
            }
        }
    }

    fn schema() -> Json {
        let mut schema = json!({ "type": "integer", "format": "int64", "minimum": MIN });
        if MAX < i64::MAX {
            schema["maximum"] = MAX.into();
        }
        schema
    }
}

/// A number of bytes, written as a number or as a text like `10 MiB`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// The same as a quantity of Kubernetes, with the largest unit that leaves a whole number: `10Gi`.
    pub fn quantity(self) -> String {
        let units = ["Ei", "Pi", "Ti", "Gi", "Mi", "Ki"];
        let shifts = [60, 50, 40, 30, 20, 10];
        let whole = |shift: u32| self.0 > 0 && self.0.trailing_zeros() >= shift;
        match units.iter().zip(shifts).find(|(_, shift)| whole(*shift)) {
            Some((unit, shift)) => format!("{}{unit}", self.0 >> shift),
            None => self.0.to_string(),
        }
    }
}

/// Reads a size like `10 MiB`, `25MB`, `1Gi` or `4096`: binary units have an `i`, others are decimal.
pub fn parse_size(text: &str) -> Result<u64, String> {
    text.trim()
        .parse::<ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("{text:?} is not a size, write a number of bytes or one like 10 MiB"))
}

impl Decode for Size {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let size = match &node.value {
            Value::Integer(number) => u64::try_from(*number)
                .map_err(|_| format!("{number} is not a size, it must be at least 0")),
            Value::Text(text) => parse_size(text),
            _ => {
                at.expected("a size like 10 MiB", node);
                return Size::default();
            }
        };
        match size {
            Ok(size) => Size(size),
            Err(message) => {
                at.problem(message);
                Size::default()
            }
        }
    }

    fn schema() -> Json {
        json!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "pattern": r"^\s*\+?[0-9.]+\s*([kKmMgGtTpPeE]?[iI]?[bB]?)\s*$",
        })
    }
}

/// A length of time that is not zero, written as a text like `15s` or `1m30s`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interval(pub Duration);

/// Reads a duration: numbers with the units `ns`, `us`, `ms`, `s`, `m`, `h`, `d`, `w` (7 days) and `y` (365 days), one
/// after another without spaces.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration, write one like 30d or 1m30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .bytes()
            .take_while(|byte| !byte.is_ascii_digit())
            .count();
        let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
        let part = match &rest[..letters] {
            "ns" => Some(Duration::from_nanos(number)),
            "us" => Some(Duration::from_micros(number)),
            "ms" => Some(Duration::from_millis(number)),
            "s" => seconds(1),
            "m" => seconds(60),
            "h" => seconds(3600),
            "d" => seconds(86_400),
            "w" => seconds(7 * 86_400),
            "y" => seconds(365 * 86_400),
            _ => None,
        };
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or_else(wrong)?;
        rest = &rest[letters..];
    }
    Ok(total)
}

impl Decode for Interval {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let text = String::decode(node, at);
        if !matches!(node.value, Value::Text(_)) {
            return Interval::default();
        }
        match parse_duration(&text) {
            Ok(Duration::ZERO) => at.problem("must be longer than nothing"),
            Ok(duration) => return Interval(duration),
            Err(message) => at.problem(message),
        }
        Interval::default()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+(ns|us|ms|[smhdwy]))+$" })
    }
}

/// A point in time, written as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime(pub jiff::Timestamp);

impl Default for DateTime {
    fn default() -> Self {
        DateTime(jiff::Timestamp::UNIX_EPOCH)
    }
}

/// Reads a point in time as RFC 3339: `2026-01-01T00:00:00Z`.
pub fn parse_date_time(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not a time of RFC 3339, write one like 2026-01-01T00:00:00Z")
    })
}

impl DateTime {
    /// The first millisecond that is not before this time. For a limit between whole milliseconds it
    /// selects the same records, inclusive or exclusive.
    pub fn ceil_ms(self) -> i64 {
        let nanoseconds = self.0.as_nanosecond();
        let milliseconds = nanoseconds.div_euclid(1_000_000);
        let rounded = milliseconds + i128::from(nanoseconds.rem_euclid(1_000_000) > 0);
        i64::try_from(rounded).unwrap_or(i64::MAX)
    }
}

impl Decode for DateTime {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let text = String::decode(node, at);
        if !matches!(node.value, Value::Text(_)) {
            return DateTime::default();
        }
        match parse_date_time(&text) {
            Ok(time) => DateTime(time),
            Err(message) => {
                at.problem(message);
                DateTime::default()
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "format": "date-time" })
    }
}

/// The name of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicName(pub String);

/// Is this a name that Kafka takes for a topic? (Kafka's `Topic.validate`)
pub fn check_topic_name(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() {
        Err("must not be empty".to_owned())
    } else if name.len() > 249 || name == "." || name == ".." || !name.bytes().all(legal) {
        Err(format!(
            "{name:?} is not the name of a topic: up to 249 letters, digits, '.', '_' and '-'"
        ))
    } else {
        Ok(())
    }
}

impl Decode for TopicName {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let name = String::decode(node, at);
        if matches!(node.value, Value::Text(_))
            && let Err(message) = check_topic_name(&name)
        {
            at.problem(message);
        }
        TopicName(name)
    }

    fn schema() -> Json {
        json!({ "type": "string", "maxLength": 249, "pattern": "^[a-zA-Z0-9._-]+$" })
    }
}

/// The name of a document. It becomes part of names in the archive, so it is held to letters, digits, `.`, `_`
/// and `-`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectName(pub String);

impl Decode for ObjectName {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let name = String::decode(node, at);
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if matches!(node.value, Value::Text(_)) {
            if name.is_empty() {
                at.problem("must not be empty");
            } else if name.len() > 253 || !name.bytes().all(legal) {
                at.problem(format!(
                    "{name:?} is not a name: up to 253 letters, digits, '.', '_' and '-'"
                ));
            }
        }
        ObjectName(name)
    }

    fn schema() -> Json {
        json!({ "type": "string", "maxLength": 253, "pattern": "^[a-zA-Z0-9._-]+$" })
    }
}

/// A text that is not empty: the name of another resource, a key, a header.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub String);

impl Decode for Name {
    fn decode(node: &Node, at: &mut Place<'_>) -> Self {
        let name = String::decode(node, at);
        if node.value == Value::Text(String::new()) {
            at.problem("must not be empty");
        }
        Name(name)
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("10 MiB", 10 << 20),
            ("25MiB", 25 << 20),
            ("1Gi", 1 << 30),
            ("1 MB", 1_000_000),
            ("4096", 4096),
            ("1.5 KiB", 1536),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "10 MiBs", "ten"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_as_quantities() {
        for (bytes, quantity) in [
            (0, "0"),
            (1000, "1000"),
            (1024, "1Ki"),
            (10 << 30, "10Gi"),
            (1536 << 20, "1536Mi"),
            (1 << 63, "8Ei"),
        ] {
            assert_eq!(Size(bytes).quantity(), quantity);
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("15s", 15_000),
            ("1m30s", 90_000),
            ("30d", 30 * 86_400_000),
            ("2w", 14 * 86_400_000),
            ("1y", 365 * 86_400_000),
            ("5ms", 5),
            ("1h1ms", 3_600_001),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "15",
            "s",
            "1 s",
            "-1s",
            "1.5s",
            "1month",
            "99999999999999999y",
            "1é",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_round_up_to_milliseconds() {
        let at = |text: &str| DateTime(parse_date_time(text).unwrap()).ceil_ms();
        assert_eq!(at("1970-01-01T00:00:01Z"), 1000);
        assert_eq!(at("1970-01-01T01:00:01+01:00"), 1000);
        assert_eq!(at("1970-01-01T00:00:00.0005Z"), 1);
        assert_eq!(at("1969-12-31T23:59:59.9995Z"), 0);
        assert!(parse_date_time("2026-01-01").is_err());
        assert!(parse_date_time("2026-01-01T00:00:00").is_err());
    }

    #[test]
    fn names_of_topics() {
        for name in ["a", "orders.eu_1-x", "__consumer_offsets"] {
            assert_eq!(check_topic_name(name), Ok(()));
        }
        for name in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            assert!(check_topic_name(name).is_err(), "{name}");
        }
    }
}
