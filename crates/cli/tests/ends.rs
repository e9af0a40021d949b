//! How the command ends: exit codes that tell what a retry is good for, the last word in a file, and signals at any time.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::cluster::{Cluster, back_up};
use common::{run_with, write_archive};

const LAST_WORD: &str = "last-word";

/// Runs the command; its exit code and its last word.
fn ended(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let file = folder.join(LAST_WORD);
    // As in a pod, where the file is there.
    fs::write(&file, "").expect("a file");
    let ran = run_with(folder, arguments, &[("ARMORY_TERMINATION_LOG", LAST_WORD)]);
    (ran.code, fs::read_to_string(file).expect("text"))
}

#[track_caller]
fn check(folder: &Path, arguments: &[&str], code: i32, words: &str) {
    let (found, last) = ended(folder, arguments);
    assert_eq!(found, code, "{last}");
    assert!(last.contains(words), "{words} is not in {last}");
    assert_eq!(last.lines().count(), usize::from(code != 0), "{last}");
}

#[test]
fn codes_and_last_words_tell_what_a_retry_is_good_for() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let bootstrap = cluster.bootstrap();
    cluster.topic("orders", 1, 3);
    cluster.topic("taken", 1, 1);
    back_up(&cluster, folder, "orders", "archive");
    let component = include_bytes!(concat!(env!("OUT_DIR"), "/drop-secret.wasm"));
    fs::write(folder.join("backup.wasm"), component).expect("written");
    fs::write(folder.join("text.wasm"), "no component").expect("written");
    let restore = |more: &[&'static str]| {
        let to = ["restore", "--bootstrap-server", &bootstrap];
        let from = ["--storage", "archive", "--create-topics"];
        ended(folder, &[&to[..], &from, more].concat())
    };
    for (more, code, words) in [
        (&["--topic", "orders=taken"][..], 4, "is not empty"),
        (&["--topic", "absent"], 4, "absent"),
        (
            &["--topic", "orders=new", "--plugin", "backup.wasm"],
            5,
            "is a backup plugin",
        ),
        (
            &["--topic", "orders=new", "--plugin", "text.wasm"],
            5,
            "not a WebAssembly component",
        ),
        // It may be on its way.
        (
            &["--topic", "orders=new", "--plugin", "missing.wasm"],
            1,
            "cannot read plugin missing.wasm",
        ),
        (
            &["--topic", "orders=new", "-X", "sasl.mechanism=NONSENSE"],
            2,
            "sasl.mechanism",
        ),
        (&["--topic", "orders=taken", "--dry-run"], 4, ""),
        (&["--topic", "orders=new"], 0, ""),
    ] {
        let (found, last) = restore(more);
        assert_eq!(found, code, "{more:?}: {last}");
        assert!(last.contains(words), "{words} is not in {last}");
    }
    check(folder, &["backup", "--onse"], 2, "--onse");
    check(folder, &["--help"], 0, "");
    let nowhere = ["restore", "--storage", "nowhere", "--topic", "orders"];
    let to = ["--bootstrap-server", &bootstrap];
    check(
        folder,
        &[&nowhere[..], &to].concat(),
        4,
        "nowhere/ is not an archive",
    );
    // A key of a Secret that is not there yet.
    let backup = ["backup", "--topic", "orders", "--storage", "other"];
    let secret = ["--property-file", "sasl.password=absent"];
    let security = [
        "-X",
        "security.protocol=SASL_PLAINTEXT",
        "-X",
        "sasl.mechanism=PLAIN",
        "-X",
        "sasl.username=armory",
    ];
    check(
        folder,
        &[&backup[..], &to, &secret, &security].concat(),
        1,
        "absent",
    );
    let manifest = common::files(&folder.join("archive"), ".json")
        .into_iter()
        .find(|path| path.to_string_lossy().contains("manifests"))
        .expect("a manifest");
    fs::write(manifest, "{}").expect("written");
    let (code, last) = restore(&["--topic", "orders=damaged"]);
    assert_eq!(code, 3, "{last}");
    assert!(last.contains("damaged"), "{last}");
}

/// A command in the background whose standard error has said `words`.
fn begin(folder: &Path, arguments: &[&str], words: &str) -> (Child, impl FnOnce() -> String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_armory"))
        .current_dir(folder)
        .args(arguments)
        .env("ARMORY_LOG", "warn,armory=info")
        .env("ARMORY_TERMINATION_LOG", LAST_WORD)
        .envs([("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command can be run");
    let mut reader = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut text = String::new();
    while !text.contains(words) {
        let read = reader.read_line(&mut text).expect("text");
        assert!(read > 0, "it ended without {words}: {text}");
    }
    let rest = move || {
        let _ = reader.read_to_string(&mut text);
        text
    };
    (child, rest)
}

/// Neither a cluster nor a storage that is not there keeps a command from ending when it is told to.
#[test]
fn a_signal_is_obeyed_while_nothing_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write_archive(folder);
    let nobody = ["--bootstrap-server", "127.0.0.1:1", "--topic", "orders"];
    let disk = ["--storage", "archive"];
    let store = [
        "--storage",
        "s3://b/p",
        "--s3-endpoint",
        "http://127.0.0.1:1",
    ];
    for (command, storage, more, code) in [
        ("backup", &["--storage", "new"][..], &[][..], 0),
        ("backup", &store, &[], 0),
        ("backup", &store, &["--once"][..], 143),
        ("restore", &disk, &[], 143),
        ("restore", &store, &[], 143),
    ] {
        let _ = fs::remove_file(folder.join(LAST_WORD));
        let arguments = [&[command][..], &nobody, storage, more].concat();
        let (mut child, rest) = begin(folder, &arguments, "trying again");
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
        let status = child.wait().expect("it ends");
        let text = rest();
        assert_eq!(status.code(), Some(code), "{arguments:?}: {text}");
        let last = fs::read_to_string(folder.join(LAST_WORD)).unwrap_or_default();
        assert_eq!(last.contains("stopped"), code != 0, "{arguments:?}: {last}");
    }
}
