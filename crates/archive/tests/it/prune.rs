//! Pruning: what goes is gone for every reader at once, and explained; what stays is whole; a crash anywhere is safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use armory_archive::{
    Archive, ArchiveError, Depth, GapCause, GenesisInfo, HistoryPart, Location, PruneKind,
    PruneReason, PruneRequest, SegmentReader, Severity, TopicKey, WriterIdentity, WriterOptions,
};
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use proptest::prelude::*;

use crate::batches::{Run, Shape, batch};
use crate::place::{Place, commit, key, options, read_all, writer};

const DAY: Duration = Duration::from_secs(86_400);
const NO_GRACE: Duration = Duration::ZERO;

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_millis() as i64
}

/// A batch of three records at `base`, so many days old.
fn aged(base: i64, days: i64) -> Run {
    let time = now() - days * 86_400_000 - base;
    batch(
        base,
        Shape {
            time,
            ..Shape::default()
        },
    )
}

/// An archive with a genesis and segments of the given ages in days, one commit each.
async fn archive_of(place: &Place, ages: &[i64]) -> (Archive, Vec<Run>) {
    let archive = place.create().await;
    let info = GenesisInfo {
        cluster_id: None,
        partitions: 1,
        configs: Default::default(),
    };
    archive.genesis(&key().topic, info).await.unwrap();
    let mut writer = writer(&archive, options()).await;
    let mut runs = Vec::new();
    for days in ages {
        let run = aged(writer.next_offset(), *days);
        writer.append(&run.bytes, &run.headers).unwrap();
        commit(&mut writer).await;
        runs.push(run);
    }
    (archive, runs)
}

async fn assert_sound(archive: &Archive) {
    let report = archive
        .verify(|_| true, Depth::Segments, |_| {})
        .await
        .unwrap();
    let bad = |severity: Severity| severity > Severity::Info;
    assert!(
        report.findings.iter().all(|finding| !bad(finding.severity)),
        "{:?}",
        report.findings
    );
}

/// What is missing because it was pruned.
fn pruned(parts: &[HistoryPart]) -> Vec<(i64, i64)> {
    let all = parts.iter().flat_map(|part| {
        let manifest = &part.manifest;
        manifest.gaps.iter(manifest.base)
    });
    all.filter(|gap| gap.cause == GapCause::Pruned)
        .map(|gap| (gap.start, gap.end))
        .collect()
}

async fn history(place: &Place) -> (Archive, Vec<HistoryPart>) {
    let archive = Archive::open(place.location.clone()).await.unwrap();
    let parts = archive.history(&key(), None).await.unwrap();
    (archive, parts)
}

#[tokio::test]
async fn what_has_expired_is_marked_then_deleted_and_explained() {
    for place in [Place::folder(), Place::memory(), Place::local_file_system()] {
        let (archive, runs) = archive_of(&place, &[40, 35, 20, 1]).await;
        let before = place.files("topics").await;
        let expire = async |grace| {
            archive
                .expire(&key(), "nightly", 30 * DAY, grace, 100)
                .await
                .unwrap()
        };

        let marked = expire(DAY).await;
        assert_eq!((marked.marked, marked.records, marked.deleted), (2, 6, 0));
        assert_eq!(place.files("topics").await, before, "the grace is not over");
        let (reader, parts) = history(&place).await;
        assert_eq!(pruned(&parts), [(0, 3), (3, 6)]);
        assert_eq!(
            read_all(&reader, &parts[2..]).await,
            [&runs[2].bytes[..], &runs[3].bytes].concat()
        );
        assert_sound(&reader).await;
        assert_eq!(
            expire(DAY).await,
            Default::default(),
            "nothing is done twice"
        );

        let deleted = expire(NO_GRACE).await;
        assert_eq!((deleted.marked, deleted.deleted), (0, 2));
        assert_eq!(
            deleted.deleted_bytes as usize,
            runs[0].bytes.len() + runs[1].bytes.len()
        );
        let logs = |files: &[String]| files.iter().filter(|file| file.ends_with(".log")).count();
        assert_eq!(logs(&place.files("topics").await), 2);
        assert_sound(&reader).await;
        let (_, parts) = history(&place).await;
        assert_eq!(parts.last().unwrap().until, 12);
        let error = SegmentReader::open(&reader, &key(), 0, &parts[0].manifest).await;
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("offsets 0 to 3 (exclusive)") && error.contains("expired"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_writer_goes_on_after_everything_was_pruned() {
    for with_head in [true, false] {
        let place = Place::memory();
        let (archive, _) = archive_of(&place, &[40, 40]).await;
        if with_head {
            let end = writer(&archive, options()).await.chain_end().unwrap();
            let identity = WriterIdentity::new("nightly", 1);
            archive
                .write_head("nightly", &identity, &[end])
                .await
                .unwrap();
        }
        for _ in 0..2 {
            archive
                .expire(&key(), "nightly", DAY, NO_GRACE, 100)
                .await
                .unwrap();
        }
        let archive = Archive::open(place.location.clone()).await.unwrap();
        let mut writer = writer(&archive, options()).await;
        assert_eq!(
            (writer.next_offset(), writer.last_leader_epoch()),
            (6, Some(1))
        );
        let run = aged(6, 0);
        writer.append(&run.bytes, &run.headers).unwrap();
        commit(&mut writer).await;
        let (archive, parts) = history(&place).await;
        assert_eq!(read_all(&archive, &parts[2..]).await, run.bytes);
        assert_sound(&archive).await;
        // And whose the chain is was not forgotten.
        let other = WriterOptions::new(WriterIdentity::new("other", 1));
        let refused = armory_archive::PartitionWriter::open(&archive, key(), other).await;
        assert!(matches!(refused, Err(ArchiveError::OwnedByOther { .. })));
    }
}

#[tokio::test]
async fn only_own_segments_expire_and_the_order_of_time_may_be_broken() {
    let place = Place::memory();
    // The second is of the future, and must not keep the third for ever.
    let (archive, _) = archive_of(&place, &[40, -1000, 40, 1, 40]).await;
    let other = archive
        .expire(&key(), "other", DAY, NO_GRACE, 100)
        .await
        .unwrap();
    assert_eq!(other, Default::default());
    // What was committed just now is looked at up to the first that has not expired.
    let first = archive
        .expire(&key(), "nightly", 30 * DAY, NO_GRACE, 100)
        .await
        .unwrap();
    assert_eq!(first.marked, 1);
    // Archived longer ago than the duration: looked at all.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let short = Duration::from_millis(1);
    let second = archive
        .expire(&key(), "nightly", short, DAY, 100)
        .await
        .unwrap();
    assert_eq!(second.marked, 3, "all but that of the future");
    assert_sound(&archive).await;
}

#[tokio::test]
async fn one_look_does_a_bounded_amount() {
    let place = Place::memory();
    let (archive, _) = archive_of(&place, &[40; 5]).await;
    let mut looks = 0;
    loop {
        let look = archive
            .expire(&key(), "nightly", DAY, NO_GRACE, 2)
            .await
            .unwrap();
        assert!(look.marked + look.deleted <= 2);
        looks += 1;
        assert!(looks < 20);
        if look == Default::default() {
            break;
        }
    }
    let left = place.files("topics").await;
    assert!(left.iter().all(|file| !file.ends_with(".log")), "{left:?}");
}

#[tokio::test]
async fn a_reader_of_before_finishes_in_the_grace_and_is_told_after_it() {
    for place in [Place::folder(), Place::memory()] {
        let (archive, runs) = archive_of(&place, &[40, 40]).await;
        let (reader, planned) = history(&place).await;
        archive
            .expire(&key(), "nightly", DAY, DAY, 100)
            .await
            .unwrap();
        assert_eq!(
            read_all(&reader, &planned).await,
            [&runs[0].bytes[..], &runs[1].bytes].concat()
        );
        archive
            .expire(&key(), "nightly", DAY, NO_GRACE, 100)
            .await
            .unwrap();
        let late = SegmentReader::open(&reader, &key(), 0, &planned[1].manifest).await;
        assert!(
            matches!(
                late,
                Err(ArchiveError::Pruned {
                    base: 3,
                    next: 6,
                    reason: PruneReason::Expired,
                    ..
                })
            ),
            "{late:?}"
        );
        // Not so where nothing was pruned: then it is damage.
        let manifests: Vec<_> = planned.iter().map(|part| part.manifest.clone()).collect();
        assert_eq!(reader.check_segments(&manifests).await.unwrap(), []);
    }
    let place = Place::memory();
    let (archive, _) = archive_of(&place, &[40]).await;
    let (_, planned) = history(&place).await;
    place.delete(&place.only("topics", ".log").await).await;
    let lost = SegmentReader::open(&archive, &key(), 0, &planned[0].manifest).await;
    assert!(matches!(lost, Err(ArchiveError::Damaged(_))));
    // And nobody makes it look like pruning.
    assert_eq!(
        archive
            .expire(&key(), "nightly", DAY, NO_GRACE, 9)
            .await
            .unwrap(),
        Default::default()
    );
    let report = archive
        .verify(|_| true, Depth::Chains, |_| {})
        .await
        .unwrap();
    assert!(!report.is_sound());
}

#[tokio::test]
async fn versions_that_do_not_know_of_pruning_refuse() {
    let place = Place::memory();
    let (archive, _) = archive_of(&place, &[40]).await;
    archive
        .expire(&key(), "nightly", DAY, DAY, 9)
        .await
        .unwrap();
    let manifest = place.only("manifests", ".json").await;
    let text = String::from_utf8(place.get(&manifest).await).unwrap();
    // What such a version reads first, and refuses.
    assert!(
        text.starts_with(r#"{"format":1,"requires":["pruned"],"#),
        "{text}"
    );
    // As this one does with what it does not know.
    let body = text[..text.len() - 80].replace(r#"["pruned"]"#, r#"["pruned","more"]"#);
    let hash = blake3_of(&body);
    place
        .put(
            &manifest,
            format!("{body},\"checksum\":\"{hash}\"}}\n").as_bytes(),
        )
        .await;
    let refused = archive.history(&key(), None).await;
    assert!(
        matches!(&refused, Err(ArchiveError::Unsupported { requirement, .. }) if requirement == "more"),
        "{refused:?}"
    );
}

fn blake3_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

#[tokio::test]
async fn a_restored_retention_says_what_has_expired() {
    let place = Place::memory();
    let (archive, _) = archive_of(&place, &[40, 20]).await;
    let expired = async || {
        let retention = archive.retention().await.unwrap();
        let parts = archive.history(&key(), None).await.unwrap();
        let expired = parts
            .iter()
            .map(|part| retention.is_expired(&part.manifest, now()));
        expired.collect::<Vec<_>>()
    };
    assert_eq!(expired().await, [false, false]);
    archive.set_retention("nightly", None).await.unwrap();
    assert_eq!(
        place.files("retention").await,
        [""; 0],
        "the default needs no document"
    );
    archive.set_retention("other", Some(DAY)).await.unwrap();
    assert_eq!(expired().await, [false, false]);
    archive
        .set_retention("nightly", Some(30 * DAY))
        .await
        .unwrap();
    assert_eq!(expired().await, [true, false]);
    archive
        .set_retention("nightly", Some(10 * DAY))
        .await
        .unwrap();
    assert_eq!(expired().await, [true, true]);
    archive.set_retention("nightly", None).await.unwrap();
    assert_eq!(expired().await, [false, false]);
    // Damage deletes nothing.
    archive.set_retention("nightly", Some(DAY)).await.unwrap();
    place.put("retention/nightly.json", b"{}\n").await;
    assert_eq!(expired().await, [false, false]);
}

fn request() -> PruneRequest {
    PruneRequest {
        grace: NO_GRACE,
        ..PruneRequest::default()
    }
}

/// Plans, and checks that planning changes nothing; then does it.
async fn prune(
    place: &Place,
    archive: &Archive,
    request: &PruneRequest,
) -> (Vec<PruneKind>, Vec<String>) {
    let before = place.files("").await;
    let plan = archive.plan_prune(|_| true, true, request).await.unwrap();
    assert_eq!(place.files("").await, before);
    let outcome = archive.prune(&plan, request.grace, |_| {}).await.unwrap();
    let segments = |kind: PruneKind| {
        !matches!(
            kind,
            PruneKind::Leftover | PruneKind::Temporary | PruneKind::Marked
        )
    };
    let marked = plan
        .actions
        .iter()
        .filter(|action| segments(action.kind))
        .count();
    assert_eq!(outcome.marked as usize, marked);
    let kinds = plan.actions.iter().map(|action| action.kind).collect();
    (kinds, plan.kept.into_iter().map(|kept| kept.why).collect())
}

#[tokio::test]
async fn old_segments_go_but_not_the_last_records_of_a_topic() {
    let place = Place::memory();
    let (archive, _) = archive_of(&place, &[40, 20, 10]).await;
    let older = |days| PruneRequest {
        older_than: Some(days * DAY),
        ..request()
    };
    assert_eq!(
        prune(&place, &archive, &older(30)).await.0,
        [PruneKind::Old]
    );
    let (none, kept) = prune(&place, &archive, &older(5)).await;
    assert_eq!((none.len(), kept.len()), (0, 1));
    assert!(kept[0].contains("--force"), "{kept:?}");
    let force = PruneRequest {
        force: true,
        ..older(5)
    };
    assert_eq!(prune(&place, &archive, &force).await.0, [PruneKind::Old; 2]);
    // By retention also the last ones go.
    let place = Place::memory();
    let (archive, _) = archive_of(&place, &[40]).await;
    archive.set_retention("nightly", Some(DAY)).await.unwrap();
    let expired = PruneRequest {
        expired: true,
        ..request()
    };
    assert_eq!(
        prune(&place, &archive, &expired).await.0,
        [PruneKind::Expired]
    );
    assert_sound(&archive).await;
}

async fn write_incarnation(archive: &Archive, key: &TopicKey, records: bool) {
    let info = GenesisInfo {
        cluster_id: None,
        partitions: 1,
        configs: Default::default(),
    };
    archive.genesis(key, info).await.unwrap();
    if !records {
        return;
    }
    let mut writer = armory_archive::PartitionWriter::open(archive, key.partition(0), options())
        .await
        .unwrap();
    let run = aged(0, 40);
    writer.append(&run.bytes, &run.headers).unwrap();
    commit(&mut writer).await;
}

#[tokio::test]
async fn old_incarnations_go_but_not_the_newest_with_records() {
    let place = Place::memory();
    let archive = place.create().await;
    let ids = [
        "AAECAwQFBgcICQoLDA0ODw",
        "BBECAwQFBgcICQoLDA0ODw",
        "CCECAwQFBgcICQoLDA0ODw",
    ];
    for (number, id) in ids.iter().enumerate() {
        let id: armory_archive::TopicId = id.parse().unwrap();
        write_incarnation(&archive, &TopicKey::new("orders", id), number < 2).await;
    }
    let keep = |keep| PruneRequest {
        keep_incarnations: Some(keep),
        ..request()
    };
    assert_eq!(prune(&place, &archive, &keep(3)).await.0, []);
    // The newest is empty: the one before it is the last good one.
    assert_eq!(
        prune(&place, &archive, &keep(1)).await.0,
        [PruneKind::Incarnation]
    );
    let left = archive.plan_prune(|_| true, true, &keep(1)).await.unwrap();
    assert_eq!(left.actions, []);
    assert_eq!((left.kept[0].incarnation, left.kept[0].records), (2, 3));
    let stale = PruneRequest {
        incarnations_older_than: Some(Duration::ZERO),
        ..request()
    };
    assert_eq!(prune(&place, &archive, &stale).await.0, []);
    let force = PruneRequest {
        force: true,
        ..stale
    };
    assert_eq!(
        prune(&place, &archive, &force).await.0,
        [PruneKind::Incarnation]
    );
    assert_sound(&archive).await;
}

#[tokio::test]
async fn leftovers_go_when_no_writer_can_commit_them_any_more() {
    for place in [Place::folder(), Place::memory()] {
        let (archive, _) = archive_of(&place, &[1, 1]).await;
        let directory = "topics/orders/AAECAwQFBgcICQoLDA0ODw/0/0";
        let segment = |base: i64| format!("{directory}/{base:020}.0123456789abcdef.log");
        // Beaten at its base; inside of another; at the end, where it may still be committed; somebody else's file.
        for file in [
            segment(0),
            segment(4),
            segment(6),
            format!("{directory}/notes.txt"),
        ] {
            place.put(&file, b"x").await;
        }
        let mut expected = vec![segment(0), segment(4)];
        if place.is_folder() {
            let temporary = "heads.0123456789abcdef.tmp".to_owned();
            place.put(&temporary, b"x").await;
            place.put("notes.tmp", b"x").await;
            expected.push(temporary);
        }
        let leftovers = |age| PruneRequest {
            leftovers_older_than: Some(age),
            ..request()
        };
        let young = archive
            .plan_prune(|_| true, true, &leftovers(DAY))
            .await
            .unwrap();
        assert_eq!(young.actions, []);
        let before = place.files("").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let plan = archive
            .plan_prune(|_| true, true, &leftovers(NO_GRACE))
            .await
            .unwrap();
        let places: Vec<_> = plan
            .actions
            .iter()
            .map(|action| action.place.clone())
            .collect();
        assert_eq!(places, expected);
        archive.prune(&plan, NO_GRACE, |_| {}).await.unwrap();
        let after = place.files("").await;
        let gone: Vec<_> = before
            .into_iter()
            .filter(|file| !after.contains(file))
            .collect();
        expected.sort();
        assert_eq!(gone, expected);
        assert_sound(&archive).await;
    }
}

#[tokio::test]
async fn a_segment_whose_manifest_is_lost_is_never_a_leftover() {
    let place = Place::memory();
    let (archive, _) = archive_of(&place, &[1, 1, 1]).await;
    let manifests = place.files("manifests").await;
    let all = PruneRequest {
        leftovers_older_than: Some(NO_GRACE),
        ..request()
    };
    for lost in &manifests {
        let content = place.get(lost).await;
        place.delete(lost).await;
        assert_eq!(prune(&place, &archive, &all).await.0, [], "{lost}");
        place.put(lost, &content[..content.len() - 1]).await;
        assert_eq!(prune(&place, &archive, &all).await.0, [], "{lost}");
        place.put(lost, &content).await;
    }
}

/// A store that its user loses after so many writes and deletions: what comes then is not done.
#[derive(Debug)]
struct Dying {
    inner: Arc<InMemory>,
    left: AtomicUsize,
}

impl Dying {
    fn check(&self) -> Result<()> {
        let took = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        took.map(drop).map_err(|_| Error::PermissionDenied {
            path: "anything".to_owned(),
            source: "the process is dead".into(),
        })
    }
}

impl std::fmt::Display for Dying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dying")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Dying {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.check()?;
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        places: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.check() {
            Ok(()) => self.inner.delete_stream(places),
            Err(error) => Box::pin(futures::stream::once(std::future::ready(Err(error)))),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// What a commit holds, and what happens after it.
#[derive(Debug, Clone)]
struct Step {
    /// Age of its records in days; nothing for a gap alone.
    age: Option<i64>,
    /// Whether the source's history parts here.
    fork: bool,
    /// How many writes of pruning succeed before the process dies; nothing if it does not prune now.
    dies_after: Option<usize>,
    /// Whether pruning is the backup's own, or on request.
    on_request: bool,
    no_grace: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        proptest::option::weighted(0.8, 0..60i64),
        proptest::bool::weighted(0.1),
        proptest::option::weighted(0.6, 0..5usize),
        any::<bool>(),
        any::<bool>(),
    );
    let step = step.prop_map(|(age, fork, dies_after, on_request, no_grace)| Step {
        age,
        fork,
        dies_after,
        on_request,
        no_grace,
    });
    proptest::collection::vec(step, 1..12)
}

/// Every committed segment: lineage, base, batches, and whether it may be pruned.
type Model = Vec<(u32, i64, Vec<u8>, bool)>;

/// Every lineage as a reader sees it now is the model, but for pruned ones that may be.
async fn check_model(inner: &Place, model: &Model) {
    let archive = Archive::open(inner.location.clone()).await.unwrap();
    assert_sound(&archive).await;
    for (lineage, base, bytes, may_go) in model {
        let chain = archive.chain_manifests(&key(), *lineage).await.unwrap();
        let manifest = chain
            .iter()
            .find(|manifest| manifest.base == *base)
            .unwrap();
        if manifest.pruned.is_some() {
            assert!(may_go, "lineage {lineage} at {base} was pruned");
            assert_eq!(manifest.missing_offsets()[&GapCause::Pruned], 3);
            continue;
        }
        let mut found = Vec::new();
        let mut reader = SegmentReader::open(&archive, &key(), *lineage, manifest)
            .await
            .unwrap();
        while let Some(chunk) = reader.next_chunk().await.unwrap() {
            found.extend_from_slice(&chunk);
        }
        assert!(found == *bytes, "lineage {lineage} at {base}");
    }
}

async fn run_steps(steps: &[Step]) {
    let store = Arc::new(InMemory::new());
    let inner = Place::store(Arc::clone(&store) as Arc<dyn ObjectStore>);
    // The writer goes on beside all pruning.
    let (archive, _) = archive_of(&inner, &[]).await;
    let mut writer = writer(&archive, options()).await;
    let mut model = Model::new();
    for step in steps {
        if step.fork && writer.next_offset() > 0 {
            writer
                .start_lineage(writer.next_offset() - 1, Some(1))
                .await
                .unwrap();
        }
        let base = writer.next_offset();
        match step.age {
            Some(days) => {
                let run = aged(base, days);
                writer.append(&run.bytes, &run.headers).unwrap();
                model.push((writer.lineage(), base, run.bytes, days >= 30));
            }
            None => writer.gap(base + 2, GapCause::Control, None).unwrap(),
        }
        let sealed = writer.seal().unwrap().unwrap();
        let chain = writer.chain();
        let pruning = async {
            let Some(left) = step.dies_after else { return };
            let dying = Place::store(Arc::new(Dying {
                inner: Arc::clone(&store),
                left: AtomicUsize::new(left),
            }));
            let archive = Archive::open(dying.location.clone()).await.unwrap();
            let grace = if step.no_grace { NO_GRACE } else { DAY };
            let age = 30 * DAY - Duration::from_secs(3600);
            if step.on_request {
                let request = PruneRequest {
                    grace,
                    older_than: Some(age),
                    force: true,
                    leftovers_older_than: Some(NO_GRACE),
                    ..PruneRequest::default()
                };
                let plan = archive.plan_prune(|_| true, true, &request).await.unwrap();
                let _ = archive.prune(&plan, grace, |_| {}).await;
            } else {
                let _ = archive.expire(&key(), "nightly", age, grace, 3).await;
            }
        };
        let (committed, ()) = futures::join!(chain.commit(sealed), pruning);
        committed.unwrap();
        check_model(&inner, &model).await;
    }
    // In the end nothing is left that may go, whatever died on the way.
    let request = PruneRequest {
        older_than: Some(30 * DAY - Duration::from_secs(3600)),
        force: true,
        ..request()
    };
    let plan = archive.plan_prune(|_| true, true, &request).await.unwrap();
    archive.prune(&plan, NO_GRACE, |_| {}).await.unwrap();
    check_model(&inner, &model).await;
    let logs = inner.files("topics").await;
    let logs = logs.iter().filter(|file| file.ends_with(".log")).count();
    assert_eq!(logs, model.iter().filter(|(.., may_go)| !may_go).count());
}

proptest! {
    #[test]
    fn pruning_that_dies_anywhere_beside_a_writer_loses_nothing_else(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run_steps(&steps));
    }
}

/// A commit whose answer was lost, and whose segment was pruned before the writer asked again.
#[tokio::test]
async fn a_commit_that_was_pruned_before_its_answer_came_is_still_a_commit() {
    let place = Place::memory();
    let (archive, _) = archive_of(&place, &[40]).await;
    let mut late = writer(&archive, options()).await;
    let run = aged(3, 40);
    late.append(&run.bytes, &run.headers).unwrap();
    commit(&mut late).await;
    archive
        .expire(&key(), "nightly", DAY, NO_GRACE, 9)
        .await
        .unwrap();
    // The chain goes on from it in the same process, and in another.
    let run = aged(6, 0);
    late.append(&run.bytes, &run.headers).unwrap();
    commit(&mut late).await;
    assert_sound(&archive).await;
    let Location::ObjectStore { .. } = &place.location else {
        panic!("it is one")
    };
}
