//! Writing a project.

use std::fs;
use std::path::Path;

use crate::error::io;
use crate::templates::{self, PLACEHOLDER};
use crate::{Error, Language, World};

/// Where the example plugins in Rust find the contract: they lie in this repository, a project brings it along.
const WIT_OF_EXAMPLES: &str = "../../../wit/0.1";

const MAX_NAME: usize = 64;

/// Writes a project for a plugin called `name` into `folder`, which must not be there.
pub fn create(folder: &Path, name: &str, language: Language, world: World) -> Result<(), Error> {
    if !is_name(name) {
        return Err(Error::Name {
            name: name.to_owned(),
        });
    }
    // Even an empty folder: it may be a link, or somebody else's.
    if folder.symlink_metadata().is_ok() {
        return Err(Error::Exists {
            folder: folder.to_owned(),
        });
    }
    for (path, text) in templates::files(language, world) {
        let path = folder.join(path);
        let parent = path.parent().expect("a file of a project is in its folder");
        fs::create_dir_all(parent).map_err(io("make the folder", parent))?;
        let text = text
            .replace(PLACEHOLDER, name)
            .replace(WIT_OF_EXAMPLES, "wit");
        fs::write(&path, text).map_err(io("write", path))?;
    }
    Ok(())
}

/// Whether a text can name a package in cargo, npm and Go.
fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file of a folder, with its text.
    fn read(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                read(&path, found);
            } else {
                let text = fs::read_to_string(&path).expect("text");
                found.push((path.display().to_string(), text));
            }
        }
    }

    #[test]
    fn a_project_is_whole_and_bears_its_name() {
        for language in Language::ALL {
            for world in [World::Backup, World::Restore] {
                let parent = tempfile::tempdir().expect("a folder");
                let folder = parent.path().join("drop-it");
                create(&folder, "drop-it", language, world).expect("a project");
                let mut files = Vec::new();
                read(&folder, &mut files);
                for file in [
                    language.marker(),
                    "README.md",
                    ".gitignore",
                    "wit/types.wit",
                    "tests/records.jsonl",
                    "tests/expected.jsonl",
                ] {
                    assert!(
                        folder.join(file).is_file(),
                        "{language:?} {world:?}: {file}"
                    );
                }
                for (file, text) in &files {
                    assert!(!text.contains("my-plugin"), "{file}");
                    assert!(!text.contains("../../"), "{file}");
                }
                assert!(files.iter().any(|(_, text)| text.contains("drop-it")));
                assert_eq!(Language::found_in(&folder), [language]);
                // Tools take the one world that is there.
                assert_eq!(fs::read_dir(folder.join("wit")).expect("wit").count(), 2);

                let again = create(&folder, "drop-it", language, world).unwrap_err();
                assert!(matches!(again, Error::Exists { .. }), "{again}");
            }
        }
    }

    #[test]
    fn names_have_to_be_names_everywhere() {
        let parent = tempfile::tempdir().expect("a folder");
        let long = "a".repeat(65);
        for name in [
            "",
            "-a",
            "1a",
            "A",
            "a_b",
            "a b",
            "../a",
            "a/b",
            "é",
            long.as_str(),
        ] {
            let folder = parent.path().join("x");
            let error = create(&folder, name, Language::Go, World::Backup).unwrap_err();
            assert!(matches!(error, Error::Name { .. }), "{name}: {error}");
            assert!(!folder.exists());
        }
    }
}
