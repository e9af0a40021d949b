//! What a running command tells those who watch, over HTTP.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::cluster::Cluster;
use common::run;
use serde_json::{Value, json};

/// A continuous backup of a topic through a plugin, and where its metrics are.
struct Watched {
    child: Child,
    address: String,
}

impl Watched {
    fn start(cluster: &Cluster, folder: &Path) -> Watched {
        let component = include_bytes!(concat!(env!("OUT_DIR"), "/drop-secret.wasm"));
        fs::write(folder.join("p.wasm"), component).expect("it can be written");
        let bootstrap = cluster.bootstrap();
        let backup = ["backup", "--bootstrap-server", &bootstrap];
        let of = ["--topic", "orders", "--storage", "archive"];
        let through = ["--plugin", "p.wasm"];
        Watched::of(folder, &[&backup[..], &of, &through].concat())
    }

    fn of(folder: &Path, arguments: &[&str]) -> Watched {
        let mut child = Command::new(env!("CARGO_BIN_EXE_armory"))
            .current_dir(folder)
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .env_remove("ARMORY_LOG")
            .env_remove("RUST_LOG")
            .args(arguments)
            .args(["--metrics-address", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command can be run");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let address = lines
            .by_ref()
            .map(|line| line.expect("text"))
            .find_map(|line| {
                let (_, rest) = line.split_once("http://")?;
                rest.strip_suffix("/metrics").map(str::to_owned)
            })
            .expect("it says where its metrics are");
        // Whoever writes must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Watched { child, address }
    }

    /// Status line and body.
    fn get(&self, path: &str) -> (String, String) {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
    }

    fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let status = head.lines().next().expect("a status line");
        (status.to_owned(), body.to_owned())
    }

    /// Waits until a line is among the metrics.
    fn wait_for(&self, line: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let (_, text) = self.get("/metrics");
            if text.lines().any(|found| found == line) {
                return;
            }
            assert!(Instant::now() < deadline, "{line} is not in\n{text}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_backup_is_watched_while_it_runs() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    cluster.topic("orders", 1, 10);
    let watched = Watched::start(&cluster, folder.path());
    for line in [
        r#"backup_sink_records_count{backup="armory"} 10"#,
        r#"jobs_state{backup="armory",state="running"} 1"#,
        r#"armory_backup_lag_records{backup="armory",topic="orders",partition="0"} 0"#,
        r#"armory_backup_durable_offset{backup="armory",topic="orders",partition="0"} 10"#,
        r#"backup_topic_progress{backup="armory",topic="orders"} 1"#,
        r#"armory_plugin_calls_total{backup="armory",plugin="p.wasm",topic="orders"} 10"#,
        r#"armory_plugin_records_total{backup="armory",plugin="p.wasm",topic="orders",outcome="accepted"} 10"#,
        r#"armory_plugin_call_seconds_count{backup="armory",plugin="p.wasm",topic="orders"} 10"#,
        r#"armory_plugin_loads_total{backup="armory",from="compiler"} 1"#,
    ] {
        watched.wait_for(line);
    }
    for (path, status, body) in [
        ("/healthz", "HTTP/1.1 200 OK", "ok\n"),
        ("/readyz", "HTTP/1.1 200 OK", "ok\n"),
        (
            "/",
            "HTTP/1.1 404 Not Found",
            "there is /metrics, /healthz, /readyz and /status\n",
        ),
    ] {
        let expected = (status.to_owned(), body.to_owned());
        assert_eq!(watched.get(path), expected, "{path}");
    }
    let (_, status) = watched.get("/status");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    for (name, value) in [
        ("kind", json!("backup")),
        ("name", json!("armory")),
        ("state", json!("streaming")),
        ("message", json!("everything is stored")),
        // What lies in an open segment is not counted.
        ("records", json!(0)),
        ("lag", json!({"records": 0, "seconds": 0.0})),
        ("partitions", json!({"assigned": 1, "stopped": 0})),
    ] {
        assert_eq!(status[name], value, "{status}");
    }
    let (status, _) = watched.ask("POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(status, "HTTP/1.1 405 Method Not Allowed");
    // Nonsense harms nobody.
    let mut stream = TcpStream::connect(&watched.address).expect("it listens");
    stream.write_all(&[0; 64]).expect("sent");
    assert_eq!(watched.get("/healthz").1, "ok\n");
}

/// While nothing answers, that is what the status says; the process itself is well.
#[test]
fn a_cluster_that_is_not_there_is_told_to_those_who_watch() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    common::write_archive(folder);
    let hub = "apiVersion: kannika.io/v1alpha\nkind: EventHub\nmetadata: {name: hub}\nspec: {kafka: {properties: \
               {bootstrap.servers: \"127.0.0.1:1\"}}}\n---\napiVersion: kannika.io/v1alpha\nkind: Storage\n\
               metadata: {name: disk}\nspec: {volume: {capacity: 1Gi}}\n---\napiVersion: kannika.io/v1alpha\n";
    let backup = "kind: Backup\nmetadata: {name: b}\nspec: {source: hub, sink: disk, streams: [{topic: orders}], monitoring: {enabled: false}}\n";
    let restore = "kind: Restore\nmetadata: {name: r}\nspec: {source: disk, sink: hub, enabled: true, config: {topics: [{source: orders, target: copy}]}}\n";
    for (command, document, metrics) in [
        ("backup", backup, "HTTP/1.1 404 Not Found"),
        ("restore", restore, "HTTP/1.1 200 OK"),
    ] {
        fs::write(folder.join("all.yaml"), format!("{hub}{document}")).expect("written");
        let documents = ["-f", "all.yaml", "--claim", "disk=./archive"];
        let watched = Watched::of(folder, &[&[command][..], &documents].concat());
        let deadline = Instant::now() + Duration::from_secs(60);
        let status = loop {
            let (_, status) = watched.get("/status");
            let status: Value = serde_json::from_str(&status).expect("JSON");
            let message = status["message"].as_str().expect("text");
            if message.contains("127.0.0.1:1") {
                break status;
            }
            assert!(Instant::now() < deadline, "{status}");
            std::thread::sleep(Duration::from_millis(50));
        };
        assert_eq!(status["kind"], command);
        assert_eq!(status["state"], "starting");
        let message = status["message"].as_str().expect("text");
        assert!(message.starts_with("EventHub hub: "), "{message}");
        assert!(message.contains("refused"), "{message}");
        let (ready, why) = watched.get("/readyz");
        assert_eq!(ready, "HTTP/1.1 503 Service Unavailable");
        assert!(why.contains("127.0.0.1:1"), "{why}");
        assert_eq!(watched.get("/healthz").1, "ok\n");
        // `monitoring.enabled: false` turns off the metrics and nothing else.
        assert_eq!(watched.get("/metrics").0, metrics);
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has one").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let to = ["--storage", "archive", "--metrics-address", &address];
    let from = ["--bootstrap-server", "127.0.0.1:1", "--topic", "a"];
    for command in ["backup", "restore"] {
        let ran = run(folder.path(), &[&[command], &from[..], &to].concat());
        assert_eq!(ran.code, 1);
        let expected = format!("error: cannot serve metrics at {address}: ");
        assert!(ran.err.contains(&expected), "{}", ran.err);
    }
}
