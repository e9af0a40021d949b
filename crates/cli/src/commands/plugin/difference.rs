//! How two records differ, in lines for people.

use super::test::CameLine;
use crate::record_line::{Data, Headers, OwnedHeader, ReadLine, RecordLine};

/// Characters of a value that are shown.
const SHOWN: usize = 100;

/// What a plugin changed.
pub(super) fn between(before: &RecordLine<'_>, after: &RecordLine<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    field(
        &mut lines,
        "partition",
        &json(&before.partition),
        &json(&after.partition),
    );
    field(
        &mut lines,
        "timestamp",
        &json(&before.timestamp),
        &json(&after.timestamp),
    );
    field(&mut lines, "key", &json(&before.key), &json(&after.key));
    field(
        &mut lines,
        "value",
        &json(&before.value),
        &json(&after.value),
    );
    headers(&mut lines, owned(&before.headers), owned(&after.headers));
    lines
}

/// Where a record is not what a line of `--expect` says. Fields that the line leaves out are not compared; an outcome that it leaves out is
/// `accepted`.
pub(super) fn from_expected(expected: &ReadLine, found: &CameLine<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let outcome = expected.outcome.as_deref().unwrap_or("accepted");
    field(&mut lines, "outcome", outcome, found.outcome);
    if let (false, Some(message)) = (lines.is_empty(), found.message) {
        lines.push(format!("message: {message}"));
    }
    if let Some(message) = &expected.message {
        field(&mut lines, "message", message, found.message.unwrap_or(""));
    }
    // What was not accepted goes nowhere.
    if !lines.is_empty() || outcome != "accepted" {
        return lines;
    }
    let record = &found.record;
    if let Some(topic) = &expected.topic {
        field(&mut lines, "topic", topic, record.topic);
    }
    if let Some(partition) = &expected.partition {
        field(
            &mut lines,
            "partition",
            &json(partition),
            &json(&record.partition),
        );
    }
    if let Some(offset) = &expected.offset {
        field(&mut lines, "offset", &json(offset), &json(&record.offset));
    }
    if let Some(timestamp) = &expected.timestamp {
        field(
            &mut lines,
            "timestamp",
            &json(timestamp),
            &json(&record.timestamp),
        );
    }
    if let Some(timestamp_type) = &expected.timestamp_type {
        field(
            &mut lines,
            "timestampType",
            timestamp_type,
            record.timestamp_type,
        );
    }
    if let Some(key) = &expected.key {
        field(
            &mut lines,
            "key",
            &json(&Data(key.as_deref())),
            &json(&record.key),
        );
    }
    if let Some(value) = &expected.value {
        field(
            &mut lines,
            "value",
            &json(&Data(value.as_deref())),
            &json(&record.value),
        );
    }
    if let Some(expected) = &expected.headers {
        headers(&mut lines, expected, owned(&record.headers));
    }
    lines
}

fn owned<'a>(headers: &Headers<'a>) -> &'a [OwnedHeader] {
    match headers {
        Headers::Owned(headers) => headers,
        Headers::Encoded(_) => unreachable!("records that are tried out are owned"),
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| error.to_string())
}

fn field(lines: &mut Vec<String>, name: &str, before: &str, after: &str) {
    if before != after {
        let same = before
            .chars()
            .zip(after.chars())
            .take_while(|(before, after)| before == after)
            .count();
        lines.push(format!("- {name}: {}", shown(before, same)));
        lines.push(format!("+ {name}: {}", shown(after, same)));
    }
}

/// A text, cut where it is long, so that the character `same` is shown.
fn shown(text: &str, same: usize) -> String {
    let length = text.chars().count();
    if length <= SHOWN {
        return text.to_owned();
    }
    let start = same.saturating_sub(SHOWN / 4).min(length - SHOWN);
    let part: String = text.chars().skip(start).take(SHOWN).collect();
    let before = if start > 0 { "…" } else { "" };
    let after = if start + SHOWN < length { "…" } else { "" };
    format!("{before}{part}{after} ({length} characters)")
}

/// The headers that went and came; those that are the same at both ends are left out.
fn headers(lines: &mut Vec<String>, before: &[OwnedHeader], after: &[OwnedHeader]) {
    let same = |(before, after): &(&OwnedHeader, &OwnedHeader)| before == after;
    let begin = before.iter().zip(after).take_while(same).count();
    let (before, after) = (&before[begin..], &after[begin..]);
    let end = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take_while(same)
        .count();
    let mut tell = |sign: &str, headers: &[OwnedHeader]| {
        for (key, value) in &headers[..headers.len() - end] {
            let value = json(&Data(value.as_deref()));
            let key = json(&Data(Some(key)));
            lines.push(format!("{sign} header {key}: {}", shown(&value, 0)));
        }
    };
    tell("-", before);
    tell("+", after);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_from_where_they_differ() {
        let header = |key: &str, value: &str| (key.into(), Some(value.into()));
        let before = [header("a", "1"), header("secret", "x"), header("b", "2")];
        let after = [header("a", "1"), header("b", "2")];
        let mut lines = Vec::new();
        headers(&mut lines, &before, &after);
        assert_eq!(lines, [r#"- header "secret": "x""#]);
        lines.clear();
        headers(&mut lines, &after, &before);
        assert_eq!(lines, [r#"+ header "secret": "x""#]);
        lines.clear();
        let twice = [header("a", "1"), header("a", "1")];
        headers(&mut lines, &twice, &twice[..1]);
        assert_eq!(lines, [r#"- header "a": "1""#]);
    }

    #[test]
    fn long_values_are_shown_where_they_differ() {
        let (before, after) = ("x".repeat(500), "x".repeat(400) + &"y".repeat(100));
        let mut lines = Vec::new();
        field(&mut lines, "value", &before, &after);
        assert!(
            lines[1].contains("xy") && lines[1].starts_with("+ value: …x"),
            "{lines:?}"
        );
        assert!(
            lines[0].ends_with("… (500 characters)") || lines[0].ends_with("x (500 characters)"),
            "{lines:?}"
        );
    }
}
