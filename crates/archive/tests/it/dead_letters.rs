//! Dead letters: there exactly when what they belong to is, on every storage and after a crash.

use std::time::Duration;

use armory_archive::{
    Archive, ArchiveError, ClockType, DeadLetter, Depth, FindingKind, GapCause, GenesisInfo,
    HistoryPart, LetterHeader, PartitionWriter, PruneRequest, SegmentReader,
};
use armory_records::{Batches, DecodeBuffer};
use bytes::Bytes;
use proptest::prelude::*;

use crate::batches::{Shape, batch};
use crate::place::{Place, commit, key, options, unbuffered, writer};

const DIRECTORY: &str = "dead-letters/topics/orders/AAECAwQFBgcICQoLDA0ODw/0/0";

fn letter(offset: i64) -> DeadLetter {
    DeadLetter {
        offset,
        timestamp: 1_000_000 + offset,
        timestamp_type: ClockType::CreateTime,
        key: None,
        value: Some(Bytes::from_static(b"\xff\x00")),
        headers: vec![LetterHeader {
            key: Bytes::from_static(b"caf\xe9"),
            value: None,
        }],
        plugin: "mask.wasm".to_owned(),
        digest: "d".repeat(64),
        class: "fault".to_owned(),
        message: "unreachable".to_owned(),
        backtrace: vec!["mask".to_owned()],
    }
}

/// An archive with a genesis.
async fn archive(place: &Place) -> Archive {
    let archive = place.create().await;
    let info = GenesisInfo {
        cluster_id: None,
        partitions: 1,
        configs: Default::default(),
    };
    archive.genesis(&key().topic, info).await.unwrap();
    archive
}

/// A batch of three records of which the second was put aside, then one of which all were, each committed if `commits` says so.
async fn put_aside(writer: &mut PartitionWriter, commits: bool) {
    let first = writer.next_offset();
    let run = batch(first, Shape::default());
    writer.dead_letters(vec![letter(first + 1)]).unwrap();
    writer.append(&run.bytes, &run.headers).unwrap();
    if commits {
        commit(writer).await;
    }
    let all = (first + 3..first + 6).map(letter);
    writer.dead_letters(all.collect()).unwrap();
    let gap = writer.gap(first + 6, GapCause::DeadLettered, Some(1));
    gap.unwrap();
    if commits {
        commit(writer).await;
    }
}

async fn letters(archive: &Archive, parts: &[HistoryPart]) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    for part in parts {
        letters.extend(archive.dead_letters(&part.manifest).await.unwrap());
    }
    letters
}

/// What reads records reads dead letters, too.
async fn offsets_as_records(archive: &Archive) -> Vec<i64> {
    let mut offsets = Vec::new();
    let mut scratch = DecodeBuffer::default();
    let parts = archive.dead_letter_history(&key(), None).await.unwrap();
    let manifests: Vec<_> = parts.iter().map(|part| part.manifest.clone()).collect();
    assert_eq!(archive.check_segments(&manifests).await.unwrap(), []);
    for manifest in manifests {
        let mut reader = SegmentReader::open(archive, &key(), 0, &manifest)
            .await
            .unwrap();
        let mut records = 0;
        while let Some(chunk) = reader.next_chunk().await.unwrap() {
            for batch in Batches::new(&chunk) {
                for record in batch.unwrap().decode(&mut scratch).unwrap() {
                    offsets.push(record.unwrap().offset);
                    records += 1;
                }
            }
        }
        assert_eq!(manifest.records, records);
    }
    offsets
}

#[tokio::test]
async fn they_are_there_with_their_manifest_and_read_as_they_were_written() {
    for place in [Place::folder(), Place::memory()] {
        let archive = archive(&place).await;
        let mut writer = writer(&archive, options()).await;
        put_aside(&mut writer, true).await;
        let parts = archive.history(&key(), None).await.unwrap();
        let expected: Vec<_> = [1, 3, 4, 5].map(letter).into();
        assert_eq!(letters(&archive, &parts).await, expected);
        assert_eq!(offsets_as_records(&archive).await, [1, 3, 4, 5]);
        for part in &parts {
            assert_eq!(part.manifest.requires, ["dead-letters"]);
        }
        let alone = &parts[1].manifest;
        assert!(alone.segment.is_none());
        assert_eq!(alone.missing_offsets()[&GapCause::DeadLettered], 3);
        assert_eq!(place.files("dead-letters").await.len(), 2);
        let report = archive.verify(|_| true, Depth::Segments, |_| {}).await;
        let report = report.unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
        assert_eq!(report.checked.dead_letters, 4);
    }
}

#[tokio::test]
async fn a_crash_keeps_those_of_what_it_keeps() {
    let place = Place::folder();
    let archive = place.create().await;
    let mut before = writer(&archive, unbuffered()).await;
    let run = batch(0, Shape::default());
    before.append(&run.bytes, &run.headers).unwrap();
    put_aside(&mut before, false).await;
    before.flush().unwrap();
    // Of the second nothing was flushed; of its batches some may be in the file, and nobody would know what was taken out of them.
    put_aside(&mut before, false).await;
    let open = archive.history(&key(), None).await.unwrap();
    assert_eq!(open.last().unwrap().until, 9);
    assert_eq!(offsets_as_records(&archive).await, [4, 6, 7, 8]);
    before.abandon();
    drop(before);

    let mut after = writer(&archive, unbuffered()).await;
    assert_eq!(after.next_offset(), 9);
    put_aside(&mut after, false).await;
    after.flush().unwrap();
    after.abandon();
    drop(after);
    // Once more, with nothing to add.
    let mut after = writer(&archive, unbuffered()).await;
    assert_eq!(after.next_offset(), 15);
    commit(&mut after).await;
    let parts = archive.history(&key(), None).await.unwrap();
    let found: Vec<_> = letters(&archive, &parts).await;
    assert_eq!(found, [4, 6, 7, 8, 10, 12, 13, 14].map(letter));
    assert_eq!(offsets_as_records(&archive).await.len(), 8);
    assert_eq!(place.files("dead-letters").await.len(), 1);
}

/// The file was stored, and the manifest was not: the next commit has its own, and this one is a leftover.
#[tokio::test]
async fn a_file_that_no_manifest_names_counts_for_nothing() {
    for place in [Place::folder(), Place::memory()] {
        let archive = place.create().await;
        let mut writer = writer(&archive, options()).await;
        let torn = format!("{DIRECTORY}/00000000000000000000.0123456789abcdef.dead");
        put_aside(&mut writer, true).await;
        place.put(&torn, b"torn").await;
        assert_eq!(offsets_as_records(&archive).await, [1, 3, 4, 5]);
        let report = archive.verify(|_| true, Depth::Segments, |_| {}).await;
        let found = &report.unwrap().findings;
        let leftovers = found
            .iter()
            .filter(|it| it.kind == FindingKind::Leftover && it.place == torn);
        assert_eq!(leftovers.count(), 1, "{found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let request = PruneRequest {
            leftovers_older_than: Some(Duration::ZERO),
            ..PruneRequest::default()
        };
        let plan = archive.plan_prune(|_| true, true, &request).await.unwrap();
        let places: Vec<_> = plan.actions.iter().map(|it| it.place.clone()).collect();
        assert_eq!(places, [torn]);
        let pruned = archive.prune(&plan, Duration::ZERO, |_| {}).await;
        assert_eq!(pruned.unwrap().deleted, 1);
        assert_eq!(offsets_as_records(&archive).await, [1, 3, 4, 5]);
    }
}

#[tokio::test]
async fn damage_to_them_is_named() {
    for change in [&b"x"[..], b""] {
        let place = Place::memory();
        let archive = place.create().await;
        let mut writer = writer(&archive, options()).await;
        put_aside(&mut writer, true).await;
        let file = place.files("dead-letters").await.remove(0);
        let mut text = place.get(&file).await;
        match change {
            b"" => place.delete(&file).await,
            change => {
                text[200] ^= change[0];
                place.put(&file, &text).await;
            }
        }
        let parts = archive.history(&key(), None).await.unwrap();
        let error = archive.dead_letters(&parts[0].manifest).await.unwrap_err();
        assert!(matches!(&error, ArchiveError::Damaged(it) if it.place == file));
        let report = archive.verify(|_| true, Depth::Segments, |_| {}).await;
        assert!(!report.unwrap().is_sound());
    }
}

#[tokio::test]
async fn they_are_pruned_with_what_they_belong_to() {
    for expire in [true, false] {
        let place = Place::folder();
        let archive = archive(&place).await;
        let mut writer = writer(&archive, options()).await;
        put_aside(&mut writer, true).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let none = Duration::ZERO;
        if expire {
            let backup = writer.chain_end().map(|_| options().identity.backup_id);
            let backup = backup.unwrap();
            for _ in 0..2 {
                archive
                    .expire(&key(), &backup, none, none, 100)
                    .await
                    .unwrap();
            }
        } else {
            let request = PruneRequest {
                older_than: Some(none),
                force: true,
                ..PruneRequest::default()
            };
            let plan = archive.plan_prune(|_| true, true, &request).await.unwrap();
            assert_eq!(plan.actions.len(), 2, "{:?}", plan.actions);
            archive.prune(&plan, none, |_| {}).await.unwrap();
        }
        assert_eq!(place.files("dead-letters").await, [""; 0]);
        let parts = archive.history(&key(), None).await.unwrap();
        for part in &parts {
            assert_eq!(part.manifest.requires, ["pruned", "dead-letters"]);
            let read = archive.dead_letters(&part.manifest).await;
            assert!(matches!(read, Err(ArchiveError::Pruned { .. })));
        }
        let report = archive.verify(|_| true, Depth::Segments, |_| {}).await;
        let report = report.unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
        // The chain goes on.
        put_aside(&mut writer, true).await;
        assert_eq!(archive.history(&key(), None).await.unwrap().len(), 4);
    }
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn any_letter() -> impl Strategy<Value = DeadLetter> {
    let headers = prop::collection::vec((bytes(), prop::option::of(bytes())), 0..5);
    let fields = (
        prop::option::of(bytes()),
        prop::option::of(bytes()),
        headers,
    );
    (
        fields,
        -1i64..i64::MAX,
        any::<bool>(),
        any::<String>(),
        prop::collection::vec(any::<String>(), 0..3),
    )
        .prop_map(
            |((key, value, headers), timestamp, by_broker, message, backtrace)| DeadLetter {
                key,
                value,
                headers: headers
                    .into_iter()
                    .map(|(key, value)| LetterHeader { key, value })
                    .collect(),
                timestamp,
                timestamp_type: match by_broker {
                    true => ClockType::LogAppendTime,
                    false => ClockType::CreateTime,
                },
                message,
                backtrace,
                ..letter(0)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever a record is, it comes back as it was: as a dead letter, and as a batch.
    #[test]
    fn any_record_comes_back(all in prop::collection::vec(any_letter(), 1..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let place = Place::memory();
            let archive = place.create().await;
            let mut writer = writer(&archive, options()).await;
            let all: Vec<DeadLetter> = (0..).zip(all).map(|(offset, it)| DeadLetter { offset, ..it }).collect();
            writer.dead_letters(all.clone()).unwrap();
            writer.gap(all.len() as i64, GapCause::DeadLettered, None).unwrap();
            commit(&mut writer).await;
            let parts = archive.history(&key(), None).await.unwrap();
            assert_eq!(letters(&archive, &parts).await, all);
            let mut scratch = DecodeBuffer::default();
            for it in &all {
                let bytes = it.batch().unwrap();
                let batch = armory_records::Batch::parse(&bytes).unwrap();
                let record = batch.decode(&mut scratch).unwrap().next().unwrap().unwrap();
                let back = DeadLetter::of(&record, batch.header().attributes.timestamp_type());
                let record_alone = DeadLetter {
                    plugin: String::new(), digest: String::new(), class: String::new(),
                    message: String::new(), backtrace: Vec::new(), ..it.clone()
                };
                assert_eq!(back, record_alone);
            }
        });
    }
}
