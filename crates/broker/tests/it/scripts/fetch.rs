//! What is read, within which limits.

use armory_records::Batches;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::PartitionData;
use uuid::Uuid;

use super::unique;
use crate::batches::TestBatch;
use crate::transcripts::{Transcript, error};
use crate::wire::{Named, Wire, fetch_request, text};

pub(crate) async fn play(wire: &mut Wire, transcript: &mut Transcript) {
    let topic = wire.create_topic(&unique("fetch"), 3, &[]).await;
    let mut sizes = Vec::new();
    for count in [3, 1, 4, 2] {
        let batch = TestBatch::new(count).encode();
        sizes.push(batch.len() as i32);
        for partition in 0..2 {
            wire.append(&topic, partition, &batch).await;
        }
    }
    let all: i32 = sizes.iter().sum();

    transcript.heading("versions");
    for version in 4..=18 {
        let response = wire
            .call(version, fetch_request(version, &topic, &[(0, 0)]))
            .await;
        transcript.line(&format!("version {version}"), describe(&response));
    }
    let request = fetch_request(13, &topic, &[(0, 0)]).with_isolation_level(1);
    transcript.line("read committed", describe(&wire.call(13, request).await));

    transcript.heading("offsets");
    for offset in [-1, 0, 1, 2, 3, 4, 7, 8, 9, 10, 11] {
        let response = wire
            .call(13, fetch_request(13, &topic, &[(0, offset)]))
            .await;
        transcript.line(&format!("from {offset}"), describe(&response));
    }
    let response = wire.call(13, fetch_request(13, &topic, &[(2, 0)])).await;
    transcript.line("empty partition", describe(&response));

    transcript.heading("limits of a partition");
    for limit in [
        0,
        1,
        sizes[0] - 1,
        sizes[0],
        sizes[0] + 1,
        sizes[0] + 20,
        sizes[0] + sizes[1],
        all - 1,
        all,
    ] {
        let mut request = fetch_request(13, &topic, &[(0, 0), (1, 0)]);
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = limit;
        }
        transcript.line(
            &format!("{limit} bytes each"),
            describe(&wire.call(13, request).await),
        );
    }

    transcript.heading("limits of a response");
    for limit in [
        0,
        1,
        sizes[0],
        sizes[0] + 20,
        all,
        all + 1,
        all + sizes[0],
        all + sizes[0] + 20,
        2 * all,
    ] {
        let request = fetch_request(13, &topic, &[(2, 0), (0, 0), (1, 0)]).with_max_bytes(limit);
        transcript.line(
            &format!("{limit} bytes"),
            describe(&wire.call(13, request).await),
        );
    }
    let request = fetch_request(13, &topic, &[(1, 0), (0, 0)]).with_max_bytes(1);
    transcript.line(
        "1 byte, other order",
        describe(&wire.call(13, request).await),
    );

    transcript.heading("who is asked");
    let other_id = Named {
        id: Uuid::from_u128(77),
        ..topic.clone()
    };
    let other_name = Named {
        name: text("no-such-topic").into(),
        ..topic.clone()
    };
    for (what, version, topic, partitions) in [
        ("unknown name", 12, &other_name, &[(0, 0)][..]),
        ("unknown id", 13, &other_id, &[(0, 0)]),
        ("unknown id, newest version", 18, &other_id, &[(0, 0)]),
        ("unknown partition by name", 12, &topic, &[(3, 0)]),
        ("unknown partition by id", 13, &topic, &[(3, 0)]),
        (
            "unknown partition among others",
            13,
            &topic,
            &[(0, 9), (3, 0)],
        ),
        ("out of range among others", 13, &topic, &[(0, 11), (1, 9)]),
    ] {
        transcript.line(
            what,
            describe(
                &wire
                    .call(version, fetch_request(version, topic, partitions))
                    .await,
            ),
        );
    }

    transcript.heading("leader epochs");
    for version in [12, 15, 17] {
        for epoch in [-1, 0, 1] {
            let mut request = fetch_request(version, &topic, &[(0, 9)]);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            let response = wire.call(version, request).await;
            transcript.line(
                &format!("current {epoch}, version {version}"),
                describe(&response),
            );
        }
    }
    for (epoch, offset) in [(0, 0), (0, 8), (0, 10), (0, 11), (0, 400), (1, 8), (5, 400)] {
        let mut request = fetch_request(13, &topic, &[(0, offset)]);
        request.topics[0].partitions[0].last_fetched_epoch = epoch;
        transcript.line(
            &format!("last fetched {epoch}, from {offset}"),
            describe(&wire.call(13, request).await),
        );
    }

    transcript.heading("nothing to wait for");
    for (what, topic, partitions) in [
        ("only unknown ids", &other_id, &[(0, 0)][..]),
        (
            "out of range next to an empty partition",
            &topic,
            &[(2, 0), (0, 11)],
        ),
        (
            "enough next to an empty partition",
            &topic,
            &[(2, 0), (0, 0)],
        ),
    ] {
        let request = fetch_request(13, topic, partitions)
            .with_min_bytes(1)
            .with_max_wait_ms(60_000);
        transcript.line(what, describe(&wire.call(13, request).await));
    }
}

/// The response, partition by partition in the order of the answer, without what differs from run to run.
pub(super) fn describe(response: &FetchResponse) -> String {
    let partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions);
    let mut partitions: Vec<_> = partitions.collect();
    // Kafka answers for what does not exist last, whatever was asked first.
    partitions.sort_by_key(|partition| partition.partition_index);
    let partitions: Vec<String> = partitions.into_iter().map(describe_partition).collect();
    let nodes = match response.node_endpoints.len() {
        0 => String::new(),
        count => format!(", {count} nodes"),
    };
    format!(
        "{}{nodes} [{}]",
        error(response.error_code),
        partitions.join("; ")
    )
}

fn describe_partition(partition: &PartitionData) -> String {
    let records = partition.records.clone().unwrap_or_default();
    let mut batches = Batches::new(&records);
    let offsets: Vec<i64> = (&mut batches)
        .map(|batch| {
            batch
                .expect("whole batches are proper")
                .header()
                .base_offset
        })
        .collect();
    let rest = match batches.remainder().len() {
        0 => String::new(),
        rest => format!(" and {rest} bytes"),
    };
    let aborted = match &partition.aborted_transactions {
        None => String::new(),
        Some(aborted) => format!(", {} aborted", aborted.len()),
    };
    let diverging = match partition.diverging_epoch.epoch {
        -1 => String::new(),
        epoch => format!(
            ", diverging at epoch {epoch} offset {}",
            partition.diverging_epoch.end_offset
        ),
    };
    let leader = match partition.current_leader.leader_epoch {
        -1 => String::new(),
        epoch => format!(", leader epoch {epoch}"),
    };
    format!(
        "{}: {}, start {}, stable {}, end {}, batches {offsets:?}{rest}{aborted}{diverging}{leader}",
        partition.partition_index,
        error(partition.error_code),
        partition.log_start_offset,
        partition.last_stable_offset,
        partition.high_watermark,
    )
}
