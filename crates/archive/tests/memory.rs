//! What an open partition costs in memory. Alone in its process, for it measures that.

use armory_archive::{Archive, Location, PartitionWriter, TopicKey, WriterIdentity, WriterOptions};
use armory_records::{BatchBuilder, BatchOptions};

/// Memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn an_open_partition_takes_at_most_16_kibibytes() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::Folder(folder.path().join("archive"));
    let archive = Archive::create_or_open(location).await.unwrap();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(0, 0, None, Some(b"value"), std::iter::empty());
    let mut bytes = Vec::new();
    let header = builder.finish(&mut bytes).unwrap();

    let topic = TopicKey::new("orders", None);
    let options = WriterOptions::new(WriterIdentity::new("nightly", 1));
    let mut writers = Vec::new();
    let mut before = 0;
    for number in 0..500 {
        // The first ones start threads and fill caches.
        if number == 50 {
            before = resident();
        }
        let key = topic.partition(number);
        let mut writer = PartitionWriter::open(&archive, key, options.clone())
            .await
            .unwrap();
        writer.append(&bytes, &[header]).unwrap();
        writers.push(writer);
    }
    let each = (resident() - before) / (writers.len() - 50);
    assert!(each <= 16 << 10, "{each} bytes");
}
