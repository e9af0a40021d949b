//! Two writers of one partition: exactly one commits a stretch, and the other learns who did.

use std::sync::Arc;

use armory_archive::{
    Archive, ArchiveError, Codec, Depth, Journal, PartitionWriter, WriterIdentity, WriterOptions,
};

use crate::batches::{Shape, batch, run};
use crate::faults::{Fault, Faulty};
use crate::place::{Place, commit, key, options, read_all, writer};

fn generation(number: u64) -> WriterOptions {
    WriterOptions::new(WriterIdentity::new("nightly", number))
}

/// Opens a writer beside a live one: on a folder that is refused while an open segment is locked, so the
/// writers are opened before they write.
async fn two_writers(
    place: &Place,
    one: WriterOptions,
    other: WriterOptions,
) -> [PartitionWriter; 2] {
    let archive = place.create().await;
    let one = PartitionWriter::open(&archive, key(), one).await.unwrap();
    let other = PartitionWriter::open(&archive, key(), other).await.unwrap();
    [one, other]
}

fn append_one(writer: &mut PartitionWriter, shape: Shape) {
    let one = batch(writer.next_offset(), shape);
    writer.append(&one.bytes, &one.headers).unwrap();
}

async fn try_commit(writer: &mut PartitionWriter) -> Result<i64, ArchiveError> {
    let sealed = writer.seal()?.expect("something is open");
    Ok(writer.chain().commit(sealed).await?.next)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_racing_writers_one_commits_each_stretch() {
    race(Place::folder).await;
    race(Place::memory).await;
    race(Place::local_file_system).await;
}

/// 20 races of an older and a newer writer for the same stretch.
pub(crate) async fn race(place: impl Fn() -> Place) {
    for race in 0..20 {
        let place = place();
        let writers = two_writers(&place, generation(1), generation(2)).await;
        let barrier = Arc::new(tokio::sync::Barrier::new(2));
        let races = writers.map(|mut writer| {
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                append_one(&mut writer, Shape::default());
                barrier.wait().await;
                let won = try_commit(&mut writer).await;
                // What follows a lost race is lost, too.
                append_one(&mut writer, Shape::default());
                let second = try_commit(&mut writer).await;
                assert_eq!(won.is_ok(), second.is_ok(), "{won:?} {second:?}");
                won
            })
        });
        let mut results = Vec::new();
        for race in races {
            results.push(race.await.unwrap());
        }
        match (&results[0], &results[1]) {
            (Ok(3), Err(ArchiveError::Overtaken { next: 3, by, .. })) => {
                assert_eq!(by.generation, 1, "{race}");
            }
            (Err(ArchiveError::Fenced { by, .. }), Ok(3)) => {
                assert_eq!(by.generation, 2, "{race}");
            }
            other => panic!("{race}: {other:?}"),
        }
        let archive = place.create().await;
        let chain = archive.chain_manifests(&key(), 0).await.unwrap();
        let committed: Vec<_> = chain
            .iter()
            .filter(|manifest| !manifest.open)
            .map(|manifest| (manifest.base, manifest.next))
            .collect();
        assert_eq!(committed, [(0, 3), (3, 6)]);
        let report = archive
            .verify(|_| true, Depth::Segments, |_| {})
            .await
            .unwrap();
        // No segment is left that no manifest names; the topic has no genesis here.
        assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    }
}

#[tokio::test]
async fn another_backup_is_not_written_over() {
    for place in [Place::folder(), Place::memory()] {
        let theirs = WriterOptions::new(WriterIdentity::new("weekly", 1));
        let [mut one, mut other] = two_writers(&place, generation(1), theirs).await;
        append_one(&mut one, Shape::default());
        append_one(&mut other, Shape::default());
        try_commit(&mut one).await.unwrap();
        let refused = try_commit(&mut other).await.unwrap_err();
        match &refused {
            ArchiveError::OwnedByOther { owner, .. } => assert_eq!(owner.backup_id, "nightly"),
            other => panic!("{other}"),
        }
        assert!(!refused.is_retriable());
        append_one(&mut other, Shape::default());
        let broken = other.seal().unwrap_err();
        assert!(
            matches!(broken, ArchiveError::ChainBroken { .. }),
            "{broken}"
        );
    }
}

#[tokio::test]
async fn the_newer_writer_goes_on_where_the_older_one_was() {
    for place in [Place::folder(), Place::memory()] {
        let [mut older, mut newer] = two_writers(&place, generation(1), generation(2)).await;
        append_one(&mut older, Shape::default());
        let longer = run(0, 3, Shape::default());
        newer.append(&longer.bytes, &longer.headers).unwrap();
        newer.flush().unwrap();
        try_commit(&mut older).await.unwrap();
        let overtaken = try_commit(&mut newer).await.unwrap_err();
        assert!(overtaken.is_retriable(), "{overtaken}");
        drop((older, newer));

        let archive = place.create().await;
        let mut newer = writer(&archive, generation(2)).await;
        // On a folder what was flushed and goes beyond what the other committed is kept.
        let kept = if place.is_folder() { 9 } else { 3 };
        assert_eq!(newer.next_offset(), kept);
        append_one(&mut newer, Shape::default());
        commit(&mut newer).await;
        let parts = archive.history(&key(), None).await.unwrap();
        let expected = run(0, kept / 3 + 1, Shape::default());
        assert_eq!(read_all(&archive, &parts).await, expected.bytes);
    }
}

#[tokio::test]
async fn lineages_are_fenced_too() {
    let place = Place::memory();
    let archive = place.create().await;
    let mut first = writer(&archive, generation(2)).await;
    append_one(&mut first, Shape::default());
    commit(&mut first).await;
    let mut second = writer(&archive, generation(3)).await;
    second.start_lineage(0, None).await.unwrap();
    let fenced = first.start_lineage(0, None).await.unwrap_err();
    assert!(matches!(fenced, ArchiveError::Fenced { .. }), "{fenced}");
}

#[tokio::test]
async fn a_commit_that_is_dropped_ends_the_chain() {
    let archive = Place::memory().create().await;
    let mut writer = writer(&archive, options()).await;
    append_one(&mut writer, Shape::default());
    let dropped = writer.seal().unwrap().unwrap();
    append_one(&mut writer, Shape::default());
    let later = writer.seal().unwrap().unwrap();
    drop(dropped);
    let broken = writer.chain().commit(later).await.unwrap_err();
    assert!(
        broken.to_string().contains("0 to 3 were not committed"),
        "{broken}"
    );
    assert!(writer.seal().is_err());
    assert_eq!(writer.durable_offset(), 0);
}

/// Writes through a store whose answers get lost, or whose requests fail.
async fn write_through(store: Arc<Faulty>) {
    let place = Place::store(store);
    let archive = place.create().await;
    let mut options = generation(1);
    options.compression = Some((Codec::Zstd, None));
    let mut writer = writer(&archive, options).await;
    for number in 0..5 {
        append_one(&mut writer, Shape::default());
        let committed = commit(&mut writer).await;
        assert_eq!(committed.next, (number + 1) * 3);
    }
    writer.start_lineage(9, Some(1)).await.unwrap();
    let mut journal = Journal::open(&archive, "restores/x").await.unwrap();
    for entry in ["a", "b", "c"] {
        journal.append(entry).await.unwrap();
    }
    let parts = archive.history(&key(), Some(0)).await.unwrap();
    assert_eq!(
        read_all(&archive, &parts).await,
        run(0, 5, Shape::default()).bytes
    );
    assert_eq!(
        Journal::open(&archive, "restores/x").await.unwrap().len(),
        3
    );
}

#[tokio::test]
async fn a_lost_answer_is_no_lost_commit() {
    for every in [2, 3] {
        let store = Faulty::new(Fault::AnswerLost, every);
        write_through(Arc::clone(&store)).await;
        assert!(store.failed.load(std::sync::atomic::Ordering::Relaxed) >= 5);
    }
}

#[tokio::test]
async fn a_refused_request_is_sent_again() {
    let store = Faulty::new(Fault::Refused, 2);
    write_through(Arc::clone(&store)).await;
    assert!(store.failed.load(std::sync::atomic::Ordering::Relaxed) >= 5);
}

#[tokio::test]
async fn large_segments_are_put_in_parts() {
    write_large_segment(Place::store(Faulty::new(Fault::Refused, 3))).await;
}

#[tokio::test]
async fn an_upload_whose_completion_was_not_heard_of_is_made_again() {
    let store = Faulty::new(Fault::UploadUnheard, 1);
    write_large_segment(Place::store(Arc::clone(&store) as _)).await;
    assert_eq!(store.failed.load(std::sync::atomic::Ordering::Relaxed), 1);
}

/// A segment that is too large for one request.
pub(crate) async fn write_large_segment(place: Place) {
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    let large = Shape {
        records: 8,
        value_bytes: 1 << 20,
        ..Shape::default()
    };
    let content = run(0, 5, large);
    assert!(content.bytes.len() > 40 << 20);
    writer.append(&content.bytes, &content.headers).unwrap();
    // The memory is that of the batches, without room for as much again.
    assert!(writer.buffered_bytes() < content.bytes.len() + (2 << 20));
    commit(&mut writer).await;
    assert_eq!(writer.buffered_bytes(), 0);
    let parts = archive.history(&key(), None).await.unwrap();
    assert!(read_all(&archive, &parts).await == content.bytes);
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused() {
    let store: Arc<dyn object_store::ObjectStore> = crate::faults::Unconditional::new();
    let refused = Archive::create_or_open(Place::store(Arc::clone(&store)).location)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ArchiveError::NoCreateIfAbsent { .. }),
        "{refused}"
    );
    // What is there is not harmed by asking again.
    let place = Place::store(store);
    let before = place.get("armory.json").await;
    assert!(
        Archive::create_or_open(place.location.clone())
            .await
            .is_err()
    );
    assert_eq!(place.get("armory.json").await, before);
}
