//! An S3 server that keeps its objects as plain files: versitygw on loopback.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::kubernetes::forward_in;
use crate::process::Process;
use crate::{cache, ports};

/// The version of versitygw that tests run against; it honours every conditional write that Armory needs.
pub const VERSION: &str = "1.8.0";

const ACCESS_KEY: &str = "testkey";
const SECRET_KEY: &str = "testsecret";
const ATTEMPTS: usize = 4;

/// Builds the server, or finds it in the cache.
pub fn server() -> Result<PathBuf> {
    let path = cache::root()?
        .join("bin")
        .join(format!("versitygw-{VERSION}"));
    cache::once(&path, |partial| {
        let bin = tempfile::tempdir_in(path.parent().context("the cache has a folder")?)?;
        cache::run(
            Command::new("go")
                .arg("install")
                .args(["-trimpath", "-ldflags", "-s -w"])
                .arg(format!(
                    "github.com/versity/versitygw/cmd/versitygw@v{VERSION}"
                ))
                .env("GOBIN", bin.path())
                .env("GOFLAGS", "-buildvcs=false")
                .env("CGO_ENABLED", "0"),
        )
        .context("cannot build versitygw")?;
        Ok(std::fs::rename(bin.path().join("versitygw"), partial)?)
    })
}

/// A running S3 server with one bucket. Dropping it stops it and removes its objects.
#[derive(Debug)]
pub struct S3 {
    process: Process,
    port: u16,
    bucket: String,
    folder: tempfile::TempDir,
}

impl S3 {
    /// Starts a server with an empty bucket.
    pub fn start() -> Result<S3> {
        let server = server()?;
        let mut attempt = 1;
        loop {
            match Self::try_start(&server) {
                Err(error)
                    if attempt < ATTEMPTS
                        && format!("{error:#}").contains("address already in use") =>
                {
                    attempt += 1;
                }
                started => return started,
            }
        }
    }

    fn try_start(server: &Path) -> Result<S3> {
        let folder = crate::memory_folder("armory-s3-")?;
        let bucket = "backups".to_owned();
        // A bucket is a folder below the server's root.
        std::fs::create_dir_all(folder.path().join("objects").join(&bucket))?;
        let accounts = folder.path().join("accounts");
        std::fs::create_dir(&accounts)?;
        let port = ports::free(1)?[0];
        let mut process = Process::spawn(
            server,
            [
                "--port".as_ref(),
                format!("127.0.0.1:{port}").as_ref(),
                "--quiet".as_ref(),
                "--iam-dir".as_ref(),
                accounts.as_os_str(),
                // A key that is taken away is refused at once.
                "--iam-cache-disable".as_ref(),
                "posix".as_ref(),
                folder.path().join("objects").as_os_str(),
            ],
            &[
                ("ROOT_ACCESS_KEY", ACCESS_KEY),
                ("ROOT_SECRET_KEY", SECRET_KEY),
            ],
            &folder.path().join("log"),
            Some(folder.path()),
        )?;
        process.wait_until(Duration::from_secs(60), |_| {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })?;
        Ok(S3 {
            process,
            port,
            bucket,
            folder,
        })
    }

    /// The bucket's URL, as Armory is given it: `s3://<bucket>`.
    pub fn url(&self) -> String {
        format!("s3://{}", self.bucket)
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
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

    /// The access key id.
    pub fn access_key(&self) -> &str {
        ACCESS_KEY
    }

    /// The secret access key.
    pub fn secret_key(&self) -> &str {
        SECRET_KEY
    }

    /// Takes these pairs of an access key id and a secret access key from now on, and no others but the server's own.
    pub fn let_in(&self, keys: &[(&str, &str)]) -> Result<()> {
        let accounts = keys.iter().map(|(id, secret)| {
            let account = json!({"access": id, "secret": secret, "role": "admin"});
            ((*id).to_owned(), account)
        });
        let accounts: serde_json::Map<String, serde_json::Value> = accounts.collect();
        let folder = self.folder.path().join("accounts");
        let partial = folder.join("partial");
        std::fs::write(&partial, json!({"accessAccounts": accounts}).to_string())?;
        Ok(std::fs::rename(partial, folder.join("users.json"))?)
    }

    /// The server's folder: objects lie in it as plain files, `<bucket>/<key>`, for tests that damage or remove them.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    /// Freezes the server: connections stay open and nothing answers.
    pub fn pause(&mut self) -> Result<()> {
        self.process.pause()
    }

    /// Lets a paused server go on.
    pub fn resume(&mut self) -> Result<()> {
        self.process.resume()
    }

    /// What the server has printed.
    pub fn log(&self) -> String {
        self.process.output()
    }
}
