//! Compiled components, kept from one process to the next.
//!
//! Compiling takes from 20 ms (Rust) to 8 s (Python, JavaScript), loading what was compiled a few, because it is mapped, not read. What lies here
//! is machine code that the process will run, so the folder belongs to this user alone, and every file carries a digest.

use std::fs::{self, File};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, Result};

use crate::HostError;

/// A file is what wasmtime serialised, and then its digest (BLAKE3: it is computed at every start, and of megabytes).
const DIGEST_LEN: usize = blake3::OUT_LEN;

/// A folder of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    /// Tells compilers and their settings apart: code that another one made is never found.
    compiler: String,
}

impl Cache {
    /// Opens a folder, or makes it. One that others can reach is refused.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Result<Self, HostError> {
        let refused = |reason: String| HostError::Cache {
            folder: folder.to_owned(),
            reason,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| refused(format!("it cannot be made: {error}")))?;
        let found = fs::symlink_metadata(folder).map_err(|error| refused(error.to_string()))?;
        if !found.is_dir() {
            return Err(refused("it is not a folder".into()));
        }
        if found.mode() & 0o077 != 0 {
            let mode = found.mode() & 0o777;
            return Err(refused(format!(
                "its mode is {mode:o}, and code is only loaded from a folder with mode 700"
            )));
        }
        // Who may write to a folder of mode 700 is told by its owner. A file that is made in it tells who we are.
        let probe = folder.join(format!("probe-{}", std::process::id()));
        let own = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&probe);
        let owner = own.and_then(|file| file.metadata()).map(|file| file.uid());
        let _ = fs::remove_file(&probe);
        match owner {
            Ok(owner) if owner == found.uid() => {}
            Ok(_) => return Err(refused("it belongs to another user".into())),
            Err(error) => return Err(refused(format!("it cannot be written to: {error}"))),
        }
        // With the digest that files end with, so that those of another one are not looked at.
        let mut hasher = Sha256Hasher(Sha256::new_with_prefix("BLAKE3 at the end"));
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let compiler = crate::host::hex(&hasher.0.finalize()[..16]);
        Ok(Self {
            folder: folder.to_owned(),
            compiler,
        })
    }

    /// The compiled form of a component, whose SHA-256 is `digest`, and whether it was there already. A file that is missing, damaged or of no use is made
    /// again; a cache that cannot be written to is no reason to fail.
    pub(crate) fn load_or_compile(
        &self,
        engine: &Engine,
        digest: &str,
        bytes: &[u8],
    ) -> Result<(Component, bool)> {
        let path = self
            .folder
            .join(format!("{digest}-{}.cwasm", self.compiler));
        match self.load(engine, &path) {
            Ok(Some(component)) => return Ok((component, true)),
            Ok(None) => {}
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "compiled plugin is of no use, compiling it again")
            }
        }
        let component = Component::from_binary(engine, bytes)?;
        if let Err(error) = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| self.store(&path, &code))
        {
            tracing::warn!(path = %path.display(), %error, "cannot keep the compiled plugin");
        }
        Ok((component, false))
    }

    #[allow(unsafe_code)]
    fn load(&self, engine: &Engine, path: &Path) -> Result<Option<Component>, String> {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file
                .and_then(check_digest)
                .map_err(|error| error.to_string())?,
        }
        // SAFETY: `deserialize_file` maps the file and runs what is in it as machine code, so it must be what `serialize` made, and
        // stay so. It does:
        // - nobody but this user can write to the folder, which `open` has checked, and only `store` does;
        // - `store` writes what `Component::serialize` returned, under a name that holds the SHA-256 of the component and
        //   a hash of compiler, version, target and settings, and moves the file into place when it is complete. A file that is
        //   there is replaced or deleted as a whole, never written to, so what is mapped stays as it is;
        // - the digest shows that no byte of it has been damaged since. A file that took its place after that look is another
        //   that `store` made for this very name.
        // wasmtime itself refuses code that was made by another version or for another machine; it does not mind what follows.
        let mapped = unsafe { Component::deserialize_file(engine, path) };
        // Nothing on a file system that is mounted `noexec` can be mapped to run. A copy can.
        let component = mapped.or_else(|_| {
            let code = fs::read(path)?;
            // SAFETY: as above.
            unsafe { Component::deserialize(engine, code) }
        });
        component.map(Some).map_err(|error| format!("{error:#}"))
    }

    fn store(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let unfinished = self
            .folder
            .join(format!("unfinished-{}-{number}", std::process::id()));
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .and_then(|mut file| {
                file.write_all(code)?;
                file.write_all(blake3::hash(code).as_bytes())
            })
            .and_then(|()| fs::rename(&unfinished, path));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }
}

/// Whether a file is what was written, by the digest at its end. It is read piece by piece: most of a large one need not be in
/// memory before the code runs.
fn check_digest(mut file: File) -> io::Result<()> {
    let Some(code) = file.metadata()?.len().checked_sub(DIGEST_LEN as u64) else {
        return Err(io::Error::other("it is too short"));
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader((&mut file).take(code))?;
    let mut digest = [0; DIGEST_LEN];
    file.read_exact(&mut digest)?;
    match hasher.finalize() == digest {
        true => Ok(()),
        false => Err(io::Error::other("its digest does not match")),
    }
}

/// The engine's hash goes through any `Hasher`; this one is the same in every process and for every build of std.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
    }
}
