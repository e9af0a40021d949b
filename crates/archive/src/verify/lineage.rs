//! Verifying a lineage: its chain from link to link, then the segments.

use std::collections::{BTreeMap, HashSet};

use futures::StreamExt as _;

use super::pace::Pace;
use super::{Depth, Finding, FindingKind, Progress, VerifyReport};
use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::layout;
use crate::manifest::Manifest;
use crate::names::PartitionKey;
use crate::reader::SegmentReader;

/// How many manifests are read at a time.
const MANIFESTS_IN_FLIGHT: usize = 16;
/// How many segments are read at a time.
const SEGMENTS_IN_FLIGHT: usize = 4;

/// Where a chain should go on.
struct Link {
    /// The end of the manifest before; nothing if that could not be read.
    end: Option<i64>,
    previous: Option<String>,
}

/// How segments are read.
pub(super) struct Reading {
    pub(super) depth: Depth,
    pub(super) pace: Pace,
}

/// What can be read of a chain.
pub(super) struct Links {
    pub(super) manifests: Vec<Manifest>,
    /// Where it begins; nothing if its fork cannot be read.
    pub(super) start: Option<i64>,
    /// Where it ends; nothing if its last manifest cannot be read.
    pub(super) end: Option<i64>,
}

impl Archive {
    /// Gives the end of the chain, if its last manifest could be read.
    pub(super) async fn verify_lineage(
        &self,
        key: &PartitionKey,
        lineage: u32,
        reading: &Reading,
        report: &mut VerifyReport,
        progress: &mut (impl FnMut(&VerifyReport) + Send),
    ) -> Result<Option<i64>, ArchiveError> {
        let links = self.verify_links(key, lineage, report).await?;
        progress(report);
        let sound = self
            .verify_presence(key, lineage, &links.manifests, report)
            .await?;
        if reading.depth == Depth::Segments {
            let known = report.take_known(key, lineage, &links.manifests);
            let unread = sound.into_iter().filter(|manifest| manifest.next > known);
            self.verify_segments(key, lineage, unread.collect(), reading, report, progress)
                .await?;
        }
        Ok(links.end)
    }

    /// Checks a chain's documents and their links.
    pub(super) async fn verify_links(
        &self,
        key: &PartitionKey,
        lineage: u32,
        report: &mut VerifyReport,
    ) -> Result<Links, ArchiveError> {
        let mut link = self.first_link(key, lineage, report).await?;
        let start = link.end;
        let bases = self.manifest_bases(key, lineage).await?;
        let mut manifests = Vec::new();
        let mut reads = futures::stream::iter(bases)
            .map(async |base| (base, self.read_manifest(key, lineage, base).await))
            .buffered(MANIFESTS_IN_FLIGHT);
        while let Some((base, read)) = reads.next().await {
            report.checked.manifests += 1;
            match report.note(FindingKind::Document, read)? {
                Some(Some(manifest)) => {
                    report.findings.extend(check_link(&link, &manifest));
                    link.end = Some(manifest.next);
                    link.previous = Some(manifest.checksum.clone());
                    manifests.push(manifest);
                }
                // It vanished since it was listed, and will be missed by the next one.
                Some(None) => {}
                None => {
                    // Where the chain goes on after it nobody knows; that it begins there is sure.
                    if let Some(end) = link.end.filter(|end| *end < base) {
                        report.findings.push(missing_link(key, lineage, end, base));
                    }
                    link.end = None;
                }
            }
        }
        drop(reads);
        if let Some(end) = link.end {
            let open = self.open_tail(key, lineage, end).await;
            manifests.extend(
                report
                    .note(FindingKind::Segment, open)?
                    .flatten()
                    .unwrap_or_default(),
            );
        }
        Ok(Links {
            manifests,
            start,
            end: link.end,
        })
    }

    async fn first_link(
        &self,
        key: &PartitionKey,
        lineage: u32,
        report: &mut VerifyReport,
    ) -> Result<Link, ArchiveError> {
        if lineage == 0 {
            return Ok(Link {
                end: Some(0),
                previous: None,
            });
        }
        let fork = self.read_fork(key, lineage).await;
        let fork = match report.note(FindingKind::Document, fork)? {
            Some(Some(fork)) => Some(fork),
            Some(None) => {
                let place = layout::fork(key, lineage);
                let message = "it is missing, so nobody knows where this lineage begins";
                report
                    .findings
                    .push(Finding::new(FindingKind::Document, place, message));
                None
            }
            None => None,
        };
        Ok(Link {
            end: fork.as_ref().map(|fork| fork.base),
            previous: fork.map(|fork| fork.checksum),
        })
    }

    /// Checks that segments are there in their size, and that there are no others. Gives the manifests whose
    /// segments can be read.
    pub(super) async fn verify_presence<'m>(
        &self,
        key: &PartitionKey,
        lineage: u32,
        manifests: &'m [Manifest],
        report: &mut VerifyReport,
    ) -> Result<Vec<&'m Manifest>, ArchiveError> {
        let directory = layout::segment_dir(key, lineage);
        let listing = self.storage().list(&directory).await?;
        let there: BTreeMap<_, _> = listing.files.into_iter().collect();
        let mut named = HashSet::new();
        let mut sound = Vec::new();
        for manifest in manifests {
            // It may lie there for a while yet.
            named.extend(
                manifest
                    .pruned
                    .as_ref()
                    .map(|pruned| pruned.segment.as_str()),
            );
            if manifest.dead_letters.is_some() {
                let present = self.verify_letters(manifest, report).await?;
                if !present {
                    continue;
                }
            }
            let Some(segment) = &manifest.segment else {
                sound.extend(manifest.dead_letters.as_ref().map(|_| manifest));
                continue;
            };
            named.insert(segment.name.as_str());
            let place = format!("{directory}/{}", segment.name);
            let finding = match there.get(&segment.name) {
                _ if manifest.open => None,
                None if self.was_pruned(manifest).await? => continue,
                None => Some(Finding::new(
                    FindingKind::MissingSegment,
                    place,
                    format!("it is missing, but {} names it", manifest.place()),
                )),
                Some(size) if *size != segment.stored_bytes => Some(Finding::new(
                    FindingKind::SegmentSize,
                    place,
                    format!("it has {size} bytes, expected {}", segment.stored_bytes),
                )),
                Some(_) => None,
            };
            match finding {
                Some(finding) => report.findings.push(finding.at(manifest.base)),
                None => sound.push(manifest),
            }
        }
        for name in there.keys().filter(|name| !named.contains(name.as_str())) {
            let beside_open = |extension: &str| {
                let stem = name.strip_suffix(extension)?;
                there.get(&format!("{stem}{}", layout::OPEN))
            };
            // Open segments with their sidecars belong to a writer, live or to be recovered.
            let open = layout::open_name(name).is_some() || beside_open(layout::MARK).is_some();
            if !open {
                report.findings.push(Finding::new(
                    FindingKind::Leftover,
                    format!("{directory}/{name}"),
                    "no manifest names it",
                ));
            }
        }
        self.verify_other_letters(key, lineage, manifests, report)
            .await?;
        Ok(sound)
    }

    /// Checks that the dead letters of a manifest are there in their size.
    async fn verify_letters(
        &self,
        manifest: &Manifest,
        report: &mut VerifyReport,
    ) -> Result<bool, ArchiveError> {
        let Some(letters) = manifest
            .dead_letters
            .as_ref()
            .filter(|_| manifest.pruned.is_none())
        else {
            return Ok(true);
        };
        report.checked.dead_letters += letters.records;
        if manifest.open {
            return Ok(true);
        }
        let finding = match self.storage().size(&letters.place).await? {
            Some(size) if size == letters.bytes => return Ok(true),
            _ if self.was_pruned(manifest).await? => return Ok(false),
            Some(size) => Finding::new(
                FindingKind::SegmentSize,
                letters.place.clone(),
                format!("it has {size} bytes, expected {}", letters.bytes),
            ),
            None => Finding::new(
                FindingKind::MissingSegment,
                letters.place.clone(),
                format!("it is missing, but {} names it", manifest.place()),
            ),
        };
        report.findings.push(finding.at(manifest.base));
        Ok(false)
    }

    /// Finds dead letters that no manifest names.
    async fn verify_other_letters(
        &self,
        key: &PartitionKey,
        lineage: u32,
        manifests: &[Manifest],
        report: &mut VerifyReport,
    ) -> Result<(), ArchiveError> {
        let letters = manifests.iter().filter_map(|it| it.dead_letters.as_ref());
        let named: HashSet<&str> = letters.map(|letters| letters.place.as_str()).collect();
        let directory = layout::dead_letters_dir(key, lineage);
        for (name, _) in self.storage().list(&directory).await?.files {
            let place = format!("{directory}/{name}");
            if !named.contains(place.as_str()) {
                report.findings.push(Finding::new(
                    FindingKind::Leftover,
                    place,
                    "no manifest names it",
                ));
            }
        }
        Ok(())
    }

    async fn verify_segments(
        &self,
        key: &PartitionKey,
        lineage: u32,
        manifests: Vec<&Manifest>,
        reading: &Reading,
        report: &mut VerifyReport,
        progress: &mut (impl FnMut(&VerifyReport) + Send),
    ) -> Result<(), ArchiveError> {
        let mut reads = futures::stream::iter(manifests)
            .map(async |manifest: &Manifest| {
                let read = self.read_through(key, lineage, manifest, &reading.pace);
                (manifest, read.await)
            })
            .buffered(SEGMENTS_IN_FLIGHT);
        while let Some((manifest, read)) = reads.next().await {
            let before = report.findings.len();
            let sound = report.note(FindingKind::Segment, read)?.is_some();
            let mut checked = Progress {
                segments: manifest.segment.is_some().into(),
                ..Progress::default()
            };
            if sound {
                checked.batches = manifest.batches;
                checked.records = manifest.records;
                checked.bytes = manifest.segment.as_ref().map_or(0, |s| s.raw_bytes);
            }
            report.checked.add(&checked);
            let found = report.findings[before..].to_vec();
            report.state.read(key, lineage, manifest, checked, found);
            progress(report);
        }
        Ok(())
    }

    async fn read_through(
        &self,
        key: &PartitionKey,
        lineage: u32,
        manifest: &Manifest,
        pace: &Pace,
    ) -> Result<(), ArchiveError> {
        let read = async {
            self.dead_letters(manifest).await?;
            let mut reader = SegmentReader::open(self, key, lineage, manifest).await?;
            while let Some(chunk) = reader.next_chunk().await? {
                pace.passed(chunk.len()).await;
            }
            Ok(())
        };
        match read.await {
            // Pruned since its manifest was read.
            Err(ArchiveError::Pruned { .. }) => Ok(()),
            read => read,
        }
    }
}

fn check_link(link: &Link, manifest: &Manifest) -> Option<Finding> {
    let end = link.end?;
    if manifest.base > end {
        let key = manifest.partition_key();
        return Some(missing_link(&key, manifest.lineage, end, manifest.base));
    }
    let kind = match manifest.base < end {
        true => FindingKind::Overlap,
        false => FindingKind::Predecessor,
    };
    match manifest.check_follows(end, link.previous.as_deref()) {
        Err(ArchiveError::Damaged(damage)) => Some(Finding::damage(kind, *damage)),
        _ => None,
    }
}

fn missing_link(key: &PartitionKey, lineage: u32, end: i64, base: i64) -> Finding {
    let place = layout::manifest(key, lineage, end);
    let message = format!("it is missing: offsets {end} to {} are lost", base - 1);
    Finding::new(FindingKind::MissingLink, place, message).at(end)
}
