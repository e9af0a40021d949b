//! Writing an image as a file: an OCI image layout in a tar archive, which Docker, too, loads.
//!
//! The same content gives the same bytes: entries are in the order of their names, belong to root, and have no time.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The time that everything in an image is said to have been made at, so that it does not differ from build to build.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// What an image consists of, and how it is run.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// The name with its tag: `armory:1.0`, `registry.example/armory:1.0`.
    pub name: String,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Variables, as `NAME=value`.
    pub env: Vec<String>,
    /// The user and the group that the program runs as: `65532:65532`.
    pub user: String,
    /// The working directory.
    pub working_dir: String,
    /// Labels, by name.
    pub labels: Vec<(String, String)>,
    /// The layers, lowest first: see [`layer`].
    pub layers: Vec<Vec<u8>>,
}

/// The files in and below `folder` whose paths, relative to it, `select` takes, as a layer: an uncompressed tar archive.
///
/// Folders are taken along for the sake of what is in them, or when `select` takes them themselves.
pub fn layer(folder: &Path, select: impl Fn(&Path) -> bool) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut paths = Vec::new();
    list(folder, Path::new(""), &mut paths)?;
    let selected: Vec<&PathBuf> = paths.iter().filter(|path| select(path)).collect();
    for path in &paths {
        if !selected.iter().any(|taken| taken.starts_with(path)) {
            continue;
        }
        let source = folder.join(path);
        let metadata = fs::symlink_metadata(&source)?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(metadata.permissions().mode() & 0o7777);
        header.set_size(0);
        if metadata.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, path, fs::read_link(&source)?)?;
        } else if metadata.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, path, std::io::empty())?;
        } else {
            let content = fs::read(&source)?;
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content.as_slice())?;
        }
    }
    Ok(archive.into_inner()?)
}

/// Everything below `root`/`folder`, each folder before what is in it.
fn list(root: &Path, folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let place = root.join(folder);
    let entries =
        fs::read_dir(&place).with_context(|| format!("cannot list {}", place.display()))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let path = folder.join(name);
        let is_folder = fs::symlink_metadata(root.join(&path))?.is_dir();
        paths.push(path.clone());
        if is_folder {
            list(root, &path, paths)?;
        }
    }
    Ok(())
}

impl Image {
    /// Writes the archive to the new file `path`.
    pub fn write(&self, path: &Path) -> Result<()> {
        ensure!(
            self.name
                .rsplit('/')
                .next()
                .is_some_and(|last| last.contains(':')),
            "the image name {} has no tag: write {}:TAG",
            self.name,
            self.name
        );
        let mut blobs = Vec::new();
        let mut blob = |media_type: &str, bytes: Vec<u8>| -> Value {
            let digest = hex(&Sha256::digest(&bytes));
            let size = bytes.len();
            blobs.push((format!("blobs/sha256/{digest}"), bytes));
            json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
        };
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| blob("application/vnd.oci.image.layer.v1.tar", layer.clone()))
            .collect();
        let config = blob(
            "application/vnd.oci.image.config.v1+json",
            serde_json::to_vec(&self.config(&layers))?,
        );
        let manifest = blob(
            "application/vnd.oci.image.manifest.v1+json",
            serde_json::to_vec(&json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config,
                "layers": layers,
            }))?,
        );

        let mut named = manifest;
        named["annotations"] = json!({
            "io.containerd.image.name": full_name(&self.name),
            "org.opencontainers.image.ref.name": self.name.rsplit(':').next(),
        });
        let file_of = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap_or_default();
            format!("blobs/{}", digest.replace(':', "/"))
        };
        let mut files = vec![
            (
                "oci-layout".to_owned(),
                serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?,
            ),
            (
                "index.json".to_owned(),
                serde_json::to_vec(&json!({
                    "schemaVersion": 2,
                    "mediaType": "application/vnd.oci.image.index.v1+json",
                    "manifests": [named],
                }))?,
            ),
            // Docker before version 25 knows only this.
            (
                "manifest.json".to_owned(),
                serde_json::to_vec(&json!([{
                    "Config": file_of(&config),
                    "RepoTags": [self.name],
                    "Layers": layers.iter().map(file_of).collect::<Vec<_>>(),
                }]))?,
            ),
        ];
        files.append(&mut blobs);

        let mut archive = tar::Builder::new(
            fs::File::create(path).with_context(|| format!("cannot create {}", path.display()))?,
        );
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content.as_slice())?;
        }
        archive.into_inner()?;
        Ok(())
    }

    /// What the OCI image specification calls the configuration: how a container is run, and what its layers are.
    fn config(&self, layers: &[Value]) -> Value {
        let labels: serde_json::Map<String, Value> = self
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        // The digest of a layer that is not compressed is the digest of its content.
        let contents: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        json!({
            "architecture": match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
            "os": "linux",
            "created": EPOCH,
            "config": {
                "Entrypoint": self.entrypoint,
                "Env": self.env,
                "User": self.user,
                "WorkingDir": self.working_dir,
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": contents},
            "history": layers.iter().map(|_| json!({"created": EPOCH})).collect::<Vec<_>>(),
        })
    }
}

/// The name with the registry that Docker and Kubernetes take for granted.
fn full_name(name: &str) -> String {
    match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    fn files(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            files.insert(entry.path()?.display().to_string(), content);
        }
        Ok(files)
    }

    fn folder() -> Result<tempfile::TempDir> {
        let folder = tempfile::tempdir()?;
        fs::create_dir_all(folder.path().join("usr/bin"))?;
        fs::create_dir_all(folder.path().join("tmp"))?;
        fs::write(folder.path().join("usr/bin/program"), "code")?;
        fs::write(folder.path().join("other"), "text")?;
        let mode = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(folder.path().join("tmp"), mode)?;
        std::os::unix::fs::symlink("usr/bin", folder.path().join("bin"))?;
        Ok(folder)
    }

    #[test]
    fn a_layer_has_what_is_selected_and_the_folders_on_the_way() -> Result<()> {
        let folder = folder()?;
        let all = files(&layer(folder.path(), |_| true)?)?;
        let names: Vec<&str> = all.keys().map(|name| name.trim_end_matches('/')).collect();
        assert_eq!(
            names,
            ["bin", "other", "tmp", "usr", "usr/bin", "usr/bin/program"]
        );
        let one = files(&layer(folder.path(), |path| path.ends_with("program"))?)?;
        let names: Vec<&str> = one.keys().map(|name| name.trim_end_matches('/')).collect();
        assert_eq!(names, ["usr", "usr/bin", "usr/bin/program"]);
        Ok(())
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() -> Result<()> {
        let write = || -> Result<Vec<u8>> {
            let folder = folder()?;
            let path = folder.path().join("image.tar");
            let image = Image {
                name: "example:1".to_owned(),
                layers: vec![layer(folder.path(), |_| true)?],
                ..Image::default()
            };
            image.write(&path)?;
            Ok(fs::read(&path)?)
        };
        assert!(write()? == write()?);
        Ok(())
    }

    #[test]
    fn every_blob_is_where_its_digest_says() -> Result<()> {
        let folder = folder()?;
        let path = folder.path().join("image.tar");
        let image = Image {
            name: "example:1".to_owned(),
            user: "65532:65532".to_owned(),
            layers: vec![layer(folder.path(), |_| true)?],
            ..Image::default()
        };
        image.write(&path)?;
        let files = files(&fs::read(&path)?)?;
        for (name, content) in &files {
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(digest, hex(&Sha256::digest(content)));
            }
        }
        let docker: Value = serde_json::from_slice(&files["manifest.json"])?;
        let config: Value = serde_json::from_slice(&files[docker[0]["Config"].as_str().unwrap()])?;
        assert_eq!(config["config"]["User"], "65532:65532");
        let layer = docker[0]["Layers"][0].as_str().unwrap();
        assert_eq!(
            config["rootfs"]["diff_ids"][0]
                .as_str()
                .unwrap()
                .replace(':', "/"),
            layer.trim_start_matches("blobs/")
        );
        Ok(())
    }

    #[test]
    fn a_name_without_a_registry_is_dockers() {
        for (name, full) in [
            ("armory:1", "docker.io/library/armory:1"),
            ("acme/armory:1", "docker.io/acme/armory:1"),
            ("ghcr.io/acme/armory:1", "ghcr.io/acme/armory:1"),
            ("localhost/armory:1", "localhost/armory:1"),
            ("registry:5000/armory:1", "registry:5000/armory:1"),
        ] {
            assert_eq!(full_name(name), full);
        }
    }

    #[test]
    fn a_name_without_a_tag_is_refused() {
        let image = Image {
            name: "registry:5000/armory".to_owned(),
            ..Image::default()
        };
        let error = image.write(Path::new("/nowhere/image.tar")).unwrap_err();
        assert!(error.to_string().contains("has no tag"), "{error}");
    }
}
