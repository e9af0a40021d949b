//! Volumes that are really as small as they say.

use std::path::PathBuf;

use anyhow::Result;

use super::{Cluster, Namespace};
use crate::{cache, unique};

/// A volume in memory, bound to the claim that it was made for. Dropping it removes it, with what is on it.
#[derive(Debug)]
pub struct SmallVolume<'cluster> {
    cluster: &'cluster Cluster,
    name: String,
    path: PathBuf,
}

impl<'cluster> SmallVolume<'cluster> {
    /// For the claim of that name, which must not exist yet, and may ask for as much as it likes.
    pub(super) fn create(
        namespace: &Namespace<'cluster>,
        claim: &str,
        kibibytes: u32,
    ) -> Result<SmallVolume<'cluster>> {
        let cluster = namespace.cluster();
        let name = unique(claim);
        let path = cluster.place.state().join("volumes").join(&name);
        std::fs::create_dir_all(&path)?;
        let volume = SmallVolume {
            cluster,
            name,
            path,
        };
        volume.mount(&format!("size={kibibytes}k,mode=777"))?;
        let (name, path, namespace) = (&volume.name, volume.path.display(), namespace.name());
        cluster.apply(&format!(
            "apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Ti}}
  accessModes: [ReadWriteOnce]
  storageClassName: folder
  persistentVolumeReclaimPolicy: Retain
  hostPath: {{path: '{path}'}}
  claimRef: {{namespace: {namespace}, name: {claim}}}
"
        ))?;
        Ok(volume)
    }

    /// Makes it smaller or larger. What is on it stays.
    pub fn resize(&self, kibibytes: u32) -> Result<()> {
        self.mount(&format!("remount,size={kibibytes}k"))
    }

    /// The paths of its files, below its root.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut command = self.cluster.inside(&["--mount"], "find");
        command
            .arg(&self.path)
            .args(["-type", "f", "-printf", "%P\\n"]);
        let found = cache::run(&mut command)?;
        Ok(found.lines().map(str::to_owned).collect())
    }

    fn mount(&self, options: &str) -> Result<()> {
        // Where the kubelet sees it, and nowhere else.
        let mut command = self.cluster.inside(&["--mount"], "mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]);
        cache::run(command.arg(&self.path)).map(drop)
    }
}

impl Drop for SmallVolume<'_> {
    fn drop(&mut self) {
        // Lazily: a pod may still be on its way out.
        let mut unmount = self.cluster.inside(&["--mount"], "umount");
        let unmounted = cache::run(unmount.arg("--lazy").arg(&self.path));
        let volume = format!("persistentvolume/{}", self.name);
        let deleted =
            self.cluster
                .kubectl(&["delete", &volume, "--wait=false", "--ignore-not-found"]);
        if let Err(error) = unmounted.and(deleted) {
            eprintln!("{error:#}");
        }
    }
}
