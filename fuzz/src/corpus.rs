//! Runs what lies in `fuzz/corpus` through the functions of the fuzz targets, for the tests of the crates that they fuzz.

use std::fs;
use std::path::Path;

/// Runs every input of each target's corpus, none of which may be empty. `repository` is the folder that `fuzz` lies in.
pub fn replay(repository: &Path, targets: &[(&str, fn(&[u8]))]) {
    for (target, run) in targets {
        let folder = repository.join("fuzz/corpus").join(target);
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
