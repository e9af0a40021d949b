//! Incremental fetch sessions (KIP-227).

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::messages::fetch_response::FetchResponse;

use super::fetch::describe;
use super::unique;
use crate::batches::TestBatch;
use crate::transcripts::{Transcript, error};
use crate::wire::{Named, Wire, fetch_request};

pub(crate) async fn play(wire: &mut Wire, transcript: &mut Transcript) {
    let topic = wire.create_topic(&unique("sessions"), 4, &[]).await;
    let batch = TestBatch::new(2).encode();
    for partition in 0..3 {
        wire.append(&topic, partition, &batch).await;
    }

    transcript.heading("a session");
    let open = fetch_request(13, &topic, &[(0, 0), (1, 0), (2, 0), (3, 0)]).with_session_epoch(0);
    let opened = wire.call(13, open).await;
    let id = opened.session_id;
    transcript.line("opened", session(&opened, id));
    let on =
        move |epoch, changes: FetchRequest| changes.with_session_id(id).with_session_epoch(epoch);
    let none = |topic: &Named| fetch_request(13, topic, &[]).with_topics(Vec::new());

    let answer = wire
        .call(13, on(1, fetch_request(13, &topic, &[(0, 2), (1, 2)])))
        .await;
    transcript.line("two moved on", session(&answer, id));
    let answer = wire
        .call(13, on(2, fetch_request(13, &topic, &[(2, 2)])))
        .await;
    transcript.line("the third too", session(&answer, id));
    wire.append(&topic, 1, &batch).await;
    let answer = wire.call(13, on(3, none(&topic))).await;
    transcript.line("one grew", session(&answer, id));
    let answer = wire.call(13, on(4, none(&topic))).await;
    transcript.line("read again", session(&answer, id));
    let answer = wire
        .call(13, on(5, fetch_request(13, &topic, &[(1, 4), (0, 99)])))
        .await;
    transcript.line("one out of range", session(&answer, id));
    let answer = wire.call(13, on(6, none(&topic))).await;
    transcript.line("still", session(&answer, id));
    let answer = wire
        .call(13, on(7, fetch_request(13, &topic, &[(0, 2)])))
        .await;
    transcript.line("back", session(&answer, id));
    let answer = wire.call(13, on(8, none(&topic))).await;
    transcript.line("quiet", session(&answer, id));
    let answer = wire
        .call(13, on(9, fetch_request(13, &topic, &[(7, 0)])))
        .await;
    transcript.line("one that does not exist", session(&answer, id));
    let forget = vec![
        ForgottenTopic::default()
            .with_topic_id(topic.id)
            .with_partitions(vec![7, 3]),
    ];
    let answer = wire
        .call(13, on(10, none(&topic)).with_forgotten_topics_data(forget))
        .await;
    transcript.line("forgotten", session(&answer, id));

    transcript.heading("rotation");
    for (epoch, limit) in (11..17).zip([1; 6]) {
        let mut changes =
            fetch_request(13, &topic, &[(0, 0), (1, 0), (2, 0)]).with_max_bytes(limit);
        if epoch > 11 {
            changes.topics.clear();
        }
        let answer = wire.call(13, on(epoch, changes)).await;
        transcript.line("one batch at a time", session(&answer, id));
    }

    transcript.heading("mistakes");
    let answer = wire.call(13, on(40, none(&topic))).await;
    transcript.line("wrong epoch", session(&answer, id));
    let answer = wire
        .call(
            13,
            none(&topic)
                .with_session_id(id + 1_000_000)
                .with_session_epoch(3),
        )
        .await;
    transcript.line("unknown session", session(&answer, id));
    let by_name = fetch_request(12, &topic, &[]).with_topics(Vec::new());
    let answer = wire
        .call(12, by_name.with_session_id(id).with_session_epoch(17))
        .await;
    transcript.line("by name", session(&answer, id));

    transcript.heading("the end");
    let answer = wire
        .call(13, on(-1, fetch_request(13, &topic, &[(0, 0)])))
        .await;
    transcript.line("closed", session(&answer, id));
    let answer = wire.call(13, on(17, none(&topic))).await;
    transcript.line("used again", session(&answer, id));
}

fn session(answer: &FetchResponse, id: i32) -> String {
    let session = match answer.session_id {
        0 => "no session",
        same if same == id => "session",
        _ => "other session",
    };
    if answer.error_code != 0 {
        return format!("{session}, {}", error(answer.error_code));
    }
    let order: Vec<i32> = answer
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.partition_index)
        .collect();
    format!("{session}, order {order:?}, {}", describe(answer))
}
