//! Frames out, frames in: one stream to a broker, on which requests are pipelined.
//!
//! A writer task sends requests in the order in which they were handed over, and a reader task hands each answer to
//! whoever waits for it: a broker answers one connection's requests in order, so the oldest open request is the one
//! that an answer belongs to, and its correlation id only confirms it. Because the tasks own the stream, a caller that
//! stops waiting in the middle leaves it intact.
//!
//! Once anything goes wrong the channel is closed: every open request fails with the reason, and later ones at once.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use crate::Error;
use crate::connect::{Stream, TlsPeer};
use crate::error::BrokerName;
use crate::frame::Frame;
use crate::security::trouble;

/// How long what a broker said before it hung up is looked for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A request to send.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The API's name, for errors.
    pub(crate) api: &'static str,
    /// Size, request header and body, up to the first byte of `rest`.
    pub(crate) head: BytesMut,
    /// The rest of the body.
    pub(crate) rest: Vec<Bytes>,
    /// How long the broker may send nothing while the answer is awaited.
    pub(crate) timeout: Duration,
    /// Memory to read the answer into, where it is large enough.
    pub(crate) buffer: Option<BytesMut>,
    /// Given back when the answer has come.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// A stream to a broker. Cheap to clone; it is closed when the last clone and the last open request are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    shared: Arc<Shared>,
    outgoing: mpsc::UnboundedSender<(Frame, oneshot::Sender<()>)>,
    _tasks: Arc<DropGuard>,
}

/// What the channel's clones and its two tasks share.
#[derive(Debug)]
struct Shared {
    broker: BrokerName,
    open: Mutex<OpenRequests>,
    /// Milliseconds from `started` to the last time that any byte came or went.
    progress: AtomicU64,
    started: Instant,
    /// Answers that came.
    answers: AtomicU64,
    tls: Option<TlsPeer>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct OpenRequests {
    next_id: i32,
    waiting: VecDeque<Waiting>,
    closed: Option<Closed>,
}

impl OpenRequests {
    /// Takes the oldest open request off the queue, if it is the one that was answered. Otherwise it stays there, to fail with
    /// the reason for which the channel is closed. `None`: the channel is closed already.
    fn answered(&mut self, correlation_id: i32) -> Result<Option<Waiting>, Closed> {
        match self.waiting.front() {
            Some(oldest) if oldest.correlation_id != correlation_id => {
                Err(Closed::nonsense(format!(
                    "it answered request {correlation_id} where {} was the oldest",
                    oldest.correlation_id
                )))
            }
            _ => Ok(self.waiting.pop_front()),
        }
    }
}

/// A request that has not been answered yet.
#[derive(Debug)]
struct Waiting {
    correlation_id: i32,
    answer: oneshot::Sender<Bytes>,
    buffer: Option<BytesMut>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Why a channel is closed.
#[derive(Clone, Debug)]
struct Closed {
    reason: Arc<str>,
    kind: ClosedKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClosedKind {
    /// The connection broke.
    Lost,
    /// The broker broke the protocol.
    Nonsense,
    /// The two ends do not accept each other.
    Tls,
}

impl Closed {
    fn lost(reason: impl ToString) -> Closed {
        Closed {
            reason: reason.to_string().into(),
            kind: ClosedKind::Lost,
        }
    }

    fn nonsense(reason: impl ToString) -> Closed {
        Closed {
            reason: reason.to_string().into(),
            kind: ClosedKind::Nonsense,
        }
    }
}

impl Channel {
    /// Takes over a stream. Answers of more than `max_answer` bytes close the channel.
    pub(crate) fn new(stream: Stream, broker: BrokerName, max_answer: usize) -> Channel {
        let Stream {
            reader,
            writer,
            tls,
        } = stream;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            broker,
            open: Mutex::default(),
            progress: AtomicU64::new(0),
            started: Instant::now(),
            answers: AtomicU64::new(0),
            tls,
            stop: stop.clone(),
        });
        let (outgoing, requests) = mpsc::unbounded_channel();
        let (for_reader, for_writer) = (Arc::clone(&shared), Arc::clone(&shared));
        tokio::spawn(async move {
            let stop = for_reader.stop.clone();
            if let Some(closed) = stop
                .run_until_cancelled(read_answers(reader, &for_reader, max_answer))
                .await
            {
                for_reader.close(closed);
            }
        });
        tokio::spawn(async move {
            let stop = for_writer.stop.clone();
            if let Some(Err(error)) = stop
                .run_until_cancelled(write_requests(writer, &for_writer, requests))
                .await
            {
                // A broker that hangs up may have said why, and the reader is about to see it: a certificate that is not
                // accepted comes as an alert after the handshake.
                let _ = tokio::time::timeout(LAST_WORDS, stop.cancelled()).await;
                for_writer.close(for_writer.broken(error));
            }
        });
        Channel {
            shared,
            outgoing,
            _tasks: Arc::new(stop.drop_guard()),
        }
    }

    pub(crate) fn broker(&self) -> &BrokerName {
        &self.shared.broker
    }

    /// Closes it for a reason that was told already.
    pub(crate) fn close(&self, reason: impl ToString) {
        self.shared.close(Closed::lost(reason));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.open().closed.is_some()
    }

    /// Hands over a request. It is sent whether or not the returned value is kept.
    pub(crate) fn send(&self, request: Outgoing) -> Result<PendingAnswer, Error> {
        let Outgoing {
            api,
            head,
            rest,
            timeout,
            buffer,
            permit,
        } = request;
        let (answer, answered) = oneshot::channel();
        let (written, was_written) = oneshot::channel();
        {
            // One lock around both queues, so that answers are awaited in the order in which requests are sent.
            let mut open = self.shared.open();
            if let Some(closed) = &open.closed {
                return Err(self.shared.error(closed, api));
            }
            let correlation_id = open.next_id;
            open.next_id = open.next_id.wrapping_add(1);
            let frame = Frame::new(head, correlation_id, rest);
            open.waiting.push_back(Waiting {
                correlation_id,
                answer,
                buffer,
                _permit: permit,
            });
            // It fails only while the channel is being closed, which fails the request that was queued just now.
            let _ = self.outgoing.send((frame, written));
        }
        Ok(PendingAnswer {
            channel: self.clone(),
            api,
            timeout,
            since: Instant::now(),
            answered,
            was_written,
        })
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, OpenRequests> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a failure of the stream means.
    fn broken(&self, error: io::Error) -> Closed {
        if let Some(peer) = &self.tls
            && let Some(text) = trouble::explain(&error, &peer.host, peer.certificate.as_deref())
        {
            return Closed {
                reason: text.into(),
                kind: ClosedKind::Tls,
            };
        }
        if error.kind() != io::ErrorKind::UnexpectedEof {
            return Closed::lost(error);
        }
        if self.answers.load(Ordering::Relaxed) == 1 {
            // ApiVersions is all that a SASL listener answers to somebody who does not authenticate.
            return Closed::lost(
                "the broker closed it; one that wants authentication does that: is this a SASL listener, and security.protocol SASL_SSL or SASL_PLAINTEXT?",
            );
        }
        Closed::lost("the broker closed it")
    }

    /// Fails all open requests and ends both tasks. The first reason counts.
    fn close(&self, closed: Closed) {
        let waiting = {
            let mut open = self.open();
            if open.closed.is_none() {
                debug!(broker = %self.broker, reason = %closed.reason, "connection closed");
                open.closed = Some(closed);
            }
            std::mem::take(&mut open.waiting)
        };
        // Their receivers see that the sender is gone, and then look for the reason.
        drop(waiting);
        self.stop.cancel();
    }

    fn error(&self, closed: &Closed, api: &'static str) -> Error {
        let broker = self.broker.clone();
        match closed.kind {
            ClosedKind::Nonsense => Error::Protocol {
                broker,
                api,
                reason: (*closed.reason).into(),
            },
            ClosedKind::Tls => Error::Tls {
                broker,
                reason: (*closed.reason).into(),
            },
            ClosedKind::Lost => Error::Disconnected {
                broker,
                api,
                reason: Arc::clone(&closed.reason),
            },
        }
    }

    fn note_progress(&self) {
        let elapsed = self.started.elapsed().as_millis() as u64;
        self.progress.store(elapsed, Ordering::Relaxed);
    }

    fn last_progress(&self) -> Instant {
        self.started + Duration::from_millis(self.progress.load(Ordering::Relaxed))
    }
}

/// An answer that is yet to come. Dropping it leaves the connection as it is.
#[derive(Debug)]
pub(crate) struct PendingAnswer {
    channel: Channel,
    api: &'static str,
    timeout: Duration,
    since: Instant,
    answered: oneshot::Receiver<Bytes>,
    was_written: oneshot::Receiver<()>,
}

impl PendingAnswer {
    /// Waits until the request's last byte was given to the kernel.
    pub(crate) async fn written(&mut self) -> Result<(), Error> {
        let waits = Waits {
            channel: &self.channel,
            api: self.api,
            timeout: self.timeout,
            since: self.since,
        };
        waits.wait_for(&mut self.was_written).await
    }

    /// The answer, beginning with its header. May be called again if it was not waited for to the end.
    pub(crate) async fn receive(&mut self) -> Result<Bytes, Error> {
        let waits = Waits {
            channel: &self.channel,
            api: self.api,
            timeout: self.timeout,
            since: self.since,
        };
        waits.wait_for(&mut self.answered).await
    }
}

/// Waiting for something that the reader or writer task tells.
struct Waits<'a> {
    channel: &'a Channel,
    api: &'static str,
    timeout: Duration,
    since: Instant,
}

impl Waits<'_> {
    /// The time limit is one on silence: while bytes come or go, there is no reason to give up.
    async fn wait_for<T>(&self, told: &mut oneshot::Receiver<T>) -> Result<T, Error> {
        let shared = &self.channel.shared;
        loop {
            let silent_since = shared.last_progress().max(self.since);
            match tokio::time::timeout_at(silent_since + self.timeout, &mut *told).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(_)) => {
                    let lost = Closed::lost("it was closed");
                    let closed = shared.open().closed.clone().unwrap_or(lost);
                    return Err(shared.error(&closed, self.api));
                }
                Err(_) if shared.last_progress() > silent_since => {}
                Err(_) => {
                    let reason = format!("no answer to {} within {:?}", self.api, self.timeout);
                    shared.close(Closed::lost(reason));
                    return Err(Error::Timeout {
                        broker: shared.broker.clone(),
                        api: self.api,
                        after: self.timeout,
                    });
                }
            }
        }
    }
}

async fn write_requests(
    mut writer: Box<dyn AsyncWrite + Send + Unpin>,
    shared: &Shared,
    mut requests: mpsc::UnboundedReceiver<(Frame, oneshot::Sender<()>)>,
) -> io::Result<()> {
    while let Some((mut frame, written)) = requests.recv().await {
        while frame.has_remaining() {
            if writer.write_buf(&mut frame).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            shared.note_progress();
        }
        writer.flush().await?;
        // Nobody has to wait for it.
        let _ = written.send(());
    }
    Ok(())
}

async fn read_answers(
    mut reader: Box<dyn AsyncRead + Send + Unpin>,
    shared: &Shared,
    max_answer: usize,
) -> Closed {
    loop {
        if let Err(closed) = read_answer(&mut *reader, shared, max_answer).await {
            return closed;
        }
    }
}

async fn read_answer(
    reader: &mut (dyn AsyncRead + Send + Unpin),
    shared: &Shared,
    max_answer: usize,
) -> Result<(), Closed> {
    let mut prefix = BytesMut::with_capacity(size_of::<u32>());
    fill(reader, &mut prefix, size_of::<u32>(), shared).await?;
    let size = answer_size(prefix.get_u32().to_be_bytes(), max_answer)?;
    let buffer = shared
        .open()
        .waiting
        .front_mut()
        .map(|oldest| oldest.buffer.take());
    let Some(buffer) = buffer else {
        return Err(Closed::nonsense("it sent an answer that nothing asked for"));
    };
    let mut answer = match buffer {
        Some(buffer) if buffer.capacity() >= size => buffer,
        _ => BytesMut::with_capacity(capacity_for(size)),
    };
    answer.clear();
    fill(reader, &mut answer, size, shared).await?;
    let answer = answer.freeze();
    let Some(oldest) = shared.open().answered((&answer[..]).get_i32())? else {
        return Err(Closed::lost("it was closed"));
    };
    shared.answers.fetch_add(1, Ordering::Relaxed);
    // Whoever asked may have stopped waiting.
    let _ = oldest.answer.send(answer);
    Ok(())
}

/// Reads until `buffer` holds `size` bytes: no more than that, so that the next answer stays in the socket. The memory
/// is not zeroed first.
async fn fill(
    reader: &mut (dyn AsyncRead + Send + Unpin),
    buffer: &mut BytesMut,
    size: usize,
    shared: &Shared,
) -> Result<(), Closed> {
    while buffer.len() < size {
        let missing = size - buffer.len();
        match reader.read_buf(&mut (&mut *buffer).limit(missing)).await {
            Ok(0) => return Err(shared.broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => shared.note_progress(),
            Err(error) => return Err(shared.broken(error)),
        }
    }
    Ok(())
}

/// How much memory to ask for. Large answers of one connection differ a little in size: the last one's memory shall do for
/// the next one. What is not written to costs nothing.
fn capacity_for(size: usize) -> usize {
    const STEP: usize = 1024 * 1024;
    if size < STEP {
        size
    } else {
        size.next_multiple_of(STEP)
    }
}

/// The size of the answer that follows, told from what other servers send.
fn answer_size(bytes: [u8; 4], max_answer: usize) -> Result<usize, Closed> {
    /// A TLS record of the kinds alert and handshake begins with these two bytes.
    const TLS_RECORDS: [[u8; 2]; 2] = [[0x15, 0x03], [0x16, 0x03]];
    if &bytes == b"HTTP" {
        return Err(Closed::nonsense("it is an HTTP server"));
    }
    if TLS_RECORDS.contains(&[bytes[0], bytes[1]]) {
        return Err(Closed::nonsense(
            "it wants an encrypted connection; set security.protocol to SSL or SASL_SSL",
        ));
    }
    let size = u32::from_be_bytes(bytes) as usize;
    if size < size_of::<i32>() {
        return Err(Closed::nonsense(format!(
            "it announced an answer of {size} bytes"
        )));
    }
    if size > max_answer {
        return Err(Closed::nonsense(format!(
            "it announced an answer of {size} bytes, more than the {max_answer} of receive.message.max.bytes; raise that"
        )));
    }
    Ok(size)
}

#[cfg(test)]
mod tests;
