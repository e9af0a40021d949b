//! The YAML of resources.

use armory_resources::{Bindings, ResourceSet};

/// Any bytes as a file of resources: jobs, or problems of which each has a sentence.
pub fn resources(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let set = ResourceSet::read([("input.yaml", text)]);
    let mut bindings = Bindings::default();
    bindings.add_claim("disk=/data").expect("it is a binding");
    bindings
        .add_secret("keys/from-file=/run/keys")
        .expect("it is a binding");
    let backups = set.backup_jobs(&bindings).map(drop);
    let restores = set.restore_jobs(&bindings).map(drop);
    for problems in [backups, restores].into_iter().filter_map(Result::err) {
        assert!(!problems.to_string().is_empty());
    }
}
