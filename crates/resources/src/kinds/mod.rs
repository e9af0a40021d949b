//! The kinds as types: the shape of their documents, and the rules that one object can tell by itself.
//!
//! Rules between documents (references, what is supported where) are told when jobs are made of a set.

pub mod backup;
pub mod config_map;
pub mod credentials;
pub mod event_hub;
pub mod metadata;
pub mod plugin;
pub mod restore;
pub mod secret;
pub mod storage;

use crate::decode::{Place, object};
use crate::scalar::Name;

object! {
    /// A name of image pull credentials.
    LocalReference {
        /// Name of the Secret.
        "name" => name: Name,
    }
}

object! {
    /// `…CredentialsFrom`.
    CredentialsSource {
        /// The Credentials.
        "credentialsRef" => credentials: Option<CredentialsReference>,
    }
}

object! {
    /// `credentialsRef`.
    CredentialsReference {
        /// Name of the Credentials.
        "name" => name: Name,
        /// May be given, but only the resource's own.
        "namespace" => namespace: Option<String>,
    }
}

/// Which of several keys is there, where exactly one has to be. Reports the others.
pub(crate) fn exactly_one(keys: &[(&str, bool)], at: &mut Place<'_>) {
    let names: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
    let present: Vec<&str> = keys
        .iter()
        .filter_map(|(key, there)| there.then_some(*key))
        .collect();
    let choice = names.join(", ");
    match present.as_slice() {
        [_] => {}
        [] => at.problem(format!("exactly one of {choice} must be given, found none")),
        several => at.problem(format!(
            "exactly one of {choice} must be given, found {}",
            several.join(" and ")
        )),
    }
}
