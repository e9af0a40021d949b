use std::time::Duration;

use super::super::partition::tests::{partition, shared};
use super::*;

#[tokio::test]
async fn all_partitions_of_a_broker_that_cannot_be_reached_are_given_back_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shared, mut told) = shared();
    let handle = spawn(1, 1, Arc::clone(&shared));
    let assign = async |index| {
        let command = Command::Assign {
            partition: partition(&folder, index, 1 << 20, &shared).await,
            offset: 0,
            leader_epoch: 0,
        };
        handle.commands.send(command).expect("the task lives");
    };
    assign(0).await;
    // The first one has the task connect; the others come while it tries.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assign(1).await;
    assign(2).await;
    let mut given_back = Vec::new();
    for wait in [10_000, 20, 20] {
        let event = tokio::time::timeout(Duration::from_millis(wait), told.recv()).await;
        match event.expect("in time").expect("the task lives") {
            Event::Unplaced(partition, _) => given_back.push(partition.index),
            event => panic!("{event:?}"),
        }
    }
    given_back.sort_unstable();
    assert_eq!(given_back, [0, 1, 2]);
}
