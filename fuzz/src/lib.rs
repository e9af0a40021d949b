//! What the fuzz targets do with their input: an answer or an error, never a panic, and never much memory.
//!
//! The crates' tests include these files and run the corpus through them: see `crates/*/tests/corpus.rs`.

pub mod archive;
pub mod batches;
#[cfg(feature = "components")]
pub mod components;
pub mod resources;
