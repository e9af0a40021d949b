//! Where volumes and secrets are: outside Kubernetes where the user says, in a pod at places of its own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::job::Secret;

/// Folders by the name of a claim or a volume Storage, and files by the name and key of a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings {
    claims: BTreeMap<String, PathBuf>,
    secrets: BTreeMap<(String, String), PathBuf>,
    /// What a job needed; `Some` in a pod, where everything has its place.
    needed: Option<RefCell<Needs>>,
}

/// What has to be mounted into the pod of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Volume claims of plugins, by name.
    pub claims: BTreeSet<String>,
    /// The Storage, if it is a volume, by name.
    pub storage: Option<String>,
    /// Keys of Secrets, by the Secret's name.
    pub secrets: BTreeMap<String, BTreeSet<String>>,
}

/// Where things lie in a pod.
pub mod pod {
    /// The folder of the archive, where the Storage is a volume.
    pub const STORAGE: &str = "/var/lib/armory/storage";
    /// A folder for each claim of plugins, by its name.
    pub const CLAIMS: &str = "/var/lib/armory/claims";
    /// A folder for each Secret, by its name, with a file for each key.
    pub const SECRETS: &str = "/etc/armory/secrets";
}

/// A binding that cannot be read, or that contradicts another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// `--claim` without a name or a folder.
    #[error("{0:?} binds nothing, write NAME=DIR")]
    Claim(String),
    /// `--secret` without a name, a key or a path.
    #[error("{0:?} binds nothing, write NAME/KEY=PATH")]
    Secret(String),
    /// The same name twice.
    #[error("{0} is bound twice")]
    Twice(String),
}

impl Bindings {
    /// Adds `NAME=DIR`: the folder of a plugin's claim, or of the volume Storage of that name.
    pub fn add_claim(&mut self, text: &str) -> Result<(), BindingError> {
        let wrong = || BindingError::Claim(text.to_owned());
        let (name, folder) = text.split_once('=').ok_or_else(wrong)?;
        if name.is_empty() || folder.is_empty() {
            return Err(wrong());
        }
        match self.claims.insert(name.to_owned(), folder.into()) {
            None => Ok(()),
            Some(_) => Err(BindingError::Twice(name.to_owned())),
        }
    }

    /// Adds `NAME/KEY=PATH`: the file that holds a key of a Secret.
    pub fn add_secret(&mut self, text: &str) -> Result<(), BindingError> {
        let wrong = || BindingError::Secret(text.to_owned());
        let (secret, path) = text.split_once('=').ok_or_else(wrong)?;
        let (name, key) = secret.split_once('/').ok_or_else(wrong)?;
        if name.is_empty() || key.is_empty() || path.is_empty() {
            return Err(wrong());
        }
        match self
            .secrets
            .insert((name.to_owned(), key.to_owned()), path.into())
        {
            None => Ok(()),
            Some(_) => Err(BindingError::Twice(secret.to_owned())),
        }
    }

    /// The places of a pod: whatever a job names is bound, and remembered ([`Bindings::needs`]).
    pub fn in_pod() -> Bindings {
        Bindings {
            needed: Some(RefCell::default()),
            ..Bindings::default()
        }
    }

    /// What the jobs that were resolved with these bindings need; nothing outside a pod.
    pub fn needs(&self) -> Needs {
        let needed = self.needed.as_ref();
        needed.map_or_else(Needs::default, |needed| needed.borrow().clone())
    }

    /// The folder of a claim that plugins lie on.
    pub(crate) fn claim(&self, name: &str) -> Option<PathBuf> {
        match &self.needed {
            Some(needed) => {
                needed.borrow_mut().claims.insert(name.to_owned());
                Some(Path::new(pod::CLAIMS).join(name))
            }
            None => self.claims.get(name).cloned(),
        }
    }

    /// The folder of a Storage that is a volume.
    pub(crate) fn storage(&self, name: &str) -> Option<PathBuf> {
        match &self.needed {
            Some(needed) => {
                needed.borrow_mut().storage = Some(name.to_owned());
                Some(pod::STORAGE.into())
            }
            None => self.claims.get(name).cloned(),
        }
    }

    /// The file with a key of a Secret. In a pod it has its place whether it is there or not, so whoever reads it decides what
    /// becomes of one that may be missing.
    pub(crate) fn secret(&self, name: &str, key: &str, may_be_missing: bool) -> Option<Secret> {
        match &self.needed {
            Some(needed) => {
                let mut needed = needed.borrow_mut();
                let keys = needed.secrets.entry(name.to_owned()).or_default();
                keys.insert(key.to_owned());
                let file = Path::new(pod::SECRETS).join(name).join(key);
                Some(match may_be_missing {
                    true => Secret::OptionalFile(file),
                    false => Secret::File(file),
                })
            }
            None => {
                let key = (name.to_owned(), key.to_owned());
                self.secrets.get(&key).cloned().map(Secret::File)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_read() {
        let mut bindings = Bindings::default();
        bindings.add_claim("plugins-pvc=./plugins").unwrap();
        bindings.add_secret("s3/access.key=/run/a=b").unwrap();
        assert_eq!(bindings.claim("plugins-pvc"), Some("./plugins".into()));
        for may_be_missing in [false, true] {
            assert_eq!(
                bindings.secret("s3", "access.key", may_be_missing),
                Some(Secret::File("/run/a=b".into()))
            );
        }
        assert_eq!(bindings.claim("other"), None);
        assert_eq!(bindings.needs(), Needs::default());
    }

    #[test]
    fn a_pod_has_a_place_for_everything_that_is_named() {
        let bindings = Bindings::in_pod();
        assert_eq!(
            bindings.claim("plugins"),
            Some("/var/lib/armory/claims/plugins".into())
        );
        assert_eq!(
            bindings.storage("disk"),
            Some("/var/lib/armory/storage".into())
        );
        assert_eq!(
            bindings.secret("s3", "key", false),
            Some(Secret::File("/etc/armory/secrets/s3/key".into()))
        );
        assert_eq!(
            bindings.secret("s3", "token", true),
            Some(Secret::OptionalFile("/etc/armory/secrets/s3/token".into()))
        );
        let needs = bindings.needs();
        assert_eq!(needs.claims, BTreeSet::from(["plugins".to_owned()]));
        assert_eq!(needs.storage.as_deref(), Some("disk"));
        let keys = ["key", "token"].map(str::to_owned);
        assert_eq!(needs.secrets["s3"], BTreeSet::from(keys));
    }

    #[test]
    fn wrong_bindings_are_named() {
        let mut bindings = Bindings::default();
        for text in ["", "a", "a=", "=b"] {
            let error = bindings.add_claim(text).unwrap_err();
            assert_eq!(error, BindingError::Claim(text.to_owned()));
        }
        for text in ["a=b", "a/=b", "/k=b", "a/k", "a/k="] {
            let error = bindings.add_secret(text).unwrap_err();
            assert_eq!(error, BindingError::Secret(text.to_owned()));
        }
        bindings.add_claim("a=b").unwrap();
        let error = bindings.add_claim("a=c").unwrap_err();
        assert_eq!(error.to_string(), "a is bound twice");
    }
}
