//! An object store as storage: conditional creation, multipart uploads, retries within a budget.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use armory_troubles::{Cause, Retrying, Troubles, sentence};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use tokio::time::Instant;

use super::{Aged, Created, Listing};
use crate::error::ArchiveError;

/// Up to this many bytes an object is put in one request; above, in parts.
const ONE_REQUEST: usize = 32 << 20;
/// The size of a part; all but the last have exactly this size, as some stores demand.
const PART: usize = 16 << 20;
/// How many parts of one object fly at a time.
const PARTS_IN_FLIGHT: usize = 4;
/// How long one operation is tried anew, from its first failure.
const RETRY_BUDGET: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What an operation failed with in the end.
struct Failure {
    source: object_store::Error,
    tries: u32,
    /// Since the first failure.
    spent: Duration,
}

/// A prefix in an object store.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Arc<str>,
    display: Arc<str>,
    troubles: Troubles,
}

impl Objects {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        display: &str,
        troubles: Troubles,
    ) -> Self {
        Self {
            troubles,
            store,
            prefix: prefix.trim_matches('/').into(),
            display: display.into(),
        }
    }

    pub(super) fn display(&self) -> &str {
        &self.display
    }

    fn path(&self, relative: &str) -> Result<Path, ArchiveError> {
        let joined = match (self.prefix.is_empty(), relative.is_empty()) {
            (true, _) => relative.to_owned(),
            (false, true) => self.prefix.to_string(),
            (false, false) => format!("{}/{relative}", self.prefix),
        };
        Path::parse(joined).map_err(|error| {
            let failure = Failure {
                source: error.into(),
                tries: 1,
                spent: Duration::ZERO,
            };
            self.error("use", relative, failure)
        })
    }

    fn error(&self, action: &'static str, relative: &str, failure: Failure) -> ArchiveError {
        let place = format!("{}/{relative}", self.display.trim_end_matches('/'));
        let Failure {
            source,
            tries,
            spent,
        } = failure;
        match source {
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. } => ArchiveError::Denied {
                action,
                place,
                source,
            },
            _ => ArchiveError::Store {
                action,
                place,
                tries,
                spent,
                source,
            },
        }
    }

    /// Runs an operation until it succeeds, fails for good, or the budget is used up.
    async fn retry<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        action: &'static str,
        relative: &str,
        operation: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let (mut tries, mut pause) = (0, FIRST_PAUSE);
        let mut failing_since = None;
        let mut trouble: Option<Retrying> = None;
        loop {
            tries += 1;
            let error = match operation().await {
                Ok(value) => {
                    if tries > 1 {
                        tracing::info!(
                            tries,
                            store = &*self.display,
                            path = relative,
                            "could {action} at last"
                        );
                    }
                    return Ok(value);
                }
                Err(error) => error,
            };
            let since = *failing_since.get_or_insert_with(Instant::now);
            // Jitter, so that thousands of partitions do not come back at one moment.
            let wait = pause.mul_f64(rand::random_range(0.5..1.0));
            if !is_transient(&error) || since.elapsed() + wait > RETRY_BUDGET {
                return Err(Failure {
                    source: error,
                    tries,
                    spent: since.elapsed(),
                });
            }
            let left = (RETRY_BUDGET - since.elapsed()).as_secs();
            tracing::warn!(%error, tries, store = &*self.display, path = relative, "cannot {action}, trying again for {left} s");
            let place = self.display.trim_end_matches('/');
            let why = format!("cannot {action} {place}/{relative}: {}", sentence(&error));
            match &trouble {
                Some(trouble) => trouble.again(&why),
                None => trouble = Some(self.troubles.retrying(Cause::Storage, &why)),
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    pub(super) async fn get(&self, relative: &str) -> Result<Option<Bytes>, ArchiveError> {
        let path = self.path(relative)?;
        let read = async || whole(self.store.get(&path).await?).await;
        absent_as_none(self.retry("read", relative, read).await)
            .map_err(|error| self.error("read", relative, error))
    }

    pub(super) async fn get_range(
        &self,
        relative: &str,
        range: Range<u64>,
    ) -> Result<Option<Bytes>, ArchiveError> {
        let path = self.path(relative)?;
        let read = async || {
            let options = GetOptions::new().with_range(Some(range.clone()));
            whole(self.store.get_opts(&path, options).await?).await
        };
        absent_as_none(self.retry("read", relative, read).await)
            .map_err(|error| self.error("read", relative, error))
    }

    pub(super) async fn size(&self, relative: &str) -> Result<Option<u64>, ArchiveError> {
        let path = self.path(relative)?;
        let look = async || Ok(self.store.head(&path).await?.size);
        absent_as_none(self.retry("look at", relative, look).await)
            .map_err(|error| self.error("look at", relative, error))
    }

    pub(super) async fn create(
        &self,
        relative: &str,
        content: Bytes,
    ) -> Result<Created, ArchiveError> {
        let path = self.path(relative)?;
        let options = PutOptions::from(PutMode::Create);
        let create = async || {
            let payload = PutPayload::from_bytes(content.clone());
            self.store.put_opts(&path, payload, options.clone()).await
        };
        match self.retry("create", relative, create).await {
            Ok(_) => Ok(Created::Yes),
            Err(Failure {
                source:
                    object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
                ..
            }) => Ok(Created::Exists),
            Err(error) => Err(self.error("create", relative, error)),
        }
    }

    /// Writes an object from its pieces, replacing what is there.
    pub(crate) async fn put(&self, relative: &str, pieces: Vec<Bytes>) -> Result<(), ArchiveError> {
        let path = self.path(relative)?;
        let size: usize = pieces.iter().map(Bytes::len).sum();
        let put = async || {
            if size > ONE_REQUEST {
                return self.put_parts(&path, &pieces).await;
            }
            let payload = PutPayload::from_iter(pieces.iter().cloned());
            self.store.put(&path, payload).await.map(drop)
        };
        self.retry("write", relative, put)
            .await
            .map_err(|error| self.error("write", relative, error))
    }

    async fn put_parts(&self, path: &Path, pieces: &[Bytes]) -> object_store::Result<()> {
        let mut upload = self.store.put_multipart(path).await?;
        let parts: Vec<_> = split(pieces, PART)
            .into_iter()
            .map(|part| upload.put_part(part))
            .collect();
        let sent = futures::stream::iter(parts)
            .buffer_unordered(PARTS_IN_FLIGHT)
            .try_for_each(|()| std::future::ready(Ok(())))
            .await;
        let finished = match sent {
            Ok(()) => upload.complete().await.map(drop).map_err(unheard),
            Err(error) => Err(error),
        };
        if finished.is_err() {
            // Best effort: what is left of an upload costs storage, and the bucket's rules may clear it.
            if let Err(error) = upload.abort().await {
                tracing::debug!(%error, %path, "cannot abort the upload");
            }
        }
        finished
    }

    pub(super) async fn delete(&self, relative: &str) -> Result<(), ArchiveError> {
        let path = self.path(relative)?;
        let delete = async || self.store.delete(&path).await;
        absent_as_none(self.retry("delete", relative, delete).await)
            .map(drop)
            .map_err(|error| self.error("delete", relative, error))
    }

    pub(super) async fn list_aged(&self, relative: &str) -> Result<Vec<Aged>, ArchiveError> {
        let path = self.path(relative)?;
        let list = async || self.store.list_with_delimiter(Some(&path)).await;
        let found = self
            .retry("list", relative, list)
            .await
            .map_err(|error| self.error("list", relative, error))?;
        let mut files: Vec<_> = found
            .objects
            .into_iter()
            .filter_map(|object| {
                Some(Aged {
                    name: object.location.filename()?.to_owned(),
                    bytes: object.size,
                    modified: object.last_modified.timestamp_millis(),
                })
            })
            .collect();
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    pub(super) async fn list(&self, relative: &str) -> Result<Listing, ArchiveError> {
        let path = self.path(relative)?;
        let list = async || self.store.list_with_delimiter(Some(&path)).await;
        let found = self
            .retry("list", relative, list)
            .await
            .map_err(|error| self.error("list", relative, error))?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        let mut listing = Listing {
            directories: found.common_prefixes.iter().filter_map(name).collect(),
            files: found
                .objects
                .iter()
                .filter_map(|object| Some((name(&object.location)?, object.size)))
                .collect(),
        };
        listing.directories.sort_unstable();
        listing.files.sort_unstable();
        Ok(listing)
    }
}

/// The content of an answer, which has to be as long as it says: a short one would look like damage.
async fn whole(found: object_store::GetResult) -> object_store::Result<Bytes> {
    let expected = found.range.end - found.range.start;
    let content = found.bytes().await?;
    if content.len() as u64 == expected {
        return Ok(content);
    }
    let came = content.len();
    Err(object_store::Error::Generic {
        store: "store",
        source: format!("{came} of {expected} bytes came").into(),
    })
}

/// Cuts consecutive pieces into payloads of `size` bytes (the last may be smaller), without copying.
fn split(pieces: &[Bytes], size: usize) -> Vec<PutPayload> {
    let mut payloads = Vec::new();
    let mut part = Vec::new();
    let mut room = size;
    for piece in pieces {
        let mut piece = piece.clone();
        while piece.len() >= room {
            part.push(piece.split_to(room));
            payloads.push(PutPayload::from_iter(part.drain(..)));
            room = size;
        }
        if !piece.is_empty() {
            room -= piece.len();
            part.push(piece);
        }
    }
    if !part.is_empty() {
        payloads.push(PutPayload::from_iter(part));
    }
    payloads
}

fn absent_as_none<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failure {
            source: object_store::Error::NotFound { .. },
            ..
        }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// An upload that is not there when it is completed was completed by a request whose answer was lost, or aborted by
/// somebody: the object's name is nobody else's, so uploading it again is sound either way.
fn unheard(error: object_store::Error) -> object_store::Error {
    match error {
        object_store::Error::NotFound { source, .. } => object_store::Error::Generic {
            store: "upload",
            source,
        },
        other => other,
    }
}

/// Whether trying again may help: the other variants say what is wrong, and it stays wrong.
fn is_transient(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Generic { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_exactly_their_size_and_share_the_bytes() {
        let pieces: Vec<Bytes> = [3usize, 10, 0, 1, 25]
            .iter()
            .map(|&length| Bytes::from(vec![length as u8; length]))
            .collect();
        let parts = split(&pieces, 8);
        let sizes: Vec<_> = parts.iter().map(PutPayload::content_length).collect();
        assert_eq!(sizes, [8, 8, 8, 8, 7]);
        let joined: Vec<u8> = parts.iter().flatten().flatten().copied().collect();
        assert_eq!(joined, pieces.concat());
        assert_eq!(split(&[Bytes::from_static(b"12345678")], 8).len(), 1);
    }
}
