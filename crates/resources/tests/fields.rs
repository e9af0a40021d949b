//! The fields of the CustomResourceDefinitions against the published interface: a field that leaves it is a manifest
//! that breaks.
//!
//! `published-fields.txt` is the interface, a line for each field as [`armory_resources::outline`] writes them.
//! `added-fields.txt` has what this project adds; `BLESS=1` writes it anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Fields that are required here and not in the published interface, where a document without them means nothing.
const REQUIRED_HERE: &[(&str, &str)] = &[
    // An EventHub without its only variant leads nowhere.
    ("EventHub spec.kafka", "EventHub spec.kafka*"),
    // A matcher without a pattern matches nothing, or everything: nobody can tell.
    (
        "Backup spec.topicSelectors.matchers*[].name",
        "Backup spec.topicSelectors.matchers*[].name*",
    ),
    (
        "Backup spec.topicSelectors.excludeMatchers[].name",
        "Backup spec.topicSelectors.excludeMatchers[].name*",
    ),
    (
        "Backup spec.plugins[].topicSelectors[].name",
        "Backup spec.plugins[].topicSelectors[].name*",
    ),
    (
        "Restore spec.config.plugins[].topicSelectors[].name",
        "Restore spec.config.plugins[].topicSelectors[].name*",
    ),
];

/// The path of a field, and what is said about it: its type first.
fn parts(line: &str) -> (String, Vec<String>) {
    let mut words = line.split(' ').map(str::to_owned);
    let kind = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    (
        format!("{kind} {path}"),
        words.map(|word| in_order(&word)).collect(),
    )
}

/// The words of an `enum=` in alphabetical order, anything else as it is.
fn in_order(word: &str) -> String {
    let Some(choice) = word.strip_prefix("enum=") else {
        return word.to_owned();
    };
    let words: BTreeSet<&str> = choice.split('|').collect();
    format!("enum={}", Vec::from_iter(words).join("|"))
}

/// The same path where a field on it is required here.
fn as_required_here(path: &str) -> String {
    let same = |prefix: &str| {
        path.strip_prefix(prefix)
            .filter(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    };
    let found = REQUIRED_HERE
        .iter()
        .find_map(|(theirs, ours)| Some(format!("{ours}{}", same(theirs)?)));
    found.unwrap_or_else(|| path.to_owned())
}

fn published() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string("tests/published-fields.txt").expect("the list is there");
    text.lines()
        .map(parts)
        .map(|(path, said)| (as_required_here(&path), said))
        .collect()
}

#[test]
fn every_published_field_is_there_with_its_type() {
    let ours: Vec<_> = armory_resources::outline()
        .iter()
        .map(|line| parts(line))
        .collect();
    let published = published();
    assert_eq!(published.len(), 474);
    for (path, said) in &published {
        let Some((_, ours)) = ours.iter().find(|(ours, _)| ours == path) else {
            panic!("{path} is published, and not among the keys")
        };
        // A pattern may be added; what is said there is said here.
        for word in said {
            assert!(
                ours.contains(word),
                "{path}: {word} is published, here it is {ours:?}"
            );
        }
    }
}

#[test]
fn fields_of_our_own_are_listed() {
    let published: BTreeSet<String> = published().into_iter().map(|(path, _)| path).collect();
    let added: String = armory_resources::outline()
        .iter()
        .filter(|line| !published.contains(&parts(line).0))
        .map(|line| format!("{line}\n"))
        .collect();
    let file = Path::new("tests/added-fields.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(file, &added).expect("the list can be written");
    }
    let listed = fs::read_to_string(file).unwrap_or_default();
    assert!(
        listed == added,
        "{} differs; BLESS=1 writes it anew\n{added}",
        file.display()
    );
}
