//! Guests written in WebAssembly text, so that they can misbehave in ways that no toolchain would let them.
//!
//! A guest accepts every record as it is, except for what its test replaces. Those that misbehave do so for a record whose
//! value is [`BAD`], or in `init` when they are given a configuration: the same guest shows that the next record is fine.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses its own part"
)]

use std::path::Path;
use std::sync::Arc;

use armory_plugins::{
    Chain, Context, Entry, ErrorPolicy, Host, HostOptions, Limits, Plugin, RecordRef, Timestamp,
    TimestampKind, World,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The value of a record on which guests misbehave.
pub const BAD: &[u8] = b"!bad";

/// What a guest is made of: text of its core module.
#[derive(Debug, Clone)]
pub struct GuestText {
    world: World,
    imports: String,
    items: String,
    init: String,
    requirements: String,
    on_bad: String,
    every: String,
}

impl GuestText {
    pub fn new(world: World) -> Self {
        Self {
            world,
            imports: String::new(),
            items: String::new(),
            init: String::new(),
            requirements: "local.get 0".into(),
            on_bad: String::new(),
            every: String::new(),
        }
    }

    pub fn backup() -> Self {
        Self::new(World::Backup)
    }

    pub fn restore() -> Self {
        Self::new(World::Restore)
    }

    /// Interfaces that it imports besides the contract's, for [`WASI`], and the core imports made of them.
    pub fn imports(mut self, text: &str) -> Self {
        self.imports.push_str(text);
        self
    }

    /// Items of the core module: functions, globals, data.
    pub fn items(mut self, text: &str) -> Self {
        self.items.push_str(text);
        self
    }

    /// What `init` does when there is a configuration. To refuse, it leaves the address of a result: `call $refuse`.
    pub fn init(mut self, text: &str) -> Self {
        self.init.push_str(text);
        self
    }

    /// What `transform` does with a record whose value is [`BAD`]; it may `return` the address of an outcome.
    pub fn on_bad(mut self, text: &str) -> Self {
        self.on_bad.push_str(text);
        self
    }

    /// What `transform` does first with every record; it may `return` the address of an outcome.
    pub fn every(mut self, text: &str) -> Self {
        self.every.push_str(text);
        self
    }

    /// What `update-target-topic-requirements` leaves on the stack; local 0 is what is required so far.
    pub fn requirements(mut self, text: &str) -> Self {
        self.requirements = text.to_owned();
        self
    }

    pub fn core_module(&self) -> Vec<u8> {
        let Self {
            imports,
            items,
            init,
            requirements,
            on_bad,
            every,
            world,
        } = self;
        let (context, requirements) = match world {
            World::Backup => ("(param i32 i32)", String::new()),
            World::Restore => (
                "(param i32 i32 i32 i32)",
                format!(
                    r#"(func (export "update-target-topic-requirements") (param i64) (result i64) {requirements})"#
                ),
            ),
        };
        let config = match world {
            World::Backup => 2,
            World::Restore => 4,
        };
        let text = format!(
            r#"(module
            {imports}
            (memory (export "memory") 2)
            (global $heap (mut i32) (i32.const 65536))
            (data (i32.const 1024) "it does not please me")
            ;; Allocates, and never frees before a call is over.
            (func $realloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
              (local $at i32) (local $end i32)
              (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
              (local.set $end (i32.add (local.get $at) (local.get $size)))
              (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
                (then (if (i32.eq (memory.grow (i32.add (i32.shr_u (i32.sub (local.get $end) (i32.mul (memory.size) (i32.const 65536))) (i32.const 16)) (i32.const 1))) (i32.const -1))
                  (then (unreachable)))))
              (global.set $heap (local.get $end))
              (local.get $at))
            (func (export "cabi_post_transform") (param i32) (global.set $heap (i32.const 65536)))
            (func (export "cabi_post_init") (param i32) (global.set $heap (i32.const 65536)))
            ;; Leaves the address of an outcome `error`.
            (func $error (result i32)
              (i32.store8 (i32.const 2048) (i32.const 2))
              (i32.store (i32.const 2056) (i32.const 1024))
              (i32.store (i32.const 2060) (i32.const 21))
              (i32.const 2048))
            ;; Leaves the address of a result of init which is an error.
            (func $refuse (result i32)
              (i32.store8 (i32.const 2048) (i32.const 1))
              (i32.store (i32.const 2052) (i32.const 1024))
              (i32.store (i32.const 2056) (i32.const 21))
              (i32.const 2048))
            ;; Leaves the address of an outcome `accepted` with the same record.
            (func $accept (param i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i64 i32 i32 i32) (result i32)
              (i32.store8 (i32.const 2048) (i32.const 0))
              (i32.store8 (i32.const 2056) (local.get 0))
              (i32.store (i32.const 2060) (local.get 1))
              (i32.store (i32.const 2064) (local.get 2))
              (i32.store (i32.const 2068) (local.get 3))
              (i32.store (i32.const 2072) (local.get 4))
              (i32.store8 (i32.const 2076) (local.get 5))
              (i32.store (i32.const 2080) (local.get 6))
              (i32.store8 (i32.const 2088) (local.get 7))
              (i64.store (i32.const 2096) (local.get 8))
              (i32.store8 (i32.const 2104) (local.get 9))
              (i32.store8 (i32.const 2112) (local.get 10))
              (i64.store (i32.const 2120) (local.get 11))
              (i32.store8 (i32.const 2128) (local.get 12))
              (i32.store (i32.const 2132) (local.get 13))
              (i32.store (i32.const 2136) (local.get 14))
              (i32.const 2048))
            {items}
            (func (export "init") {context} (param i32 i32 i32) (result i32)
              (if (local.get {config}) (then {init}))
              (i32.store8 (i32.const 2048) (i32.const 0))
              (i32.const 2048))
            {requirements}
            (func (export "transform") (param i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i64 i32 i32 i32) (result i32)
              {every}
              (if (i32.eq (local.get 14) (i32.const 4))
                (then (if (i32.eq (i32.load (local.get 13)) (i32.const 0x64616221))
                  (then {on_bad}))))
              {ACCEPT})
            )"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub fn component(&self) -> Vec<u8> {
        let world = match (self.world, self.imports.is_empty()) {
            (World::Backup, true) => "kannika:wasi-plugins/wasi-backup-plugin",
            (World::Restore, true) => "kannika:wasi-plugins/wasi-restore-plugin",
            (_, false) => "test:guests/backup-with-wasi",
        };
        encode(self.core_module(), &contract(), world)
    }
}

/// Hands the record back as it came, from within `transform`.
pub const ACCEPT: &str = "(call $accept (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) \
     (local.get 6) (local.get 7) (local.get 8) (local.get 9) (local.get 10) (local.get 11) (local.get 12) (local.get 13) \
     (local.get 14))";

/// The parts of WASI that guests here use.
const WASI: &str = r#"
    package test:guests;
    world backup-with-wasi {
        include kannika:wasi-plugins/wasi-backup-plugin@0.1.0;
        import wasi:cli/exit@0.2.0;
        import wasi:cli/stdout@0.2.0;
        import wasi:clocks/monotonic-clock@0.2.0;
        import wasi:io/poll@0.2.0;
        import wasi:io/streams@0.2.0;
    }
    package wasi:cli@0.2.0 {
        interface exit { exit: func(status: result); }
        interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }
    }
    package wasi:clocks@0.2.0 {
        interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable};
            subscribe-duration: func(when: u64) -> pollable;
            now: func() -> u64;
        }
    }
    package wasi:io@0.2.0 {
        interface error { resource error; }
        interface poll {
            resource pollable { block: func(); ready: func() -> bool; }
            poll: func(in: list<borrow<pollable>>) -> list<u32>;
        }
        interface streams {
            use error.{error};
            variant stream-error { last-operation-failed(error), closed }
            resource output-stream {
                blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
            }
        }
    }
"#;

/// The contract, and the worlds of guests that import WASI as well.
pub fn contract() -> Resolve {
    let mut resolve = Resolve::default();
    let wit = Path::new("../../wit/0.1");
    resolve.push_dir(wit).expect("the contract parses");
    resolve
        .push_str("guests.wit", WASI)
        .expect("the worlds of guests parse");
    resolve
}

/// Makes a component of a core module.
pub fn encode(mut module: Vec<u8>, resolve: &Resolve, world: &str) -> Vec<u8> {
    let packages: Vec<_> = resolve.packages.iter().map(|(id, _)| id).collect();
    let world = resolve
        .select_world(&packages, Some(world))
        .expect("the world is there");
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8)
        .expect("metadata fits");
    let encoder = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .expect("the module is of the world");
    let mut encoder = encoder;
    encoder.encode().unwrap_or_else(|error| panic!("{error:#}"))
}

pub fn host() -> Host {
    Host::new(HostOptions::default()).expect("the host starts")
}

pub fn load(host: &Host, guest: &GuestText) -> Plugin {
    let component = guest.component();
    host.load(
        armory_plugins::Source::Bytes("guest.wasm", &component),
        guest.world,
        "0.1",
        &Limits::default(),
    )
    .unwrap_or_else(|error| panic!("{error}"))
}

/// Limits that let a test wait for them.
pub fn quick() -> Limits {
    Limits {
        record_time: std::time::Duration::from_millis(300),
        init_time: std::time::Duration::from_millis(600),
        ..Limits::default()
    }
}

pub fn entry(plugin: Plugin) -> Entry {
    Entry {
        plugin,
        label: "guest".into(),
        config: None,
        policy: ErrorPolicy::default(),
        limits: quick(),
    }
}

pub fn backup(topic: &str) -> Context {
    Context::Backup {
        topic: topic.into(),
    }
}

pub fn restore(source: &str, target: &str) -> Context {
    Context::Restore {
        source_topic: source.into(),
        target_topic: target.into(),
    }
}

pub fn chain(host: &Host, entry: Entry) -> Chain {
    let context = match entry.plugin.world() {
        World::Backup => backup("orders"),
        World::Restore => restore("orders", "orders-copy"),
    };
    Chain::new(host, vec![Arc::new(entry)], context)
}

pub fn record<'a>(value: &'a [u8], offset: i64) -> RecordRef<'a> {
    RecordRef {
        key: Some(b"key"),
        value: Some(value),
        headers: &[],
        partition: 3,
        offset,
        timestamp: Timestamp {
            kind: TimestampKind::CreateTime,
            time: 1_700_000_000_000,
        },
    }
}
