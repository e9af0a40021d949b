//! `armory plugin`: what the tools for authors of plugins print, and how they end.

mod common;
#[path = "../../plugins/tests/support/mod.rs"]
mod guests;

use std::fs;
use std::path::Path;

use common::{Ran, done, run_with};
use guests::{ACCEPT, GuestText};

/// Runs the command with a cache of compiled components of its own.
fn run(folder: &Path, arguments: &[&str]) -> Ran {
    run_with(folder, arguments, &[("XDG_CACHE_HOME", "cache")])
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
    for arguments in [
        &["plugin"][..],
        &["plugin", "inspect"],
        &["plugin", "test"],
        &["plugin", "bench"],
    ] {
        let help = done(&here, &[arguments, &["--help"]].concat());
        assert!(help.contains("Examples:"), "{arguments:?}: {help}");
    }
}

/// A plugin that removes the header `secret`, and records of which one has it.
fn with_drop_secret() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let component = include_bytes!(concat!(env!("OUT_DIR"), "/drop-secret.wasm"));
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).expect("it can be written");
    };
    write("p.wasm", component);
    write(
        "records.jsonl",
        br#"{"topic":"orders","partition":1,"offset":7,"timestamp":5,"key":"k","value":"v","headers":[]}
{"key":"k","value":{"base64":"/wA="},"headers":[{"key":"a","value":"1"},{"key":"secret","value":"x"},{"key":"a","value":null}]}
"#,
    );
    folder
}

#[test]
fn records_are_shown_with_what_a_plugin_makes_of_them() {
    let folder = with_drop_secret();
    let test = ["plugin", "test", "p.wasm", "--records", "records.jsonl"];
    let ran = run(folder.path(), &test);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (
            0,
            "records/0@1 changed\n  - header \"secret\": \"x\"\n2 records: 1 unchanged, 1 changed, 0 rejected, 0 failed\n"
        ),
        "{}",
        ran.err
    );
}

#[test]
fn what_came_out_once_can_be_expected_from_then_on() {
    let folder = with_drop_secret();
    let file = folder.path().join("expected.jsonl");
    let test = ["plugin", "test", "p.wasm", "--records", "records.jsonl"];
    let lines = run(folder.path(), &[&test[..], &["-o", "json"]].concat()).out;
    assert_eq!(
        lines,
        r#"{"outcome":"accepted","topic":"orders","partition":1,"offset":7,"timestamp":5,"timestampType":"createTime","key":"k","value":"v","headers":[]}
{"outcome":"accepted","topic":"records","partition":0,"offset":1,"timestamp":-1,"timestampType":"createTime","key":"k","value":{"base64":"/wA="},"headers":[{"key":"a","value":"1"},{"key":"a","value":null}]}
"#
    );
    fs::write(&file, &lines).expect("it can be written");
    let expect = [&test[..], &["--expect", "expected.jsonl"]].concat();
    let ran = run(folder.path(), &expect);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(
        ran.out.ends_with("0 failed; all as expected\n"),
        "{}",
        ran.out
    );

    // Fields that are left out are not compared.
    fs::write(&file, "{}\n{\"value\":\"w\",\"headers\":[]}\n").expect("it can be written");
    let ran = run(folder.path(), &expect);
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert_eq!(
        ran.out,
        "records/0@1 is not as expected\n  - value: \"w\"\n  + value: {\"base64\":\"/wA=\"}\n  + header \"a\": \"1\"\n  + header \"a\": null\n\
         2 records: 1 unchanged, 1 changed, 0 rejected, 0 failed; 1 not as expected\n"
    );

    for (text, expected) in [
        (
            "{}\n",
            "error: expected.jsonl has 1 line, and there are 2 records",
        ),
        (
            "{}\n{}\n{}\n",
            "error: expected.jsonl has 3 lines, and there are only 2 records",
        ),
        (
            "{}\n{\"outcome\":\"dropped\"}\n",
            "error: expected.jsonl, line 2: unknown outcome \"dropped\"",
        ),
        (
            "{}\n{\"payload\":\"x\"}\n",
            "error: expected.jsonl, line 2: unknown field `payload`",
        ),
    ] {
        fs::write(&file, text).expect("it can be written");
        let ran = run(folder.path(), &expect);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.starts_with(expected), "{}", ran.err);
    }
}

#[test]
fn records_that_a_plugin_does_not_accept_are_told_apart() {
    let on_bad = [
        (
            "(return (call $error))",
            1,
            "error: it does not please me",
            r#"{"outcome":"error","message":"it does not please me"}"#,
        ),
        (
            &format!(
                "(drop {ACCEPT}) (i32.store8 (i32.const 2048) (i32.const 1)) (return (i32.const 2048))"
            ),
            0,
            "rejected\n",
            r#"{"outcome":"rejected"}"#,
        ),
        ("unreachable", 1, "fault: ", r#"{"outcome":"fault"}"#),
    ];
    for (text, code, told, expected) in on_bad {
        let folder = with_guest(&GuestText::backup().on_bad(text));
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).expect("it can be written");
        };
        write(
            "records.jsonl",
            "{\"value\":\"!bad\"}\n{\"value\":\"good\"}\n",
        );
        let test = ["plugin", "test", "p.wasm", "--records", "records.jsonl"];
        let ran = run(folder.path(), &test);
        assert_eq!(ran.code, code, "{}", ran.out);
        let first = format!("records/0@0 {told}");
        assert!(ran.out.starts_with(&first), "{first} is not in {}", ran.out);
        assert!(
            ran.out.contains("2 records: 1 unchanged, 0 changed, "),
            "{}",
            ran.out
        );

        write(
            "expected.jsonl",
            &format!("{expected}\n{{\"value\":\"good\"}}\n"),
        );
        let ran = run(
            folder.path(),
            &[&test[..], &["--expect", "expected.jsonl"]].concat(),
        );
        assert_eq!(ran.code, 0, "{}", ran.out);
    }
}

#[test]
fn a_header_key_that_the_contract_cannot_carry() {
    let folder = with_guest(&GuestText::backup());
    let line = r#"{"headers":[{"key":{"base64":"/w=="},"value":null}]}"#;
    fs::write(folder.path().join("records.jsonl"), line).expect("it can be written");
    let ran = run(
        folder.path(),
        &["plugin", "test", "p.wasm", "--records", "records.jsonl"],
    );
    assert_eq!(ran.code, 1);
    assert!(
        ran.out
            .starts_with(r#"records/0@0 headerKeyNotUtf8: header key "\xff" is not UTF-8"#),
        "{}",
        ran.out
    );
}

#[test]
fn archived_records_are_tried_out() {
    let folder = with_guest(&GuestText::backup());
    common::write_archive(folder.path());
    let test = |from: &[&str]| {
        let arguments = [&["plugin", "test", "p.wasm", "--from", "archive"], from].concat();
        run(folder.path(), &arguments)
    };
    let ran = test(&["orders"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("6 records: 6 unchanged"), "{}", ran.out);
    let ran = test(&["orders/0", "-n", "2", "-o", "json"]);
    assert_eq!(ran.out.lines().count(), 2, "{}", ran.out);
    let cat = done(
        folder.path(),
        &["cat", "archive", "orders", "--partition", "0", "-n", "2"],
    );
    assert_eq!(ran.out.replace(r#""outcome":"accepted","#, ""), cat);
    let ran = test(&["orders/9"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("there is no partition 9 of orders"),
        "{}",
        ran.err
    );
    assert_eq!(test(&["orders/x"]).code, 2);
}

#[test]
fn a_restore_plugin_is_asked_what_the_target_needs() {
    let folder = with_guest(&GuestText::restore().requirements("(i64.const 12)"));
    fs::write(folder.path().join("records.jsonl"), "{\"partition\":2}").expect("it can be written");
    let test = ["plugin", "test", "p.wasm", "--records", "records.jsonl"];
    let ran = run(
        folder.path(),
        &[&test[..], &["--source", "a", "--target", "b"]].concat(),
    );
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(
        ran.out
            .starts_with("a -> b: the target needs 12 partitions, the archive has 3\n"),
        "{}",
        ran.out
    );
    let ran = run(folder.path(), &[&test[..], &["--topic", "a"]].concat());
    assert_eq!(ran.code, 2);
    assert!(
        ran.err
            .contains("p.wasm is a restore plugin, --topic is not for those"),
        "{}",
        ran.err
    );
}

#[test]
fn an_init_that_refuses_stops_a_test() {
    let folder = with_guest(&GuestText::backup().init("(return (call $refuse))"));
    fs::write(folder.path().join("records.jsonl"), "{}").expect("it can be written");
    fs::write(folder.path().join("config.yaml"), "a: 1").expect("it can be written");
    let test = ["plugin", "test", "p.wasm", "--records", "records.jsonl"];
    assert_eq!(run(folder.path(), &test).code, 0);
    let ran = run(
        folder.path(),
        &[&test[..], &["--config", "config.yaml"]].concat(),
    );
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains(
            "plugin p.wasm refuses its configuration: topic records: it does not please me"
        ),
        "{}",
        ran.err
    );
}

#[test]
fn the_cost_of_a_plugin_is_measured() {
    let folder = with_guest(&GuestText::backup());
    let bench = ["plugin", "bench", "p.wasm", "--time", "3", "--calls", "40"];
    let ran = run(folder.path(), &[&bench[..], &["-o", "json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let seen: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(seen["rows"].as_array().map(Vec::len), Some(6), "{seen}");
    assert!(
        seen["rows"][0]["nsPerRecord"].as_f64() > Some(0.0),
        "{seen}"
    );
    assert!(
        seen["compileMs"].is_f64() && seen["loadMs"].is_f64(),
        "{seen}"
    );
    assert_eq!(seen["memory"]["leaks"], false);
    assert_eq!(seen["memory"]["calls"], 40);

    fs::write(folder.path().join("records.jsonl"), "{}\n{}").expect("it can be written");
    let ran = run(
        folder.path(),
        &[&bench[..], &["--records", "records.jsonl"]].concat(),
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("\n2 given "), "{}", ran.out);
    assert!(
        !ran.out.contains("compiling it took"),
        "it is in the cache: {}",
        ran.out
    );
}

#[test]
fn a_leak_is_seen() {
    let folder = with_guest(&GuestText::backup().every("(drop (memory.grow (i32.const 1)))"));
    let bench = ["plugin", "bench", "p.wasm", "--time", "3", "--calls", "40"];
    let ran = run(folder.path(), &bench);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out
            .contains("warning: it grows by 625.0 MiB in every 10,000 calls"),
        "{}",
        ran.out
    );
}
