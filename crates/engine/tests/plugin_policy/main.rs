//! The error policy of plugins, cell by cell and in both worlds: what becomes of a record, of the archive or the target, of
//! the other partitions, and of another run. Guests are written in WebAssembly text; the cluster is the broker in memory.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, and says where"
)]

mod backup;
#[path = "../../../plugins/tests/support/mod.rs"]
mod guests;
mod restore;
mod world;
