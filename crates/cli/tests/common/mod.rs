//! What the tests of the command share: running it, and small archives to run it on.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

pub mod cluster;

use std::collections::BTreeMap;
use std::path::Path;

use armory_archive::{
    Archive, Codec, GapCause, GenesisInfo, Location, PartitionKey, PartitionWriter, TopicId,
    TopicKey, WriterIdentity, WriterOptions,
};
use armory_records::{BatchBuilder, BatchHeader, BatchOptions, Compression, TimestampType};
use assert_cmd::Command;

/// The command, free of the environment's opinions.
pub fn armory() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_armory"));
    for name in [
        "ARMORY_LOG",
        "RUST_LOG",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "GOOGLE_BASE_URL",
        "AZURE_STORAGE_ENDPOINT",
    ] {
        command.env_remove(name);
    }
    command
}

/// What a run printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs the command in a folder.
pub fn run(folder: &Path, arguments: &[&str]) -> Ran {
    run_with(folder, arguments, &[])
}

/// Runs the command in a folder, with changes to its environment: names, and paths below that folder.
pub fn run_with(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let paths = environment
        .iter()
        .map(|(name, path)| (name, folder.join(path)));
    let output = armory()
        .current_dir(folder)
        .envs(paths)
        .args(arguments)
        .output()
        .expect("the command can be run");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Runs the command, which has to succeed.
#[track_caller]
pub fn done(folder: &Path, arguments: &[&str]) -> String {
    let ran = run(folder, arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
    ran.out
}

/// A record: key, value, headers.
type Fields<'a> = (
    Option<&'a [u8]>,
    Option<&'a [u8]>,
    &'a [(&'a [u8], Option<&'a [u8]>)],
);

/// A batch of records, which begin at an offset and a timestamp and go on by one.
fn batch(options: BatchOptions, timestamp: i64, records: &[Fields<'_>]) -> (Vec<u8>, BatchHeader) {
    let mut builder = BatchBuilder::new(options);
    for (index, (key, value, headers)) in records.iter().enumerate() {
        let index = index as i64;
        let time = match options.timestamp_type {
            TimestampType::CreateTime => timestamp + index,
            TimestampType::LogAppendTime => timestamp,
        };
        builder.append(
            options.base_offset + index,
            time,
            *key,
            *value,
            headers.iter().copied(),
        );
    }
    let mut bytes = Vec::new();
    let header = builder.finish(&mut bytes).expect("a batch");
    (bytes, header)
}

fn at(base_offset: i64) -> BatchOptions {
    BatchOptions {
        base_offset,
        partition_leader_epoch: 3,
        ..BatchOptions::default()
    }
}

/// Milliseconds of 2026-01-01T00:00:00Z.
pub const NEW_YEAR: i64 = 1_767_225_600_000;

/// Writes an archive into `archive` of the folder: topic `orders` with two partitions, of which the first has two
/// segments, a head lost to retention and a filtered stretch, and topic `plain` with one.
pub fn write_archive(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let location = Location::Folder(folder.join("archive"));
        let archive = Archive::create_or_open(location).await.expect("an archive");
        write_orders(&archive).await;
        write_plain(&archive).await;
    });
}

async fn topic(archive: &Archive, name: &str, id: &str, partitions: i32) -> TopicKey {
    let key = TopicKey::new(name, id.parse::<TopicId>().expect("an id"));
    let configs = BTreeMap::from([("retention.ms".to_owned(), "86400000".to_owned())]);
    let info = GenesisInfo {
        cluster_id: Some("test-cluster".to_owned()),
        partitions,
        configs,
    };
    archive.genesis(&key, info).await.expect("a genesis");
    key
}

async fn writer(
    archive: &Archive,
    topic: &TopicKey,
    partition: i32,
    codec: Option<Codec>,
) -> PartitionWriter {
    let mut options = WriterOptions::new(WriterIdentity::new("test", 1));
    options.compression = codec.map(|codec| (codec, None));
    let key = PartitionKey {
        topic: topic.clone(),
        partition,
    };
    PartitionWriter::open(archive, key, options)
        .await
        .expect("a writer")
}

fn append(writer: &mut PartitionWriter, batch: (Vec<u8>, BatchHeader)) {
    writer.append(&batch.0, &[batch.1]).expect("it follows");
}

async fn commit(writer: &mut PartitionWriter) {
    let sealed = writer
        .seal()
        .expect("it can be sealed")
        .expect("there is something");
    writer
        .chain()
        .commit(sealed)
        .await
        .expect("it can be committed");
}

async fn write_orders(archive: &Archive) {
    let topic = topic(archive, "orders", "AAAAAAAAAAAAAAAAAAAAAQ", 2).await;
    let mut first = writer(archive, &topic, 0, None).await;
    first
        .gap(40, GapCause::BeforeLogStart, None)
        .expect("a gap");
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"trace", Some(b"abc")), (b"trace", None)];
    let records: [Fields<'_>; 3] = [
        (Some(b"k0"), Some(b"v0"), &[]),
        (None, None, &[]),
        (Some(b"k1"), Some(&[0xff, 0x00]), &headers),
    ];
    append(&mut first, batch(at(40), NEW_YEAR - 2, &records));
    commit(&mut first).await;
    first.gap(45, GapCause::Filtered, None).expect("a gap");
    let options = BatchOptions {
        compression: Compression::Zstd,
        timestamp_type: TimestampType::LogAppendTime,
        ..at(45)
    };
    let empty: [Fields<'_>; 2] = [
        (Some(b""), Some(b""), &[]),
        (None, Some("grüße".as_bytes()), &[]),
    ];
    append(&mut first, batch(options, NEW_YEAR + 1000, &empty));
    commit(&mut first).await;

    let mut second = writer(archive, &topic, 1, Some(Codec::Zstd)).await;
    append(
        &mut second,
        batch(at(0), NEW_YEAR, &[(None, Some(b"only"), &[])]),
    );
    commit(&mut second).await;
}

async fn write_plain(archive: &Archive) {
    let topic = topic(archive, "plain", "AAAAAAAAAAAAAAAAAAAAAg", 1).await;
    let mut writer = writer(archive, &topic, 0, None).await;
    append(
        &mut writer,
        batch(
            at(0),
            NEW_YEAR,
            &[(None, Some(b"a"), &[]), (None, Some(b"b"), &[])],
        ),
    );
    commit(&mut writer).await;
}

/// All files below a folder whose name ends so.
pub fn files(folder: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("it can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
