//! `armory plugin`: what the tools for authors of plugins print, and how they end.

mod common;
#[path = "../../plugins/tests/support/mod.rs"]
mod guests;

use std::fs;
use std::path::Path;

use common::{Ran, done};
use guests::GuestText;

/// Runs the command with a cache of compiled components of its own.
fn run(folder: &Path, arguments: &[&str]) -> Ran {
    let output = common::armory()
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .args(arguments)
        .output()
        .expect("the command can be run");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

fn with_guest(guest: &GuestText) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("p.wasm"), guest.component()).expect("it can be written");
    folder
}

#[test]
fn a_plugin_is_inspected() {
    let folder = with_guest(&GuestText::restore());
    let ran = run(folder.path(), &["plugin", "inspect", "p.wasm"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    for line in [
        "world      restore, kannika:wasi-plugins 0.1.0",
        "imports    kannika:wasi-plugins/types@0.1.0",
        "exports    init: func(ctx: ",
        "verdict    a restore plugin",
    ] {
        assert!(ran.out.contains(line), "{line} is not in {}", ran.out);
    }

    let ran = run(
        folder.path(),
        &["plugin", "inspect", "p.wasm", "-o", "json"],
    );
    let seen: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(seen["world"], "restore");
    assert_eq!(seen["version"], "0.1.0");
    assert_eq!(seen["exports"][2]["name"], "transform");
    assert_eq!(seen["problems"], serde_json::json!([]));
    assert!(seen["compileMs"].as_f64() > Some(0.0), "{seen}");
    assert!(
        seen["startMemoryBytes"].as_u64() >= Some(128 << 10),
        "{seen}"
    );
    let size = fs::metadata(folder.path().join("p.wasm"))
        .expect("it is there")
        .len();
    assert_eq!(seen["bytes"], size);
}

#[test]
fn what_cannot_be_a_plugin_is_told_why() {
    let folder = with_guest(&GuestText::backup());
    let small = ["plugin", "inspect", "p.wasm", "--memory", "64KiB"];
    let ran = run(folder.path(), &small);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.out.contains("problem    it cannot be started: "),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("verdict"), "{}", ran.out);

    fs::write(folder.path().join("module.wasm"), b"\0asm\x01\0\0\0").expect("it can be written");
    for (file, expected) in [
        (
            "module.wasm",
            "error: plugin module.wasm is a core WebAssembly module, not a component; build it for wasm32-wasip2",
        ),
        ("absent.wasm", "error: cannot read plugin absent.wasm: "),
    ] {
        let ran = run(folder.path(), &["plugin", "inspect", file]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        assert!(ran.err.starts_with(expected), "{}", ran.err);
    }
}

#[test]
fn every_tool_has_help_with_examples() {
    let here = std::env::temp_dir();
    for arguments in [&["plugin"][..], &["plugin", "inspect"]] {
        let help = done(&here, &[arguments, &["--help"]].concat());
        assert!(help.contains("Examples:"), "{arguments:?}: {help}");
    }
}
