//! Verification.

use crate::archive::Archive;
use crate::error::ArchiveError;

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Documents, chains, and that segments exist in their size.
    Chains,
    /// Besides, every byte of every segment.
    Segments,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong; e.g. leftovers of a crashed writer.
    Info,
    /// Something may be missing.
    Warning,
    /// Something archived is lost or wrong.
    Damage,
}

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// A document's checksum or content is wrong.
    Document,
    /// A document needs a later version of this program.
    Unsupported,
    /// A chain has a hole: a manifest is missing in the middle.
    MissingLink,
    /// Two manifests of a chain cover the same offsets.
    Overlap,
    /// A manifest does not follow its predecessor.
    Predecessor,
    /// A head hint knows a manifest beyond the chain's end.
    MissingEnd,
    /// A segment is missing.
    MissingSegment,
    /// A segment has another size.
    SegmentSize,
    /// A segment's content is wrong.
    Segment,
    /// A file belongs to nothing.
    Leftover,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// The segment, manifest or other object, relative to the archive's root.
    pub place: String,
    /// The batch within the segment, from 0.
    pub batch: Option<u64>,
    /// The Kafka offset.
    pub offset: Option<i64>,
    /// One sentence.
    pub message: String,
}

/// How far a verification is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Partitions done.
    pub partitions: u64,
    /// Manifests checked.
    pub manifests: u64,
    /// Segments checked.
    pub segments: u64,
    /// Batches read.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of batches read.
    pub bytes: u64,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The findings, in the order of topics, partitions and offsets.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub checked: Progress,
}

impl VerifyReport {
    /// Whether nothing is damaged; warnings may be there.
    pub fn is_sound(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity < Severity::Damage)
    }
}

impl Archive {
    /// Checks the topics for which `filter` says so.
    pub async fn verify(
        &self,
        _filter: impl Fn(&str) -> bool + Send,
        _depth: Depth,
        _progress: impl FnMut(&Progress) + Send,
    ) -> Result<VerifyReport, ArchiveError> {
        todo!()
    }
}
