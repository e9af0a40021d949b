//! Findings of damage, for programs and for people.

use armory_archive::{Finding, FindingKind, Severity};
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FindingView {
    pub(super) severity: &'static str,
    kind: &'static str,
    place: String,
    batch: Option<u64>,
    offset: Option<i64>,
    message: String,
    remedy: &'static str,
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        FindingView {
            severity: match finding.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Damage => "damage",
            },
            kind: kind(finding.kind),
            place: finding.place.clone(),
            batch: finding.batch,
            offset: finding.offset,
            message: finding.message.clone(),
            remedy: finding.kind.remedy(),
        }
    }
}

impl FindingView {
    /// One line, without line feed.
    pub(super) fn line(&self) -> String {
        let mut text = format!("{}: {}", self.severity, self.place);
        if let Some(batch) = self.batch {
            text.push_str(&format!(", batch {batch}"));
        }
        if let Some(offset) = self.offset {
            text.push_str(&format!(", offset {offset}"));
        }
        text.push_str(&format!(": {}", self.message));
        text
    }

    /// One line with what can be done about it.
    pub(super) fn line_with_remedy(&self) -> String {
        format!("{}; {}", self.line(), self.remedy)
    }
}

fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Document => "document",
        FindingKind::Unsupported => "unsupported",
        FindingKind::MissingLink => "missing-link",
        FindingKind::Overlap => "overlap",
        FindingKind::Predecessor => "predecessor",
        FindingKind::MissingEnd => "missing-end",
        FindingKind::MissingSegment => "missing-segment",
        FindingKind::SegmentSize => "segment-size",
        FindingKind::Segment => "segment",
        FindingKind::Leftover => "leftover",
        // A kind that a later version of the archive's crate knows.
        _ => "other",
    }
}
