//! Generations: the numbers by which the processes of one backup are told from each other, the newer from the older.
//!
//! There are two. The *group generation* grows whenever a backup's partitions are dealt out anew among its workers; an
//! operator gives it, or it is counted here. The *generation* grows with every process that starts, so that of two processes
//! that do the same work the one that started later wins. The newest claim says what the last process was.

use armory_failpoints::{Point, reach};
use serde::{Deserialize, Serialize};

use crate::archive::{Archive, now_ms};
use crate::error::ArchiveError;
use crate::layout;
use crate::names::{WriterIdentity, check_name};
use crate::sealed::{self, FORMAT};
use crate::storage::Created;

/// How a backup's partitions are dealt out, and to which of the workers the process belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which worker, from 0 on.
    pub index: u32,
    /// How many there are.
    pub workers: u32,
    /// How their work is spread.
    pub seed: u32,
    /// The group generation, if somebody counts it; otherwise it grows when the number of workers or the seed changes.
    pub group_generation: Option<u64>,
}

impl Default for Share {
    /// One process does everything.
    fn default() -> Self {
        Self {
            index: 0,
            workers: 1,
            seed: 0,
            group_generation: None,
        }
    }
}

/// A generation's claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct GenerationDocument {
    format: u32,
    requires: Vec<String>,
    generation: u64,
    claimed_at: i64,
    /// Absent in claims of versions without work groups, as are the next two.
    #[serde(default)]
    group_generation: u64,
    #[serde(default = "one")]
    workers: u32,
    #[serde(default)]
    seed: u32,
}

fn one() -> u32 {
    1
}

impl Archive {
    /// The identity of a process that begins to write for a backup: with the next generation (1, 2, 3 …; no two callers get the
    /// same one), and with the group generation of its share.
    ///
    /// [`ArchiveError::GroupIsOver`] if a later group generation than the given one has begun; [`ArchiveError::OtherGroup`] if
    /// the given one was begun with another number of workers or another seed.
    pub async fn begin_writing(
        &self,
        backup_id: &str,
        share: Share,
    ) -> Result<WriterIdentity, ArchiveError> {
        check_name("backup id", backup_id, 200)?;
        let directory = layout::generations(backup_id);
        let path = |generation: u64| format!("{directory}/{generation:020}.json");
        loop {
            let newest = newest_generation(&self.storage().list(&directory).await?.files);
            let before = match newest {
                Some(newest) => match self.storage().get(&path(newest)).await? {
                    Some(text) => {
                        Some(sealed::unseal::<GenerationDocument>(&path(newest), &text)?.0)
                    }
                    // A higher one was claimed meanwhile.
                    None => continue,
                },
                None => None,
            };
            let group_generation = group_generation(backup_id, share, before.as_ref())?;
            let generation = newest.unwrap_or(0) + 1;
            let document = GenerationDocument {
                format: FORMAT,
                requires: Vec::new(),
                generation,
                claimed_at: now_ms(),
                group_generation,
                workers: share.workers,
                seed: share.seed,
            };
            let (text, _) = sealed::seal(&document);
            if self
                .storage()
                .create(&path(generation), text.into())
                .await?
                == Created::Exists
            {
                continue;
            }
            reach(Point::GenerationClaimed);
            // A listing that was overtaken may lead to a number that others used and deleted: then a higher
            // one is there, for the highest is never deleted.
            let claims = self.storage().list(&directory).await?.files;
            if newest_generation(&claims) > Some(generation) {
                continue;
            }
            for older in claims.iter().filter_map(|(name, _)| generation_of(name)) {
                if older < generation {
                    self.storage().delete(&path(older)).await?;
                }
            }
            let worker = (share.workers > 1).then(|| format!("{}/{}", share.index, share.workers));
            return Ok(WriterIdentity {
                group_generation,
                worker,
                ..WriterIdentity::new(backup_id, generation)
            });
        }
    }
}

fn group_generation(
    backup_id: &str,
    share: Share,
    before: Option<&GenerationDocument>,
) -> Result<u64, ArchiveError> {
    let Some(before) = before else {
        return Ok(share.group_generation.unwrap_or(0));
    };
    let newest = before.group_generation;
    let is_same = (before.workers, before.seed) == (share.workers, share.seed);
    match share.group_generation {
        None if is_same => Ok(newest),
        None => Ok(newest + 1),
        Some(given) if given < newest => Err(ArchiveError::GroupIsOver {
            backup_id: backup_id.to_owned(),
            given,
            newest,
        }),
        Some(given) if given == newest && !is_same => Err(ArchiveError::OtherGroup {
            backup_id: backup_id.to_owned(),
            generation: given,
            workers: before.workers,
            seed: before.seed,
        }),
        Some(given) => Ok(given),
    }
}

fn generation_of(name: &str) -> Option<u64> {
    name.strip_suffix(".json")?.parse().ok()
}

fn newest_generation(files: &[(String, u64)]) -> Option<u64> {
    files
        .iter()
        .filter_map(|(name, _)| generation_of(name))
        .max()
}
