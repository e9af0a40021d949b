//! A flipped bit anywhere in a segment is found and named.

use armory_archive::{
    Archive, ArchiveError, Codec, Depth, FindingKind, SegmentReader, WriterOptions,
};

use crate::batches::{Shape, run};
use crate::place::{Place, commit, key, options, writer};

async fn segment(codec: Codec) -> (Place, Archive, String) {
    let place = Place::memory();
    let archive = place.create().await;
    let options = WriterOptions {
        compression: Some((codec, None)),
        ..options()
    };
    let mut writer = writer(&archive, options).await;
    let run = run(0, 3, Shape::default());
    writer.append(&run.bytes, &run.headers).unwrap();
    commit(&mut writer).await;
    let name = place.only("topics", codec.extension()).await;
    (place, archive, name)
}

async fn read(archive: &Archive) -> Result<(), ArchiveError> {
    let chain = archive.chain_manifests(&key(), 0).await?;
    let mut reader = SegmentReader::open(archive, &key(), 0, &chain[0]).await?;
    while reader.next_chunk().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn every_flipped_bit_of_a_segment_is_found() {
    for codec in [Codec::None, Codec::Gzip, Codec::Zstd] {
        let (place, archive, name) = segment(codec).await;
        let content = place.get(&name).await;
        read(&archive).await.unwrap();
        for position in 0..content.len() {
            let mut flipped = content.clone();
            flipped[position] ^= 1 << (position % 8);
            place.put(&name, &flipped).await;
            match read(&archive).await {
                Err(ArchiveError::Damaged(damage)) => {
                    assert_eq!(damage.place, name);
                    assert!(damage.batch.is_some() && damage.offset.is_some());
                }
                other => panic!("{codec} {position}: {other:?}"),
            }
        }
        let report = archive
            .verify(|_| true, Depth::Segments, |_| {})
            .await
            .unwrap();
        let damaged = |kind| report.findings.iter().filter(|f| f.kind == kind).count();
        assert_eq!(damaged(FindingKind::Segment), 1, "{:?}", report.findings);
        assert!(!report.is_sound());
    }
}

#[tokio::test]
async fn damage_is_named_by_batch_and_offset() {
    let (place, archive, name) = segment(Codec::None).await;
    let mut content = place.get(&name).await;
    let batch = content.len() / 3;
    content[2 * batch - 1] ^= 1;
    place.put(&name, &content).await;
    match read(&archive).await {
        Err(ArchiveError::Damaged(damage)) => {
            assert_eq!(
                (damage.batch, damage.offset),
                (Some(1), Some(3)),
                "{damage}"
            );
        }
        other => panic!("{other:?}"),
    }
}

/// Without the segment's digest, only what no checksum covers and no neighbour tells could change unseen.
#[tokio::test]
async fn a_read_from_the_middle_is_checked_batch_by_batch() {
    let place = Place::memory();
    let archive = place.create().await;
    let mut writer = writer(&archive, options()).await;
    let shape = Shape {
        records: 1,
        value_bytes: 1 << 20,
        ..Shape::default()
    };
    let content = run(0, 3, shape);
    writer.append(&content.bytes, &content.headers).unwrap();
    commit(&mut writer).await;
    let name = place.only("topics", ".log").await;
    let chain = archive.chain_manifests(&key(), 0).await.unwrap();
    let last = content.bytes.len() - content.headers[2].size();
    // The whole header of the last batch, and some of its records.
    for position in (last..last + 70).chain([content.bytes.len() - 1]) {
        let mut flipped = content.bytes.clone();
        flipped[position] ^= 1 << (position % 8);
        place.put(&name, &flipped).await;
        let mut reader = SegmentReader::open(&archive, &key(), 0, &chain[0])
            .await
            .unwrap();
        reader.seek(2);
        let read = reader.next_chunk().await;
        assert!(
            matches!(read, Err(ArchiveError::Damaged(_))),
            "{}",
            position - last
        );
    }
}
