use std::time::Duration;

use armory_archive::{Archive, Location, TopicKey, WriterIdentity, WriterOptions};
use armory_kafka::{Client, ClientConfig};
use armory_records::{BatchBuilder, BatchOptions};
use armory_resources::job::KafkaEndpoint;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::counters::Counters;
use super::*;

/// What partitions share, with a cluster that nobody answers for, and what they tell.
pub(crate) fn shared() -> (Arc<Shared>, mpsc::UnboundedReceiver<Event>) {
    let endpoint = KafkaEndpoint::from_bootstrap("127.0.0.1:1");
    let mut config = ClientConfig::from_properties(&endpoint.properties).expect("properties");
    config.call_timeout = Duration::from_millis(300);
    let (events, told) = mpsc::unbounded_channel();
    let shared = Shared {
        client: Client::new(config).expect("a client"),
        budget: Arc::new(Budget::new(8 << 20)),
        counters: Counters::default(),
        events,
        stop: CancellationToken::new(),
        troubles: armory_troubles::Troubles::default(),
    };
    (Arc::new(shared), told)
}

pub(crate) async fn open(
    folder: &tempfile::TempDir,
    index: i32,
    rollover_bytes: u64,
) -> PartitionWriter {
    let location = Location::Folder(folder.path().join("archive"));
    let archive = Archive::create_or_open(location).await.expect("an archive");
    let key = TopicKey::new("orders", None).partition(index);
    let options = WriterOptions {
        rollover_bytes,
        ..WriterOptions::new(WriterIdentity::new("b", 1))
    };
    let writer = PartitionWriter::open(&archive, key, options).await;
    writer.expect("a writer")
}

/// A new partition of an archive in `folder`.
pub(crate) async fn partition(
    folder: &tempfile::TempDir,
    index: i32,
    rollover_bytes: u64,
    shared: &Shared,
) -> Arc<Partition> {
    let writer = open(folder, index, rollover_bytes).await;
    let key = writer.partition().clone();
    let topic = Topic {
        name: Arc::from("orders"),
        id: None,
        compacted: false,
        rollover_bytes,
    };
    Arc::new(Partition::new(
        Arc::new(topic),
        None,
        key,
        writer,
        &shared.budget,
    ))
}

fn batch(base_offset: i64, count: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset,
        ..BatchOptions::default()
    });
    for offset in base_offset..base_offset + count {
        builder.append(offset, 1000 + offset, None, Some(b"value"), []);
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("a small batch is built");
    bytes
}

/// The answer to a Fetch at `offset`, of one batch of three records.
fn answer(offset: i64) -> PartitionFetch {
    PartitionFetch {
        topic: "orders".to_owned(),
        topic_id: None,
        partition: 0,
        fetch_offset: offset,
        next_offset: offset + 3,
        error: None,
        high_watermark: 1_000_000,
        last_stable_offset: 1_000_000,
        log_start_offset: 0,
        aborted: Vec::new(),
        current_leader: None,
        records: batch(offset, 3).into(),
    }
}

fn damaged(offset: i64) -> PartitionFetch {
    let mut records = batch(offset, 3);
    *records.last_mut().expect("bytes") ^= 1;
    PartitionFetch {
        records: records.into(),
        ..answer(offset)
    }
}

fn take(partition: &Arc<Partition>, fetch: &PartitionFetch, shared: &Shared) {
    partition.take(fetch, &mut Workspace::default(), shared);
}

fn next_offset(partition: &Partition) -> i64 {
    partition.state().writer.next_offset()
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_queued_in_the_order_in_which_they_were_sealed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shared, mut told) = shared();
    let partition = partition(&folder, 0, 1, &shared).await;
    let answers = 200;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..answers {
                take(&partition, &answer(number * 3), &shared);
            }
        });
        // As for lack of memory, at any moment.
        while next_offset(&partition) < answers * 3 {
            partition.seal(&shared);
        }
    });
    let mut next = 0;
    while let Ok(event) = told.try_recv() {
        let Event::Sealed(_, (segment, _charge)) = event else {
            panic!("{event:?}");
        };
        assert_eq!(segment.base(), next);
        next = segment.next();
    }
    assert_eq!(next, answers * 3);
}

#[tokio::test]
async fn after_a_damaged_answer_nothing_is_taken_in_that_would_pass_for_a_hole() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shared, mut told) = shared();
    let partition = partition(&folder, 0, 1 << 20, &shared).await;
    take(&partition, &answer(0), &shared);
    take(&partition, &damaged(3), &shared);
    // The fetcher went on, and the control loop does not know yet.
    take(&partition, &answer(6), &shared);
    partition.seal(&shared);
    assert_eq!(next_offset(&partition), 3);
    assert_eq!(partition.state().phase, Phase::Stopped);
    let failed = told.try_recv().expect("a failure");
    assert!(
        matches!(
            failed,
            Event::Failed(_, EngineError::Damaged { offset: 3, .. })
        ),
        "{failed:?}"
    );
    assert!(told.try_recv().is_err(), "nothing else");

    // What came before the damage is sound, and is committed.
    assert_eq!(partition.give_up(&shared), Phase::Stopped);
    let sealed = told.try_recv().expect("a segment");
    let Event::Sealed(_, (segment, charge)) = sealed else {
        panic!("{sealed:?}");
    };
    assert_eq!((segment.base(), segment.next()), (0, 3));
    let chain = partition.state().writer.chain();
    chain.commit(segment).await.expect("committed");
    drop(charge);
    assert_eq!(shared.budget.buffered(), 0);
}

#[tokio::test]
async fn an_answer_from_beyond_the_archives_end_needs_the_log_start_as_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shared, mut told) = shared();
    let skipping = partition(&folder, 0, 1 << 20, &shared).await;
    take(&skipping, &answer(6), &shared);
    let failed = told.try_recv().expect("a failure");
    assert!(
        matches!(
            failed,
            Event::Failed(
                _,
                EngineError::Archive(ArchiveError::NotContiguous {
                    expected: 0,
                    found: 6,
                    ..
                })
            )
        ),
        "{failed:?}"
    );
    assert_eq!(next_offset(&skipping), 0);

    let trimmed = partition(&folder, 1, 1 << 20, &shared).await;
    let fetch = PartitionFetch {
        log_start_offset: 6,
        ..answer(6)
    };
    take(&trimmed, &fetch, &shared);
    assert_eq!(next_offset(&trimmed), 9);
    assert!(told.try_recv().is_err(), "nothing is wrong");
}

#[tokio::test]
async fn a_head_that_is_gone_is_a_gap_although_an_open_transaction_follows() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shared, _told) = shared();
    let partition = partition(&folder, 0, 1 << 20, &shared).await;
    partition.state().stop_at = Some(50);
    let fetch = PartitionFetch {
        next_offset: 0,
        log_start_offset: 50,
        last_stable_offset: 50,
        high_watermark: 60,
        records: Default::default(),
        ..answer(0)
    };
    take(&partition, &fetch, &shared);
    assert_eq!(next_offset(&partition), 50);
    assert_eq!(partition.state().phase, Phase::Done);
}

#[tokio::test]
async fn a_partition_that_pauses_holds_neither_memory_nor_its_lock() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shared, mut told) = shared();
    let before = partition(&folder, 0, 1 << 20, &shared).await;
    take(&before, &answer(0), &shared);
    before.flush(&shared);
    take(&before, &answer(3), &shared);
    assert!(shared.budget.buffered() > 0);
    before.suspend();
    assert_eq!(shared.budget.buffered(), 0);
    assert!(told.try_recv().is_err(), "nothing is sealed");
    // What had been flushed is found again.
    let again = partition(&folder, 0, 1 << 20, &shared).await;
    assert_eq!(next_offset(&again), 3);
}
