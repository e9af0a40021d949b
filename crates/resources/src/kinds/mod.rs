//! The kinds as types: the shape of their documents, and the rules that one object can tell by itself.
//!
//! Rules between documents (references, what is supported where) are told when jobs are made of a set.

pub mod backup;
pub mod config_map;
pub mod credentials;
pub mod event_hub;
pub mod metadata;
pub mod plugin;
pub mod pod;
pub mod restore;
pub mod schema_registry;
pub mod secret;
pub mod storage;

use crate::decode::object;
use crate::scalar::Name;

object! {
    /// A reference to something in the same namespace.
    LocalReference {
        /// The name of a Secret of type `kubernetes.io/dockerconfigjson`.
        "name" => name: Name,
    }
}

object! {
    /// Where credentials come from.
    CredentialsSource {
        /// A reference to a Credentials resource.
        "credentialsRef" => credentials: Option<CredentialsReference>,
    }
}

impl CredentialsSource {
    /// The name of the Credentials, where some are named.
    pub fn name(&self) -> Option<&str> {
        let reference = self.credentials.as_ref();
        reference.map(|reference| reference.name.0.as_str())
    }
}

object! {
    /// A reference to a Credentials resource.
    CredentialsReference {
        /// The name of the Credentials.
        "name" => name: Name,
        /// The namespace of the Credentials. Only the resource's own is taken, because a pod cannot mount what lies in
        /// another one; leave it out.
        "namespace" => namespace: Option<String>,
    }
}
