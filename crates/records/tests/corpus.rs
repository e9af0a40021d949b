//! What the fuzz targets began with, and what they once found, through the same functions: see `fuzz/`.

#[allow(unreachable_pub, reason = "it is a module of another crate, too")]
#[path = "../../../fuzz/src/batches.rs"]
mod batches;
#[allow(unreachable_pub, reason = "it is a module of other crates, too")]
#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;

use std::path::Path;

#[test]
fn the_corpus_gives_answers_or_errors() {
    corpus::replay(Path::new("../.."), &[("batches", batches::batches)]);
}
