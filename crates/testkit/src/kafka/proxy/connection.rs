//! One connection through the proxy: a thread for its requests, a thread for its answers.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fault::{Api, Fault};
use super::wire::{self, Head};
use super::{Held, Shared, lock};

/// How much is written at once where the bandwidth is limited, in bytes.
const PIECE: usize = 16 << 10;

/// Both ends of a connection.
#[derive(Debug)]
pub(super) struct Pair {
    client: TcpStream,
    broker: TcpStream,
    /// Requests whose answers are awaited, in order: a broker answers in the order of requests.
    waiting: Mutex<VecDeque<(Head, Option<Fault>)>>,
    /// Nothing goes either way any more.
    silent: AtomicBool,
}

impl Pair {
    pub(super) fn new(client: TcpStream, broker: TcpStream) -> io::Result<Pair> {
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        Ok(Pair {
            client,
            broker,
            waiting: Mutex::default(),
            silent: AtomicBool::new(false),
        })
    }

    /// Closes both ends. Threads that read from them end.
    pub(super) fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }

    fn fall_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }
}

/// Carries requests until either side closes the connection, or a fault does.
pub(super) fn carry_requests(pair: &Arc<Pair>, shared: &Shared, address: &str) {
    let mut held: Vec<Vec<u8>> = Vec::new();
    let _ = requests(pair, shared, &mut held);
    if !held.is_empty() {
        let frames = std::mem::take(&mut held);
        lock(&shared.held).push(Held {
            address: address.to_owned(),
            frames,
        });
    }
    pair.close();
}

fn requests(pair: &Pair, shared: &Shared, held: &mut Vec<Vec<u8>>) -> io::Result<()> {
    while let Some(frame) = wire::read_frame(&mut &pair.client)? {
        let head = wire::head(&frame).ok_or_else(|| io::Error::other("no request"))?;
        let fault = lock(&shared.plan).on_request(head.api);
        match fault {
            Some(Fault::Drop) => return Ok(()),
            Some(Fault::CutRequest) => {
                (&pair.broker).write_all(&frame[..frame.len() / 2])?;
                return Ok(());
            }
            Some(Fault::Hold) => {
                held.push(frame);
                return Ok(());
            }
            Some(Fault::HoldSilently) => {
                pair.fall_silent();
                held.push(frame);
                // What the client had sent behind it would come behind it.
                while let Some(frame) = wire::read_frame(&mut &pair.client)? {
                    held.push(frame);
                }
                return Ok(());
            }
            Some(Fault::BlackHole) => {
                pair.fall_silent();
                return swallow(&pair.client);
            }
            Some(Fault::DeliverHeldFirst) => {
                // What comes of it is told by whoever asked for the fault.
                let _ = shared.deliver_held();
            }
            _ => {}
        }
        lock(&pair.waiting).push_back((head, fault));
        (&pair.broker).write_all(&frame)?;
        if pair.is_silent() {
            return swallow(&pair.client);
        }
    }
    Ok(())
}

/// Reads until the client closes the connection.
fn swallow(mut client: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while client.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Carries answers until either side closes the connection, or a fault does.
pub(super) fn carry_answers(pair: &Arc<Pair>, shared: &Shared) {
    let ended = answers(pair, shared);
    // A silent connection stays open until the client has had enough of it.
    if !pair.is_silent() {
        pair.close();
    }
    if let Err(error) = ended
        && error.kind() == io::ErrorKind::InvalidData
    {
        eprintln!("the proxy cannot carry an answer: {error}");
    }
}

fn answers(pair: &Pair, shared: &Shared) -> io::Result<()> {
    while let Some(mut frame) = wire::read_frame(&mut &pair.broker)? {
        if pair.is_silent() {
            return Ok(());
        }
        let waiting = lock(&pair.waiting).pop_front();
        let (head, fault) = waiting.ok_or_else(|| invalid("nothing was asked"))?;
        if wire::correlation(&frame) != Some(head.correlation) {
            return Err(invalid("it does not belong to the oldest request"));
        }
        if head.api == Api::Metadata {
            let ports = lock(&shared.ports).clone();
            let place = |address: &str| ports.get(address).copied();
            frame = wire::with_addresses(&frame, head.version, place).map_err(invalid)?;
        }
        match fault {
            Some(Fault::SwallowAnswer) => return Ok(()),
            Some(Fault::SwallowAnswerSilently) => {
                pair.fall_silent();
                return Ok(());
            }
            Some(Fault::CutAnswer) => {
                (&pair.client).write_all(&frame[..frame.len() / 2])?;
                return Ok(());
            }
            Some(Fault::Delay(time)) => std::thread::sleep(time),
            _ => {}
        }
        std::thread::sleep(shared.latency());
        write_slowly(&pair.client, &frame, shared.bandwidth())?;
    }
    Ok(())
}

fn write_slowly(mut client: &TcpStream, frame: &[u8], bandwidth: Option<u64>) -> io::Result<()> {
    let Some(bandwidth) = bandwidth else {
        return client.write_all(frame);
    };
    for piece in frame.chunks(PIECE) {
        client.write_all(piece)?;
        let seconds = piece.len() as f64 / bandwidth as f64;
        std::thread::sleep(Duration::from_secs_f64(seconds));
    }
    Ok(())
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
