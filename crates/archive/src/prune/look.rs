//! Looking at everything that might go, with the grounds on which it does or does not.

use std::collections::BTreeMap;

use futures::StreamExt as _;

use super::leftovers::{Standing, is_temporary};
use super::{Kept, PruneAction, PruneKind, PrunePlan, PruneRequest};
use crate::archive::{Archive, now_ms};
use crate::error::ArchiveError;
use crate::layout;
use crate::manifest::Manifest;
use crate::names::{PartitionKey, TopicKey};
use crate::retention::{Retention, expiry, millis};
use crate::storage::Aged;

/// How many manifests are read at a time.
const READS_IN_FLIGHT: usize = 16;

/// A segment that a manifest names, and the grounds on which it goes.
pub(super) struct Live {
    action: PruneAction,
    committed_at: i64,
    expired: bool,
    old: bool,
}

/// An incarnation as it was found.
pub(super) struct Incarnation {
    pub(super) key: TopicKey,
    /// 0 if unknown.
    pub(super) number: u32,
    pub(super) live: Vec<Live>,
}

impl Incarnation {
    fn has_records(&self) -> bool {
        self.live.iter().any(|live| live.action.records > 0)
    }

    fn newest_commit(&self) -> Option<i64> {
        self.live.iter().map(|live| live.committed_at).max()
    }
}

/// Adds up what stays.
#[derive(Default)]
struct Keeping(BTreeMap<(TopicKey, u32, String), (u64, u64, u64)>);

impl Keeping {
    fn add(
        &mut self,
        key: &TopicKey,
        number: u32,
        why: impl Into<String>,
        records: u64,
        bytes: u64,
    ) {
        let sum = self.0.entry((key.clone(), number, why.into())).or_default();
        sum.0 += 1;
        sum.1 += records;
        sum.2 += bytes;
    }

    fn into_kept(self) -> Vec<Kept> {
        let kept = self.0.into_iter();
        kept.map(
            |((topic, incarnation, why), (files, records, bytes))| Kept {
                topic,
                incarnation,
                why,
                files,
                records,
                bytes,
            },
        )
        .collect()
    }
}

/// One look at an archive, and what came of it.
pub(super) struct Look<'a> {
    archive: &'a Archive,
    request: &'a PruneRequest,
    retention: Retention,
    now: i64,
    plan: PrunePlan,
    keeping: Keeping,
}

impl<'a> Look<'a> {
    pub(super) fn new(
        archive: &'a Archive,
        request: &'a PruneRequest,
        retention: Retention,
    ) -> Self {
        Self {
            archive,
            request,
            retention,
            now: now_ms(),
            plan: PrunePlan::default(),
            keeping: Keeping::default(),
        }
    }

    pub(super) fn into_plan(self) -> PrunePlan {
        PrunePlan {
            kept: self.keeping.into_kept(),
            ..self.plan
        }
    }

    /// Looks at every segment and all dead letters of an incarnation.
    pub(super) async fn at_incarnation(
        &mut self,
        found: &mut Incarnation,
    ) -> Result<(), ArchiveError> {
        for partition in self.archive.partitions(&found.key).await? {
            let key = found.key.partition(partition);
            for lineage in self.archive.lineages_there(&key).await? {
                let mut others = self.at_segments(found, &key, lineage).await?;
                others.extend(self.at_letters(found, &key, lineage).await?);
                self.at_leftovers(found, &key, lineage, others).await?;
            }
        }
        Ok(())
    }

    /// Looks at the segments of a lineage. Returns the files that no manifest names.
    async fn at_segments(
        &mut self,
        found: &mut Incarnation,
        key: &PartitionKey,
        lineage: u32,
    ) -> Result<Vec<Aged>, ArchiveError> {
        let directory = layout::segment_dir(key, lineage);
        let archive = self.archive;
        let files = archive.storage().list_aged(&directory).await?;
        let mut reads = futures::stream::iter(files)
            .map(async |file: Aged| {
                let manifest = match layout::segment_name(&file.name) {
                    Some((base, _)) => archive.read_manifest(key, lineage, base).await,
                    None => Ok(None),
                };
                (file, manifest)
            })
            .buffered(READS_IN_FLIGHT);
        let mut others = Vec::new();
        while let Some((file, manifest)) = reads.next().await {
            let manifest = match self.understood(found, &file, manifest)? {
                Understood::Manifest(manifest) => manifest,
                Understood::Nothing => {
                    others.push(file);
                    continue;
                }
                Understood::Kept => continue,
            };
            let action = PruneAction {
                kind: PruneKind::Marked,
                place: format!("{directory}/{}", file.name),
                bytes: file.bytes,
                records: manifest.records,
                timestamps: manifest.timestamps,
                chain: Some((key.clone(), found.number, lineage, manifest.base)),
            };
            let names_it = manifest
                .segment
                .as_ref()
                .is_some_and(|segment| segment.name == file.name);
            match &manifest.pruned {
                Some(pruned) if pruned.segment == file.name => {
                    self.marked(found, action, pruned.at)
                }
                _ if names_it => found.live.push(self.live(&manifest, action)),
                _ => others.push(file),
            }
        }
        Ok(others)
    }

    /// Looks at the dead letters of a lineage. Those of a manifest with a segment go with that. Returns the files that no manifest
    /// names.
    async fn at_letters(
        &mut self,
        found: &mut Incarnation,
        key: &PartitionKey,
        lineage: u32,
    ) -> Result<Vec<Aged>, ArchiveError> {
        let directory = layout::dead_letters_dir(key, lineage);
        let mut others = Vec::new();
        for file in self.archive.storage().list_aged(&directory).await? {
            let manifest = match layout::dead_letters_name(&file.name) {
                Some((base, _)) => self.archive.read_manifest(key, lineage, base).await,
                None => Ok(None),
            };
            let manifest = match self.understood(found, &file, manifest)? {
                Understood::Manifest(manifest) => Some(*manifest),
                Understood::Nothing => None,
                Understood::Kept => continue,
            };
            let place = format!("{directory}/{}", file.name);
            let named = manifest.as_ref().and_then(|manifest| {
                let letters = manifest.dead_letters.as_ref();
                Some((manifest, letters.filter(|letters| letters.place == place)?))
            });
            let Some((manifest, letters)) = named else {
                others.push(file);
                continue;
            };
            let action = PruneAction {
                kind: PruneKind::Marked,
                place,
                bytes: file.bytes,
                records: letters.records,
                timestamps: None,
                chain: Some((key.clone(), found.number, lineage, manifest.base)),
            };
            match &manifest.pruned {
                Some(pruned) => self.marked(found, action, pruned.at),
                None if manifest.segment.is_none() => found.live.push(self.live(manifest, action)),
                None => {}
            }
        }
        Ok(others)
    }

    /// What a file's manifest says, which keeps the file if it cannot be understood.
    fn understood(
        &mut self,
        found: &Incarnation,
        file: &Aged,
        manifest: Result<Option<Manifest>, ArchiveError>,
    ) -> Result<Understood, ArchiveError> {
        match manifest {
            Ok(Some(manifest)) => Ok(Understood::Manifest(Box::new(manifest))),
            Ok(None) => Ok(Understood::Nothing),
            Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => {
                let why = "its manifest cannot be understood, see armory verify";
                self.keeping
                    .add(&found.key, found.number, why, 0, file.bytes);
                Ok(Understood::Kept)
            }
            Err(error) => Err(error),
        }
    }

    /// A file whose manifest was marked as pruned at `at`.
    fn marked(&mut self, found: &Incarnation, action: PruneAction, at: i64) {
        if at.saturating_add(millis(self.request.grace)) <= self.now {
            self.plan.actions.push(PruneAction {
                records: 0,
                ..action
            });
        } else {
            let why = "marked as pruned, and deleted when its grace is over";
            self.keeping
                .add(&found.key, found.number, why, 0, action.bytes);
        }
    }

    /// A file that its manifest names, with the grounds on which it goes.
    fn live(&self, manifest: &Manifest, action: PruneAction) -> Live {
        let older_than = self.request.older_than;
        Live {
            committed_at: manifest.committed_at,
            expired: self.retention.is_expired(manifest, self.now),
            old: older_than.is_some_and(|after| expiry(manifest, after) <= self.now),
            action,
        }
    }

    /// Sorts out the files that no manifest names, if that is asked for.
    async fn at_leftovers(
        &mut self,
        found: &Incarnation,
        key: &PartitionKey,
        lineage: u32,
        files: Vec<Aged>,
    ) -> Result<(), ArchiveError> {
        let Some(age) = self.request.leftovers_older_than else {
            return Ok(());
        };
        let bases = match files.is_empty() {
            true => return Ok(()),
            false => self.archive.manifest_bases(key, lineage).await?,
        };
        for file in files {
            let open = layout::open_name(&file.name).is_some()
                || file.name.ends_with(&format!(".{}", layout::MARK));
            // Those are the writer's; and unfinished files are looked for apart.
            if open || is_temporary(&file.name) {
                continue;
            }
            let standing = self.archive.standing(key, lineage, &bases, &file.name);
            let why = match standing.await? {
                // Committed since it was listed.
                Standing::Named => continue,
                Standing::Dead if file.modified.saturating_add(millis(age)) <= self.now => {
                    let base = layout::leading_digits(&file.name).unwrap_or(0);
                    self.plan.actions.push(PruneAction {
                        kind: PruneKind::Leftover,
                        place: match layout::dead_letters_name(&file.name) {
                            Some((base, nonce)) => layout::dead_letters(key, lineage, base, nonce),
                            None => layout::segment(key, lineage, &file.name),
                        },
                        bytes: file.bytes,
                        records: 0,
                        timestamps: None,
                        chain: Some((key.clone(), found.number, lineage, base)),
                    });
                    continue;
                }
                Standing::Dead => "no manifest names it, but it is too young",
                Standing::Unclear(why) => why,
            };
            let why = format!("no manifest names it: {why}");
            self.keeping
                .add(&found.key, found.number, why, 0, file.bytes);
        }
        Ok(())
    }

    /// Looks for unfinished files, which only a folder has, if that is asked for.
    pub(super) async fn at_temporaries(
        &mut self,
        directory: String,
        deep: bool,
    ) -> Result<(), ArchiveError> {
        let storage = self.archive.storage();
        let Some(age) = self.request.leftovers_older_than else {
            return Ok(());
        };
        if storage.folder().is_none() {
            return Ok(());
        }
        let mut directories = vec![directory];
        while let Some(directory) = directories.pop() {
            let place = |name: &str| match directory.is_empty() {
                true => name.to_owned(),
                false => format!("{directory}/{name}"),
            };
            for file in storage.list_aged(&directory).await? {
                if is_temporary(&file.name) && file.modified.saturating_add(millis(age)) <= self.now
                {
                    self.plan.actions.push(PruneAction {
                        kind: PruneKind::Temporary,
                        place: place(&file.name),
                        bytes: file.bytes,
                        records: 0,
                        timestamps: None,
                        chain: None,
                    });
                }
            }
            if deep {
                let listing = storage.list(&directory).await?;
                directories.extend(listing.directories.iter().map(|name| place(name)));
            }
        }
        Ok(())
    }

    /// Decides about the live segments of a topic, whose incarnations come by ascending number.
    pub(super) fn choose(&mut self, incarnations: Vec<Incarnation>) {
        let (request, now) = (self.request, self.now);
        let count = incarnations.len();
        let known = incarnations
            .iter()
            .all(|incarnation| incarnation.number > 0);
        let last_good = incarnations.iter().rposition(Incarnation::has_records);
        for (at, incarnation) in incarnations.into_iter().enumerate() {
            let is_last_good = last_good.is_some_and(|last| at >= last);
            let supernumerary = request
                .keep_incarnations
                .is_some_and(|keep| count - at > keep as usize);
            let stale = request.incarnations_older_than.is_some_and(|age| {
                let newest = incarnation.newest_commit();
                at + 1 < count && newest.is_some_and(|at| at.saturating_add(millis(age)) <= now)
            });
            let whole = supernumerary || stale;
            let whole_goes = whole && known && (!is_last_good || request.force);
            let all_go = incarnation
                .live
                .iter()
                .all(|live| live.expired || live.old || whole_goes);
            // What a topic has last goes by its retention only, or on an express wish.
            let spared = is_last_good && all_go && !request.force;
            let Incarnation { key, number, live } = incarnation;
            for live in live {
                let kind = if live.expired {
                    Some(PruneKind::Expired)
                } else if spared {
                    None
                } else if whole_goes {
                    Some(PruneKind::Incarnation)
                } else {
                    live.old.then_some(PruneKind::Old)
                };
                match kind {
                    Some(kind) => self.plan.actions.push(PruneAction {
                        kind,
                        ..live.action
                    }),
                    None => {
                        let why = match (spared && live.old, whole) {
                            (true, _) => "the last records of the topic: name it and use --force",
                            (_, true) if !known => "the numbers of the incarnations cannot be read",
                            (_, true) if is_last_good => {
                                "the newest incarnation with records: name the topic and use --force"
                            }
                            _ => "nothing asks for it",
                        };
                        let PruneAction { records, bytes, .. } = live.action;
                        self.keeping.add(&key, number, why, records, bytes);
                    }
                }
            }
        }
    }
}

/// What is known of a file by its manifest.
enum Understood {
    Manifest(Box<Manifest>),
    /// There is none.
    Nothing,
    /// It cannot be understood, so the file stays.
    Kept,
}
