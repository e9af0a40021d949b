//! A proxy in front of an object store's HTTP endpoint that breaks what passes: for tests of the real binary.
//!
//! A client is pointed at [`StoreProxy::endpoint`] instead of the server's. Requests pass unchanged, also their
//! `Host`, which S3's signatures cover, until a *rule* strikes. Rules are scripted ("the first three PUTs of a manifest") or
//! random with a seed; the draw of a request depends on the seed, its method, its path and how often that was asked for,
//! not on how requests interleave, so that a seed replays.
//!
//! ```no_run
//! use armory_testkit::{S3, StoreFault, StoreProxy, StoreRule};
//!
//! # fn main() -> anyhow::Result<()> {
//! let s3 = S3::start()?;
//! let proxy = StoreProxy::start(&s3.endpoint(), 42)?;
//! // The manifest is stored, and its writer does not hear of it.
//! proxy.add(StoreRule::new("PUT", "/manifests/", StoreFault::AnswerLost).times(3));
//! // A hundredth of everything is throttled.
//! proxy.add(StoreRule::new("", "", StoreFault::Status(503)).chance(0.01));
//! // ... run armory with --s3-endpoint proxy.endpoint() ...
//! proxy.set_outage(Some(StoreFault::Dropped));
//! proxy.set_outage(None);
//! assert_eq!(proxy.injected(StoreFault::AnswerLost), 3);
//! # Ok(())
//! # }
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::http::{Listener, Message, lock};

/// What is done to a request, or to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreFault {
    /// It is answered with this status, and the store does not hear of it.
    Status(u16),
    /// It is done, and answered with this status all the same.
    StatusAfter(u16),
    /// The connection is closed, and the store does not hear of it.
    Dropped,
    /// It is done, and the connection closed without an answer.
    AnswerLost,
    /// Half of the answer's body comes, then the connection is closed. Answers without a body pass.
    Truncated,
    /// A bit in the middle of the answer's body is turned over. Answers without a body pass.
    BitFlipped,
    /// It waits this long before it is done.
    Delayed(Duration),
}

/// Which requests a fault befalls, and how often.
#[derive(Debug, Clone)]
pub struct StoreRule {
    method: String,
    path: String,
    fault: StoreFault,
    chance: f64,
    left: u64,
    skip: u64,
}

impl StoreRule {
    /// Every request with this method (any, if it is empty) whose path and query, percent-encoded as they are, contain `path`.
    pub fn new(method: &str, path: &str, fault: StoreFault) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            fault,
            chance: 1.0,
            left: u64::MAX,
            skip: 0,
        }
    }

    /// Only the first `times` of them.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self {
            left: times,
            ..self
        }
    }

    /// Not the first `skip` of them.
    #[must_use]
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// Only that part of them, between 0 and 1, drawn by the seed.
    #[must_use]
    pub fn chance(self, chance: f64) -> Self {
        Self { chance, ..self }
    }

    fn takes(&self, request: &Message) -> bool {
        (self.method.is_empty() || request.method() == self.method)
            && request.target().contains(&self.path)
    }
}

/// A running proxy. Dropping it closes every connection.
#[derive(Debug)]
pub struct StoreProxy {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Host and port of the store.
    upstream: String,
    seed: u64,
    stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<StoreRule>,
    outage: Option<StoreFault>,
    injected: BTreeMap<StoreFault, u64>,
    /// How often each method and target was asked for.
    asked: HashMap<String, u64>,
}

impl StoreProxy {
    /// Stands in front of the server at `upstream`, e.g. `http://127.0.0.1:9000`.
    pub fn start(upstream: &str, seed: u64) -> Result<Self> {
        let upstream = upstream
            .strip_prefix("http://")
            .with_context(|| format!("{upstream}: the proxy speaks plain HTTP only"))?;
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            seed,
            stopped: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let listener = Listener::start(move |client| {
            // What fails here fails for the client, too, which is what it is tested for.
            let _ = serving.serve(client);
        })?;
        Ok(Self { listener, shared })
    }

    /// Where clients go: `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        self.listener.endpoint()
    }

    /// Adds a rule. The first rule that strikes counts.
    pub fn add(&self, rule: StoreRule) {
        lock(&self.shared.state).rules.push(rule);
    }

    /// Takes all rules away.
    pub fn clear(&self) {
        lock(&self.shared.state).rules.clear();
    }

    /// From now on every request meets `fault`, before any rule; `None` ends that.
    pub fn set_outage(&self, fault: Option<StoreFault>) {
        lock(&self.shared.state).outage = fault;
    }

    /// How often a fault has struck, outages included.
    pub fn injected(&self, fault: StoreFault) -> u64 {
        let state = lock(&self.shared.state);
        state.injected.get(&fault).copied().unwrap_or_default()
    }

    /// All faults that have struck, with how often.
    pub fn all_injected(&self) -> Vec<(StoreFault, u64)> {
        let state = lock(&self.shared.state);
        state.injected.iter().map(|(f, n)| (*f, *n)).collect()
    }

    /// How many requests came with this method (any, if it is empty) and `path` in path and query.
    pub fn requests(&self, method: &str, path: &str) -> u64 {
        let state = lock(&self.shared.state);
        let asked = state.asked.iter();
        asked
            .filter(|(request, _)| request.starts_with(method) && request.contains(path))
            .map(|(_, times)| times)
            .sum()
    }
}

impl Drop for StoreProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    /// Serves one client's connection, with a connection to the store that lives as long.
    fn serve(&self, mut client: BufReader<TcpStream>) -> io::Result<()> {
        let mut store = None;
        while let Some(request) = Message::read_request(&mut client)? {
            if self.stopped.load(Ordering::SeqCst) {
                return Ok(());
            }
            let fault = self.fault_for(&request);
            match fault {
                Some(StoreFault::Dropped) => return Ok(()),
                Some(StoreFault::Status(status)) => {
                    error_answer(status, request.method()).write(client.get_mut())?;
                    continue;
                }
                Some(StoreFault::Delayed(time)) => std::thread::sleep(time),
                _ => {}
            }
            let mut answer = self.forward(&mut store, &request)?;
            match fault {
                Some(StoreFault::AnswerLost) => return Ok(()),
                Some(StoreFault::StatusAfter(status)) => {
                    answer = error_answer(status, request.method());
                }
                Some(StoreFault::Truncated) if !answer.body.is_empty() => {
                    let half = answer.body.len() / 2;
                    let client = client.get_mut();
                    client.write_all(&answer.head())?;
                    return client.write_all(&answer.body[..half]);
                }
                Some(StoreFault::BitFlipped) if !answer.body.is_empty() => {
                    let middle = answer.body.len() / 2;
                    answer.body[middle] ^= 0x10;
                }
                _ => {}
            }
            answer.write(client.get_mut())?;
        }
        Ok(())
    }

    fn fault_for(&self, request: &Message) -> Option<StoreFault> {
        let mut state = lock(&self.state);
        let name = format!("{} {}", request.method(), request.target());
        let mut draw = blake3::Hasher::new();
        draw.update(&self.seed.to_le_bytes());
        draw.update(name.as_bytes());
        let times = state.asked.entry(name).or_default();
        *times += 1;
        draw.update(&times.to_le_bytes());
        let fault = match state.outage {
            Some(fault) => fault,
            None => strike(&mut state.rules, request, &draw)?,
        };
        *state.injected.entry(fault).or_default() += 1;
        Some(fault)
    }

    fn forward(
        &self,
        store: &mut Option<BufReader<TcpStream>>,
        request: &Message,
    ) -> io::Result<Message> {
        if let Some(kept) = store {
            // A server may close a connection that was idle, at any time: then a fresh one serves.
            let answered = exchange(kept, request);
            if let Ok(Some(answer)) = answered {
                return Ok(answer);
            }
        }
        let fresh = TcpStream::connect(&self.upstream)?;
        fresh.set_nodelay(true)?;
        let kept = store.insert(BufReader::new(fresh));
        exchange(kept, request)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// The fault of the first rule that strikes.
fn strike(rules: &mut [StoreRule], request: &Message, draw: &blake3::Hasher) -> Option<StoreFault> {
    for (number, rule) in rules.iter_mut().enumerate() {
        if rule.left == 0 || !rule.takes(request) {
            continue;
        }
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        let mut draw = draw.clone();
        draw.update(&(number as u64).to_le_bytes());
        let mut bytes = [0; 8];
        draw.finalize_xof().fill(&mut bytes);
        let share = u64::from_le_bytes(bytes) as f64 / u64::MAX as f64;
        if share < rule.chance || rule.chance >= 1.0 {
            rule.left -= 1;
            return Some(rule.fault);
        }
    }
    None
}

fn exchange(store: &mut BufReader<TcpStream>, request: &Message) -> io::Result<Option<Message>> {
    request.write(store.get_mut())?;
    loop {
        let answer = Message::read_answer(store, request.method())?;
        if answer.as_ref().is_none_or(|answer| answer.status() >= 200) {
            return Ok(answer);
        }
    }
}

/// An error as S3 says it. Without a body where there may be none.
fn error_answer(status: u16, method: &str) -> Message {
    let code = match status {
        503 => "SlowDown",
        429 => "TooManyRequests",
        403 => "AccessDenied",
        _ => "InternalError",
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>injected by a test</Message></Error>"
    );
    let body = if method == "HEAD" { "" } else { &body };
    Message::answer(status, &[("Content-Type", "application/xml")], body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that answers with the request's body, or with some text, and counts.
    fn echo(heard: Arc<Mutex<Vec<String>>>) -> Listener {
        Listener::start(move |mut client| {
            while let Ok(Some(request)) = Message::read_request(&mut client) {
                lock(&heard).push(request.start.clone());
                let body = match request.body.is_empty() {
                    true => b"0123456789".to_vec(),
                    false => request.body,
                };
                let answer = Message::answer(200, &[], body);
                let _ = answer.write(client.get_mut());
            }
        })
        .unwrap()
    }

    /// Asks on a connection of its own; an error is a connection that was closed too early.
    fn ask(proxy: &StoreProxy, method: &str, path: &str) -> io::Result<(u16, String)> {
        let address = proxy.endpoint().replace("http://", "");
        let mut stream = BufReader::new(TcpStream::connect(address)?);
        let request = Message {
            start: format!("{method} {path} HTTP/1.1"),
            headers: Vec::new(),
            body: Vec::new(),
        };
        request.write(stream.get_mut())?;
        let answer = Message::read_answer(&mut stream, method)?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((
            answer.status(),
            String::from_utf8_lossy(&answer.body).into(),
        ))
    }

    #[test]
    fn rules_strike_what_they_name_and_are_counted() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let store = echo(Arc::clone(&heard));
        let proxy = StoreProxy::start(&store.endpoint(), 1).unwrap();
        let whole = (200, "0123456789".to_owned());
        assert_eq!(ask(&proxy, "GET", "/b/a").unwrap(), whole);

        let rule = |fault| StoreRule::new("GET", "/b/a", fault).times(1);
        proxy.add(rule(StoreFault::AnswerLost).after(1));
        proxy.add(rule(StoreFault::Status(503)));
        assert_eq!(ask(&proxy, "GET", "/b/a").unwrap().0, 503);
        assert_eq!(ask(&proxy, "GET", "/b/other").unwrap(), whole);
        assert_eq!(lock(&heard).len(), 2, "the 503 did not reach the store");
        assert!(ask(&proxy, "GET", "/b/a").is_err());
        assert_eq!(lock(&heard).len(), 3, "the lost answer did");
        assert_eq!(ask(&proxy, "GET", "/b/a").unwrap(), whole);

        proxy.add(rule(StoreFault::Truncated));
        assert!(ask(&proxy, "GET", "/b/a").is_err());
        proxy.add(rule(StoreFault::BitFlipped));
        assert_eq!(ask(&proxy, "GET", "/b/a").unwrap().1, "01234%6789");
        proxy.add(rule(StoreFault::StatusAfter(500)));
        assert_eq!(ask(&proxy, "GET", "/b/a").unwrap().0, 500);
        assert_eq!(lock(&heard).len(), 7);

        proxy.set_outage(Some(StoreFault::Dropped));
        assert!(ask(&proxy, "PUT", "/b/c").is_err());
        proxy.set_outage(None);
        assert!(ask(&proxy, "PUT", "/b/c").is_ok());
        assert_eq!(proxy.injected(StoreFault::Dropped), 1);
        assert_eq!(proxy.all_injected().len(), 6);
        assert_eq!(proxy.requests("PUT", "/b/c"), 2);
    }

    #[test]
    fn a_seed_draws_the_same_whatever_the_order() {
        let store = echo(Arc::default());
        let struck = |seed: u64, backwards: bool| {
            let proxy = StoreProxy::start(&store.endpoint(), seed).unwrap();
            proxy.add(StoreRule::new("", "", StoreFault::Status(503)).chance(0.5));
            let mut paths: Vec<_> = (0..40).map(|number| format!("/b/{number}")).collect();
            if backwards {
                paths.reverse();
            }
            paths.retain(|path| ask(&proxy, "GET", path).unwrap().0 == 503);
            paths.sort();
            paths
        };
        let first = struck(1, false);
        assert!((8..=32).contains(&first.len()), "{first:?}");
        assert_eq!(first, struck(1, true));
        assert_ne!(first, struck(2, false));
    }
}
