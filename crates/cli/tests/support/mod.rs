//! What the end-to-end tests share: the binary, run and killed, and what it leaves behind.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses a part of it"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use armory_testkit::{Dataset, Kafka, S3, unique};

/// A storage of the test's own.
pub enum Store {
    Folder(tempfile::TempDir),
    S3(&'static S3, String),
}

impl Store {
    pub fn folder() -> Store {
        Store::Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn s3() -> Store {
        static SERVER: std::sync::OnceLock<S3> = std::sync::OnceLock::new();
        let server = SERVER.get_or_init(|| S3::start().expect("the S3 server starts"));
        Store::S3(server, armory_testkit::unique("archive"))
    }

    /// What `--storage` takes.
    pub fn url(&self) -> String {
        match self {
            Store::Folder(folder) => folder.path().join("archive").display().to_string(),
            Store::S3(server, prefix) => format!("s3://{}/{prefix}", server.bucket()),
        }
    }

    /// Where the archive's files lie on this machine, for tests that damage them.
    pub fn files(&self) -> PathBuf {
        match self {
            Store::Folder(folder) => folder.path().join("archive"),
            Store::S3(server, prefix) => server.root().join(server.bucket()).join(prefix),
        }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Store::Folder(_) => Vec::new(),
            Store::S3(server, _) => vec![
                ("AWS_ACCESS_KEY_ID", server.access_key().to_owned()),
                ("AWS_SECRET_ACCESS_KEY", server.secret_key().to_owned()),
                ("AWS_REGION", server.region().to_owned()),
                ("AWS_ENDPOINT_URL", server.endpoint()),
                ("AWS_ALLOW_HTTP", "true".to_owned()),
            ],
        }
    }
}

/// The command, with the store's credentials in its environment.
pub fn armory(store: &Store, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_armory"));
    command
        .args(args)
        .envs(store.environment())
        .env("ARMORY_LOG", "armory=info,warn")
        .stdin(Stdio::null());
    command
}

/// What a run printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub fn succeeded(self) -> Ran {
        assert_eq!(
            self.code,
            Some(0),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    #[track_caller]
    pub fn failed_with(self, code: i32, words: &[&str]) -> Ran {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        for word in words {
            assert!(
                self.stderr.contains(word) || self.stdout.contains(word),
                "{word:?} is not in\nstdout:\n{}\nstderr:\n{}",
                self.stdout,
                self.stderr
            );
        }
        self
    }
}

pub fn run(store: &Store, args: &[&str]) -> Ran {
    armory(store, args)
        .output()
        .expect("the binary runs")
        .into()
}

/// `armory backup --once` of the topics that match `pattern`.
pub fn backup_once(kafka: &Kafka, store: &Store, pattern: &str, more: &[&str]) -> Ran {
    let url = store.url();
    let mut args = vec![
        "backup",
        "--bootstrap-server",
        kafka.bootstrap(),
        "--topic",
        pattern,
        "--storage",
        &url,
        "--once",
    ];
    args.extend(more);
    run(store, &args)
}

/// `armory restore` of one topic into another, which is created.
pub fn restore(kafka: &Kafka, store: &Store, source: &str, target: &str, more: &[&str]) -> Ran {
    restore_command(kafka, store, source, target, more)
        .output()
        .expect("the binary runs")
        .into()
}

/// The command that [`restore`] runs.
pub fn restore_command(
    kafka: &Kafka,
    store: &Store,
    source: &str,
    target: &str,
    more: &[&str],
) -> Command {
    let (url, mapping) = (store.url(), format!("{source}={target}"));
    let mut args = vec![
        "restore",
        "--storage",
        &url,
        "--bootstrap-server",
        kafka.bootstrap(),
        "--topic",
        &mapping,
        "--create-topics",
    ];
    args.extend(more);
    armory(store, &args)
}

/// The archive is sound, and gives back what Kafka's own consumer reads of the topic. Returns how many records that are.
pub fn comes_back(kafka: &Kafka, store: &Store, topic: &str) -> u64 {
    run(store, &["verify", &store.url(), "--deep"]).succeeded();
    let target = unique("restored");
    restore(kafka, store, topic, &target, &[]).succeeded();
    kafka
        .compare(topic, &target)
        .expect("no hole, no duplicate")
        .records
}

/// A run in the background, ended when it is dropped.
pub struct Background {
    child: Child,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Background {
    pub fn start(mut command: Command) -> Background {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).expect("a log file");
        let copy = file.try_clone().expect("a second handle");
        let child = command
            .stdout(file)
            .stderr(copy)
            .spawn()
            .expect("the binary starts");
        Background {
            child,
            log,
            _folder: folder,
        }
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its output has `words`.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.log().contains(words) {
            assert!(
                Instant::now() < deadline,
                "{words:?} did not appear in 60 s:\n{}",
                self.log()
            );
            if let Some(status) = self.child.try_wait().expect("its status can be read") {
                assert!(
                    self.log().contains(words),
                    "it ended ({status}) without {words:?}:\n{}",
                    self.log()
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it ended by itself within `time`; the exit code if so.
    pub fn ended_within(&mut self, time: Duration) -> Option<Option<i32>> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().expect("its status can be read") {
                return Some(status.code());
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGKILL, as a power cut or the kernel's memory killer would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill runs");
        self.ended_within(Duration::from_secs(60))
            .unwrap_or_else(|| panic!("it did not stop in 60 s:\n{}", self.log()))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal: with -STOP a process does nothing and keeps its connections and locks, with -CONT it goes on as if nothing had been.
#[track_caller]
pub fn signal(running: &Background, signal: &str) {
    let pid = running.child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status();
    assert!(sent.expect("kill runs").success());
}

/// Waits for a condition, up to a minute.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not in 60 s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Where a run that was given `--metrics-address 127.0.0.1:0` serves them.
pub fn metrics_address(running: &mut Background) -> String {
    running.wait_for("/metrics");
    let log = running.log();
    let (_, rest) = log.split_once("http://").expect("it says where");
    rest.split('/').next().expect("an address").to_owned()
}

/// What `/status` answers.
pub fn status(address: &str) -> serde_json::Value {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let request = "GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (_, body) = answer.split_once("\r\n\r\n").expect("head and body");
    serde_json::from_str(body).expect("JSON")
}

/// All files below a folder whose names end so.
pub fn files_ending(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Chances that a seed decides: `ARMORY_SEED` plays the same ones again.
pub struct Dice(u64);

impl Dice {
    pub fn new(test: &str) -> Dice {
        let seed = std::env::var("ARMORY_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| {
                let now = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .expect("the clock is past 1970");
                u64::from(now.subsec_nanos()) | 1
            });
        println!("{test}: seed {seed} (ARMORY_SEED={seed} plays it again)");
        Dice(seed)
    }

    pub fn up_to(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A topic of four partitions with records of every shape.
pub fn topic(kafka: &Kafka, megabytes: u64) -> String {
    let topic = unique("killed");
    kafka
        .create_topic(&topic, 4, &[("max.message.bytes", "4000000")])
        .expect("a topic");
    kafka
        .write_dataset(&Dataset::new(&topic).megabytes(megabytes))
        .expect("the data set");
    topic
}
