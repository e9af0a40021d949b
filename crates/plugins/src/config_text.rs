//! A plugin entry's `spec` as the text that its `init` is handed.

use std::fmt::Write as _;

use serde_json::Value;

/// Writes a value as YAML in block style: keys sorted, every key and string in double quotes, numbers as in JSON, a newline at
/// the end.
///
/// This is the only place that makes such text, so that a plugin is handed the same text by every version and on every way it
/// can be configured. Everything is quoted because readers of YAML 1.1, which most libraries still are, turn a bare `on`,
/// `1:30` or `2024-01-01` into something else than the text that it is.
pub fn config_text(spec: &Value) -> String {
    let mut text = String::new();
    match spec {
        Value::Object(fields) if !fields.is_empty() => write_object(&mut text, fields, 0),
        Value::Array(items) if !items.is_empty() => write_array(&mut text, items, 0),
        scalar => {
            write_inline(&mut text, scalar);
            text.push('\n');
        }
    }
    text
}

fn write_object(text: &mut String, fields: &serde_json::Map<String, Value>, indent: usize) {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(key, _)| key.as_str());
    for (position, (key, value)) in sorted.into_iter().enumerate() {
        // The first line of an object inside an array follows the dash.
        if position > 0 || !text.ends_with("- ") {
            text.extend(std::iter::repeat_n(' ', indent));
        }
        write_string(text, key);
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                write_object(text, inner, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                write_array(text, items, indent + 2);
            }
            scalar => {
                text.push(' ');
                write_inline(text, scalar);
                text.push('\n');
            }
        }
    }
}

fn write_array(text: &mut String, items: &[Value], indent: usize) {
    for (position, item) in items.iter().enumerate() {
        if position > 0 || !text.ends_with("- ") {
            text.extend(std::iter::repeat_n(' ', indent));
        }
        text.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => write_object(text, inner, indent + 2),
            Value::Array(inner) if !inner.is_empty() => write_array(text, inner, indent + 2),
            scalar => {
                write_inline(text, scalar);
                text.push('\n');
            }
        }
    }
}

/// What fits on one line: scalars, and objects and arrays without content.
fn write_inline(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(text, &number.to_string()),
        Value::String(string) => write_string(text, string),
        Value::Array(_) => text.push_str("[]"),
        Value::Object(_) => text.push_str("{}"),
    }
}

/// A JSON number. One with an exponent gets a fraction and a sign, without which readers of YAML 1.1 (PyYAML) take it for a
/// string.
fn write_number(text: &mut String, number: &str) {
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else {
        return text.push_str(number);
    };
    text.push_str(mantissa);
    if !mantissa.contains('.') {
        text.push_str(".0");
    }
    text.push('e');
    if !exponent.starts_with(['+', '-']) {
        text.push('+');
    }
    text.push_str(exponent);
}

/// A YAML string in double quotes. Beyond ASCII only letters and digits stand for themselves: what is not printable, or what a
/// reader may take for the end of a line, is among the rest.
fn write_string(text: &mut String, string: &str) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' '..='~' => text.push(character),
            other if other.is_alphanumeric() => text.push(other),
            other => write_escape(text, other),
        }
    }
    text.push('"');
}

fn write_escape(text: &mut String, character: char) {
    let code = u32::from(character);
    let written = match code {
        0..=0xff => write!(text, "\\x{code:02x}"),
        0x100..=0xffff => write!(text, "\\u{code:04x}"),
        _ => write!(text, "\\U{code:08x}"),
    };
    written.expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(spec: Value, expected: &str) {
        assert_eq!(config_text(&spec), expected);
    }

    #[test]
    fn objects_are_sorted_and_quoted() {
        check(json!({"header": "secret"}), "\"header\": \"secret\"\n");
        check(
            json!({"b": 1, "a": {"y": true, "on": null}, "A": -0.5}),
            "\"A\": -0.5\n\"a\":\n  \"on\": null\n  \"y\": true\n\"b\": 1\n",
        );
    }

    #[test]
    fn arrays_are_blocks() {
        check(
            json!({"rules": [{"from": "x", "to": ["y", "z"]}, [1, [2]], {}, [], "s"]}),
            "\"rules\":\n  - \"from\": \"x\"\n    \"to\":\n      - \"y\"\n      - \"z\"\n  - - 1\n    - - 2\n  - {}\n  - []\n  - \"s\"\n",
        );
    }

    #[test]
    fn nothing_is_left_to_the_reader() {
        check(
            json!({"a": "on", "b": "1:30", "c": "2024-01-01", "d": "~"}),
            "\"a\": \"on\"\n\"b\": \"1:30\"\n\"c\": \"2024-01-01\"\n\"d\": \"~\"\n",
        );
        check(
            json!({"k": "a\"b\\c\nd\te\u{7}\u{85}\u{2028}é\u{1f600}"}),
            "\"k\": \"a\\\"b\\\\c\\nd\\te\\x07\\x85\\u2028é\\U0001f600\"\n",
        );
    }

    #[test]
    fn numbers_are_as_in_json() {
        let spec: Value = serde_json::from_str(
            r#"{"a": 18446744073709551615, "b": 1.50, "c": 1e3, "d": 2.5E-7}"#,
        )
        .unwrap();
        check(
            spec,
            "\"a\": 18446744073709551615\n\"b\": 1.50\n\"c\": 1.0e+3\n\"d\": 2.5e-7\n",
        );
    }

    #[test]
    fn values_without_content() {
        check(json!({}), "{}\n");
        check(json!([]), "[]\n");
        check(json!("x"), "\"x\"\n");
        check(json!({"a": {}, "b": []}), "\"a\": {}\n\"b\": []\n");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let string = || {
            prop_oneof![
                any::<String>(),
                "[ -~]{0,8}",
                Just("no".to_owned()),
                Just("- a: #".to_owned())
            ]
        };
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            string().prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(string(), inner, 0..5).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_yaml_reader_reads_the_same_value(spec in any_value()) {
            let text = config_text(&spec);
            let read: Value = serde_saphyr::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error} in {text}")))?;
            prop_assert_eq!(read, spec, "{}", text);
        }
    }
}
