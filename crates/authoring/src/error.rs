//! Why there is no project, or no component.

use std::path::PathBuf;

use crate::Language;

/// What went wrong, with the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name cannot be that of a package in every language.
    #[error(
        "{name:?} is not a name for a plugin: use lower-case letters, digits and hyphens, beginning with a letter, 64 at the most"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// Something is where the project is to be.
    #[error("{} is there already; remove it, or choose another name", folder.display())]
    Exists {
        /// The project's folder.
        folder: PathBuf,
    },
    /// The folder holds no project.
    #[error(
        "{} holds no plugin: there is no Cargo.toml, app.py, go.mod or package.json; begin one with armory plugin new",
        folder.display()
    )]
    NoProject {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds projects of several languages.
    #[error("{} holds both a {first} and a {second} project ({} and {}); keep one of the two files", folder.display(), first.marker(), second.marker())]
    SeveralLanguages {
        /// The folder.
        folder: PathBuf,
        /// One language.
        first: Language,
        /// Another.
        second: Language,
    },
    /// A program of the machine is missing.
    #[error("{what} is missing; {remedy}")]
    Missing {
        /// What it is.
        what: String,
        /// How to get it.
        remedy: String,
    },
    /// A program of the toolchain failed.
    #[error("{command} failed ({status}) in {}:\n{output}", folder.display())]
    Failed {
        /// What was run.
        command: String,
        /// Where.
        folder: PathBuf,
        /// How it ended.
        status: String,
        /// All that it printed.
        output: String,
    },
    /// The toolchain did its work, and the file that it should have made is not there.
    #[error("{command} made no {}; {remedy}", file.display())]
    NothingMade {
        /// What was run.
        command: String,
        /// The missing file.
        file: PathBuf,
        /// What to look at.
        remedy: &'static str,
    },
    /// The project's WIT files cannot be read, or leave open which world is meant.
    #[error("{}: {reason}; armory plugin new shows what belongs there: types.wit and the file of one world", folder.display())]
    Wit {
        /// The folder of the files.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What was compiled is not what the world asks for.
    #[error("the compiled module does not make a plugin: {reason}")]
    Encode {
        /// What is wrong.
        reason: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Adds a path to an I/O error.
pub(crate) fn io(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}
