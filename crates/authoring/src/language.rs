//! The languages and worlds that there are templates for.

use std::fmt;
use std::path::Path;

/// A language that plugins are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// Rust, built by cargo.
    Rust,
    /// Python, built by componentize-py.
    Python,
    /// Go, built by its own compiler.
    Go,
    /// JavaScript, built by componentize-js.
    Javascript,
}

/// Which of the two worlds of the contract a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum World {
    /// `wasi-backup-plugin`: from a topic into the archive.
    Backup,
    /// `wasi-restore-plugin`: from the archive into a topic.
    Restore,
}

impl Language {
    /// All of them.
    pub const ALL: [Language; 4] = [Self::Rust, Self::Python, Self::Go, Self::Javascript];

    /// The file that a project in this language has in its folder.
    pub fn marker(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Python => "app.py",
            Self::Go => "go.mod",
            Self::Javascript => "package.json",
        }
    }

    /// The languages whose marker lies in a folder.
    pub(crate) fn found_in(folder: &Path) -> Vec<Language> {
        let mut found = Self::ALL.to_vec();
        found.retain(|language| folder.join(language.marker()).is_file());
        found
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::Go => "Go",
            Self::Javascript => "JavaScript",
        })
    }
}
