//! Where leader epochs end, held against a model that remembers every batch.

use armory_archive::{ArchivedEpochEnd, GapCause};
use proptest::prelude::*;

use crate::batches::{Shape, batch};
use crate::place::{Place, commit, unbuffered, writer};

/// One thing that happens to a partition.
#[derive(Debug, Clone)]
enum Step {
    /// A batch of an epoch this much later is kept, or is in a gap.
    Batch {
        later: i32,
        kept: bool,
    },
    /// Offsets that nobody has.
    Hole,
    Commit,
    /// The process dies after a flush, and another one recovers what it left.
    Crash,
    /// The history parts this far before the end, and goes on with an epoch this much later.
    Part {
        back: i64,
        later: i32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3, any::<bool>()).prop_map(|(later, kept)| Step::Batch { later, kept }),
        1 => Just(Step::Hole),
        3 => Just(Step::Commit),
        1 => Just(Step::Crash),
        1 => (0..12_i64, 1..3).prop_map(|(back, later)| Step::Part { back, later }),
    ]
}

/// What Kafka's epoch cache answers: the largest epoch not above the one asked for, and where a higher one begins.
fn model_end(starts: &[(i32, i64)], end: i64, asked: i32) -> ArchivedEpochEnd {
    let floor = starts.iter().rev().find(|(epoch, _)| *epoch <= asked);
    let higher = starts.iter().find(|(epoch, _)| *epoch > asked);
    ArchivedEpochEnd {
        epoch: floor.map(|(epoch, _)| *epoch),
        end: higher.map_or(end, |(_, start)| *start),
    }
}

async fn check(steps: Vec<Step>) {
    let place = Place::folder();
    let archive = place.create().await;
    let mut writer = writer(&archive, unbuffered()).await;
    let (mut starts, mut epoch) = (Vec::<(i32, i64)>::new(), 0);
    for step in steps {
        let next = writer.next_offset();
        match step {
            Step::Batch { later, kept } => {
                epoch += later;
                if starts.last().is_none_or(|(last, _)| *last < epoch) {
                    starts.push((epoch, next));
                }
                let shape = Shape {
                    epoch,
                    ..Shape::default()
                };
                if kept {
                    let one = batch(next, shape);
                    writer.append(&one.bytes, &one.headers).unwrap();
                } else {
                    writer
                        .gap(next + 1, GapCause::Control, Some(epoch))
                        .unwrap();
                }
            }
            Step::Hole => writer
                .gap(next + 2, GapCause::AbsentAtSource, None)
                .unwrap(),
            Step::Commit => {
                if writer.has_uncommitted() {
                    commit(&mut writer).await;
                }
            }
            Step::Crash => {
                writer.flush().unwrap();
                drop(writer);
                let archive = place.create().await;
                writer = crate::place::writer(&archive, unbuffered()).await;
                assert_eq!(writer.next_offset(), next);
            }
            Step::Part { back, later } => {
                if writer.has_uncommitted() {
                    commit(&mut writer).await;
                }
                let base = (next - back).max(0);
                starts.retain(|(_, start)| *start < base);
                let last = starts.last().map(|(epoch, _)| *epoch);
                writer.start_lineage(base, last).await.unwrap();
                epoch += later;
            }
        }
    }
    if writer.has_uncommitted() {
        commit(&mut writer).await;
    }
    let chain = writer.chain();
    for asked in -1..=epoch + 1 {
        let expected = model_end(&starts, writer.next_offset(), asked);
        assert_eq!(
            chain.end_of_epoch(asked).await.unwrap(),
            expected,
            "epoch {asked} of {starts:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn ends_of_epochs_are_those_of_kafkas_cache(steps in prop::collection::vec(step(), 1..30)) {
        tokio::runtime::Runtime::new().unwrap().block_on(check(steps));
    }
}

/// A manifest of a version that did not write down the epochs of batches that are not kept: the end may be lower than it
/// was, for then more is archived again; higher, and a part of another history would pass for this one.
#[tokio::test]
async fn a_manifest_without_epochs_of_gaps_ends_them_early() {
    let place = Place::folder();
    let archive = place.create().await;
    let mut writer = writer(&archive, unbuffered()).await;
    for base in [0, 3] {
        let one = batch(base, Shape::default());
        writer.append(&one.bytes, &one.headers).unwrap();
    }
    writer.gap(7, GapCause::Control, Some(4)).unwrap();
    commit(&mut writer).await;
    let asked = |archive| async move {
        let writer = crate::place::writer(archive, unbuffered()).await;
        writer.chain().end_of_epoch(2).await.unwrap()
    };
    let exact = ArchivedEpochEnd {
        epoch: Some(1),
        end: 6,
    };
    assert_eq!(asked(&archive).await, exact);

    let manifest = place.only("manifests", ".json").await;
    let text = String::from_utf8(place.get(&manifest).await).unwrap();
    let starts = "\"epoch_starts\":[[1,0],[4,6]],";
    assert!(text.contains(starts), "{text}");
    let (body, _) = text.rsplit_once(",\"checksum\"").unwrap();
    let body = body.replace(starts, "");
    let sum = blake3::hash(body.as_bytes()).to_hex();
    place
        .put(
            &manifest,
            format!("{body},\"checksum\":\"{sum}\"}}\n").as_bytes(),
        )
        .await;
    let early = ArchivedEpochEnd {
        epoch: Some(1),
        end: 0,
    };
    assert_eq!(asked(&place.create().await).await, early);
}
