//! The power fails after every single file operation, and takes with it what was not synced: nothing that was
//! reported as durable is gone, and the next writer goes on.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use armory_records::Batches;

use self::batches::{Shape, run};
use super::{PartitionWriter, WriterOptions};
use crate::archive::Archive;
use crate::catalog::GenesisInfo;
use crate::codec::Codec;
use crate::dead_letters::{ClockType, DeadLetter};
use crate::gaps::GapCause;
use crate::location::Location;
use crate::names::{PartitionKey, TopicKey, WriterIdentity};
use crate::reader::SegmentReader;
use crate::storage::trace::{Operation, recorder};
use crate::verify::Depth;

#[path = "../../tests/it/batches.rs"]
mod batches;

/// Where the workload ends, and where every writer after a power cut ends, too.
const END: i64 = 60;
/// Offsets without a batch.
const GAP: std::ops::Range<i64> = 30..33;

/// A file's content, and what of it is certain to be there after a power cut.
#[derive(Debug, Clone, Default)]
struct Content {
    all: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Folder,
    File(usize),
}

/// A disk as a file system keeps it: names and contents, and which of them are durable. A name is durable when its
/// folder was synced after it was made, and so is its absence; POSIX promises no more.
#[derive(Debug, Default)]
struct Disk {
    contents: Vec<Content>,
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
}

/// What a power cut leaves of what was not synced.
#[derive(Debug, Clone, Copy)]
enum Left {
    /// Neither names nor bytes.
    Nothing,
    /// The names; the files are as long as they were, with zeros.
    NamesAndZeros,
    /// The names; the files are short.
    Names,
    /// The bytes, under the names that are durable.
    Bytes,
    /// Everything: the process was killed, and the power stayed.
    Everything,
}

impl Disk {
    fn content(&mut self, path: &Path) -> &mut Content {
        match self.names.get(path) {
            Some(Node::File(number)) => &mut self.contents[*number],
            other => panic!("{} is {other:?}", path.display()),
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::FolderMade(path) => {
                self.names.insert(path.clone(), Node::Folder);
            }
            Operation::Created(path) => {
                let file = Node::File(self.contents.len());
                self.contents.push(Content::default());
                self.names.insert(path.clone(), file);
            }
            Operation::Wrote(path, bytes) => self.content(path).all.extend(bytes),
            Operation::Cut(path, length) => {
                let length = usize::try_from(*length).unwrap();
                self.content(path).all.truncate(length);
            }
            Operation::Synced(path) => {
                let content = self.content(path);
                content.synced = content.all.clone();
            }
            Operation::Linked(existing, name) => {
                let node = self.names[existing];
                self.names.insert(name.clone(), node);
            }
            Operation::Renamed(from, to) => {
                let node = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), node);
            }
            Operation::Removed(path) => {
                self.names.remove(path);
            }
            Operation::FolderSynced(folder) => {
                let inside = |path: &Path| path.parent() == Some(folder);
                self.durable.retain(|path, _| !inside(path));
                let names = self.names.iter().filter(|(path, _)| inside(path));
                self.durable
                    .extend(names.map(|(path, node)| (path.clone(), *node)));
            }
            Operation::Promised(_) => {}
        }
    }

    /// What is there after a power cut: files with their contents, below folders that are there.
    fn after(&self, left: Left, root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let names = match left {
            Left::Nothing | Left::Bytes => &self.durable,
            Left::NamesAndZeros | Left::Names | Left::Everything => &self.names,
        };
        let mut found: BTreeMap<PathBuf, Option<Vec<u8>>> = BTreeMap::new();
        for (path, node) in names {
            let parent = path.parent().unwrap();
            if path != root && !found.contains_key(parent) {
                continue;
            }
            let content = match node {
                Node::Folder => None,
                Node::File(number) => {
                    let Content { all, synced } = &self.contents[*number];
                    let mut content = match left {
                        Left::Bytes | Left::Everything => all.clone(),
                        _ => synced.clone(),
                    };
                    if matches!(left, Left::NamesAndZeros) {
                        content.resize(all.len().max(content.len()), 0);
                    }
                    Some(content)
                }
            };
            found.insert(path.clone(), content);
        }
        found
    }
}

/// A folder in memory where there is one: thousands of syncs take their time on a disk.
fn temporary_folder() -> tempfile::TempDir {
    match Path::new("/dev/shm") {
        memory if memory.is_dir() => tempfile::tempdir_in(memory).unwrap(),
        _ => tempfile::tempdir().unwrap(),
    }
}

fn key() -> PartitionKey {
    TopicKey::new("orders", None).partition(0)
}

fn genesis() -> GenesisInfo {
    GenesisInfo {
        cluster_id: None,
        partitions: 1,
        configs: BTreeMap::new(),
    }
}

fn options(generation: u64, compression: Option<Codec>) -> WriterOptions {
    WriterOptions {
        compression: compression.map(|codec| (codec, None)),
        // Some appends are written at once, some are held back.
        write_buffer: 600,
        ..WriterOptions::new(WriterIdentity::new("nightly", generation))
    }
}

/// What is put aside of the batch at `base`: one record of every third batch.
fn letters_of(base: i64) -> Vec<DeadLetter> {
    let letter = DeadLetter {
        offset: base + 1,
        timestamp: -1,
        timestamp_type: ClockType::CreateTime,
        key: None,
        value: Some(base.to_string().into()),
        headers: Vec::new(),
        plugin: "a.wasm".to_owned(),
        digest: String::new(),
        class: "error".to_owned(),
        message: String::new(),
        backtrace: Vec::new(),
    };
    Some(letter).filter(|_| base % 9 == 0).into_iter().collect()
}

fn expected_letters(until: i64) -> Vec<DeadLetter> {
    let batches = (0..until).step_by(3).filter(|base| !GAP.contains(base));
    batches.flat_map(letters_of).collect()
}

/// Gives a writer what the source has up to `until`.
fn feed(writer: &mut PartitionWriter, until: i64) {
    while writer.next_offset() < until {
        if writer.next_offset() == GAP.start {
            writer.gap(GAP.end, GapCause::Control, Some(1)).unwrap();
            continue;
        }
        let base = writer.next_offset();
        let one = run(base, 1, Shape::default());
        writer.dead_letters(letters_of(base)).unwrap();
        writer.append(&one.bytes, &one.headers).unwrap();
    }
}

/// A writer's life on a folder: flushes, commits with and without compression, a segment that is detached while the
/// next is begun, and a crash in the middle.
async fn live(root: &Path) {
    let archive = Archive::create_or_open(Location::Folder(root.to_owned()))
        .await
        .unwrap();
    archive.genesis(&key().topic, genesis()).await.unwrap();
    let open = async |generation, codec| {
        PartitionWriter::open(&archive, key(), options(generation, codec))
            .await
            .unwrap()
    };
    let record = root.parent().unwrap();
    let promise = |writer: &PartitionWriter| recorder::promise(record, writer.durable_offset());
    let commit = async |writer: &mut PartitionWriter| {
        let sealed = writer.seal().unwrap().unwrap();
        writer.chain().commit(sealed).await.unwrap();
        recorder::promise(record, writer.durable_offset());
    };
    let mut writer = open(1, None).await;
    for until in [3, 9, 12] {
        feed(&mut writer, until);
        writer.flush().unwrap();
        promise(&writer);
    }
    commit(&mut writer).await;
    feed(&mut writer, 21);
    writer.flush().unwrap();
    promise(&writer);
    let sealed = writer.seal().unwrap().unwrap();
    feed(&mut writer, 33);
    writer.flush().unwrap();
    promise(&writer);
    writer.chain().commit(sealed).await.unwrap();
    promise(&writer);
    feed(&mut writer, 39);
    drop(writer);

    let mut writer = open(2, Some(Codec::Zstd)).await;
    promise(&writer);
    feed(&mut writer, 45);
    commit(&mut writer).await;
    let end = writer.chain_end().unwrap();
    let identity = &options(2, None).identity;
    archive
        .write_head("nightly", identity, &[end])
        .await
        .unwrap();
    feed(&mut writer, END);
    writer.flush().unwrap();
    promise(&writer);
}

/// All that the archive holds of the partition, up to which offset. Dead letters are there with their batches.
async fn read(archive: &Archive) -> (Vec<u8>, i64) {
    let (mut bytes, mut end) = (Vec::new(), 0);
    let mut letters = Vec::new();
    for part in archive.history(&key(), None).await.unwrap() {
        let lineage = part.manifest.lineage;
        end = part.manifest.next;
        letters.extend(archive.dead_letters(&part.manifest).await.unwrap());
        let mut reader = SegmentReader::open(archive, &key(), lineage, &part.manifest)
            .await
            .unwrap();
        while let Some(chunk) = reader.next_chunk().await.unwrap() {
            for batch in Batches::new(&chunk) {
                bytes.extend_from_slice(batch.unwrap().bytes());
            }
        }
    }
    assert_eq!(letters, expected_letters(end));
    (bytes, end)
}

fn expected(until: i64) -> Vec<u8> {
    let mut bytes = run(0, until.min(GAP.start) / 3, Shape::default()).bytes;
    if until > GAP.end {
        bytes.extend(run(GAP.end, (until - GAP.end) / 3, Shape::default()).bytes);
    }
    bytes
}

/// Opens what a power cut left, and goes on.
async fn goes_on(files: &BTreeMap<PathBuf, Option<Vec<u8>>>, root: &Path, promised: i64) {
    let folder = temporary_folder();
    let place = folder.path().join("archive");
    for (path, content) in files {
        let path = place.join(path.strip_prefix(root).unwrap());
        match content {
            None => fs::create_dir(path).unwrap(),
            Some(content) => fs::write(path, content).unwrap(),
        }
    }
    let location = Location::Folder(place.clone());
    if place.join("armory.json").exists() {
        let archive = Archive::open(location.clone()).await.unwrap();
        let (bytes, end) = read(&archive).await;
        assert!(end >= promised, "a reader sees {end} of {promised}");
        assert!(bytes == expected(end), "a reader sees something else");
    } else {
        assert_eq!(promised, 0);
    }
    let archive = Archive::create_or_open(location).await.unwrap();
    archive.genesis(&key().topic, genesis()).await.unwrap();
    let mut writer = PartitionWriter::open(&archive, key(), options(3, None))
        .await
        .unwrap();
    let next = writer.next_offset();
    assert!(next >= promised, "a writer goes on at {next} of {promised}");
    feed(&mut writer, END + 3);
    let sealed = writer.seal().unwrap().unwrap();
    writer.chain().commit(sealed).await.unwrap();
    let (bytes, end) = read(&archive).await;
    assert!(end == END + 3 && bytes == expected(end));
    let report = archive.verify(|_| true, Depth::Segments, |_| {}).await;
    let report = report.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}

#[tokio::test]
async fn nothing_that_was_promised_is_lost_at_any_point() {
    let folder = temporary_folder();
    let root = folder.path().join("archive");
    // The archive's own folder is made, too, and has to last.
    recorder::start(folder.path());
    live(&root).await;
    let operations = recorder::finish(folder.path());
    let syncs = |operation: &&Operation| {
        matches!(operation, Operation::Synced(_) | Operation::FolderSynced(_))
    };
    assert!(operations.iter().filter(syncs).count() > 30);

    let mut disk = Disk::default();
    let (mut promised, mut seen) = (0, HashSet::new());
    for (number, operation) in operations.iter().enumerate() {
        disk.apply(operation);
        if let Operation::Promised(offset) = operation {
            assert!(*offset >= promised, "a promise was taken back");
            promised = *offset;
        }
        for left in [
            Left::Nothing,
            Left::NamesAndZeros,
            Left::Names,
            Left::Bytes,
            Left::Everything,
        ] {
            let files = disk.after(left, &root);
            if seen.insert((files.clone(), promised)) {
                let last = format!("{operation:?}");
                println!("{left:?} after operation {number}, promised {promised}: {last:.200}");
                goes_on(&files, &root, promised).await;
            }
        }
    }
    assert_eq!(promised, END);
    assert!(seen.len() > 100, "{}", seen.len());
}
