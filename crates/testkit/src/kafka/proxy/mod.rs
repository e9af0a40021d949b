//! A proxy in front of a cluster that loses, delays and repeats what passes through it, as networks do.
//!
//! Clients that begin with [`Proxy::bootstrap`] reach every broker through it: it understands the frames of Kafka's protocol, and replaces the
//! addresses of brokers in Metadata answers. So it needs nothing of the cluster, works on the shared one, and can move to other ports
//! while clients are at work, as brokers behind changing addresses do.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use armory_testkit::Kafka;
//! use armory_testkit::kafka::proxy::{Api, Fault, Proxy};
//!
//! let proxy = Proxy::start(Kafka::shared())?;
//! proxy.inject(Fault::SwallowAnswer, Api::Produce, 2, 1); // the third answer is lost
//! proxy.at_random(42, 30);                                // and one request in thirty fails somehow
//! # Ok(())
//! # }
//! ```

mod connection;
mod fault;
mod wire;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

pub use fault::{Api, Fault};
pub use wire::LateAnswer;

use super::Kafka;
use connection::{Pair, carry_answers, carry_requests};
use fault::Plan;

/// How often another port is tried when somebody else was quicker.
const ATTEMPTS: usize = 20;

/// A proxy in front of every broker of a cluster. Dropping it closes all connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    brokers: Vec<String>,
    listeners: Mutex<Vec<Listener>>,
}

#[derive(Debug, Default)]
struct Shared {
    plan: Mutex<Plan>,
    /// Where each broker is to be found: its real address, and the port in front of it.
    ports: Mutex<BTreeMap<String, u16>>,
    connections: Mutex<Vec<Weak<Pair>>>,
    held: Mutex<Vec<Held>>,
    /// Bytes a second of answers on each connection; 0 is no limit.
    bandwidth: AtomicU64,
    /// How much later every answer comes, in milliseconds.
    latency: AtomicU64,
}

/// Requests of one connection that are kept back.
#[derive(Debug)]
struct Held {
    address: String,
    frames: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Listener {
    port: u16,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy through which everything passes as it is.
    pub fn start(kafka: &Kafka) -> Result<Proxy> {
        let brokers = kafka.bootstrap().split(',').map(str::to_owned).collect();
        let proxy = Proxy {
            shared: Arc::default(),
            brokers,
            listeners: Mutex::default(),
        };
        proxy.listen()?;
        Ok(proxy)
    }

    /// The `host:port` addresses to begin with, separated by commas.
    pub fn bootstrap(&self) -> String {
        let ports = lock(&self.shared.ports);
        let addresses: Vec<String> = ports
            .values()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        addresses.join(",")
    }

    /// Moves to other ports: the old ones are closed, with their connections. Brokers have other addresses in Metadata answers from now on.
    pub fn move_elsewhere(&self) -> Result<()> {
        let old = std::mem::take(&mut *lock(&self.listeners));
        self.listen()?;
        old.iter().for_each(Listener::close);
        self.disconnect();
        Ok(())
    }

    /// Opens second addresses for the brokers, which go on working while the first ones move, as a name does that is resolved anew.
    pub fn stable_bootstrap(&self) -> Result<String> {
        let listeners = self
            .brokers
            .iter()
            .map(|broker| self.shared.listen(broker))
            .collect::<Result<Vec<Listener>>>()?;
        let addresses: Vec<String> = listeners
            .iter()
            .map(|listener| format!("127.0.0.1:{}", listener.port))
            .collect();
        Ok(addresses.join(","))
    }

    /// Lets requests of one kind fail: `skip` of them pass before, and `times` of them fail.
    pub fn inject(&self, fault: Fault, api: Api, skip: usize, times: usize) {
        lock(&self.shared.plan).add(fault, api, skip, times);
    }

    /// Lets one request in `one_in` fail somehow. The same seed makes the same choices; which request meets which depends on how the client's
    /// connections take turns.
    pub fn at_random(&self, seed: u64, one_in: u32) {
        lock(&self.shared.plan).at_random(seed, one_in);
    }

    /// Ends all faults that have not happened yet, the limit of bandwidth and the delay, and closes all connections, for some may be silent.
    pub fn calm(&self) {
        lock(&self.shared.plan).clear();
        self.limit_bandwidth(None);
        self.delay_answers(Duration::ZERO);
        self.disconnect();
    }

    /// Limits the answers of each connection to so many bytes a second.
    pub fn limit_bandwidth(&self, bytes: Option<u64>) {
        let bytes = bytes.unwrap_or(0);
        self.shared.bandwidth.store(bytes, Ordering::Relaxed);
    }

    /// Lets every answer of a connection come so much later, and the next one after it.
    pub fn delay_answers(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.shared.latency.store(time, Ordering::Relaxed);
    }

    /// Closes all connections.
    pub fn disconnect(&self) {
        let connections = std::mem::take(&mut *lock(&self.shared.connections));
        for pair in connections.iter().filter_map(Weak::upgrade) {
            pair.close();
        }
    }

    /// How many connections' requests are held and can be delivered: of a silent connection once its client has closed it.
    pub fn held(&self) -> usize {
        lock(&self.shared.held).len()
    }

    /// Delivers what is held to its brokers, as a network might whose packets were on the way for long. Returns what the brokers answered about
    /// batches.
    pub fn deliver_held(&self) -> Result<Vec<LateAnswer>> {
        self.shared.deliver_held()
    }

    /// Forgets what is held.
    pub fn drop_held(&self) {
        lock(&self.shared.held).clear();
    }

    /// How often each fault has happened.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.shared.plan).counts()
    }

    /// How many requests of a kind have come.
    pub fn requests(&self, api: Api) -> u64 {
        lock(&self.shared.plan).requests(api)
    }

    fn listen(&self) -> Result<()> {
        for broker in &self.brokers {
            let listener = self.shared.listen(broker)?;
            let mut ports = lock(&self.shared.ports);
            ports.insert(broker.clone(), listener.port);
            lock(&self.listeners).push(listener);
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        lock(&self.listeners).iter().for_each(Listener::close);
        self.disconnect();
    }
}

impl Listener {
    fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    /// Opens a port in front of a broker.
    fn listen(self: &Arc<Self>, broker: &str) -> Result<Listener> {
        for _ in 0..ATTEMPTS {
            let port = crate::ports::free(1)?[0];
            let Ok(socket) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else {
                continue;
            };
            let stop = Arc::new(AtomicBool::new(false));
            let listener = Listener {
                port,
                stop: Arc::clone(&stop),
            };
            let (shared, broker) = (Arc::clone(self), broker.to_owned());
            thread::spawn(move || {
                for client in socket.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Ok(client) = client {
                        shared.carry(client, &broker);
                    }
                }
            });
            return Ok(listener);
        }
        bail!("no port for a proxy in front of {broker}")
    }

    /// Carries a connection. A broker that is down closes it.
    fn carry(self: &Arc<Self>, client: TcpStream, address: &str) {
        let Ok(broker) = TcpStream::connect(address) else {
            return;
        };
        let Ok(pair) = Pair::new(client, broker) else {
            return;
        };
        let pair = Arc::new(pair);
        let mut connections = lock(&self.connections);
        connections.retain(|pair| pair.strong_count() > 0);
        connections.push(Arc::downgrade(&pair));
        drop(connections);
        let (one, shared, address) = (Arc::clone(&pair), Arc::clone(self), address.to_owned());
        thread::spawn(move || carry_requests(&one, &shared, &address));
        let shared = Arc::clone(self);
        thread::spawn(move || carry_answers(&pair, &shared));
    }

    fn deliver_held(&self) -> Result<Vec<LateAnswer>> {
        let held = std::mem::take(&mut *lock(&self.held));
        let mut answers = Vec::new();
        for Held { address, frames } in held {
            let mut broker = TcpStream::connect(&address)
                .with_context(|| format!("cannot deliver late requests to {address}"))?;
            for frame in frames {
                answers.extend(wire::deliver(&mut broker, &frame)?);
                lock(&self.plan).count("late request");
            }
        }
        Ok(answers)
    }

    fn latency(&self) -> Duration {
        Duration::from_millis(self.latency.load(Ordering::Relaxed))
    }

    fn bandwidth(&self) -> Option<u64> {
        Some(self.bandwidth.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
