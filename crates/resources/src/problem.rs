//! What is wrong with a file, told all at once.

use std::fmt;

/// One thing that is wrong: where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as the caller gave it.
    pub file: String,
    /// The line, counted from 1, where it is known.
    pub line: Option<u64>,
    /// Which document: `Backup orders`, or `document 2` where it has no name. Empty for the file as a whole.
    pub document: String,
    /// The path inside the document: `spec.plugins[0].wasiPluginRef.path`. Empty for the document as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        for part in [&self.document, &self.path, &self.message] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        Ok(())
    }
}

impl Problem {
    /// In one line without file and line; the document is left out where it is the one that is spoken of.
    fn short(&self, document: &str) -> String {
        let other = Some(&self.document).filter(|other| *other != document);
        let parts = [other, Some(&self.path), Some(&self.message)];
        let parts: Vec<&str> = parts
            .into_iter()
            .flatten()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        parts.join(": ").replace(['\n', '\r'], " ")
    }
}

/// The longest [sentence](Problems::sentence), in bytes: what an event of Kubernetes takes.
pub const LONGEST_SENTENCE: usize = 1024;

/// At most that many bytes of a text, with a sign where something is left out.
fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let sign = "…";
    let end = text.floor_char_boundary(longest - sign.len());
    format!("{}{sign}", &text[..end])
}

/// Everything that is wrong, in the order of files and lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `None` where there are none.
    pub(crate) fn new(mut problems: Vec<Problem>) -> Option<Problems> {
        // Files keep the order in which they were given: the sort is stable and by line within each.
        let files: Vec<String> = problems.iter().fold(Vec::new(), |mut files, problem| {
            if !files.contains(&problem.file) {
                files.push(problem.file.clone());
            }
            files
        });
        problems.sort_by_key(|problem| {
            let file = files.iter().position(|file| *file == problem.file);
            (file, problem.line)
        });
        (!problems.is_empty()).then_some(Problems(problems))
    }

    /// One after another.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// All of them in a sentence without files and lines, at most [`LONGEST_SENTENCE`] bytes long: for the status of the
    /// resource that a document is of. Those of that document (`Backup orders`) come first and do not name it, others do.
    pub fn sentence(&self, document: &str) -> String {
        let mut problems: Vec<&Problem> = self.0.iter().collect();
        problems.sort_by_key(|problem| problem.document != document);
        let mut sentence = String::new();
        for (position, problem) in problems.iter().enumerate() {
            let part = cut(&problem.short(document), LONGEST_SENTENCE / 2);
            let more = format!("; and {} more", problems.len() - position);
            if sentence.len() + part.len() + "; ".len() + more.len() > LONGEST_SENTENCE {
                sentence += &more;
                break;
            }
            if position > 0 {
                sentence += "; ";
            }
            sentence += &part;
        }
        sentence
    }

    /// How many; at least one.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The word among `candidates` that was probably meant.
pub(crate) fn near_miss<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let same = candidates
        .iter()
        .find(|candidate| candidate.eq_ignore_ascii_case(word));
    if let Some(same) = same {
        return Some(same);
    }
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `, did you mean x`, or else which words there are.
pub(crate) fn suggestion(word: &str, candidates: &[&str]) -> String {
    match near_miss(word, candidates) {
        Some(candidate) => format!(", did you mean {candidate}"),
        None if candidates.is_empty() => String::new(),
        None => format!(", expected one of {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(document: &str, path: &str, message: impl Into<String>) -> Problem {
        Problem {
            file: "f".to_owned(),
            line: Some(1),
            document: document.to_owned(),
            path: path.to_owned(),
            message: message.into(),
        }
    }

    #[test]
    fn a_sentence_begins_with_its_own_document() {
        let problems = Problems::new(vec![
            problem("EventHub hub", "spec.kafka", "missing"),
            problem("Backup b", "spec.sink", "missing"),
            problem("Backup b", "", "not\nwell"),
        ]);
        assert_eq!(
            problems.unwrap().sentence("Backup b"),
            "spec.sink: missing; not well; EventHub hub: spec.kafka: missing"
        );
    }

    #[test]
    fn a_sentence_is_bounded() {
        let many = (0..100).map(|n| problem("a", &format!("spec.x[{n}]"), "ä".repeat(n * 10)));
        let sentence = Problems::new(many.collect()).unwrap().sentence("a");
        assert!(sentence.len() <= LONGEST_SENTENCE, "{}", sentence.len());
        let shown = sentence.matches("spec.x[").count();
        assert!(
            sentence.ends_with(&format!("; and {} more", 100 - shown)),
            "{sentence}"
        );

        let long = Problems::new(vec![problem("a", "spec", "ä".repeat(5000))]).unwrap();
        let sentence = long.sentence("a");
        assert!(sentence.len() <= LONGEST_SENTENCE && sentence.ends_with('…'));
        // The longest that there can be, one behind the other.
        let two = vec![problem("a", "b", "x".repeat(5000)); 2];
        let sentence = Problems::new(two).unwrap().sentence("a");
        assert!(
            sentence.len() <= LONGEST_SENTENCE && sentence.ends_with("…; and 1 more"),
            "{sentence}"
        );
    }

    #[test]
    fn near_misses() {
        let keys = ["compression", "streams", "sink"];
        assert_eq!(near_miss("compresion", &keys), Some("compression"));
        assert_eq!(near_miss("Sink", &keys), Some("sink"));
        assert_eq!(near_miss("stream", &keys), Some("streams"));
        assert_eq!(near_miss("affinity", &keys), None);
        assert_eq!(suggestion("x", &["a1", "b1"]), ", expected one of a1, b1");
    }
}
