//! Reading the values of properties: what is wrong is said in words that follow "cannot be …:".

use std::ops::RangeInclusive;
use std::time::Duration;

use armory_records::Compression;

pub(super) fn number(text: &str, range: RangeInclusive<i64>) -> Result<i64, String> {
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            format!(
                "it takes a number from {} to {}",
                range.start(),
                range.end()
            )
        })
}

pub(super) fn milliseconds(text: &str, range: RangeInclusive<i64>) -> Result<Duration, String> {
    let number = number(text, range)?;
    Ok(Duration::from_millis(number.unsigned_abs()))
}

pub(super) fn bytes(text: &str, range: RangeInclusive<i64>) -> Result<usize, String> {
    Ok(number(text, range)?.unsigned_abs() as usize)
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Ok(true),
        "false" | "f" | "0" => Ok(false),
        _ => Err("it takes true or false".to_owned()),
    }
}

pub(super) fn compression(text: &str) -> Result<Option<Compression>, String> {
    match text.to_ascii_lowercase().as_str() {
        "none" => Ok(Some(Compression::None)),
        "gzip" => Ok(Some(Compression::Gzip)),
        "snappy" => Ok(Some(Compression::Snappy)),
        "lz4" => Ok(Some(Compression::Lz4)),
        "zstd" => Ok(Some(Compression::Zstd)),
        "inherit" => Ok(None),
        _ => Err("it takes none, gzip, snappy, lz4, zstd or inherit".to_owned()),
    }
}
