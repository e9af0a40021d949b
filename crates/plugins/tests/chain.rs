//! What a chain makes of records: outcomes, policies, replays, and where instances live.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use armory_plugins::{
    Action, Chain, Entry, EntryCounters, ErrorPolicy, FailureClass, Host, HostOptions, Limits,
    OwnedRecord, RecordRef, StopRule, Timestamp, TimestampKind, Verdict,
};
use support::{ACCEPT, BAD, GuestText, backup, chain, entry, host, load, quick, record, restore};

const TIME: i64 = 1_700_000_000_000;

/// What [`record`] gives, after some plugin has changed it.
fn owned(value: &[u8]) -> OwnedRecord {
    OwnedRecord {
        key: Some(b"key".to_vec()),
        value: Some(value.to_vec()),
        headers: vec![],
        partition: Some(3),
        timestamp: TIME,
    }
}

#[track_caller]
fn check(guest: GuestText, record: RecordRef<'_>, expected: Verdict) {
    let host = host();
    let chain = chain(&host, entry(load(&host, &guest)));
    assert_eq!(chain.lease().unwrap().transform(record).unwrap(), expected);
}

#[test]
fn every_kind_of_record_comes_back_as_it_went_in() {
    let headers: [(&[u8], Option<&[u8]>); 4] = [
        (b"a", Some(b"1")),
        (b"a", Some(b"")),
        (b"", None),
        ("ключ".as_bytes(), Some(b"\xff\x00")),
    ];
    let empty: Option<&[u8]> = Some(b"");
    let long = vec![7u8; 700_000];
    for guest in [GuestText::backup(), GuestText::restore()] {
        for (key, value) in [
            (None, None),
            (empty, None),
            (None, empty),
            (empty, empty),
            (Some(&b"k"[..]), Some(&long[..])),
        ] {
            for headers in [&headers[..], &[]] {
                for kind in [
                    TimestampKind::None,
                    TimestampKind::CreateTime,
                    TimestampKind::LogAppendTime,
                ] {
                    for time in [-1, 0, TIME, i64::MAX] {
                        let timestamp = Timestamp { kind, time };
                        let record = RecordRef {
                            key,
                            value,
                            headers,
                            partition: i32::MAX,
                            offset: i64::MAX,
                            timestamp,
                        };
                        let host = shared_host();
                        let chain = chain(host, entry(load_once(host, &guest)));
                        let verdict = chain.lease().unwrap().transform(record).unwrap();
                        assert_eq!(verdict, Verdict::Unchanged, "{record:?}");
                    }
                }
            }
        }
    }
}

fn shared_host() -> &'static Host {
    static HOST: std::sync::OnceLock<Host> = std::sync::OnceLock::new();
    HOST.get_or_init(host)
}

fn load_once(host: &Host, guest: &GuestText) -> armory_plugins::Plugin {
    static LOADED: std::sync::Mutex<Vec<(String, armory_plugins::Plugin)>> =
        std::sync::Mutex::new(Vec::new());
    let mut loaded = LOADED.lock().unwrap();
    let name = format!("{guest:?}");
    if let Some((_, plugin)) = loaded.iter().find(|(loaded, _)| *loaded == name) {
        return plugin.clone();
    }
    let plugin = load(host, guest);
    loaded.push((name, plugin.clone()));
    plugin
}

#[test]
fn a_large_record_may_come_back_whatever_the_limit() {
    let host = host();
    let limits = Limits {
        returned_bytes: 1000,
        ..quick()
    };
    let chain = chain(
        &host,
        Entry {
            limits,
            ..entry(load(&host, &GuestText::backup()))
        },
    );
    let value = vec![1u8; 5_000_000];
    assert_eq!(
        chain.lease().unwrap().transform(record(&value, 1)).unwrap(),
        Verdict::Unchanged
    );
}

/// Replaces the value by its second half, at the address and with the length that are given.
const HALF: &str =
    "(local.set 13 (i32.add (local.get 13) (i32.const 2))) (local.set 14 (i32.const 2))";

#[test]
fn a_changed_value() {
    check(
        GuestText::backup().on_bad(HALF),
        record(BAD, 1),
        Verdict::Changed(owned(b"ad")),
    );
}

#[test]
fn a_value_taken_away_is_a_tombstone() {
    let expected = OwnedRecord {
        value: None,
        ..owned(b"")
    };
    check(
        GuestText::backup().on_bad("(local.set 12 (i32.const 0))"),
        record(BAD, 1),
        Verdict::Changed(expected),
    );
}

#[test]
fn an_empty_key_is_not_no_key() {
    let expected = OwnedRecord {
        key: Some(vec![]),
        ..owned(BAD)
    };
    check(
        GuestText::backup().on_bad("(local.set 2 (i32.const 0))"),
        record(BAD, 1),
        Verdict::Changed(expected),
    );
    let expected = OwnedRecord {
        key: None,
        ..owned(BAD)
    };
    check(
        GuestText::backup().on_bad("(local.set 0 (i32.const 0))"),
        record(BAD, 1),
        Verdict::Changed(expected),
    );
}

#[test]
fn headers_taken_away() {
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"a", Some(b"1")), (b"b", None)];
    let record = RecordRef {
        headers: &headers,
        ..record(BAD, 1)
    };
    let expected = OwnedRecord {
        headers: vec![("a".into(), Some(b"1".to_vec()))],
        ..owned(BAD)
    };
    check(
        GuestText::backup().on_bad("(local.set 4 (i32.const 1))"),
        record,
        Verdict::Changed(expected),
    );
}

#[test]
fn the_time_of_a_timestamp_is_honoured_and_its_kind_is_not() {
    let expected = OwnedRecord {
        timestamp: 5,
        ..owned(BAD)
    };
    check(
        GuestText::backup().on_bad("(local.set 11 (i64.const 5))"),
        record(BAD, 1),
        Verdict::Changed(expected),
    );
    let expected = OwnedRecord {
        timestamp: -1,
        ..owned(BAD)
    };
    check(
        GuestText::backup().on_bad("(local.set 9 (i32.const 0))"),
        record(BAD, 1),
        Verdict::Changed(expected),
    );
    check(
        GuestText::backup().on_bad("(local.set 10 (i32.const 2))"),
        record(BAD, 1),
        Verdict::Unchanged,
    );
}

#[test]
fn a_backup_ignores_and_counts_edits_of_partition_and_offset() {
    let host = host();
    for edit in [
        "(local.set 6 (i32.const 9))",
        "(local.set 5 (i32.const 0))",
        "(local.set 8 (i64.const 9))",
    ] {
        let chain = chain(&host, entry(load(&host, &GuestText::backup().on_bad(edit))));
        let mut lease = chain.lease().unwrap();
        assert_eq!(
            lease.transform(record(b"good", 1)).unwrap(),
            Verdict::Unchanged
        );
        assert_eq!(lease.transform(record(BAD, 2)).unwrap(), Verdict::Unchanged);
        assert_eq!(lease.transform(record(BAD, 3)).unwrap(), Verdict::Unchanged);
        assert_eq!(chain.counters()[0].ignored_edits, 2);
    }
}

#[test]
fn a_restore_honours_the_partition_and_ignores_the_offset() {
    let to_nine = OwnedRecord {
        partition: Some(9),
        ..owned(BAD)
    };
    check(
        GuestText::restore().on_bad("(local.set 6 (i32.const 9))"),
        record(BAD, 1),
        Verdict::Changed(to_nine),
    );
    let anywhere = OwnedRecord {
        partition: None,
        ..owned(BAD)
    };
    check(
        GuestText::restore().on_bad("(local.set 5 (i32.const 0))"),
        record(BAD, 1),
        Verdict::Changed(anywhere),
    );
    check(
        GuestText::restore().on_bad("(local.set 8 (i64.const 9))"),
        record(BAD, 1),
        Verdict::Unchanged,
    );
}

#[test]
fn a_partition_that_the_target_does_not_have_is_a_failure() {
    let host = host();
    let plugin = load(
        &host,
        &GuestText::restore().on_bad("(local.set 6 (i32.const 9))"),
    );
    let chain = chain(&host, entry(plugin));
    chain.set_target_partitions(9);
    let error = chain
        .lease()
        .unwrap()
        .transform(record(BAD, 1))
        .unwrap_err();
    assert_eq!(error.class, FailureClass::Error);
    assert_eq!(error.topic, "orders -> orders-copy");
    assert_eq!(
        error.message,
        "it sends the record to partition 9, and the target topic has 9 partitions"
    );
    // The partition that the record came with is not the plugin's doing.
    chain.set_target_partitions(2);
    assert_eq!(
        chain
            .lease()
            .unwrap()
            .transform(record(b"good", 1))
            .unwrap(),
        Verdict::Unchanged
    );
    chain.set_target_partitions(10);
    assert!(matches!(
        chain.lease().unwrap().transform(record(BAD, 1)).unwrap(),
        Verdict::Changed(_)
    ));
}

/// Leaves the address of an outcome `rejected`.
fn reject() -> String {
    format!("(drop {ACCEPT}) (i32.store8 (i32.const 2048) (i32.const 1)) (return (i32.const 2048))")
}

#[track_caller]
fn check_policy(
    on_bad: &str,
    policy: ErrorPolicy,
    expected: Result<Verdict, FailureClass>,
) -> EntryCounters {
    let host = host();
    let chain = chain(
        &host,
        Entry {
            policy,
            ..entry(load(&host, &GuestText::backup().on_bad(on_bad)))
        },
    );
    let mut lease = chain.lease().unwrap();
    let found = lease.transform(record(BAD, 1));
    assert_eq!(found.map_err(|error| error.class), expected);
    assert_eq!(
        lease.transform(record(b"good", 2)).unwrap(),
        Verdict::Unchanged
    );
    chain.counters().remove(0)
}

#[test]
fn rejected_records_are_filtered_unless_the_policy_says_otherwise() {
    let counters = check_policy(&reject(), ErrorPolicy::default(), Ok(Verdict::Filtered));
    assert_eq!(
        (counters.calls, counters.accepted, counters.filtered),
        (2, 1, 1)
    );
    let fail = ErrorPolicy {
        rejected: Action::Fail,
        ..ErrorPolicy::default()
    };
    check_policy(&reject(), fail, Err(FailureClass::Rejected));
}

#[test]
fn errors_fail_unless_the_policy_says_otherwise() {
    let counters = check_policy(
        "(return (call $error))",
        ErrorPolicy::default(),
        Err(FailureClass::Error),
    );
    assert_eq!(
        (counters.calls, counters.errors, counters.faults),
        (2, 1, 0)
    );
    let drop = ErrorPolicy {
        error: Action::Drop,
        ..ErrorPolicy::default()
    };
    let dropped = Verdict::Dropped {
        plugin: "guest".into(),
        class: FailureClass::Error,
    };
    check_policy("(return (call $error))", drop, Ok(dropped));
}

#[test]
fn the_text_of_an_error_is_told() {
    let host = host();
    let chain = chain(
        &host,
        entry(load(
            &host,
            &GuestText::backup().on_bad("(return (call $error))"),
        )),
    );
    let error = chain
        .lease()
        .unwrap()
        .transform(record(BAD, 77))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin guest fails on a record: topic orders, partition 3, offset 77: it does not please me"
    );
}

#[test]
fn faults_fail_unless_the_policy_says_otherwise() {
    let counters = check_policy(
        "unreachable",
        ErrorPolicy::default(),
        Err(FailureClass::Fault),
    );
    // Twice the bad record, of which the second fault is the one that counts as the record's; then the good one.
    assert_eq!(
        (
            counters.calls,
            counters.accepted,
            counters.faults,
            counters.starts
        ),
        (3, 1, 2, 3)
    );
    let drop = ErrorPolicy {
        fault: Action::Drop,
        ..ErrorPolicy::default()
    };
    let dropped = Verdict::Dropped {
        plugin: "guest".into(),
        class: FailureClass::Fault,
    };
    check_policy("unreachable", drop, Ok(dropped));
}

#[test]
fn header_keys_that_are_not_utf8_have_a_policy_of_their_own() {
    let host = host();
    let plugin = load(&host, &GuestText::backup());
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"fine", None), (b"caf\xe9", Some(b"1"))];
    let record = RecordRef {
        headers: &headers,
        ..record(b"good", 5)
    };

    let fail = chain(&host, entry(plugin.clone()));
    let error = fail.lease().unwrap().transform(record).unwrap_err();
    assert_eq!(error.class, FailureClass::HeaderKeyNotUtf8);
    assert_eq!(
        error.to_string(),
        "plugin guest cannot be given a record: topic orders, partition 3, offset 5: \
         header key \"caf\\xe9\" is not UTF-8, which kafka-record 0.1 cannot express"
    );

    let policy = ErrorPolicy {
        header_key_not_utf8: Action::Drop,
        ..ErrorPolicy::default()
    };
    let drop = chain(
        &host,
        Entry {
            policy,
            ..entry(plugin)
        },
    );
    let dropped = Verdict::Dropped {
        plugin: "guest".into(),
        class: FailureClass::HeaderKeyNotUtf8,
    };
    assert_eq!(drop.lease().unwrap().transform(record).unwrap(), dropped);
    let counters = &drop.counters()[0];
    assert_eq!((counters.calls, counters.header_keys_not_utf8), (0, 1));
}

/// For every class of failure, what has a guest fail like that on a bad record, and a cell that only that class has.
fn failing() -> [(FailureClass, String); 3] {
    [
        (FailureClass::Rejected, reject()),
        (FailureClass::Error, "(return (call $error))".to_owned()),
        (FailureClass::Fault, "unreachable".to_owned()),
    ]
}

fn only(class: FailureClass, action: Action) -> ErrorPolicy {
    let mut policy = ErrorPolicy {
        rejected: Action::Fail,
        ..ErrorPolicy::default()
    };
    let cell = match class {
        FailureClass::Rejected => &mut policy.rejected,
        FailureClass::Error => &mut policy.error,
        FailureClass::Fault => &mut policy.fault,
        FailureClass::HeaderKeyNotUtf8 => &mut policy.header_key_not_utf8,
    };
    *cell = action;
    policy
}

/// The second of three plugins fails: the third gets what the first made of the record.
#[test]
fn what_passes_through_goes_to_the_next_plugin_as_it_was_given_to_this_one() {
    let host = shared_host();
    let first = load_once(
        host,
        &GuestText::backup().on_bad("(local.set 0 (i32.const 0))"),
    );
    // It sees that the first one took the key away.
    let third = load_once(
        host,
        &GuestText::backup().on_bad(&format!("(if (i32.eqz (local.get 0)) (then {HALF}))")),
    );
    for (class, on_bad) in failing() {
        let second = load_once(host, &GuestText::backup().on_bad(&on_bad));
        let entries = [
            entry(first.clone()),
            Entry {
                policy: only(class, Action::PassThrough),
                ..entry(second)
            },
            entry(third.clone()),
        ];
        let entries = entries.into_iter().map(Arc::new).collect();
        let chain = Chain::new(host, entries, backup("orders"));
        let verdict = chain.lease().unwrap().transform(record(BAD, 1)).unwrap();
        let expected = OwnedRecord {
            key: None,
            ..owned(b"ad")
        };
        assert_eq!(verdict, Verdict::Changed(expected), "{class}");
        let counters = chain.counters();
        assert_eq!(counters[1].passed_through, 1, "{class}");
        assert_eq!((counters[1].accepted, counters[2].accepted), (0, 1));
    }
}

#[test]
fn a_record_that_cannot_be_told_passes_through_every_plugin_that_says_so() {
    let host = shared_host();
    let plugin = load_once(host, &GuestText::backup());
    let headers: [(&[u8], Option<&[u8]>); 1] = [(b"caf\xe9", Some(b"1"))];
    let record = RecordRef {
        headers: &headers,
        ..record(b"good", 5)
    };
    let through = only(FailureClass::HeaderKeyNotUtf8, Action::PassThrough);
    let chain = |policies: [ErrorPolicy; 2]| {
        let entries = policies.map(|policy| {
            Arc::new(Entry {
                policy,
                ..entry(plugin.clone())
            })
        });
        Chain::new(host, entries.into(), backup("orders"))
    };
    let both = chain([through, through]);
    let verdict = both.lease().unwrap().transform(record).unwrap();
    assert_eq!(verdict, Verdict::Unchanged);
    let second_fails = chain([through, ErrorPolicy::default()]);
    let error = second_fails.lease().unwrap().transform(record).unwrap_err();
    assert_eq!(error.class, FailureClass::HeaderKeyNotUtf8);
}

#[test]
fn what_is_put_aside_says_how_it_failed() {
    let host = shared_host();
    let cases = [
        (FailureClass::Rejected, reject(), "rejected"),
        (
            FailureClass::Error,
            "(return (call $error))".to_owned(),
            "it does not please me",
        ),
        (
            FailureClass::Fault,
            "(call $boom)".to_owned(),
            "unreachable",
        ),
    ];
    for (class, on_bad, words) in cases {
        let guest = GuestText::backup()
            .items("(func $boom (unreachable))")
            .on_bad(&on_bad);
        let plugin = load_once(host, &guest);
        let digest = plugin.digest().to_owned();
        let policy = only(class, Action::DeadLetter);
        let chain = chain(
            host,
            Entry {
                policy,
                ..entry(plugin)
            },
        );
        let mut lease = chain.lease().unwrap();
        let Verdict::DeadLettered(failed) = lease.transform(record(BAD, 1)).unwrap() else {
            panic!("{class} is not put aside");
        };
        assert_eq!((failed.plugin.as_str(), failed.class), ("guest", class));
        assert_eq!(failed.digest, digest);
        assert!(failed.message.contains(words), "{failed:?}");
        let inside = failed.backtrace.iter().any(|name| name.contains("boom"));
        assert_eq!(inside, class == FailureClass::Fault, "{failed:?}");
        let good = lease.transform(record(b"good", 2)).unwrap();
        assert_eq!(good, Verdict::Unchanged);
        assert_eq!(chain.counters()[0].dead_lettered, 1);
    }
}

/// Which of the values, handed over at offsets from 0 on, the chain stops at.
fn stops_at(chain: &Chain, values: &[&[u8]]) -> Option<(i64, String)> {
    let mut lease = chain.lease().unwrap();
    for (offset, value) in (0..).zip(values) {
        if let Err(error) = lease.transform(record(value, offset)) {
            assert!(error.too_many);
            assert_eq!(error.record, Some((3, offset)));
            return Some((offset, error.to_string()));
        }
    }
    None
}

#[test]
fn too_many_failures_stop_whatever_the_action_is() {
    let host = shared_host();
    let values = [BAD, b"good", BAD, b"good", b"good", BAD, BAD];
    for (class, on_bad) in failing() {
        for action in [Action::Drop, Action::DeadLetter, Action::PassThrough] {
            let policy = ErrorPolicy {
                stop_rule: Some(StopRule {
                    max_failures: 2,
                    window: 5,
                }),
                ..only(class, action)
            };
            let plugin = load_once(host, &GuestText::backup().on_bad(&on_bad));
            let chain = chain(
                host,
                Entry {
                    policy,
                    ..entry(plugin)
                },
            );
            let stopped = stops_at(&chain, &values);
            // What a filter filters is no failure.
            if (class, action) == (FailureClass::Rejected, Action::Drop) {
                assert_eq!(stopped, None);
                continue;
            }
            let (offset, text) = stopped.expect("it stops");
            assert_eq!(offset, 6, "{class} {action:?}");
            assert!(
                text.starts_with("plugin guest has failed on too many records: topic orders, partition 3, offset 6: ")
                    && text.ends_with("; 3 of the last 5 records of the partition failed, and maxFailures is 2"),
                "{text}"
            );
            // Read again, it stops at the same record.
            assert_eq!(stops_at(&chain, &values), Some((6, text)));
        }
    }
}

/// Counts the calls of an instance.
const COUNTER: &str = "(global $calls (mut i32) (i32.const 0))";
const COUNT: &str = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))";

#[test]
fn errors_every_third_time_hit_every_third_record() {
    let host = host();
    let guest = GuestText::backup()
        .items(COUNTER)
        .every(&format!("{COUNT} (if (i32.eqz (i32.rem_u (global.get $calls) (i32.const 3))) (then (return (call $error))))"));
    let chain = chain(&host, entry(load(&host, &guest)));
    let mut lease = chain.lease().unwrap();
    for offset in 1..=30 {
        let verdict = lease.transform(record(b"good", offset));
        assert_eq!(verdict.is_err(), offset % 3 == 0, "{offset}: {verdict:?}");
    }
    assert_eq!(chain.counters()[0].starts, 1);
}

#[test]
fn a_guest_that_faults_every_third_time_loses_nothing() {
    let host = host();
    let guest = GuestText::backup().items(COUNTER).every(&format!(
        "{COUNT} (if (i32.eq (global.get $calls) (i32.const 3)) (then unreachable))"
    ));
    let chain = chain(&host, entry(load(&host, &guest)));
    let mut lease = chain.lease().unwrap();
    for offset in 1..=30 {
        assert_eq!(
            lease.transform(record(b"good", offset)).unwrap(),
            Verdict::Unchanged
        );
    }
    let counters = &chain.counters()[0];
    assert_eq!(
        (
            counters.accepted,
            counters.calls,
            counters.faults,
            counters.starts
        ),
        (30, 44, 14, 15)
    );
}

#[test]
fn an_instance_is_replaced_after_so_many_records() {
    let host = host();
    let guest = GuestText::backup().items(COUNTER).every(&format!(
        "{COUNT} (if (i32.gt_u (global.get $calls) (i32.const 4)) (then unreachable))"
    ));
    let limits = Limits {
        records_per_instance: 4,
        ..quick()
    };
    let chain = chain(
        &host,
        Entry {
            limits,
            ..entry(load(&host, &guest))
        },
    );
    let mut lease = chain.lease().unwrap();
    for offset in 1..=20 {
        assert_eq!(
            lease.transform(record(b"good", offset)).unwrap(),
            Verdict::Unchanged
        );
    }
    let counters = &chain.counters()[0];
    assert_eq!(
        (
            counters.calls,
            counters.recycles,
            counters.starts,
            counters.faults
        ),
        (20, 5, 5, 0)
    );
}

#[test]
fn a_guest_that_leaks_is_replaced_before_it_reaches_its_limit() {
    let host = host();
    // 1 MiB a record, under a limit of 16 MiB.
    let guest = GuestText::backup()
        .every("(if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))");
    let limits = Limits {
        memory_bytes: 16 << 20,
        ..quick()
    };
    let chain = chain(
        &host,
        Entry {
            limits,
            ..entry(load(&host, &guest))
        },
    );
    let mut lease = chain.lease().unwrap();
    for offset in 1..=100 {
        assert_eq!(
            lease.transform(record(b"good", offset)).unwrap(),
            Verdict::Unchanged
        );
    }
    let counters = &chain.counters()[0];
    assert_eq!(counters.faults, 0);
    assert!((7..=12).contains(&counters.recycles), "{counters:?}");
}

#[test]
fn plugins_run_in_order_and_see_what_was_changed() {
    let host = host();
    let halve = load(&host, &GuestText::backup().on_bad(HALF));
    // Rejects values of two bytes.
    let no_pairs = load(
        &host,
        &GuestText::backup().every(&format!(
            "(if (i32.eq (local.get 14) (i32.const 2)) (then {}))",
            reject()
        )),
    );
    let entries = |labels: [&str; 2]| {
        labels
            .map(|label| {
                let plugin = if label == "halve" {
                    halve.clone()
                } else {
                    no_pairs.clone()
                };
                Arc::new(Entry {
                    label: label.into(),
                    ..entry(plugin)
                })
            })
            .to_vec()
    };
    let first_halve = Chain::new(&host, entries(["halve", "no-pairs"]), backup("orders"));
    assert_eq!(
        first_halve
            .lease()
            .unwrap()
            .transform(record(BAD, 1))
            .unwrap(),
        Verdict::Filtered
    );
    let last_halve = Chain::new(&host, entries(["no-pairs", "halve"]), backup("orders"));
    assert_eq!(
        last_halve
            .lease()
            .unwrap()
            .transform(record(BAD, 1))
            .unwrap(),
        Verdict::Changed(owned(b"ad"))
    );
    assert_eq!(
        last_halve
            .lease()
            .unwrap()
            .transform(record(b"good", 1))
            .unwrap(),
        Verdict::Unchanged
    );
}

#[test]
fn a_chain_without_plugins_changes_nothing() {
    let host = host();
    let chain = Chain::new(&host, vec![], restore("a", "b"));
    assert!(chain.is_empty());
    assert_eq!(
        chain.lease().unwrap().transform(record(BAD, 1)).unwrap(),
        Verdict::Unchanged
    );
    assert_eq!(chain.requirements(7).unwrap(), 7);
}

#[test]
fn requirements_are_applied_in_order() {
    let host = host();
    let double = load(
        &host,
        &GuestText::restore().requirements("(i64.mul (local.get 0) (i64.const 2))"),
    );
    let add = load(
        &host,
        &GuestText::restore().requirements("(i64.add (local.get 0) (i64.const 5))"),
    );
    let entries = vec![Arc::new(entry(double)), Arc::new(entry(add))];
    assert_eq!(
        Chain::new(&host, entries, restore("a", "b"))
            .requirements(3)
            .unwrap(),
        11
    );
}

#[test]
fn init_is_told_what_it_works_for() {
    // Traps unless the topics are `orders` and `orders-copy`, and the configuration begins with `{}`.
    let host = host();
    let guest = GuestText::restore().init(
        "(if (i32.ne (local.get 1) (i32.const 6)) (then unreachable))
         (if (i64.ne (i64.load (local.get 2)) (i64.const 0x632d73726564726f)) (then unreachable))
         (if (i32.ne (local.get 3) (i32.const 11)) (then unreachable))
         (if (i32.ne (i32.load16_u (local.get 5)) (i32.const 0x7d7b)) (then unreachable))
         (if (i32.ne (local.get 6) (i32.const 3)) (then unreachable))",
    );
    let entry = Entry {
        config: Some(armory_plugins::config_text(&serde_json::json!({}))),
        ..entry(load(&host, &guest))
    };
    chain(&host, entry).lease().unwrap();
}

#[test]
fn a_lease_at_a_time_needs_one_instance() {
    let host = host();
    let chain = chain(&host, entry(load(&host, &GuestText::backup())));
    for offset in 0..50 {
        chain
            .lease()
            .unwrap()
            .transform(record(b"good", offset))
            .unwrap();
    }
    assert_eq!(chain.counters()[0].starts, 1);
    let together = [chain.lease().unwrap(), chain.lease().unwrap()];
    drop(together);
    let together = [chain.lease().unwrap(), chain.lease().unwrap()];
    drop(together);
    assert_eq!(chain.counters()[0].starts, 2);
}

/// Guests that take 4 MiB each, under a budget of so many of them.
fn host_for(instances: u64) -> (Host, armory_plugins::Plugin) {
    let budget = instances * (5 << 20);
    let host = Host::new(HostOptions {
        instance_memory_budget: budget,
        ..HostOptions::default()
    })
    .unwrap();
    let guest =
        GuestText::backup().items("(func $grow (drop (memory.grow (i32.const 64)))) (start $grow)");
    let plugin = load(&host, &guest);
    (host, plugin)
}

#[test]
fn instances_that_rest_longest_are_given_up_first() {
    let (host, plugin) = host_for(2);
    let topic = |name: &str| Chain::new(&host, vec![Arc::new(entry(plugin.clone()))], backup(name));
    let (a, b, c) = (topic("a"), topic("b"), topic("c"));
    let use_one = |chain: &Chain| {
        chain
            .lease()
            .unwrap()
            .transform(record(b"good", 1))
            .unwrap();
        chain.counters()[0].starts
    };
    assert_eq!((use_one(&a), use_one(&b)), (1, 1));
    assert_eq!(use_one(&a), 1);
    assert_eq!(use_one(&c), 1);
    // `b` had rested longest, and made room for `c`.
    assert_eq!(use_one(&a), 1);
    assert_eq!(use_one(&b), 2);
}

#[test]
fn leases_wait_for_one_another_when_the_budget_has_no_room() {
    let (host, plugin) = host_for(2);
    let chain = chain(&host, entry(plugin));
    chain.lease().unwrap();
    let (at_once, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for offset in 0..20 {
                    let mut lease = chain.lease().unwrap();
                    most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    lease.transform(record(b"good", offset)).unwrap();
                    at_once.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(most.into_inner() <= 2);
    let counters = &chain.counters()[0];
    assert_eq!(counters.accepted, 120);
    // One is enough where the threads never meet.
    assert!((1..=2).contains(&counters.starts));
}

#[test]
fn a_budget_that_is_too_small_lets_one_lease_through() {
    let (host, plugin) = host_for(0);
    let chain = chain(&host, entry(plugin));
    for offset in 0..3 {
        assert_eq!(
            chain
                .lease()
                .unwrap()
                .transform(record(b"good", offset))
                .unwrap(),
            Verdict::Unchanged
        );
    }
    // Nothing may rest.
    assert_eq!(chain.counters()[0].starts, 3);
}

#[test]
fn many_threads_share_a_chain() {
    let host = host();
    let guest = GuestText::backup().items(COUNTER).every(&format!(
        "{COUNT} (if (i32.eqz (i32.rem_u (global.get $calls) (i32.const 7))) (then unreachable))"
    ));
    let chain = chain(&host, entry(load(&host, &guest)));
    std::thread::scope(|scope| {
        for partition in 0..4 {
            let chain = &chain;
            scope.spawn(move || {
                for batch in 0..25 {
                    let mut lease = chain.lease().unwrap();
                    for offset in 0..10 {
                        let record = RecordRef {
                            partition,
                            ..record(b"good", batch * 10 + offset)
                        };
                        assert_eq!(lease.transform(record).unwrap(), Verdict::Unchanged);
                    }
                }
            });
        }
    });
    assert_eq!(chain.counters()[0].accepted, 1000);
}
