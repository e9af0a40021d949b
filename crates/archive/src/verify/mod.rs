//! Verification: looks at everything in an archive and tells what is damaged, where.

mod lineage;
mod pace;
mod state;
mod survey;
mod topic;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use state::VerifyState;
pub use survey::{ChainSurvey, IncarnationSurvey};

use crate::archive::Archive;
use crate::error::{ArchiveError, Damage};
use crate::layout;

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Documents, chains, and that segments exist in their size.
    Chains,
    /// Besides, every byte of every segment.
    Segments,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is wrong; e.g. leftovers of a crashed writer.
    Info,
    /// Something may be missing.
    Warning,
    /// Something archived is lost or wrong.
    Damage,
}

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A document is missing, or its checksum or content is wrong.
    Document,
    /// A document needs a later version of this program.
    Unsupported,
    /// A chain has a hole: a manifest is missing in the middle.
    MissingLink,
    /// Two manifests of a chain cover the same offsets.
    Overlap,
    /// A manifest does not name its predecessor's checksum.
    Predecessor,
    /// A head hint knows of manifests beyond the chain's end.
    MissingEnd,
    /// A segment is missing.
    MissingSegment,
    /// A segment has another size than its manifest tells.
    SegmentSize,
    /// A segment's content is wrong.
    Segment,
    /// A file that no manifest names.
    Leftover,
}

impl FindingKind {
    /// How bad findings of this kind are.
    pub fn severity(self) -> Severity {
        match self {
            Self::Leftover => Severity::Info,
            // A head is only a hint, and it may be another archive's that was copied over.
            Self::MissingEnd => Severity::Warning,
            _ => Severity::Damage,
        }
    }

    /// What can be done about findings of this kind, in words.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Document
            | Self::MissingLink
            | Self::MissingSegment
            | Self::SegmentSize
            | Self::Segment => {
                "bring this file back from a copy of the archive; what it held is lost without one, the rest is readable"
            }
            Self::Unsupported => "use the version of armory that wrote it",
            Self::Overlap | Self::Predecessor => {
                "a manifest of another time or archive lies here: bring back the right one from a copy of the archive"
            }
            Self::MissingEnd => "look for the newest manifests in a copy of the archive",
            Self::Leftover => "armory prune --leftovers removes what nobody needs",
        }
    }
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// The segment, manifest or other object, relative to the archive's root.
    pub place: String,
    /// The batch within the segment, from 0.
    pub batch: Option<u64>,
    /// The Kafka offset at which it shows.
    pub offset: Option<i64>,
    /// What it is, in a sentence without full stop.
    pub message: String,
}

impl Finding {
    fn new(kind: FindingKind, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            severity: kind.severity(),
            place: place.into(),
            batch: None,
            offset: None,
            message: message.into(),
        }
    }

    fn at(self, offset: i64) -> Self {
        Self {
            offset: Some(offset),
            ..self
        }
    }

    fn damage(kind: FindingKind, damage: Damage) -> Self {
        Self {
            batch: damage.batch,
            offset: damage.offset,
            ..Self::new(kind, damage.place, damage.what)
        }
    }
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Partitions done.
    pub partitions: u64,
    /// Manifests checked.
    pub manifests: u64,
    /// Segments checked.
    pub segments: u64,
    /// Dead letters that manifests name.
    #[serde(default)]
    pub dead_letters: u64,
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
    /// The findings, by topic, partition and offset.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub checked: Progress,
    /// From where a later verification can go on.
    pub state: VerifyState,
}

/// How to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// How far to look.
    pub depth: Depth,
    /// At most so many bytes of batches are read in a second.
    pub rate: Option<u64>,
    /// Segments that this says were read are not read again; what was found in them is found again.
    pub state: VerifyState,
}

impl VerifyReport {
    /// Whether nothing is damaged; there may be warnings.
    pub fn is_sound(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity < Severity::Damage)
    }

    /// Keeps a failure that tells of damage as a finding; passes others on, for then nothing is known.
    fn note<T>(
        &mut self,
        kind: FindingKind,
        result: Result<T, ArchiveError>,
    ) -> Result<Option<T>, ArchiveError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(ArchiveError::Damaged(damage)) => {
                self.findings.push(Finding::damage(kind, *damage));
                Ok(None)
            }
            Err(ArchiveError::Unsupported { place, requirement }) => {
                let message = format!("it needs {requirement}, which this version does not know");
                self.findings
                    .push(Finding::new(FindingKind::Unsupported, place, message));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Archive {
    /// Checks everything of the topics for which `filter` says so. `progress` is called now and then.
    ///
    /// Damage is a finding; an error means that the archive could not be read.
    pub async fn verify(
        &self,
        filter: impl Fn(&str) -> bool + Send,
        depth: Depth,
        mut progress: impl FnMut(&Progress) + Send,
    ) -> Result<VerifyReport, ArchiveError> {
        let options = VerifyOptions {
            depth,
            rate: None,
            state: VerifyState::new(self.id()),
        };
        let progress = |report: &VerifyReport| progress(&report.checked);
        self.verify_from(filter, options, progress).await
    }

    /// As [`verify`](Self::verify), from where an earlier verification was when it ended or was cut off, and no faster than is
    /// asked. What `progress` is given holds the state to go on from. All documents are checked anew; the report is the one that
    /// an uninterrupted verification would give.
    pub async fn verify_from(
        &self,
        filter: impl Fn(&str) -> bool + Send,
        options: VerifyOptions,
        mut progress: impl FnMut(&VerifyReport) + Send,
    ) -> Result<VerifyReport, ArchiveError> {
        let VerifyOptions { depth, rate, state } = options;
        let reading = lineage::Reading {
            depth,
            pace: pace::Pace::new(rate),
        };
        let mut report = VerifyReport {
            state: state.of(self.id()),
            ..VerifyReport::default()
        };
        // Before the chains: what a hint knows was committed before.
        let heads = self.read_heads().await?;
        let mut topics = BTreeSet::new();
        for directory in [layout::TOPICS, layout::MANIFESTS] {
            topics.extend(self.storage().list(directory).await?.directories);
        }
        for topic in topics.iter().filter(|topic| filter(topic)) {
            self.verify_topic(topic, &reading, &heads, &mut report, &mut progress)
                .await?;
        }
        report.state.finished = true;
        progress(&report);
        Ok(report)
    }
}
