use std::time::Duration;

use armory_archive::PartitionWriter;
use armory_broker::Broker;
use armory_kafka::{ClientConfig, NewTopic};
use armory_records::{BatchBuilder, BatchHeader, BatchOptions};
use armory_resources::job::KafkaEndpoint;
use uuid::Uuid;

use super::super::partition::Topic;
use super::super::partition::tests::{open, shared};
use super::*;

fn batch(base_offset: i64, partition_leader_epoch: i32) -> (Vec<u8>, BatchHeader) {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset,
        partition_leader_epoch,
        ..BatchOptions::default()
    });
    builder.append(base_offset, 1000, None, Some(b"value"), []);
    let mut bytes = Vec::new();
    let header = builder.finish(&mut bytes).expect("a batch is built");
    (bytes, header)
}

/// A cluster whose partition has one record of epoch 0 and one of epoch 6, and the id of its topic.
async fn cluster() -> (Broker, Client, Option<Uuid>) {
    let broker = Broker::start().await.expect("a broker");
    let endpoint = KafkaEndpoint::from_bootstrap(broker.bootstrap());
    let mut config = ClientConfig::from_properties(&endpoint.properties).expect("properties");
    config.leader_timeout = Duration::from_millis(300);
    let client = Client::new(config).expect("a client");
    let new = NewTopic {
        name: "orders".to_owned(),
        partitions: 1,
        replication_factor: None,
        configs: Default::default(),
    };
    client.create_topics(&[new], false).await.expect("a topic");
    let records = [batch(0, 0).0, batch(1, 6).0].concat();
    let appended = broker.append_replicated("orders", 0, &records);
    appended.expect("appended");
    let names = ["orders".to_owned()];
    let metadata = client.metadata(TopicFilter::Names(&names)).await;
    let id = metadata.expect("metadata").topics[0].id;
    (broker, client, id)
}

/// A partition that has two records, the second one of epoch 5, which the cluster does not know; they are not committed yet.
async fn ahead(folder: &tempfile::TempDir, id: Option<Uuid>) -> Arc<Partition> {
    let (shared, _) = shared();
    let topic = Topic {
        name: Arc::from("orders"),
        id,
        compacted: false,
        rollover_bytes: 1 << 20,
    };
    let mut writer: PartitionWriter = open(folder, 0, 1 << 20).await;
    for (bytes, header) in [batch(0, 0), batch(1, 5)] {
        writer.append(&bytes, &[header]).expect("appended");
    }
    let key = writer.partition().clone();
    Arc::new(Partition::new(
        Arc::new(topic),
        None,
        key,
        writer,
        &shared.budget,
    ))
}

/// A batch of one record is archived, or a stretch that holds batches that are not kept.
enum Part {
    Kept { epoch: i32 },
    Dropped { until: i64, epoch: i32 },
}

/// What [`ahead`] has.
const AHEAD: [Part; 2] = [Part::Kept { epoch: 0 }, Part::Kept { epoch: 5 }];

/// A partition of these parts, each of which is committed.
async fn archived(folder: &tempfile::TempDir, id: Option<Uuid>, parts: &[Part]) -> Arc<Partition> {
    let (shared, _) = shared();
    let topic = Topic {
        name: Arc::from("orders"),
        id,
        compacted: false,
        rollover_bytes: 1 << 20,
    };
    let mut writer: PartitionWriter = open(folder, 0, 1 << 20).await;
    for part in parts {
        match part {
            Part::Kept { epoch } => {
                let (bytes, header) = batch(writer.next_offset(), *epoch);
                writer.append(&bytes, &[header]).expect("appended");
            }
            Part::Dropped { until, epoch } => writer
                .gap(*until, GapCause::Control, Some(*epoch))
                .expect("a gap"),
        }
        let sealed = writer.seal().expect("sealed").expect("something");
        writer.chain().commit(sealed).await.expect("committed");
    }
    let key = writer.partition().clone();
    Arc::new(Partition::new(
        Arc::new(topic),
        None,
        key,
        writer,
        &shared.budget,
    ))
}

/// A cluster whose partition has one record at every offset from 0 on, of these epochs.
async fn cluster_of(epochs: &[i32]) -> (Broker, Client, Option<Uuid>) {
    let broker = Broker::start().await.expect("a broker");
    let endpoint = KafkaEndpoint::from_bootstrap(broker.bootstrap());
    let config = ClientConfig::from_properties(&endpoint.properties).expect("properties");
    let client = Client::new(config).expect("a client");
    let new = NewTopic {
        name: "orders".to_owned(),
        partitions: 1,
        replication_factor: None,
        configs: Default::default(),
    };
    client.create_topics(&[new], false).await.expect("a topic");
    let records: Vec<u8> = (0..)
        .zip(epochs)
        .flat_map(|(offset, epoch)| batch(offset, *epoch).0)
        .collect();
    let appended = broker.append_replicated("orders", 0, &records);
    appended.expect("appended");
    let names = ["orders".to_owned()];
    let metadata = client.metadata(TopicFilter::Names(&names)).await;
    let id = metadata.expect("metadata").topics[0].id;
    (broker, client, id)
}

#[tokio::test]
async fn a_leader_that_lacks_the_last_epoch_parts_where_that_began() {
    // Its log of epoch 1 is longer than all that is archived.
    let (_broker, client, id) = cluster_of(&[1, 1, 1, 1, 1, 1, 3]).await;
    let kept = |epoch| Part::Kept { epoch };
    let marker = Part::Dropped { until: 3, epoch: 2 };
    for parts in [
        vec![kept(1), kept(1), kept(2)],
        vec![kept(1), kept(1), marker],
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let partition = archived(&folder, id, &parts).await;
        let positions = find_one(&client, partition, 3).await;
        let end = positions.found[0].diverged_at.expect("a divergence");
        assert_eq!((end.leader_epoch, end.end_offset), (1, 2));
        assert_eq!(positions.found[0].offset, 2);
    }
}

#[tokio::test]
async fn histories_that_share_no_late_epoch_part_after_the_last_one_they_share() {
    let (_broker, client, id) = cluster_of(&[0, 0, 0, 0, 0, 1, 1, 3, 3, 3, 3, 5]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut parts = Vec::new();
    for (epoch, count) in [(0, 4), (2, 3), (4, 2)] {
        parts.extend((0..count).map(|_| Part::Kept { epoch }));
    }
    let partition = archived(&folder, id, &parts).await;
    // 4 is not known: 3 ends at 11. 3 is not archived, 2 before it ends at 7. 2 is not known: 1 ends at 7; and so on.
    let positions = find_one(&client, partition, 5).await;
    let end = positions.found[0].diverged_at.expect("a divergence");
    assert_eq!((end.leader_epoch, end.end_offset), (0, 4));
}

/// What is not committed is committed before the place is told, because only manifests tell where epochs begin.
#[tokio::test]
async fn what_is_open_is_committed_before_a_lineage_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_broker, client, id) = cluster().await;
    let positions = find_one(&client, ahead(&folder, id).await, 6).await;
    assert!(positions.found[0].must_commit);
    assert!(positions.found[0].diverged_at.is_none());
}

async fn find_one(client: &Client, partition: Arc<Partition>, epoch: i32) -> Positions {
    let positions = find(client, vec![(partition, epoch)]).await;
    positions.expect("the cluster answers")
}

#[tokio::test]
async fn a_history_parts_only_from_the_topic_with_the_same_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_broker, client, id) = cluster().await;
    let partition = archived(&folder, id, &AHEAD).await;
    let positions = find_one(&client, partition, 6).await;
    let end = positions.found[0].diverged_at.expect("a divergence");
    assert_eq!((end.leader_epoch, end.end_offset), (0, 1));

    let folder = tempfile::tempdir().expect("a folder");
    let before = archived(&folder, Some(Uuid::from_u128(7)), &AHEAD).await;
    let positions = find_one(&client, before, 6).await;
    assert!(positions.found.is_empty());
    assert_eq!(positions.unknown.len(), 1, "{:?}", positions.unknown);
}

#[tokio::test]
async fn an_epoch_that_could_not_be_asked_for_leaves_the_position_unknown() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_broker, client, id) = cluster().await;
    // The leader epoch that the metadata told is not the broker's.
    let positions = find_one(&client, ahead(&folder, id).await, 99).await;
    assert!(positions.found.is_empty());
    let (_, why) = &positions.unknown[0];
    assert!(why.contains("LEADER_EPOCH"), "{why}");
}
