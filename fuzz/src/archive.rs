//! The documents and segments of an archive. What the checksums guard is mutated behind them, as somebody might who writes an
//! archive of his own: the harness seals it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use armory_archive::{
    Archive, Depth, Journal, Location, PartitionKey, PruneRequest, SegmentReader, TopicId, TopicKey,
};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::runtime::Runtime;

const ID: &str = "AAECAwQFBgcICQoLDA0ODw";
const ARCHIVE: &str =
    r#"{"format":1,"requires":[],"id":"00000000-0000-4000-8000-000000000000","created_at":1}"#;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
});

/// The first byte says which document the rest is.
pub const DOCUMENTS: [&str; 9] = [
    "armory.json",
    "topics/orders/v1.json",
    "topics/orders/AAECAwQFBgcICQoLDA0ODw/genesis.json",
    "manifests/orders/AAECAwQFBgcICQoLDA0ODw/0/0/00000000000000000000.json",
    "manifests/orders/AAECAwQFBgcICQoLDA0ODw/0/1/fork.json",
    "heads/nightly.json",
    "snapshots/orders/AAECAwQFBgcICQoLDA0ODw/00000000000000000001.nightly.0123456789abcdef.json",
    "retention/nightly.json",
    "restores/r1/00000000000000000000.entry",
];

fn key() -> PartitionKey {
    let id: TopicId = ID.parse().expect("an id");
    TopicKey::new("orders", id).partition(0)
}

/// A document with the checksum that it needs.
fn seal(text: &[u8]) -> Vec<u8> {
    let body = text.trim_ascii_end();
    let body = body.strip_suffix(b"}").unwrap_or(body);
    let checksum = blake3::hash(body).to_hex();
    [body, format!(",\"checksum\":\"{checksum}\"}}\n").as_bytes()].concat()
}

/// Any bytes as one document of an archive: everything that reads archives gives an answer or an error.
pub fn documents(bytes: &[u8]) {
    let Some((kind, text)) = bytes.split_first() else {
        return;
    };
    let place = DOCUMENTS[usize::from(*kind) % DOCUMENTS.len()];
    let content = match place.ends_with(".entry") {
        true => text.to_vec(),
        false => seal(text),
    };
    RUNTIME.block_on(async {
        let store = Arc::new(InMemory::new());
        put(&store, "armory.json", seal(ARCHIVE.as_bytes())).await;
        put(&store, place, content).await;
        read_everything(store).await;
    });
}

/// A manifest, a line feed, and the segment that it names: size and hash are put right before. A reader gives an answer or an
/// error, and no more than is there.
pub fn segment(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n');
    let (manifest, segment) = match at {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => return,
    };
    let Ok(mut manifest) = serde_json::from_slice::<serde_json::Value>(manifest) else {
        return;
    };
    let name = "00000000000000000000.0123456789abcdef.log";
    if let Some(told) = manifest
        .get_mut("segment")
        .and_then(|told| told.as_object_mut())
    {
        told.insert("name".to_owned(), name.into());
        told.insert("stored_bytes".to_owned(), segment.len().into());
        let hash = blake3::hash(segment).to_hex().to_string();
        told.insert("blake3".to_owned(), hash.into());
    }
    let text = serde_json::to_vec(&manifest).expect("it was just read");
    RUNTIME.block_on(async {
        let store = Arc::new(InMemory::new());
        put(&store, "armory.json", seal(ARCHIVE.as_bytes())).await;
        put(&store, DOCUMENTS[3], seal(&text)).await;
        let place = format!("topics/orders/{ID}/0/0/{name}");
        put(&store, &place, segment.to_vec()).await;
        read_everything(store).await;
    });
}

async fn put(store: &InMemory, place: &str, content: Vec<u8>) {
    let place = Path::from(place);
    store
        .put(&place, content.into())
        .await
        .expect("it is memory");
}

async fn read_everything(store: Arc<InMemory>) {
    let location = Location::ObjectStore {
        store: Arc::clone(&store) as Arc<dyn ObjectStore>,
        prefix: String::new(),
        display: "memory".to_owned(),
        troubles: Default::default(),
    };
    let Ok(archive) = Archive::open(location).await else {
        return;
    };
    let _ = archive.topics().await;
    let _ = archive.snapshots(&key().topic).await;
    let _ = archive.retention().await;
    let _ = Journal::open(&archive, "restores/r1").await;
    let _ = archive.lineages(&key()).await;
    let key = key();
    if let Ok(parts) = archive.history(&key, None).await {
        for part in parts {
            let manifest = part.manifest;
            let _ = manifest.missing_offsets();
            for from in [None, Some(manifest.base + 1)] {
                let opened = SegmentReader::open(&archive, &key, manifest.lineage, &manifest);
                let Ok(mut reader) = opened.await else {
                    continue;
                };
                if let Some(from) = from {
                    reader.seek(from);
                }
                while let Ok(Some(chunk)) = reader.next_chunk().await {
                    for batch in armory_records::Batches::new(&chunk) {
                        batch.expect("only checked batches are given");
                    }
                }
            }
        }
    }
    let verified = archive.verify(|_| true, Depth::Segments, |_| {}).await;
    verified.expect("damage is a finding, and nothing else can go wrong here");
    let request = PruneRequest {
        expired: true,
        older_than: Some(Duration::ZERO),
        leftovers_older_than: Some(Duration::ZERO),
        force: true,
        ..PruneRequest::default()
    };
    let plan = archive.plan_prune(|_| true, true, &request).await;
    let plan = plan.expect("what cannot be understood is kept");
    let pruned = archive.prune(&plan, Duration::ZERO, |_| {}).await;
    pruned.expect("what was understood can be pruned");
}
