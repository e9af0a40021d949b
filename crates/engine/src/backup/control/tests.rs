//! The control loop against the broker in memory: what goes wrong with one partition or topic, and how the others go on.

use std::path::PathBuf;
use std::sync::Mutex;

use armory_archive::{GapCause, Location, PartitionWriter, TopicKey};
use armory_broker::Broker;
use armory_kafka::{Client, ClientConfig, NewTopic, TopicFilter};
use armory_records::{BatchBuilder, BatchOptions};
use armory_resources::job::{KafkaEndpoint, StorageLocation, TopicSelection};
use armory_troubles::Troubles;

use super::*;

/// Keeps remarks, and troubles.
#[derive(Default)]
struct Remarks(Mutex<Vec<String>>, Troubles);

impl Observer for Remarks {
    fn troubles(&self) -> Troubles {
        self.1.clone()
    }

    fn remark(&self, remark: &Remark) {
        self.0.lock().expect("no panic").push(remark.text.clone());
    }
}

impl Remarks {
    fn have(&self, words: &str) -> bool {
        let remarks = self.0.lock().expect("no panic");
        remarks.iter().any(|text| text.contains(words))
    }
}

/// A broker, an archive to be, and what a backup between them remarks.
struct Test {
    broker: Broker,
    client: Client,
    folder: tempfile::TempDir,
    remarks: Arc<Remarks>,
    stop: CancellationToken,
}

impl Test {
    async fn start() -> Test {
        let broker = Broker::start().await.expect("a broker");
        let endpoint = KafkaEndpoint::from_bootstrap(broker.bootstrap());
        let config = ClientConfig::from_properties(&endpoint.properties).expect("properties");
        Test {
            client: Client::new(config).expect("a client"),
            broker,
            folder: tempfile::tempdir().expect("a folder"),
            remarks: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    async fn archive(&self) -> Archive {
        let location = Location::Folder(self.root());
        Archive::create_or_open(location).await.expect("an archive")
    }

    /// Creates a topic with one batch in each partition, of as many records.
    async fn topic(&self, name: &str, partitions: i32, records: i64) -> TopicKey {
        let new = NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: None,
            configs: Default::default(),
        };
        let created = self.client.create_topics(&[new], false).await;
        created.expect("a topic");
        for partition in (0..partitions).filter(|_| records > 0) {
            self.append(name, partition, &batch(0, records, 0, false));
        }
        let names = [name.to_owned()];
        let metadata = self.client.metadata(TopicFilter::Names(&names)).await;
        TopicKey::new(name, metadata.expect("metadata").topics[0].id)
    }

    fn append(&self, topic: &str, partition: i32, batches: &[u8]) {
        let appended = self.broker.append_replicated(topic, partition, batches);
        appended.expect("appended");
    }

    /// A backup of these topics that looks at the cluster and closes segments often.
    async fn backup(&self, topics: &[&str], until: Until) -> Control {
        let mut source = KafkaEndpoint::from_bootstrap(self.broker.bootstrap());
        let often = (
            "topic.metadata.refresh.interval.ms".to_owned(),
            "500".to_owned(),
        );
        source.properties.extend([often]);
        let topics = TopicSelection {
            streams: topics.iter().map(|&topic| topic.to_owned()).collect(),
            ..TopicSelection::default()
        };
        let path = self.root();
        let mut job = BackupJob::new("b", source, StorageLocation::Folder { path }, topics);
        job.rollover.timeout = Duration::from_secs(1);
        let remarks = Arc::clone(&self.remarks) as Arc<dyn Observer>;
        let control = Control::start(job, until, None, remarks, self.stop.clone());
        control.await.expect("a backup")
    }

    async fn once(&self, topics: &[&str]) -> Result<BackupSummary, EngineError> {
        let run = self.backup(topics, Until::CaughtUp).await.run();
        let run = tokio::time::timeout(Duration::from_secs(50), run);
        run.await.expect("it ends")
    }

    async fn remarked(&self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.remarks.have(words) {
            let remarks = self.remarks.0.lock().expect("no panic").clone();
            assert!(Instant::now() < deadline, "{words}: {remarks:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Up to which offset a partition is committed.
    async fn committed(&self, topic: &TopicKey, partition: i32) -> i64 {
        let key = topic.partition(partition);
        let archive = Archive::open(Location::Folder(self.root())).await;
        let parts = archive.expect("an archive").history(&key, None).await;
        let manifests = parts.unwrap_or_default();
        let ends = manifests.iter().filter(|part| !part.manifest.open);
        ends.map(|part| part.manifest.next).max().unwrap_or(0)
    }
}

fn batch(base_offset: i64, records: i64, partition_leader_epoch: i32, control: bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset,
        partition_leader_epoch,
        transactional: control,
        producer_id: if control { 7 } else { -1 },
        producer_epoch: 0,
        ..BatchOptions::default()
    });
    for offset in base_offset..base_offset + records {
        let key = control.then_some(&[0, 0, 0, 1][..]);
        builder.append(offset, 1000 + offset, key, Some(b"value"), []);
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("a batch is built");
    if control {
        bytes[22] |= 0x20;
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

fn failures(run: Result<BackupSummary, EngineError>, expected: usize) -> Vec<String> {
    match run {
        Err(EngineError::Partitions { failed, .. }) if failed.len() == expected => failed,
        other => panic!("{other:?}"),
    }
}

/// What a refresh cannot place it leaves for the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_leader_does_not_answer_stays_to_be_placed() {
    let test = Test::start().await;
    test.topic("orders", 2, 3).await;
    let mut control = test.backup(&["orders"], Until::Stopped).await;
    let mut config = control.shared.client.config().clone();
    config.call_timeout = Duration::from_secs(1);
    config.leader_timeout = Duration::from_secs(1);
    let shared = Arc::get_mut(&mut control.shared).expect("nobody has it yet");
    shared.client = Client::new(config).expect("a client");
    control.refresh().await.expect("the topic is followed");
    assert!(control.unplaced.is_empty());
    assert_eq!(control.placed.len(), 2);

    let moved: Vec<_> = control.partitions().cloned().collect();
    for partition in moved {
        control.on_event(Event::Unplaced(partition, "its leader moved".to_owned()));
    }
    assert!(control.placed.is_empty());
    let metadata = test.client.metadata(TopicFilter::All).await;
    let metadata = metadata.expect("metadata");
    drop(test.broker);
    let placed = control.place_unplaced(&metadata).await;
    placed.expect("one broker is not the cluster");
    assert_eq!(control.unplaced.len(), 2);
    control.finish().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_backups_partition_does_not_end_the_run_for_the_others() {
    let test = Test::start().await;
    let orders = test.topic("orders", 2, 10).await;
    let options = WriterOptions::new(WriterIdentity::new("other", 1));
    let archive = test.archive().await;
    let writer = PartitionWriter::open(&archive, orders.partition(0), options).await;
    let mut writer = writer.expect("a writer");
    writer.gap(4, GapCause::Filtered, None).expect("a gap");
    let sealed = writer.seal().expect("sealed").expect("a gap");
    writer.chain().commit(sealed).await.expect("committed");

    let failed = failures(test.once(&["orders"]).await, 1);
    assert!(failed[0].contains("another writer: backup"), "{failed:?}");
    assert_eq!(test.committed(&orders, 1).await, 10);

    // In a continuous backup, too, and it says so once however often it looks at the cluster.
    let running = tokio::spawn(test.backup(&["orders"], Until::Stopped).await.run());
    test.append("orders", 1, &batch(10, 5, 0, false));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!running.is_finished());
    assert_eq!(test.committed(&orders, 1).await, 15);
    test.stop.cancel();
    failures(running.await.expect("no panic"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_cannot_be_archived_does_not_end_the_run_for_the_others() {
    let test = Test::start().await;
    let broken = test.topic("broken", 1, 3).await;
    let sound = test.topic("sound", 1, 3).await;
    test.once(&["broken"]).await.expect("a backup");
    let id = broken.topic_id.to_string();
    let genesis = test
        .root()
        .join("topics/broken")
        .join(id)
        .join("genesis.json");
    assert!(genesis.exists());
    std::fs::write(&genesis, "not a genesis").expect("written");

    let ended = test.once(&["broken", "sound"]).await;
    assert!(
        ended
            .as_ref()
            .is_err_and(|error| error.outlook() == Outlook::Damage)
    );
    let failed = failures(ended, 1);
    assert!(failed[0].starts_with("topic broken: "), "{failed:?}");
    assert_eq!(test.committed(&sound, 0).await, 3);
}

/// Has every commit of a topic fail, like a storage that is full or away, until the file is removed.
fn obstacle(test: &Test, topic: &TopicKey) -> PathBuf {
    let manifests = test.root().join("manifests").join(&topic.topic);
    std::fs::create_dir_all(&manifests).expect("a folder");
    let file = manifests.join(topic.topic_id.to_string());
    std::fs::write(&file, "in the way").expect("written");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_goes_on_when_its_storage_does() {
    let test = Test::start().await;
    let orders = test.topic("orders", 1, 0).await;
    let control = test.backup(&["orders"], Until::Stopped).await;
    let budget = Arc::clone(&control.shared.budget);
    let running = tokio::spawn(control.run());
    test.remarked("following topic orders").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let obstacle = obstacle(&test, &orders);
    test.append("orders", 0, &batch(0, 10, 0, false));
    test.remarked("orders-0 pauses and is opened again").await;
    assert_eq!(
        budget.buffered(),
        0,
        "what cannot be committed holds no memory"
    );
    std::fs::remove_file(obstacle).expect("removed");
    test.remarked("orders-0 goes on at offset").await;
    test.append("orders", 0, &batch(10, 5, 0, false));
    let deadline = Instant::now() + Duration::from_secs(20);
    while test.committed(&orders, 0).await < 15 {
        assert!(Instant::now() < deadline, "{:?}", test.remarks.0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    test.stop.cancel();
    let summary = running
        .await
        .expect("no panic")
        .expect("nothing is given up");
    assert_eq!(summary.partitions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn once_ends_when_a_topic_is_created_again_meanwhile() {
    let test = Test::start().await;
    let orders = test.topic("orders", 1, 3).await;
    let control = test.backup(&["orders"], Until::CaughtUp).await;
    obstacle(&test, &orders);
    let running = tokio::spawn(control.run());
    test.remarked("orders-0 pauses").await;
    let names = ["orders".to_owned()];
    test.client.delete_topics(&names).await.expect("deleted");
    test.topic("orders", 1, 1).await;
    let ended = tokio::time::timeout(Duration::from_secs(50), running).await;
    let failed = failures(ended.expect("it ends").expect("no panic"), 1);
    assert!(failed[0].contains("was deleted"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_begins_with_a_marker_is_no_unclean_election() {
    let test = Test::start().await;
    let orders = test.topic("orders", 1, 3).await;
    // Epoch 0 ends at 3; all that there is of epoch 2 is a marker, which is not kept.
    test.append("orders", 0, &batch(3, 1, 2, true));
    test.once(&["orders"]).await.expect("a backup");
    assert_eq!(test.committed(&orders, 0).await, 4);
    test.once(&["orders"]).await.expect("a backup");
    assert!(!test.remarks.have("unclean"), "{:?}", test.remarks.0);
    let lineages = test.archive().await.lineages(&orders.partition(0)).await;
    assert_eq!(lineages.expect("lineages").len(), 1);
}

#[test]
fn a_segment_is_closed_by_age_although_the_clock_was_set_back() {
    let (since, timeout) = (1_000_000, 600);
    assert!(!is_due(since, since, timeout));
    assert!(!is_due(since, since + 599, timeout));
    assert!(is_due(since, since + 600, timeout));
    assert!(is_due(since, since - 1, timeout));
}

/// A run that waits for an answer when it is told to stop ends; it does not wait for the answer.
async fn ends_soon<T>(running: tokio::task::JoinHandle<T>) -> T {
    let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
    ended.expect("it ends").expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_the_first_look_at_the_cluster() {
    let test = Test::start().await;
    // Connections are taken, and nothing is ever answered.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let silent = silent.expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let source = KafkaEndpoint::from_bootstrap(address);
    let topics = TopicSelection {
        streams: vec!["orders".to_owned()],
        ..TopicSelection::default()
    };
    let path = test.root();
    let job = BackupJob::new("b", source, StorageLocation::Folder { path }, topics);
    let remarks = Arc::clone(&test.remarks) as Arc<dyn Observer>;
    let control = Control::start(job, Until::Stopped, None, remarks, test.stop.clone()).await;
    let running = tokio::spawn(control.expect("a backup").run());
    let taken = tokio::time::timeout(Duration::from_secs(20), silent.accept()).await;
    let _connection = taken.expect("it asks").expect("a connection");
    test.stop.cancel();
    ends_soon(running).await.expect("a stop is no failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_begins_once_it_can_and_says_meanwhile_why_it_cannot() {
    let test = Test::start().await;
    let orders = test.topic("orders", 1, 10).await;
    std::fs::write(test.root(), "in the way").expect("written");
    let source = KafkaEndpoint::from_bootstrap(test.broker.bootstrap());
    let topics = TopicSelection {
        streams: vec!["orders".to_owned()],
        ..TopicSelection::default()
    };
    let path = test.root();
    let mut job = BackupJob::new("b", source, StorageLocation::Folder { path }, topics);
    job.rollover.timeout = Duration::from_secs(1);
    // Who is no service is told at once.
    let remarks = Arc::clone(&test.remarks) as Arc<dyn Observer>;
    let run = crate::backup::run(job.clone(), Until::Stopped, remarks, test.stop.clone());
    let error = run.await.expect_err("there is no folder").to_string();
    assert!(error.contains("archive"), "{error}");

    let remarks = Arc::clone(&test.remarks) as Arc<dyn Observer>;
    let service = crate::backup::serve(job.clone(), remarks, test.stop.clone());
    let service = tokio::spawn(service);
    let deadline = Instant::now() + Duration::from_secs(30);
    let in_trouble = || {
        let current = test.remarks.troubles().current();
        current.iter().any(|trouble| trouble.sentence == error)
    };
    while !in_trouble() {
        assert!(Instant::now() < deadline, "{error}, {:?}", test.remarks.1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_file(test.root()).expect("removed");
    while !test.root().exists() || test.committed(&orders, 0).await < 10 {
        assert!(Instant::now() < deadline, "it does not begin");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!in_trouble());
    test.stop.cancel();
    ends_soon(service).await.expect("a stop is no failure");

    // What does not pass is not waited for.
    job.source.properties.clear();
    let remarks = Arc::clone(&test.remarks) as Arc<dyn Observer>;
    let service = crate::backup::serve(job, remarks, CancellationToken::new());
    let service = tokio::time::timeout(Duration::from_secs(20), service);
    service
        .await
        .expect("it ends")
        .expect_err("no broker is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_partitions_to_be_placed() {
    let test = Test::start().await;
    let orders = test.topic("orders", 2, 10).await;
    let control = test.backup(&["orders"], Until::Stopped).await;
    let shared = Arc::clone(&control.shared);
    let running = tokio::spawn(control.run());
    let deadline = Instant::now() + Duration::from_secs(20);
    while shared.counters.read().records < 20 {
        assert!(Instant::now() < deadline, "{:?}", test.remarks.0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (root, stop) = (test.root(), test.stop.clone());
    // Its partitions come back to be placed, and the next look at the cluster tries for a minute.
    drop(test.broker);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    stop.cancel();
    ends_soon(running).await.expect("a stop is no failure");
    let archive = Archive::open(Location::Folder(root)).await;
    let archive = archive.expect("an archive");
    for partition in 0..2 {
        let parts = archive.history(&orders.partition(partition), None).await;
        let ends = parts.expect("a history");
        let ends = ends.iter().filter(|part| !part.manifest.open);
        assert_eq!(ends.map(|part| part.manifest.next).max(), Some(10));
    }
}
