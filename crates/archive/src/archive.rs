//! An archive as a whole: opening one, its id, the probe for create-if-absent.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::ArchiveError;
use crate::heads::Heads;
use crate::layout;
use crate::location::Location;
use crate::sealed::{self, FORMAT};
use crate::storage::{Created, Storage};

/// `armory.json`.
#[derive(Debug, Serialize, Deserialize)]
struct ArchiveDocument {
    format: u32,
    requires: Vec<String>,
    id: Uuid,
    created_at: i64,
}

/// An open archive. Cloning is cheap and shares what is known of it.
#[derive(Debug, Clone)]
pub struct Archive {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    storage: Storage,
    id: Uuid,
    heads: Heads,
}

impl Archive {
    /// Opens the archive at `location` for writing, creating it if there is none.
    ///
    /// Fails where the storage ignores create-if-absent: commits and fencing rest on it.
    pub async fn create_or_open(location: Location) -> Result<Self, ArchiveError> {
        let storage = Storage::new(&location);
        let content = match storage.get(layout::ARCHIVE).await? {
            Some(content) => content,
            None => {
                let document = ArchiveDocument {
                    format: FORMAT,
                    requires: Vec::new(),
                    id: Uuid::new_v4(),
                    created_at: now_ms(),
                };
                let fresh = Bytes::from(sealed::seal(&document).0);
                match storage.create(layout::ARCHIVE, fresh.clone()).await? {
                    Created::Yes => fresh,
                    Created::Exists => Self::content(&storage).await?,
                }
            }
        };
        // Were the condition ignored, this would write what is there anyway.
        if storage.create(layout::ARCHIVE, content.clone()).await? == Created::Yes {
            return Err(ArchiveError::NoCreateIfAbsent {
                location: storage.display(),
                reason: "armory.json could be created twice".to_owned(),
            });
        }
        Self::from_content(storage, &content)
    }

    /// Opens the archive at `location` without writing anything.
    pub async fn open(location: Location) -> Result<Self, ArchiveError> {
        let storage = Storage::new(&location);
        let content = Self::content(&storage).await?;
        Self::from_content(storage, &content)
    }

    /// An archive whose id cannot be read, to look at only.
    pub(crate) fn without_id(location: Location) -> Self {
        Self {
            inner: Arc::new(Inner {
                storage: Storage::new(&location),
                id: Uuid::nil(),
                heads: Heads::default(),
            }),
        }
    }

    async fn content(storage: &Storage) -> Result<Bytes, ArchiveError> {
        storage
            .get(layout::ARCHIVE)
            .await?
            .ok_or_else(|| ArchiveError::NotAnArchive {
                location: storage.display(),
            })
    }

    fn from_content(storage: Storage, content: &[u8]) -> Result<Self, ArchiveError> {
        let (document, _) = sealed::unseal::<ArchiveDocument>(layout::ARCHIVE, content)?;
        Ok(Self {
            inner: Arc::new(Inner {
                storage,
                id: document.id,
                heads: Heads::default(),
            }),
        })
    }

    /// The archive's id, given when it was created.
    pub fn id(&self) -> Uuid {
        self.inner.id
    }

    /// Where it lies, for messages.
    pub fn display(&self) -> String {
        self.inner.storage.display()
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.inner.storage
    }

    pub(crate) fn heads(&self) -> &Heads {
        &self.inner.heads
    }
}

/// A time in ms since 1970 for messages; the number itself where no calendar has it.
pub(crate) fn instant(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

/// The wall clock in ms since 1970.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond() + armory_failpoints::clock_shift_ms()
}
