//! Pruning on request: first what would go and what stays, then the deed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;

use super::PruneReason;
use super::leftovers::{Standing, is_temporary};
use crate::archive::{Archive, now_ms};
use crate::error::ArchiveError;
use crate::layout;
use crate::manifest::{Manifest, Timestamps};
use crate::names::{PartitionKey, TopicKey};
use crate::retention::{Retention, expiry, millis};
use crate::storage::Aged;

/// How many manifests are read at a time.
const READS_IN_FLIGHT: usize = 16;

/// What is to be pruned. Segments that were marked before are always finished, when their grace is over.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// How long a marked segment stays for those who are reading it.
    pub grace: Duration,
    /// What has expired by the retention of the backup that wrote it.
    pub expired: bool,
    /// Segments whose newest record is older.
    pub older_than: Option<Duration>,
    /// Incarnations but the newest to which nothing was added for so long.
    pub incarnations_older_than: Option<Duration>,
    /// All incarnations but so many, the newest ones.
    pub keep_incarnations: Option<u32>,
    /// Files that nobody needs and that are older: of writers that crashed or were fenced.
    pub leftovers_older_than: Option<Duration>,
    /// Also the last records of a topic.
    pub force: bool,
}

/// What a file is that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PruneKind {
    /// A segment that expired by its backup's retention.
    Expired,
    /// A segment whose newest record is old enough.
    Old,
    /// A segment of an old incarnation.
    Incarnation,
    /// A segment that was marked before.
    Marked,
    /// A segment that no manifest can ever name.
    Leftover,
    /// An unfinished file.
    Temporary,
}

/// One file that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneAction {
    /// What it is.
    pub kind: PruneKind,
    /// Its path, relative to the archive's root.
    pub place: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Records in it; 0 where they are no loss.
    pub records: u64,
    /// The range of their timestamps.
    pub timestamps: Option<Timestamps>,
    /// Whose it is: partition, incarnation number (0 if unknown), lineage and the base of its manifest; nothing for unfinished files.
    pub chain: Option<(PartitionKey, u32, u32, i64)>,
}

/// Segments that stay, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The topic.
    pub topic: TopicKey,
    /// The number of its incarnation; 0 if unknown.
    pub incarnation: u32,
    /// Why, in words.
    pub why: String,
    /// How many files.
    pub files: u64,
    /// Records in them.
    pub records: u64,
    /// Their size, in bytes.
    pub bytes: u64,
}

/// What would go, and what stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// What goes, in the order of topics.
    pub actions: Vec<PruneAction>,
    /// What stays.
    pub kept: Vec<Kept>,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneOutcome {
    /// Segments that were marked: nobody reads them from now on.
    pub marked: u64,
    /// Records in them.
    pub records: u64,
    /// Files that were deleted.
    pub deleted: u64,
    /// Bytes of these.
    pub deleted_bytes: u64,
    /// Bytes of segments that are marked, and deleted when their grace is over.
    pub waiting_bytes: u64,
}

/// A segment that a manifest names, and the grounds on which it goes.
struct Live {
    action: PruneAction,
    committed_at: i64,
    expired: bool,
    old: bool,
}

/// An incarnation as it was found.
struct Incarnation {
    key: TopicKey,
    number: u32,
    live: Vec<Live>,
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

impl Archive {
    /// Says what of the topics for which `filter` says so would go, and what stays. Nothing is written. `whole` says that the
    /// filter takes every topic: then unfinished files outside of topics are looked for, too.
    ///
    /// Incarnations go but for the newest one with records and what is newer; and whatever else is asked for, a topic's last
    /// records go only by their backup's retention, or with [`PruneRequest::force`].
    pub async fn plan_prune(
        &self,
        filter: impl Fn(&str) -> bool + Send,
        whole: bool,
        request: &PruneRequest,
    ) -> Result<PrunePlan, ArchiveError> {
        let now = now_ms();
        let retention = match request.expired {
            true => self.retention().await?,
            false => Retention::default(),
        };
        let mut topics = BTreeSet::new();
        for directory in [layout::TOPICS, layout::MANIFESTS] {
            topics.extend(self.storage().list(directory).await?.directories);
        }
        let mut plan = PrunePlan::default();
        let mut keeping = Keeping::default();
        for topic in topics.iter().filter(|topic| filter(topic)) {
            let mut incarnations = Vec::new();
            // Without their numbers nobody knows which one is old.
            let numbers = match self.read_claims(topic).await {
                Ok(claims) => Some(claims),
                Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => None,
                Err(error) => return Err(error),
            };
            for key in self.incarnations(topic).await? {
                let number = numbers.iter().flatten().find(|(_, id)| *id == key.topic_id);
                let number = number.map_or(0, |(number, _)| *number);
                let mut found = Incarnation {
                    key,
                    number,
                    live: Vec::new(),
                };
                self.look(
                    &mut found,
                    request,
                    &retention,
                    now,
                    &mut plan,
                    &mut keeping,
                )
                .await?;
                incarnations.push(found);
            }
            incarnations.sort_by_key(|incarnation| incarnation.number);
            choose(incarnations, request, now, &mut plan, &mut keeping);
            if let Some(age) = request.leftovers_older_than {
                for directory in [
                    layout::TOPICS,
                    layout::MANIFESTS,
                    "snapshots",
                    layout::DEAD_LETTERS,
                ] {
                    let directory = format!("{directory}/{topic}");
                    self.temporaries(directory, true, age, now, &mut plan)
                        .await?;
                }
            }
        }
        if let Some(age) = request.leftovers_older_than.filter(|_| whole) {
            for directory in [
                layout::HEADS,
                layout::RETENTION,
                "restores",
                layout::RESTORE_DEAD_LETTERS,
            ] {
                self.temporaries(directory.to_owned(), true, age, now, &mut plan)
                    .await?;
            }
            self.temporaries(String::new(), false, age, now, &mut plan)
                .await?;
        }
        plan.kept = keeping.into_kept();
        Ok(plan)
    }

    /// Looks at every segment of an incarnation.
    async fn look(
        &self,
        found: &mut Incarnation,
        request: &PruneRequest,
        retention: &Retention,
        now: i64,
        plan: &mut PrunePlan,
        keeping: &mut Keeping,
    ) -> Result<(), ArchiveError> {
        for partition in self.partitions(&found.key).await? {
            let key = found.key.partition(partition);
            for lineage in self.lineages_there(&key).await? {
                let directory = layout::segment_dir(&key, lineage);
                let files = self.storage().list_aged(&directory).await?;
                let mut reads = futures::stream::iter(files)
                    .map(async |file: Aged| {
                        let manifest = match layout::segment_name(&file.name) {
                            Some((base, _)) => self.read_manifest(&key, lineage, base).await,
                            None => Ok(None),
                        };
                        (file, manifest)
                    })
                    .buffered(READS_IN_FLIGHT);
                let mut others = Vec::new();
                while let Some((file, manifest)) = reads.next().await {
                    let manifest = match manifest {
                        Ok(Some(manifest)) => manifest,
                        Ok(None) => {
                            others.push(file);
                            continue;
                        }
                        Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => {
                            let why = "its manifest cannot be understood, see armory verify";
                            keeping.add(&found.key, found.number, why, 0, file.bytes);
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    let chain = Some((key.clone(), found.number, lineage, manifest.base));
                    let action = PruneAction {
                        kind: PruneKind::Marked,
                        place: format!("{directory}/{}", file.name),
                        bytes: file.bytes,
                        records: manifest.records,
                        timestamps: manifest.timestamps,
                        chain,
                    };
                    let names_it = manifest
                        .segment
                        .as_ref()
                        .is_some_and(|segment| segment.name == file.name);
                    match &manifest.pruned {
                        Some(pruned) if pruned.segment == file.name => {
                            let due = pruned.at.saturating_add(millis(request.grace));
                            if due <= now {
                                plan.actions.push(PruneAction {
                                    records: 0,
                                    ..action
                                });
                            } else {
                                let why = "marked as pruned, and deleted when its grace is over";
                                keeping.add(&found.key, found.number, why, 0, file.bytes);
                            }
                        }
                        _ if names_it => found.live.push(Live {
                            committed_at: manifest.committed_at,
                            expired: retention.is_expired(&manifest, now),
                            old: request
                                .older_than
                                .is_some_and(|after| expiry(&manifest, after) <= now),
                            action,
                        }),
                        _ => others.push(file),
                    }
                }
                drop(reads);
                self.look_at_letters(
                    found,
                    (&key, lineage),
                    request,
                    retention,
                    now,
                    plan,
                    keeping,
                    &mut others,
                )
                .await?;
                if let Some(age) = request.leftovers_older_than {
                    self.leftovers(found, &key, lineage, others, age, now, plan, keeping)
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// Looks at the dead letters of a lineage. Those of a manifest with a segment go with that.
    #[expect(clippy::too_many_arguments, reason = "what `look` has at hand")]
    async fn look_at_letters(
        &self,
        found: &mut Incarnation,
        (key, lineage): (&PartitionKey, u32),
        request: &PruneRequest,
        retention: &Retention,
        now: i64,
        plan: &mut PrunePlan,
        keeping: &mut Keeping,
        others: &mut Vec<Aged>,
    ) -> Result<(), ArchiveError> {
        let directory = layout::dead_letters_dir(key, lineage);
        for file in self.storage().list_aged(&directory).await? {
            let manifest = match layout::dead_letters_name(&file.name) {
                Some((base, _)) => self.read_manifest(key, lineage, base).await,
                None => Ok(None),
            };
            let manifest = match manifest {
                Ok(manifest) => manifest,
                Err(ArchiveError::Damaged(_) | ArchiveError::Unsupported { .. }) => {
                    let why = "its manifest cannot be understood, see armory verify";
                    keeping.add(&found.key, found.number, why, 0, file.bytes);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let place = format!("{directory}/{}", file.name);
            let names_it = |manifest: &Manifest| {
                let letters = manifest.dead_letters.as_ref();
                letters.is_some_and(|letters| letters.place == place)
            };
            let Some(manifest) = manifest.filter(names_it) else {
                others.push(file);
                continue;
            };
            let records = manifest
                .dead_letters
                .as_ref()
                .map_or(0, |letters| letters.records);
            let action = PruneAction {
                kind: PruneKind::Marked,
                place,
                bytes: file.bytes,
                records,
                timestamps: None,
                chain: Some((key.clone(), found.number, lineage, manifest.base)),
            };
            match &manifest.pruned {
                Some(pruned) if pruned.at.saturating_add(millis(request.grace)) <= now => {
                    plan.actions.push(PruneAction {
                        records: 0,
                        ..action
                    });
                }
                Some(_) => {
                    let why = "marked as pruned, and deleted when its grace is over";
                    keeping.add(&found.key, found.number, why, 0, file.bytes);
                }
                None if manifest.segment.is_none() => found.live.push(Live {
                    committed_at: manifest.committed_at,
                    expired: retention.is_expired(&manifest, now),
                    old: request
                        .older_than
                        .is_some_and(|after| expiry(&manifest, after) <= now),
                    action,
                }),
                None => {}
            }
        }
        Ok(())
    }

    /// Sorts out the files that no manifest names.
    #[expect(clippy::too_many_arguments, reason = "what `look` has at hand")]
    async fn leftovers(
        &self,
        found: &Incarnation,
        key: &PartitionKey,
        lineage: u32,
        files: Vec<Aged>,
        age: Duration,
        now: i64,
        plan: &mut PrunePlan,
        keeping: &mut Keeping,
    ) -> Result<(), ArchiveError> {
        let bases = match files.is_empty() {
            true => return Ok(()),
            false => self.manifest_bases(key, lineage).await?,
        };
        for file in files {
            let open = layout::open_name(&file.name).is_some()
                || file.name.ends_with(&format!(".{}", layout::MARK));
            // Those are the writer's; and unfinished files are looked for apart.
            if open || is_temporary(&file.name) {
                continue;
            }
            let why = match self.standing(key, lineage, &bases, &file.name).await? {
                // Committed since it was listed.
                Standing::Named => continue,
                Standing::Dead if file.modified.saturating_add(millis(age)) <= now => {
                    let base = layout::leading_digits(&file.name).unwrap_or(0);
                    plan.actions.push(PruneAction {
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
            keeping.add(&found.key, found.number, why, 0, file.bytes);
        }
        Ok(())
    }

    /// Looks for unfinished files, which only a folder has.
    async fn temporaries(
        &self,
        directory: String,
        deep: bool,
        age: Duration,
        now: i64,
        plan: &mut PrunePlan,
    ) -> Result<(), ArchiveError> {
        if self.storage().folder().is_none() {
            return Ok(());
        }
        let mut directories = vec![directory];
        while let Some(directory) = directories.pop() {
            let place = |name: &str| match directory.is_empty() {
                true => name.to_owned(),
                false => format!("{directory}/{name}"),
            };
            for file in self.storage().list_aged(&directory).await? {
                if is_temporary(&file.name) && file.modified.saturating_add(millis(age)) <= now {
                    plan.actions.push(PruneAction {
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
                let listing = self.storage().list(&directory).await?;
                directories.extend(listing.directories.iter().map(|name| place(name)));
            }
        }
        Ok(())
    }

    /// Does what a plan says, looking at each file once more before. `grace` is how long marked segments stay. After an error
    /// what was done stands: make a new plan. `progress` is called after each file.
    pub async fn prune(
        &self,
        plan: &PrunePlan,
        grace: Duration,
        mut progress: impl FnMut(&PruneOutcome) + Send,
    ) -> Result<PruneOutcome, ArchiveError> {
        let mut outcome = PruneOutcome::default();
        let mut bases: Option<(PartitionKey, u32, Vec<i64>)> = None;
        for action in &plan.actions {
            match (&action.chain, action.kind) {
                (Some((key, _, lineage, _)), PruneKind::Leftover) => {
                    if bases
                        .as_ref()
                        .is_none_or(|(k, l, _)| k != key || l != lineage)
                    {
                        let listed = self.manifest_bases(key, *lineage).await?;
                        bases = Some((key.clone(), *lineage, listed));
                    }
                    let listed = bases.as_ref().map_or(&[][..], |(_, _, bases)| bases);
                    let name = action.place.rsplit('/').next().unwrap_or_default();
                    if self.standing(key, *lineage, listed, name).await? == Standing::Dead {
                        self.delete(action, &mut outcome).await?;
                    }
                }
                (Some((key, _, lineage, base)), kind) => {
                    let manifest = self.read_manifest(key, *lineage, *base).await?;
                    if let Some(manifest) = manifest {
                        self.prune_segment(action, kind, manifest, grace, &mut outcome)
                            .await?;
                    }
                }
                (None, PruneKind::Temporary) => self.delete(action, &mut outcome).await?,
                (None, _) => {}
            }
            progress(&outcome);
        }
        Ok(outcome)
    }

    async fn prune_segment(
        &self,
        action: &PruneAction,
        kind: PruneKind,
        manifest: Manifest,
        grace: Duration,
        outcome: &mut PruneOutcome,
    ) -> Result<(), ArchiveError> {
        let now = now_ms();
        let is_it = |place: Option<String>| place.as_ref() == Some(&action.place);
        let are_letters = |manifest: &Manifest| {
            let letters = manifest.dead_letters.as_ref();
            is_it(letters.map(|letters| letters.place.clone()))
        };
        let marked = match &manifest.pruned {
            Some(_) => manifest,
            None if is_it(manifest.segment_place())
                || (manifest.segment.is_none() && are_letters(&manifest)) =>
            {
                let reason = match kind {
                    PruneKind::Expired => PruneReason::Expired,
                    _ => PruneReason::Requested,
                };
                let Some(marked) = self.mark(&manifest, reason, now).await? else {
                    return Ok(());
                };
                outcome.marked += 1;
                outcome.records += marked.records;
                marked
            }
            None => return Ok(()),
        };
        if !is_it(marked.pruned_place()) && !are_letters(&marked) {
            return Ok(());
        }
        let at = marked.pruned.as_ref().map_or(now, |pruned| pruned.at);
        if at.saturating_add(millis(grace)) <= now {
            self.delete_dead_letters(&marked).await?;
            self.delete(action, outcome).await
        } else {
            outcome.waiting_bytes += action.bytes;
            Ok(())
        }
    }

    async fn delete(
        &self,
        action: &PruneAction,
        outcome: &mut PruneOutcome,
    ) -> Result<(), ArchiveError> {
        self.storage().delete(&action.place).await?;
        outcome.deleted += 1;
        outcome.deleted_bytes += action.bytes;
        Ok(())
    }
}

/// Decides about the live segments of a topic, whose incarnations come by ascending number.
fn choose(
    incarnations: Vec<Incarnation>,
    request: &PruneRequest,
    now: i64,
    plan: &mut PrunePlan,
    keeping: &mut Keeping,
) {
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
                Some(kind) => plan.actions.push(PruneAction {
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
                    keeping.add(&key, number, why, records, bytes);
                }
            }
        }
    }
}
