//! The one text form of every JSON document in an archive: an object whose last member is its checksum.
//!
//! `{…,"checksum":"<64 hexadecimal digits>"}` and a line feed. The checksum is the BLAKE3 hash of every
//! byte before the comma that precedes `"checksum"`: it is over the text as stored, so that no reader has
//! to know how JSON was written, and a flipped bit anywhere shows.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::ArchiveError;

/// The version of the archive format that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// The requirement of manifests whose segment was pruned.
pub(crate) const PRUNED: &str = "pruned";

/// The requirement of manifests with dead letters, and of the sidecars of open segments that have some.
pub(crate) const DEAD_LETTERS: &str = "dead-letters";

/// The requirements that this version understands.
const KNOWN: [&str; 2] = [PRUNED, DEAD_LETTERS];

const HEAD_OF_TAIL: &str = ",\"checksum\":\"";
const END_OF_TAIL: &str = "\"}\n";
const HASH: usize = 64;
const TAIL: usize = HEAD_OF_TAIL.len() + HASH + END_OF_TAIL.len();

/// What every document starts with; read before the rest, whose fields a later version may have changed.
#[derive(Deserialize)]
struct Preamble {
    format: u32,
    #[serde(default)]
    requires: Vec<String>,
}

/// A document's text and its checksum.
pub(crate) fn seal<T: Serialize>(document: &T) -> (Vec<u8>, String) {
    let mut text = serde_json::to_vec(document).expect("documents of an archive are plain JSON");
    debug_assert_eq!(text.last(), Some(&b'}'));
    text.pop();
    let checksum = blake3::hash(&text).to_hex().to_string();
    text.extend_from_slice(HEAD_OF_TAIL.as_bytes());
    text.extend_from_slice(checksum.as_bytes());
    text.extend_from_slice(END_OF_TAIL.as_bytes());
    (text, checksum)
}

/// The checksum in `text`, if it is right.
pub(crate) fn checksum(text: &[u8]) -> Option<&str> {
    let body = text.len().checked_sub(TAIL)?;
    let (body, tail) = text.split_at(body);
    let tail = std::str::from_utf8(tail).ok()?;
    let stored = tail.strip_prefix(HEAD_OF_TAIL)?.strip_suffix(END_OF_TAIL)?;
    (blake3::hash(body).to_hex().as_str() == stored).then_some(stored)
}

/// Reads a document; `place` names it in errors. Returns its checksum as well.
pub(crate) fn unseal<T: DeserializeOwned>(
    place: &str,
    text: &[u8],
) -> Result<(T, String), ArchiveError> {
    let checksum = checksum(text)
        .ok_or_else(|| ArchiveError::damaged(place, "its checksum does not match its content"))?;
    let not_json = |error: serde_json::Error| {
        ArchiveError::damaged(place, format!("not as expected: {error}"))
    };
    let preamble: Preamble = serde_json::from_slice(text).map_err(not_json)?;
    let unknown = preamble
        .requires
        .iter()
        .find(|requirement| !KNOWN.contains(&requirement.as_str()));
    let unknown = match unknown {
        Some(requirement) => Some(requirement.clone()),
        None if preamble.format != FORMAT => Some(format!("format {}", preamble.format)),
        None => None,
    };
    if let Some(requirement) = unknown {
        return Err(ArchiveError::Unsupported {
            place: place.to_owned(),
            requirement,
        });
    }
    let document = serde_json::from_slice(text).map_err(not_json)?;
    Ok((document, checksum.to_owned()))
}

/// Reads a document without preamble: a line of a file whose first line has one.
pub(crate) fn unseal_line<T: DeserializeOwned>(
    place: &str,
    text: &[u8],
) -> Result<T, ArchiveError> {
    checksum(text).ok_or_else(|| {
        ArchiveError::damaged(place, "a line's checksum does not match its content")
    })?;
    serde_json::from_slice(text)
        .map_err(|error| ArchiveError::damaged(place, format!("not as expected: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Document {
        format: u32,
        requires: Vec<String>,
        text: String,
    }

    fn document() -> Document {
        Document {
            format: FORMAT,
            requires: Vec::new(),
            text: "a \"quoted\"\n,\"checksum\":\"text".to_owned(),
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_shows() {
        let (text, checksum) = seal(&document());
        let (read, read_checksum) = unseal::<Document>("x", &text).unwrap();
        assert_eq!((read, &read_checksum), (document(), &checksum));
        for position in 0..text.len() {
            for bit in 0..8 {
                let mut flipped = text.clone();
                flipped[position] ^= 1 << bit;
                assert!(
                    unseal::<Document>("x", &flipped).is_err(),
                    "{position}.{bit}"
                );
            }
            assert!(unseal::<Document>("x", &text[..position]).is_err());
        }
    }

    #[test]
    fn requirements_and_formats_of_the_future_are_refused_by_name() {
        let mut later = document();
        later.requires = vec!["encryption".to_owned()];
        let refusal = unseal::<Document>("x", &seal(&later).0).unwrap_err();
        assert!(
            refusal.to_string().contains("needs encryption"),
            "{refusal}"
        );
        let mut later = document();
        later.format = 2;
        let refusal = unseal::<Document>("x", &seal(&later).0).unwrap_err();
        assert!(refusal.to_string().contains("needs format 2"), "{refusal}");
    }
}
