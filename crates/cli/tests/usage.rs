//! The command line itself: help, mistakes, exit codes.

mod common;

use std::fs;
use std::path::Path;

use common::{done, run};

const COMMANDS: [&str; 7] = [
    "backup",
    "restore",
    "inspect",
    "cat",
    "verify",
    "crds",
    "completions",
];

fn here() -> &'static Path {
    Path::new(".")
}

#[test]
fn every_command_has_help_with_examples() {
    for command in COMMANDS {
        let help = done(here(), &[command, "--help"]);
        assert!(help.contains("Examples:"), "{command}: {help}");
        assert!(help.contains("Usage: "), "{command}: {help}");
    }
    let help = done(here(), &["--help"]);
    assert!(help.contains("Exit codes:"), "{help}");
    for command in COMMANDS {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command}: {help}"
        );
    }
}

#[test]
fn mistakes_of_the_command_line_exit_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases: [(&[&str], &str); 17] = [
        (&[], "Usage: armory"),
        (&["bakup"], "backup"),
        (&["backup"], "--bootstrap-server"),
        (
            &["backup", "--bootstrap-server", "a:1", "--topic", "x"],
            "--storage",
        ),
        (
            &["backup", "-f", "a.yaml", "--topic", "x"],
            "cannot be used with",
        ),
        (
            &["backup", "-f", "a.yaml", "--compression", "zstd"],
            "cannot be used with",
        ),
        (
            &[
                "backup",
                "--claim",
                "a=b",
                "--bootstrap-server",
                "a:1",
                "--topic",
                "x",
                "--storage",
                "s",
            ],
            "cannot be used with",
        ),
        (&["backup", "-f", "absent.yaml"], "cannot read absent.yaml"),
        (
            &["backup", "-f", "absent.yaml", "--claim", "x"],
            "write NAME=DIR",
        ),
        (
            &[
                "backup",
                "--bootstrap-server",
                "a:1",
                "--topic",
                "a b",
                "--storage",
                "s",
            ],
            "not the name of a topic",
        ),
        (
            &[
                "backup",
                "--bootstrap-server",
                "a:1",
                "--topic",
                "a",
                "--storage",
                "ftp://s",
            ],
            "unknown kind of storage",
        ),
        (
            &[
                "backup",
                "--bootstrap-server",
                "a:1",
                "--topic",
                "a",
                "--storage",
                "s",
                "-X",
                "bootstrap.servers=a",
            ],
            "--bootstrap-server is for",
        ),
        (
            &[
                "backup",
                "--bootstrap-server",
                "a:1",
                "--topic",
                "a",
                "--storage",
                "s",
                "--plugin",
                "a.wasm,config=absent",
            ],
            "cannot read absent",
        ),
        (
            &[
                "restore",
                "--storage",
                "az://account",
                "--bootstrap-server",
                "a:1",
                "--topic",
                "a",
            ],
            "the bucket or container is missing; write az://account/container/directory",
        ),
        (&["inspect"], "<STORAGE>"),
        (&["cat", "archive"], "<TOPIC>"),
        (
            &["cat", "archive", "orders", "--offset", "5..5"],
            "the end is exclusive",
        ),
    ];
    for (arguments, expected) in cases {
        let ran = run(folder.path(), arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(expected), "{arguments:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{arguments:?}");
    }
}

#[test]
fn all_problems_of_documents_are_told_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "apiVersion: kannika.io/v1alpha\nkind: Backup\nmetadata: {name: b}\nspec:\n  source: hub\n  \
                sink: disk\n  streams: [{topic: orders}]\n  compresion: {algorithm: zstd}\n";
    fs::write(folder.path().join("b.yaml"), text).expect("written");
    let ran = run(folder.path(), &["backup", "-f", "b.yaml"]);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.err,
        "error: b.yaml:5: Backup b: spec.source: there is no EventHub hub among the documents\n\
         b.yaml:6: Backup b: spec.sink: there is no Storage disk among the documents\n\
         b.yaml:8: Backup b: spec.compresion: unknown key, did you mean compression\n"
    );
    let ran = run(folder.path(), &["restore", "-f", "b.yaml"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
}

#[test]
fn a_file_where_everything_is_paused_is_a_mistake() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "apiVersion: kannika.io/v1alpha\nkind: Backup\nmetadata: {name: b}\nspec: {source: hub, sink: disk, \
                enabled: false, streams: [{topic: a}]}\n---\napiVersion: kannika.io/v1alpha\nkind: EventHub\nmetadata: {name: \
                hub}\nspec: {kafka: {properties: {bootstrap.servers: 'localhost:1'}}}\n---\napiVersion: \
                kannika.io/v1alpha\nkind: Storage\nmetadata: {name: disk}\nspec: {volume: {capacity: 1Gi}}\n";
    fs::write(folder.path().join("b.yaml"), text).expect("written");
    let ran = run(
        folder.path(),
        &["backup", "-f", "b.yaml", "--claim", "disk=x"],
    );
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.err,
        "error: nothing to run: spec.enabled is false for b\n"
    );
    assert!(!folder.path().join("x").exists(), "nothing was done");
}

#[test]
fn documents_come_from_standard_input_too() {
    let output = common::armory()
        .args(["backup", "-f", "-"])
        .write_stdin("kind: Backup\n")
        .output()
        .expect("the command can be run");
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        err.contains("standard input:1: document 1 (Backup): apiVersion: missing"),
        "{err}"
    );
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            done(here(), &["completions", shell]).contains("armory"),
            "{shell}"
        );
    }
}

/// What `kubectl apply` takes: the same in YAML and in JSON, with numbers that are numbers.
#[test]
fn custom_resource_definitions_are_printed() {
    let list: serde_json::Value =
        serde_json::from_str(&done(here(), &["crds", "-o", "json"])).expect("it is JSON");
    assert_eq!(list["kind"], "List");
    let items = list["items"].as_array().expect("a list");
    assert_eq!(items.len(), 8);
    let yaml = done(here(), &["crds"]);
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(&yaml).expect("it is YAML, several documents");
    assert_eq!(&documents, items);
    let workers = "spec:\n  group: kannika.io";
    assert!(yaml.contains(workers), "keys are in order: {yaml}");
    assert!(yaml.contains("maximum: 16\n"), "{yaml}");

    let one = done(here(), &["crds", "--kind", "Backup"]);
    assert!(one.contains("name: backups.kannika.io"), "{one}");
    assert!(!one.contains("restores.kannika.io"), "{one}");
    let ran = run(here(), &["crds", "--kind", "Backups"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
}

/// The references are what the program says; `BLESS=1` writes them anew.
#[test]
fn the_references_are_up_to_date() {
    let pages: [(&[&str], &str); 2] = [
        (&["reference"], "reference.md"),
        (&["crds", "-o", "markdown"], "kubernetes/resources.md"),
    ];
    for (command, page) in pages {
        let file = here().join("../../docs/guide").join(page);
        let actual = done(here(), command);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&file, &actual).expect("the reference can be written");
        }
        let committed = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == actual,
            "docs/guide/{page} is out of date: run `armory {}` into it",
            command.join(" ")
        );
    }
}
