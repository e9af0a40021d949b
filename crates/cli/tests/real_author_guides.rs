//! The guides for authors of plugins, followed as a reader would: every command, in order, in a clean folder.
//!
//! A block of a guide is
//! - `sh`: commands, which have to succeed,
//! - `text`: what the block of commands before it prints, or a part of it,
//! - a language and a file, as in `rust drop-header/src/lib.rs`: a part of that file, as it is at that point.
#![cfg(feature = "real")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use armory_testkit::guests::{self, Language, World};
use armory_testkit::guide::{Block, blocks};

/// Commands that cannot be had everywhere, and what is run in their place.
///
/// rustup has no registry to come from, so the target for components cannot be added. Debian's compiler builds the standard library itself, for the
/// target that needs nothing else; `armory plugin build` makes the component of what it leaves.
const SUBSTITUTES: [(&str, &str); 1] = [(
    "rustup target add wasm32-wasip2",
    "export PATH=$ARMORY_BIN:/usr/bin:/bin RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
     CARGO_BUILD_TARGET=wasm32-unknown-unknown CARGO_UNSTABLE_BUILD_STD=std,panic_abort \
     CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=/usr/bin/wasm-ld-19",
)];

/// A shell script of all blocks of commands, the output of each in a file of its own.
fn script(blocks: &[Block]) -> String {
    let mut script = "set -eu\n".to_owned();
    for (index, block) in blocks.iter().enumerate() {
        if block.info != "sh" {
            continue;
        }
        let mut commands = block.text.clone();
        for (command, substitute) in SUBSTITUTES {
            commands = commands.replace(command, substitute);
        }
        script.push_str(&format!("{{\n{commands}}} > ../output/{index}\n"));
    }
    script
}

fn follow(guide: &str) {
    let pages = repository().join("docs/plugins");
    let text = fs::read_to_string(pages.join(guide)).expect("the guide");
    let blocks = blocks(&text);
    let commands = blocks.iter().filter(|block| block.info == "sh").count();
    assert!(commands >= 4, "{guide} has {commands} blocks of commands");

    let folder = tempfile::tempdir().expect("a folder");
    let [clean, output, bin] = ["clean", "output", "bin"].map(|name| folder.path().join(name));
    for folder in [&clean, &output, &bin] {
        fs::create_dir(folder).expect("a folder");
    }
    let armory = bin.join("armory");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_armory"), armory).expect("a link");
    let path = std::env::var("PATH").expect("PATH");
    let mut command = Command::new("sh");
    command
        .current_dir(&clean)
        .args(["-c", &script(&blocks)])
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("ARMORY_BIN", &bin);
    // This runs inside of cargo, whose settings are not a reader's.
    for (variable, _) in std::env::vars() {
        if variable.starts_with("CARGO_") && variable != "CARGO_HOME"
            || variable.starts_with("RUST")
        {
            command.env_remove(variable);
        }
    }
    // The standard library has been compiled there before.
    let guests = armory_testkit::cache::root()
        .expect("the cache")
        .join("guests");
    command.env("CARGO_TARGET_DIR", guests.join("target"));
    let ran = command.output().expect("the shell runs");
    let printed = |index: usize| fs::read_to_string(output.join(index.to_string()));
    assert!(
        ran.status.success(),
        "{guide}: {}\n{}",
        String::from_utf8_lossy(&ran.stderr),
        (0..blocks.len())
            .filter_map(|index| printed(index).ok())
            .collect::<String>()
    );

    let mut shown = 0;
    for (index, block) in blocks.iter().enumerate() {
        let found = match (block.info.as_str(), block.info.split_once(' ')) {
            ("sh" | "yaml", _) => continue,
            ("text", _) => printed(index - 1).expect("commands stand before their output"),
            (_, Some((_, file))) => fs::read_to_string(clean.join(file)).expect(file),
            (other, None) => panic!("{guide}: {other:?} is no kind of block"),
        };
        assert!(
            found.contains(block.text.trim_end()),
            "{guide} shows\n{}\nand that is not in\n{found}",
            block.text
        );
        shown += 1;
    }
    assert!(shown > 2, "{guide} shows {shown} things");
}

fn repository() -> PathBuf {
    // Tests run in their package's folder.
    Path::new("../..").canonicalize().expect("the repository")
}

#[test]
fn the_guide_for_rust_works() {
    follow("rust.md");
}

#[test]
fn the_guide_for_python_works() {
    follow("python.md");
}

#[test]
fn the_guide_for_go_works() {
    follow("go.md");
}

#[test]
fn the_guide_for_javascript_works() {
    follow("javascript.md");
}

/// From nothing to a tested plugin, as the README tells.
#[test]
fn the_three_commands_of_the_readme_work() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("the README");
    let block = blocks(&readme)
        .into_iter()
        .find(|block| block.text.starts_with("armory plugin new"))
        .expect("the README shows how to begin a plugin");
    let commands: Vec<&str> = block.text.lines().collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    let folder = tempfile::tempdir().expect("a folder");
    for command in commands {
        let arguments: Vec<&str> = command
            .split(' ')
            .filter(|word| !word.is_empty())
            .skip(1)
            .collect();
        common::done(folder.path(), &arguments);
    }
}

/// The records that every project brings along become what its other file says, also where no guide runs them.
#[test]
fn the_first_test_of_every_template_passes() {
    for language in Language::ALL {
        for (world, name) in [(World::Backup, "backup"), (World::Restore, "restore")] {
            let component = match (language, world) {
                (Language::Rust, World::Backup) => guests::build_rust("drop-header"),
                (Language::Rust, World::Restore) => guests::build_rust("spread"),
                _ => guests::build(language, world),
            };
            let component = component.expect("it is built").display().to_string();
            let folder = tempfile::tempdir().expect("a folder");
            let lang = language.to_string().to_lowercase();
            let new = ["plugin", "new", "--lang", &lang, "--world", name, "p"];
            common::done(folder.path(), &new);
            let mut test = vec!["plugin", "test", &component];
            test.extend(["--records", "p/tests/records.jsonl"]);
            test.extend(["--expect", "p/tests/expected.jsonl"]);
            if folder.path().join("p/config.yaml").is_file() {
                test.extend(["--config", "p/config.yaml"]);
            }
            let printed = common::done(folder.path(), &test);
            assert!(printed.contains("all as expected"), "{printed}");
        }
    }
}
