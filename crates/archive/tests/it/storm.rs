//! A store that fails in every way at once, drawn by a seed: what comes out is right, or named as damaged.
//!
//! Every test prints its seed; `ARMORY_SEED=…` draws the same again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use armory_archive::{
    Archive, ArchiveError, Depth, GenesisInfo, PartitionWriter, WriterIdentity, WriterOptions,
};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::batches::{Shape, run};
use crate::place::{Place, key, read_all};

/// What befalls a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// A 5xx, or too many requests; it is not done.
    Refused,
    /// It is done, and its answer lost.
    AnswerLost,
    /// It takes minutes.
    Slow,
    /// A 403, as while credentials are renewed: nothing that a moment cures.
    Denied,
    /// Half of the object comes, and looks like all of it.
    Truncated,
    /// A bit of the object is another one.
    BitFlipped,
}

/// An in-memory store in a storm.
#[derive(Debug)]
struct Storm {
    inner: InMemory,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    dice: StdRng,
    /// Each trouble with its chance in a thousand.
    troubles: Vec<(Trouble, u32)>,
    struck: BTreeMap<Trouble, u32>,
}

impl Storm {
    fn new(seed: u64, troubles: &[(Trouble, u32)]) -> Arc<Self> {
        println!("seed {seed} (ARMORY_SEED={seed} draws the same again)");
        Arc::new(Self {
            inner: InMemory::new(),
            state: Mutex::new(State {
                dice: StdRng::seed_from_u64(seed),
                troubles: troubles.to_vec(),
                struck: BTreeMap::new(),
            }),
        })
    }

    fn calm(&self) {
        self.state.lock().unwrap().troubles.clear();
    }

    fn struck(&self, trouble: Trouble) -> u32 {
        let state = self.state.lock().unwrap();
        state.struck.get(&trouble).copied().unwrap_or_default()
    }

    fn draw(&self, possible: &[Trouble]) -> Option<Trouble> {
        let mut state = self.state.lock().unwrap();
        let mut number = state.dice.random_range(0..1000);
        let troubles = state.troubles.clone();
        for (trouble, chance) in troubles {
            if number < chance && possible.contains(&trouble) {
                *state.struck.entry(trouble).or_default() += 1;
                return Some(trouble);
            }
            number = number.saturating_sub(chance);
        }
        None
    }

    /// Draws what befalls a request that is not read from: an error if it does not get through.
    async fn pass(&self) -> Result<Option<Trouble>> {
        use Trouble::{AnswerLost, Denied, Refused, Slow};
        let trouble = self.draw(&[AnswerLost, Denied, Refused, Slow]);
        match trouble {
            Some(Denied) => {
                return Err(Error::PermissionDenied {
                    path: "storm".to_owned(),
                    source: "403".into(),
                });
            }
            Some(Refused) => return Err(lost()),
            Some(Slow) => tokio::time::sleep(Duration::from_secs(120)).await,
            _ => {}
        }
        Ok(trouble)
    }
}

fn lost() -> Error {
    Error::Generic {
        store: "storm",
        source: "connection reset".into(),
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("storm")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Storm {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let trouble = self.pass().await?;
        let put = self.inner.put_opts(location, payload, opts).await?;
        match trouble {
            Some(Trouble::AnswerLost) => Err(lost()),
            _ => Ok(put),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.pass().await?;
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.pass().await?;
        let head = options.head;
        let found = self.inner.get_opts(location, options).await?;
        let trouble = match head {
            true => None,
            false => self.draw(&[Trouble::Truncated, Trouble::BitFlipped]),
        };
        let Some(trouble) = trouble else {
            return Ok(found);
        };
        let GetResult {
            meta,
            range,
            attributes,
            extensions,
            ..
        } = found;
        let read = GetOptions {
            range: Some(range.clone().into()),
            ..GetOptions::default()
        };
        let content = self.inner.get_opts(location, read).await?.bytes().await?;
        let mut content = content.to_vec();
        let middle = content.len() / 2;
        match trouble {
            Trouble::Truncated => content.truncate(middle),
            _ => content
                .iter_mut()
                .skip(middle)
                .take(1)
                .for_each(|byte| *byte ^= 4),
        }
        let stream = futures::stream::once(std::future::ready(Ok(content.into())));
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream.boxed()),
            meta,
            range,
            attributes,
            extensions,
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.draw(&[Trouble::Refused]) {
            Some(_) => futures::stream::once(std::future::ready(Err(lost()))).boxed(),
            None => self.inner.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.pass().await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn seed() -> u64 {
    let given = std::env::var("ARMORY_SEED").ok();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random)
}

fn options() -> WriterOptions {
    WriterOptions::new(WriterIdentity::new("nightly", 1))
}

/// Commits stretches until the chain is `end` long, opening the partition again after every failure, as the engine does.
async fn write_until(place: &Place, end: i64) -> u32 {
    let mut failures = 0;
    let mut failed = |error: ArchiveError| {
        assert!(error.is_retriable(), "{error}");
        failures += 1;
        assert!(failures < 10_000);
    };
    let archive = loop {
        match Archive::create_or_open(place.location.clone()).await {
            Ok(archive) => break archive,
            Err(error) => failed(error),
        }
    };
    let genesis = || GenesisInfo {
        cluster_id: None,
        partitions: 1,
        configs: BTreeMap::new(),
    };
    while let Err(error) = archive.genesis(&key().topic, genesis()).await {
        failed(error);
    }
    loop {
        let mut writer = match PartitionWriter::open(&archive, key(), options()).await {
            Ok(writer) => writer,
            Err(error) => {
                failed(error);
                continue;
            }
        };
        loop {
            if writer.next_offset() >= end {
                return failures;
            }
            let next = run(writer.next_offset(), 2, Shape::default());
            writer.append(&next.bytes, &next.headers).unwrap();
            let sealed = writer.seal().unwrap().unwrap();
            if let Err(error) = writer.chain().commit(sealed).await {
                failed(error);
                break;
            }
        }
    }
}

async fn is_whole(place: &Place, end: i64) {
    let archive = Archive::open(place.location.clone()).await.unwrap();
    let parts = archive.history(&key(), None).await.unwrap();
    assert_eq!(parts.last().unwrap().manifest.next, end);
    let expected = run(0, end / 3, Shape::default()).bytes;
    assert!(read_all(&archive, &parts).await == expected);
    let report = archive.verify(|_| true, Depth::Segments, |_| {}).await;
    let report = report.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}

/// Lost answers of segments and of manifests, refusals, slowness, and credentials that fail now and then.
#[tokio::test(start_paused = true)]
async fn a_writer_in_a_storm_leaves_no_hole_and_no_duplicate() {
    let troubles = [
        (Trouble::AnswerLost, 150),
        (Trouble::Refused, 150),
        (Trouble::Slow, 50),
        (Trouble::Denied, 30),
    ];
    let storm = Storm::new(seed(), &troubles);
    let place = Place::store(Arc::clone(&storm) as _);
    write_until(&place, 600).await;
    storm.calm();
    is_whole(&place, 600).await;
    assert!(storm.struck(Trouble::AnswerLost) > 5);
    assert!(storm.struck(Trouble::Refused) > 5);
}

/// An answer that is shorter than it says is asked for again.
#[tokio::test(start_paused = true)]
async fn what_comes_short_is_read_again() {
    let storm = Storm::new(seed(), &[]);
    let place = Place::store(Arc::clone(&storm) as _);
    write_until(&place, 60).await;
    storm.state.lock().unwrap().troubles = vec![(Trouble::Truncated, 300)];
    is_whole(&place, 60).await;
    assert!(storm.struck(Trouble::Truncated) > 3);
}

/// Where a bit is another one on the way, what is read is right or named as damaged, and right the next time.
#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_never_read_over() {
    let storm = Storm::new(seed(), &[]);
    let place = Place::store(Arc::clone(&storm) as _);
    write_until(&place, 60).await;
    let (mut named, mut right) = (0, 0);
    for _ in 0..60 {
        storm.state.lock().unwrap().troubles = vec![(Trouble::BitFlipped, 40)];
        let before = storm.struck(Trouble::BitFlipped);
        let read = async {
            let archive = Archive::open(place.location.clone()).await?;
            let parts = archive.history(&key(), None).await?;
            let report = archive.verify(|_| true, Depth::Segments, |_| {}).await?;
            Ok::<_, ArchiveError>((parts.len(), report.is_sound()))
        };
        let read = read.await;
        let struck = storm.struck(Trouble::BitFlipped) > before;
        storm.calm();
        match read {
            Ok((10, true)) => {
                assert!(!struck, "a flipped bit was read over");
                right += 1;
            }
            Ok((10, false)) | Err(ArchiveError::Damaged(_)) => named += 1,
            other => panic!("{other:?}"),
        }
        is_whole(&place, 60).await;
    }
    assert!(named > 3 && right > 3, "{named} {right}");
}
