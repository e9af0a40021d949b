//! Exit codes, and what an error becomes for the person who reads it.

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use armory_archive::ArchiveError;
use armory_engine::{EngineError, Outlook};
use armory_resources::Problems;

/// The documented exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The work is done.
    Done = 0,
    /// It failed, and may succeed when it is tried again.
    Failed = 1,
    /// The command line, or a file that it names, is wrong; nothing was done.
    Usage = 2,
    /// Something in an archive is damaged.
    Damage = 3,
    /// What was found, most of all in the target of a restore, does not allow what was asked for.
    Refused = 4,
    /// A plugin cannot be used, refuses its configuration, or stopped what it was given.
    Plugin = 5,
    /// It was stopped by a signal before its end, and goes on when it is run again. 128 and SIGTERM's number.
    Interrupted = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A mistake of the command line that its parser cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A run that a signal ended before it was through.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Interrupted(pub(crate) String);

/// Damage that a command met and stopped at.
#[derive(Debug, thiserror::Error)]
#[error("{0}; --skip-damaged goes on beyond it")]
pub(crate) struct DamageMet(pub(crate) String);

impl Exit {
    /// The exit code that an error asks for.
    pub(crate) fn of(error: &anyhow::Error) -> Exit {
        error
            .chain()
            .find_map(Exit::of_cause)
            .unwrap_or(Exit::Failed)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
        if cause.is::<Usage>() || cause.is::<Problems>() {
            return Some(Exit::Usage);
        }
        if cause.is::<Interrupted>() {
            return Some(Exit::Interrupted);
        }
        if cause.is::<DamageMet>() {
            return Some(Exit::Damage);
        }
        if let Some(error) = cause.downcast_ref::<ArchiveError>() {
            return match error {
                ArchiveError::Damaged(_) => Some(Exit::Damage),
                ArchiveError::InvalidLocation { .. } => Some(Exit::Usage),
                _ => None,
            };
        }
        if let Some(error) = cause.downcast_ref::<EngineError>() {
            return match error.outlook() {
                // One of its causes may tell more.
                Outlook::Passing => None,
                Outlook::Interrupted => Some(Exit::Interrupted),
                Outlook::Wrong => Some(Exit::Usage),
                Outlook::Refused => Some(Exit::Refused),
                Outlook::Plugin => Some(Exit::Plugin),
                Outlook::Damage => Some(Exit::Damage),
            };
        }
        // Whoever read our output (`head`, `less`) had enough of it.
        match cause.downcast_ref::<io::Error>() {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Some(Exit::Done),
            _ => None,
        }
    }
}

/// The whole chain of causes as one sentence.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            // A transparent wrapper repeats its cause.
            let _ = write!(text, ": {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn causes_become_one_sentence_without_repeats() {
        let cause = io::Error::other("the disk is full");
        let error = anyhow::Error::from(cause)
            .context("cannot write a.log: the disk is full")
            .context("the backup stopped");
        assert_eq!(
            sentence(&error),
            "the backup stopped: cannot write a.log: the disk is full"
        );
    }

    #[test]
    fn exit_codes_follow_the_cause() {
        let usage: anyhow::Result<()> = Err(Usage("no".into()).into());
        assert_eq!(Exit::of(&usage.context("so").unwrap_err()), Exit::Usage);
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Exit::of(&pipe.into()), Exit::Done);
        assert_eq!(Exit::of(&anyhow::anyhow!("other")), Exit::Failed);
        let stopped = EngineError::Stopped {
            id: "r".to_owned(),
            records: 1,
        };
        let stopped: anyhow::Result<()> = Err(stopped.into());
        let stopped = stopped.context("restore r failed").unwrap_err();
        assert_eq!(Exit::of(&stopped), Exit::Interrupted);
    }
}
