//! The example plugins of `guests/rust`, built by a real toolchain.
#![cfg(feature = "real")]

use std::sync::Arc;

use anyhow::Result;
use armory_plugins::{
    Chain, Context, Entry, ErrorPolicy, FailureClass, Host, HostOptions, Limits, OwnedRecord,
    Phase, RecordRef, Timestamp, TimestampKind, Verdict, World, config_text,
};
use armory_testkit::guests;
use serde_json::{Value, json};

const HEADERS: [(&[u8], Option<&[u8]>); 4] = [
    (b"trace", Some(b"1")),
    (b"secret", Some(b"2")),
    (b"secret", None),
    (b"trace", Some(b"")),
];

fn record(partition: i32, offset: i64) -> RecordRef<'static> {
    RecordRef {
        key: Some(b"key"),
        value: Some(b"value"),
        headers: &HEADERS,
        partition,
        offset,
        timestamp: Timestamp {
            kind: TimestampKind::LogAppendTime,
            time: 1_700_000_000_000,
        },
    }
}

fn entry(host: &Host, name: &str, world: World, spec: Option<Value>) -> Result<Arc<Entry>> {
    Ok(Arc::new(Entry {
        plugin: host.load(&guests::build_rust(name)?, world, "0.1", &Limits::default())?,
        label: name.to_owned(),
        config: spec.map(|spec| config_text(&spec)),
        policy: ErrorPolicy::default(),
        limits: Limits::default(),
    }))
}

fn backup(host: &Host, entries: Vec<Arc<Entry>>) -> Chain {
    Chain::new(
        host,
        entries,
        Context::Backup {
            topic: "orders".into(),
        },
    )
}

fn restore(host: &Host, entries: Vec<Arc<Entry>>) -> Chain {
    Chain::new(
        host,
        entries,
        Context::Restore {
            source_topic: "orders".into(),
            target_topic: "copy".into(),
        },
    )
}

#[test]
fn drop_header_drops_the_header_that_is_configured() -> Result<()> {
    let host = Host::new(HostOptions::default())?;
    let drop_secret = entry(
        &host,
        "drop-header",
        World::Backup,
        Some(json!({"header": "secret"})),
    )?;
    let expected = OwnedRecord {
        key: Some(b"key".to_vec()),
        value: Some(b"value".to_vec()),
        headers: vec![
            ("trace".into(), Some(b"1".to_vec())),
            ("trace".into(), Some(b"".to_vec())),
        ],
        partition: Some(7),
        timestamp: 1_700_000_000_000,
    };
    let chain = backup(&host, vec![Arc::clone(&drop_secret)]);
    assert_eq!(
        chain.lease()?.transform(record(7, 1))?,
        Verdict::Changed(expected.clone())
    );
    let without = RecordRef {
        headers: &HEADERS[..1],
        ..record(7, 2)
    };
    assert_eq!(chain.lease()?.transform(without)?, Verdict::Unchanged);

    // Two in a row, each with its own configuration.
    let drop_trace = entry(
        &host,
        "drop-header",
        World::Backup,
        Some(json!({"header": "trace"})),
    )?;
    let identity = entry(&host, "identity-backup", World::Backup, None)?;
    let chain = backup(&host, vec![drop_secret, identity, drop_trace]);
    let expected = OwnedRecord {
        headers: vec![],
        ..expected
    };
    assert_eq!(
        chain.lease()?.transform(record(7, 3))?,
        Verdict::Changed(expected)
    );
    Ok(())
}

#[test]
fn a_configuration_that_is_refused_stops_before_any_record() -> Result<()> {
    let host = Host::new(HostOptions::default())?;
    for (spec, expected) in [
        (None, "no configuration; set spec.header"),
        (
            Some(json!({"heather": "secret"})),
            "unknown field `heather`",
        ),
        (
            Some(json!({"header": ["secret"]})),
            "invalid type: sequence, expected a string",
        ),
    ] {
        let chain = backup(
            &host,
            vec![entry(&host, "drop-header", World::Backup, spec)?],
        );
        let error = chain.lease().unwrap_err();
        assert_eq!(
            (error.phase, error.class),
            (Phase::Init, FailureClass::Error)
        );
        assert!(error.message.contains(expected), "{error}");
    }
    Ok(())
}

#[test]
fn text_that_looks_like_something_else_reaches_the_plugin_as_text() -> Result<()> {
    let host = Host::new(HostOptions::default())?;
    for key in [
        "on",
        "1:30",
        "2024-01-01",
        "0x10",
        "null",
        "~",
        "1e3",
        " a: b # c ",
        "\"\\\u{7}\u{2028}é😀",
    ] {
        let chain = backup(
            &host,
            vec![entry(
                &host,
                "drop-header",
                World::Backup,
                Some(json!({"header": key})),
            )?],
        );
        let headers: [(&[u8], Option<&[u8]>); 1] = [(key.as_bytes(), None)];
        match chain.lease()?.transform(RecordRef {
            headers: &headers,
            ..record(0, 0)
        })? {
            Verdict::Changed(record) => assert_eq!(record.headers, []),
            other => panic!("{key}: {other:?}"),
        }
    }
    Ok(())
}

#[test]
fn identity_is_told_from_change() -> Result<()> {
    let host = Host::new(HostOptions::default())?;
    let chain = backup(
        &host,
        vec![entry(&host, "identity-backup", World::Backup, None)?],
    );
    let mut lease = chain.lease()?;
    for (key, value) in [
        (None, None),
        (Some(&b""[..]), Some(&b""[..])),
        (Some(b"k"), Some(b"v")),
    ] {
        assert_eq!(
            lease.transform(RecordRef {
                key,
                value,
                ..record(1, 1)
            })?,
            Verdict::Unchanged
        );
    }
    drop(lease);
    let chain = restore(
        &host,
        vec![entry(&host, "identity-restore", World::Restore, None)?],
    );
    assert_eq!(chain.requirements(5)?, 5);
    assert_eq!(chain.lease()?.transform(record(1, 1))?, Verdict::Unchanged);
    Ok(())
}

#[test]
fn spread_asks_for_partitions_and_uses_them_all() -> Result<()> {
    let host = Host::new(HostOptions::default())?;
    let chain = restore(
        &host,
        vec![entry(
            &host,
            "spread",
            World::Restore,
            Some(json!({"no_partition": 5})),
        )?],
    );
    assert_eq!(chain.requirements(3)?, 5);
    chain.set_target_partitions(5);
    let mut used = [0; 5];
    let mut lease = chain.lease()?;
    for partition in 0..3 {
        for offset in 0..100 {
            let target = match lease.transform(record(partition, offset))? {
                Verdict::Changed(record) => record.partition.expect("spread always names one"),
                Verdict::Unchanged => partition,
                other => panic!("{other:?}"),
            };
            used[target as usize] += 1;
        }
    }
    assert_eq!(used, [60; 5]);
    drop(lease);

    // The target has fewer than were asked for: what goes beyond is the plugin's failure.
    chain.set_target_partitions(4);
    let error = chain.lease()?.transform(record(0, 4)).unwrap_err();
    assert_eq!(error.class, FailureClass::Error);
    Ok(())
}

#[test]
fn spread_refuses_what_is_no_number_of_partitions() -> Result<()> {
    let host = Host::new(HostOptions::default())?;
    for number in [json!(0), json!(-1), json!("5"), json!(1.5)] {
        let chain = restore(
            &host,
            vec![entry(
                &host,
                "spread",
                World::Restore,
                Some(json!({"no_partition": number})),
            )?],
        );
        let error = chain.requirements(3).unwrap_err();
        assert_eq!(
            (error.phase, error.class),
            (Phase::Init, FailureClass::Error)
        );
        assert!(
            error.message.starts_with("invalid configuration: "),
            "{error}"
        );
    }
    Ok(())
}
