//! What the archive promises, tested from outside: one behaviour on every storage, recovery of a folder's open
//! segments, fencing, and that damage is found.

mod batches;
mod conformance;
mod damage;
mod dead_letters;
mod epochs;
mod faults;
mod fencing;
mod folder;
mod model;
mod place;
mod prune;
#[cfg(feature = "real")]
mod real;
#[cfg(feature = "real")]
mod rights;
mod storm;
