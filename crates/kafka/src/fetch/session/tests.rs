use armory_records::HEADER_LEN;
use bytes::Bytes;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};

use super::*;

const ORDERS: Uuid = Uuid::from_u128(1);
const ORDERS_AGAIN: Uuid = Uuid::from_u128(2);

fn assignment(partition: i32, offset: i64) -> FetchAssignment {
    FetchAssignment {
        topic: "orders".to_owned(),
        topic_id: Some(ORDERS),
        partition,
        offset,
        leader_epoch: 3,
    }
}

/// A batch with as much of a header as a reader looks at.
fn batch(base_offset: i64, records: i32) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN + 10];
    let length = (bytes.len() - 12) as i32;
    bytes[0..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&records.to_be_bytes());
    bytes
}

fn data(partition: i32, records: Vec<u8>) -> PartitionData {
    PartitionData::default()
        .with_partition_index(partition)
        .with_records(Some(Bytes::from(records)))
}

fn answer(session_id: i32, id: Uuid, partitions: Vec<PartitionData>) -> FetchResponse {
    let topic = FetchableTopicResponse::default()
        .with_topic_id(id)
        .with_partitions(partitions);
    FetchResponse::default()
        .with_session_id(session_id)
        .with_responses(vec![topic])
}

fn next(session: &mut Session) -> FetchRequest {
    session.next_request(&FetchOptions::default(), true)
}

/// (partition, offset) of everything that a request names.
fn asked(request: &FetchRequest) -> Vec<(i32, i64)> {
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|partition| (partition.partition, partition.fetch_offset))
        .collect()
}

fn forgotten(request: &FetchRequest) -> Vec<(Uuid, Vec<i32>)> {
    let mut forgotten: Vec<_> = request
        .forgotten_topics_data
        .iter()
        .map(|topic| {
            let mut partitions = topic.partitions.clone();
            partitions.sort_unstable();
            (topic.topic_id, partitions)
        })
        .collect();
    forgotten.sort();
    forgotten
}

/// A session of partitions 0 to 2 that the broker granted as number 7.
fn begun() -> Session {
    let mut session = Session::default();
    for partition in 0..3 {
        session.assign(assignment(partition, 100));
    }
    next(&mut session);
    assert_eq!(session.judge(&answer(7, ORDERS, vec![])), Verdict::Fine);
    session
}

#[test]
fn the_first_request_names_everything_and_later_ones_what_changed() {
    let mut session = Session::default();
    session.assign(assignment(0, 10));
    session.assign(assignment(1, 20));
    let first = next(&mut session);
    assert_eq!((first.session_id, first.session_epoch), (0, 0));
    assert_eq!(asked(&first), [(0, 10), (1, 20)]);
    assert_eq!(first.topics.len(), 1);
    assert_eq!(first.topics[0].topic_id, ORDERS);
    assert_eq!(first.topics[0].partitions[0].current_leader_epoch, 3);

    let came = answer(7, ORDERS, vec![data(1, batch(20, 5))]);
    assert_eq!(session.judge(&came), Verdict::Fine);
    let fetches = session.take_in(came);
    assert_eq!(fetches.len(), 1);
    assert_eq!((fetches[0].fetch_offset, fetches[0].next_offset), (20, 25));

    let second = next(&mut session);
    assert_eq!((second.session_id, second.session_epoch), (7, 1));
    assert_eq!(asked(&second), [(1, 25)]);
    assert_eq!(session.judge(&answer(7, ORDERS, vec![])), Verdict::Fine);
    assert!(asked(&next(&mut session)).is_empty());
}

#[test]
fn positions_follow_the_batch_headers_up_to_the_last_whole_batch() {
    let mut session = begun();
    next(&mut session);
    let mut records = [batch(95, 10), batch(105, 20)].concat();
    let whole = records.len();
    records.extend(&batch(125, 1)[..40]);
    let fetches = session.take_in(answer(7, ORDERS, vec![data(0, records)]));
    assert_eq!(fetches[0].next_offset, 125);
    assert_eq!(fetches[0].records.len(), whole + 40);
}

#[test]
fn a_part_of_a_batch_alone_moves_nothing() {
    let mut session = begun();
    next(&mut session);
    let fetches = session.take_in(answer(
        7,
        ORDERS,
        vec![data(0, batch(100, 1)[..50].to_vec())],
    ));
    assert_eq!(fetches[0].next_offset, 100);
    assert!(asked(&next(&mut session)).is_empty());
}

#[test]
fn partitions_in_error_stay_where_they_are() {
    let mut session = begun();
    next(&mut session);
    let moved = data(1, Vec::new()).with_error_code(6);
    let fetches = session.take_in(answer(7, ORDERS, vec![moved]));
    assert_eq!(fetches[0].error, Some(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    assert_eq!(fetches[0].next_offset, 100);
    assert!(asked(&next(&mut session)).is_empty());
}

#[test]
fn the_aborted_list_and_watermarks_are_handed_on() {
    let mut session = begun();
    next(&mut session);
    let aborted = AbortedTransaction::default()
        .with_producer_id(ProducerId(9))
        .with_first_offset(101);
    let came = data(0, batch(100, 5))
        .with_high_watermark(200)
        .with_last_stable_offset(150)
        .with_log_start_offset(50)
        .with_aborted_transactions(Some(vec![aborted]));
    let fetch = session.take_in(answer(7, ORDERS, vec![came])).remove(0);
    assert_eq!(
        (
            fetch.high_watermark,
            fetch.last_stable_offset,
            fetch.log_start_offset
        ),
        (200, 150, 50)
    );
    assert_eq!(
        fetch.aborted,
        [super::super::AbortedTransaction {
            producer_id: 9,
            first_offset: 101
        }]
    );
    assert_eq!(
        (fetch.topic.as_str(), fetch.topic_id),
        ("orders", Some(ORDERS))
    );
}

#[test]
fn what_was_under_way_for_another_assignment_is_dropped() {
    let mut session = begun();
    next(&mut session);
    session.assign(assignment(0, 500));
    let came = answer(
        7,
        ORDERS,
        vec![data(0, batch(100, 5)), data(1, batch(100, 5))],
    );
    session.judge(&came);
    let fetches = session.take_in(came);
    assert_eq!(
        fetches
            .iter()
            .map(|fetch| fetch.partition)
            .collect::<Vec<_>>(),
        [1]
    );
    let request = next(&mut session);
    assert_eq!(asked(&request), [(0, 500), (1, 105)]);
    assert!(forgotten(&request).is_empty());
}

#[test]
fn removed_partitions_are_forgotten_once_and_their_answers_dropped() {
    let mut session = begun();
    next(&mut session);
    session.remove("orders", 1);
    session.remove("orders", 1);
    session.remove("elsewhere", 1);
    let came = answer(7, ORDERS, vec![data(1, batch(100, 5))]);
    session.judge(&came);
    assert!(session.take_in(came).is_empty());
    assert_eq!(forgotten(&next(&mut session)), [(ORDERS, vec![1])]);
    session.judge(&answer(7, ORDERS, vec![]));
    assert!(forgotten(&next(&mut session)).is_empty());
    assert_eq!(session.len(), 2);
}

#[test]
fn a_partition_that_is_removed_and_assigned_again_is_not_forgotten() {
    // A broker adds what is named and then drops what is forgotten: naming it in both would lose it.
    let mut session = begun();
    session.remove("orders", 1);
    session.assign(assignment(1, 300));
    let request = next(&mut session);
    assert_eq!(asked(&request), [(1, 300)]);
    assert!(forgotten(&request).is_empty());
}

#[test]
fn a_partition_that_was_never_told_needs_no_forgetting() {
    let mut session = begun();
    session.assign(assignment(9, 0));
    session.remove("orders", 9);
    let request = next(&mut session);
    assert!(asked(&request).is_empty() && forgotten(&request).is_empty());
}

#[test]
fn a_topic_that_was_created_again_is_another_topic() {
    let mut session = begun();
    next(&mut session);
    for partition in 0..3 {
        session.assign(FetchAssignment {
            topic_id: Some(ORDERS_AGAIN),
            ..assignment(partition, 0)
        });
    }
    let late = answer(7, ORDERS, vec![data(0, batch(100, 5))]);
    session.judge(&late);
    assert!(session.take_in(late).is_empty());
    let request = next(&mut session);
    assert_eq!(request.topics.len(), 1);
    assert_eq!(request.topics[0].topic_id, ORDERS_AGAIN);
    assert_eq!(asked(&request), [(0, 0), (1, 0), (2, 0)]);
    assert_eq!(forgotten(&request), [(ORDERS, vec![0, 1, 2])]);
    let came = answer(7, ORDERS_AGAIN, vec![data(0, batch(0, 5))]);
    session.judge(&came);
    assert_eq!(session.take_in(came)[0].topic_id, Some(ORDERS_AGAIN));
}

#[test]
fn one_partition_without_an_id_has_all_topics_named_in_a_new_session() {
    let mut session = begun();
    session.assign(FetchAssignment {
        topic_id: None,
        topic: "old".to_owned(),
        ..assignment(0, 5)
    });
    assert!(!session.all_have_ids());
    let request = session.next_request(&FetchOptions::default(), false);
    // The old session's id with the first epoch: the broker ends it and begins another.
    assert_eq!((request.session_id, request.session_epoch), (7, 0));
    assert_eq!(asked(&request).len(), 4);
    assert!(request.topics.iter().all(|topic| topic.topic_id.is_nil()));
    let topic = FetchableTopicResponse::default()
        .with_topic(topic_name("old"))
        .with_partitions(vec![data(0, batch(5, 1))]);
    let came = FetchResponse::default()
        .with_session_id(8)
        .with_responses(vec![topic]);
    assert_eq!(session.judge(&came), Verdict::Fine);
    assert_eq!(session.take_in(came)[0].next_offset, 6);
    session.remove("old", 0);
    assert!(session.all_have_ids());
}

#[test]
fn by_name_a_topic_that_was_created_again_takes_its_namesakes_place() {
    let mut session = Session::default();
    session.assign(assignment(0, 100));
    session.next_request(&FetchOptions::default(), false);
    session.judge(&answer(7, Uuid::nil(), vec![]));
    session.assign(FetchAssignment {
        topic_id: Some(ORDERS_AGAIN),
        ..assignment(0, 0)
    });
    let request = session.next_request(&FetchOptions::default(), false);
    assert_eq!(asked(&request), [(0, 0)]);
    assert!(request.forgotten_topics_data.is_empty());
}

#[test]
fn a_lost_session_begins_anew_with_everything() {
    for code in [70, 71, 106] {
        let mut session = begun();
        next(&mut session);
        let lost = FetchResponse::default().with_error_code(code);
        assert_eq!(session.judge(&lost), Verdict::StartOver(ErrorCode(code)));
        let request = next(&mut session);
        assert_eq!((request.session_id, request.session_epoch), (0, 0));
        assert_eq!(asked(&request).len(), 3);
        // If even that is refused, it is not asked for ever.
        assert_eq!(session.judge(&lost), Verdict::Refused(ErrorCode(code)));
    }
}

#[test]
fn a_session_that_the_broker_ended_quietly_begins_anew() {
    let mut session = begun();
    next(&mut session);
    let came = answer(0, ORDERS, vec![data(0, batch(100, 5))]);
    assert_eq!(session.judge(&came), Verdict::Fine);
    assert_eq!(session.take_in(came).len(), 1);
    let request = next(&mut session);
    assert_eq!((request.session_id, request.session_epoch), (0, 0));
    assert_eq!(asked(&request), [(1, 100), (2, 100), (0, 105)]);
}

#[test]
fn without_a_session_the_partitions_take_turns() {
    let mut session = Session::default();
    for partition in 0..3 {
        session.assign(assignment(partition, 100));
    }
    let mut order = asked(&next(&mut session));
    for _ in 0..3 {
        // A broker without room for sessions, whose answer has room for the first partition only.
        let (first, offset) = order[0];
        let came = answer(0, ORDERS, vec![data(first, batch(offset, 1))]);
        assert_eq!(session.judge(&came), Verdict::Fine);
        session.take_in(came);
        let request = next(&mut session);
        assert_eq!((request.session_id, request.session_epoch), (0, 0));
        order = asked(&request);
    }
    assert_eq!(order, [(0, 101), (1, 101), (2, 101)]);
}

#[test]
fn the_epoch_of_a_session_never_comes_back_to_its_beginning() {
    let mut session = begun();
    session.epoch = i32::MAX;
    next(&mut session);
    session.judge(&answer(7, ORDERS, vec![]));
    assert_eq!(next(&mut session).session_epoch, 1);
}

#[test]
fn any_other_refusal_is_handed_on() {
    let mut session = begun();
    next(&mut session);
    let refused = FetchResponse::default().with_error_code(-1);
    assert_eq!(
        session.judge(&refused),
        Verdict::Refused(ErrorCode::UNKNOWN_SERVER_ERROR)
    );
}

#[test]
fn ten_thousand_partitions_cost_what_changes_costs() {
    let mut session = Session::default();
    for number in 0..10_000 {
        let topic = format!("topic-{}", number / 10);
        let topic_id = Some(Uuid::from_u128(number as u128 / 10 + 1));
        session.assign(FetchAssignment {
            topic,
            topic_id,
            ..assignment(number % 10, 0)
        });
    }
    let first = next(&mut session);
    assert_eq!((asked(&first).len(), first.topics.len()), (10_000, 1000));
    session.judge(&answer(7, ORDERS, vec![]));
    // Quadratic work would take minutes here.
    for round in 0..1000 {
        let id = Uuid::from_u128(round as u128 % 1000 + 1);
        let came = answer(
            7,
            id,
            (0..10)
                .map(|partition| data(partition, batch(0, 1)))
                .collect(),
        );
        session.judge(&came);
        assert_eq!(session.take_in(came).len(), 10);
        assert_eq!(asked(&next(&mut session)).len(), 10);
    }
}
