//! What lies in a storage: layout, segments, manifests, commit, read, verify.
