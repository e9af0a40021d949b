//! The examples of the guide and of `--help` are commands that this program takes, and documents that it reads.

use std::fs;
use std::path::{Path, PathBuf};

use armory_resources::{Bindings, Resource, ResourceSet};
use armory_testkit::guide::{Block, blocks};
use clap::Parser as _;

use crate::args::Arguments;

fn pages() -> Vec<PathBuf> {
    let folder = Path::new("../../docs/guide");
    let mut pages: Vec<PathBuf> = [folder.to_owned(), folder.join("kubernetes")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("the guide is there"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    assert!(pages.len() >= 8, "{pages:?}");
    pages
}

/// The words of a shell command, up to a pipe, a redirection or a comment.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for character in command.chars() {
        match character {
            '\'' => quoted = !quoted,
            '|' | '>' if !quoted => break,
            '#' if !quoted && word.is_empty() => break,
            ' ' if !quoted => {
                words.extend(Some(std::mem::take(&mut word)).filter(|w| !w.is_empty()))
            }
            _ => word.push(character),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// The `armory` commands of a block.
fn commands(block: &str) -> Vec<Vec<String>> {
    let joined = block.replace("\\\n", " ");
    joined
        .lines()
        .map(words)
        .filter_map(|mut words| {
            // Variables may stand in front.
            let start = words.iter().position(|word| !word.contains('='))?;
            let words = words.split_off(start);
            (words[0] == "armory").then_some(words)
        })
        .collect()
}

#[test]
fn the_commands_of_the_guide_are_taken() {
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("readable");
        for block in blocks(&text) {
            for command in commands(&block.text) {
                // Usage lines have placeholders.
                if block.info == "text" && command.iter().any(|word| word.contains(['<', '['])) {
                    continue;
                }
                if let Err(error) = Arguments::try_parse_from(&command) {
                    panic!("{}: {command:?}: {error}", page.display());
                }
                count += 1;
            }
        }
    }
    assert!(count > 25, "{count}");
}

#[test]
fn the_documents_of_the_guide_are_sound() {
    let mut bindings = Bindings::default();
    bindings.add_claim("archive=./archive").expect("a binding");
    bindings
        .add_claim("plugins-pvc=./plugins")
        .expect("a binding");
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("readable");
        let is_ours = |block: &Block| {
            let mut lines = block.text.lines();
            block.info == "yaml" && lines.any(|line| line.starts_with("apiVersion: kannika.io/"))
        };
        for block in blocks(&text).into_iter().filter(is_ours) {
            let name = page.display().to_string();
            let set = ResourceSet::read([(name.as_str(), block.text.as_str())]);
            let is_restore = |resource: &Resource| matches!(resource, Resource::Restore(_));
            let result = if set.resources().any(|(_, resource)| is_restore(resource)) {
                set.restore_jobs(&bindings).map(|jobs| jobs.notes)
            } else {
                set.backup_jobs(&bindings).map(|jobs| jobs.notes)
            };
            assert_eq!(result, Ok(Vec::new()));
            count += 1;
        }
    }
    assert!(count >= 4, "{count}");
}
