//! Open segments on a folder: what survives a crash, what counts as damage, what readers see.

use std::fs;

use armory_archive::{
    Archive, ArchiveError, Codec, Depth, FindingKind, GapCause, Manifest, PartitionWriter,
    SegmentReader, WriterIdentity, WriterOptions,
};

use crate::batches::{Run, Shape, batch, run};
use crate::place::{Place, commit, key, options, read_all, unbuffered, writer};

/// Options with which every run is written at once.
fn append(writer: &mut PartitionWriter, run: &Run) {
    writer.append(&run.bytes, &run.headers).unwrap();
}

/// Three flushed batches with a gap after the second, and two that were only written.
async fn crashed(place: &Place) -> (Run, Run) {
    let archive = place.create().await;
    let mut writer = writer(&archive, unbuffered()).await;
    let mut flushed = run(0, 2, Shape::default());
    append(&mut writer, &flushed);
    writer.gap(8, GapCause::Control, None).unwrap();
    let third = batch(8, Shape::default());
    append(&mut writer, &third);
    flushed.extend(&third);
    writer.flush().unwrap();
    assert_eq!(writer.durable_offset(), 11);
    let written = run(11, 2, Shape::default());
    append(&mut writer, &written);
    assert_eq!(writer.durable_offset(), 11);
    (flushed, written)
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_flushed() {
    let place = Place::folder();
    let (flushed, written) = crashed(&place).await;
    let archive = place.create().await;
    let mut writer = writer(&archive, unbuffered()).await;
    // What was written and not flushed happens to be there, too, and is promised from now on.
    assert_eq!((writer.next_offset(), writer.durable_offset()), (17, 17));
    assert_eq!(writer.last_leader_epoch(), Some(1));
    assert!(writer.has_uncommitted() && writer.opened_at().is_some());
    let more = batch(17, Shape::default());
    append(&mut writer, &more);
    commit(&mut writer).await;
    let parts = archive.history(&key(), None).await.unwrap();
    assert_eq!(parts.len(), 1);
    let expected = [flushed.bytes, written.bytes, more.bytes].concat();
    assert_eq!(read_all(&archive, &parts).await, expected);
    assert_eq!(parts[0].manifest.missing_offsets()[&GapCause::Control], 2);
    assert_eq!(place.files("topics").await.len(), 1);
}

#[tokio::test]
async fn every_truncation_is_recovered_or_named() {
    let place = Place::folder();
    let (flushed, written) = crashed(&place).await;
    let open = place.only("topics", ".open").await;
    let mark = place.only("topics", ".mark").await;
    let content = place.get(&open).await;
    let sidecar = place.get(&mark).await;
    assert_eq!(content, [&*flushed.bytes, &*written.bytes].concat());
    let durable = flushed.bytes.len();
    for length in 0..=content.len() {
        place.put(&mark, &sidecar).await;
        // As after a power failure: cut short, or of full length and zero from there on.
        for zeros in [false, true] {
            let mut torn = content[..length].to_vec();
            if zeros {
                torn.resize(content.len(), 0);
            }
            place.put(&open, &torn).await;
            let archive = place.create().await;
            let read = archive.chain_manifests(&key(), 0).await;
            if length < durable {
                let refused = PartitionWriter::open(&archive, key(), unbuffered()).await;
                assert!(matches!(refused, Err(ArchiveError::Damaged(_))), "{length}");
                assert!(matches!(read, Err(ArchiveError::Damaged(_))), "{length}");
                continue;
            }
            let whole = (length - durable) / written.headers[0].size();
            let next = 11 + 3 * whole as i64;
            assert_eq!(read.unwrap().last().unwrap().next, next, "{length}");
            assert_eq!(place.get(&open).await, torn, "reading writes nothing");
            let writer = writer(&archive, unbuffered()).await;
            assert_eq!(writer.next_offset(), next, "{length}");
            drop(writer);
            place.put(&mark, &sidecar).await;
        }
    }
}

#[tokio::test]
async fn every_flipped_bit_before_the_mark_is_damage() {
    let place = Place::folder();
    let (flushed, _) = crashed(&place).await;
    let open = place.only("topics", ".open").await;
    let mark = place.only("topics", ".mark").await;
    let archive = place.create().await;
    for name in [&open, &mark] {
        let content = place.get(name).await;
        let end = if *name == open {
            flushed.bytes.len()
        } else {
            content.len() - 1
        };
        for position in 0..end {
            let mut flipped = content.clone();
            flipped[position] ^= 1 << (position % 8);
            place.put(name, &flipped).await;
            let read = archive.chain_manifests(&key(), 0).await;
            assert!(
                matches!(read, Err(ArchiveError::Damaged(_))),
                "{name} {position}: {read:?}"
            );
            let write = PartitionWriter::open(&archive, key(), unbuffered()).await;
            assert!(
                matches!(write, Err(ArchiveError::Damaged(_))),
                "{name} {position}"
            );
        }
        place.put(name, &content).await;
    }
    let report = archive
        .verify(|_| true, Depth::Segments, |_| {})
        .await
        .unwrap();
    assert_eq!(report.checked.segments, 1);
    let mut flipped = place.get(&open).await;
    flipped[10] ^= 1;
    place.put(&open, &flipped).await;
    let report = archive
        .verify(|_| true, Depth::Chains, |_| {})
        .await
        .unwrap();
    let segments = report
        .findings
        .iter()
        .filter(|f| f.kind == FindingKind::Segment);
    assert_eq!(segments.count(), 1, "{:?}", report.findings);
}

#[tokio::test]
async fn bits_flipped_beyond_the_mark_are_cut() {
    let place = Place::folder();
    let (flushed, written) = crashed(&place).await;
    let open = place.only("topics", ".open").await;
    let mark = place.only("topics", ".mark").await;
    let content = place.get(&open).await;
    let sidecar = place.get(&mark).await;
    let archive = place.create().await;
    for position in flushed.bytes.len()..content.len() {
        let mut flipped = content.clone();
        // The highest bit: the leader epoch, which no checksum covers, becomes implausible.
        flipped[position] ^= 0x80;
        place.put(&open, &flipped).await;
        let at = position - flushed.bytes.len();
        let next = 11 + 3 * (at / written.headers[0].size()) as i64;
        let in_low_epoch = (13..16).contains(&(at % written.headers[0].size()));
        let writer = writer(&archive, unbuffered()).await;
        if !in_low_epoch {
            assert_eq!(writer.next_offset(), next, "{position}");
        }
        drop(writer);
        place.put(&mark, &sidecar).await;
    }
}

#[tokio::test]
async fn several_open_segments_in_a_row_are_recovered_in_order() {
    let place = Place::folder();
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    let mut expected = Vec::new();
    let mut sealed = Vec::new();
    for number in 0..4 {
        let one = batch(number * 3, Shape::default());
        append(&mut writer, &one);
        writer.flush().unwrap();
        expected.extend(one.bytes);
        if number < 3 {
            sealed.push(writer.seal().unwrap().unwrap());
        }
    }
    // The ones in front are flushed, but not committed: they survive, and more is not promised.
    assert_eq!(writer.durable_offset(), 3);
    drop((sealed, writer));

    let parts = archive.history(&key(), None).await.unwrap();
    assert!(parts.iter().all(|part| part.manifest.open));
    assert_eq!(read_all(&archive, &parts).await, expected);

    let mut writer = crate::place::writer(&archive, options()).await;
    assert_eq!((writer.next_offset(), writer.durable_offset()), (12, 12));
    commit(&mut writer).await;
    let parts = archive.history(&key(), None).await.unwrap();
    assert_eq!(
        parts.iter().map(|part| part.until).collect::<Vec<_>>(),
        [3, 6, 9, 12]
    );
    assert_eq!(read_all(&archive, &parts).await, expected);
    assert_eq!(place.files("topics").await.len(), 4);
}

#[tokio::test]
async fn an_open_segment_without_its_predecessor_is_put_aside() {
    let place = Place::folder();
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    append(&mut writer, &batch(0, Shape::default()));
    // Detached and never flushed: its write buffer is lost with the process.
    let sealed = writer.seal().unwrap();
    append(&mut writer, &batch(3, Shape::default()));
    writer.flush().unwrap();
    assert_eq!(writer.durable_offset(), 0);
    drop((sealed, writer));
    let writer = crate::place::writer(&archive, options()).await;
    assert_eq!(writer.next_offset(), 0);
    assert!(
        place
            .only("topics", ".aside")
            .await
            .contains("00000000000000000003")
    );
}

#[tokio::test]
async fn a_live_writer_locks_its_segment_and_readers_see_it() {
    let place = Place::folder();
    let archive = place.create().await;
    let mut writer = writer(&archive, unbuffered()).await;
    let one = run(0, 2, Shape::default());
    append(&mut writer, &one);
    writer.flush().unwrap();
    let locked = PartitionWriter::open(&archive, key(), unbuffered())
        .await
        .unwrap_err();
    assert!(matches!(locked, ArchiveError::Locked { .. }), "{locked}");
    assert!(locked.is_retriable());

    let reading = Archive::open(place.location.clone()).await.unwrap();
    let seen = reading.chain_manifests(&key(), 0).await.unwrap();
    assert!(seen[0].open && seen[0].next == 6);
    // The writer goes on and commits before the reader comes to read.
    let started = SegmentReader::open(&reading, &key(), 0, &seen[0])
        .await
        .unwrap();
    append(&mut writer, &batch(6, Shape::default()));
    commit(&mut writer).await;
    let late = SegmentReader::open(&reading, &key(), 0, &seen[0])
        .await
        .unwrap();
    for mut reader in [started, late] {
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next_chunk().await.unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        assert_eq!(bytes, one.bytes);
    }
}

#[tokio::test]
async fn a_crash_between_publication_and_commit_is_undone() {
    for codec in [Codec::None, Codec::Zstd] {
        let place = Place::folder();
        let (flushed, written) = crashed(&place).await;
        let open = place.only("topics", ".open").await;
        let named = open.replace(".open", codec.extension());
        match codec {
            Codec::None => fs::hard_link(place.path(&open), place.path(&named)).unwrap(),
            _ => place.put(&named, b"some frames").await,
        }
        place.put(&format!("{named}.tmp"), b"some frames").await;
        let archive = place.create().await;
        let mut writer = writer(&archive, unbuffered()).await;
        append(&mut writer, &batch(17, Shape::default()));
        commit(&mut writer).await;
        assert_eq!(place.files("topics").await.len(), 1);
        let parts = archive.history(&key(), None).await.unwrap();
        let content = read_all(&archive, &parts).await;
        assert!(content.starts_with(&[flushed.bytes, written.bytes].concat()));
    }
}

#[tokio::test]
async fn a_crash_between_commit_and_clearing_leaves_a_leftover() {
    let place = Place::folder();
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    append(&mut writer, &batch(0, Shape::default()));
    writer.flush().unwrap();
    let open = place.only("topics", ".open").await;
    let mark = place.only("topics", ".mark").await;
    let (content, sidecar) = (place.get(&open).await, place.get(&mark).await);
    commit(&mut writer).await;
    drop(writer);
    place.put(&open, &content).await;
    place.put(&mark, &sidecar).await;
    let parts = archive.history(&key(), None).await.unwrap();
    assert_eq!(read_all(&archive, &parts).await, content);
    let writer = crate::place::writer(&archive, options()).await;
    assert_eq!(writer.next_offset(), 3);
    assert!(!writer.has_uncommitted());
    assert_eq!(place.files("topics").await.len(), 1);
}

#[tokio::test]
async fn open_segments_of_others_are_refused_like_their_chains() {
    let place = Place::folder();
    crashed(&place).await;
    let archive = place.create().await;
    let mut other = WriterOptions::new(WriterIdentity::new("weekly", 9));
    let open = |options| PartitionWriter::open(&archive, key(), options);
    let refused = open(other.clone()).await.unwrap_err();
    assert!(
        matches!(refused, ArchiveError::OwnedByOther { .. }),
        "{refused}"
    );
    other.take_over = true;
    let mut writer = open(other).await.unwrap();
    assert_eq!(writer.next_offset(), 17);
    commit(&mut writer).await;
    let chain = archive.chain_manifests(&key(), 0).await.unwrap();
    assert_eq!(chain[0].writer.backup_id, "weekly");
}

#[tokio::test]
async fn gaps_alone_survive_a_crash() {
    let place = Place::folder();
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    writer.gap(500, GapCause::BeforeLogStart, None).unwrap();
    writer.flush().unwrap();
    let opened_at = writer.opened_at();
    assert_eq!(writer.durable_offset(), 500);
    drop(writer);
    let seen: Vec<Manifest> = archive.chain_manifests(&key(), 0).await.unwrap();
    assert_eq!((seen[0].next, &seen[0].segment), (500, &None));
    let mut writer = crate::place::writer(&archive, options()).await;
    assert_eq!((writer.next_offset(), writer.opened_at()), (500, opened_at));
    commit(&mut writer).await;
    assert_eq!(place.files("topics").await, Vec::<String>::new());
}

#[tokio::test]
async fn long_lived_sidecars_stay_small() {
    let place = Place::folder();
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    for number in 0..500 {
        append(&mut writer, &batch(number * 4, Shape::default()));
        writer.gap(number * 4 + 4, GapCause::Control, None).unwrap();
        writer.flush().unwrap();
    }
    drop(writer);
    let mark = place.only("topics", ".mark").await;
    assert!(place.get(&mark).await.len() < 70 << 10);
    let mut writer = crate::place::writer(&archive, options()).await;
    assert_eq!(writer.next_offset(), 2000);
    commit(&mut writer).await;
    let chain = archive.chain_manifests(&key(), 0).await.unwrap();
    assert_eq!(chain[0].missing_offsets()[&GapCause::Control], 500);
    assert!(place.get(&chain[0].place()).await.len() < 2000);
}

#[tokio::test]
async fn runs_are_written_once_and_small_ones_gathered() {
    let place = Place::folder();
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    let small = batch(0, Shape::default());
    append(&mut writer, &small);
    let open = place.only("topics", ".open").await;
    assert_eq!(place.get(&open).await.len(), 0);
    assert!((8 << 10..12 << 10).contains(&writer.buffered_bytes()));
    let large = batch(
        3,
        Shape {
            value_bytes: 10_000,
            ..Shape::default()
        },
    );
    append(&mut writer, &large);
    assert_eq!(place.get(&open).await, [small.bytes, large.bytes].concat());
    writer.flush().unwrap();
    assert!(
        writer.buffered_bytes() < 2 << 10,
        "{}",
        writer.buffered_bytes()
    );
}

#[tokio::test]
async fn the_epoch_of_a_batch_that_was_not_kept_is_known_after_a_crash_and_after_a_commit() {
    let place = Place::folder();
    let archive = place.create().await;
    let mut first = writer(&archive, unbuffered()).await;
    append(&mut first, &batch(0, Shape::default()));
    first.gap(4, GapCause::Control, Some(2)).unwrap();
    assert_eq!(first.last_leader_epoch(), Some(2));
    first.flush().unwrap();
    drop(first);
    let mut recovered = writer(&archive, unbuffered()).await;
    assert_eq!(recovered.last_leader_epoch(), Some(2));
    commit(&mut recovered).await;
    drop(recovered);
    let mut continued = writer(&archive, unbuffered()).await;
    assert_eq!(continued.last_leader_epoch(), Some(2));
    // A manifest without batches passes it on.
    continued.gap(5, GapCause::Filtered, None).unwrap();
    commit(&mut continued).await;
    assert_eq!(
        writer(&archive, unbuffered()).await.last_leader_epoch(),
        Some(2)
    );
}

#[tokio::test]
async fn an_abandoned_writer_leaves_its_open_segment_to_the_next_one() {
    let place = Place::folder();
    let archive = place.create().await;
    let mut first = writer(&archive, unbuffered()).await;
    append(&mut first, &batch(0, Shape::default()));
    first.flush().unwrap();
    first.abandon();
    assert_eq!((first.buffered_bytes(), first.durable_offset()), (0, 3));
    assert!(first.seal().is_err() && first.flush().is_err());
    let mut second = writer(&archive, unbuffered()).await;
    assert_eq!(second.next_offset(), 3);
    commit(&mut second).await;
}
