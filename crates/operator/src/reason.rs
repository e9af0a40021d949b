//! The reasons of conditions: one word each, for scripts and for the table in `docs/guide/kubernetes/running.md`.

use std::fmt;

/// Declares the reasons, and the list of them all.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Why a condition is as it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Reason {
            $($(#[$doc])* $name,)+
        }

        impl Reason {
            /// All of them.
            pub(crate) const ALL: &[Reason] = &[$(Reason::$name,)+];

            /// The word.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    // Nothing is wrong.
    /// A Storage or an EventHub.
    Ready,
    /// A Backup with nothing in it.
    NoStreams,
    /// A Restore with nothing in it.
    NoMapping,
    /// Not switched on.
    NotEnabled,
    /// A Backup that was switched off, and its pods are still there.
    Pausing,
    /// The same without pods.
    Paused,
    /// A Restore that was switched off, and its pod is still there.
    Stopping,
    /// The same without a pod.
    Stopped,
    /// The children are made, and the pods start.
    Starting,
    /// The volume of the Storage is being made.
    StorageNotReady,
    /// Another number of workers: those of before end first.
    WorkGroupChanges,
    /// Another job: the pod of before ends first.
    Replacing,
    /// A Backup that runs.
    Streaming,
    /// A Restore that runs.
    Restoring,
    /// A Restore at its end.
    Done,
    // The resource cannot be carried out.
    /// A field, and what is wrong there.
    InvalidSpec,
    /// What is referred to is not there.
    NotFound,
    /// A plugin's or a report's claim is not there.
    ClaimNotFound,
    /// A Restore was edited after its first record.
    ChangedAfterStart,
    /// Somebody else's StatefulSet has the name.
    NameTaken,
    /// Somebody else's claim has the Storage's name.
    ClaimTaken,
    /// The Storage's claim is on its way out.
    ClaimDeleted,
    /// The API server refuses the claim.
    ClaimRefused,
    /// The claim's volume is gone.
    ClaimLost,
    /// A Storage that is being deleted has users.
    InUse,
    /// Schema registries.
    NotSupported,
    // Kubernetes cannot run the pod.
    /// The API server refuses it.
    PodsNotCreated,
    /// No node takes it.
    Unschedulable,
    /// Its image cannot be had.
    ImageUnavailable,
    /// Its container waits for another cause.
    PodError,
    /// The node ended it.
    PodFailed,
    /// It used more than its limit.
    OutOfMemory,
    // The worker's own word.
    /// It goes on trying.
    WorkerInTrouble,
    /// Exit code 1.
    WorkerFailed,
    /// Exit code 2.
    InvalidConfiguration,
    /// Exit code 3.
    ArchiveDamaged,
    /// Exit code 4.
    PreflightRefused,
    /// Exit code 5.
    PluginRefused,
    /// Another exit code.
    WorkerEnded,
    // Of the condition `DeploymentReady`.
    /// All pods run.
    DeploymentReady,
    /// They cannot.
    DeploymentError,
    /// None are wanted.
    DeploymentDeleted,
    /// They come or go.
    DeploymentStateUnknown,
    // Of the condition `JobCompleted`; the third one of `Ready`, too.
    /// It has not begun.
    JobInitializing,
    /// Its pod restores.
    JobRunning,
    /// It failed.
    JobFailed,
    /// It is at its end.
    JobCompleted,
    // Of the condition `SchemaMappingValidated`.
    /// The map is read.
    Valid,
    /// It is not one.
    Invalid,
    // Of the condition `Notes`.
    /// Nothing is wrong.
    WorthKnowing,
}

impl Reason {
    /// The reason that a status names.
    pub(crate) fn named(word: &str) -> Option<Reason> {
        let mut all = Reason::ALL.iter();
        all.find(|reason| reason.as_str() == word).copied()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// The guide tells what each means.
    #[test]
    fn every_reason_is_in_the_guide() {
        let guide = include_str!("../../../docs/guide/kubernetes/running.md");
        let rows: Vec<&str> = guide.lines().filter(|line| line.starts_with('|')).collect();
        for reason in Reason::ALL {
            let word = format!("`{reason}`");
            assert!(rows.iter().any(|row| row.contains(&word)), "{reason}");
        }
    }

    /// Rules are tested beside them, and what a cluster is needed for on a real one.
    #[test]
    fn every_reason_is_in_a_test() {
        let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let sources = |folder: &str| {
            let mut folders = vec![PathBuf::from(format!("{crates}/{folder}"))];
            let mut texts = Vec::new();
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                    } else {
                        texts.push(fs::read_to_string(path).unwrap());
                    }
                }
            }
            texts
        };
        let mut rules: Vec<String> = sources("operator/src");
        for text in &mut rules {
            let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
            text.drain(..tests);
        }
        let real = sources("cli/tests/real_operator");
        for reason in Reason::ALL {
            let (rule, word) = (format!("Reason::{reason}"), format!("\"{reason}\""));
            // Not the beginning of a longer one.
            let ends = |text: &str, at: usize| {
                let next = text[at + rule.len()..].chars().next();
                next.is_none_or(|next| !next.is_alphanumeric())
            };
            let in_rules = rules
                .iter()
                .any(|text| text.match_indices(&rule).any(|(at, _)| ends(text, at)));
            let in_real = real.iter().any(|text| text.contains(&word));
            assert!(in_rules || in_real, "no test reaches {reason}");
        }
    }

    #[test]
    fn a_reason_is_found_by_its_word() {
        for reason in Reason::ALL {
            assert_eq!(Reason::named(&reason.to_string()), Some(*reason));
        }
        assert_eq!(Reason::named("Else"), None);
    }
}
