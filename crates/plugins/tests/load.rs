//! What can be wrong with a file, and what is said about it.

mod support;

use std::fs;

use armory_plugins::{Host, HostOptions, Limits, LoadError, Source, World};
use support::{GuestText, contract, encode, host};
use wit_parser::Resolve;

#[track_caller]
fn refused(bytes: &[u8], world: World) -> LoadError {
    host()
        .load(
            Source::Bytes("p.wasm", bytes),
            world,
            "0.1",
            &Limits::default(),
        )
        .expect_err("it must be refused")
}

#[track_caller]
fn check(bytes: &[u8], world: World, expected: &str) {
    assert_eq!(refused(bytes, world).to_string(), expected);
}

/// A component of a world that is not the contract's. Its functions are there, and do nothing.
fn foreign(wit: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("foreign.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let module =
        wit_component::dummy_module(&resolve, world, wit_parser::ManglingAndAbi::Standard32);
    let mut module = module;
    wit_component::embed_component_metadata(&mut module, &resolve, world, Default::default())
        .unwrap();
    let mut encoder = wit_component::ComponentEncoder::default()
        .module(&module)
        .unwrap();
    encoder.encode().unwrap()
}

/// The contract in one text, with something replaced.
fn contract_with(from: &str, to: &str) -> Vec<u8> {
    let wit = "../../wit/0.1";
    let read = |name: &str| fs::read_to_string(format!("{wit}/{name}.wit")).unwrap();
    let backup = read("backup").replacen("package kannika:wasi-plugins@0.1.0;", "", 1);
    let text = format!("{}{backup}", read("types"));
    assert!(text.contains(from), "{from} is not in {text}");
    foreign(&text.replace(from, to))
}

#[test]
fn a_plugin_of_either_world_is_loaded() {
    let host = host();
    for world in [World::Backup, World::Restore] {
        let bytes = GuestText::new(world).component();
        let plugin = host
            .load(
                Source::Bytes("p.wasm", &bytes),
                world,
                "0.1",
                &Limits::default(),
            )
            .unwrap();
        assert_eq!((plugin.name(), plugin.world()), ("p.wasm", world));
        assert_eq!(plugin.digest().len(), 64);
    }
}

#[test]
fn exports_besides_the_world_s_are_tolerated() {
    let bytes = contract_with("export init:", "export more: func() -> u32; export init:");
    host()
        .load(
            Source::Bytes("p.wasm", &bytes),
            World::Backup,
            "0.1",
            &Limits::default(),
        )
        .unwrap();
}

#[test]
fn a_file_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent.wasm");
    let error = host()
        .load(&path, World::Backup, "0.1", &Limits::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot read plugin ") && error.contains("absent.wasm: "),
        "{error}"
    );
}

#[test]
fn a_file_is_named_by_its_path_and_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.wasm");
    fs::write(&path, GuestText::backup().component()).unwrap();
    let plugin = host()
        .load(&path, World::Backup, "0.1", &Limits::default())
        .unwrap();
    assert_eq!(plugin.name(), path.to_str().unwrap());
    let sum = std::process::Command::new("sha256sum")
        .arg(&path)
        .output()
        .unwrap()
        .stdout;
    assert!(sum.starts_with(plugin.digest().as_bytes()));
}

#[test]
fn a_file_that_is_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.wasm");
    fs::write(&path, vec![0u8; 2001]).unwrap();
    let limits = Limits {
        component_bytes: 2000,
        ..Limits::default()
    };
    let error = host()
        .load(&path, World::Backup, "0.1", &limits)
        .unwrap_err();
    assert!(
        matches!(
            error,
            LoadError::TooLarge {
                found: 2001,
                limit: 2000,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("has 2001 bytes, and at most 2000 are allowed"),
        "{error}"
    );
}

#[test]
fn files_that_are_not_components() {
    check(
        b"",
        World::Backup,
        "plugin p.wasm is not a WebAssembly component: the file is empty",
    );
    check(
        b"#!/bin/sh\n",
        World::Backup,
        "plugin p.wasm is not a WebAssembly component: it does not begin with \\0asm",
    );
    check(
        b"\n (component)",
        World::Backup,
        "plugin p.wasm is not a WebAssembly component: it is WebAssembly text; turn it into a binary with `wasm-tools parse`",
    );
    check(
        &GuestText::backup().core_module(),
        World::Backup,
        "plugin p.wasm is a core WebAssembly module, not a component; build it for wasm32-wasip2, or turn it into a component \
         with `wasm-tools component new`",
    );
    check(
        b"\0asm\x0a\0\x01\0",
        World::Backup,
        "plugin p.wasm is not a WebAssembly component: it is of a version of WebAssembly that is not known",
    );
}

#[test]
fn a_file_that_ends_anywhere_is_refused() {
    let bytes = GuestText::backup().component();
    let host = host();
    for end in 1..bytes.len() {
        let loaded = host.load(
            Source::Bytes("p.wasm", &bytes[..end]),
            World::Backup,
            "0.1",
            &Limits::default(),
        );
        match loaded {
            Err(LoadError::Truncated { found, needed, .. }) => {
                assert!(
                    found == end as u64 && needed > found && needed <= bytes.len() as u64,
                    "{found} {needed}"
                );
            }
            // Cut between two sections it is a component, which lacks something.
            Err(LoadError::MissingExport { .. } | LoadError::Invalid { .. }) => {}
            Err(other) => panic!("{end}: {other}"),
            // What it lacks is a custom section (id 0) at the end, which nobody needs.
            Ok(_) => assert_eq!(bytes[end], 0, "{end}"),
        }
    }
}

#[test]
fn a_truncated_file_says_how_much_is_missing() {
    let bytes = GuestText::backup().component();
    let error = refused(&bytes[..bytes.len() / 2], World::Backup).to_string();
    assert!(
        error.starts_with(&format!(
            "plugin p.wasm is truncated: {} bytes are there",
            bytes.len() / 2
        )),
        "{error}"
    );
}

#[test]
fn damaged_bytes_never_panic() {
    let bytes = GuestText::backup().component();
    let host = host();
    for at in (8..bytes.len()).step_by(37) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        // Most are refused; a changed name or constant is not, and is none of the loader's business.
        let _ = host.load(
            Source::Bytes("p.wasm", &damaged),
            World::Backup,
            "0.1",
            &Limits::default(),
        );
    }
}

#[test]
fn the_other_world() {
    check(
        &GuestText::restore().component(),
        World::Backup,
        "plugin p.wasm is a restore plugin (world `wasi-restore-plugin`), \
         and a backup plugin (world `wasi-backup-plugin`) is needed here",
    );
    check(
        &GuestText::backup().component(),
        World::Restore,
        "plugin p.wasm is a backup plugin (world `wasi-backup-plugin`), \
         and a restore plugin (world `wasi-restore-plugin`) is needed here",
    );
}

#[test]
fn versions_of_the_contract() {
    let bytes = GuestText::backup().component();
    let error = host()
        .load(
            Source::Bytes("p.wasm", &bytes),
            World::Backup,
            "0.2",
            &Limits::default(),
        )
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin p.wasm: witVersion \"0.2\" is not supported; this version of armory supports 0.1"
    );
    check(
        &contract_with("@0.1.0", "@0.2.0"),
        World::Backup,
        "plugin p.wasm: witVersion is \"0.1\", and the component was built from kannika:wasi-plugins@0.2.0; \
         set witVersion to the version the plugin was built from, or build the plugin again",
    );
}

#[test]
fn a_component_of_something_else() {
    check(
        &foreign("package a:b; world w { export run: func(); export handle: func() -> string; }"),
        World::Backup,
        "plugin p.wasm does not export `init`, which world `wasi-backup-plugin` of kannika:wasi-plugins@0.1.0 has; \
         its exports are: run, handle",
    );
    check(
        &foreign("package a:b; world w {}"),
        World::Restore,
        "plugin p.wasm does not export `init`, which world `wasi-restore-plugin` of kannika:wasi-plugins@0.1.0 has; \
         its exports are: none",
    );
}

#[track_caller]
fn check_shape(from: &str, to: &str, place: &str, expected: &str, found: &str) {
    match refused(&contract_with(from, to), World::Backup) {
        LoadError::WrongShape {
            place: in_place,
            expected: was_expected,
            found: was_found,
            ..
        } => {
            assert_eq!(
                (in_place.as_str(), was_expected.as_str(), was_found.as_str()),
                (place, expected, found)
            );
        }
        other => panic!("{other}"),
    }
}

#[test]
fn shapes_are_checked_to_the_last_part() {
    let rec = "export `transform`, parameter `rec`";
    check_shape(
        "payload: option<list<u8>>",
        "payload: list<u8>",
        &format!("{rec}, field `payload`"),
        "option<list<u8>>",
        "list<u8>",
    );
    check_shape(
        "payload: option<list<u8>>",
        "payload: option<string>",
        &format!("{rec}, field `payload`"),
        "list<u8>",
        "string",
    );
    check_shape(
        "partition: option<s32>",
        "partition: option<u32>",
        &format!("{rec}, field `partition`"),
        "s32",
        "u32",
    );
    check_shape(
        "offset: option<s64>,",
        "",
        rec,
        "the fields key, headers, partition, offset, timestamp, payload",
        "the fields key, headers, partition, timestamp, payload",
    );
    check_shape(
        "create-time,",
        "create-time, update-time,",
        &format!("{rec}, field `timestamp`, field `kind`"),
        "the cases none, create-time, log-append-time",
        "the cases none, create-time, update-time, log-append-time",
    );
    check_shape(
        "val: option<list<u8>>",
        "val: list<u8>",
        &format!("{rec}, field `headers`, field `val`"),
        "option<list<u8>>",
        "list<u8>",
    );
    check_shape(
        "error(string)",
        "error",
        "export `transform`, result, case `error`",
        "string",
        "nothing",
    );
    check_shape(
        "rejected(kafka-record)",
        "rejected(u8)",
        "export `transform`, result, case `rejected`",
        "kafka-record",
        "u8",
    );
    check_shape(
        "-> outcome",
        "-> result<kafka-record>",
        "export `transform`, result",
        "outcome",
        "result<a record of key, headers, partition, offset, timestamp, payload, _>",
    );
    check_shape(
        "(rec: kafka-record)",
        "(r: kafka-record)",
        "export `transform`",
        "the parameters (rec)",
        "the parameters (r)",
    );
    check_shape(
        ", cfg: option<string>",
        "",
        "export `init`",
        "the parameters (ctx, cfg)",
        "the parameters (ctx)",
    );
    check_shape(
        "result<_, string>",
        "result",
        "export `init`, result, error",
        "string",
        "nothing",
    );
    check_shape(
        "topic: string",
        "topic: string, cluster: string",
        "export `init`, parameter `ctx`",
        "the fields topic",
        "the fields topic, cluster",
    );
    check_shape(
        " -> result<_, string>",
        "",
        "export `init`, result",
        "result<_, string>",
        "nothing",
    );
}

#[test]
fn a_wrong_shape_is_told_with_the_remedy() {
    let error = refused(
        &contract_with("partition: option<s32>", "partition: option<u32>"),
        World::Backup,
    );
    assert_eq!(
        error.to_string(),
        "plugin p.wasm: export `transform`, parameter `rec`, field `partition`: expected s32, found u32; \
         build the plugin from wit/0.1, in which names, types and order are fixed"
    );
}

#[test]
fn an_import_that_is_not_served() {
    let mut resolve = contract();
    let wit = r#"
        package test:more;
        world w { include kannika:wasi-plugins/wasi-backup-plugin@0.1.0; import wasi:http/outgoing@0.2.0; import env; }
        interface env { get: func(name: string) -> string; }
        package wasi:http@0.2.0 { interface outgoing { get: func(url: string) -> string; } }
    "#;
    resolve.push_str("more.wit", wit).unwrap();
    let guest = GuestText::backup()
        .imports(
            r#"(import "wasi:http/outgoing@0.2.0" "get" (func $get (param i32 i32 i32)))
               (import "test:more/env" "get" (func $env (param i32 i32 i32)))"#,
        )
        .on_bad("(call $get (i32.const 0) (i32.const 0) (i32.const 0)) (call $env (i32.const 0) (i32.const 0) (i32.const 0))");
    let bytes = encode(guest.core_module(), &resolve, "test:more/w");
    let error = refused(&bytes, World::Backup);
    assert!(
        matches!(&error, LoadError::UnknownImport { imports, .. } if imports == "wasi:http/outgoing@0.2.0, test:more/env"),
        "{error}"
    );
}

#[test]
fn an_import_of_another_shape_than_is_served() {
    let mut resolve = contract();
    let wit = r#"
        package test:more;
        world w { include kannika:wasi-plugins/wasi-backup-plugin@0.1.0; import wasi:random/random@0.2.0; }
        package wasi:random@0.2.0 { interface random { get-random-u64: func() -> u32; } }
    "#;
    resolve.push_str("more.wit", wit).unwrap();
    let guest = GuestText::backup()
        .imports(r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $get (result i32)))"#)
        .on_bad("(drop (call $get))");
    let error = refused(
        &encode(guest.core_module(), &resolve, "test:more/w"),
        World::Backup,
    );
    assert!(
        matches!(&error, LoadError::ImportShape { reason, .. } if reason.contains("wasi:random/random@0.2.0")),
        "{error}"
    );
}

fn host_with_cache(folder: &std::path::Path) -> Result<Host, armory_plugins::HostError> {
    Host::new(HostOptions {
        cache_dir: Some(folder.to_owned()),
        ..HostOptions::default()
    })
}

/// The compiled components in a cache.
fn compiled(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn compiled_components_are_kept_and_checked() {
    use std::os::unix::fs::PermissionsExt as _;

    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("deep/cache");
    let bytes = GuestText::backup().component();
    let works = || {
        let host = host_with_cache(&folder).unwrap();
        let plugin = host
            .load(
                Source::Bytes("p.wasm", &bytes),
                World::Backup,
                "0.1",
                &Limits::default(),
            )
            .unwrap();
        let chain = support::chain(&host, support::entry(plugin));
        chain
            .lease()
            .unwrap()
            .transform(support::record(b"good", 1))
            .unwrap();
    };
    works();
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let files = compiled(&folder);
    let [file] = files.as_slice() else {
        panic!("{files:?}")
    };
    assert_eq!(
        fs::metadata(file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let first = fs::metadata(file).unwrap().modified().unwrap();
    let whole = fs::read(file).unwrap();
    works();
    assert_eq!(
        fs::metadata(file).unwrap().modified().unwrap(),
        first,
        "what is there is used"
    );

    // Damaged or cut anywhere, it is made again.
    for at in [0, 31, 32, 40, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(file, &damaged).unwrap();
        works();
        assert_ne!(fs::read(file).unwrap(), damaged, "made again: {at}");
        fs::write(file, &whole[..at]).unwrap();
        works();
        assert_ne!(fs::read(file).unwrap().len(), at, "made again: {at}");
    }
    assert_eq!(compiled(&folder), files);
}

#[test]
fn a_cache_that_others_can_reach_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = host_with_cache(folder.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("its mode is 755, and code is only loaded from a folder with mode 700"),
        "{error}"
    );

    let elsewhere = folder.path().join("link");
    std::os::unix::fs::symlink(tempfile::tempdir().unwrap().path(), &elsewhere).unwrap();
    host_with_cache(&elsewhere).unwrap_err();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    host_with_cache(&file).unwrap_err();
}

#[test]
fn what_is_inspected_is_told_without_a_record() {
    let bytes = GuestText::restore().component();
    let seen = host()
        .inspect(Source::Bytes("p.wasm", &bytes), &Limits::default())
        .unwrap();
    assert_eq!((seen.name.as_str(), seen.world), ("p.wasm", World::Restore));
    assert_eq!(seen.bytes, bytes.len() as u64);
    assert_eq!(seen.wit_version.as_deref(), Some("0.1.0"));
    assert_eq!(seen.imports, ["kannika:wasi-plugins/types@0.1.0"]);
    let exports: Vec<_> = seen.exports.iter().map(|export| &*export.name).collect();
    assert_eq!(
        exports,
        ["init", "update-target-topic-requirements", "transform"]
    );
    assert_eq!(
        seen.exports[0].function.as_deref(),
        Some(
            "func(ctx: a record of source-topic, target-topic, cfg: option<string>) -> result<_, string>"
        )
    );
    // Two pages of memory, and no table to speak of.
    let memory = seen.start.unwrap().memory.unwrap();
    assert!((128 << 10..129 << 10).contains(&memory), "{memory}");
}

#[test]
fn what_is_no_plugin_is_inspected_all_the_same() {
    let bytes = foreign("package a:b; world w { export other: func() -> u32; }");
    let seen = host()
        .inspect(Source::Bytes("p.wasm", &bytes), &Limits::default())
        .unwrap();
    assert_eq!(seen.wit_version, None);
    assert_eq!(seen.exports[0].function.as_deref(), Some("func() -> u32"));
    let error = seen.start.unwrap_err();
    assert!(matches!(error, LoadError::MissingExport { .. }), "{error}");
}

#[test]
fn an_instance_that_does_not_fit_is_told() {
    let bytes = GuestText::backup().component();
    let limits = Limits {
        memory_bytes: 64 << 10,
        ..Limits::default()
    };
    let seen = host()
        .inspect(Source::Bytes("p.wasm", &bytes), &limits)
        .unwrap();
    let fault = seen.start.unwrap().memory.unwrap_err();
    assert!(fault.contains("65536"), "{fault}");
}

#[test]
fn a_world_need_not_be_known_to_load_a_plugin() {
    for world in [World::Backup, World::Restore] {
        let bytes = GuestText::new(world).component();
        let source = Source::Bytes("p.wasm", &bytes);
        let plugin = host().load_any(source, "0.1", &Limits::default()).unwrap();
        assert_eq!(plugin.world(), world);
        assert!(
            plugin
                .compilation()
                .is_some_and(|compilation| !compilation.from_cache)
        );
    }
}
