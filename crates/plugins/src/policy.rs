//! What happens to a record that a plugin does not accept: the error policy of a plugin entry.

use std::fmt;

/// The ways in which a record fails to come out of a plugin. Each has its own cell in an [`ErrorPolicy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The plugin rejected the record: it filters.
    Rejected,
    /// The plugin said that it could not process the record.
    Error,
    /// The plugin trapped, ran out of time or memory, or handed back something that is no record; twice.
    Fault,
    /// A header key is not UTF-8, which this version of the contract cannot express.
    HeaderKeyNotUtf8,
}

impl FailureClass {
    /// The name that configuration, metrics and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Error => "error",
            Self::Fault => "fault",
            Self::HeaderKeyNotUtf8 => "headerKeyNotUtf8",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to do with a record that a plugin does not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Stop the partition that the record belongs to.
    Fail,
    /// Leave the record out, and go on with the next.
    Drop,
    /// Put the record aside as it came into the chain, with what happened, and go on with the next.
    DeadLetter,
    /// Give the record to the next plugin as it was given to this one.
    PassThrough,
}

/// How many failures a plugin entry may have: more than `max_failures` among the last `window` records of a partition stop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopRule {
    /// So many failures are borne.
    pub max_failures: u64,
    /// Among so many records of the partition, the failing one included.
    pub window: u64,
}

/// The error policy of one plugin entry: an action for every class of failure.
///
/// It is about records only. A plugin that cannot be loaded, whose `init` refuses or whose requirements call fails always
/// stops what it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorPolicy {
    /// For [`FailureClass::Rejected`].
    pub rejected: Action,
    /// For [`FailureClass::Error`].
    pub error: Action,
    /// For [`FailureClass::Fault`].
    pub fault: Action,
    /// For [`FailureClass::HeaderKeyNotUtf8`].
    pub header_key_not_utf8: Action,
    /// When too many failures stop the partition, whatever the actions say. A record that is rejected and dropped is none.
    pub stop_rule: Option<StopRule>,
}

impl Default for ErrorPolicy {
    fn default() -> Self {
        Self {
            rejected: Action::Drop,
            error: Action::Fail,
            fault: Action::Fail,
            header_key_not_utf8: Action::Fail,
            stop_rule: None,
        }
    }
}

impl ErrorPolicy {
    /// The action for a class of failure.
    pub fn action(&self, class: FailureClass) -> Action {
        match class {
            FailureClass::Rejected => self.rejected,
            FailureClass::Error => self.error,
            FailureClass::Fault => self.fault,
            FailureClass::HeaderKeyNotUtf8 => self.header_key_not_utf8,
        }
    }

    /// Whether the stop rule counts a class as failures: a filter that filters does what it is there for.
    pub(crate) fn is_failure(&self, class: FailureClass) -> bool {
        (class, self.action(class)) != (FailureClass::Rejected, Action::Drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_filters_and_everything_else_fails() {
        let policy = ErrorPolicy::default();
        assert_eq!(policy.action(FailureClass::Rejected), Action::Drop);
        assert_eq!(policy.action(FailureClass::Error), Action::Fail);
        assert_eq!(policy.action(FailureClass::Fault), Action::Fail);
        assert_eq!(policy.action(FailureClass::HeaderKeyNotUtf8), Action::Fail);
    }
}
