//! Builtin plugins, in a chain as a restore makes it.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use armory_plugins::{
    Action, Builtin, Chain, Entry, ErrorPolicy, HashAlgorithm, Hashing, Limits, NO_TIMESTAMP,
    RecordPart, RecordRef, Repartitioning, SchemaMapping, TargetFacts, Verdict, murmur2,
};
use support::{GuestText, host, load, restore};

fn entry(host: &armory_plugins::Host, builtin: Builtin, target: TargetFacts) -> Entry {
    Entry {
        plugin: host.builtin(builtin.clone(), target),
        label: builtin.name().to_owned(),
        config: None,
        policy: ErrorPolicy::default(),
        limits: Limits::default(),
    }
}

fn chain(builtin: Builtin, target: TargetFacts) -> Chain {
    let host = host();
    let entry = entry(&host, builtin, target);
    let chain = Chain::new(&host, vec![Arc::new(entry)], restore("a", "b"));
    if let Some(partitions) = target.partitions {
        chain.set_target_partitions(partitions);
    }
    chain
}

fn of(partitions: i32) -> TargetFacts {
    TargetFacts {
        partitions: Some(partitions),
        ..TargetFacts::default()
    }
}

/// Where a record goes to.
#[track_caller]
fn partition(chain: &Chain, record: RecordRef<'_>) -> Option<i32> {
    match chain.lease().unwrap().transform(record).unwrap() {
        Verdict::Changed(changed) => {
            assert_eq!(changed.key.as_deref(), record.key);
            assert_eq!(changed.value.as_deref(), record.value);
            changed.partition
        }
        Verdict::Unchanged => Some(record.partition),
        verdict => panic!("{verdict:?}"),
    }
}

fn key_hash(algorithm: HashAlgorithm, partitions: Option<i32>) -> Builtin {
    Builtin::Repartitioning(Repartitioning::KeyHash(Hashing {
        algorithm,
        partitions,
    }))
}

#[test]
fn automatic_leaves_the_choice_to_the_default_partitioner() {
    let chain = chain(Builtin::Repartitioning(Repartitioning::Automatic), of(12));
    assert_eq!(partition(&chain, support::record(b"v", 1)), None);
    assert_eq!(chain.requirements(12).unwrap(), 12);
}

#[test]
fn keys_are_hashed_as_kafka_does() {
    let chain = chain(key_hash(HashAlgorithm::Murmur2, Some(10)), of(12));
    let with_key = |key| RecordRef {
        key,
        ..support::record(b"v", 1)
    };
    for key in [&b""[..], b"21", b"foobar", b"abc"] {
        let expected = (murmur2(key) & 0x7fff_ffff) % 10;
        assert_eq!(
            partition(&chain, with_key(Some(key))),
            Some(expected.cast_signed())
        );
    }
    assert_eq!(partition(&chain, with_key(None)), None);
}

#[test]
fn the_target_is_asked_for_as_many_partitions_as_are_hashed_over() {
    for partitions in [3, 100] {
        let chain = chain(key_hash(HashAlgorithm::Crc32, Some(partitions)), of(200));
        assert_eq!(
            chain.requirements(12).unwrap(),
            u64::from(partitions.unsigned_abs())
        );
    }
    let chain = chain(key_hash(HashAlgorithm::Fnv1a, None), TargetFacts::default());
    assert_eq!(chain.requirements(12).unwrap(), 12);
}

#[test]
fn without_a_number_the_target_s_partitions_count() {
    let chain = chain(key_hash(HashAlgorithm::Crc32, None), of(7));
    let expected = i32::try_from(crc32fast::hash(b"key") % 7).unwrap();
    assert_eq!(partition(&chain, support::record(b"v", 1)), Some(expected));
}

#[test]
fn the_last_header_of_the_name_is_hashed() {
    let chain = chain(
        Builtin::Repartitioning(Repartitioning::HeaderHash {
            name: "tenant".into(),
            hashing: Hashing {
                algorithm: HashAlgorithm::Crc32,
                partitions: Some(5),
            },
        }),
        of(5),
    );
    let check = |headers: &[(&[u8], Option<&[u8]>)], expected: Option<&[u8]>| {
        let record = RecordRef {
            headers,
            ..support::record(b"v", 1)
        };
        let expected = expected.map(|value| i32::try_from(crc32fast::hash(value) % 5).unwrap());
        assert_eq!(partition(&chain, record), expected);
    };
    check(
        &[
            (b"tenant", Some(b"a")),
            (b"tenant", Some(b"b")),
            (b"x", None),
        ],
        Some(b"b"),
    );
    check(&[(b"tenant", Some(b""))], Some(b""));
    check(&[(b"tenant", None)], None);
    check(&[(b"x", Some(b"a"))], None);
}

#[test]
fn chance_is_the_same_at_every_attempt_and_spreads() {
    let random = || {
        let random = Repartitioning::Random { partitions: None };
        let chain = chain(Builtin::Repartitioning(random), of(8));
        let records = (0..400).map(|offset| partition(&chain, support::record(b"v", offset)));
        records.map(Option::unwrap).collect::<Vec<_>>()
    };
    let first = random();
    assert_eq!(first, random());
    for wanted in 0..8 {
        let hits = first
            .iter()
            .filter(|partition| **partition == wanted)
            .count();
        assert!((20..=80).contains(&hits), "{wanted}: {hits} of 400");
    }
}

#[test]
fn round_robin_goes_round() {
    let round_robin = Repartitioning::RoundRobin {
        partitions: Some(3),
    };
    let chain = chain(Builtin::Repartitioning(round_robin), of(4));
    let hit: Vec<_> = (6..12)
        .map(|offset| partition(&chain, support::record(b"v", offset)))
        .collect();
    // They come from partition 3.
    assert_eq!(hit, [0, 1, 2, 0, 1, 2].map(Some));
}

#[test]
fn records_that_the_target_would_expire_are_rejected() {
    let at = |time, oldest| {
        let target = TargetFacts {
            expires_before: oldest,
            ..TargetFacts::default()
        };
        let chain = chain(Builtin::Retention, target);
        let mut record = support::record(b"v", 1);
        record.timestamp.time = time;
        let verdict = chain.lease().unwrap().transform(record).unwrap();
        (verdict, chain.counters()[0].filtered)
    };
    assert_eq!(at(999, Some(1000)), (Verdict::Filtered, 1));
    assert_eq!(at(1000, Some(1000)), (Verdict::Unchanged, 0));
    assert_eq!(at(0, None), (Verdict::Unchanged, 0));
    assert_eq!(at(NO_TIMESTAMP, Some(1000)), (Verdict::Unchanged, 0));
}

#[test]
fn schema_ids_are_mapped_in_their_part_only() {
    let framed: &[u8] = b"\0\0\0\0\x07x";
    for part in [RecordPart::Payload, RecordPart::Key] {
        let ids = BTreeMap::from([(7, 0x0102_0304)]);
        let chain = chain(
            Builtin::SchemaMapping(SchemaMapping { part, ids }),
            TargetFacts::default(),
        );
        let record = RecordRef {
            key: Some(framed),
            ..support::record(framed, 1)
        };
        let Verdict::Changed(changed) = chain.lease().unwrap().transform(record).unwrap() else {
            panic!("it is to be changed");
        };
        let (mapped, same) = match part {
            RecordPart::Payload => (changed.value, changed.key),
            RecordPart::Key => (changed.key, changed.value),
        };
        assert_eq!(mapped.as_deref(), Some(&b"\0\x01\x02\x03\x04x"[..]));
        assert_eq!(same.as_deref(), Some(framed));
        let unframed = chain.lease().unwrap().transform(support::record(b"v", 2));
        assert_eq!(unframed.unwrap(), Verdict::Unchanged);
    }
}

/// The same chain as components run in: order, policies and counters are those of every plugin.
#[test]
fn builtins_and_components_are_in_one_chain() {
    let host = host();
    let target = TargetFacts {
        expires_before: Some(i64::MAX),
        ..of(4)
    };
    let component = support::entry(load(&host, &GuestText::restore().on_bad("unreachable")));
    let mut retention = entry(&host, Builtin::Retention, target);
    retention.policy.rejected = Action::Fail;
    let entries = vec![
        Arc::new(entry(
            &host,
            key_hash(HashAlgorithm::Murmur2, Some(9)),
            target,
        )),
        Arc::new(component),
        Arc::new(retention),
    ];
    let chain = Chain::new(&host, entries, restore("a", "b"));
    assert_eq!(chain.requirements(2).unwrap(), 9);
    chain.set_target_partitions(4);
    // "key" goes to partition 8 of 9, which is not there.
    let error = chain
        .lease()
        .unwrap()
        .transform(support::record(b"v", 1))
        .unwrap_err();
    assert_eq!(error.plugin, "topic-repartitioning");
    assert!(
        error.message.contains("the target topic has 4 partitions"),
        "{error}"
    );
    chain.set_target_partitions(9);
    let error = chain
        .lease()
        .unwrap()
        .transform(support::record(b"v", 2))
        .unwrap_err();
    assert_eq!(error.plugin, "topic-retention");
    let calls: Vec<_> = chain
        .counters()
        .iter()
        .map(|counters| counters.calls)
        .collect();
    assert_eq!(calls, [2, 1, 1]);
}
