//! A store whose answers get lost.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// When a faulty store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation is done, and its answer lost.
    AnswerLost,
    /// The operation is not done.
    Refused,
    /// The first upload in parts is completed, its answer lost, and the completion's repeat is told that there is no such upload.
    UploadUnheard,
}

/// An upload of [`Fault::UploadUnheard`].
#[derive(Debug)]
struct Unheard {
    upload: Box<dyn MultipartUpload>,
}

#[async_trait::async_trait]
impl MultipartUpload for Unheard {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await?;
        Err(Error::NotFound {
            path: "the upload".to_owned(),
            source: "NoSuchUpload".into(),
        })
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}

/// An in-memory store in which every `every`th write fails at first.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: InMemory,
    fault: Fault,
    every: usize,
    writes: AtomicUsize,
    pub(crate) failed: AtomicUsize,
}

impl Faulty {
    pub(crate) fn new(fault: Fault, every: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            fault,
            every,
            writes: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        })
    }

    fn error(&self) -> Error {
        self.failed.fetch_add(1, Ordering::Relaxed);
        Error::Generic {
            store: "faulty",
            source: "connection reset".into(),
        }
    }

    fn strikes(&self) -> bool {
        self.fault != Fault::UploadUnheard
            && (self.writes.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.every)
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        if !self.strikes() {
            return self.inner.put_opts(location, payload, opts).await;
        }
        if self.fault == Fault::AnswerLost {
            self.inner.put_opts(location, payload, opts).await?;
        }
        Err(self.error())
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if self.strikes() {
            return Err(self.error());
        }
        let upload = self.inner.put_multipart_opts(location, opts).await?;
        if self.fault != Fault::UploadUnheard || self.failed.load(Ordering::Relaxed) > 0 {
            return Ok(upload);
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Unheard { upload }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A store that ignores create-if-absent.
#[derive(Debug)]
pub(crate) struct Unconditional {
    inner: InMemory,
}

impl Unconditional {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
        })
    }
}

impl fmt::Display for Unconditional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unconditional")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Unconditional {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        _: PutOptions,
    ) -> Result<PutResult> {
        self.inner
            .put_opts(location, payload, PutOptions::default())
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
