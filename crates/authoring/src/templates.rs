//! The files of every template. They lie in `guests/`, as files of their language, and name the plugin [`PLACEHOLDER`].

use crate::{Language, World};

/// What the files call the plugin.
pub(crate) const PLACEHOLDER: &str = "my-plugin";

/// A file's path in the project, and its text.
pub(crate) type File = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($name:literal $(from $source:literal)?),+ $(,)?) => {
        &[$(files!(@ $folder, $name $(, $source)?)),+]
    };
    (@ $folder:literal, $name:literal) => {
        ($name, include_str!(concat!("../../../", $folder, "/", $name)))
    };
    (@ $folder:literal, $name:literal, $source:literal) => {
        ($name, include_str!(concat!("../../../", $folder, "/", $source)))
    };
}

/// The contract, as far as a world needs it: one world in the folder, so that no tool asks which is meant.
const WIT_BACKUP: &[File] = &[
    ("wit/types.wit", include_str!("../../../wit/0.1/types.wit")),
    (
        "wit/backup.wit",
        include_str!("../../../wit/0.1/backup.wit"),
    ),
];
const WIT_RESTORE: &[File] = &[
    ("wit/types.wit", include_str!("../../../wit/0.1/types.wit")),
    (
        "wit/restore.wit",
        include_str!("../../../wit/0.1/restore.wit"),
    ),
];

const RUST: &[File] =
    files!("guests/rust/common": "Cargo.toml", "README.md", ".gitignore" from "gitignore");
const RUST_BACKUP: &[File] = files!("guests/rust/drop-header": "src/lib.rs", "config.yaml", "tests/records.jsonl", "tests/expected.jsonl");
const RUST_RESTORE: &[File] = files!("guests/rust/spread": "src/lib.rs", "config.yaml", "tests/records.jsonl", "tests/expected.jsonl");

const PYTHON: &[File] = files!("guests/python/common": "requirements.txt", "requirements-build.txt", "README.md", ".gitignore" from "gitignore");
const PYTHON_BACKUP: &[File] = files!("guests/python/backup": "app.py", "config.yaml", "tests/records.jsonl", "tests/expected.jsonl");
const PYTHON_RESTORE: &[File] = files!("guests/python/restore": "app.py", "config.yaml", "tests/records.jsonl", "tests/expected.jsonl");

const GO: &[File] = files!(
    "guests/go/common": "go.mod", "contract/abi.go", "contract/memory.go", "contract/record.go", "README.md", ".gitignore" from "gitignore"
);
const GO_BACKUP: &[File] = files!("guests/go/backup": "plugin.go", "contract/plugin.go", "tests/records.jsonl", "tests/expected.jsonl");
const GO_RESTORE: &[File] = files!("guests/go/restore": "plugin.go", "contract/plugin.go", "tests/records.jsonl", "tests/expected.jsonl");

const JAVASCRIPT: &[File] = files!("guests/javascript/common": "package.json", "build.mjs", "mask.js", "README.md", ".gitignore" from "gitignore");
const JAVASCRIPT_BACKUP: &[File] = files!("guests/javascript/backup": "plugin.js", "config.yaml", "tests/records.jsonl", "tests/expected.jsonl");
const JAVASCRIPT_RESTORE: &[File] = files!("guests/javascript/restore": "plugin.js", "config.yaml", "tests/records.jsonl", "tests/expected.jsonl");

/// All files of a project.
pub(crate) fn files(language: Language, world: World) -> impl Iterator<Item = File> {
    let (common, own) = match (language, world) {
        (Language::Rust, World::Backup) => (RUST, RUST_BACKUP),
        (Language::Rust, World::Restore) => (RUST, RUST_RESTORE),
        (Language::Python, World::Backup) => (PYTHON, PYTHON_BACKUP),
        (Language::Python, World::Restore) => (PYTHON, PYTHON_RESTORE),
        (Language::Go, World::Backup) => (GO, GO_BACKUP),
        (Language::Go, World::Restore) => (GO, GO_RESTORE),
        (Language::Javascript, World::Backup) => (JAVASCRIPT, JAVASCRIPT_BACKUP),
        (Language::Javascript, World::Restore) => (JAVASCRIPT, JAVASCRIPT_RESTORE),
    };
    let wit = match world {
        World::Backup => WIT_BACKUP,
        World::Restore => WIT_RESTORE,
    };
    common.iter().chain(own).chain(wit).copied()
}
