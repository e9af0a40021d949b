//! The last word of a worker: one line in a file, where whoever runs it finds it when it is gone.
//!
//! Kubernetes reads `/dev/termination-log` into the status of the pod; `ARMORY_TERMINATION_LOG` names the file. Without
//! the variable nothing is written.

use std::fs::File;
use std::io::Write as _;
use std::panic;
use std::path::PathBuf;

/// Kubernetes takes no more.
const MOST: usize = 4096;

/// Leaves the word of an error, or of a success.
pub(crate) fn tell(sentence: &str) {
    let Some(file) = std::env::var_os("ARMORY_TERMINATION_LOG").map(PathBuf::from) else {
        return;
    };
    // Opened as it is: in a pod the file is there, in a folder that nobody may write to.
    let written = File::create(&file).and_then(|mut open| open.write_all(fit(sentence).as_bytes()));
    if let Err(error) = written {
        tracing::warn!("cannot write the last word to {}: {error}", file.display());
    }
}

/// Leaves the word of a panic, too, unless another one comes after it.
pub(crate) fn tell_of_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        before(panic);
        let place = panic
            .location()
            .map_or_else(String::new, |place| format!(" at {place}"));
        let message = panic.payload_as_str().unwrap_or("no message");
        tell(&format!(
            "armory panicked{place}: {message}; please report it"
        ));
    }));
}

/// One line, cut where it is too long.
fn fit(sentence: &str) -> String {
    // Problems of a list stand on lines of their own.
    let line = sentence
        .trim()
        .replace(":\n  - ", ": ")
        .replace("\n  - ", "; ");
    let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > MOST {
        const MORE: &str = " …";
        line.truncate(line.floor_char_boundary(MOST - MORE.len()));
        line.push_str(MORE);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_line_that_fits() {
        assert_eq!(
            fit("refused:\n  - a is not empty\n  - b is missing\n"),
            "refused: a is not empty; b is missing"
        );
        for pad in 0..4 {
            let long = format!("{}{}", "x".repeat(pad), "ü€😀".repeat(1000));
            let cut = fit(&long);
            assert!(cut.len() <= MOST && cut.len() > MOST - 8, "{}", cut.len());
            assert!(cut.ends_with(" …"));
        }
        assert_eq!(fit(&"x".repeat(MOST)).len(), MOST);
    }
}
