//! Against programs that others wrote: an S3 server, Kafka's own reader of log segments, zstd and gunzip.

use std::path::Path;
use std::process::Command;

use armory_archive::{Codec, S3Options, WriterOptions, parse_url};
use armory_records::Compression;
use armory_testkit::{S3, kafka, unique};

use crate::batches::{Shape, run};
use crate::place::{Place, commit, options, writer};

/// Empty prefixes in the server's bucket.
fn prefix_in(s3: &S3) -> Place {
    let options = S3Options {
        region: Some(s3.region().to_owned()),
        endpoint: Some(s3.endpoint()),
        access_key: Some(s3.access_key().to_owned()),
        secret_key: Some(s3.secret_key().to_owned()),
        ..S3Options::default()
    };
    let url = format!("s3://{}/{}", s3.bucket(), unique("archive"));
    Place::at(parse_url(&url, &options).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_s3_server_behaves_like_the_others() {
    let s3 = S3::start().unwrap();
    crate::conformance::suite(|| prefix_in(&s3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_an_s3_server_one_of_two_racing_writers_commits() {
    let s3 = S3::start().unwrap();
    crate::fencing::race(|| prefix_in(&s3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_s3_server_takes_large_segments_in_parts() {
    let s3 = S3::start().unwrap();
    crate::fencing::write_large_segment(prefix_in(&s3)).await;
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
