//! Container images, assembled from files: no container engine, no base image, no registry.
//!
//! [`armory`] is the image that users run, laid out by `image/rootfs.sh` as the `Containerfile` does it, around a
//! binary that is built already.

mod oci;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache;
pub use oci::{Image, layer};

/// Of Debian's package busybox-static: it needs no libraries.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// Where the command lies in its image.
const BINARY: &str = "usr/local/bin/armory";

/// The image of the command, ready to be [written](Image::write).
///
/// `repository` is the checkout, `binary` a build of the command, `version` what the image's label says. The binary's symbols
/// are left out, which are most of a debug build. It has two layers, so that a new build changes only the upper one: the binary.
pub fn armory(repository: &Path, binary: &Path, version: &str, name: &str) -> Result<Image> {
    let work = tempfile::tempdir()?;
    let stripped = work.path().join("armory");
    cache::run(Command::new("strip").arg("-o").args([&stripped, binary]))
        .context("cannot leave the symbols out of the binary")?;
    let root = work.path().join("root");
    cache::run(Command::new(repository.join("image/rootfs.sh")).args([&stripped, &root]))?;
    let is_binary = |path: &Path| path == Path::new(BINARY);
    Ok(Image {
        name: name.to_owned(),
        entrypoint: vec![format!("/{BINARY}")],
        env: vec!["PATH=/usr/local/bin".to_owned(), "HOME=/tmp".to_owned()],
        user: "65532:65532".to_owned(),
        working_dir: "/tmp".to_owned(),
        labels: [
            ("title", "Armory"),
            ("description", "Kafka backup and restore"),
            ("licenses", "Apache-2.0"),
            ("version", version),
        ]
        .map(|(label, value)| {
            (
                format!("org.opencontainers.image.{label}"),
                value.to_owned(),
            )
        })
        .into(),
        layers: vec![
            layer(&root, |path| !is_binary(path))?,
            layer(&root, is_binary)?,
        ],
    })
}

/// An image with a shell, `tar`, `sleep` and what else Debian's busybox has, for pods that users fill a volume with.
pub fn busybox(name: &str) -> Result<Image> {
    let root = tempfile::tempdir()?;
    let bin = root.path().join("bin");
    fs::create_dir(&bin)?;
    fs::copy(BUSYBOX, bin.join("busybox"))
        .with_context(|| format!("cannot read {BUSYBOX}: `cargo xtask setup` installs it"))?;
    for applet in ["sh", "sleep", "tar"] {
        symlink("busybox", bin.join(applet))?;
    }
    Ok(Image {
        name: name.to_owned(),
        entrypoint: vec!["/bin/sh".to_owned()],
        env: vec!["PATH=/bin".to_owned()],
        layers: vec![layer(root.path(), |_| true)?],
        ..Image::default()
    })
}

/// The checkout that this runs in: tests run in their package's folder, chores in the checkout's own.
pub fn repository() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    here.ancestors()
        .find(|folder| folder.join("image/rootfs.sh").is_file())
        .map(Path::to_owned)
        .with_context(|| format!("there is no image/rootfs.sh in or above {}", here.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The last stage of the Containerfile, as instruction and argument; lines that go on are put together.
    fn instructions(text: &str) -> Vec<(String, String)> {
        let joined = text.replace("\\\n", " ");
        let stage = joined.rsplit("\nFROM ").next().expect("there is a stage");
        let lines = stage.lines().skip(1).filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.split_once(' '))
            .map(|(instruction, argument)| (instruction.to_owned(), argument.trim().to_owned()))
            .collect()
    }

    fn pairs(argument: &str) -> BTreeMap<String, String> {
        // A value with blanks is quoted, so every pair begins after an even number of quotes.
        let mut pairs = BTreeMap::new();
        let mut rest = argument.trim();
        while let Some((name, value)) = rest.split_once('=') {
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').expect("the quote ends"),
                None => value.split_once(' ').unwrap_or((value, "")),
            };
            pairs.insert(name.to_owned(), value.to_owned());
            rest = after.trim();
        }
        pairs
    }

    fn owned<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
        let pairs = pairs.into_iter();
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn the_containerfile_makes_the_same_image() -> Result<()> {
        let repository = repository()?;
        let text = fs::read_to_string(repository.join("Containerfile"))?;
        // Any program will do: what is looked at is what lies around it, and how it is run.
        let binary = std::env::current_exe()?;
        let image = armory(
            &repository,
            &binary,
            env!("CARGO_PKG_VERSION"),
            "armory:test",
        )?;

        let labels = image.labels.iter().map(|(name, value)| (&**name, &**value));
        let env = image
            .env
            .iter()
            .map(|pair| pair.split_once('=').expect("a pair"));
        for (instruction, argument) in instructions(&text) {
            match instruction.as_str() {
                "LABEL" => assert_eq!(pairs(&argument), owned(labels.clone())),
                "ENV" => assert_eq!(pairs(&argument), owned(env.clone())),
                "USER" => assert_eq!(argument, image.user),
                "WORKDIR" => assert_eq!(argument, image.working_dir),
                "ENTRYPOINT" => {
                    assert_eq!(
                        serde_json::from_str::<Vec<String>>(&argument)?,
                        image.entrypoint
                    );
                }
                "COPY" => assert_eq!(argument, "--from=build /rootfs/ /"),
                other => panic!("{other} is not made by armory()"),
            }
        }
        assert!(text.contains("image/rootfs.sh target/release/armory /rootfs"));
        let toolchain = fs::read_to_string(repository.join("rust-toolchain.toml"))?;
        let channel = toolchain.split('"').nth(1).context("a channel")?;
        let minor = channel.rsplitn(2, '.').last().unwrap_or(channel);
        assert!(
            text.contains(&format!("rust:{channel}-")) || text.contains(&format!("rust:{minor}-")),
            "the Containerfile builds with another Rust than {channel}"
        );
        Ok(())
    }

    #[test]
    fn the_binary_is_a_layer_of_its_own_beside_what_it_needs() -> Result<()> {
        let binary = std::env::current_exe()?;
        let image = armory(&repository()?, &binary, "1.0.0", "armory:test")?;
        let entries = |layer: &[u8]| -> Result<Vec<(String, u32)>> {
            let mut archive = tar::Archive::new(layer);
            let entries = archive.entries()?.map(|entry| {
                let entry = entry?;
                let path = entry.path()?.display().to_string();
                Ok((
                    path.trim_end_matches('/').to_owned(),
                    entry.header().mode()?,
                ))
            });
            entries.collect()
        };
        let [lower, upper] = &image.layers[..] else {
            panic!("{} layers", image.layers.len())
        };
        let lower = entries(lower)?;
        for expected in [
            ("tmp", 0o1777),
            ("etc/passwd", 0o644),
            ("etc/group", 0o644),
            ("etc/nsswitch.conf", 0o644),
            ("etc/ssl/certs/ca-certificates.crt", 0o644),
        ] {
            let expected = (expected.0.to_owned(), expected.1);
            assert!(lower.contains(&expected), "{expected:?} in {lower:?}");
        }
        assert!(
            lower.iter().any(|(path, _)| path.ends_with("libc.so.6")),
            "{lower:?}"
        );
        assert!(lower.iter().all(|(path, _)| path != BINARY));
        assert_eq!(entries(upper)?.last(), Some(&(BINARY.to_owned(), 0o755)));
        Ok(())
    }
}
