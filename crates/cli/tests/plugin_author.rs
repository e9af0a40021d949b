//! `armory plugin new` and `armory plugin build`: what they say, and how they end. What they make is built in `real_author_guides.rs`.

mod common;

use std::fs;
use std::path::Path;

use common::{Ran, done, run, run_with};

/// Runs the command where no program can be found.
fn run_without_programs(folder: &Path, arguments: &[&str]) -> Ran {
    run_with(folder, arguments, &[("PATH", "absent")])
}

#[test]
fn a_new_plugin_is_told_how_to_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let new = |language, world, name: &str| {
        let arguments = ["plugin", "new", "--lang", language, "--world", world, name];
        done(folder.path(), &arguments)
    };
    assert_eq!(
        new("python", "backup", "drop-secret"),
        "drop-secret is there, see drop-secret/README.md. Next:\n  armory plugin build drop-secret\n  armory plugin test \
         drop-secret/drop-secret.wasm --config drop-secret/config.yaml --records drop-secret/tests/records.jsonl --expect \
         drop-secret/tests/expected.jsonl\n"
    );
    // The template in Go takes no configuration.
    assert!(!new("go", "restore", "audit").contains("--config"));
    let wit = folder.path().join("audit/wit");
    assert!(wit.join("restore.wit").is_file() && !wit.join("backup.wit").exists());
    new("js", "backup", "mask");
    assert!(folder.path().join("mask/package.json").is_file());
}

#[test]
fn mistakes_exit_with_2_and_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("there")).expect("a folder");
    let cases: [(&[&str], &str); 5] = [
        (
            &["new", "--lang", "go", "--world", "backup", "there"],
            "there is there already",
        ),
        (
            &["new", "--lang", "go", "--world", "backup", "../up"],
            "is not a name for a plugin",
        ),
        (
            &["new", "--lang", "cobol", "--world", "backup", "x"],
            "[possible values: rust, python, go, javascript]",
        ),
        (&["new", "--lang", "go", "x"], "--world"),
        (&["build", "there"], "begin one with armory plugin new"),
    ];
    for (arguments, expected) in cases {
        let arguments = [&["plugin"], arguments].concat();
        let ran = run(folder.path(), &arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(expected), "{arguments:?}: {}", ran.err);
    }
    let entries = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(entries, 1, "only what was there");
}

#[test]
fn a_program_that_is_missing_is_named_with_its_remedy() {
    for (language, expected) in [
        (
            "rust",
            "error: cargo is missing; install Rust from https://rustup.rs\n",
        ),
        ("python", "error: python3 is missing; install Python 3.10"),
        ("go", "error: go is missing; install Go 1.24"),
        ("javascript", "error: npm is missing; install Node 20"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = [
            "plugin", "new", "--lang", language, "--world", "backup", "x",
        ];
        done(folder.path(), &arguments);
        let ran = run_without_programs(folder.path(), &["plugin", "build", "x"]);
        assert_eq!(ran.code, 1, "{language}: {}", ran.err);
        assert!(ran.err.contains(expected), "{language}: {}", ran.err);
        assert_eq!(ran.out, "");
        assert!(!folder.path().join("x/x.wasm").exists());
    }
}

/// Its output is shown, and what a build before has made is not taken for its own.
#[cfg(unix)]
#[test]
fn a_toolchain_that_fails_is_quoted() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["plugin", "new", "--lang", "go", "--world", "backup", "x"];
    done(folder.path(), &arguments);
    let bin = folder.path().join("absent");
    fs::create_dir(&bin).expect("a folder");
    fs::write(
        bin.join("go"),
        "#!/bin/sh\necho plugin.go:7: undefined: x >&2\nexit 4\n",
    )
    .expect("a program");
    fs::set_permissions(bin.join("go"), fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::write(folder.path().join("x/x.wasm"), "of last week").expect("a file");
    let ran = run_without_programs(folder.path(), &["plugin", "build", "x"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    for words in [
        "$ GOARCH=wasm GOOS=wasip1 go build",
        "undefined: x",
        "exit status: 4",
    ] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    assert!(!folder.path().join("x/x.wasm").exists());
}
