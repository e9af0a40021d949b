//! Guests that do harm, and what becomes of the host: every one of them fails on its record alone, in bounded time, and the
//! next record is fine.

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use armory_plugins::{
    Action, Entry, ErrorPolicy, FailureClass, Limits, Phase, PluginError, Verdict,
};
use support::{BAD, GuestText, chain, entry, host, load, quick, record};

/// Hands a good record, a bad one and a good one to a guest, and returns how the bad one failed.
#[track_caller]
fn fails_on_bad_only(guest: &GuestText, limits: Limits) -> PluginError {
    let host = host();
    let chain = chain(
        &host,
        Entry {
            limits,
            ..entry(load(&host, guest))
        },
    );
    let mut lease = chain.lease().unwrap();
    assert_eq!(
        lease.transform(record(b"good", 10)).unwrap(),
        Verdict::Unchanged
    );
    let error = lease.transform(record(BAD, 11)).unwrap_err();
    assert_eq!(error.phase, Phase::Transform);
    assert_eq!(error.record, Some((3, 11)));
    assert_eq!(
        lease.transform(record(b"good", 12)).unwrap(),
        Verdict::Unchanged
    );
    error
}

#[track_caller]
fn faults(guest: &GuestText, expected: &str) {
    faults_with(guest, quick(), expected);
}

#[track_caller]
fn faults_with(guest: &GuestText, limits: Limits, expected: &str) {
    let error = fails_on_bad_only(guest, limits);
    assert_eq!(error.class, FailureClass::Fault, "{error}");
    assert!(
        error.message.contains(expected),
        "{expected:?} is not in {error}"
    );
}

#[test]
fn a_trap() {
    let guest = GuestText::backup().on_bad("unreachable");
    faults(&guest, "wasm `unreachable` instruction executed");
    let error = fails_on_bad_only(&guest, quick()).to_string();
    assert!(
        error.starts_with("plugin guest fails on a record: topic orders, partition 3, offset 11: "),
        "{error}"
    );
}

#[test]
fn the_same_of_a_restore_plugin() {
    faults(
        &GuestText::restore().on_bad("unreachable"),
        "wasm `unreachable` instruction executed",
    );
}

#[test]
fn an_endless_loop() {
    faults(
        &GuestText::backup().on_bad("(loop $again (br $again))"),
        "did not finish within 300ms",
    );
}

#[test]
fn a_memory_bomb() {
    let bomb = GuestText::backup().on_bad("(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable");
    let limits = Limits {
        memory_bytes: 8 << 20,
        ..quick()
    };
    faults_with(
        &bomb,
        limits,
        "it asked for more than its limit of 8388608 bytes of memory",
    );
}

#[test]
fn a_table_bomb() {
    let bomb = GuestText::backup()
        .items("(table $t 1 funcref)")
        .on_bad("(loop $again (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 65536)) (i32.const -1)))) unreachable");
    let limits = Limits {
        memory_bytes: 8 << 20,
        ..quick()
    };
    faults_with(
        &bomb,
        limits,
        "it asked for more than its limit of 8388608 bytes of memory",
    );
}

#[test]
fn a_deep_recursion() {
    let guest = GuestText::backup()
        .items("(func $deeper (call $deeper) (call $deeper))")
        .on_bad("(call $deeper)");
    faults(&guest, "call stack exhausted");
}

/// An `accepted` with a value of 64 MiB.
const HUGE_RETURN: &str = "
    (drop (memory.grow (i32.const 1100)))
    (drop ACCEPT)
    (i32.store (i32.const 2132) (i32.const 65536))
    (i32.store (i32.const 2136) (i32.const 67108864))
    (return (i32.const 2048))";

#[test]
fn a_huge_return() {
    let guest = GuestText::backup().on_bad(&HUGE_RETURN.replace("ACCEPT", support::ACCEPT));
    faults(&guest, "handed over more than 2097176 bytes");
}

/// An `accepted` with half a million headers, which are far larger for the host than for the guest.
const MANY_HEADERS: &str = "
    (drop (memory.grow (i32.const 200)))
    (drop ACCEPT)
    (i32.store (i32.const 2068) (i32.const 65536))
    (i32.store (i32.const 2072) (i32.const 500000))
    (return (i32.const 2048))";

#[test]
fn a_return_of_many_headers() {
    let guest = GuestText::backup().on_bad(&MANY_HEADERS.replace("ACCEPT", support::ACCEPT));
    faults(&guest, "handed over more than 2097176 bytes");
}

#[test]
fn a_return_outside_of_memory() {
    faults(
        &GuestText::backup().on_bad("(return (i32.const -8))"),
        "out of bounds",
    );
}

#[test]
fn a_bad_discriminant() {
    let guest = GuestText::backup()
        .on_bad("(i32.store8 (i32.const 2048) (i32.const 9)) (return (i32.const 2048))");
    faults(&guest, "unexpected discriminant: 9");
}

#[test]
fn a_header_key_that_is_not_utf8() {
    let text = format!(
        "(drop {}) (i32.store (i32.const 4096) (i32.const 4200)) (i32.store (i32.const 4100) (i32.const 2))
         (i32.store8 (i32.const 4104) (i32.const 0)) (i32.store (i32.const 4200) (i32.const -1))
         (i32.store (i32.const 2068) (i32.const 4096)) (i32.store (i32.const 2072) (i32.const 1)) (return (i32.const 2048))",
        support::ACCEPT
    );
    faults(&GuestText::backup().on_bad(&text), "utf-8");
}

#[test]
fn an_exit() {
    let guest = GuestText::backup()
        .imports(r#"(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#)
        .on_bad("(call $exit (i32.const 1))");
    faults(&guest, "called exit with code 1");
}

const CLOCK_IMPORTS: &str = r#"
    (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
    (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
    (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))"#;

#[test]
fn a_sleep_of_an_hour() {
    let guest = GuestText::backup()
        .imports(CLOCK_IMPORTS)
        .on_bad("(call $block (call $subscribe (i64.const 3600000000000)))");
    let began = Instant::now();
    faults(&guest, "did not finish within 300ms");
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_poll_of_an_hour() {
    let guest = GuestText::backup().imports(CLOCK_IMPORTS).on_bad(
        "(i32.store (i32.const 4096) (call $subscribe (i64.const 3600000000000)))
         (i32.store (i32.const 4100) (call $subscribe (i64.const -1)))
         (call $poll (i32.const 4096) (i32.const 2) (i32.const 4104))",
    );
    faults(&guest, "did not finish within 300ms");
}

#[test]
fn a_short_sleep_is_no_fault() {
    let host = host();
    let guest = GuestText::backup()
        .imports(CLOCK_IMPORTS)
        .items("(global $alarm (mut i32) (i32.const 0))")
        .on_bad(
            "(global.set $alarm (call $subscribe (i64.const 5000000)))
         (call $block (global.get $alarm)) (call $drop (global.get $alarm))",
        );
    let chain = chain(&host, entry(load(&host, &guest)));
    let began = Instant::now();
    assert_eq!(
        chain.lease().unwrap().transform(record(BAD, 1)).unwrap(),
        Verdict::Unchanged
    );
    assert!(
        began.elapsed() >= Duration::from_millis(5),
        "{:?}",
        began.elapsed()
    );
}

/// A WASI call that waits must not bring a runtime for async tasks down with it, wherever it is called.
#[test]
fn a_sleep_on_a_thread_of_an_async_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let guest = GuestText::backup()
            .imports(CLOCK_IMPORTS)
            .on_bad("(call $block (call $subscribe (i64.const 1000)))");
        let host = host();
        let chain = chain(&host, entry(load(&host, &guest)));
        assert_eq!(
            chain.lease().unwrap().transform(record(BAD, 1)).unwrap(),
            Verdict::Unchanged
        );
    });
}

const PRINT_IMPORTS: &str = r#"
    (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))"#;

/// Prints 24 bytes, of which the last is a newline.
const PRINT: &str = "(i32.store (i32.const 1044) (i32.const 0x0a2e2e2e))
    (call $write (call $stdout) (i32.const 1024) (i32.const 24) (i32.const 4096))";

#[test]
fn printing_without_end() {
    let guest = GuestText::backup()
        .imports(PRINT_IMPORTS)
        .on_bad(&format!("(loop $again {PRINT} (br $again))"));
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        // Every line opens stdout anew and never closes it, so the handles run out before the time does.
        fails_on_bad_only(&guest, quick());
    });
    let printed = lines
        .text()
        .lines()
        .filter(|line| line.contains("it does not please m"))
        .count();
    assert!((100..=400).contains(&printed), "{printed} lines");
}

#[test]
fn a_line_without_end() {
    let guest = GuestText::backup()
        .imports(PRINT_IMPORTS)
        .items("(global $out (mut i32) (i32.const 0))")
        .on_bad(
            "(global.set $out (call $stdout))
             (loop $again (call $write (global.get $out) (i32.const 1024) (i32.const 20) (i32.const 4096)) (br $again))",
        );
    faults(&guest, "did not finish within 300ms");
}

#[test]
fn what_is_printed_is_logged_by_the_line() {
    let guest = GuestText::backup().imports(PRINT_IMPORTS).on_bad(PRINT);
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let host = host();
        let chain = chain(&host, entry(load(&host, &guest)));
        assert_eq!(
            chain.lease().unwrap().transform(record(BAD, 1)).unwrap(),
            Verdict::Unchanged
        );
    });
    let text = lines.text();
    let line = text
        .lines()
        .find(|line| line.contains("it does not please m..."))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("plugin=\"guest\"") && line.contains("stream=\"stdout\""),
        "{line}"
    );
}

/// What was logged in the meantime.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Starts a guest with a configuration, so that it misbehaves in `init`.
#[track_caller]
fn init_fails(init: &str) -> PluginError {
    let host = host();
    let guest = GuestText::backup().init(init);
    let plugin = load(&host, &guest);
    // Whatever the policy says, it is about records.
    let drop_all = ErrorPolicy {
        rejected: Action::Drop,
        error: Action::Drop,
        fault: Action::Drop,
        header_key_not_utf8: Action::Drop,
        stop_rule: None,
    };
    let bad = Entry {
        config: Some("\"a\": 1\n".into()),
        policy: drop_all,
        ..entry(plugin.clone())
    };
    let error = chain(&host, bad).lease().unwrap_err();
    assert_eq!((error.phase, error.record), (Phase::Init, None));
    // The same plugin without the configuration is fine.
    let good = chain(&host, entry(plugin));
    assert_eq!(
        good.lease().unwrap().transform(record(b"good", 1)).unwrap(),
        Verdict::Unchanged
    );
    error
}

#[test]
fn an_init_that_refuses() {
    let error = init_fails("(return (call $refuse))");
    assert_eq!(error.class, FailureClass::Error);
    assert_eq!(
        error.to_string(),
        "plugin guest refuses its configuration: topic orders: it does not please me"
    );
}

#[test]
fn an_init_without_end() {
    let error = init_fails("(loop $again (br $again))");
    assert_eq!(error.class, FailureClass::Fault);
    assert!(
        error.message.contains("did not finish within 600ms"),
        "{error}"
    );
}

#[test]
fn an_init_that_traps() {
    let error = init_fails("unreachable");
    assert_eq!(error.class, FailureClass::Fault);
    assert!(
        error
            .to_string()
            .starts_with("plugin guest fails in init: topic orders: "),
        "{error}"
    );
}

#[test]
fn more_memory_from_the_start_than_is_allowed() {
    let host = host();
    let plugin = load(&host, &GuestText::backup().items("(memory $more 4096)"));
    let error = chain(&host, entry(plugin)).lease().unwrap_err();
    assert_eq!(error.phase, Phase::Instantiate);
    assert!(
        error
            .message
            .contains("it asked for more than its limit of 268435456 bytes of memory"),
        "{error}"
    );
}

#[test]
fn a_start_function_without_end() {
    let host = host();
    let guest = GuestText::backup().items("(func $start (loop $again (br $again))) (start $start)");
    let error = chain(&host, entry(load(&host, &guest)))
        .lease()
        .unwrap_err();
    assert_eq!(error.phase, Phase::Instantiate);
    assert!(
        error.message.contains("did not finish within 600ms"),
        "{error}"
    );
}

#[test]
fn requirements_that_trap() {
    let host = host();
    let chain = chain(
        &host,
        entry(load(
            &host,
            &GuestText::restore().requirements("unreachable"),
        )),
    );
    let error = chain.requirements(3).unwrap_err();
    assert_eq!(
        (error.phase, error.class),
        (Phase::Requirements, FailureClass::Fault)
    );
}

#[test]
fn requirements_that_no_topic_can_meet() {
    for requirements in ["i64.const 0", "i64.const 2147483648", "i64.const -1"] {
        let host = host();
        let chain = chain(
            &host,
            entry(load(
                &host,
                &GuestText::restore().requirements(requirements),
            )),
        );
        let error = chain.requirements(3).unwrap_err();
        assert_eq!(
            (error.phase, error.class),
            (Phase::Requirements, FailureClass::Error)
        );
        assert!(
            error
                .message
                .contains("a topic has between 1 and 2147483647"),
            "{error}"
        );
    }
}
