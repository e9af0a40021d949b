//! What the fuzz targets began with, and what they once found, through the same functions: see `fuzz/`.

#[allow(unreachable_pub, reason = "it is a module of another crate, too")]
#[path = "../../../fuzz/src/batches.rs"]
mod batches;

use std::fs;
use std::path::Path;

#[test]
fn the_corpus_gives_answers_or_errors() {
    let targets: &[(&str, fn(&[u8]))] = &[("batches", batches::batches)];
    for (target, run) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus")
            .join(target);
        let mut inputs = 0;
        for entry in fs::read_dir(folder).expect("the corpus is there") {
            let path = entry.expect("it can be listed").path();
            // Captured unless the test fails: then the last line says which input it was.
            println!("{}", path.display());
            run(&fs::read(path).expect("it can be read"));
            inputs += 1;
        }
        assert!(inputs > 0, "{target} has no corpus");
    }
}
