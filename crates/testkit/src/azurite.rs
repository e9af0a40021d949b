//! Azurite: Microsoft's own emulator of Azure Blob Storage, on loopback.

use std::io::BufReader;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::http::Message;
use crate::process::Process;
use crate::{cache, ports};

/// The version of Azurite that tests run against.
pub const VERSION: &str = "3.37.0";

const ACCOUNT: &str = "armory";
/// Any bytes, in base64.
const KEY: &str = "YXJtb3J5J3MgdGVzdHMgdXNlIHRoaXMga2V5IGFuZCBub2JvZHkgZWxzZSBkb2VzLiA=";
const CONTAINER: &str = "backups";
/// What all signatures have in common.
const SAS_VERSION: &str = "2019-12-12";
const START: &str = "2020-01-01T00:00:00Z";
const EXPIRY: &str = "2099-01-01T00:00:00Z";
const PROTOCOL: &str = "https,http";

/// Fetches Azurite from npm, or finds it in the cache, and returns the program that Node runs.
pub fn server() -> Result<PathBuf> {
    let folder = cache::root()?.join(format!("azurite-{VERSION}"));
    let folder = cache::once(&folder, |partial| {
        std::fs::create_dir_all(partial)?;
        cache::run(
            Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--no-save"])
                .args(["--loglevel=error", &format!("azurite@{VERSION}")])
                .current_dir(partial),
        )
        .context("cannot fetch Azurite")?;
        Ok(())
    })?;
    Ok(folder.join("node_modules/azurite/dist/src/blob/main.js"))
}

/// A running Azurite with one container. Dropping it stops it and removes its blobs.
#[derive(Debug)]
pub struct Azurite {
    _process: Process,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Azurite {
    /// Starts it with an empty container.
    pub fn start() -> Result<Self> {
        let server = server()?;
        let folder = crate::memory_folder("armory-azurite-")?;
        let port = ports::free(1)?[0];
        let mut args = vec![server.into_os_string(), "--blobHost".into()];
        args.extend(["127.0.0.1", "--blobPort", &port.to_string()].map(Into::into));
        // The client speaks a version of the protocol that Azurite may not have heard of.
        args.extend(["--silent", "--skipApiVersionCheck", "--location"].map(Into::into));
        args.push(folder.path().join("blobs").into_os_string());
        let mut process = Process::spawn(
            "node",
            args,
            &[("AZURITE_ACCOUNTS", &format!("{ACCOUNT}:{KEY}"))],
            &folder.path().join("log"),
            Some(folder.path()),
        )?;
        process.wait_until(Duration::from_secs(120), |_| {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })?;
        let azurite = Self {
            _process: process,
            port,
            _folder: folder,
        };
        azurite.create_container()?;
        Ok(azurite)
    }

    /// The account's address: `http://127.0.0.1:<port>/<account>`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// The account's name.
    pub fn account(&self) -> &str {
        ACCOUNT
    }

    /// The container's name.
    pub fn container(&self) -> &str {
        CONTAINER
    }

    /// A shared access signature of the container with these permissions: some of `racwdl`, in this order.
    ///
    /// <https://learn.microsoft.com/rest/api/storageservices/create-service-sas>. (One of the account would not do:
    /// Azurite lets those delete no blobs by the batch, as Armory does.)
    pub fn sas_token(&self, permissions: &str) -> Result<String> {
        let resource = format!("/blob/{ACCOUNT}/{CONTAINER}");
        let text = format!(
            "{permissions}\n{START}\n{EXPIRY}\n{resource}\n\n\n{PROTOCOL}\n{SAS_VERSION}\nc\n\n\n\n\n\n"
        );
        let signature = signature(&text)?;
        Ok(format!(
            "sv={SAS_VERSION}&sr=c&sp={permissions}&st={START}&se={EXPIRY}&spr={PROTOCOL}&sig={signature}"
        ))
    }

    /// A shared access signature of the account that creates containers.
    ///
    /// <https://learn.microsoft.com/rest/api/storageservices/create-account-sas>
    fn account_sas_token() -> Result<String> {
        let text = format!("{ACCOUNT}\nc\nb\nc\n{START}\n{EXPIRY}\n\n{PROTOCOL}\n{SAS_VERSION}\n");
        let signature = signature(&text)?;
        Ok(format!(
            "sv={SAS_VERSION}&ss=b&srt=c&sp=c&st={START}&se={EXPIRY}&spr={PROTOCOL}&sig={signature}"
        ))
    }

    fn create_container(&self) -> Result<()> {
        let query = Self::account_sas_token()?;
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port))?);
        let headers = [
            ("Host", format!("127.0.0.1:{}", self.port)),
            ("Content-Length", "0".to_owned()),
        ];
        let request = Message {
            start: format!("PUT /{ACCOUNT}/{CONTAINER}?restype=container&{query} HTTP/1.1"),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
            body: Vec::new(),
        };
        request.write(stream.get_mut())?;
        let answer =
            Message::read_answer(&mut stream, "PUT")?.context("Azurite does not answer")?;
        let body = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status() == 201, "{}: {body}", answer.start);
        Ok(())
    }
}

/// The signature of a text, for a query.
fn signature(text: &str) -> Result<String> {
    let signature = STANDARD.encode(hmac_sha256(&STANDARD.decode(KEY)?, text.as_bytes()));
    Ok(signature
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D"))
}

/// RFC 2104 with SHA-256, for keys of at most a block.
fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_second_test_case_of_rfc_4231() {
        let mac = super::hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
