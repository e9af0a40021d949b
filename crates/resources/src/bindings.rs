//! What stands in for Kubernetes outside of it: folders for volumes, files for secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Folders by the name of a claim or a volume Storage, and files by the name and key of a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings {
    claims: BTreeMap<String, PathBuf>,
    secrets: BTreeMap<(String, String), PathBuf>,
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

    pub(crate) fn claim(&self, name: &str) -> Option<&Path> {
        self.claims.get(name).map(PathBuf::as_path)
    }

    pub(crate) fn secret(&self, name: &str, key: &str) -> Option<&Path> {
        let key = (name.to_owned(), key.to_owned());
        self.secrets.get(&key).map(PathBuf::as_path)
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
        assert_eq!(bindings.claim("plugins-pvc"), Some(Path::new("./plugins")));
        assert_eq!(
            bindings.secret("s3", "access.key"),
            Some(Path::new("/run/a=b"))
        );
        assert_eq!(bindings.claim("other"), None);
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
