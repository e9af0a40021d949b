//! One behaviour on every storage.

use std::collections::BTreeMap;

use armory_archive::{
    Archive, ArchiveError, ChainEnd, Codec, Depth, FindingKind, Gap, GapCause, GenesisInfo,
    Journal, PartitionWriter, SegmentReader, Severity, Share, TopicId, TopicKey, WriterIdentity,
    WriterOptions,
};
use armory_records::Compression;
use futures::future::join_all;

use crate::batches::{Shape, batch, run};
use crate::place::{Place, commit, key, options, read_all, topic, writer};

/// Runs the whole suite on empty storages that `place` makes.
pub(crate) async fn suite(place: impl Fn() -> Place) {
    armory_archive::conformance::check(&place().location).await;
    archive_is_created_once(place()).await;
    incarnations_are_counted(place()).await;
    what_is_committed_is_read(place()).await;
    commits_may_run_at_the_same_time(place()).await;
    outer_compression_is_decided_per_segment(place()).await;
    gaps_alone_are_a_manifest(place()).await;
    readers_seek(place()).await;
    writers_continue_with_and_without_hints(place()).await;
    ownership_is_checked(place()).await;
    lineages_part(place()).await;
    snapshots_are_kept(place()).await;
    journals_have_one_writer(place()).await;
    generations_are_unique(place()).await;
    groups_of_workers_are_told_apart(place()).await;
    verify_tells_what_is_wrong(&place).await;
}

#[tokio::test]
async fn on_a_folder() {
    suite(Place::folder).await;
}

#[tokio::test]
async fn in_memory() {
    suite(Place::memory).await;
}

#[tokio::test]
async fn on_the_local_file_system_as_object_store() {
    suite(Place::local_file_system).await;
}

async fn archive_is_created_once(place: Place) {
    let refusal = Archive::open(place.location.clone()).await.unwrap_err();
    assert!(
        matches!(refusal, ArchiveError::NotAnArchive { .. }),
        "{refusal}"
    );
    let created = join_all((0..8).map(|_| Archive::create_or_open(place.location.clone()))).await;
    let ids: Vec<_> = created
        .into_iter()
        .map(|archive| archive.unwrap().id())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(
        Archive::open(place.location.clone()).await.unwrap().id(),
        ids[0]
    );
    assert_eq!(place.files("").await, ["armory.json"]);
}

fn genesis(cluster: &str) -> GenesisInfo {
    GenesisInfo {
        cluster_id: Some(cluster.to_owned()),
        partitions: 3,
        configs: BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]),
    }
}

async fn incarnations_are_counted(place: Place) {
    let archive = place.create().await;
    let first = topic("orders");
    let written = archive.genesis(&first, genesis("c")).await.unwrap();
    assert_eq!((written.incarnation, written.partitions), (1, 3));
    let again = GenesisInfo {
        partitions: 9,
        ..genesis("c")
    };
    assert_eq!(archive.genesis(&first, again).await.unwrap(), written);

    let others: Vec<_> = (1..=8u128)
        .map(|id| TopicKey::new("orders", Some(uuid(id))))
        .collect();
    let made = join_all(others.iter().map(|key| archive.genesis(key, genesis("c")))).await;
    let mut numbers: Vec<_> = made
        .into_iter()
        .map(|made| made.unwrap().incarnation)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=9).collect::<Vec<_>>());

    let no_id = TopicKey::new("plain", None);
    archive.genesis(&no_id, genesis("c")).await.unwrap();
    let other = archive.genesis(&no_id, genesis("d")).await.unwrap_err();
    assert!(
        matches!(other, ArchiveError::OtherCluster { .. }),
        "{other}"
    );

    let topics = archive.topics().await.unwrap();
    let names: Vec<_> = topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["orders", "plain"]);
    let numbers = topics[0]
        .incarnations
        .iter()
        .map(|entry| entry.genesis.incarnation);
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    assert_eq!(topics[0].incarnations[0].genesis, written);
    assert_eq!(topics[1].incarnations[0].topic_id, TopicId::None);
}

fn uuid(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

async fn what_is_committed_is_read(place: Place) {
    let archive = place.create().await;
    archive
        .genesis(&topic("orders"), genesis("c"))
        .await
        .unwrap();
    let mut writer = writer(&archive, options()).await;
    assert_eq!(
        (writer.next_offset(), writer.last_leader_epoch()),
        (0, None)
    );
    assert!(writer.seal().unwrap().is_none());

    writer.gap(100, GapCause::BeforeLogStart, None).unwrap();
    let first = run(100, 5, Shape::default());
    writer.append(&first.bytes, &first.headers).unwrap();
    writer.gap(116, GapCause::Control, None).unwrap();
    assert!(writer.has_uncommitted() && writer.opened_at().is_some());
    assert_eq!(writer.open_bytes(), first.bytes.len() as u64);
    let committed = commit(&mut writer).await;
    assert_eq!((committed.base, committed.next), (0, 116));
    assert_eq!((committed.batches, committed.records), (5, 15));
    assert_eq!(committed.stored_bytes, first.bytes.len() as u64);
    assert!(!writer.has_uncommitted() && writer.opened_at().is_none());
    assert_eq!(writer.durable_offset(), 116);

    let later = Shape {
        epoch: 2,
        ..Shape::default()
    };
    let second = run(116, 2, later);
    writer.append(&second.bytes, &second.headers).unwrap();
    assert_eq!(commit(&mut writer).await.next, 122);
    assert_eq!(writer.last_leader_epoch(), Some(2));

    let skipped = writer.append(&second.bytes, &second.headers).unwrap_err();
    assert!(matches!(
        skipped,
        ArchiveError::NotContiguous {
            expected: 122,
            found: 116,
            ..
        }
    ));

    let archive = Archive::open(place.location.clone()).await.unwrap();
    assert_eq!(archive.partitions(&topic("orders")).await.unwrap(), [0]);
    let parts = archive.history(&key(), None).await.unwrap();
    let mut expected = first.clone();
    expected.extend(&second);
    assert_eq!(read_all(&archive, &parts).await, expected.bytes);

    let manifest = &parts[0].manifest;
    let gaps: Vec<_> = manifest.gaps.iter(manifest.base).collect();
    let gap = |start, end, cause| Gap { start, end, cause };
    assert_eq!(
        gaps,
        [
            gap(0, 100, GapCause::BeforeLogStart),
            gap(115, 116, GapCause::Control)
        ]
    );
    let times = manifest.timestamps.unwrap();
    assert_eq!((times.min, times.max), (1_000_100, 1_000_114));
    assert_eq!(
        parts[1].manifest.previous.as_ref(),
        Some(&manifest.checksum)
    );
    assert!(
        archive
            .check_segments(std::slice::from_ref(manifest))
            .await
            .unwrap()
            .is_empty()
    );

    // Exactly these files, and nothing of the open segments.
    let files = place.files("topics/orders").await;
    let extensions: Vec<_> = files
        .iter()
        .map(|file| file.rsplit('.').next().unwrap())
        .collect();
    assert_eq!(extensions, ["log", "log", "json", "json"], "{files:?}");
    assert_eq!(place.files("manifests").await.len(), 2);
    assert!(files[0].contains("/0/0/00000000000000000000."), "{files:?}");
    assert_eq!(place.get(&files[0]).await, first.bytes);
}

async fn commits_may_run_at_the_same_time(place: Place) {
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    let mut commits = Vec::new();
    for number in 0..20 {
        let one = batch(number * 3, Shape::default());
        writer.append(&one.bytes, &one.headers).unwrap();
        let sealed = writer.seal().unwrap().unwrap();
        let chain = writer.chain();
        commits.push(tokio::spawn(async move { chain.commit(sealed).await }));
    }
    // The last ones first: each waits for the ones before.
    for (number, commit) in commits.into_iter().enumerate().rev() {
        assert_eq!(commit.await.unwrap().unwrap().base, number as i64 * 3);
    }
    assert_eq!(writer.durable_offset(), 60);
    let parts = archive.history(&key(), None).await.unwrap();
    assert_eq!(parts.len(), 20);
    assert_eq!(
        read_all(&archive, &parts).await,
        run(0, 20, Shape::default()).bytes
    );
}

async fn outer_compression_is_decided_per_segment(place: Place) {
    let archive = place.create().await;
    let options = |codec| WriterOptions {
        compression: Some((codec, None)),
        ..options()
    };
    let plain = Shape {
        records: 100,
        value_bytes: 20_000,
        ..Shape::default()
    };
    let packed = Shape {
        compression: Compression::Zstd,
        ..plain
    };
    let mut expected = Vec::new();
    let mut next = 0;
    for (shape, codec, stored_as) in [
        (plain, Codec::Zstd, Codec::Zstd),
        (packed, Codec::Zstd, Codec::None),
        (plain, Codec::Gzip, Codec::Gzip),
        (packed, Codec::Gzip, Codec::None),
    ] {
        let mut writer = writer(&archive, options(codec)).await;
        let run = run(next, 5, shape);
        writer.append(&run.bytes, &run.headers).unwrap();
        let committed = commit(&mut writer).await;
        next = writer.next_offset();
        expected.extend(run.bytes);
        let chain = archive.chain_manifests(&key(), 0).await.unwrap();
        let segment = chain.last().unwrap().segment.as_ref().unwrap();
        assert_eq!(segment.codec, stored_as);
        assert!(segment.name.ends_with(stored_as.extension()));
        match stored_as {
            Codec::None => assert_eq!(segment.stored_bytes, segment.raw_bytes),
            _ => {
                assert!(segment.index.len() >= 3, "{:?}", segment.index);
                assert!(committed.stored_bytes < committed.raw_bytes / 2);
            }
        }
    }
    let parts = archive.history(&key(), None).await.unwrap();
    assert!(read_all(&archive, &parts).await == expected);
    let report = archive
        .verify(|_| true, Depth::Segments, |_| {})
        .await
        .unwrap();
    // Nobody called genesis here.
    let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::Document], "{:?}", report.findings);
    assert_eq!(report.checked.segments, 4);
}

async fn gaps_alone_are_a_manifest(place: Place) {
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    writer.gap(7, GapCause::Filtered, None).unwrap();
    writer.gap(7, GapCause::Filtered, None).unwrap();
    writer.gap(10, GapCause::AbsentAtSource, None).unwrap();
    let back = writer.gap(9, GapCause::Filtered, None).unwrap_err();
    assert!(matches!(back, ArchiveError::NotContiguous { .. }));
    let committed = commit(&mut writer).await;
    assert_eq!(
        (committed.next, committed.stored_bytes, committed.batches),
        (10, 0, 0)
    );
    assert!(place.files("topics").await.is_empty());
    let parts = archive.history(&key(), None).await.unwrap();
    assert_eq!(parts[0].manifest.segment, None);
    assert_eq!(parts[0].manifest.missing_offsets().len(), 2);
    assert!(read_all(&archive, &parts).await.is_empty());
}

async fn readers_seek(place: Place) {
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    let shape = Shape {
        records: 10,
        value_bytes: 60_000,
        ..Shape::default()
    };
    for number in 0..12 {
        // A gap of one before each batch.
        let base = number * 11 + 1;
        writer.gap(base, GapCause::Aborted, None).unwrap();
        let one = batch(base, shape);
        writer.append(&one.bytes, &one.headers).unwrap();
    }
    commit(&mut writer).await;
    let manifest = archive.chain_manifests(&key(), 0).await.unwrap().remove(0);
    let index = &manifest.segment.as_ref().unwrap().index;
    assert_eq!(index.len(), 6);

    let bases = async |mut reader: SegmentReader| {
        let mut bases = Vec::new();
        while let Some(chunk) = reader.next_chunk().await.unwrap() {
            for batch in armory_records::Batches::new(&chunk) {
                bases.push(batch.unwrap().header().base_offset);
            }
        }
        bases
    };
    let open = async || {
        SegmentReader::open(&archive, &key(), 0, &manifest)
            .await
            .unwrap()
    };
    let all: Vec<i64> = (0..12).map(|number| number * 11 + 1).collect();
    assert_eq!(bases(open().await).await, all);
    for offset in 0..manifest.next + 2 {
        let mut reader = open().await;
        reader.seek(offset);
        let found = bases(reader).await;
        assert!(all.ends_with(&found), "{offset}");
        let wanted: Vec<i64> = all
            .iter()
            .copied()
            .filter(|base| base + 10 > offset)
            .collect();
        assert!(found.ends_with(&wanted), "{offset}: {found:?}");
        assert!(found.len() <= wanted.len() + 2, "{offset}: {found:?}");

        let mut reader = open().await;
        reader.until(offset);
        let found = bases(reader).await;
        assert!(all.starts_with(&found), "{offset}");
        let wanted: Vec<i64> = all.iter().copied().filter(|base| *base < offset).collect();
        assert!(found.starts_with(&wanted), "{offset}: {found:?}");

        let mut reader = open().await;
        reader.seek_time(shape.time + offset);
        let found = bases(reader).await;
        let wanted: Vec<i64> = all
            .iter()
            .copied()
            .filter(|base| base + 9 >= offset)
            .collect();
        assert!(found.ends_with(&wanted), "{offset}: {found:?}");
        assert!(found.len() <= wanted.len() + 1, "{offset}: {found:?}");
    }
    let mut reader = open().await;
    reader.seek(40);
    reader.until(50);
    assert_eq!(bases(reader).await, [23, 34, 45, 56]);
}

async fn writers_continue_with_and_without_hints(place: Place) {
    let archive = place.create().await;
    let identity = options().identity;
    let shape = Shape::default();
    let mut hinted = None;
    for number in 0..6 {
        // A new archive handle knows nothing but what lies in the storage.
        let archive = place.create().await;
        let mut writer = writer(&archive, options()).await;
        assert_eq!(writer.next_offset(), number * 3);
        assert_eq!(writer.last_leader_epoch(), (number > 0).then_some(1));
        let one = batch(number * 3, shape);
        writer.append(&one.bytes, &one.headers).unwrap();
        commit(&mut writer).await;
        if number == 2 {
            hinted = writer.chain_end();
        }
    }
    let hint = |base, next| ChainEnd {
        base,
        next,
        ..hinted.clone().unwrap()
    };
    // Stale by three, exact, beyond the end, nonsense.
    for (base, next) in [(6, 9), (15, 18), (18, 21), (4, 5)] {
        archive
            .write_head("nightly", &identity, &[hint(base, next)])
            .await
            .unwrap();
        let archive = place.create().await;
        assert_eq!(writer(&archive, options()).await.next_offset(), 18);
    }
    place.put("heads/nightly.json", b"not a head").await;
    let archive = place.create().await;
    assert_eq!(writer(&archive, options()).await.next_offset(), 18);
}

async fn ownership_is_checked(place: Place) {
    let archive = place.create().await;
    let generation = |number| WriterOptions::new(WriterIdentity::new("nightly", number));
    let mut writer = writer(&archive, generation(5)).await;
    let one = batch(0, Shape::default());
    writer.append(&one.bytes, &one.headers).unwrap();
    commit(&mut writer).await;
    drop(writer);

    let open = |options| PartitionWriter::open(&archive, key(), options);
    let lower = open(generation(4)).await.unwrap_err();
    assert!(matches!(lower, ArchiveError::Fenced { .. }), "{lower}");
    assert_eq!(open(generation(5)).await.unwrap().next_offset(), 3);
    assert_eq!(open(generation(6)).await.unwrap().next_offset(), 3);

    let mut other = WriterOptions::new(WriterIdentity::new("weekly", 1));
    let refused = open(other.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("--take-over"), "{refused}");
    other.take_over = true;
    assert_eq!(open(other).await.unwrap().next_offset(), 3);
    let unsafe_name = WriterOptions::new(WriterIdentity::new("a/b", 1));
    assert!(matches!(
        open(unsafe_name).await,
        Err(ArchiveError::InvalidName { .. })
    ));
}

async fn lineages_part(place: Place) {
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    let shape = Shape::default();
    let old = run(0, 4, shape);
    writer.append(&old.bytes, &old.headers).unwrap();
    assert!(
        writer.start_lineage(6, Some(1)).await.is_err(),
        "uncommitted"
    );
    commit(&mut writer).await;
    assert!(
        writer.start_lineage(13, Some(1)).await.is_err(),
        "beyond the end"
    );

    writer.start_lineage(6, Some(1)).await.unwrap();
    assert_eq!((writer.lineage(), writer.next_offset()), (1, 6));
    assert_eq!(writer.last_leader_epoch(), Some(1));
    drop(writer);
    let mut writer = crate::place::writer(&archive, options()).await;
    assert_eq!((writer.lineage(), writer.next_offset()), (1, 6));
    let newer = Shape {
        epoch: 3,
        time: 9_000_000,
        ..shape
    };
    let new = run(6, 5, newer);
    writer.append(&new.bytes, &new.headers).unwrap();
    commit(&mut writer).await;
    assert_eq!(writer.chain_end().unwrap().lineage, 1);
    drop(writer);

    // A third one that parts before the second began.
    let mut writer = crate::place::writer(&place.create().await, options()).await;
    assert_eq!((writer.lineage(), writer.next_offset()), (1, 21));
    writer.start_lineage(3, None).await.unwrap();
    let last = run(3, 1, newer);
    writer.append(&last.bytes, &last.headers).unwrap();
    commit(&mut writer).await;

    let lineages = archive.lineages(&key()).await.unwrap();
    let forks: Vec<_> = lineages
        .iter()
        .map(|entry| {
            entry
                .fork
                .as_ref()
                .map(|fork| (fork.base, fork.parent_next))
        })
        .collect();
    assert_eq!(forks, [None, Some((6, 12)), Some((3, 21))]);
    let content = async |lineage| {
        let parts = archive.history(&key(), lineage).await.unwrap();
        read_all(&archive, &parts).await
    };
    assert_eq!(content(Some(0)).await, old.bytes);
    let common = run(0, 2, shape);
    assert_eq!(content(Some(1)).await, [common.bytes, new.bytes].concat());
    let newest = [run(0, 1, shape).bytes, last.bytes].concat();
    assert_eq!(content(Some(2)).await, newest);
    assert_eq!(content(None).await, newest);
    let own = archive.chain_manifests(&key(), 1).await.unwrap();
    assert_eq!(
        own.iter().map(|m| (m.base, m.next)).collect::<Vec<_>>(),
        [(6, 21)]
    );
}

async fn snapshots_are_kept(place: Place) {
    let archive = place.create().await;
    let identity = options().identity;
    let key = topic("orders");
    for (time, partitions) in [(2000, 4), (1000, 3), (2000, 4)] {
        archive
            .snapshot_topic(&identity, &key, BTreeMap::new(), partitions, time)
            .await
            .unwrap();
    }
    let snapshots = archive.snapshots(&key).await.unwrap();
    let seen: Vec<_> = snapshots
        .iter()
        .map(|s| (s.taken_at, s.partitions))
        .collect();
    assert_eq!(seen, [(1000, 3), (2000, 4), (2000, 4)]);
    let at = async |time| {
        archive
            .latest_snapshot(&key, time)
            .await
            .unwrap()
            .map(|s| s.partitions)
    };
    assert_eq!(at(999).await, None);
    assert_eq!(at(1999).await, Some(3));
    assert_eq!(at(i64::MAX).await, Some(4));
}

async fn journals_have_one_writer(place: Place) {
    let archive = place.create().await;
    let open = || Journal::open(&archive, "restores/abc");
    let mut one = open().await.unwrap();
    assert!(one.is_empty());
    one.append("first").await.unwrap();
    one.append(Vec::new()).await.unwrap();
    let mut other = open().await.unwrap();
    assert_eq!(other.len(), 2);
    other.append("theirs").await.unwrap();
    // The same content from another process is another entry, too.
    for text in ["mine", "theirs"] {
        let conflict = one.append(text).await.unwrap_err();
        assert!(
            matches!(conflict, ArchiveError::JournalConflict { .. }),
            "{conflict}"
        );
    }
    let reader = open().await.unwrap().reader();
    for (number, text) in ["first", "", "theirs"].into_iter().enumerate() {
        assert_eq!(reader.read(number).await.unwrap(), text);
    }
    assert_eq!(Journal::names(&archive, "restores").await.unwrap(), ["abc"]);
    let outside = Journal::open_at(&place.location, "restores/abc")
        .await
        .unwrap();
    assert_eq!(outside.len(), 3);
    let names = Journal::names_at(&place.location, "restores").await;
    assert_eq!(names.unwrap(), ["abc"]);

    place
        .delete("restores/abc/00000000000000000001.entry")
        .await;
    assert!(matches!(open().await, Err(ArchiveError::Damaged(_))));
    assert!(Journal::open(&archive, "../x").await.is_err());
}

async fn generations_are_unique(place: Place) {
    let archive = place.create().await;
    let next = async |backup| {
        let identity = archive
            .begin_writing(backup, Share::default())
            .await
            .unwrap();
        identity.generation
    };
    assert_eq!(next("nightly").await, 1);
    assert_eq!(next("nightly").await, 2);
    assert_eq!(next("weekly").await, 1);
    let taken = join_all((0..8).map(|_| next("nightly"))).await;
    let mut taken = taken;
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), 8, "{taken:?}");
    assert!(place.files("heads/nightly.generations").await.len() <= 8);
}

async fn groups_of_workers_are_told_apart(place: Place) {
    let archive = place.create().await;
    let begin = async |workers, group_generation| {
        let share = Share {
            workers,
            group_generation,
            ..Share::default()
        };
        archive.begin_writing("nightly", share).await
    };
    // Nobody counts: the group generation grows with every other number of workers, the generation with every process.
    let mut order = Vec::new();
    for (workers, group) in [(1, 0), (3, 1), (3, 1), (2, 2), (3, 3)] {
        let identity = begin(workers, None).await.unwrap();
        assert_eq!(identity.group_generation, group);
        assert_eq!(identity.worker.is_some(), workers > 1);
        order.push(identity.order());
    }
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    // Somebody counts: an old group cannot begin again, and one generation has one group.
    let four = begin(4, Some(7)).await.unwrap();
    assert_eq!(begin(4, Some(7)).await.unwrap().group_generation, 7);
    assert!(four.order() > *order.last().unwrap());
    let other = begin(3, Some(7)).await.unwrap_err();
    assert!(
        matches!(other, ArchiveError::OtherGroup { workers: 4, .. }),
        "{other}"
    );
    let over = begin(3, Some(6)).await.unwrap_err();
    assert!(
        matches!(over, ArchiveError::GroupIsOver { newest: 7, .. }),
        "{over}"
    );
    // Who gives none is the newest.
    assert_eq!(begin(4, None).await.unwrap().group_generation, 7);
    assert_eq!(begin(1, None).await.unwrap().group_generation, 8);
    // Workers that start at the same time are of one group.
    let together = join_all((0..4).map(|_| begin(5, None))).await;
    for identity in together {
        assert_eq!(identity.unwrap().group_generation, 9);
    }
}

/// Three committed segments of a topic, and a head that knows.
pub(crate) async fn archive_of_three(place: &Place) -> Archive {
    let archive = place.create().await;
    archive
        .genesis(&topic("orders"), genesis("c"))
        .await
        .unwrap();
    let mut writer = writer(&archive, options()).await;
    for number in 0..3 {
        let one = run(number * 6, 2, Shape::default());
        writer.append(&one.bytes, &one.headers).unwrap();
        commit(&mut writer).await;
    }
    let end = writer.chain_end().unwrap();
    archive
        .write_head("nightly", &options().identity, &[end])
        .await
        .unwrap();
    archive
}

const MANIFESTS: &str = "manifests/orders/AAECAwQFBgcICQoLDA0ODw/0/0";

async fn verify_tells_what_is_wrong(place: impl Fn() -> Place) {
    let segments = "topics/orders/AAECAwQFBgcICQoLDA0ODw/0/0";
    let manifest = |base: i64| format!("{MANIFESTS}/{base:020}.json");
    let check = async |place: &Place, depth| {
        let archive = Archive::open(place.location.clone()).await.unwrap();
        let report = archive.verify(|_| true, depth, |_| {}).await.unwrap();
        let found: Vec<_> = report
            .findings
            .iter()
            .map(|finding| (finding.kind, finding.offset, finding.severity))
            .collect();
        assert_eq!(
            report.is_sound(),
            found.iter().all(|(.., s)| *s < Severity::Damage)
        );
        found
    };

    let sound = place();
    archive_of_three(&sound).await;
    assert_eq!(check(&sound, Depth::Segments).await, []);
    let archive = Archive::open(sound.location.clone()).await.unwrap();
    let mut calls = 0;
    let report = archive
        .verify(|_| true, Depth::Segments, |_| calls += 1)
        .await
        .unwrap();
    assert_eq!((report.checked.manifests, report.checked.segments), (3, 3));
    assert_eq!((report.checked.batches, report.checked.records), (6, 18));
    assert!(calls > 3);
    let none = archive
        .verify(|topic| topic != "orders", Depth::Chains, |_| {})
        .await
        .unwrap();
    assert_eq!(none.checked.manifests, 0);

    let lost_segment = place();
    let archive = archive_of_three(&lost_segment).await;
    let files = lost_segment.files(segments).await;
    lost_segment.delete(&files[1]).await;
    let damage = Severity::Damage;
    assert_eq!(
        check(&lost_segment, Depth::Chains).await,
        [(FindingKind::MissingSegment, Some(6), damage)]
    );
    let chain = archive.chain_manifests(&key(), 0).await.unwrap();
    let missing = archive.check_segments(&chain).await.unwrap();
    assert_eq!(
        missing
            .iter()
            .map(|m| (m.base, m.found_bytes))
            .collect::<Vec<_>>(),
        [(6, None)]
    );
    let reading = SegmentReader::open(&archive, &key(), 0, &chain[1])
        .await
        .unwrap_err();
    assert!(reading.to_string().contains("missing"), "{reading}");

    let cut_segment = place();
    archive_of_three(&cut_segment).await;
    let files = cut_segment.files(segments).await;
    let content = cut_segment.get(&files[2]).await;
    cut_segment.put(&files[2], &content[1..]).await;
    assert_eq!(
        check(&cut_segment, Depth::Chains).await,
        [(FindingKind::SegmentSize, Some(12), damage)]
    );

    let lost_link = place();
    let archive = archive_of_three(&lost_link).await;
    lost_link.delete(&manifest(6)).await;
    assert_eq!(
        check(&lost_link, Depth::Chains).await,
        [
            (FindingKind::MissingLink, Some(6), damage),
            (FindingKind::Leftover, None, Severity::Info)
        ]
    );
    let reading = archive.chain_manifests(&key(), 0).await.unwrap_err();
    assert!(matches!(reading, ArchiveError::Damaged(_)), "{reading}");

    let lost_end = place();
    archive_of_three(&lost_end).await;
    lost_end.delete(&manifest(12)).await;
    assert_eq!(
        check(&lost_end, Depth::Chains).await,
        [
            (FindingKind::Leftover, None, Severity::Info),
            (FindingKind::MissingEnd, Some(12), Severity::Warning)
        ]
    );

    let flipped = place();
    let archive = archive_of_three(&flipped).await;
    let mut content = flipped.get(&manifest(6)).await;
    content[40] ^= 1;
    flipped.put(&manifest(6), &content).await;
    let found = check(&flipped, Depth::Chains).await;
    assert_eq!(found[0], (FindingKind::Document, None, damage));
    assert!(archive.chain_manifests(&key(), 0).await.is_err());

    // A manifest of another chain in this place: right in itself, wrong in the chain.
    let foreign = place();
    let theirs = place();
    let archive = archive_of_three(&foreign).await;
    archive_of_three(&theirs).await;
    foreign
        .put(&manifest(6), &theirs.get(&manifest(6)).await)
        .await;
    let found = check(&foreign, Depth::Chains).await;
    let predecessors: Vec<_> = found
        .iter()
        .filter(|(kind, ..)| *kind == FindingKind::Predecessor)
        .map(|(_, offset, _)| *offset)
        .collect();
    assert_eq!(predecessors, [Some(6), Some(12)]);
    assert!(archive.chain_manifests(&key(), 0).await.is_err());

    let overlapping = place();
    archive_of_three(&overlapping).await;
    let text = String::from_utf8(overlapping.get(&manifest(6)).await).unwrap();
    let moved = reseal(&text.replace("\"base\":6,", "\"base\":5,"));
    overlapping.put(&manifest(5), moved.as_bytes()).await;
    let found = check(&overlapping, Depth::Chains).await;
    assert_eq!(found[0], (FindingKind::Overlap, Some(5), damage));

    let future = place();
    let archive = archive_of_three(&future).await;
    let text = String::from_utf8(future.get(&manifest(12)).await).unwrap();
    let encrypted = reseal(&text.replace("\"requires\":[]", "\"requires\":[\"encryption\"]"));
    future.put(&manifest(12), encrypted.as_bytes()).await;
    let found = check(&future, Depth::Chains).await;
    assert_eq!(found[0], (FindingKind::Unsupported, None, damage));
    let refusal = archive.chain_manifests(&key(), 0).await.unwrap_err();
    assert!(
        refusal.to_string().contains("needs encryption"),
        "{refusal}"
    );
    let refusal = PartitionWriter::open(&archive, key(), options())
        .await
        .unwrap_err();
    assert!(
        refusal.to_string().contains("needs encryption"),
        "{refusal}"
    );
}

/// Gives an altered document its right checksum again, by the rule in `docs/archive-format.md`.
pub(crate) fn reseal(text: &str) -> String {
    let body = &text[..text.rfind(",\"checksum\":").unwrap()];
    format!(
        "{body},\"checksum\":\"{}\"}}\n",
        blake3::hash(body.as_bytes()).to_hex()
    )
}
