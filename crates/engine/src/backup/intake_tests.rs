use armory_records::{Attributes, BatchBuilder, BatchOptions};

use super::*;

/// What a test batch is.
#[derive(Clone, Copy, Default)]
struct Spec {
    base: i64,
    count: i64,
    producer: i64,
    transactional: bool,
    /// `Some(true)`: an abort marker; `Some(false)`: a commit marker.
    marker: Option<bool>,
}

fn data(base: i64, count: i64) -> Spec {
    Spec {
        base,
        count,
        producer: -1,
        ..Spec::default()
    }
}

fn transactional(base: i64, count: i64, producer: i64) -> Spec {
    Spec {
        base,
        count,
        producer,
        transactional: true,
        marker: None,
    }
}

fn marker(base: i64, producer: i64, abort: bool) -> Spec {
    Spec {
        base,
        count: 1,
        producer,
        transactional: true,
        marker: Some(abort),
    }
}

fn answer(specs: &[Spec]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for spec in specs {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: spec.base,
            producer_id: spec.producer,
            producer_epoch: 0,
            base_sequence: if spec.marker.is_some() { -1 } else { 0 },
            transactional: spec.transactional,
            ..BatchOptions::default()
        });
        for offset in spec.base..spec.base + spec.count {
            let key = spec.marker.map(|abort| [0, 0, 0, u8::from(!abort)]);
            builder.append(
                offset,
                1000 + offset,
                key.as_ref().map(|key| &key[..]),
                Some(b"value"),
                std::iter::empty(),
            );
        }
        let start = bytes.len();
        builder.finish(&mut bytes).expect("a small batch is built");
        if spec.marker.is_some() {
            set_control_bit(&mut bytes[start..]);
        }
    }
    bytes
}

/// The builder makes no control batches, because only brokers write them.
fn set_control_bit(batch: &mut [u8]) {
    let header = BatchHeader::parse(batch).expect("it was just built");
    let attributes = Attributes(header.attributes.0 | 0x20);
    batch[21..23].copy_from_slice(&attributes.0.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

fn read(specs: &[Spec], aborted: &[(i64, i64)], log_start: i64, position: i64) -> Vec<Step> {
    let aborted: Vec<_> = aborted
        .iter()
        .map(|(producer_id, first_offset)| AbortedTransaction {
            producer_id: *producer_id,
            first_offset: *first_offset,
        })
        .collect();
    let mut intake = Intake::default();
    let bytes = answer(specs);
    intake
        .read(
            &bytes,
            &aborted,
            log_start,
            position,
            &mut DecodeBuffer::default(),
        )
        .expect("the answer is sound");
    let end = specs
        .iter()
        .map(|spec| spec.base + spec.count)
        .max()
        .unwrap_or(position)
        .max(position);
    assert_eq!(intake.position, end, "every offset is accounted for");
    intake.steps
}

fn kept(steps: &[Step]) -> Vec<usize> {
    steps
        .iter()
        .map(|step| match step {
            Step::Keep { headers, .. } => headers.len(),
            Step::KeepFrom { .. } => 1,
            Step::Gap { .. } => 0,
        })
        .collect()
}

#[test]
fn neighbours_are_one_run() {
    let steps = read(&[data(0, 3), data(3, 2), data(5, 1)], &[], 0, 0);
    assert_eq!(kept(&steps), [3]);
}

#[test]
fn an_empty_answer_is_nothing() {
    assert_eq!(read(&[], &[], 0, 7), []);
}

#[test]
fn offsets_before_the_log_start_and_holes_have_their_own_causes() {
    let steps = read(&[data(10, 2), data(15, 1)], &[], 8, 3);
    assert_eq!(
        steps[0],
        Step::Gap {
            until: 8,
            cause: GapCause::BeforeLogStart,
            leader_epoch: None
        }
    );
    assert_eq!(
        steps[1],
        Step::Gap {
            until: 10,
            cause: GapCause::AbsentAtSource,
            leader_epoch: None
        }
    );
    assert_eq!(
        steps[3],
        Step::Gap {
            until: 15,
            cause: GapCause::AbsentAtSource,
            leader_epoch: None
        }
    );
    assert_eq!(kept(&steps), [0, 0, 1, 0, 1]);
}

#[test]
fn a_batch_that_holds_the_log_start_is_kept_whole() {
    let steps = read(&[data(5, 10)], &[], 8, 0);
    assert_eq!(
        steps[0],
        Step::Gap {
            until: 5,
            cause: GapCause::BeforeLogStart,
            leader_epoch: None
        }
    );
    assert_eq!(kept(&steps), [0, 1]);
}

#[test]
fn a_batch_that_begins_before_the_position_is_kept_from_there_on() {
    let steps = read(&[data(0, 5), data(5, 5)], &[], 0, 7);
    assert!(
        matches!(steps[..], [Step::KeepFrom { header: 0, .. }]),
        "{steps:?}"
    );
}

#[test]
fn batches_before_the_position_are_left_out() {
    let steps = read(&[data(0, 5), data(5, 5)], &[], 0, 5);
    assert_eq!(kept(&steps), [1]);
}

#[test]
fn aborted_transactions_and_markers_become_gaps() {
    let steps = read(
        &[
            transactional(0, 2, 7),
            transactional(2, 2, 9),
            marker(4, 7, true),
            transactional(5, 1, 7),
            marker(6, 9, false),
            marker(7, 7, false),
        ],
        &[(7, 0)],
        0,
        0,
    );
    assert_eq!(
        steps
            .iter()
            .filter_map(|step| if let Step::Gap { until, cause, .. } = step {
                Some((*until, *cause))
            } else {
                None
            })
            .collect::<Vec<_>>(),
        [
            (2, GapCause::Aborted),
            (5, GapCause::Control),
            (8, GapCause::Control)
        ]
    );
    assert_eq!(
        kept(&steps),
        [0, 1, 0, 1, 0],
        "what producer 7 wrote after its abort marker is kept"
    );
}

#[test]
fn the_same_producer_may_abort_twice_in_one_answer() {
    let steps = read(
        &[
            transactional(0, 1, 7),
            marker(1, 7, true),
            transactional(2, 1, 7),
            marker(3, 7, true),
            transactional(4, 1, 7),
        ],
        &[(7, 0), (7, 2)],
        0,
        0,
    );
    assert_eq!(kept(&steps).iter().sum::<usize>(), 1);
}

#[test]
fn an_aborted_list_is_not_remembered() {
    let mut intake = Intake::default();
    let mut scratch = DecodeBuffer::default();
    let aborted = [AbortedTransaction {
        producer_id: 7,
        first_offset: 0,
    }];
    intake
        .read(
            &answer(&[transactional(0, 1, 7)]),
            &aborted,
            0,
            0,
            &mut scratch,
        )
        .expect("sound");
    assert_eq!(kept(&intake.steps), [0]);
    intake
        .read(&answer(&[transactional(1, 1, 7)]), &[], 0, 1, &mut scratch)
        .expect("sound");
    assert_eq!(kept(&intake.steps), [1]);
}

#[test]
fn a_flipped_bit_is_named_with_its_offset() {
    let mut bytes = answer(&[data(0, 3), data(3, 3)]);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let damaged = Intake::default()
        .read(&bytes, &[], 0, 0, &mut DecodeBuffer::default())
        .expect_err("the CRC fails");
    assert_eq!(damaged.offset, 3);
}

#[test]
fn a_partial_batch_at_the_end_waits_for_the_next_answer() {
    let bytes = answer(&[data(0, 3), data(3, 3)]);
    let mut intake = Intake::default();
    intake
        .read(
            &bytes[..bytes.len() - 1],
            &[],
            0,
            0,
            &mut DecodeBuffer::default(),
        )
        .expect("sound");
    assert_eq!((kept(&intake.steps), intake.position), (vec![1], 3));
}
