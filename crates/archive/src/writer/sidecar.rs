//! The sidecar of an open segment: `<base>.<nonce>.mark`, what of the segment is known to be durable.
//!
//! It is a list of lines, each sealed by its own checksum and appended with one `fdatasync`: the first says
//! whose segment it is, each further one moves the mark and adds the gaps since the one before. A line that a
//! crash cut short is the last one and ends without a line feed; it counts as not written.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use armory_failpoints::{Point, reach};
use serde::{Deserialize, Serialize};

use crate::dead_letters::DeadLetter;
use crate::error::ArchiveError;
use crate::gaps::{Gap, Gaps};
use crate::manifest::EpochStart;
use crate::names::{PartitionKey, TopicId, WriterIdentity, new_nonce};
use crate::sealed::{self, DEAD_LETTERS, FORMAT};
use crate::storage::trace::{Operation, note};
use crate::storage::{TEMPORARY, io_error, rename, sync_parent, unfinished};

/// Lines are gathered into one when the file is larger than this and four times what it was then.
const COMPACT_ABOVE: u64 = 64 << 10;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SidecarHeader {
    pub(crate) format: u32,
    pub(crate) requires: Vec<String>,
    pub(crate) topic: String,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: i32,
    pub(crate) lineage: u32,
    pub(crate) base: i64,
    pub(crate) nonce: String,
    pub(crate) opened_at: i64,
    pub(crate) writer: WriterIdentity,
}

impl SidecarHeader {
    pub(crate) fn new(
        key: &PartitionKey,
        lineage: u32,
        base: i64,
        nonce: &str,
        opened_at: i64,
        writer: &WriterIdentity,
        has_dead_letters: bool,
    ) -> Self {
        Self {
            format: FORMAT,
            requires: match has_dead_letters {
                true => vec![DEAD_LETTERS.to_owned()],
                false => Vec::new(),
            },
            topic: key.topic.topic.clone(),
            topic_id: key.topic.topic_id,
            partition: key.partition,
            lineage,
            base,
            nonce: nonce.to_owned(),
            opened_at,
            writer: writer.clone(),
        }
    }
}

/// A further line: how far the segment is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Bytes of the segment that are durable.
    pub(crate) bytes: u64,
    /// The offset up to which batches and gaps are durable (exclusive).
    pub(crate) next: i64,
    /// The BLAKE3 hash of those bytes.
    pub(crate) blake3: String,
    /// The gaps since the line before, relative to its `next` (in the first: to the segment's base).
    pub(crate) gaps: Gaps,
    /// `[position, observed at]` of the index entries begun since the line before.
    pub(crate) observed: Vec<(u64, i64)>,
    /// The leader epoch of the last batch, also where it was not kept; absent in marks of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_leader_epoch: Option<i32>,
    /// Where leader epochs begin, of those that began since the line before; absent if none did, and in marks of
    /// earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) epoch_starts: Vec<EpochStart>,
    /// The dead letters since the line before; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dead_letters: Vec<DeadLetter>,
}

impl SidecarHeader {
    /// Whether the segment has dead letters: then only what is up to the mark counts.
    pub(crate) fn has_dead_letters(&self) -> bool {
        self.requires
            .iter()
            .any(|requirement| requirement == DEAD_LETTERS)
    }
}

/// What a sidecar tells.
#[derive(Debug, Default)]
pub(crate) struct SidecarContent {
    pub(crate) header: Option<SidecarHeader>,
    /// The last mark, with the gaps, epochs and times of observation of all lines.
    pub(crate) mark: Option<Mark>,
    pub(crate) gaps: Vec<Gap>,
}

/// A sidecar that is written.
#[derive(Debug)]
pub(crate) struct Sidecar {
    path: PathBuf,
    /// The size of the file; 0 while it does not exist.
    size: u64,
    compacted_size: u64,
}

impl Sidecar {
    /// A sidecar that does not exist yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            size: 0,
            compacted_size: 0,
        }
    }

    /// Has the next line be one for all.
    pub(crate) fn want_rewrite(&mut self) {
        self.size = 0;
    }

    /// Whether the next line should be one for all: `whole` for [`rewrite`](Self::rewrite).
    pub(crate) fn wants_rewrite(&self) -> bool {
        self.size == 0 || self.size > COMPACT_ABOVE.max(4 * self.compacted_size)
    }

    /// Appends a line, durably.
    pub(crate) fn append(&mut self, mark: &Mark) -> Result<(), ArchiveError> {
        let (line, _) = sealed::seal(mark);
        OpenOptions::new()
            .append(true)
            .open(&self.path)
            .and_then(|mut file| {
                file.write_all(&line)?;
                note(|| Operation::Wrote(self.path.clone(), line.clone()));
                file.sync_data()
            })
            .map_err(io_error("write", &self.path))?;
        note(|| Operation::Synced(self.path.clone()));
        self.size += line.len() as u64;
        Ok(())
    }

    /// Writes the file anew, durably: with the name of the segment beside it, which it makes durable, too.
    pub(crate) fn rewrite(
        &mut self,
        header: &SidecarHeader,
        whole: &Mark,
    ) -> Result<(), ArchiveError> {
        let mut lines = sealed::seal(header).0;
        lines.extend(sealed::seal(whole).0);
        let mut temporary = self.path.as_os_str().to_owned();
        temporary.push(format!(".{}{TEMPORARY}", new_nonce()));
        let temporary = PathBuf::from(temporary);
        fs::File::create_new(&temporary)
            .and_then(|mut file| {
                note(|| Operation::Created(temporary.clone()));
                file.write_all(&lines)?;
                note(|| Operation::Wrote(temporary.clone(), lines.clone()));
                file.sync_all()
            })
            .map_err(io_error("write", &temporary))
            .map_err(|error| unfinished(error, &temporary, &self.path))?;
        note(|| Operation::Synced(temporary.clone()));
        reach(Point::SidecarWritten);
        rename(&temporary, &self.path, "replace")?;
        sync_parent(&self.path)?;
        self.size = lines.len() as u64;
        self.compacted_size = self.size;
        Ok(())
    }
}

/// Reads a sidecar; one that does not exist tells nothing. `place` names it in errors.
pub(crate) fn read(path: &Path, place: &str) -> Result<SidecarContent, ArchiveError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(SidecarContent::default());
        }
        Err(error) => return Err(io_error("read", path)(error)),
    };
    parse(&text, place)
}

fn parse(text: &[u8], place: &str) -> Result<SidecarContent, ArchiveError> {
    let mut content = SidecarContent::default();
    let mut base = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if !line.ends_with(b"\n") {
            break;
        }
        if content.header.is_none() {
            let (header, _) = sealed::unseal::<SidecarHeader>(place, line)?;
            base = header.base;
            content.header = Some(header);
            continue;
        }
        let mark = sealed::unseal_line::<Mark>(place, line)?;
        content.gaps.extend(mark.gaps.iter(base));
        base = mark.next;
        let (mut observed, mut epoch_starts, mut dead_letters) =
            content.mark.take().map_or_else(Default::default, |before| {
                (before.observed, before.epoch_starts, before.dead_letters)
            });
        observed.extend(mark.observed);
        epoch_starts.extend(mark.epoch_starts);
        dead_letters.extend(mark.dead_letters);
        content.mark = Some(Mark {
            observed,
            epoch_starts,
            dead_letters,
            ..mark
        });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gaps::GapCause;
    use crate::names::TopicKey;

    fn header() -> SidecarHeader {
        let key = TopicKey::new("t", None).partition(0);
        SidecarHeader::new(&key, 0, 100, "ab", 7, &WriterIdentity::new("b", 1), false)
    }

    fn mark(bytes: u64, base: i64, next: i64) -> Mark {
        let mut gaps = Gaps::default();
        gaps.push(
            base,
            Gap {
                start: next - 1,
                end: next,
                cause: GapCause::Control,
            },
        );
        Mark {
            bytes,
            next,
            blake3: blake3::hash(b"").to_hex().to_string(),
            gaps,
            observed: vec![(bytes, 1)],
            last_leader_epoch: None,
            epoch_starts: vec![EpochStart {
                epoch: 1,
                offset: base,
            }],
            dead_letters: Vec::new(),
        }
    }

    #[test]
    fn lines_add_up_and_a_torn_line_counts_as_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.mark");
        let mut sidecar = Sidecar::new(path.clone());
        assert!(sidecar.wants_rewrite());
        sidecar.rewrite(&header(), &mark(10, 100, 110)).unwrap();
        assert!(!sidecar.wants_rewrite());
        let first = fs::read(&path).unwrap().len();
        sidecar.append(&mark(20, 110, 120)).unwrap();
        let text = fs::read(&path).unwrap();

        let whole = parse(&text, "x").unwrap();
        let last = whole.mark.unwrap();
        assert_eq!((last.bytes, last.next), (20, 120));
        assert_eq!(last.observed, [(10, 1), (20, 1)]);
        let epochs: Vec<_> = last.epoch_starts.iter().map(|start| start.offset).collect();
        assert_eq!(epochs, [100, 110]);
        let starts: Vec<_> = whole.gaps.iter().map(|gap| gap.start).collect();
        assert_eq!(starts, [109, 119]);

        for length in first..text.len() {
            let torn = parse(&text[..length], "x").unwrap();
            assert_eq!(torn.mark.unwrap().next, 110, "{length}");
        }
        assert!(parse(&text[..first - 1], "x").unwrap().mark.is_none());
    }

    #[test]
    fn a_flipped_bit_is_damage() {
        let mut text = sealed::seal(&header()).0;
        text.extend(sealed::seal(&mark(10, 100, 110)).0);
        for position in 0..text.len() - 1 {
            let mut flipped = text.clone();
            flipped[position] ^= 1;
            assert!(parse(&flipped, "x").is_err(), "{position}");
        }
    }
}
