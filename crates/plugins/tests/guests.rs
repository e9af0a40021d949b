//! Components of every language, built by their own toolchains from what authors begin with.
#![cfg(feature = "real")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use armory_plugins::{
    Chain, Context, Entry, EntryCounters, ErrorPolicy, FailureClass, Host, HostOptions, Limits,
    OwnedRecord, Phase, RecordRef, Source, Timestamp, TimestampKind, Verdict, World, config_text,
};
use armory_testkit::guests::{self, Edit, Language, build, build_edited, build_rust};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

const TIME: i64 = 1_700_000_000_000;

fn host() -> Result<Host> {
    Ok(Host::new(HostOptions {
        cache_dir: Some(guests::compiled()?),
        ..HostOptions::default()
    })?)
}

/// Time that is long enough on a machine that is busy with other things.
fn patient() -> Limits {
    Limits {
        record_time: Duration::from_secs(60),
        init_time: Duration::from_secs(120),
        ..Limits::default()
    }
}

fn entry(
    host: &Host,
    component: &Path,
    world: World,
    spec: Option<Value>,
    limits: Limits,
) -> Result<Arc<Entry>> {
    Ok(Arc::new(Entry {
        plugin: host.load(Source::File(component), world, "0.1", &limits)?,
        label: "guest".to_owned(),
        config: spec.as_ref().map(config_text),
        policy: ErrorPolicy::default(),
        limits,
    }))
}

/// A chain of one plugin.
fn chain_of(host: &Host, entry: Arc<Entry>) -> Chain {
    let context = match entry.plugin.world() {
        World::Backup => Context::Backup {
            topic: "orders".into(),
        },
        World::Restore => Context::Restore {
            source_topic: "orders".into(),
            target_topic: "copy".into(),
        },
    };
    Chain::new(host, vec![entry], context)
}

fn chain(
    host: &Host,
    component: &Path,
    world: World,
    spec: Option<Value>,
    limits: Limits,
) -> Result<Chain> {
    Ok(chain_of(host, entry(host, component, world, spec, limits)?))
}

fn template(
    host: &Host,
    language: Language,
    world: World,
    spec: Option<Value>,
    limits: Limits,
) -> Result<Chain> {
    let built = match world {
        World::Backup => guests::World::Backup,
        World::Restore => guests::World::Restore,
    };
    chain(host, &build(language, built)?, world, spec, limits)
}

fn record(value: &[u8], offset: i64) -> RecordRef<'_> {
    RecordRef {
        key: Some(b"key"),
        value: Some(value),
        headers: &[],
        partition: 3,
        offset,
        timestamp: Timestamp {
            kind: TimestampKind::CreateTime,
            time: TIME,
        },
    }
}

fn counters(chain: &Chain) -> EntryCounters {
    chain.counters().remove(0)
}

/// `init` refuses a configuration, with words that say what to do.
#[track_caller]
fn refused(chain: Result<Chain>, words: &str) {
    let error = chain.expect("it can be loaded").lease().unwrap_err();
    assert_eq!(
        (error.phase, error.class),
        (Phase::Init, FailureClass::Error),
        "{error}"
    );
    assert!(error.message.contains(words), "{error}");
}

#[test]
fn python_removes_the_header_that_is_configured() -> Result<()> {
    let host = host()?;
    let with = |spec| template(&host, Language::Python, World::Backup, spec, patient());
    let headers: [(&[u8], Option<&[u8]>); 4] = [
        (b"trace", Some(b"1")),
        (b"secret", Some(b"2")),
        (b"secret", None),
        (b"trace", Some(b"")),
    ];
    let chain = with(Some(json!({"header": "secret"})))?;
    let mut lease = chain.lease()?;
    let told = RecordRef {
        headers: &headers,
        ..record(b"value", 1)
    };
    let expected = OwnedRecord {
        key: Some(b"key".to_vec()),
        value: Some(b"value".to_vec()),
        headers: vec![
            ("trace".into(), Some(b"1".to_vec())),
            ("trace".into(), Some(b"".to_vec())),
        ],
        partition: Some(3),
        timestamp: TIME,
    };
    assert_eq!(lease.transform(told)?, Verdict::Changed(expected));
    assert_eq!(lease.transform(record(b"x", 2))?, Verdict::Unchanged);
    drop(lease);

    refused(with(None), "set spec.header");
    refused(with(Some(json!({"header": 5}))), "set spec.header");
    refused(
        with(Some(json!({"header": "a", "heather": "b"}))),
        "unknown key heather",
    );
    Ok(())
}

#[test]
fn python_spreads_over_the_partitions_that_are_configured() -> Result<()> {
    let host = host()?;
    let with = |spec| template(&host, Language::Python, World::Restore, spec, patient());
    let chain = with(Some(json!({"no_partition": 5})))?;
    assert_eq!(chain.requirements(3)?, 5);
    chain.set_target_partitions(5);
    let mut lease = chain.lease()?;
    for offset in 0..10 {
        let partition = match lease.transform(record(b"value", offset))? {
            Verdict::Changed(record) => record.partition.expect("it always names one"),
            Verdict::Unchanged => 3,
            other => panic!("{other:?}"),
        };
        assert_eq!(i64::from(partition), (3 + offset) % 5);
    }
    drop(lease);
    for number in [json!(0), json!(-1), json!("5"), json!(1.5), json!(true)] {
        refused(
            with(Some(json!({ "no_partition": number }))),
            "set spec.no_partition",
        );
    }
    Ok(())
}

#[test]
fn javascript_masks_the_fields_that_are_configured() -> Result<()> {
    let host = host()?;
    for world in [World::Backup, World::Restore] {
        let with = |spec| template(&host, Language::Javascript, world, spec, patient());
        let chain = with(Some(json!({"fields": ["iban", "on"]})))?;
        assert_eq!(chain.requirements(7)?, 7);
        let mut lease = chain.lease()?;
        for (value, expected) in [
            (
                &br#"{"iban": "NL1", "n": 1}"#[..],
                Some(&br#"{"iban":"***","n":1}"#[..]),
            ),
            (
                br#"[{"a": {"on": [1, 2]}}, {"iban": null}]"#,
                Some(br#"[{"a":{"on":"***"}},{"iban":"***"}]"#),
            ),
            (br#"{ "name": "iban" }"#, None),
            (br#"{"iban": "#, None),
            (b"{\"iban\": \"\xff\"}", None),
            (b"iban", None),
            (b"", None),
        ] {
            let text = String::from_utf8_lossy(value);
            match (lease.transform(record(value, 0))?, expected) {
                (Verdict::Changed(record), Some(expected)) => {
                    assert_eq!(record.value.as_deref(), Some(expected), "{text}");
                    assert_eq!(record.key.as_deref(), Some(&b"key"[..]));
                }
                (Verdict::Unchanged, None) => {}
                other => panic!("{text}: {other:?}"),
            }
        }
        drop(lease);
        refused(with(None), "set spec.fields");
        refused(with(Some(json!({"fields": "iban"}))), "a list of names");
        refused(with(Some(json!({"fields": [], "x": 1}))), "unknown key x");
    }
    Ok(())
}

#[test]
fn go_passes_records_on_and_takes_no_configuration() -> Result<()> {
    let host = host()?;
    for world in [World::Backup, World::Restore] {
        let with = |spec| template(&host, Language::Go, world, spec, patient());
        let chain = with(None)?;
        assert_eq!(chain.requirements(7)?, 7);
        assert_eq!(
            chain.lease()?.transform(record(b"x", 1))?,
            Verdict::Unchanged
        );
        refused(with(Some(json!({}))), "takes no configuration");
    }
    Ok(())
}

/// Go's outcomes besides `accepted`, and edits of every field, by a plugin that is a little more than the template.
#[test]
fn go_can_change_reject_and_fail() -> Result<()> {
    let host = host()?;
    let edit = Edit {
        file: "plugin.go",
        from: "return contract.Accepted(record)",
        to: r#"switch string(record.Value) {
	case "reject":
		return contract.Rejected(record)
	case "fail":
		return contract.Error("it does not please me")
	case "":
		return contract.Accepted(record)
	}
	record.Key = nil
	record.Headers = append([]contract.Header{{Key: "first"}}, record.Headers...)
	record.Headers = append(record.Headers, contract.Header{Key: "größe", Value: []byte{}})
	*record.Partition = 1
	record.Timestamp.Time++
	record.Value = append([]byte("new "), record.Value...)
	return contract.Accepted(record)"#,
    };
    let component = build_edited(Language::Go, guests::World::Restore, &[edit])?;
    let chain = chain(&host, &component, World::Restore, None, patient())?;
    chain.set_target_partitions(2);
    let mut lease = chain.lease()?;
    assert_eq!(lease.transform(record(b"reject", 1))?, Verdict::Filtered);
    let error = lease.transform(record(b"fail", 2)).unwrap_err();
    assert_eq!(error.message, "it does not please me");
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"a", Some(b"1")), (b"a", None)];
    let told = RecordRef {
        headers: &headers,
        partition: 0,
        ..record(b"value", 3)
    };
    let expected = OwnedRecord {
        key: None,
        value: Some(b"new value".to_vec()),
        headers: vec![
            ("first".into(), None),
            ("a".into(), Some(b"1".to_vec())),
            ("a".into(), None),
            ("größe".into(), Some(vec![])),
        ],
        partition: Some(1),
        timestamp: TIME + 1,
    };
    assert_eq!(lease.transform(told)?, Verdict::Changed(expected));
    Ok(())
}

/// A record of any shape that a plugin can be told.
#[derive(Debug, Clone)]
struct Shape {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    partition: i32,
    offset: i64,
    timestamp: Timestamp,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let bytes = |large: usize| {
        prop_oneof![
            1 => Just(None),
            1 => Just(Some(vec![])),
            6 => prop::collection::vec(any::<u8>(), 1..200).prop_map(Some),
            1 => (any::<u8>(), 60_000..large).prop_map(|(byte, length)| Some(vec![byte; length])),
        ]
    };
    // Few names, so that there are duplicates.
    let name = prop_oneof![Just(String::new()), "[a-c]", "\\PC{1,20}"];
    let headers = prop::collection::vec((name, bytes(61_000)), 0..=50);
    let kind = prop_oneof![
        Just(TimestampKind::None),
        Just(TimestampKind::CreateTime),
        Just(TimestampKind::LogAppendTime)
    ];
    let time = prop_oneof![Just(-1), Just(0), Just(i64::MAX), any::<i64>()];
    (
        bytes(70_000),
        bytes(900_000),
        headers,
        0..i32::MAX,
        0..i64::MAX,
        (kind, time),
    )
        .prop_map(
            |(key, value, headers, partition, offset, (kind, time))| Shape {
                key,
                value,
                headers,
                partition,
                offset,
                timestamp: Timestamp { kind, time },
            },
        )
}

/// Any record comes back as it went in.
fn is_identity(chain: &Chain) -> Result<()> {
    let lease = std::cell::RefCell::new(chain.lease()?);
    let config = ProptestConfig {
        cases: 150,
        failure_persistence: None,
        // Shrinking calls the plugin again and again.
        max_shrink_iters: 500,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&shapes(), |shape| {
            let headers: Vec<_> = shape
                .headers
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_deref()))
                .collect();
            let told = RecordRef {
                key: shape.key.as_deref(),
                value: shape.value.as_deref(),
                headers: &headers,
                partition: shape.partition,
                offset: shape.offset,
                timestamp: shape.timestamp,
            };
            let verdict = lease.borrow_mut().transform(told);
            prop_assert_eq!(verdict.expect("no failure"), Verdict::Unchanged);
            Ok(())
        })
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    drop(lease);
    let counters = counters(chain);
    assert_eq!((counters.faults, counters.ignored_edits), (0, 0));
    Ok(())
}

#[test]
fn any_record_passes_rust_unchanged() -> Result<()> {
    let host = host()?;
    let backup = build_rust("identity-backup")?;
    is_identity(&chain(&host, &backup, World::Backup, None, patient())?)?;
    let restore = build_rust("identity-restore")?;
    is_identity(&chain(&host, &restore, World::Restore, None, patient())?)
}

#[test]
fn any_record_passes_go_unchanged() -> Result<()> {
    let host = host()?;
    for world in [World::Backup, World::Restore] {
        is_identity(&template(&host, Language::Go, world, None, patient())?)?;
    }
    Ok(())
}

/// The header that it is to remove is in none of the records.
#[test]
fn any_record_passes_python_unchanged() -> Result<()> {
    let spec = Some(json!({"header": "a header that no record has"}));
    is_identity(&template(
        &host()?,
        Language::Python,
        World::Backup,
        spec,
        patient(),
    )?)
}

/// The field that it is to mask is in none of the records.
#[test]
fn any_record_passes_javascript_unchanged() -> Result<()> {
    let spec = Some(json!({"fields": ["a field that no record has"]}));
    is_identity(&template(
        &host()?,
        Language::Javascript,
        World::Restore,
        spec,
        patient(),
    )?)
}

/// Passes records of a size through a chain, each of which has to come back as it went in.
fn pass(chain: &Chain, records: i64, bytes: usize) -> Result<EntryCounters> {
    let value = vec![b'x'; bytes];
    let mut lease = chain.lease()?;
    for offset in 0..records {
        let verdict = lease.transform(record(&value, offset));
        assert_eq!(
            verdict.with_context(|| format!("record {offset}"))?,
            Verdict::Unchanged
        );
    }
    drop(lease);
    let counters = counters(chain);
    assert_eq!(counters.accepted, records as u64);
    Ok(counters)
}

fn in_64_mib() -> Limits {
    Limits {
        memory_bytes: 64 << 20,
        ..patient()
    }
}

/// What the template does about Go's collector: half a gigabyte of records passes one instance of 64 MiB.
#[test]
fn go_collects_between_records() -> Result<()> {
    let chain = template(&host()?, Language::Go, World::Backup, None, in_64_mib())?;
    let counters = pass(&chain, 5_000, 100_000)?;
    assert_eq!(
        (counters.faults, counters.recycles, counters.starts),
        (0, 0, 1)
    );
    Ok(())
}

/// Go's collector asks for the time, which no component may do while it is handed a record: the instance breaks, and the
/// record goes to a fresh one.
#[test]
fn a_go_collector_inside_cabi_realloc_costs_no_record() -> Result<()> {
    let careless = Edit {
        file: "contract/memory.go",
        from: "debug.SetGCPercent(-1)",
        to: "debug.SetGCPercent(100)",
    };
    let component = build_edited(Language::Go, guests::World::Backup, &[careless])?;
    let chain = chain(&host()?, &component, World::Backup, None, patient())?;
    let counters = pass(&chain, 1_000, 100_000)?;
    assert!(counters.faults > 0, "{counters:?}");
    Ok(())
}

/// componentize-py never frees a list that was handed back.
#[test]
fn python_leaks_and_fails_no_record() -> Result<()> {
    let spec = Some(json!({"header": "secret"}));
    let chain = template(&host()?, Language::Python, World::Backup, spec, in_64_mib())?;
    let counters = pass(&chain, 20_000, 10_000)?;
    assert_eq!((counters.faults, counters.errors), (0, 0));
    assert!(counters.recycles > 0, "{counters:?}");
    Ok(())
}

/// Instances of Python are large. What they take together is bounded, whatever the number of topics and partitions.
#[test]
fn two_hundred_partitions_of_python_stay_below_a_gibibyte() -> Result<()> {
    const TOPICS: usize = 20;
    const PARTITIONS: i32 = 10;
    let host = host()?;
    let component = build(Language::Python, guests::World::Backup)?;
    let spec = Some(json!({"header": "secret"}));
    let entry = entry(&host, &component, World::Backup, spec, patient())?;
    let chains: Vec<Chain> = (0..TOPICS)
        .map(|_| chain_of(&host, Arc::clone(&entry)))
        .collect();
    // Compiling, where it was not done before, takes more memory than all else.
    std::fs::write("/proc/self/clear_refs", "5")?;
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|worker| {
            let chains = &chains;
            scope.spawn(move || -> Result<()> {
                for partition in 0..PARTITIONS {
                    for chain in chains.iter().skip(worker).step_by(2) {
                        let mut lease = chain.lease()?;
                        for offset in 0..5 {
                            let told = RecordRef {
                                partition,
                                ..record(b"value", offset)
                            };
                            assert_eq!(lease.transform(told)?, Verdict::Unchanged);
                        }
                    }
                }
                Ok(())
            })
        });
        for worker in workers {
            worker.join().expect("no panic")?;
        }
        anyhow::Ok(())
    })?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .context("no VmHWM in /proc/self/status")?;
    let peak_mib = peak.trim().parse::<u64>()? / 1024;
    assert!(peak_mib < 1024, "{peak_mib} MiB");
    Ok(())
}
