//! What is worth knowing and no error, as a condition.

use crate::status::{Finding, Found};

/// Adds the condition `Notes`, where there is something to note.
pub(crate) fn with_notes(finding: Finding, notes: &[String]) -> Finding {
    if notes.is_empty() {
        return finding;
    }
    finding.with(Found::new("Notes", true, "WorthKnowing", notes.join("; ")))
}
