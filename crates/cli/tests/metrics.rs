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
        let mut child = Command::new(env!("CARGO_BIN_EXE_armory"))
            .current_dir(folder)
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .env_remove("ARMORY_LOG")
            .env_remove("RUST_LOG")
            .args(["backup", "--bootstrap-server", &bootstrap])
            .args(["--topic", "orders", "--storage", "archive"])
            .args(["--plugin", "p.wasm", "--metrics-address", "127.0.0.1:0"])
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
            "there is /metrics, /healthz and /readyz\n",
        ),
    ] {
        let expected = (status.to_owned(), body.to_owned());
        assert_eq!(watched.get(path), expected, "{path}");
    }
    let (status, _) = watched.ask("POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(status, "HTTP/1.1 405 Method Not Allowed");
    // Nonsense harms nobody.
    let mut stream = TcpStream::connect(&watched.address).expect("it listens");
    stream.write_all(&[0; 64]).expect("sent");
    assert_eq!(watched.get("/healthz").1, "ok\n");
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
