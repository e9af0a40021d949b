//! A journal: numbered entries, each created once. What a restore must remember lies in one.

use crate::archive::Archive;
use crate::chain::create_once;
use crate::error::ArchiveError;
use crate::layout;
use crate::location::Location;
use crate::names::{check_name, new_nonce};
use crate::storage::Storage;
use bytes::{BufMut as _, Bytes, BytesMut};

/// What every entry begins with: a line of this, the nonce of who wrote it, and the payload's BLAKE3 hash.
const MAGIC: &str = "armory-journal-1";

/// An append-only list of opaque entries in a directory, with one writer at a time: of two that append at
/// the same place one succeeds, and the other learns of it.
#[derive(Debug)]
pub struct Journal {
    storage: Storage,
    directory: String,
    nonce: String,
    /// The number of the next entry.
    next: usize,
}

impl Journal {
    /// Opens the journal in directory `path` of an archive, e.g. `restores/<id>`. Its entries are read when they are asked for.
    pub async fn open(archive: &Archive, path: &str) -> Result<Self, ArchiveError> {
        Self::look(archive.storage().clone(), path).await
    }

    /// Opens a journal outside of an archive: in directory `path` below `location`.
    pub async fn open_at(location: &Location, path: &str) -> Result<Self, ArchiveError> {
        Self::look(Storage::new(location), path).await
    }

    /// The names of the journals in directory `path` of an archive, ascending.
    pub async fn names(archive: &Archive, path: &str) -> Result<Vec<String>, ArchiveError> {
        Ok(archive.storage().list(path).await?.directories)
    }

    /// The names of the journals in directory `path` below `location`, ascending.
    pub async fn names_at(location: &Location, path: &str) -> Result<Vec<String>, ArchiveError> {
        Ok(Storage::new(location).list(path).await?.directories)
    }

    /// Tries whether a journal can be written in directory `path` of an archive: a file is created, and taken away where that is allowed.
    pub async fn try_writing(archive: &Archive, path: &str) -> Result<(), ArchiveError> {
        let place = format!("{path}/write-test-{}", new_nonce());
        let storage = archive.storage();
        storage.create(&place, Bytes::new()).await?;
        if let Err(error) = storage.delete(&place).await {
            tracing::debug!(%error, "what was written to try it out stays");
        }
        Ok(())
    }

    async fn look(storage: Storage, path: &str) -> Result<Self, ArchiveError> {
        for component in path.split('/') {
            check_name("journal", component, 250)?;
        }
        let listing = storage.list(path).await?;
        let mut numbers = Vec::new();
        for (name, _) in &listing.files {
            numbers.extend(layout::leading_digits(name));
        }
        for (expected, number) in numbers.iter().enumerate() {
            if *number != expected as i64 {
                return Err(ArchiveError::damaged(
                    entry_place(path, expected),
                    "it is missing",
                ));
            }
        }
        Ok(Self {
            storage,
            directory: path.to_owned(),
            nonce: new_nonce(),
            next: numbers.len(),
        })
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.next
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// What reads its entries, also while others are added.
    pub fn reader(&self) -> JournalReader {
        JournalReader {
            storage: self.storage.clone(),
            directory: self.directory.clone(),
        }
    }

    /// Adds an entry, durably. [`ArchiveError::JournalConflict`] if another process added one first: then
    /// this process no longer owns the journal. After any other error the entry may be there or not; append
    /// the same one again, or open the journal anew.
    pub async fn append(&mut self, entry: impl Into<Bytes> + Send) -> Result<(), ArchiveError> {
        let payload = entry.into();
        let place = entry_place(&self.directory, self.next);
        let text = seal_entry(&self.nonce, &payload);
        match create_once(&self.storage, &place, &text).await? {
            None => {
                self.next += 1;
                Ok(())
            }
            Some(_) => Err(ArchiveError::JournalConflict { place }),
        }
    }
}

/// Reads the entries of a journal.
#[derive(Debug, Clone)]
pub struct JournalReader {
    storage: Storage,
    directory: String,
}

impl JournalReader {
    /// The entry of that number, counted from 0, which must be there.
    pub async fn read(&self, number: usize) -> Result<Bytes, ArchiveError> {
        let place = entry_place(&self.directory, number);
        let text = self.storage.get(&place).await?;
        let text = text.ok_or_else(|| ArchiveError::damaged(&place, "it vanished"))?;
        open_entry(&place, &text)
    }
}

fn entry_place(directory: &str, number: usize) -> String {
    format!("{directory}/{number:020}.entry")
}

fn seal_entry(nonce: &str, payload: &[u8]) -> Bytes {
    let line = format!("{MAGIC} {nonce} {}\n", blake3::hash(payload).to_hex());
    let mut text = BytesMut::with_capacity(line.len() + payload.len());
    text.put_slice(line.as_bytes());
    text.put_slice(payload);
    text.freeze()
}

fn open_entry(place: &str, text: &Bytes) -> Result<Bytes, ArchiveError> {
    let damaged = || ArchiveError::damaged(place, "its checksum does not match its content");
    let line = text
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(damaged)?;
    let payload = text.slice(line + 1..);
    let line = std::str::from_utf8(&text[..line]).map_err(|_| damaged())?;
    let mut words = line.split(' ');
    let magic = words.next() == Some(MAGIC);
    let (nonce, digest) = (words.next(), words.next());
    let sound = magic
        && nonce.is_some_and(|nonce| !nonce.is_empty())
        && digest == Some(blake3::hash(&payload).to_hex().as_str())
        && words.next().is_none();
    if sound { Ok(payload) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flipped_bits_in_a_payload_show() {
        let text = seal_entry("ab", b"payload");
        assert_eq!(open_entry("x", &text).unwrap(), "payload");
        let payload_at = text.len() - b"payload".len();
        for position in payload_at..text.len() {
            let mut flipped = text.to_vec();
            flipped[position] ^= 1;
            assert!(open_entry("x", &flipped.into()).is_err());
        }
        assert!(open_entry("x", &text.slice(..payload_at - 1)).is_err());
    }
}
