//! Against programs that others wrote: object stores, Kafka's own reader of log segments, zstd and gunzip.

use std::path::Path;
use std::process::Command;

use armory_archive::{AzureOptions, Codec, GcsOptions, Location, S3Options, WriterOptions};
use armory_records::Compression;
use armory_testkit::{Azurite, Gcs, S3, SeaweedFs, kafka, unique};

use crate::batches::{Shape, run};
use crate::place::{Place, commit, options, writer};

/// Empty prefixes in the server's bucket.
fn prefix_in(s3: &S3) -> Place {
    let options = S3Options {
        region: Some(s3.region().to_owned()),
        endpoint: Some(s3.endpoint()),
        access_key: Some(s3.access_key().to_owned().into()),
        secret_key: Some(s3.secret_key().to_owned().into()),
        ..S3Options::default()
    };
    Place::at(Location::s3(s3.bucket(), &unique("archive"), &options).unwrap())
}

/// A prefix, seen by who has this access key.
fn seaweedfs_prefix(server: &SeaweedFs, prefix: &str, access_key: &str) -> Place {
    let options = S3Options {
        region: Some(server.region().to_owned()),
        endpoint: Some(server.endpoint()),
        access_key: Some(access_key.to_owned().into()),
        secret_key: Some(server.secret_key().to_owned().into()),
        ..S3Options::default()
    };
    Place::at(Location::s3(server.bucket(), prefix, &options).unwrap())
}

/// A directory, seen by who has a token with these permissions.
fn azurite_directory(azurite: &Azurite, directory: &str, permissions: &str) -> Place {
    let options = AzureOptions {
        endpoint: Some(azurite.endpoint()),
        sas_token: Some(azurite.sas_token(permissions).unwrap().into()),
    };
    let (account, container) = (azurite.account(), azurite.container());
    Place::at(Location::azure(account, container, directory, &options).unwrap())
}

fn gcs_prefix(gcs: &Gcs) -> Place {
    let options = GcsOptions {
        endpoint: Some(gcs.endpoint()),
        service_account: Some(gcs.service_account().into()),
    };
    Place::at(Location::gcs(gcs.bucket(), &unique("archive"), &options).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_s3_server_behaves_like_the_others() {
    let s3 = S3::start().unwrap();
    let place = || prefix_in(&s3);
    crate::conformance::suite(place).await;
    crate::fencing::race(place).await;
    crate::fencing::write_large_segment(place()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_s3_server_behaves_like_the_others() {
    let server = SeaweedFs::start().unwrap();
    let place = || seaweedfs_prefix(&server, &unique("archive"), server.writer_key());
    crate::conformance::suite(place).await;
    crate::fencing::race(place).await;
    crate::fencing::write_large_segment(place()).await;

    // Who may only read and list reads everything, and is told what a writer would need.
    let prefix = unique("archive");
    let (writer, reader) = (
        seaweedfs_prefix(&server, &prefix, server.writer_key()),
        seaweedfs_prefix(&server, &prefix, server.reader_key()),
    );
    crate::rights::reading_needs_no_more(&writer, &reader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn azure_behaves_like_the_others() {
    let azurite = Azurite::start().unwrap();
    // The least that a writer needs: read, create, write, delete, list.
    let place = || azurite_directory(&azurite, &unique("archive"), "rcwdl");
    crate::conformance::suite(place).await;
    crate::fencing::race(place).await;
    crate::fencing::write_large_segment(place()).await;

    let directory = unique("archive");
    let (writer, reader) = (
        azurite_directory(&azurite, &directory, "rcwdl"),
        azurite_directory(&azurite, &directory, "rl"),
    );
    crate::rights::reading_needs_no_more(&writer, &reader).await;
}

/// The double: see its documentation for what this shows, and what not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_double_of_google_cloud_storage_behaves_like_the_others() {
    let gcs = Gcs::start().unwrap();
    let place = || gcs_prefix(&gcs);
    crate::conformance::suite(place).await;
    crate::fencing::race(place).await;
    crate::fencing::write_large_segment(place()).await;
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text} {errors}");
    text
}

/// The offsets of the records that Kafka finds in a file.
fn dumped_offsets(log: &Path) -> Vec<i64> {
    let arguments = ["--deep-iteration", "--files", log.to_str().unwrap()];
    let text = output(&mut kafka::tool_command("dump-log", &arguments).unwrap());
    assert!(
        text.contains("isvalid: true") && !text.contains("isvalid: false"),
        "{text}"
    );
    text.lines()
        .filter_map(|line| {
            line.strip_prefix("| offset: ")?
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

#[tokio::test]
async fn kafka_reads_every_segment() {
    for (compression, codec, tool) in [
        (Compression::None, None, None),
        (Compression::Lz4, Some(Codec::Zstd), None),
        (Compression::None, Some(Codec::Zstd), Some(["zstd", "-d"])),
        (Compression::None, Some(Codec::Gzip), Some(["gunzip", "-k"])),
    ] {
        let place = Place::folder();
        let archive = place.create().await;
        let options = WriterOptions {
            compression: codec.map(|codec| (codec, None)),
            ..options()
        };
        let mut writer = writer(&archive, options).await;
        let shape = Shape {
            compression,
            records: 500,
            value_bytes: 2000,
            ..Shape::default()
        };
        let content = run(0, 5, shape);
        writer.append(&content.bytes, &content.headers).unwrap();
        commit(&mut writer).await;
        let file = place.files("topics").await.remove(0);
        let mut path = place.path(&file);
        if let Some([program, flag]) = tool {
            output(Command::new(program).arg(flag).arg(&path));
            path.set_extension("");
        }
        assert_eq!(std::fs::read(&path).unwrap(), content.bytes);
        assert_eq!(
            dumped_offsets(&path),
            (0..2500).collect::<Vec<_>>(),
            "{file}"
        );
    }
}
