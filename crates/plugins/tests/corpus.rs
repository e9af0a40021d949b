//! What the fuzz target began with, and what it once found, through the same function: see `fuzz/`.

#[allow(unreachable_pub, reason = "it is a module of another crate, too")]
#[path = "../../../fuzz/src/components.rs"]
mod components;
#[allow(unreachable_pub, reason = "it is a module of other crates, too")]
#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;

use std::path::Path;

#[test]
fn the_corpus_gives_answers_or_errors() {
    corpus::replay(Path::new("../.."), &[("components", components::component)]);
}
