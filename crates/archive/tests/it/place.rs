//! Storages for tests, and a way to look and meddle behind the archive's back.

use std::path::PathBuf;
use std::sync::Arc;

use armory_archive::{
    Archive, Committed, HistoryPart, Location, PartitionKey, PartitionWriter, SegmentReader,
    TopicKey, WriterIdentity, WriterOptions,
};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

/// An empty storage.
pub(crate) struct Place {
    pub(crate) location: Location,
    _folder: Option<tempfile::TempDir>,
}

/// A folder in memory where there is one: thousands of fsyncs take their time on a disk.
fn temporary_folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

impl Place {
    pub(crate) fn folder() -> Self {
        let folder = temporary_folder();
        Self {
            location: Location::Folder(folder.path().join("archive")),
            _folder: Some(folder),
        }
    }

    pub(crate) fn memory() -> Self {
        Self::store(Arc::new(InMemory::new()))
    }

    pub(crate) fn local_file_system() -> Self {
        let folder = temporary_folder();
        let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        Self {
            _folder: Some(folder),
            ..Self::store(Arc::new(store))
        }
    }

    pub(crate) fn store(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            location: Location::ObjectStore {
                store,
                prefix: "some/prefix".to_owned(),
                display: "test://some/prefix".to_owned(),
                troubles: Default::default(),
            },
            _folder: None,
        }
    }

    #[cfg(feature = "real")]
    pub(crate) fn at(location: Location) -> Self {
        Self {
            location,
            _folder: None,
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        matches!(self.location, Location::Folder(_))
    }

    pub(crate) async fn create(&self) -> Archive {
        Archive::create_or_open(self.location.clone())
            .await
            .unwrap()
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        match &self.location {
            Location::Folder(root) => root.join(relative),
            Location::ObjectStore { .. } => panic!("not a folder"),
        }
    }

    pub(crate) async fn get(&self, relative: &str) -> Vec<u8> {
        match &self.location {
            Location::Folder(root) => std::fs::read(root.join(relative)).unwrap(),
            Location::ObjectStore { store, prefix, .. } => {
                let path = Path::parse(format!("{prefix}/{relative}")).unwrap();
                store
                    .get(&path)
                    .await
                    .unwrap()
                    .bytes()
                    .await
                    .unwrap()
                    .into()
            }
        }
    }

    pub(crate) async fn put(&self, relative: &str, content: &[u8]) {
        match &self.location {
            Location::Folder(root) => {
                // A new file: the old one may be linked elsewhere.
                let _ = std::fs::remove_file(root.join(relative));
                std::fs::write(root.join(relative), content).unwrap();
            }
            Location::ObjectStore { store, prefix, .. } => {
                let path = Path::parse(format!("{prefix}/{relative}")).unwrap();
                store.put(&path, content.to_vec().into()).await.unwrap();
            }
        }
    }

    pub(crate) async fn delete(&self, relative: &str) {
        match &self.location {
            Location::Folder(root) => std::fs::remove_file(root.join(relative)).unwrap(),
            Location::ObjectStore { store, prefix, .. } => {
                let path = Path::parse(format!("{prefix}/{relative}")).unwrap();
                store.delete(&path).await.unwrap();
            }
        }
    }

    /// All files below a directory, sorted.
    pub(crate) async fn files(&self, directory: &str) -> Vec<String> {
        let mut files = Vec::new();
        match &self.location {
            Location::Folder(root) => {
                let mut folders = vec![root.join(directory)];
                while let Some(folder) = folders.pop() {
                    let Ok(entries) = std::fs::read_dir(folder) else {
                        continue;
                    };
                    for entry in entries.map(|entry| entry.unwrap().path()) {
                        match entry.is_dir() {
                            true => folders.push(entry),
                            false => {
                                let relative = entry.strip_prefix(root).unwrap();
                                files.push(relative.to_str().unwrap().to_owned());
                            }
                        }
                    }
                }
            }
            Location::ObjectStore { store, prefix, .. } => {
                use futures::TryStreamExt as _;
                let path = Path::parse(format!("{prefix}/{directory}")).unwrap();
                let mut list = store.list(Some(&path));
                while let Some(object) = list.try_next().await.unwrap() {
                    let location = object.location.to_string();
                    files.push(
                        location
                            .strip_prefix(&format!("{prefix}/"))
                            .unwrap()
                            .to_owned(),
                    );
                }
            }
        }
        files.sort_unstable();
        files
    }

    /// The only file below a directory whose name ends in `suffix`.
    pub(crate) async fn only(&self, directory: &str, suffix: &str) -> String {
        let mut files = self.files(directory).await;
        files.retain(|file| file.ends_with(suffix));
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

pub(crate) fn topic(name: &str) -> TopicKey {
    let id = "AAECAwQFBgcICQoLDA0ODw"
        .parse::<armory_archive::TopicId>()
        .unwrap();
    TopicKey::new(name, id)
}

pub(crate) fn key() -> PartitionKey {
    topic("orders").partition(0)
}

pub(crate) fn options() -> WriterOptions {
    WriterOptions::new(WriterIdentity::new("nightly", 1))
}

/// Options with which every batch is written at once.
pub(crate) fn unbuffered() -> WriterOptions {
    WriterOptions {
        write_buffer: 0,
        ..options()
    }
}

pub(crate) async fn writer(archive: &Archive, options: WriterOptions) -> PartitionWriter {
    PartitionWriter::open(archive, key(), options)
        .await
        .unwrap()
}

/// Seals and commits what is open.
pub(crate) async fn commit(writer: &mut PartitionWriter) -> Committed {
    let sealed = writer.seal().unwrap().expect("something is open");
    writer.chain().commit(sealed).await.unwrap()
}

/// All batches of a history, as stored.
pub(crate) async fn read_all(archive: &Archive, parts: &[HistoryPart]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        let manifest = &part.manifest;
        let key = manifest.partition_key();
        let mut reader = SegmentReader::open(archive, &key, manifest.lineage, manifest)
            .await
            .unwrap();
        while let Some(chunk) = reader.next_chunk().await.unwrap() {
            for batch in armory_records::Batches::new(&chunk) {
                let batch = batch.unwrap();
                if batch.header().base_offset < part.until {
                    bytes.extend_from_slice(batch.bytes());
                }
            }
        }
    }
    bytes
}
