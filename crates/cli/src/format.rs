//! Numbers, sizes and times for people.

use bytesize::ByteSize;

/// `1.5 GiB`
pub(crate) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// `1,234,567`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in ms since 1970 as RFC 3339; the bare number where no calendar has it.
pub(crate) fn time(milliseconds: i64) -> String {
    match jiff::Timestamp::from_millisecond(milliseconds) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{milliseconds} ms"),
    }
}

/// `record`, `records`: the word for that many.
pub(crate) fn plural(number: u64, word: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {word}{ending}", count(number))
}

/// `35.2 MiB/s`
pub(crate) fn rate(bytes: u64, elapsed: std::time::Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let per_second = if seconds > 0.0 {
        bytes as f64 / seconds
    } else {
        0.0
    };
    format!("{}/s", size(per_second as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(plural(1, "record"), "1 record");
        assert_eq!(plural(2, "record"), "2 records");
        assert_eq!(time(1_767_225_600_000), "2026-01-01T00:00:00Z");
        assert_eq!(time(i64::MAX), "9223372036854775807 ms");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(rate(2048, std::time::Duration::from_secs(2)), "1.0 KiB/s");
    }
}
