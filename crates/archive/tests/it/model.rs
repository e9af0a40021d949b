//! Random sequences of everything a writer does, against a model: what was promised is there after a crash,
//! the chain has no holes, and nothing is there twice.

use std::fs;

use armory_archive::{
    Archive, Codec, Depth, FindingKind, Gap, GapCause, PartitionWriter, SealedSegment,
    WriterOptions,
};
use armory_records::Compression;
use proptest::prelude::*;

use crate::batches::{Run, Shape, batch};
use crate::place::{Place, key, options, read_all};

/// What the source has next.
#[derive(Debug, Clone)]
enum Item {
    Batch {
        records: i64,
        compressed: bool,
        epoch_step: i32,
    },
    Gap {
        length: i64,
        cause: GapCause,
    },
}

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// The writer takes this many items of the source.
    Take(usize),
    Flush,
    Seal,
    /// Commits this many of the sealed segments, all at the same time.
    Commit(usize),
    /// The process ends. Of what was not flushed, this share (of 256) is on disk, the rest as zeros or not.
    Crash {
        kept: u8,
        zeros: bool,
    },
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    // A writer records all causes but the last one, which is for what was archived once.
    let cause = proptest::sample::select(&GapCause::ALL[..GapCause::ALL.len() - 1]);
    let item = prop_oneof![
        3 => (1..5i64, any::<bool>(), 0..2i32)
            .prop_map(|(records, compressed, epoch_step)| Item::Batch { records, compressed, epoch_step }),
        1 => (1..4i64, cause).prop_map(|(length, cause)| Item::Gap { length, cause }),
    ];
    proptest::collection::vec(item, 1..40)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..6usize).prop_map(Step::Take),
        2 => Just(Step::Flush),
        3 => Just(Step::Seal),
        3 => (1..4usize).prop_map(Step::Commit),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(kept, zeros)| Step::Crash { kept, zeros }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The source: what is at every offset, the same whenever it is asked.
struct Source {
    items: Vec<(i64, Content)>,
    end: i64,
}

enum Content {
    Batch(Run),
    Gap(Gap),
}

impl Source {
    fn new(items: &[Item]) -> Self {
        let mut end = 0;
        let mut epoch = 0;
        let content = items.iter().map(|item| {
            let start = end;
            match *item {
                Item::Gap { length, cause } => {
                    end += length;
                    (start, Content::Gap(Gap { start, end, cause }))
                }
                Item::Batch {
                    records,
                    compressed,
                    epoch_step,
                } => {
                    end += records;
                    epoch += epoch_step;
                    let shape = Shape {
                        records,
                        epoch,
                        value_bytes: 200,
                        compression: if compressed {
                            Compression::Lz4
                        } else {
                            Compression::None
                        },
                        ..Shape::default()
                    };
                    (start, Content::Batch(batch(start, shape)))
                }
            }
        });
        Self {
            items: content.collect(),
            end,
        }
    }

    fn at(&self, offset: i64) -> Option<&Content> {
        let found = self
            .items
            .binary_search_by_key(&offset, |(start, _)| *start);
        assert!(
            found.is_ok() || offset == self.end,
            "{offset} lies inside of something"
        );
        found.ok().map(|found| &self.items[found].1)
    }

    /// The batches below an offset.
    fn batches(&self, until: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (start, content) in &self.items {
            if let Content::Batch(run) = content
                && *start < until
            {
                bytes.extend_from_slice(&run.bytes);
            }
        }
        bytes
    }

    /// The missing offsets below an offset, with their causes.
    fn missing(&self, until: i64) -> Vec<(i64, GapCause)> {
        let mut missing = Vec::new();
        for (_, content) in &self.items {
            if let Content::Gap(gap) = content {
                missing.extend((gap.start..gap.end.min(until)).map(|offset| (offset, gap.cause)));
            }
        }
        missing
    }
}

/// A writer with what it has sealed.
struct Process {
    writer: PartitionWriter,
    sealed: Vec<SealedSegment>,
}

async fn start(place: &Place, options: &WriterOptions) -> Process {
    let archive = place.create().await;
    Process {
        writer: PartitionWriter::open(&archive, key(), options.clone())
            .await
            .unwrap(),
        sealed: Vec::new(),
    }
}

/// As a power failure leaves an open segment: up to the mark it is durable, beyond anything may be.
fn lose_unsynced(place: &Place, kept: u8, zeros: bool) {
    let mut folders = vec![place.path("topics")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "open")
            {
                let content = fs::read(&path).unwrap();
                let mark = fs::read_to_string(path.with_extension("mark")).unwrap_or_default();
                let durable = mark.lines().skip(1).last().map_or(0, |line| {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    line["bytes"].as_u64().unwrap() as usize
                });
                let survives = durable + (content.len() - durable) * usize::from(kept) / 256;
                let mut torn = content[..survives].to_vec();
                if zeros {
                    torn.resize(content.len(), 0);
                }
                fs::write(&path, torn).unwrap();
            }
        }
    }
}

async fn check(place: Place, items: &[Item], steps: &[Step], options: WriterOptions) {
    let source = Source::new(items);
    let mut process = start(&place, &options).await;
    let mut promised = 0;
    for step in steps {
        let writer = &mut process.writer;
        match *step {
            Step::Take(count) => {
                for _ in 0..count {
                    match source.at(writer.next_offset()) {
                        Some(Content::Batch(run)) => {
                            writer.append(&run.bytes, &run.headers).unwrap()
                        }
                        Some(Content::Gap(gap)) => writer.gap(gap.end, gap.cause, None).unwrap(),
                        None => break,
                    }
                }
            }
            Step::Flush => writer.flush().unwrap(),
            Step::Seal => process.sealed.extend(writer.seal().unwrap()),
            Step::Commit(count) => {
                let chain = writer.chain();
                let count = count.min(process.sealed.len());
                let commits = process
                    .sealed
                    .drain(..count)
                    .map(|sealed| chain.commit(sealed));
                for committed in futures::future::join_all(commits).await {
                    committed.unwrap();
                }
            }
            Step::Crash { kept, zeros } => {
                drop(process);
                if place.is_folder() {
                    lose_unsynced(&place, kept, zeros);
                }
                process = start(&place, &options).await;
                let next = process.writer.next_offset();
                assert!(next >= promised, "{promised} was promised, {next} is there");
            }
        }
        let durable = process.writer.durable_offset();
        assert!(durable >= promised && durable <= process.writer.next_offset());
        promised = durable;
    }
    drop(process);

    let archive = Archive::open(place.location.clone()).await.unwrap();
    let parts = archive.history(&key(), None).await.unwrap();
    let end = parts.last().map_or(0, |part| part.until);
    assert!(end >= promised);
    assert!(read_all(&archive, &parts).await == source.batches(end));
    let mut missing = Vec::new();
    for part in &parts {
        for gap in part.manifest.gaps.iter(part.manifest.base) {
            missing.extend((gap.start..gap.end).map(|offset| (offset, gap.cause)));
        }
    }
    assert_eq!(missing, source.missing(end));
    let report = archive
        .verify(|_| true, Depth::Segments, |_| {})
        .await
        .unwrap();
    let damage = report.findings.iter().filter(|finding| {
        // The topic has no genesis here.
        !finding.place.ends_with("genesis.json") && finding.kind != FindingKind::Leftover
    });
    assert_eq!(damage.count(), 0, "{:?}", report.findings);
}

fn run_model(
    items: &[Item],
    steps: &[Step],
    folder: bool,
    codec: Option<Codec>,
    write_buffer: usize,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = WriterOptions {
        compression: codec.map(|codec| (codec, Some(1))),
        write_buffer,
        ..options()
    };
    let place = if folder {
        Place::folder()
    } else {
        Place::memory()
    };
    runtime.block_on(check(place, items, steps, options));
}

proptest! {
    #[test]
    fn a_folder_keeps_its_promises(
        items in items(),
        steps in steps(),
        codec in proptest::sample::select(&[None, Some(Codec::Zstd), Some(Codec::Gzip)][..]),
        write_buffer in proptest::sample::select(&[0usize, 500, 8192][..]),
    ) {
        run_model(&items, &steps, true, codec, write_buffer);
    }

    #[test]
    fn an_object_store_keeps_its_promises(
        items in items(),
        steps in steps(),
        codec in proptest::sample::select(&[None, Some(Codec::Zstd)][..]),
    ) {
        run_model(&items, &steps, false, codec, 0);
    }
}
