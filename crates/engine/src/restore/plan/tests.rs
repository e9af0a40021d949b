//! What is restored of an archive of which something expires, before the restore begins and after.

use std::collections::BTreeMap;
use std::time::Duration;

use armory_archive::{
    GenesisInfo, Location, PartitionWriter, PruneReason, WriterIdentity, WriterOptions,
};
use armory_records::{BatchBuilder, BatchOptions};
use armory_resources::job::{KafkaEndpoint, StorageLocation};

use super::super::feed::{Fed, Producer, Source, pass_through};
use super::super::memory::Memory;
use super::super::prepare::Making;
use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// An archive with segments of three records each, so many days old.
async fn archive_of(folder: &tempfile::TempDir, ages: &[i64]) -> (Archive, TopicKey) {
    let location = Location::Folder(folder.path().join("archive"));
    let archive = Archive::create_or_open(location).await.expect("an archive");
    let id = uuid::Uuid::from_u128(7);
    let key = TopicKey::new("orders", id);
    let info = GenesisInfo {
        cluster_id: None,
        partitions: 1,
        configs: BTreeMap::new(),
    };
    archive.genesis(&key, info).await.expect("a genesis");
    let options = WriterOptions::new(WriterIdentity::new("nightly", 1));
    let writer = PartitionWriter::open(&archive, key.partition(0), options).await;
    let mut writer = writer.expect("a writer");
    for days in ages {
        let base = writer.next_offset();
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: base,
            ..BatchOptions::default()
        });
        let time = super::super::preflight::now_ms() - days * 86_400_000;
        let none: [(&[u8], Option<&[u8]>); 0] = [];
        for offset in base..base + 3 {
            builder.append(offset, time, None, Some(b"value"), none);
        }
        let mut bytes = Vec::new();
        let header = builder.finish(&mut bytes).expect("a batch");
        writer.append(&bytes, &[header]).expect("it follows");
        let sealed = writer.seal().expect("sealed").expect("a segment");
        writer.chain().commit(sealed).await.expect("committed");
    }
    (archive, key)
}

async fn plan_of(archive: &Archive, folder: &tempfile::TempDir) -> PartitionPlan {
    let path = folder.path().join("archive");
    let job = RestoreJob::new(
        "r",
        StorageLocation::Folder { path },
        KafkaEndpoint::from_bootstrap("127.0.0.1:1"),
        vec![TopicMapping::new("orders", "orders")],
    );
    let mut checks = Checks::default();
    let plan = read(archive, &job, &mut checks).await;
    let mut plan = plan.expect("a plan");
    plan.topics.remove(0).partitions.remove(0)
}

/// How many records are read after the first `from` ones, or why none are.
async fn read_from(
    archive: &Archive,
    key: &TopicKey,
    plan: &PartitionPlan,
    from: u64,
) -> Result<u64, EngineError> {
    let source = Source {
        archive: archive.clone(),
        key: key.partition(0),
        plan: plan.clone(),
        memory: Memory::new(64 << 20, false).of(plan),
    };
    let producer = Producer { id: 1, epoch: 0 };
    let making = Making {
        producer,
        from,
        max_batch_bytes: 1 << 20,
        offset_header: None,
    };
    let mut feed = pass_through(vec![source], making);
    let mut records = 0;
    loop {
        match feed.recv().await.expect("it ends with an end")? {
            Fed::Batches(batches) => {
                records += batches.iter().map(|batch| batch.count).sum::<u64>();
            }
            Fed::End(_) => return Ok(records),
        }
    }
}

#[tokio::test]
async fn what_expired_before_is_left_out_and_what_is_pruned_later_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, key) = archive_of(&folder, &[40, 30, 20, 1]).await;
    // The backup is stopped: nothing is marked, but the first has expired.
    let retention = Some(35 * DAY);
    archive
        .set_retention("nightly", retention)
        .await
        .expect("it is kept");
    let begun = plan_of(&archive, &folder).await;
    assert_eq!(begun.left_out, [(0, 3)]);
    assert_eq!((begun.records(), begun.left_out_records()), (9, 3));
    assert_eq!(read_from(&archive, &key, &begun, 0).await.expect("read"), 9);

    // Now the backup prunes what has expired meanwhile: the first two.
    let partition = key.partition(0);
    for _ in 0..2 {
        let prune = archive.expire(&partition, "nightly", 25 * DAY, Duration::ZERO, 9);
        prune.await.expect("pruned");
    }
    // A restore that goes on counts as it did when it began.
    let mut resumed = plan_of(&archive, &folder).await;
    assert_eq!(resumed.left_out, [(0, 6)], "one that began now");
    resumed
        .pin(
            &archive,
            &key,
            begun.lineage,
            begun.until,
            &begun.left_out,
            false,
        )
        .await
        .expect("pinned");
    assert_eq!(resumed.records(), 9);
    // What landed of the pruned segment need not be read.
    assert_eq!(
        read_from(&archive, &key, &resumed, 3).await.expect("read"),
        6
    );
    // What has not is told.
    for plan in [&resumed, &begun] {
        let error = read_from(&archive, &key, plan, 1)
            .await
            .expect_err("it is gone");
        let told = matches!(
            &error,
            EngineError::Archive(ArchiveError::Pruned {
                base: 3,
                next: 6,
                reason: PruneReason::Expired,
                ..
            })
        );
        assert!(told, "{error}");
        assert!(!error.is_transient());
    }
}
